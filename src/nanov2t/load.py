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
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.function import EmbeddingFunction
from nanov2t.embedders.registry import load_embedder
from nanov2t.inverter import Inverter
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditNetwork
from nanov2t.models.hub import locate
from nanov2t.models.networks import load_network
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.pretrained import BUNDLED, DEFAULT
from nanov2t.search.options import UNLIMITED, Budget, Effort
from nanov2t.t5.checkpoints import release_of
from nanov2t.t5.generator import Generator
from nanov2t.t5.inference import load_pair
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
            `ada-002`), the folder of an alignment, or the folder or Hub name of a generator, of a
            training run, or of a folder with the subfolders `hypothesizer` and `corrector`.
            Generators may be ours, nanoV2T's or vec2text's.
        hypothesizer: another such name; its generator writes the first hypotheses for the corrector
            in `name`.
        embedder: what made the vectors: an embedder, its spec, or a function from a list of texts
            to float32 [n, dim]. By default the one that the inverter was trained for. The bundled
            inverter reads any other embedder's vectors through an alignment, which is made at its
            first use and kept in the cache folder.
        device: by default a GPU if there is one.
        search: its name. T5s have `beam` (the default) and `exhaustive`, the published search.
        fast: False makes T5s decode by transformers in float32, the reference for the fast path.
        defence: applied to every vector before it is inverted, to study what it protects.
        effort, budget: how much is spent on a vector.
        tolerance: 1 - cosine up to which a text counts as exact. The default is that of rounding
            and of the embedder's noise; .001 to .01 if another build of the embedder made the
            vectors.

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
            raise UserError(f"inverter {name}: --hypothesizer is for T5 correctors")
        return _load_engine(folder, embedder, alignment, device, options)
    first, second, tokenizer = load_pair(name, hypothesizer)
    generators = [g.to(device) for g in (first, second) if g is not None]
    for generator in generators:
        generator.fast = fast
    own = _own_embedder(name, generators, embedder, device)
    return Inverter(own, tokenizer, first, second, **options)


def _own_embedder(
    name: str | Path, generators: list[Generator], embedder: Embedder | None, device: torch.device
) -> Embedder:
    if embedder is None:
        release = release_of(str(name))
        recorded = (g.config.embedder for g in generators if g.config.embedder)
        expected = release.embedder if release else next(recorded, None)
        if expected is None:
            raise UserError(
                f"inverter {name}: does not say which embedder it inverts; name it with --embedder"
            )
        embedder = load_embedder(expected.name, device)
    for generator in generators:
        _check_dim(embedder.info, generator.config.dim)
        if generator.config.embedder is not None:
            _check_embedder(embedder.info, generator.config.embedder)
    return embedder


def _load_engine(
    folder: Path,
    judge: Embedder | None,
    alignment: Alignment | None,
    device: torch.device,
    options: dict[str, Any],
) -> Inverter:
    dictionary = Dictionary.load(folder / "dictionary")
    own = judge is None or judge.info.fingerprint == dictionary.embedder.fingerprint
    reader = judge if judge and own else load_embedder(dictionary.embedder.name, device)
    _check_embedder(reader.info, dictionary.embedder)
    if not reader.has_states:
        raise UserError(f"{reader.name}: does not show its states, which {folder} reads")
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


def _check_dim(given: EmbedderInfo, expected: int) -> None:
    if given.dim != expected:
        raise UserError(
            f"the inverter was trained for vectors of dimension {expected}; "
            f"{given.name} has {given.dim}"
        )


def _check_embedder(given: EmbedderInfo, expected: EmbedderInfo) -> None:
    _check_dim(given, expected.dim)
    ours, theirs = dataclasses.asdict(given), dataclasses.asdict(expected)
    # A model is identified by its weights, not its name; but published checkpoints hold no
    # fingerprint.
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
    return repr(value) if isinstance(value, str) and not value.isalnum() else str(value)
