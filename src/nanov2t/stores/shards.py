"""Files of one kind, one after another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError
from nanov2t.core.files import digest
from nanov2t.stores.base import Fetched, NoRows, Store


class ShardsStore(Store):
    """Shards in the order of their names; the numbers of their rows run on.

    Args:
        name: what users wrote.
        paths: of the shards.
        open_shard: opens one of them. Only one is open at a time, since there may be more than
            files may be open.
    """

    def __init__(self, name: str, paths: Sequence[Path], open_shard: Callable[[Path], Store]):
        self.paths: list[Path] = []
        self._open = open_shard
        shards: list[tuple[int, str, bool, str]] = []
        for path in paths:
            try:
                shard = open_shard(path)
            except NoRows:
                continue
            if shards and shard.dim != self.dim:
                raise UserError(
                    f"{path}: vectors of {shard.dim} dimensions, but {self.paths[0]} has {self.dim}"
                )
            self.paths.append(path)
            self.dim, self.ids, self._shard = shard.dim, shard.ids, (path, shard)
            shards.append((shard.count, shard.kind, shard.integer_ids, shard.fingerprint))
        if not shards:
            raise NoRows(name)
        counts, kinds, integers, fingerprints = zip(*shards, strict=True)
        self.ends = list(accumulate(counts))
        kind = ", ".join(sorted({*kinds}))
        self.describe(name, kind, self.ends[-1], digest(*fingerprints), all(integers))

    def fetch(self, start: int, stop: int) -> Fetched:
        ids: list[Any] = []
        vectors: list[Any] = []
        while start < stop:
            i = bisect_right(self.ends, start)
            shard = self._shard_at(i)
            offset = self.ends[i] - shard.count
            end = min(stop, self.ends[i])
            found, values = shard.fetch(start - offset, end - offset)
            ids += range(start, start + len(values)) if isinstance(found, range) else found
            vectors += list(values)
            if len(values) < end - start:
                break  # read() says so
            start = end
        return ids, vectors

    def _shard_at(self, i: int) -> Store:
        path, shard = self._shard
        if path != self.paths[i]:
            shard = self._open(self.paths[i])
            self._shard = self.paths[i], shard
        return shard
