"""Synthetic records full of what should not leak, made by Faker: nobody's data, always the same."""

from __future__ import annotations

from datetime import datetime

from nanov2t.stores.base import import_client

TEMPLATES = (
    "{name} was born on {date} and works as {job} in {city}; telephone {phone}. Mail for {last}, "
    "{job} in {city}, goes to {email}, file {number}.",
    "Call {phone} and ask for {name}, {job} in {city}, since {date}. Our reminder about {number} "
    "dollars went to {last}, {job} in {city}, at {email}.",
    "{email} is the address of {name}, who has worked as {job} in {city}. The contract {number} of "
    "{last}, {job} in {city}, ends on {date}, telephone {phone}.",
    "On {date} {name}, {job} from {city}, paid {number} euros by card. The receipt of {last}, "
    "{job} from {city}, went to {email} and {phone}.",
    "Room {number} is booked for {name}, {job} from {city}, from {date} on. Questions about "
    "{last}, {job} from {city}, to {email} or {phone}.",
)
"""Both halves name the same person, trade and town, so that one can be searched with the other."""
LAST = datetime(2026, 1, 1)
"""Dates are before it. By default Faker draws them from all until now, so that other records would
come out from one minute to the next."""


def make_records(count: int, seed: int) -> list[str]:
    """Records with a name, a date, an e-mail address, a phone number and another number each.

    Raises:
        UserError: Faker is not installed.
    """
    fake = import_client("faker", "audit").Faker("en_US")
    fake.seed_instance(seed)
    records = []
    for i in range(count):
        first, last, job = fake.first_name(), fake.last_name(), fake.job().lower()
        fields = {
            "name": f"{first} {last}",
            "last": last,
            "job": job.split(",")[0].split("(")[0].strip(),
            "date": fake.date("%d %B %Y", LAST),
            "city": fake.city(),
            "email": fake.email(),
            "phone": fake.numerify("%##-555-01##"),
            "number": fake.numerify("%###"),
        }
        records.append(TEMPLATES[i % len(TEMPLATES)].format(**fields))
    return records
