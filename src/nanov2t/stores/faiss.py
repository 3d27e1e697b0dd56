"""FAISS index files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.stores.base import (
    Fetch,
    Source,
    file_fingerprint,
    import_client,
    make,
)

PROBE = """
import resource, sys
from pathlib import Path
from nanov2t.stores.faiss import read_faiss
limit = 8 * Path(sys.argv[1]).stat().st_size + 2**33
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
count, _, fetch = read_faiss(sys.argv[1])
fetch(0, min(count, 1024)), fetch(max(0, count - 1024), count)
"""


def faiss_index(path: Path, key: str, ids: str | None) -> Source:
    """A FAISS index file; its vectors are reconstructed, so those of a quantised index are
    approximate."""
    if key:
        raise UserError(f"{path}: an index has no {key}")
    import_client("faiss", "faiss")
    # A damaged file may take the process down with FAISS, or all memory, so another process tries
    # first.
    tried = subprocess.run([sys.executable, "-c", PROBE, path], capture_output=True, text=True)
    if tried.returncode:
        said = tried.stderr.strip().splitlines() if tried.returncode == 1 else []
        raise ValueError(said[-1] if said else "FAISS crashes on it")
    count, kind, fetch = read_faiss(str(path))
    return make(str(path), kind, count, file_fingerprint(path), fetch)


def read_faiss(path: str) -> tuple[int, str, Fetch]:
    """Count, kind and reader of an index file.

    Raises:
        UserError: vectors of this kind of index cannot be reconstructed.
    """
    faiss = import_client("faiss", "faiss")
    # Lists are mapped, the rest is in memory. IO_FLAG_MMAP_IFC would map all, but takes a file cut
    # short for whole.
    owner = faiss.read_index(path, faiss.IO_FLAG_MMAP)
    index = faiss.downcast_index(owner)
    kind, ids = type(index).__name__, None
    if isinstance(index, faiss.IndexIDMap):
        ids, index = faiss.vector_to_array(index.id_map), faiss.downcast_index(index.index)
    if isinstance(index, faiss.IndexIVF):
        lists = [
            (index.invlists.get_ids(i), index.invlists.list_size(i)) for i in range(index.nlist)
        ]
        inner = np.sort(
            np.concatenate([faiss.rev_swig_ptr(start, n).copy() for start, n in lists if n])
        )
        index.set_direct_map_type(faiss.DirectMap.Hashtable)
        ids = inner if ids is None else ids[inner]
    elif index.ntotal:
        inner = None
        index.reconstruct(
            0
        )  # raises what reconstruct_n, being parallel, would end the process with

    def fetch(
        start: int, stop: int, _owner=owner
    ) -> tuple:  # what `index` points to lives as long as its owner
        vectors = (
            index.reconstruct_n(start, stop - start)
            if inner is None
            else index.reconstruct_batch(inner[start:stop])
        )
        return range(start, stop) if ids is None else ids[start:stop].tolist(), vectors

    return index.ntotal, f"float32 ({kind})", fetch
