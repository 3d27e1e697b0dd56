"""Case, blanks and accents: how plain texts are written for an embedder that sees these.

The bundled networks write lower case without accents, with blanks around punctuation. What variants
of the best text show about a word or a gap holds for all later texts of the search.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

BEFORE, BEHIND = set("([{$#@'\"-/"), set(".,;:!?%)]}'\"-/")
"""Punctuation that usually stands before a word without a blank, or behind one."""
ACCENTED = {"a": "áä", "c": "ç", "e": "éè", "i": "í", "n": "ñ", "o": "óö", "u": "úü"}
"""Letters with the accents that are tried."""


class Styled(str):
    """A text whose case and blanks are meant as they are."""

    __slots__ = ()


@dataclass
class Surface:
    """What a search knows of the writing of its target, given whether the embedder sees case,
    spacing and accents."""

    case: bool
    spacing: bool
    accents: bool = False
    capital: bool = False
    """Whether the text opens with a capital letter."""
    forms: dict[tuple[str, bool], str] = field(default_factory=dict)
    """How a word is written, by the word and whether it opens the text."""
    joined: dict[tuple[str, ...], bool] = field(default_factory=dict)
    """Whether no blank stands between two neighbouring words."""

    def write(self, text: str) -> str:
        """A plain text as the target seems to be written."""
        if isinstance(text, Styled):
            return text
        words, blanks = parse(text)
        forms = [self._form(word, i == 0) for i, word in enumerate(words)]
        for i, (a, b) in enumerate(itertools.pairwise(words)):
            joined = self.joined.get((a, b), self.joined.get(_marks(a, b), not blanks[i]))
            blanks[i] = not joined
        return join(forms, blanks)

    def _form(self, word: str, first: bool) -> str:
        """A word that opened a text with a capital keeps it elsewhere, unless it is one of the
        little words that are hardly ever names."""
        known = self.forms.get((word, first))
        if known is not None:
            return known
        if first:
            known = self.forms.get((word, False), word)
            return known[:1].upper() + known[1:] if self.capital else known
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # takes over a second

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
            if any(_marks(a, b)):
                self.joined[_marks(a, b)] = not blank

    def styles(self, text: str) -> Iterator[Styled]:
        """A text in the usual ways to write."""
        forms, blanks = parse(text)
        cases = [forms]
        if self.case:
            lower = [form.lower() for form in forms]
            capital = [form.capitalize() for form in lower]
            cases += [capital[:1] + lower[1:], capital, [form.upper() for form in lower]]
        for written in cases:
            yield Styled(join(written, blanks))
            if self.spacing:
                pairs = itertools.pairwise(written)
                yield Styled(join(written, [not (a in BEFORE or b in BEHIND) for a, b in pairs]))

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


def merged(text: str, variants: Sequence[str]) -> Iterator[Styled]:
    """A text with the changes of several variants made together: of the first two, of the first
    three, and so on."""
    (words, gaps), (forms, blanks) = parse(text), parse(text)
    for count, variant in enumerate(variants, 1):
        others, other_gaps = parse(variant)
        forms = [f if a == b else b for a, b, f in zip(words, others, forms, strict=False)]
        blanks = [f if a == b else b for a, b, f in zip(gaps, other_gaps, blanks, strict=False)]
        if count > 1:
            yield Styled(join(forms, blanks))


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
    gaps = (" " if blank else "" for blank in [*blanks, False])
    return "".join(word + gap for word, gap in zip(words, gaps, strict=False))


def bare(text: str) -> str:
    """A text in lower case without accents, as BERT's tokenizer reads it."""
    letters = unicodedata.normalize("NFD", text.lower())
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")


def _marks(*neighbours: str) -> tuple[str, ...]:
    """Neighbours by their marks alone; words are left open."""
    return tuple("" if word[0].isalnum() else word for word in neighbours)
