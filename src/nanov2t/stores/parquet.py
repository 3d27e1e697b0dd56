"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nanov2t.stores.base import (
    HEAD,
    Source,
    arrow_columns,
    arrow_rows,
    file_fingerprint,
    forward,
    make,
)


def read_parquet(path: Path, key: str, ids: str | None) -> Source:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, page_checksum_verification=True)
    column, kind, integer_ids = arrow_columns(str(path), file.schema_arrow, key, ids)

    def rows() -> Iterator[tuple]:
        start = 0
        for batch in file.iter_batches(HEAD, columns=[column, *([ids] if ids else [])]):
            yield from arrow_rows(batch, column, ids, start)
            start += len(batch)

    return make(
        f"{path}#{column}",
        kind,
        file.metadata.num_rows,
        file_fingerprint(path),
        forward(rows),
        integer_ids,
    )
