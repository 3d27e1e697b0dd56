"""Files as sources. What they hold is never executed: no pickles."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanov2t.config import UserError
from nanov2t.sources import HEAD, Source, arrow_columns, arrow_rows, file_fingerprint, forward, make, pick
from nanov2t.stores import faiss_index


def open_file(spec: str, ids: str | None) -> Source:
    """Open a file, its column or key after a `#`."""
    path, key = Path(spec), ""
    if not path.is_file() and "#" in spec:
        path, key = Path(spec.rpartition("#")[0]), spec.rpartition("#")[2]
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: not one of {', '.join(READERS)}")
    if ids and reader not in (_parquet, _jsonl):
        raise UserError(f"{path}: has no columns to take ids from")
    return reader(path, key, ids)


def _array(name: str, shape: Sequence[int], kind: str, path: Path, get: Callable[[int, int], np.ndarray]) -> Source:
    """A source of one array [n, dim]."""
    if len(shape) != 2 or not all(shape):
        raise UserError(f"{name}: an array of shape {tuple(shape)}, not vectors [n, dim]")
    return make(name, kind, shape[0], file_fingerprint(path), lambda a, b: (range(a, b), get(a, b)))


def _npy(path: Path, key: str, ids: str | None) -> Source:
    if key:
        raise UserError(f"{path}: holds one array, no {key}")

    def load() -> np.ndarray:
        # Mapped anew for every chunk: what was read of a mapping counts as memory until it is closed.
        array = np.lib.format.open_memmap(path, mode="r")
        if array.offset + array.nbytes != path.stat().st_size:
            raise ValueError("its size is not what its header says")
        return np.atleast_2d(array)

    array = load()
    return _array(str(path), array.shape, array.dtype.name, path, lambda a, b: np.array(load()[a:b]))


def _npz(path: Path, key: str, ids: str | None) -> Source:
    archive = zipfile.ZipFile(path)
    name = pick(str(path), key, [n.removesuffix(".npy") for n in archive.namelist()])
    member = f"{name}.npy"
    with archive.open(member) as file:
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, by_column, kind = header[np.lib.format.read_magic(file)](file)
        start = file.tell()
        # Its checksum is compared at the end: read all of it now, or damage would be met in the middle of the night.
        size = sum(map(len, iter(lambda: file.read(1 << 20), b"")))
    if kind.hasobject or size != kind.itemsize * int(np.prod(shape)):
        raise ValueError(f"{member} is not an array of {shape} numbers")
    if by_column:
        raise UserError(f"{path}#{name}: stored column by column; save it as .npy")
    stream = archive.open(member)

    def get(a: int, b: int) -> np.ndarray:
        width = kind.itemsize * shape[1]
        stream.seek(start + a * width)
        return np.frombuffer(stream.read((b - a) * width), kind).reshape(-1, shape[1])

    return _array(f"{path}#{name}", shape, kind.name, path, get)


def _safetensors(path: Path, key: str, ids: str | None) -> Source:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        name = pick(str(path), key, file.keys())
        shape = file.get_slice(name).get_shape()
        kind = str(file.get_slice(name)[:1].dtype).removeprefix("torch.")

    def get(a: int, b: int) -> np.ndarray:
        with safe_open(path, "pt") as file:
            return file.get_slice(name)[a:b].float().numpy()

    return _array(f"{path}#{name}", shape, kind, path, get)


def _parquet(path: Path, key: str, ids: str | None) -> Source:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, page_checksum_verification=True)
    column, kind, integer_ids = arrow_columns(str(path), file.schema_arrow, key, ids)

    def rows() -> Iterator[tuple]:
        start = 0
        for batch in file.iter_batches(HEAD, columns=[column, *([ids] if ids else [])]):
            yield from arrow_rows(batch, column, ids, start)
            start += len(batch)

    return make(f"{path}#{column}", kind, file.metadata.num_rows, file_fingerprint(path), forward(rows), integer_ids)


def _jsonl(path: Path, key: str, ids: str | None) -> Source:
    def lines() -> Iterator[bytes]:
        with open(path, "rb") as file:
            yield from (line for line in file if not line.isspace())

    first = last = b""
    count = 0
    for last in lines():
        first = first or last
        count += 1
    if not count:
        raise UserError(f"{path}: holds no vectors")
    if not isinstance(_json(last), dict):
        raise UserError(f"{path}: its last line is not a JSON object: it may have been cut off")
    head = _json(first)
    if not isinstance(head, dict) or (ids and ids not in head):
        raise UserError(f"{path}: its first line is not a JSON object{f' with {ids}' if ids else ''}")
    column = pick(str(path), key, [name for name, value in head.items() if isinstance(value, list)])

    def rows() -> Iterator[tuple]:
        for i, line in enumerate(lines()):
            row = _json(line)
            if not isinstance(row, dict):
                yield None if ids else i, "not a JSON object"
                continue
            vector = row.get(column)
            yield row.get(ids) if ids else i, "not a list of numbers" if isinstance(vector, str) else vector

    # JSON does not say of a column that all its ids are numbers: they are strings.
    return make(f"{path}#{column}", "json", count, file_fingerprint(path), forward(rows), not ids)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


READERS: dict[str, Callable[[Path, str, str | None], Source]] = {
    ".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".jsonl": _jsonl, ".safetensors": _safetensors,
    ".faiss": faiss_index, ".index": faiss_index}
