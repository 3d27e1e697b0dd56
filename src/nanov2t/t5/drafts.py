"""Drafts in files: `{split}.hyps.jsonl`, with a row's place `idx` and its `draft`, in nanoV2T's
form. Beside it, `{split}.hyps.json` says what the drafts were made from."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from nanov2t.core.drafts import drafts_of
from nanov2t.core.errors import UserError
from nanov2t.core.files import file_fingerprint, replacing, write_whole
from nanov2t.core.manifest import check_same_run
from nanov2t.core.passages import read_rows
from nanov2t.core.progress import progress
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.sentence import tokenization
from nanov2t.embedders.text import reference
from nanov2t.inverter import Inverter
from nanov2t.train.data import PASSAGES, VECTORS, Corpus

PART = 1024
"""Rows drafted together: what a kill may cost."""
IDS = "ids.npy"
NOTHING = -1
"""Fills up rows of ids behind the closing token."""


def write_drafts(
    inverter: Inverter, source: str, split: str, folder: Path, column: str = ""
) -> Path:
    """Write greedy first guesses of a text's rows, or resume; rows without text get none. The
    processes of torchrun share the rows, and all return once the file is whole.

    Args:
        source, split, column: see :func:`~nanov2t.core.passages.read_rows`.

    Raises:
        UserError: the text cannot be had, the inverter has no hypothesizer, or the folder holds
            other drafts or cannot be written.
    """
    state = PartialState(cpu=not torch.cuda.is_available())
    path, parts = folder / f"{split}.hyps.jsonl", folder / f".{split}"
    try:
        if state.is_main_process:
            _claim(path, _facts(inverter, source, column))
        state.wait_for_everyone()
        if path.exists():
            return path
        parts.mkdir(exist_ok=True)
        total = sum(1 for _ in read_rows(source, split, column)) if state.is_main_process else 0
        done = {int(file.stem) for file in parts.glob("[0-9]*.jsonl")}
        before, shown = min(total, PART * len(done)), state.is_main_process
        rows = enumerate(read_rows(source, split, column))
        with progress(f"drafting {split}", total, before, shown) as tick:
            for number in itertools.count():
                part = list(itertools.islice(rows, PART))
                if not part:
                    break
                if number in done:
                    continue
                if number % state.num_processes == state.process_index:
                    write_whole(parts / f"{number:08d}.jsonl", _draft(inverter, part).encode())
                tick(len(part))
        state.wait_for_everyone()
        if state.is_main_process:
            _join(parts, path)
        state.wait_for_everyone()
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from None
    return path


def check_facts(path: Path, embedder: Embedder, max_tokens: int) -> None:
    """Raise a UserError if a file of drafts says that they are of another embedder's vectors, or of
    texts cut at another place."""
    facts = _read_facts(path) or {}
    other = facts.get("embedder", {}).get("fingerprint", embedder.info.fingerprint)
    if other != embedder.info.fingerprint:
        raise UserError(f"{path}: drafts of vectors of {facts['embedder']['name']} {other}")
    if (cut := facts.get("max_tokens", max_tokens)) != max_tokens:
        raise UserError(f"{path}: drafts of texts of {cut} tokens, not {max_tokens}")


def draft_arrays(
    path: Path, corpus: Corpus, embedder: Embedder, tokenizer: Any, max_tokens: int, eos: int
) -> tuple[np.ndarray, np.ndarray]:
    """The drafts of a corpus's passages, memory-mapped and cached beside it: ids, int32 [passages,
    max_tokens + 1], and vectors, float32 [passages, dim].

    Raises:
        UserError: the file cannot be read, or lacks a passage.
    """
    digest = hashlib.sha256(f"{tokenization(tokenizer)}{eos}".encode())
    try:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    key = f"{embedder.info.fingerprint}-{max_tokens}-{digest.hexdigest()[:16]}"
    folder = corpus.folder / f"drafts-{key}"
    if not folder.is_dir():
        drafts = drafts_of(path, range(corpus.row_count), corpus.rows.tolist())
        with replacing(folder) as aside:
            _write_arrays(aside, drafts, embedder, tokenizer, max_tokens, eos)
    return np.load(folder / IDS, mmap_mode="r"), np.load(folder / VECTORS, mmap_mode="r")


def _write_arrays(
    folder: Path, drafts: list[str], embedder: Embedder, tokenizer: Any, max_tokens: int, eos: int
) -> None:
    count, new = len(drafts), np.lib.format.open_memmap
    vectors = new(folder / VECTORS, "w+", np.float32, (count, embedder.dim))
    ids = new(folder / IDS, "w+", np.int32, (count, max_tokens + 1))
    cut = {"add_special_tokens": False, "truncation": True, "max_length": max_tokens}
    for start in range(0, count, PASSAGES):
        part = drafts[start : start + PASSAGES]
        for i, row in enumerate(tokenizer(part, **cut)["input_ids"], start):
            ids[i] = [*row, eos, *itertools.repeat(NOTHING, max_tokens - len(row))]
        vectors[start : start + len(part)] = embedder.encode(part)
    ids.flush()
    vectors.flush()


def _read_facts(path: Path) -> dict[str, Any] | None:
    facts = _facts_file(path)
    if not facts.is_file():
        return None
    try:
        return dict(json.loads(facts.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{facts}: damaged: {error}") from None


def _facts_file(path: Path) -> Path:
    return path.with_name(path.name.replace(".hyps.jsonl", ".hyps.json"))


def _facts(inverter: Inverter, source: str, column: str) -> dict[str, Any]:
    info, text = inverter.embedder.info, Path(source)
    return {
        "texts": {"name": source, "fingerprint": file_fingerprint(text)}
        if text.is_file()
        else source,
        "column": column,
        "inverter": {"name": info.name, "fingerprint": inverter.fingerprint()},
        "embedder": {"name": info.name, "fingerprint": info.fingerprint},
        "max_tokens": inverter.max_tokens,
    }


def _claim(path: Path, facts: dict[str, Any]) -> None:
    before = _read_facts(path)
    if before is not None:
        check_same_run(path, before, facts, "--out")
    elif path.exists():
        raise UserError(f"{path} holds other drafts: choose another --out, or delete it")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(_facts_file(path), json.dumps(facts, indent=2).encode())


def _draft(inverter: Inverter, rows: list[tuple[int, str]]) -> str:
    limit, tokenizer, embedder = inverter.max_tokens, inverter.tokenizer, inverter.embedder
    texts = {i: reference(text, tokenizer, embedder, limit) for i, text in rows if text}
    known = {i: text for i, text in texts.items() if text}
    drafts = dict.fromkeys(texts, "")  # of a text without a known token
    if known:
        written = inverter.hypothesize(embedder.encode(list(known.values())))
        drafts |= zip(known, written, strict=True)
    lines = ({"idx": i, "draft": draft} for i, draft in drafts.items())
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _join(parts: Path, path: Path) -> None:
    whole = parts / path.name
    with open(whole, "wb") as out:
        for part in sorted(parts.glob("[0-9]*.jsonl")):
            with open(part, "rb") as file:
                shutil.copyfileobj(file, out)
    whole.rename(path)
    shutil.rmtree(parts)
