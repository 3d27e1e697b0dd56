"""FAISS index files.

`python -m nanov2t.stores.faiss FILE` reads the ends of an index, in a process of its own: a damaged
file may take the process down, or all memory.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.core.errors import UserError, first_line
from nanov2t.stores.base import HEAD, Fetched, Store, file_fingerprint, import_client


class FaissStore(Store):
    """An index; its vectors are reconstructed, so those of a quantised index are approximate."""

    suffixes = (".faiss", ".index")
    forms = ("x.faiss", "x.index")
    extra = "faiss"
    own_ids = "the index's own, or row numbers"

    def __init__(self, where: str, key: str, ids: str | None):
        if key:
            raise UserError(f"{where}: an index has no {key}")
        import_client("faiss", self.extra)
        probe = [sys.executable, "-m", "nanov2t.stores.faiss", where]
        tried = subprocess.run(probe, capture_output=True, text=True)
        if tried.returncode:
            said = tried.stdout.strip() if tried.returncode == 1 else ""
            raise ValueError(said or "FAISS crashes on it")
        self.index = Index(where)
        kind = f"float32 ({self.index.kind})"
        self.describe(where, kind, self.index.count, file_fingerprint(Path(where)))

    def fetch(self, start: int, stop: int) -> Fetched:
        return self.index.fetch(start, stop)


class Index:
    """An index in this process.

    Attributes:
        kind: its class.
        count: of its vectors.
    """

    def __init__(self, path: str):
        faiss = import_client("faiss", FaissStore.extra)
        # Lists are mapped, the rest is in memory. IO_FLAG_MMAP_IFC would map all, but takes a file
        # cut short for whole.
        self._owner = faiss.read_index(path, faiss.IO_FLAG_MMAP)  # keeps alive what is in it
        index = faiss.downcast_index(self._owner)
        self.kind, self.count = type(index).__name__, index.ntotal
        self._ids: np.ndarray | None = None
        self._inner: np.ndarray | None = None
        """The ids by which vectors are reconstructed where that does not go by their places."""
        if isinstance(index, faiss.IndexIDMap):
            self._ids = faiss.vector_to_array(index.id_map)
            index = faiss.downcast_index(index.index)
        self._index: Any = index
        if isinstance(index, faiss.IndexIVF):
            self._inner = _list_ids(faiss, index)
            index.set_direct_map_type(faiss.DirectMap.Hashtable)
            self._ids = self._inner if self._ids is None else self._ids[self._inner]
        elif index.ntotal:
            # Raises what reconstruct_n, which is parallel, would end the process with.
            index.reconstruct(0)

    def fetch(self, start: int, stop: int) -> Fetched:
        if self._inner is None:
            vectors = self._index.reconstruct_n(start, stop - start)
        else:
            vectors = self._index.reconstruct_batch(self._inner[start:stop])
        return range(start, stop) if self._ids is None else self._ids[start:stop].tolist(), vectors


def _list_ids(faiss: Any, index: Any) -> np.ndarray:
    """The ids in all lists of an inverted file, int64 [n], ascending."""
    lists = [(index.invlists.get_ids(i), index.invlists.list_size(i)) for i in range(index.nlist)]
    return np.sort(np.concatenate([faiss.rev_swig_ptr(ids, n).copy() for ids, n in lists if n]))


def _probe(path: str) -> int:
    """Read the ends of an index; the exit code is 1 where FAISS refuses it."""
    limit = 8 * Path(path).stat().st_size + 2**33
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        index = Index(path)
        index.fetch(0, min(index.count, HEAD))
        index.fetch(max(0, index.count - HEAD), index.count)
    except Exception as error:
        print(first_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_probe(sys.argv[1]))
