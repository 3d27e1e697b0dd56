"""Proof that evidence and results are what they were: hashes of sources and of output folders."""

import hashlib
import json
from collections.abc import Iterable
from os.path import commonpath
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.core.errors import UserError, first_line
from nanov2t.core.files import write_whole
from nanov2t.core.parts import MANIFEST, flat
from nanov2t.stores.registry import files_of, open_source

SEAL = "_SHA256SUMS"
"""The hash of every other file, as `sha256sum` writes it."""
REPORT = "report.json"
COVERED = (MANIFEST, "part-*", "report.*", "found/**/*")
"""What a seal covers in a folder, hidden files apart."""
SETTINGS = ("version", "date", "seed", "texts", "store", "embedder", "inverter")
"""What a report says of how it was made."""


def source_hash(spec: str) -> str:
    """The SHA-256 of a source: of its file, or of the lines of `sha256sum` for its files. A server
    has none, so its store's fingerprint counts."""
    paths = files_of(spec)
    if not paths:
        return open_source(spec).fingerprint
    if len(paths) == 1:
        return _hash(paths[0])
    return hashlib.sha256(_sums(paths, Path(commonpath(paths))).encode()).hexdigest()


def seal(folder: Path, again: bool = False) -> None:
    """Write the hashes of a finished folder's files, or raise a :class:`UserError`. A seal that is
    there stays, or altered parts would be sealed, unless a run may change it `again`."""
    if (folder / SEAL).exists() and not again:
        return
    try:
        write_whole(folder / SEAL, _sums(_files(folder), folder).encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


def check_folder(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The settings that made an output folder, and a line for everything that is missing, altered
    or too much in it. A UserError if it is not the folder of an invert, a match or an audit."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    kind = next((name for name in (MANIFEST, REPORT) if (folder / name).is_file()), None)
    if kind is None:
        raise UserError(f"{folder}: holds neither {MANIFEST} nor {REPORT}: no output of nanov2t")
    faults = _unlike_seal(folder)
    try:
        made = dict(json.loads((folder / kind).read_bytes()))
    except (OSError, TypeError, ValueError) as error:
        return {}, [*faults, f"{kind}: damaged: {first_line(error)}"]
    if kind == REPORT:
        return flat({name: made[name] for name in SETTINGS if name in made}), faults
    faults += _unlike_manifest(folder, made)
    return {name: x for name, x in flat(made).items() if x not in (None, "")}, faults


def _unlike_seal(folder: Path) -> list[str]:
    if not (folder / SEAL).is_file():
        return [f"{SEAL}: missing: the run has not ended, the same command goes on"]
    text = (folder / SEAL).read_text(encoding="utf-8", errors="replace")
    lines = [line.partition("  ") for line in text.splitlines()]
    sealed = {name: hashed for hashed, _, name in lines}
    there = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    faults = [f"{name}: missing" for name in sealed.keys() - there.keys()]
    faults += [f"{name}: added later" for name in there.keys() - sealed.keys()]
    both = sealed.keys() & there.keys()
    return sorted(
        faults + [f"{name}: altered" for name in both if _hash(there[name]) != sealed[name]]
    )


def _unlike_manifest(folder: Path, made: dict[str, Any]) -> list[str]:
    """The parts whose rows are not those that the manifest promises."""
    faults, size, count = [], made.get("part"), made.get("rows")
    if not isinstance(size, int) or not isinstance(count, int) or size < 1:
        return [f"{MANIFEST}: damaged: does not say how many rows there are"]
    for number, first in enumerate(range(0, count, size)):
        path, rows = folder / f"part-{number:08d}.parquet", min(size, count - first)
        try:
            facts = pq.read_metadata(path)
        except FileNotFoundError:
            faults.append(f"{path.name}: missing: rows {first} to {first + rows - 1}")
            continue
        except (OSError, pa.ArrowException) as error:
            faults.append(f"{path.name}: damaged: {first_line(error)}")
            continue
        held = int((facts.metadata or {}).get(b"rows", facts.num_rows))
        if held != rows:
            faults.append(f"{path.name}: {held} rows, not {rows}")
    return faults


def _files(folder: Path) -> list[Path]:
    paths = {path for pattern in COVERED for path in folder.glob(pattern)}
    return sorted(path for path in paths if path.is_file() and path.name[0] != ".")


def _sums(paths: Iterable[Path], root: Path) -> str:
    return "".join(f"{_hash(path)}  {path.relative_to(root).as_posix()}\n" for path in paths)


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
