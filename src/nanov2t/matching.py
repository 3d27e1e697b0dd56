"""Looking for known texts among the vectors of a store, without inverting any."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.bulk import PART_ROWS, RunFolder
from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.core.progress import progress
from nanov2t.core.vectors import as_rows, bad_rows, cosine, unit
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.function import EmbeddingFunction
from nanov2t.embedders.registry import load_embedder
from nanov2t.evaluation.shared import is_first
from nanov2t.seal import seal, source_hash
from nanov2t.stores.base import Rows, Store
from nanov2t.stores.registry import open_source
from nanov2t.targets import tolerances

BLOCK = 4096
"""Texts that are compared at a time, to bound memory."""
SLACK = 1e-5
"""Error of a cosine in float32. What comes so near is compared again in float64."""
NOTED = (b"rows", b"bad", b"nearest")
"""Facts of a part in its Parquet file: rows read, rows with a bad vector, the highest cosine."""


class Match(NamedTuple):
    """A row of a store whose vector is that of a text (`exact`), or near it."""

    text: str
    id: Any
    row: int
    cosine: float
    exact: bool


def match(
    vectors: np.ndarray | Sequence[Any] | Store | str,
    texts: Sequence[str],
    embedder: Embedder | EmbeddingFunction | str = "minilm",
    near: float | None = None,
    tolerance: float | None = None,
) -> list[Match]:
    """Find the rows that hold given texts.

    Args:
        vectors: float [n, dim]; or a store, or what names one, such as `x.parquet#COLUMN`.
        embedder: what made the vectors: an embedder, its spec, or a function from a list of texts
            to float32 [n, dim].
        near: also find rows from this cosine on.
        tolerance: 1 - cosine up to which a row holds a text. The default is that of rounding; give
            .001 to .01 if another build of the embedder made the vectors.

    Raises:
        UserError: the vectors or texts cannot be used, or their dimensions differ.
    """
    if not isinstance(embedder, Embedder):
        embedder = load_embedder(embedder)
    candidates = Candidates(texts, embedder, near, tolerance)
    source = open_source(vectors) if isinstance(vectors, str) else vectors
    if isinstance(source, Store):
        return [found for part in candidates.scan(source) for found in part]
    rows = as_rows(source)
    if rows.ndim != 2 or rows.shape[1] != embedder.dim:
        raise UserError(f"vectors of shape {rows.shape}: expected [n, {embedder.dim}]")
    return candidates.find(Rows.of(list(range(len(rows))), rows, embedder.dim))


class Candidates:
    """Texts to look for, and a count of the rows that were read."""

    def __init__(
        self, texts: Sequence[str], embedder: Embedder, near: float | None, tolerance: float | None
    ):
        for name, value in (("near", near), ("tolerance", tolerance)):
            if value is not None and not 0 < value < 1:
                raise UserError(f"--{name} must lie between 0 and 1, not {value:g}")
        self.texts, self.embedder = list(texts), embedder
        self.near, self.tolerance = near, tolerance
        vectors = embedder.encode(self.texts)
        for i, reason in bad_rows(vectors).items():
            raise UserError(f"text {i + 1}: its vector is {reason}")
        self.vectors = unit(vectors).astype(np.float32)
        self.rows, self.bad, self.nearest = 0, 0, -1.0

    def find(self, rows: Rows, first: int = 0) -> list[Match]:
        """The matches in consecutive rows, in their order; `first` is the number of the first."""
        good = np.delete(np.arange(len(rows.ids)), list(rows.errors))
        self.rows, self.bad = self.rows + len(rows.ids), self.bad + len(rows.errors)
        vectors = rows.vectors[good]
        limits = tolerances(vectors) if self.tolerance is None else self.tolerance
        exact = np.broadcast_to(1 - np.asarray(limits), len(good))
        least = exact if self.near is None else np.minimum(exact, self.near)
        found, units = [], unit(vectors)
        for start in range(0, len(self.vectors) if len(good) else 0, BLOCK):
            block = self.vectors[start : start + BLOCK]
            similar = units @ block.T
            self.nearest = max(self.nearest, float(similar.max()))
            i, j = np.nonzero(similar >= (least - SLACK)[:, None])
            cosines = cosine(vectors[i], block[j])
            for k in np.flatnonzero(cosines >= least[i]):
                row, text = int(good[i[k]]), self.texts[start + j[k]]
                facts = float(cosines[k]), bool(cosines[k] >= exact[i[k]])
                found.append(Match(text, rows.ids[row], first + row, *facts))
        return sorted(found, key=lambda match: match.row)

    def scan(self, source: Store) -> Iterator[list[Match]]:
        """The matches in a store, part by part."""
        source.expect(self.embedder.dim, self.embedder.name)
        with progress("matching", source.count, shown=is_first()) as tick:
            for start in range(0, source.count, PART_ROWS):
                rows = source.read(start, min(start + PART_ROWS, source.count))
                yield self.find(rows, start)
                tick(len(rows.ids))

    def scan_to_folder(self, source: Store, spec: str, out: Path) -> Iterator[list[Match]]:
        """As :meth:`scan` of the store that `spec` names, into a folder of Parquet files that is
        complete and sealed at the end. A UserError if the folder holds another run."""
        source.expect(self.embedder.dim, self.embedder.name)
        before, info = source_hash(spec), self.embedder.info
        manifest = {
            "command": "match",
            "source": {"name": source.name, "fingerprint": before},
            "rows": source.count,
            "ids": source.ids,
            "texts": {"name": f"{len(self.texts)} texts", "fingerprint": digest(*self.texts)},
            "embedder": {"name": info.name, "fingerprint": info.fingerprint},
            "near": self.near,
            "tolerance": self.tolerance,
            "part": PART_ROWS,
        }
        folder = RunFolder(out, source.count, manifest)
        with progress("matching", source.count, folder.finished_rows, shown=is_first()) as tick:
            for part in folder.missing:
                with folder.claim(part) as ours:
                    if ours:
                        self._write(folder, part, source)
                        tick(len(folder.rows_of(part)))
        if folder.missing:
            raise UserError(f"{out}: another process is at work on it: run this again at its end")
        if source_hash(spec) != before:
            raise UserError(f"{source.name}: it changed while it was read: delete {out}")
        folder.tidy()
        seal(out)
        self.rows, self.bad, self.nearest = 0, 0, -1.0
        for path in folder.parts.values():
            table = pq.read_table(path)
            rows, bad, nearest = (table.schema.metadata[name] for name in NOTED)
            self.rows, self.bad = self.rows + int(rows), self.bad + int(bad)
            self.nearest = max(self.nearest, float(nearest))
            yield [Match(**row) for row in table.to_pylist()]

    def _write(self, folder: RunFolder, part: int, source: Store) -> None:
        numbers = folder.rows_of(part)
        rows = source.read(numbers.start, numbers.stop)
        self.nearest = -1.0
        found = self.find(rows, numbers.start)
        kinds = (pa.string(), pa.int64() if source.integer_ids else pa.string())
        types = dict(
            zip(Match._fields, (*kinds, pa.int64(), pa.float64(), pa.bool_()), strict=True)
        )
        facts = len(rows.ids), len(rows.errors), self.nearest
        noted = dict(zip(NOTED, map(str, facts), strict=True))
        cells = [match._asdict() for match in found]
        folder.save_rows(part, pa.Table.from_pylist(cells, pa.schema(types, noted)), complete=True)
