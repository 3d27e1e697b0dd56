"""Greedy first guesses of whole texts, written to files: `{split}.hyps.jsonl`, with a row's place
`idx` and its `draft`, as nanoV2T writes them."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from nanov2t.core.errors import UserError
from nanov2t.core.files import file_fingerprint, write_whole
from nanov2t.core.manifest import check_same_run
from nanov2t.core.passages import read_rows
from nanov2t.core.progress import progress
from nanov2t.embedders.text import reference
from nanov2t.inverter import Inverter

PART = 1024
"""Rows that are drafted together, and that a kill may cost."""


def write_drafts(
    inverter: Inverter,
    source: str,
    split: str,
    folder: Path,
    column: str = "",
) -> Path:
    """Write the drafts of a text's rows, or go on with it; rows without text get none. The
    processes of torchrun share the rows, and all return once the file is whole.

    Args:
        source, split, column: see :func:`~nanov2t.core.passages.read_rows`.
        folder: of the file.

    Raises:
        UserError: the text cannot be had; the inverter has no hypothesizer; or the folder holds
            other drafts, or cannot be written.
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


def read_facts(path: Path) -> dict[str, Any] | None:
    """What is known of the drafts in a file; None if another program wrote it.

    Raises:
        UserError: it cannot be read.
    """
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
    """All that decides what is written."""
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
    """Note what is to be written in `path`, or refuse if something else is."""
    before = read_facts(path)
    if before is not None:
        check_same_run(path, before, facts, "--out")
    elif path.exists():
        raise UserError(f"{path} holds other drafts: choose another --out, or delete it")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(_facts_file(path), json.dumps(facts, indent=2).encode())


def _draft(inverter: Inverter, rows: list[tuple[int, str]]) -> str:
    """The lines of numbered rows."""
    limit, tokenizer, embedder = inverter.max_tokens, inverter.tokenizer, inverter.embedder
    texts = {i: reference(text, tokenizer, embedder, limit) for i, text in rows if text}
    known = {i: text for i, text in texts.items() if text}
    drafts = dict.fromkeys(texts, "")  # that of a text of which the tokenizer knows nothing
    if known:
        written = inverter.hypothesize(embedder.encode(list(known.values())))
        drafts |= zip(known, written, strict=True)
    lines = ({"idx": i, "draft": draft} for i, draft in drafts.items())
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _join(parts: Path, path: Path) -> None:
    """Make one file of the parts."""
    whole = parts / path.name
    with open(whole, "wb") as out:
        for part in sorted(parts.glob("[0-9]*.jsonl")):
            with open(part, "rb") as file:
                shutil.copyfileobj(file, out)
    whole.rename(path)
    shutil.rmtree(parts)
