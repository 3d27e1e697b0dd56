"""Inverters by name or folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from nanov2t.align.alignment import FILES as ALIGNMENT_FILES
from nanov2t.align.alignment import Alignment
from nanov2t.align.making import alignment_of
from nanov2t.core.errors import UserError
from nanov2t.core.files import replacing
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.function import EmbeddingFunction
from nanov2t.embedders.registry import load_embedder
from nanov2t.inverter import Inverter
from nanov2t.models.checkpoint import load_tokenizer
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditNetwork
from nanov2t.models.generator import Generator
from nanov2t.models.hub import locate
from nanov2t.models.networks import load_network
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.models.published import RELEASES, release_of
from nanov2t.pretrained import BUNDLED, DEFAULT
from nanov2t.search.options import UNLIMITED, Budget, Effort
from nanov2t.targets import Defence


def load_inverter(
    name: str | Path,
    hypothesizer: str | Path | None = None,
    embedder: Embedder | EmbeddingFunction | str | None = None,
    device: str | torch.device | None = None,
    search: str = "default",
    fast: bool = True,
    defence: Defence | None = None,
    effort: Effort = "default",
    budget: Budget = UNLIMITED,
    tolerance: float | None = None,
) -> Inverter:
    """Load an inverter with its embedder.

    Args:
        name: `minilm-exact` (bundled), a release (`gtr-nq32`, `gtr-st-nq32`, `gtr-st-nq32-ielab`,
            `ada-002`), or the folder or Hub name of a generator, of a training run, of a folder
            with the subfolders `hypothesizer` and `corrector`, or the folder of an alignment.
            Generators may be ours, nanoV2T's or vec2text's.
        hypothesizer: another such name, whose generator writes the first hypotheses for the
            corrector in `name`.
        embedder: what made the vectors: an embedder, its spec, or a function from a list of texts
            to float32 [n, dim]. By default the one that the inverter was trained for. The bundled
            inverter reads any other one's vectors too, through an alignment, which is made at its
            first use and kept in the cache folder.
        device: where it runs; by default a GPU if there is one.
        search: its name; `exhaustive` is the published search, for comparison: 50 rounds, at many
            times the cost.
        fast: False takes the plain path of transformers in float32, the reference for the fast one.
        defence: applied to every vector before it is inverted, to study what it protects.
        effort, budget: how much is spent on a vector.
        tolerance: 1 - cosine up to which a text counts as exact; for vectors that another build of
            the embedder made, .001 to .01. By default that of rounding and of its own noise.

    Raises:
        UserError: there is no such inverter, it is damaged, its parts do not fit together, or it
            was trained for another embedder.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    options: dict[str, Any] = {"search": search, "defence": defence, "effort": effort}
    options |= {"budget": budget, "tolerance": tolerance}
    folder, alignment = BUNDLED.get(str(name)) or locate(name), None
    if (folder / ALIGNMENT_FILES[1]).is_file():
        alignment, folder = Alignment.load(folder), BUNDLED[DEFAULT]
        embedder = embedder or alignment.embedder.name
    if embedder is not None and not isinstance(embedder, Embedder):
        embedder = load_embedder(embedder, device)
    if (folder / "dictionary").is_dir():
        if hypothesizer is not None:
            raise UserError(
                f"inverter {name}: looks inside its embedder, so it takes no hypothesizer beside it"
            )
        return _load_looking_inside(folder, embedder, alignment, device, options)
    first, second, tokenizer = load_pair(name, hypothesizer)
    generators = [g.to(device) for g in (first, second) if g is not None]
    for generator in generators:
        generator.fast = fast
    return Inverter(
        _own_embedder(name, generators, embedder, device), tokenizer, first, second, **options
    )


def _own_embedder(
    name: str | Path, generators: list[Generator], embedder: Embedder | None, device: torch.device
) -> Embedder:
    """The embedder that generators were trained for, loaded unless one is given.

    Raises:
        UserError: the one that is given is another one.
    """
    if embedder is None:
        embedder = load_embedder(_embedder_of(name, generators), device)
    for generator in generators:
        _check_dim(embedder.info, generator.config.dim)
        if generator.config.embedder is not None:
            _check_embedder(embedder.info, generator.config.embedder)
    return embedder


def _embedder_of(name: str | Path, generators: list[Generator]) -> str:
    """The spec of the embedder that generators were trained for.

    Raises:
        UserError: they do not say.
    """
    release = release_of(str(name))
    recorded = (g.config.embedder for g in generators if g.config.embedder)
    expected = release.embedder if release else next(recorded, None)
    if expected is None:
        raise UserError(
            f"inverter {name}: does not say which embedder it inverts; name it with --embedder"
        )
    return expected.name


def _load_looking_inside(
    folder: Path,
    judge: Embedder | None,
    alignment: Alignment | None,
    device: torch.device,
    options: dict[str, Any],
) -> Inverter:
    """An inverter that looks inside its embedder: a folder with the subfolder `dictionary`, and
    `hypothesizer` and `corrector` if there are such networks.

    Args:
        judge: what made the vectors; None if that is the inverter's own embedder.
        alignment: for the judge, if one was named.
        options: of :class:`Inverter`, by keyword.
    """
    dictionary = Dictionary.load(folder / "dictionary")
    own = judge is None or judge.info.fingerprint == dictionary.embedder.fingerprint
    reader = judge if judge and own else load_embedder(dictionary.embedder.name, device)
    _check_embedder(reader.info, dictionary.embedder)
    if not reader.has_states:
        raise UserError(f"{reader.name}: does not show its states, which {folder} looks at")
    if judge and alignment:
        alignment.check(judge)
    elif judge and not own:
        alignment = alignment_of(judge, reader)
    parts = [
        load_network(folder / part, reader, dictionary).to(device)
        for part in ("hypothesizer", "corrector")
        if (folder / part).is_dir()
    ]
    for part in parts:
        _check_embedder(reader.info, part.config.embedder)
    hypothesizer = next((part for part in parts if isinstance(part, PrefixLM)), None)
    corrector = next((part for part in parts if isinstance(part, EditNetwork)), None)
    return Inverter(
        judge or reader,
        reader.tokenizer,
        hypothesizer,
        corrector,
        dictionary,
        reader=reader,
        alignment=alignment,
        **options,
    )


def load_pair(
    name: str | Path, hypothesizer: str | Path | None = None
) -> tuple[Generator | None, Generator | None, Any]:
    """The hypothesizer, the corrector (the same object where one network is both) and the tokenizer
    that :func:`load_inverter` would load, on the CPU and without the embedder."""
    folders = _folders(name)
    if hypothesizer is None:
        generators = [Generator.from_pretrained(folder) for folder in folders]
        first = next((g for g in generators if g.config.hypothesizes), None)
        second = next((g for g in reversed(generators) if g.config.corrects), None)
    else:
        first_folder = _folders(hypothesizer)[0]
        second = Generator.from_pretrained(folders[-1])
        first = Generator.from_pretrained(first_folder)
        if not second.config.corrects:
            raise UserError(
                f"inverter {name}: corrects nothing, so it takes no hypothesizer beside it"
            )
        if not first.config.hypothesizes:
            raise UserError(f"hypothesizer {hypothesizer}: only corrects")
        folders, generators = [first_folder, folders[-1]], [first, second]
    if release := release_of(str(name)):
        for generator in generators:
            # Whatever a config calls its embedder, such as a path of its authors'.
            if generator.config.dim == release.embedder.dim:
                generator.config = dataclasses.replace(generator.config, embedder=release.embedder)
    tokenizer = load_tokenizer(folders[0])
    if any(load_tokenizer(folder).get_vocab() != tokenizer.get_vocab() for folder in folders[1:]):
        raise UserError(
            f"inverter {name}: its hypothesizer and its corrector write in different vocabularies"
        )
    return first, second, tokenizer


def convert(name: str | Path, out: str | Path, hypothesizer: str | Path | None = None) -> None:
    """Write an inverter in our own format: a single generator as `out`, a pair as its two
    subfolders.

    Raises:
        UserError: there is no such inverter, it is damaged, or `out` cannot be written.
    """
    first, second, tokenizer = load_pair(name, hypothesizer)
    if first is not None and second is not None and first is not second:
        with replacing(out) as folder:
            first.save_pretrained(folder / "hypothesizer", tokenizer)
            second.save_pretrained(folder / "corrector", tokenizer)
    elif single := first or second:
        single.save_pretrained(out, tokenizer)


def _folders(name: str | Path) -> list[Path]:
    """The folders of the generators that `name` stands for, the hypothesizer first."""
    if release := RELEASES.get(str(name)):
        return [locate(part) for part in (release.hypothesizer, release.corrector) if part]
    folder = BUNDLED.get(str(name)) or locate(name)
    if not folder.is_dir():
        raise UserError(
            f"inverter {name}: neither a folder nor one of {', '.join([*BUNDLED, *RELEASES])}"
        )
    if (folder / "dictionary").is_dir():
        raise UserError(f"inverter {name}: looks inside its embedder, and holds no generator")
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    return [
        folder / part for part in ("hypothesizer", "corrector") if (folder / part).is_dir()
    ] or [folder]


def _check_dim(given: EmbedderInfo, expected: int) -> None:
    if given.dim != expected:
        raise UserError(
            f"the inverter was trained for vectors of dimension {expected}; "
            f"{given.name} has {given.dim}"
        )


def _check_embedder(given: EmbedderInfo, expected: EmbedderInfo) -> None:
    """Refuse an embedder, or settings of it, that the inverter was not trained for."""
    _check_dim(given, expected.dim)
    ours, theirs = dataclasses.asdict(given), dataclasses.asdict(expected)
    # A model is what its weights are, whatever name it was loaded by; but others' checkpoints hold
    # no fingerprint.
    recorded = (
        ("normalized", "max_tokens", "lowercase", "prompt", "pools_prompt", "fingerprint")
        if expected.fingerprint
        else ("normalized", "prompt")
    )
    for key in recorded:
        if ours[key] != theirs[key]:
            raise UserError(
                f"the inverter was trained for {expected.name} with {key} {_show(theirs[key])}; "
                f"{given.name} has {key} {_show(ours[key])}"
            )


def _show(value: Any) -> str:
    """A value of an embedder's, for messages: an empty one is seen, and so are blanks at an
    end."""
    return repr(value) if isinstance(value, str) and not value.isalnum() else str(value)
