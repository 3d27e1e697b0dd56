"""Which vectors of a store are meant, by what stands after the `#`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.stores.paths import Way, bytes_refused, path_to, values_at
from nanov2t.stores.values import Decoder, decoder_of, why_not

USUAL_NAMES = (
    *("vector", "embedding", "vectors", "embeddings", "values", "emb"),
    *("dense_vector", "sentence_embedding", "vec"),
)
"""What columns of vectors are called: the first of these that is there is read without a `#`."""


LISTED = 16
"""Names that a message lists."""


class Choice(UserError):
    """A store holds several arrays or columns of vectors, and which one is meant is not clear.

    Attributes:
        names: of those there are.
    """

    def __init__(self, said: str, names: list[str]):
        super().__init__(f"{said}: {listed(names)}")
        self.names = names


def listed(names: Sequence[str]) -> str:
    """Names between commas, of many the first ones."""
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED + 1 else []
    return ", ".join([*names[:LISTED], *more] if more else names)


def pick(name: str, key: str, names: Iterable[str]) -> str:
    """The one of `names` that holds the vectors: the `key` if one was given.

    Raises:
        UserError: there are none.
        Choice: there is no such one, or none was given and there are several.
    """
    names = list(names)
    if not names:
        raise UserError(f"{name}: holds no vectors")
    if key:
        if key in names:
            return key
        if names == [""]:
            raise UserError(f"{name}: its vectors have no name, so no {key}")
        near = {n.lower(): n for n in reversed(names)}
        meant = [near[n] for n in get_close_matches(key.lower(), near, 1)]
        hint = f"; did you mean {meant[0]}?" if meant else "."
        raise Choice(f"{name}: no vectors {key} in it{hint} Choose after a #", names)
    usual = [usual for usual in USUAL_NAMES if usual in names]
    for ending in USUAL_NAMES:
        within = [n for n in names if n.endswith(f".{ending}")]
        usual += within if len(within) == 1 else []
    if usual or len(names) == 1:
        return (usual or names)[0]
    raise Choice(f"{name}: which vectors? Choose one after a #", names)


def choose(
    name: str, rows: Sequence[Any], key: str, found: dict[str, tuple[Way, Decoder]]
) -> tuple[str, Way, Decoder]:
    """The vectors that a key means in nested values: their name, the way there and their decoder.

    Args:
        found: the vectors that there are, as of :func:`vector_paths`.

    Raises:
        UserError: there are none; or several, as of :func:`pick`.
    """
    if key and key not in found:
        paths = dict.fromkeys(path for row in rows if (path := path_to(row, key)) is not None)
        for path in paths:
            values = [value for row in rows for value in values_at(row, path)]
            if decoder := decoder_of(values):
                return key, path, decoder
            if not any(isinstance(value, dict) for value in values):
                raise UserError(f"{name}: {key} holds no vectors: {why_not(values)}")
        within = {n: way for n, way in found.items() if n.startswith(f"{key}.")}
        found, key = within or found, "" if within else key
    if not found:
        names = list(dict.fromkeys(n for row in rows if isinstance(row, dict) for n in row))
        said = next(bytes_refused(rows), f"only {listed(names)}" if names else "")
        what = f"no vectors {key} in it" if key else "holds no vectors"
        raise UserError(f"{name}: {what}{', ' * bool(said)}{said}")
    key = pick(name, key, found)
    return (key, *found[key])


def pick_column(name: str, key: str, columns: Iterable[str]) -> str:
    """Like :func:`pick`, of `TABLE.COLUMN`; a table alone will do where it has one such column, or
    one of a usual name."""
    columns = list(columns)
    within = [column for column in columns if column.startswith(f"{key}.")]
    alone = bool(within) and key not in columns
    return pick(name, "" if alone else key, within if alone else columns)


def split_key(key: str, names: Iterable[str]) -> tuple[str, str]:
    """The name of a table or collection that a key begins with, and what follows the dot after it.
    Names may hold dots themselves: the longest counts."""
    name = max((n for n in names if f"{key}.".startswith(f"{n}.")), key=len, default=key)
    return name, key[len(name) + 1 :]
