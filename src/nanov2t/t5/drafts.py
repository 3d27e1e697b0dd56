"""Drafts in files: `{split}.hyps.jsonl` in nanoV2T's form, with a row's number `idx` and its
`draft`. Beside it, `{split}.hyps.json` says what the drafts were made from."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest, file_fingerprint, make_folder, replacing, write_whole
from nanov2t.core.parts import Parts, check_same_run
from nanov2t.core.passages import drafts_of, read_rows
from nanov2t.core.progress import progress
from nanov2t.embedders.base import Embedder
from nanov2t.embedders.sentence import tokenization
from nanov2t.embedders.text import reference
from nanov2t.inverter import Inverter
from nanov2t.train.data import PASSAGES, VECTORS, Corpus, file_hash

PART = 1024  # rows drafted together: what a kill may cost
IDS = "ids.npy"
NOTHING = -1  # fills up rows of ids behind the closing token


def write_drafts(
    inverter: Inverter, source: str, split: str, folder: Path, column: str = ""
) -> Path:
    """Write a greedy first hypothesis of each row that holds text, or resume; see
    :func:`~nanov2t.core.passages.read_rows`. The processes of torchrun share the rows, and all
    return once the file is whole. Raises a UserError if the text cannot be had, the inverter has no
    hypothesizer, or the folder holds other drafts or cannot be written."""
    state = PartialState(cpu=not torch.cuda.is_available())
    path, own = folder / f"{split}.hyps.jsonl", state.is_main_process
    if own:
        _claim(path, inverter, source, column)
    state.wait_for_everyone()
    if path.exists():
        return path
    count = sum(1 for _ in read_rows(source, split, column))
    parts = Parts(folder / f".{split}", -(-count // PART), ".jsonl")
    rows, done = enumerate(read_rows(source, split, column)), set(parts.parts)
    with progress(f"drafting {split}", count, min(count, PART * len(done)), own) as tick:
        for number in range(-(-count // PART)):
            part = list(itertools.islice(rows, PART))
            with parts.claim(number) as mine:
                if mine:
                    parts.write(number, _draft(inverter, part).encode())
            if number not in done:
                tick(len(part))
    state.wait_for_everyone()
    if own and parts.missing:
        raise UserError(f"{folder}: another command is writing these drafts: wait until it ends")
    if own:
        with parts.writing():
            whole = parts.out / path.name
            with open(whole, "wb") as out:
                for finished in parts.parts.values():
                    out.write(finished.read_bytes())
            whole.rename(path)
            shutil.rmtree(parts.out)
    state.wait_for_everyone()
    return path


def check_facts(path: Path, embedder: Embedder, max_tokens: int) -> None:
    """Raise a UserError if a file of drafts is of another embedder's vectors, or of texts that were
    cut to another length."""
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
    max_tokens + 1], and vectors, float32 [passages, dim]. Raises a UserError if the file cannot be
    read or lacks a passage."""
    made = digest(tokenization(tokenizer), eos, file_hash(path))
    folder = corpus.folder / f"drafts-{embedder.info.fingerprint}-{max_tokens}-{made}"
    if not folder.is_dir():
        drafts = drafts_of(path, range(corpus.row_count), corpus.rows.tolist())
        count, new = len(drafts), np.lib.format.open_memmap
        cut = {"add_special_tokens": False, "truncation": True, "max_length": max_tokens}
        with replacing(folder) as aside:
            vectors = new(aside / VECTORS, "w+", np.float32, (count, embedder.dim))
            ids = new(aside / IDS, "w+", np.int32, (count, max_tokens + 1))
            for start in range(0, count, PASSAGES):
                part = drafts[start : start + PASSAGES]
                for i, row in enumerate(tokenizer(part, **cut)["input_ids"], start):
                    ids[i] = [*row, eos, *itertools.repeat(NOTHING, max_tokens - len(row))]
                vectors[start : start + len(part)] = embedder.encode(part)
            ids.flush()
            vectors.flush()
    return np.load(folder / IDS, mmap_mode="r"), np.load(folder / VECTORS, mmap_mode="r")


def _read_facts(path: Path) -> dict[str, Any] | None:
    facts = path.with_suffix(".json")
    if not facts.is_file():
        return None
    try:
        return dict(json.loads(facts.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{facts}: damaged: {error}") from None


def _claim(path: Path, inverter: Inverter, source: str, column: str) -> None:
    """Write what the drafts are made from, or compare it with what the file says."""
    info, text = inverter.embedder.info, Path(source)
    named = {"name": source, "fingerprint": file_fingerprint(text)} if text.is_file() else source
    facts = {
        "texts": named,
        "column": column,
        "inverter": {"name": info.name, "fingerprint": inverter.fingerprint()},
        "embedder": {"name": info.name, "fingerprint": info.fingerprint},
        "max_tokens": inverter.max_tokens,
    }
    if (before := _read_facts(path)) is not None:
        check_same_run(path, before, facts, "--out")
    elif path.exists():
        raise UserError(f"{path} holds other drafts: choose another --out, or delete it")
    else:
        make_folder(path.parent)
        try:
            write_whole(path.with_suffix(".json"), json.dumps(facts, indent=2).encode())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None


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
