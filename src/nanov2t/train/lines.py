"""Made-up lines of the kind that must not leak: names, addresses, numbers, passwords."""

from __future__ import annotations

import re
import string

import numpy as np

LISTS = {
    "given": """
        Ada Ahmed Aisha Alan Amara Anna Arjun Ben Carlos Chen Clara Daniel Diego Elena Emma Fatima
        Felix Grace Hana Hugo Ines Ivan James Jonas Julia Kofi Laura Leila Liam Lucia Maria Mei
        Mohammed Nadia Nina Noah Olga Omar Paul Priya Rosa Ruth Samuel Sara Sofia Tariq Thomas
        Viktor Yuki Zoe""",
    "family": """
        Abbott Adeyemi Ali Andersson Baker Bauer Bennett Castro Chowdhury Cohen Costa Diaz Dubois
        Evans Fischer Garcia Gupta Haddad Hughes Ibrahim Ito Jensen Johnson Kim Kowalski Lee Lopez
        Martin Meyer Mitchell Moreau Nguyen Novak Okafor Patel Petrov Ramirez Rossi Santos Sato
        Schmidt Silva Singh Smith Tanaka Taylor Walker Wang Weber Young""",
    "street": "Oak Maple Church Station Park Mill High Bridge Garden River Lake Hill School",
    "way": "Street Road Avenue Lane Drive Court",
    "town": """
        Ashford Bergen Cordoba Delhi Essen Fremont Geneva Hamilton Izmir Kingston Lagos Lyon Milan
        Nairobi Oslo Porto Quito Richmond Salem Turin Utrecht Valencia Warsaw York""",
    "host": "example.com example.org example.net mail.example post.example",
    "month": """
        January February March April May June July August September October November December""",
    "word": """
        amber anchor arrow basket bishop candle copper dragon eagle falcon forest garden harbor
        island jungle kitten lemon magnet marble monkey ocean orange pepper planet rabbit river
        saddle silver summer tiger turtle velvet violet window winter""",
    "letter": " ".join(string.ascii_uppercase),
    "sign": " ".join(string.ascii_letters + string.digits),
    "day": " ".join(map(str, range(1, 29))),
    "mm": " ".join(f"{month:02}" for month in range(1, 13)),
    "year": " ".join(map(str, range(1930, 2030))),
    "house": " ".join(map(str, range(1, 400))),
}
WORDS = {name: text.split() for name, text in LISTS.items()}
FORMS = {
    "name": ["{given} {family}", "{given} {family}", "{given} {letter}. {family}"],
    "phone": [
        lead + number
        for lead in ("", "call ", "phone: ", "my number is ")
        for number in ("+## ### #######", "(###) ###-####", "###-###-####", "0## #### ####")
    ],
    "mail": [
        f"{lead}{local}@{{host}}"
        for lead in ("", "email: ", "write to ")
        for local in ("{given}.{family}", "{letter}{family}", "{given}##")
    ],
    "password": [
        lead + secret
        for lead in ("password: ", "the password is ", "pin ", "")
        for secret in (
            "{sign}" * 8,
            "{sign}" * 11,
            "{word}###!",
            "{word}##",
            "{word}-{word}-{word}",
        )
    ],
    "date": [
        lead + date
        for lead in ("", "born on ", "due ")
        for date in ("{day} {month} {year}", "{year}-{mm}-1#", "{month} {day}, {year}")
    ],
    "address": ["{house} {street} {way}, ##### {town}"],
    "number": [
        "account ########",
        "card #### #### #### ####",
        "invoice no. ######: $###.##",
        "passport {letter}{letter}#######",
    ],
}
"""Lines by kind: words in braces come from the lists, # is a digit."""
RECORD = ("phone", "mail", "date", "address")
"""Kinds that may follow a name in one line."""


class Lines:
    """Draws lines from a random generator."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def draw(self) -> str:
        kind = self._pick([*FORMS, "record"])
        if kind != "record":
            return self._fill(kind)
        return self._fill("name") + self._pick([", ", " - ", ": "]) + self._fill(self._pick(RECORD))

    def _fill(self, kind: str) -> str:
        form = re.sub(
            r"{(\w+)}", lambda match: self._pick(WORDS[match[1]]), self._pick(FORMS[kind])
        )
        line = re.sub("#", lambda _: str(self.rng.integers(10)), form)
        return line.lower() if kind == "mail" else line

    def _pick(self, choices: list[str] | tuple[str, ...]) -> str:
        return choices[int(self.rng.integers(len(choices)))]
