"""Case, blanks and accents: how plain texts are written for an embedder that sees these.

The bundled networks write lower case without accents, with blanks around punctuation. What variants
of the best text show about a word or a gap holds for all later texts of the search.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from nanov2t.align.alignment import Alignment

CLOSING, OPENING, INNER = set(".,;:!?%)]}'\""), set("([{$#@'\""), set("'-/")
"""Punctuation that usually follows a word without a blank, precedes one so, or joins two."""
ACCENTED = {"a": "áä", "c": "ç", "e": "éè", "i": "í", "n": "ñ", "o": "óö", "u": "úü"}
"""Letters with the accents that are tried."""


T = TypeVar("T")


class Styled(str):
    """A text whose case and blanks are meant as they are."""

    __slots__ = ()


@dataclass
class Surface:
    """What a search knows of the writing of its target.

    Attributes:
        case, spacing, accents: whether the embedder sees these.
        capital: whether the text opens with a capital letter.
        forms: a word, and whether it opens the text, to how it is written.
        joined: two neighbouring words to whether no blank stands between them.
    """

    case: bool
    spacing: bool
    accents: bool = False
    capital: bool = False
    forms: dict[tuple[str, bool], str] = field(default_factory=dict)
    joined: dict[tuple[str, str], bool] = field(default_factory=dict)

    @classmethod
    def of(cls, alignment: Alignment) -> Surface | None:
        """For the embedder of an alignment; None if it sees none of these."""
        seen = alignment.sees_case, alignment.sees_spacing, alignment.sees_accents
        return cls(*seen) if any(seen) else None

    def write(self, text: str) -> str:
        """A plain text as the target seems to be written."""
        if isinstance(text, Styled):
            return text
        words, blanks = parse(text)
        forms = [self._form(word, i == 0) for i, word in enumerate(words)]
        for i, (a, b) in enumerate(itertools.pairwise(words)):
            joined = self.joined.get((a, b), self.joined.get(_kinds(a, b)))
            blanks[i] = blanks[i] if joined is None else not joined
        return join(forms, blanks)

    def _form(self, word: str, first: bool) -> str:
        """How a word is written, as far as is known: a word that opened a text with a capital keeps
        it elsewhere, unless it is one of the little words that are hardly ever names."""
        known = self.forms.get((word, first))
        if known is not None:
            return known
        if first:
            known = self.forms.get((word, False), word)
            return known[:1].upper() + known[1:] if self.capital else known
        return word if word in ENGLISH_STOP_WORDS else self.forms.get((word, True), word)

    def learn(self, text: str, tested: bool) -> None:
        """Take over how a text is written; words in lower case only if its variants were tested,
        since that is how all words are written at first."""
        forms, blanks = parse(text)
        words = [bare(form) for form in forms]
        self.capital = text[:1].isupper()
        for i, (word, form) in enumerate(zip(words, forms, strict=True)):
            if tested or form != word:
                self.forms[word, i == 0] = form
        for a, b, blank in zip(words, words[1:], blanks, strict=False):
            self.joined[a, b] = not blank
            if _is_mark(a) or _is_mark(b):
                self.joined[_kinds(a, b)] = not blank

    def styles(self, text: str) -> Iterator[Styled]:
        """A text in the usual ways to write."""
        forms, blanks = parse(text)
        cases = [forms]
        if self.case:
            lower = [form.lower() for form in forms]
            cases += [_capital(lower), [f.capitalize() for f in lower], [f.upper() for f in lower]]
        for written in cases:
            yield Styled(join(written, blanks))
            if self.spacing:
                yield Styled(join(written, usual_blanks(written)))

    def variants(self, text: str) -> Iterator[Styled]:
        """A text with the case of one word, or one blank, changed."""
        forms, blanks = parse(text)
        if self.case:
            for i, form in enumerate(forms):
                cases = (form.lower(), form.capitalize(), form.title(), form.upper())
                for other in dict.fromkeys(cases):
                    if other != form:
                        yield Styled(join([*forms[:i], other, *forms[i + 1 :]], blanks))
        if self.spacing:
            for i in range(len(blanks)):
                yield Styled(join(forms, [*blanks[:i], not blanks[i], *blanks[i + 1 :]]))

    def accented(self, text: str) -> Iterator[Styled]:
        """A text with one letter accented, or one accent taken off."""
        for i, letter in enumerate(text if self.accents else ""):
            others = ACCENTED.get(letter.lower(), "") if letter.isascii() else bare(letter)
            for other in others:
                cased = other.upper() if letter.isupper() else other
                yield Styled(text[:i] + cased + text[i + 1 :])

    def merged(self, text: str, variants: Sequence[str]) -> Iterator[Styled]:
        """A text with the changes of several variants made together: of the first two, of the
        first three, and so on."""
        forms, blanks = before = parse(text)
        for count, variant in enumerate(variants, 1):
            other = parse(variant)
            forms = list(map(_changed, before[0], other[0], forms))
            blanks = list(map(_changed, before[1], other[1], blanks))
            if count > 1:
                yield Styled(join(forms, blanks))


def _changed(before: T, after: T, now: T) -> T:
    """What stands somewhere once a change was made there, if it is one."""
    return now if before == after else after


def parse(text: str) -> tuple[list[str], list[bool]]:
    """The words of a text, runs of letters and digits or single marks, and whether a blank stands
    between each two."""
    words: list[str] = []
    blanks: list[bool] = []
    blank = True
    for char in text:
        if char.isspace():
            blank = True
        elif words and not blank and char.isalnum() and words[-1][-1].isalnum():
            words[-1] += char
        else:
            if words:
                blanks.append(blank)
            words.append(char)
            blank = False
    return words, blanks


def join(words: list[str], blanks: list[bool]) -> str:
    """What :func:`parse` takes apart."""
    return "".join(
        word + (" " if blank else "")
        for word, blank in zip(words, [*blanks, False][: len(words)], strict=True)
    )


def usual_blanks(words: list[str]) -> list[bool]:
    """Where English puts blanks."""
    return [
        not (b in CLOSING or a in OPENING or a in INNER or b in INNER)
        for a, b in itertools.pairwise(words)
    ]


def bare(text: str) -> str:
    """A text in lower case without accents, as BERT's tokenizer reads it."""
    letters = unicodedata.normalize("NFD", text.lower())
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")


def _capital(words: list[str]) -> list[str]:
    return [words[0].capitalize(), *words[1:]] if words else words


def _is_mark(word: str) -> bool:
    return not word[0].isalnum()


def _kinds(a: str, b: str) -> tuple[str, str]:
    """Two neighbours by their marks alone, which words they join left open."""
    return (a if _is_mark(a) else "", b if _is_mark(b) else "")
