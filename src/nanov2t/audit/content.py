"""Content that should not leak: finds it in texts, and makes synthetic records full of it.

Everything works offline: libphonenumber finds phone numbers, Faker's list of first names finds
names, and regular expressions find the rest. Names in other languages than English or in lower case
are missed.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nanov2t.core.imports import import_client

KINDS = ("names", "dates", "emails", "phones", "numbers")
REGION = "US"
"""Phone numbers without a country code are of this country."""
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
    text: str


def find_items(text: str, cased: bool = True) -> list[Item]:
    """The items of all KINDS in a text, in order. If two overlap, the surer kind counts. In texts
    without capitals (not `cased`), only known surnames make a name."""
    phonenumbers = import_client("phonenumbers", "audit")
    possible = phonenumbers.Leniency.POSSIBLE
    phones = phonenumbers.PhoneNumberMatcher(text, REGION, leniency=possible)
    patterns = {"emails": EMAIL, "dates": DATE, "names": _name(cased), "numbers": NUMBER}
    spans = {kind: [m.span() for m in x.finditer(text)] for kind, x in patterns.items()}
    spans["phones"] = [(match.start, match.end) for match in phones]
    taken: list[tuple[int, int, str]] = []
    for kind in ("emails", "dates", "phones", "names", "numbers"):  # surest first
        for start, end in spans[kind]:
            if all(end <= a or start >= b for a, b, _ in taken):
                taken.append((start, end, kind))
    return [Item(kind, text[start:end]) for start, end, kind in sorted(taken)]


@cache
def _name(cased: bool) -> re.Pattern[str]:
    """A known first name, perhaps an initial, and a word with a capital letter or a surname."""
    import_client("faker", "audit")
    from faker.providers.person.en_US import Provider

    firsts, lasts = (
        "|".join(map(re.escape, sorted(names)))
        for names in (Provider.first_names, Provider.last_names)
    )
    last = r"[A-Z][\w'-]+" if cased else rf"(?:{lasts})\b"
    return re.compile(rf"\b(?:{firsts})(?: [A-Z]\.)? {last}", 0 if cased else re.IGNORECASE)


def holds(text: str, item: str) -> bool:
    """Whether a text has all words of an item in a row. Blanks do not count, since tokenizers add
    and drop them."""
    ours, theirs = WORD.findall(text), WORD.findall(item)
    places = range(len(ours) - len(theirs) + 1)
    return any(ours[i : i + len(theirs)] == theirs for i in places)


TEMPLATES = Path(__file__).with_name("records.txt").read_text(encoding="utf-8").splitlines()
"""Both halves name the same person, trade and town, so that one half can find the other."""
LATEST = datetime(2026, 1, 1)
"""Dates are before this. Faker's default is now, which would change the records every minute."""


def make_records(count: int, seed: int) -> list[str]:
    """Synthetic records with an item of each kind, always the same for a seed."""
    fake = import_client("faker", "audit").Faker("en_US")
    fake.seed_instance(seed)
    records = []
    for i in range(count):
        first, last, job = fake.first_name(), fake.last_name(), fake.job().lower()
        fields = {
            "name": f"{first} {last}",
            "last": last,
            "job": job.split(",")[0].split("(")[0].strip(),
            "date": fake.date("%d %B %Y", LATEST),
            "city": fake.city(),
            "email": fake.email(),
            "phone": fake.numerify("%##-555-01##"),
            "number": fake.numerify("%###"),
        }
        records.append(TEMPLATES[i % len(TEMPLATES)].format(**fields))
    return records
