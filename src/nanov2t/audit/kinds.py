"""Kinds of content that should not leak, found in texts.

Phone numbers are found by Google's libphonenumber (phonenumbers), names by the first names that
Faker knows, the rest by regular expressions: small and offline. Names in languages other than
English, or in lower case, are missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from nanov2t.stores.base import import_client

KINDS = ("names", "dates", "emails", "phones", "numbers")
REGION = "US"
"""Whose phone numbers may go without a country code."""
MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
DATE = re.compile(
    rf"\b\d{{4}}-\d\d-\d\d\b|\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)? {MONTH}(?: \d{{4}}\b)?"
    rf"|\b{MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}}\b)?",
    re.IGNORECASE,
)
EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
NUMBER = re.compile(r"\b\d(?:[\d.,]*\d)?\b")
WORD = re.compile(r"\w+|[^\w\s]")


class Item(NamedTuple):
    """A piece of a text that should not leak."""

    kind: str
    """One of KINDS."""
    text: str


@cache
def _name() -> re.Pattern[str]:
    """A known first name, an initial or not, and another word with a capital letter."""
    import_client("faker", "audit")
    from faker.providers.person.en_US import Provider

    firsts = "|".join(map(re.escape, sorted(Provider.first_names)))
    return re.compile(rf"\b(?:{firsts})(?: [A-Z]\.)? [A-Z][\w'-]+")


def find_items(text: str) -> list[Item]:
    """What a text holds of every kind, no character twice, in the order of the text.

    Raises:
        UserError: a package is not installed.
    """
    taken: list[tuple[int, int, str]] = []
    for start, end, kind in _candidates(text):
        if all(end <= a or start >= b for a, b, _ in taken):
            taken.append((start, end, kind))
    return [Item(kind, text[start:end]) for start, end, kind in sorted(taken)]


def _candidates(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and kind of all that may be an item; the surer kinds come first."""
    phonenumbers = import_client("phonenumbers", "audit")
    for kind, pattern in (("emails", EMAIL), ("dates", DATE)):
        yield from ((*match.span(), kind) for match in pattern.finditer(text))
    possible = phonenumbers.Leniency.POSSIBLE
    for match in phonenumbers.PhoneNumberMatcher(text, REGION, leniency=possible):
        yield match.start, match.end, "phones"
    for kind, pattern in (("names", _name()), ("numbers", NUMBER)):
        yield from ((*match.span(), kind) for match in pattern.finditer(text))


def holds(text: str, item: str) -> bool:
    """Whether a text holds all words of an item in a row; blanks between words do not count, since
    tokenizers put them as they like."""
    ours, theirs = WORD.findall(text), WORD.findall(item)
    places = range(len(ours) - len(theirs) + 1)
    return any(ours[i : i + len(theirs)] == theirs for i in places)
