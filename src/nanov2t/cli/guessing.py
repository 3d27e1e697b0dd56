"""The command that guesses words. Free of torch, so that help is instant."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from nanov2t.cli.checks import at_least, check_dim, check_embedder, check_inverter
from nanov2t.cli.inputs import read_texts, read_vectors, references_of
from nanov2t.cli.quiet import loading
from nanov2t.core.errors import UserError
from nanov2t.pretrained import DEFAULT

if TYPE_CHECKING:
    from nanov2t.evaluation.words import Word


@dataclass
class Words:
    """The likeliest words of a vector, by the lexical guess of an inverter: one linear layer, or a
    small network, from the vector to the vocabulary.

    A TEXT is embedded, and then only its vector is used; on a terminal, words that are in the TEXT
    are green, or in brackets where there are no colours.
    """

    texts: Positional[Annotated[tuple[str, ...], arg(metavar="[TEXT ...]")]] = ()
    """Texts to embed; `-` reads lines from standard input."""
    vectors: Annotated[str | None, arg(metavar="SOURCE")] = None
    """Vectors in their place: a source as `invert` takes it."""
    inverter: Annotated[str, arg(metavar="NAME")] = DEFAULT
    """A bundled inverter's name, a folder, or a model on the Hub, with a lexical head."""
    embedder: Annotated[str | None, arg(metavar="NAME")] = None
    """What makes the vectors, where the inverter does not say."""
    count: int = 20
    """Words of each vector."""
    limit: int | None = None
    """Only the first so many vectors."""
    json: bool = False
    """Print JSON lines, also on a terminal."""

    def run(self) -> None:
        if bool(self.texts) == (self.vectors is not None):
            raise UserError("give either texts or --vectors FILE")
        at_least(self, count=1, limit=1)
        check_embedder(self.embedder)
        texts = read_texts(self.texts)[: self.limit]
        vectors = read_vectors(self.vectors, self.limit) if self.vectors is not None else None
        known = check_inverter(self.inverter)
        if self.vectors is not None and vectors is not None and self.embedder is None:
            check_dim(self.vectors, vectors.shape, self.inverter, known)
        with loading(self.inverter):
            from nanov2t.evaluation.words import likeliest_words
            from nanov2t.load import load_inverter

            inverter = load_inverter(self.inverter, embedder=self.embedder)
        rows: list[set[int]] = []
        if vectors is None:
            references = references_of(inverter, texts)
            vectors = inverter.embedder.encode(references)
            known = inverter.tokenizer(references, add_special_tokens=False)["input_ids"]
            rows = [set(row) for row in known]
        for i, words in enumerate(likeliest_words(inverter, vectors, self.count)):
            if self.json or not sys.stdout.isatty():
                shown = [{"word": word.text, "share": word.share} for word in words]
                line = {"text": texts[i] if texts else None, "words": shown}
                print(json.dumps(line, ensure_ascii=False), flush=True)
            else:
                _show(words, rows[i] if rows else set())


def _show(words: list[Word], right: set[int]) -> None:
    """A line of words, each with its share in percent."""
    from rich.console import Console
    from rich.text import Text

    from nanov2t.cli.report import in_colour

    console, line = Console(), Text()
    for word in words:
        known = word.id in right
        shown = f"[{word.text}]" if known and not in_colour(console) else word.text
        line.append(shown, style="green" if known else "")
        line.append(f" {word.share:.1%}  ", style="dim")
    console.print(line)
