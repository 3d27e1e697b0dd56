"""A hypothesizer and a corrector by name or folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.core.files import replacing
from nanov2t.models.hub import locate, network_folder
from nanov2t.pretrained import BUNDLED
from nanov2t.t5.checkpoints import RELEASES, load_tokenizer, release_of
from nanov2t.t5.generator import Generator


def load_pair(
    name: str | Path, hypothesizer: str | Path | None = None
) -> tuple[Generator | None, Generator | None, Any]:
    """The hypothesizer, the corrector (the same object if one network is both) and the tokenizer,
    on the CPU.

    Args:
        name: see :func:`nanov2t.load.load_inverter`.
        hypothesizer: another such name, whose generator takes the hypothesizer's place.

    Raises:
        UserError: there is no such inverter, it is damaged, or its parts do not fit together.
    """
    folders = _folders(name)
    if hypothesizer is None:
        generators = [Generator.from_pretrained(folder) for folder in folders]
        first = next((g for g in generators if g.config.hypothesizes), None)
        second = next((g for g in reversed(generators) if g.config.corrects), None)
    else:
        folders = [_folders(hypothesizer)[0], folders[-1]]
        first, second = generators = [Generator.from_pretrained(folder) for folder in folders]
        if not second.config.corrects:
            raise UserError(f"inverter {name}: has no corrector, so --hypothesizer cannot be used")
        if not first.config.hypothesizes:
            raise UserError(f"hypothesizer {hypothesizer}: is a corrector")
    if release := release_of(str(name)):
        for generator in generators:
            # Some configs name their embedder by a path of their authors'.
            if generator.config.dim == release.embedder.dim:
                generator.config = dataclasses.replace(generator.config, embedder=release.embedder)
    tokenizer = load_tokenizer(folders[0])
    if any(load_tokenizer(folder).get_vocab() != tokenizer.get_vocab() for folder in folders[1:]):
        raise UserError(f"inverter {name}: its two networks write in different vocabularies")
    return first, second, tokenizer


def export_pair(
    name: str | Path, out: Path, hypothesizer: str | Path | None = None, int8: bool = True
) -> None:
    """Write generators in our own format: a single one as `out`, a pair as its two subfolders.

    Raises:
        UserError: as :func:`load_pair`, or `out` cannot be written.
    """
    first, second, tokenizer = load_pair(name, hypothesizer)
    if first is not None and second is not None and first is not second:
        with replacing(out) as folder:
            first.save_pretrained(folder / "hypothesizer", tokenizer, int8)
            second.save_pretrained(folder / "corrector", tokenizer, int8)
    elif single := first or second:
        single.save_pretrained(out, tokenizer, int8)


def _folders(name: str | Path) -> list[Path]:
    if release := RELEASES.get(str(name)):
        return [locate(part) for part in (release.hypothesizer, release.corrector) if part]
    folder = BUNDLED.get(str(name)) or locate(name)
    if not folder.is_dir():
        names = ", ".join([*BUNDLED, *RELEASES])
        raise UserError(f"inverter {name}: neither a folder nor one of {names}")
    if (folder / "dictionary").is_dir():
        raise UserError(f"inverter {name}: holds no T5 generator")
    parts = [folder / part for part in ("hypothesizer", "corrector")]
    return [part for part in parts if part.is_dir()] or [network_folder(folder)]
