"""Inverters by name or folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from nanov2t.checkpoint import load_generator, load_tokenizer
from nanov2t.config import EmbedderInfo, UserError
from nanov2t.embedder import Embedder, load_embedder
from nanov2t.inverter import Inverter

BUNDLED = {"minilm-wiki32": Path(__file__).parent / "pretrained" / "minilm-wiki32"}


def load_inverter(
    name: str | Path, embedder: Embedder | None = None, device: str | torch.device | None = None
) -> Inverter:
    """Load an inverter with its embedder.

    Args:
        name: `minilm-wiki32` (bundled), a training run's folder, a generator's folder, or a folder with the
            subfolders `hypothesizer` and `corrector`.
        embedder: what made the vectors; by default the one that the inverter was trained for.
        device: where it runs; by default a GPU if there is one.

    Raises:
        UserError: there is no such inverter, it is damaged, or it was trained for another embedder.
    """
    folder = BUNDLED.get(str(name), Path(name))
    if not folder.is_dir():
        raise UserError(f"inverter {name}: neither a folder nor one of {', '.join(BUNDLED)}")
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    pair = [folder / part for part in ("hypothesizer", "corrector") if (folder / part).is_dir()]
    generators = [load_generator(part).to(device) for part in pair or [folder]]
    hypothesizer = next((g for g in generators if g.config.hypothesizes), None)
    corrector = next((g for g in reversed(generators) if g.config.corrects), None)
    expected = generators[0].config.embedder
    if expected is None:
        raise UserError(f"inverter {name}: does not say which embedder it inverts")
    embedder = embedder or load_embedder(expected.name, device)
    for generator in generators:
        _match(embedder.info, generator.config.embedder or expected)
    return Inverter(embedder, load_tokenizer((pair or [folder])[0]), hypothesizer, corrector)


def _match(given: EmbedderInfo, expected: EmbedderInfo) -> None:
    ours, theirs = dataclasses.asdict(given), dataclasses.asdict(expected)
    # A model is what its weights are, whatever name it was loaded by.
    for key in ("dim", "normalized", "max_tokens", "lowercase", "fingerprint"):
        if ours[key] != theirs[key]:
            raise UserError(f"the inverter was trained for {expected.name} with {key} {theirs[key]}; "
                            f"{given.name} has {key} {ours[key]}")
