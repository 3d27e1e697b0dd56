"""What the commands are given: texts, vectors and drafts, read and checked. Free of torch, like the
commands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nanov2t.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter
    from nanov2t.stores.base import Rows


def read_texts(given: tuple[str, ...]) -> list[str]:
    """The texts of the command line, `-` standing for the lines of standard input; none may be
    empty."""
    texts: list[str] = []
    for text in given:
        texts += _lines() if text == "-" else [text]
    if given and not texts:
        raise UserError("standard input holds no text")
    if empty := [i for i, text in enumerate(texts, 1) if not text.strip()]:
        raise UserError(f"text {empty[0]} is empty")
    for i, text in enumerate(texts, 1):
        if not text.isascii() and text != text.encode(errors="ignore").decode():
            raise UserError(f"text {i} is not UTF-8")
    return texts


def _lines() -> list[str]:
    """The lines of standard input."""
    try:
        return [line.rstrip("\n") for line in sys.stdin or ()]
    except UnicodeDecodeError:
        raise UserError("standard input is not UTF-8") from None


def references_of(inverter: Inverter, texts: list[str]) -> list[str]:
    """The texts as the inverter can write them; says which it had to cut."""
    from nanov2t.embedders.text import reference

    references = []
    for i, text in enumerate(texts, 1):
        length = len(inverter.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if length > inverter.max_tokens:
            print(
                f"nanov2t: text {i} has {length} tokens; only the first {inverter.max_tokens} "
                f"are inverted",
                file=sys.stderr,
            )
        references.append(
            reference(text, inverter.tokenizer, inverter.embedder, inverter.max_tokens)
        )
        if unseen := inverter.embedder.unseen(references[-1]):
            print(
                f"nanov2t: {inverter.embedder.name} cannot read {unseen} of the tokens of text {i};"
                " texts that differ there have the same vector",
                file=sys.stderr,
            )
        if not references[-1]:
            raise UserError(f"text {i} holds nothing that the inverter's tokenizer knows")
    return references


def read_vectors(spec: str, limit: int | None) -> np.ndarray:
    """The first `limit` vectors of a source, float32 [n, dim], every one of them good."""
    rows = read_rows(spec, limit)
    refuse_bad(spec, rows)
    return rows.vectors


def read_rows(spec: str, limit: int | None, ids: str | None = None) -> Rows:
    """The first `limit` rows of a source, with what is wrong with the bad ones; `ids` as of
    :func:`~nanov2t.stores.registry.open_source`."""
    from nanov2t.stores.registry import open_source

    source = open_source(spec, ids)
    return source.read(0, min(source.count, limit or source.count))


def refuse_bad(spec: str, rows: Rows) -> None:
    """Name the first bad row, if there is one."""
    for i, reason in sorted(rows.errors.items())[:1]:
        others = len(rows.errors) - 1
        more = f", and {others} more cannot be inverted" if others else ""
        raise UserError(f"{spec.rpartition('@')[2]}: vector {i} is {reason}{more}")
