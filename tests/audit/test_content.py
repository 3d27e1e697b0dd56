"""What should not leak is found in texts, and the synthetic records hold it."""

from datetime import datetime

import pytest

from nanov2t.audit.content import KINDS, Item, find_items, holds, make_records


def test_records_are_always_the_same_and_hold_an_item_of_every_kind():
    records = make_records(30, seed=0)
    assert make_records(30, seed=0) == records != make_records(30, seed=1)
    assert make_records(5, seed=0) == records[:5] and len(set(records)) == 30
    for record in records:
        assert sorted(item.kind for item in find_items(record)) == sorted(KINDS), record


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("Dear Norma Fisher,", [("names", "Norma Fisher")]),
        ("signed by Mary J. O'Neil today", [("names", "Mary J. O'Neil")]),
        ("ask Norma, or norma fisher", []),
        ("on May 3rd 2020 or 2020-01-02", [("dates", "May 3rd 2020"), ("dates", "2020-01-02")]),
        ("by 3/4/21 he paid 4,200.", [("dates", "3/4/21"), ("numbers", "4,200")]),
        ("a.b@c.co.uk, (212) 555-0123", [("emails", "a.b@c.co.uk"), ("phones", "(212) 555-0123")]),
        ("+44 20 7946 0321 and 4471", [("phones", "+44 20 7946 0321"), ("numbers", "4471")]),
    ],
)
def test_items(text, items):
    assert find_items(text) == [Item(*item) for item in items]


def test_an_item_is_held_whole_or_not_at_all():
    assert holds("write to thull @ example. com or call", "thull@example.com")
    assert not holds("write to thull @ example. org", "thull@example.com")
    assert holds("room 42 - 1", "42") and not holds("room 421", "42")
    assert not holds("", "42")


def test_records_are_the_same_on_another_day(monkeypatch):
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2046, 5, 6, tzinfo=tz)

    records = make_records(30, seed=0)
    monkeypatch.setattr("faker.providers.date_time.datetime", Later)
    assert make_records(30, seed=0) == records
