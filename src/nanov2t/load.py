"""Inverters by name or folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nanov2t.align.alignment import FILES as ALIGNMENT_FILES
from nanov2t.align.alignment import Alignment
from nanov2t.align.making import alignment_of
from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.function import EmbeddingFunction
from nanov2t.embedders.registry import load_embedder
from nanov2t.inverter import Inverter, Networks
from nanov2t.models.dictionary import Dictionary
from nanov2t.models.edit_network import EditNetwork
from nanov2t.models.editor import DictionaryEditor, Editor, NetworkEditor
from nanov2t.models.hub import locate
from nanov2t.models.networks import load_network
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.models.reading import Hypothesizer
from nanov2t.pretrained import BUNDLED, DEFAULT
from nanov2t.search.evolution import Engine, make_search
from nanov2t.search.loop import Search
from nanov2t.search.options import UNLIMITED, Budget, Effort, SearchOptions
from nanov2t.t5.checkpoints import release_of
from nanov2t.t5.inference import Pair, load_pair
from nanov2t.targets import Defence


class EngineNetworks(Networks):
    """A dictionary of the reader's states, and the networks that read them, if there are any."""

    near = 0.5  # MiniLM's own vectors reach .6, those of other models .4
    dictionary: Dictionary

    def __init__(
        self,
        embedder: Embedder,
        dictionary: Dictionary,
        hypothesizer: PrefixLM | None = None,
        corrector: EditNetwork | None = None,
        reader: Embedder | None = None,
        alignment: Alignment | None = None,
    ):
        self.embedder, self.reader = embedder, reader or embedder
        self.tokenizer, self.alignment = self.reader.tokenizer, alignment
        self.dictionary, self.hypothesizer, self.corrector = dictionary, hypothesizer, corrector
        editor: Editor = (
            DictionaryEditor(dictionary, self.reader)
            if corrector is None
            else NetworkEditor(corrector, dictionary, self.reader)
        )
        model = None if hypothesizer is None else Hypothesizer(hypothesizer, self.reader)
        self.engine = Engine(self.reader, editor, model, aligned=alignment is not None)

    def search(self, options: SearchOptions) -> Search:
        return make_search(options.search, replace(self.engine, effort=options.effort))

    def hypothesize(self, targets: Sequence[np.ndarray]) -> list[str]:
        return self.engine.hypothesize(targets)


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
    """Load an inverter with its embedder. Raises a UserError if there is no such inverter, it is
    damaged, or it is for another embedder.

    Args:
        name: `minilm-exact` (bundled), a release (`gtr-nq32`, `gtr-st-nq32`, `gtr-st-nq32-ielab`,
            `ada-002`), the folder of an alignment, or the folder or Hub name of a training run or
            of a generator: ours, nanoV2T's or vec2text's.
        hypothesizer: another such name, whose T5 writes the first hypotheses for the corrector in
            `name`.
        embedder: what made the vectors: an embedder, its spec, or a function from a list of texts
            to float32 [n, dim]. The default is the one that the inverter was trained for. The
            bundled inverter reads any other through an alignment, which is made once and kept.
        device: by default a GPU if there is one.
        search: its name. T5s have `beam` (the default) and `exhaustive`, the published search.
        fast: False makes T5s decode by transformers in float32, the reference for the fast path.
        defence: changes every vector before it is inverted, to study what it protects.
        effort, budget: how much to spend on a vector.
        tolerance: 1 - cosine up to which a text counts as exact. The default is that of rounding
            and noise; give .001 to .01 if another build of the embedder made the vectors.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    options = SearchOptions(search=search, effort=effort, budget=budget, tolerance=tolerance)
    folder, alignment = locate(name), None
    if (folder / ALIGNMENT_FILES[1]).is_file():
        alignment, folder = Alignment.load(folder), BUNDLED[DEFAULT]
        embedder = embedder or alignment.embedder.name
    if embedder is not None and not isinstance(embedder, Embedder):
        embedder = load_embedder(embedder, device)
    if not (folder / "dictionary").is_dir():
        return Inverter(_load_t5s(name, hypothesizer, embedder, device, fast), options, defence)
    if hypothesizer is not None:
        raise UserError(f"inverter {name}: --hypothesizer is for T5 correctors")
    return Inverter(_load_engine(folder, embedder, alignment, device), options, defence)


def _load_t5s(
    name: str | Path,
    hypothesizer: str | Path | None,
    embedder: Embedder | None,
    device: torch.device,
    fast: bool,
) -> Pair:
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
    return Pair(embedder, tokenizer, first, second)


def _load_engine(
    folder: Path, judge: Embedder | None, alignment: Alignment | None, device: torch.device
) -> EngineNetworks:
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
    networks: dict[str, Any] = {"reader": reader, "alignment": alignment}
    for part, kind in (("hypothesizer", "prefix_lm"), ("corrector", "edit_network")):
        if (folder / part).is_dir():
            network = load_network(folder / part, reader, dictionary, kind).to(device)
            _check(reader.info, network.config.dim, network.config.embedder)
            networks[part] = network
    return EngineNetworks(judge or reader, dictionary, **networks)


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
