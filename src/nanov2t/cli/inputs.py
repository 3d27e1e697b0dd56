"""What the commands are given: texts, vectors and drafts, read and checked. Free of torch, like the
commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nanov2t.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter


def read_texts(given: tuple[str, ...]) -> list[str]:
    """The texts of the command line, `-` standing for the lines of standard input; none may be
    empty."""
    texts: list[str] = []
    for text in given:
        texts += [line.rstrip("\n") for line in sys.stdin] if text == "-" else [text]
    if given and not texts:
        raise UserError("standard input holds no text")
    if empty := [i for i, text in enumerate(texts, 1) if not text.strip()]:
        raise UserError(f"text {empty[0]} is empty")
    return texts


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
        if not references[-1]:
            raise UserError(f"text {i} holds nothing that the inverter's tokenizer knows")
    return references


def read_vectors(spec: str, limit: int | None) -> np.ndarray:
    """The first `limit` vectors of a source, float32 [n, dim], every one of them good."""
    from nanov2t.stores.registry import open_source

    source = open_source(spec)
    rows = source.read(0, min(source.count, limit or source.count))
    for i, reason in sorted(rows.errors.items())[:1]:
        raise UserError(f"{source.name}: vector {i} is {reason}")
    return rows.vectors


def read_drafts(path: Path, count: int) -> list[str]:
    """The drafts of texts 0 to `count` - 1, from JSON lines with `idx` and `draft`."""
    drafts: dict[int, str] = {}
    number = 0
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            number += 1
            row = json.loads(line)
            drafts[int(row["idx"])] = str(row["draft"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, line {number}: not a JSON object with idx and draft ({error})"
        ) from None
    if missing := [i for i in range(count) if i not in drafts]:
        raise UserError(f"{path}: no draft for idx {missing[0]}")
    return [drafts[i] for i in range(count)]
