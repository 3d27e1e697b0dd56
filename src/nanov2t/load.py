"""Inverters by name or folder."""

from __future__ import annotations

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
    """Load an inverter with its embedder. A UserError says that there is no such inverter, that it
    is damaged, or that it is for another embedder.

    Args:
        name: `minilm-exact` (bundled), a release (`gtr-nq32`, `gtr-st-nq32`, `gtr-st-nq32-ielab`,
            `ada-002`), the folder of an alignment, or the folder or Hub name of a training run or
            of a generator: ours, nanoV2T's or vec2text's.
        hypothesizer: another such name; its generator writes the first hypotheses for the corrector
            in `name`.
        embedder: what made the vectors: an embedder, its spec, or a function from a list of texts
            to float32 [n, dim]. By default the one that the inverter was trained for. The bundled
            inverter takes any other through an alignment, made at its first use and kept.
        device: by default a GPU if there is one.
        search: its name. T5s have `beam` (the default) and `exhaustive`, the published search.
        fast: False makes T5s decode by transformers in float32, the reference for the fast path.
        defence: applied to every vector before it is inverted, to study what it protects.
        effort, budget: how much is spent on a vector.
        tolerance: 1 - cosine up to which a text counts as exact. The default is that of rounding
            and noise; give .001 to .01 if another build of the embedder made the vectors.
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
    if embedder is None:
        release, recorded = release_of(str(name)), (g.config.embedder for g in generators)
        expected = release.embedder if release else next(filter(None, recorded), None)
        if expected is None:
            raise UserError(
                f"inverter {name}: does not say which embedder it inverts; name it with --embedder"
            )
        embedder = load_embedder(expected.name, device)
    for generator in generators:
        generator.fast = fast
        _check(embedder.info, generator.config.dim, generator.config.embedder)
    return Inverter(embedder, tokenizer, first, second, **options)


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
    _check(reader.info, dictionary.embedder.dim, dictionary.embedder)
    if not reader.has_states:
        raise UserError(f"{reader.name}: does not show its states, which {folder} reads")
    if judge and alignment:
        alignment.check(judge)
    elif judge and not own:
        alignment = alignment_of(judge, reader)
    networks: dict[type, Any] = {}
    for part in ("hypothesizer", "corrector"):
        if (folder / part).is_dir():
            network = load_network(folder / part, reader, dictionary).to(device)
            _check(reader.info, network.config.dim, network.config.embedder)
            networks[type(network)] = network
    return Inverter(
        judge or reader,
        reader.tokenizer,
        networks.get(PrefixLM),
        networks.get(EditNetwork),
        dictionary,
        reader=reader,
        alignment=alignment,
        **options,
    )


def _check(given: EmbedderInfo, dim: int, expected: EmbedderInfo | None) -> None:
    """Refuse an embedder other than the one that a network was trained for."""
    if given.dim != dim:
        raise UserError(
            f"the inverter was trained for vectors of dimension {dim}; {given.name} has {given.dim}"
        )
    if expected is None:
        return
    keys = ["normalized", "prompt"]
    if expected.fingerprint:  # published checkpoints hold none
        keys = ["normalized", "max_tokens", "lowercase", "prompt", "pools_prompt", "fingerprint"]
    for key in keys:
        ours, theirs = getattr(given, key), getattr(expected, key)
        if ours != theirs:
            raise UserError(
                f"the inverter was trained for {expected.name} with {key} {_show(theirs)}; "
                f"{given.name} has {key} {_show(ours)}"
            )


def _show(value: Any) -> str:
    return repr(value) if isinstance(value, str) and not value.isalnum() else str(value)
