"""Read and check the texts that commands are given."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nanov2t.core.errors import UserError

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter


def say(line: str) -> None:
    """Print a line on stderr."""
    print(f"nanov2t: {line}", file=sys.stderr)


def read_texts(given: tuple[str, ...]) -> list[str]:
    """The texts of a command line. `-` stands for the lines of standard input.

    Raises:
        UserError: a text is empty or not UTF-8.
    """
    texts: list[str] = []
    for text in given:
        texts += _stdin_lines() if text == "-" else [text]
    if given and not texts:
        raise UserError("standard input holds no text")
    for i, text in enumerate(texts, 1):
        if not text.strip():
            raise UserError(f"text {i} is empty")
        if not text.isascii() and text != text.encode(errors="ignore").decode():
            raise UserError(f"text {i} is not UTF-8")
    return texts


def _stdin_lines() -> list[str]:
    try:
        return [line.rstrip("\n") for line in sys.stdin or ()]
    except UnicodeDecodeError:
        raise UserError("standard input is not UTF-8") from None


def references_of(inverter: Inverter, texts: list[str]) -> list[str]:
    """Cut each text to what the inverter can write, and report on stderr what is lost.

    Raises:
        UserError: nothing is left of a text.
    """
    from nanov2t.embedders.text import reference

    tokenizer, embedder, limit = inverter.tokenizer, inverter.embedder, inverter.max_tokens
    references = []
    for i, text in enumerate(texts, 1):
        length = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if length > limit:
            say(f"text {i} has {length} tokens; only the first {limit} are inverted")
        cut = reference(text, tokenizer, embedder, limit)
        if not cut:
            raise UserError(f"text {i} holds nothing that the inverter's tokenizer knows")
        if unseen := embedder.unseen(cut):
            say(
                f"{embedder.name} cannot read {unseen} of the tokens of text {i}; "
                "texts that differ there have the same vector"
            )
        references.append(cut)
    return references
