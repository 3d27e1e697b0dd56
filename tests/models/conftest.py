"""Texts for the engine's networks."""

import random

import pytest


@pytest.fixture(scope="session")
def crops(minilm, passages):
    """Token ids of eight tokens of every passage, at a random place."""
    chance = random.Random(0)
    rows = [row[1:-1] for row in minilm.tokenize(passages)]
    starts = [chance.randrange(len(row) - 8) for row in rows]
    return [row[start : start + 8] for row, start in zip(rows, starts, strict=True)]
