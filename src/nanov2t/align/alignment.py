"""Alignments: where an embedder's vectors lie in the space of the bundled reader.

A ridge regression on a few thousand texts that both have embedded maps another embedder's vectors
roughly into the space of the reader, whose vectors the networks read. A search learns the rest from
the texts it has judged: near the target the map becomes exact.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import dacite
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import replacing
from nanov2t.core.vectors import bad_rows, cosine, unit
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.function import PROBES

FILES = ("config.json", "alignment.safetensors")
SAME = 2e-3
"""1 - cosine up to which two probes are of one version: servers round differently from day to day,
and another model or prompt moves them by more."""
FEW, SHARED = 8, 0.1
"""Vectors, and the length of what an embedder's vectors share, below which they cannot be told from
those of another."""
WIDTH, DOUBT = 0.5, 0.02
"""Width of the kernels exp((cosine - 1) / width), and the noise that they allow for."""
NEIGHBOURS = 200
"""Known texts, and as many words, that say where a vector lies before any text was judged."""
LARGE, SIZES = 0.98, (1.51, 0.45)
"""How large a large number of a known vector is, and what stands for large and other ones, in
standard deviations: the best four levels for normal numbers (Max 1960, table I)."""
SURE = 8.0
"""Nats of evidence for a word at most."""


class Seen(NamedTuple):
    """Texts whose vectors by both embedders are known."""

    cosines: np.ndarray
    """float32 [n], of their whitened vectors with the target's."""
    vectors: np.ndarray
    """float32 [n, dim], whitened, by the embedder."""
    own: np.ndarray
    """float32 [n, reader's dim], by the reader."""


@dataclass(frozen=True)
class Alignment:
    """A map from an embedder's vectors to the reader's space, and what else is known of both.

    Attributes:
        embedder, reader: whose vectors it maps into whose space.
        pairs, agreement: texts it was fitted on; mean cosine of mapped and true vectors, held out.
        scale: how much smaller a change of a word is by the embedder's cosine than by the reader's.
        noise: 1 - cosine of one text embedded twice, at most.
        sees_case, sees_spacing, sees_accents: whether these move its vectors.
        centre: float32 [dim], mean of its unit vectors.
        whitening: float32 [dim, dim], makes centred vectors spread alike in all directions.
        weights: float32 [dim, reader's dim] on whitened unit vectors, and `mean`, which is added.
        lengths: float32 [dim + 1], the log number of reader's tokens likewise, the constant last.
        back: float32 [reader's dim + 1, dim], the reader's vectors to whitened ones, likewise.
        probes: float32 [4, dim], vectors of PROBES, which tell versions of the embedder apart.
        texts: what it was fitted on, then single words, the reader's tokens `words`.
        known: uint8 [2, texts, dim / 8], their whitened vectors, two bits a number.
        usual: float32 [words, 2], mean and deviation of each word's cosines with the texts.
        odds: float32 [2], slope and constant of the log odds of a word by that deviation.
    """

    embedder: EmbedderInfo
    reader: EmbedderInfo
    pairs: int
    agreement: float
    scale: float
    noise: float
    sees_case: bool
    sees_spacing: bool
    sees_accents: bool
    centre: np.ndarray
    whitening: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    lengths: np.ndarray
    back: np.ndarray
    probes: np.ndarray
    texts: list[str]
    words: list[int]
    known: np.ndarray
    usual: np.ndarray
    odds: np.ndarray

    @cached_property
    def vectors(self) -> np.ndarray:
        """About the whitened vectors of the texts, float32 [texts, dim]."""
        positive, large = np.unpackbits(self.known, axis=-1, count=self.embedder.dim).astype(bool)
        sizes = np.where(large, *SIZES)
        return unit(np.where(positive, sizes, -sizes).astype(np.float32))

    def whitened(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [n, dim] without what all of them share, of unit length: so one word shows."""
        return unit((unit(vectors) - self.centre) @ self.whitening)

    def tokens(self, vectors: np.ndarray) -> np.ndarray:
        """About how many of the reader's tokens texts have, float [n], by their vectors."""
        tokens: np.ndarray = np.exp(self.whitened(vectors) @ self.lengths[:-1] + self.lengths[-1])
        return tokens

    def neighbours(self, vector: np.ndarray, reader: Embedder) -> Seen:
        """The texts and the words nearest to a vector [dim], of those whose vectors are kept."""
        target = self.whitened(vector[None])[0]
        cosines, words = self.vectors @ target, len(self.texts) - len(self.words)
        texts, alone = (np.argsort(-part)[:NEIGHBOURS] for part in np.split(cosines, [words]))
        chosen = np.append(texts, words + alone)
        vectors = self.vectors[chosen]
        return Seen(vectors @ target, vectors, reader.encode([self.texts[i] for i in chosen]))

    def evidence(self, vector: np.ndarray, vocabulary: int) -> np.ndarray:
        """What a vector [dim] says of single words by their own vectors: float32 [vocabulary],
        nats by which it is likelier that its text has the reader's token; never negative."""
        target = self.whitened(vector[None])[0]
        cosines = self.vectors[len(self.texts) - len(self.words) :] @ target
        apart = (cosines - self.usual[:, 0]) / self.usual[:, 1]
        evidence = np.zeros(vocabulary, np.float32)
        evidence[self.words] = np.clip(apart * self.odds[0] + self.odds[1], 0, SURE)
        return evidence

    def place(self, whitened: np.ndarray) -> np.ndarray:
        """Map whitened vectors [n, dim] into the reader's space: [n, reader's dim]."""
        place: np.ndarray = whitened @ self.weights + self.mean
        return place

    def learn(self, vector: np.ndarray, seen: Seen) -> np.ndarray:
        """Locate a vector [dim] by texts near it: float32 [reader's dim], of unit length."""
        target = self.whitened(vector[None])[0]
        return unit(_corrected(self.place, target, seen.vectors, seen.own)).astype(np.float32)

    def forecast(
        self, vector: np.ndarray, seen: Seen, texts: np.ndarray, doubt: float = DOUBT
    ) -> np.ndarray:
        """About the cosines of a vector [dim] and texts that were not judged, whitened, float [m],
        by the reader's vectors of the texts [m, reader's dim] and those that were judged."""
        made = _corrected(self._mapped_back, texts, seen.own, seen.vectors, doubt)
        near: np.ndarray = unit(made) @ self.whitened(vector[None])[0]
        return near

    def _mapped_back(self, places: np.ndarray) -> np.ndarray:
        mapped: np.ndarray = places @ self.back[:-1] + self.back[-1]
        return mapped

    def doubt(self, vectors: np.ndarray) -> str:
        """Why vectors [n, dim] seem not to be the embedder's: they lack what all of its vectors
        share. Empty if they have it, or if they are too few to tell."""
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
        """Raise a UserError if the judge is another embedder than the one it was made for: name or
        dimension differ, or the probes have other vectors now."""
        for key in ("name", "dim"):
            ours, theirs = getattr(judge.info, key), getattr(self.embedder, key)
            if ours != theirs:
                raise UserError(f"the alignment is for {key} {theirs}, not {ours}: align again")
        apart = 1 - float(cosine(judge.encode(list(PROBES)), self.probes).min())
        if apart > max(SAME, 2 * self.noise):
            version = f"the alignment is for another version of {judge.name}"
            now = f"the same texts now have vectors {apart:.4f} apart"
            raise UserError(f"{version}: {now}: align again")

    def save(self, path: str | Path) -> None:
        """Write config.json and alignment.safetensors."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        settings = {k: v for k, v in values.items() if k not in arrays}
        settings |= {k: dataclasses.asdict(settings[k]) for k in ("embedder", "reader")}
        arrays |= {k: arrays[k].astype(np.float16) for k in ("whitening", "weights", "back")}
        with replacing(path) as folder:
            (folder / FILES[0]).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
            save_file(arrays, folder / FILES[1])
            (folder / FILES[1]).chmod(0o644)

    @classmethod
    def load(cls, path: str | Path) -> Alignment:
        """Read what :meth:`save` wrote; a UserError says that it is missing or damaged."""
        path = Path(path)
        try:
            values: dict[str, Any] = json.loads((path / FILES[0]).read_text(encoding="utf-8"))
            arrays = load_file(path / FILES[1])
            arrays |= {k: arrays[k].astype(np.float32) for k in ("whitening", "weights", "back")}
            return dacite.from_dict(cls, values | arrays, dacite.Config(strict=True))
        except FileNotFoundError as error:
            raise UserError(f"{path}: not an alignment: {error.filename} is missing") from None
        except (SafetensorError, dacite.DaciteError, ValueError, KeyError, OSError) as error:
            raise UserError(f"{path}: damaged alignment: {first_line(error)}") from None


def pack(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors [n, dim] in two bits a number, the sign and whether it is large, uint8 [2, n,
    dim / 8]; which keeps .95 of their cosines."""
    large = np.abs(vectors) > LARGE / np.sqrt(vectors.shape[1])
    return np.packbits(np.stack([vectors > 0, large]), axis=-1)


def _corrected(
    mapped: Callable[[np.ndarray], np.ndarray],
    new: np.ndarray,
    known: np.ndarray,
    true: np.ndarray,
    doubt: float = DOUBT,
) -> np.ndarray:
    """New unit vectors [m, d] or [d], mapped, and corrected by kernel regression on what the map
    misses of known ones [n, d], whose true places are [n, e]."""
    kernel = np.exp((known @ known.T - 1) / WIDTH)
    kernel[np.diag_indices_from(kernel)] += doubt
    missed = np.linalg.solve(kernel, true - mapped(known))
    corrected: np.ndarray = mapped(new) + np.exp((new @ known.T - 1) / WIDTH) @ missed
    return corrected


def checked(judge: Embedder, texts: Sequence[str]) -> np.ndarray:
    """The vectors of texts, float32 [n, dim]; a UserError if they have another shape, or one is
    zero or not finite."""
    vectors, name = judge.encode(texts), judge.name
    if vectors.shape != (wanted := (len(texts), judge.dim)):
        said = f"gave vectors of shape {vectors.shape} for {len(texts)} texts, not {wanted}"
        raise UserError(f"{name}: {said}")
    for row, reason in bad_rows(vectors).items():
        raise UserError(f"{name}: the vector of {texts[row][:60]!r} is {reason}")
    return vectors
