"""Alignments: where an embedder's vectors lie in the space of the bundled reader.

The networks read vectors of one embedder, the reader. A ridge regression on a few thousand texts
that both have embedded maps another embedder's vectors into the reader's space, roughly. A search
then learns the rest from the texts it has judged: near the target the map becomes exact.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dacite
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import replacing
from nanov2t.core.vectors import bad_rows, cosine, unit
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.probes import PROBES

FILES = ("config.json", "alignment.safetensors")
SAME = 2e-3
"""1 - cosine up to which two probes are of one version. Servers round differently from day to day;
another model, or another prompt, moves them by more."""
FEW, SHARED = 8, 0.1
"""Vectors, and the length of what an embedder's vectors share, below which they cannot be told from
those of another."""
WIDTH, FAR, DOUBT = 0.25, 0.5, 0.02
"""Widths of the kernels exp((cosine - 1) / width), into the reader's space and back, and the noise
that both allow for."""


@dataclass(frozen=True)
class Alignment:
    """A map from an embedder's vectors to the reader's space, and what else is known of both.

    Attributes:
        embedder: whose vectors it maps.
        reader: into whose space.
        pairs: texts it was fitted on.
        agreement: mean cosine of mapped and true vectors, held out.
        scale: how much smaller a change of a word is by the embedder's cosine than by the reader's.
        noise: 1 - cosine of one text embedded twice, at most.
        sees_case, sees_spacing: whether these move its vectors.
        centre: float32 [dim], mean of its unit vectors.
        weights: float32 [dim, reader's dim] on centred unit vectors, and `mean`, which is added.
        lengths: float32 [dim + 1], the log number of reader's tokens likewise, the constant last.
        back: float32 [reader's dim + 1, dim], the reader's vectors to centred ones, likewise.
        probes: float32 [3, dim], vectors of PROBES, which tell one version of the embedder from
            another.
    """

    embedder: EmbedderInfo
    reader: EmbedderInfo
    pairs: int
    agreement: float
    scale: float
    noise: float
    sees_case: bool
    sees_spacing: bool
    centre: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    lengths: np.ndarray
    back: np.ndarray
    probes: np.ndarray

    def centred(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [n, dim] without what all of them share, of unit length."""
        centred: np.ndarray = unit(unit(vectors) - self.centre)
        return centred

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [n, dim] in the reader's space: float32 [n, reader's dim], of unit length."""
        place: np.ndarray = unit(self._mapped(self.centred(vectors)))
        return place

    def tokens(self, vectors: np.ndarray) -> np.ndarray:
        """About how many of the reader's tokens texts have, float [n], by their vectors."""
        logs: np.ndarray = self.centred(vectors) @ self.lengths[:-1] + self.lengths[-1]
        tokens: np.ndarray = np.exp(logs)
        return tokens

    def learn(self, vector: np.ndarray, seen: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Locate a vector by texts near it: kernel regression on what the map misses of them.

        Args:
            vector: [dim].
            seen: [n, dim], vectors of the texts.
            places: [n, reader's dim], their vectors by the reader.

        Returns:
            float32 [reader's dim], of unit length.
        """
        centred, target = self.centred(seen), self.centred(vector[None])
        missed = places - self._mapped(centred)
        known = np.exp((centred @ centred.T - 1) / WIDTH)
        known[np.diag_indices_from(known)] += DOUBT
        weights = np.linalg.solve(known, np.exp((centred @ target[0] - 1) / WIDTH))
        place: np.ndarray = unit(self._mapped(target) + weights @ missed)[0].astype(np.float32)
        return place

    def forecast(
        self, vector: np.ndarray, seen: np.ndarray, places: np.ndarray, texts: np.ndarray
    ) -> np.ndarray:
        """How near texts will be, before they are judged, by those that were: the map back, and
        kernel regression on what it misses.

        Args:
            vector, seen, places: as for :meth:`learn`.
            texts: [m, reader's dim], vectors by the reader.

        Returns:
            float [m], about the cosines of centred vectors.
        """
        missed = self.centred(seen) - self._mapped_back(places)
        known = np.exp((places @ places.T - 1) / FAR)
        known[np.diag_indices_from(known)] += DOUBT
        weights = np.linalg.solve(known, missed)
        made = self._mapped_back(texts) + np.exp((texts @ places.T - 1) / FAR) @ weights
        near: np.ndarray = unit(made) @ self.centred(vector[None])[0]
        return near

    def _mapped_back(self, places: np.ndarray) -> np.ndarray:
        mapped: np.ndarray = places @ self.back[:-1] + self.back[-1]
        return mapped

    def _mapped(self, centred: np.ndarray) -> np.ndarray:
        mapped: np.ndarray = centred @ self.weights + self.mean
        return mapped

    def doubt(self, vectors: np.ndarray) -> str:
        """Why vectors [n, dim] seem not to be the embedder's: what all of its vectors share, they
        do not. Empty if they do, or if they are too few to tell."""
        shared = float(np.linalg.norm(self.centre))
        good = vectors[np.isfinite(vectors).all(1) & (vectors != 0).any(1)]
        if len(good) < FEW or shared < SHARED:
            return ""
        found = float((unit(good) @ self.centre).mean()) / shared
        if abs(found - shared) < shared / 2:
            return ""
        return (
            f"the vectors do not look like those of {self.embedder.name}: along the direction that "
            f"its vectors share they reach {found:.2f} on average, its own {shared:.2f}"
        )

    def check(self, judge: Embedder) -> None:
        """Refuse another embedder than the one it was made for.

        Raises:
            UserError: name or dimension differ, or the probes have other vectors now.
        """
        for key in ("name", "dim"):
            ours, theirs = getattr(judge.info, key), getattr(self.embedder, key)
            if ours != theirs:
                raise UserError(f"the alignment is for {key} {theirs}, not {ours}: align again")
        apart = 1 - float(cosine(judge.encode(list(PROBES)), self.probes).min())
        if apart > max(SAME, 2 * self.noise):
            raise UserError(
                f"the alignment is for another version of {judge.name}: the same texts now have "
                f"vectors {apart:.4f} apart: align again"
            )

    def save(self, path: str | Path) -> None:
        """Write config.json and alignment.safetensors."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        settings = {k: v for k, v in values.items() if k not in arrays}
        settings |= {k: dataclasses.asdict(settings[k]) for k in ("embedder", "reader")}
        arrays |= {k: arrays[k].astype(np.float16) for k in ("weights", "back")}
        with replacing(path) as folder:
            (folder / FILES[0]).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
            save_file(arrays, folder / FILES[1])
            (folder / FILES[1]).chmod(0o644)

    @classmethod
    def load(cls, path: str | Path) -> Alignment:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: it is missing or damaged.
        """
        path = Path(path)
        try:
            values: dict[str, Any] = json.loads((path / FILES[0]).read_text(encoding="utf-8"))
            arrays = {k: v.astype(np.float32) for k, v in load_file(path / FILES[1]).items()}
            return dacite.from_dict(cls, values | arrays, dacite.Config(strict=True))
        except FileNotFoundError as error:
            raise UserError(f"{path}: not an alignment: {error.filename} is missing") from None
        except (SafetensorError, dacite.DaciteError, ValueError, KeyError, OSError) as error:
            raise UserError(f"{path}: damaged alignment: {first_line(error)}") from None


def checked(judge: Embedder, texts: Sequence[str]) -> np.ndarray:
    """The vectors of texts, float32 [n, dim].

    Raises:
        UserError: they have another shape or dimension, or one is zero or not finite.
    """
    vectors = judge.encode(texts)
    if vectors.shape != (len(texts), judge.dim):
        raise UserError(
            f"{judge.name}: gave vectors of shape {vectors.shape} for {len(texts)} texts, not "
            f"{(len(texts), judge.dim)}"
        )
    for row, reason in bad_rows(vectors).items():
        raise UserError(f"{judge.name}: the vector of {texts[row][:60]!r} is {reason}")
    return vectors
