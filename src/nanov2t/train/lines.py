"""Made-up lines of the kind that must not leak: names, addresses, numbers, passwords."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def _words(text: str) -> list[str]:
    return text.split()


GIVEN = _words("""
Ada Ahmed Aisha Alan Amara Anna Arjun Ben Carlos Chen Clara Daniel Diego Elena Emma Fatima Felix
Grace Hana Hugo Ines Ivan James Jonas Julia Kofi Laura Leila Liam Lucia Maria Mei Mohammed Nadia
Nina Noah Olga Omar Paul Priya Rosa Ruth Samuel Sara Sofia Tariq Thomas Viktor Yuki Zoe
""")
FAMILY = _words("""
Abbott Adeyemi Ali Andersson Baker Bauer Bennett Castro Chowdhury Cohen Costa Diaz Dubois Evans
Fischer Garcia Gupta Haddad Hughes Ibrahim Ito Jensen Johnson Kim Kowalski Lee Lopez Martin
Meyer Mitchell Moreau Nguyen Novak Okafor Patel Petrov Ramirez Rossi Santos Sato Schmidt Silva
Singh Smith Tanaka Taylor Walker Wang Weber Young
""")
STREETS = _words("""
Oak Maple Church Station Park Mill High Bridge Garden River Lake Hill School
""")
WAYS = _words("""
Street Road Avenue Lane Drive Court
""")
TOWNS = _words("""
Ashford Bergen Cordoba Delhi Essen Fremont Geneva Hamilton Izmir Kingston Lagos Lyon Milan
Nairobi Oslo Porto Quito Richmond Salem Turin Utrecht Valencia Warsaw York
""")
HOSTS = _words("""
example.com example.org example.net mail.example post.example
""")
MONTHS = _words("""
January February March April May June July August September October November December
""")
WORDS = _words("""
amber anchor arrow basket bishop candle copper dragon eagle falcon forest garden harbor island
jungle kitten lemon magnet marble monkey ocean orange pepper planet rabbit river saddle silver
summer tiger turtle velvet violet window winter
""")


class Lines:
    """Draws lines from a random generator."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.kinds: list[Callable[[], str]] = [
            self._name,
            self._phone,
            self._mail,
            self._password,
            self._date,
            self._address,
            self._number,
            self._record,
        ]

    def draw(self) -> str:
        return self._pick(self.kinds)()

    def _pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.rng.integers(len(choices)))]

    def _digits(self, count: int) -> str:
        return "".join(str(digit) for digit in self.rng.integers(0, 10, count))

    def _letters(self, count: int) -> str:
        return "".join(self._pick(string.ascii_letters + string.digits) for _ in range(count))

    def _name(self) -> str:
        middle = self._pick(["", "", f" {self._pick(string.ascii_uppercase)}."])
        return f"{self._pick(GIVEN)}{middle} {self._pick(FAMILY)}"

    def _phone(self) -> str:
        forms = ["+## ### #######", "(###) ###-####", "###-###-####", "0## #### ####", "555-####"]
        form = self._pick(forms)
        number = "".join(self._digits(1) if c == "#" else c for c in form)
        return self._pick(["", "call ", "phone: ", "my number is "]) + number

    def _mail(self) -> str:
        given, family = self._pick(GIVEN).lower(), self._pick(FAMILY).lower()
        local = self._pick([f"{given}.{family}", f"{given[0]}{family}", given + self._digits(2)])
        return self._pick(["", "email: ", "write to "]) + f"{local}@{self._pick(HOSTS)}"

    def _password(self) -> str:
        word = self._pick(WORDS)
        secrets = [
            self._letters(int(self.rng.integers(8, 13))),
            word.capitalize() + self._digits(int(self.rng.integers(2, 5))) + self._pick(["", "!"]),
            f"{word}-{self._pick(WORDS)}-{self._pick(WORDS)}",
        ]
        return self._pick(["password: ", "the password is ", "pin ", ""]) + self._pick(secrets)

    def _date(self) -> str:
        day, month = int(self.rng.integers(1, 29)), int(self.rng.integers(1, 13))
        year = int(self.rng.integers(1930, 2030))
        forms = [
            f"{day} {MONTHS[month - 1]} {year}",
            f"{year}-{month:02}-{day:02}",
            f"{MONTHS[month - 1]} {day}, {year}",
            f"{month}/{day}/{year}",
        ]
        return self._pick(["", "born on ", "due "]) + self._pick(forms)

    def _address(self) -> str:
        house = int(self.rng.integers(1, 400))
        street = f"{house} {self._pick(STREETS)} {self._pick(WAYS)}"
        return f"{street}, {self._digits(5)} {self._pick(TOWNS)}"

    def _number(self) -> str:
        forms = [
            f"account {self._digits(8)}",
            f"card {' '.join(self._digits(4) for _ in range(4))}",
            f"invoice no. {self._digits(6)}: ${self._digits(3)}.{self._digits(2)}",
            f"passport {self._letters(2).upper()}{self._digits(7)}",
        ]
        return self._pick(forms)

    def _record(self) -> str:
        parts = [self._name(), self._pick([self._phone, self._mail, self._date, self._address])()]
        return self._pick([", ", " - ", ": "]).join(parts)
