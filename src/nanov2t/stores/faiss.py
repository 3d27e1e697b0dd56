"""FAISS index files. `python -m nanov2t.stores.faiss FILE` reads the ends of an index in a process
of its own, since a damaged file may crash the process or use up all memory."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.core.errors import first_line
from nanov2t.core.imports import import_client
from nanov2t.stores.base import HEAD, Fetched, Store
from nanov2t.stores.values import pick


class FaissStore(Store):
    """An index. Its vectors are reconstructed, so those of a quantised index are approximate."""

    forms = ("x.faiss", "x.index")
    extra = "faiss"
    own_ids = "the index's own, or row numbers"

    def __init__(self, where: str, key: str, ids: str | None):
        pick(where, key, [""])
        self.path = Path(where)
        import_client("faiss", self.extra)
        probe = [sys.executable, "-m", "nanov2t.stores.faiss", where]
        tried = subprocess.run(probe, capture_output=True, text=True)
        if tried.returncode:
            said = tried.stdout.strip() if tried.returncode == 1 else ""
            raise ValueError(said or "FAISS crashes on it")
        self.load(where)
        self.describe(where, f"float32 ({self.kind})", self.count)

    def load(self, path: str) -> None:
        """Open an index in this process."""
        faiss = import_client("faiss", self.extra)
        # Inverted lists are mapped, the rest is loaded. IO_FLAG_MMAP_IFC would map everything, but
        # accepts a file that was cut short.
        self._owner = faiss.read_index(path, faiss.IO_FLAG_MMAP)  # keeps its parts alive
        index = faiss.downcast_index(self._owner)
        self.kind, self.count = type(index).__name__, index.ntotal
        self._ids: np.ndarray | None = None
        if isinstance(index, faiss.IndexIDMap):
            self._ids = faiss.vector_to_array(index.id_map)
            index = faiss.downcast_index(index.index)
        self._inverses: list[Callable[[np.ndarray], np.ndarray]] = []
        while isinstance(index, faiss.IndexPreTransform):
            chain = [index.chain.at(i) for i in range(index.chain.size())]
            self._inverses += (_inverse(faiss, transform) for transform in chain)
            index = faiss.downcast_index(index.index)
        self._index = index
        if isinstance(index, faiss.IndexIVF):
            found = _number_rows(faiss, index)
            self._ids = found if self._ids is None else self._ids[found]
        if self.count:
            # Raises errors that would end the process in reconstruct_batch, which is parallel.
            index.reconstruct(0)

    def fetch(self, start: int, stop: int) -> Fetched:
        vectors = self._index.reconstruct_batch(np.arange(start, stop))
        for inverse in reversed(self._inverses):
            vectors = inverse(vectors)
        return range(start, stop) if self._ids is None else self._ids[start:stop].tolist(), vectors


def _inverse(faiss: Any, transform: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function from transformed vectors [n, out] to the original ones [n, in]."""
    transform = faiss.downcast_VectorTransform(transform)
    if not isinstance(transform, faiss.LinearTransform):
        return lambda vectors: np.asarray(transform.reverse_transform(vectors))
    # reverse_transform takes every matrix for orthonormal, but one that whitens is not.
    matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
    shift = faiss.vector_to_array(transform.b) if transform.have_bias else np.float32(0)
    inverse = np.linalg.pinv(matrix).T
    return lambda vectors: np.asarray((vectors - shift) @ inverse)


def _number_rows(faiss: Any, index: Any) -> np.ndarray:
    """Number an inverted file's rows in the order of their ids, and return those, int64 [n]."""
    if isinstance(index, faiss.IndexIVFPQFastScan):
        index.fine_quantizer = index.pq  # reading leaves it null, and FAISS would crash
    lists = index.invlists
    sizes = [lists.list_size(i) for i in range(index.nlist)]
    if sum(sizes) != index.ntotal:
        raise ValueError(f"its lists hold {sum(sizes):,} rows of {index.ntotal:,}")
    ids = [faiss.rev_swig_ptr(lists.get_ids(i), n).copy() for i, n in enumerate(sizes) if n]
    found = np.concatenate([np.empty(0, np.int64), *ids])
    places = np.concatenate([(i << 32) + np.arange(n) for i, n in enumerate(sizes)])
    order = np.argsort(found, kind="stable")
    index.direct_map.type = faiss.DirectMap.Array
    faiss.copy_array_to_vector(places[order], index.direct_map.array)
    return np.asarray(found[order])


if __name__ == "__main__":
    path = sys.argv[1]
    limit = 8 * Path(path).stat().st_size + 2**33
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        index = FaissStore.__new__(FaissStore)
        index.load(path)
        index.fetch(0, min(index.count, HEAD))
        index.fetch(max(0, index.count - HEAD), index.count)
    except Exception as error:
        print(first_line(error))
        sys.exit(1)
