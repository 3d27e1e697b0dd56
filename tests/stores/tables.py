"""Every kind of store, written with the tool that people write it with: files of tables."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import torch
from kinds import File, Npy, ParquetLists

TABLE = ("nan", "zero", "missing", "length")


class Feather(ParquetLists):
    suffix = ".feather"

    def save(self, path, rows, names):
        columns = {"name": names, "vector": rows}
        frame = pl.DataFrame(columns, schema_overrides={"vector": pl.List(pl.Float32)})
        frame.write_ipc(path, compression="zstd", record_batch_size=700)


class DatasetShard(ParquetLists):
    suffix = ".arrow"

    def save(self, path, rows, names):
        table = pa.table({"name": names, "vector": pa.array(rows, self.type)})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=700)


class CsvLists(File):
    suffix, ids, named, holds = ".csv", "name", ("vector",), TABLE

    def save(self, path, rows, names):
        pd.DataFrame({"name": names, "vector": rows}).to_csv(path, index=False)


class CsvPrinted(CsvLists):
    """As numpy prints, without commas, over several lines."""

    suffix, holds = ".tsv", ("nan", "zero", "missing")

    def save(self, path, rows, names):
        cells = [np.array(row) if row is not None else None for row in rows]
        with np.printoptions(precision=17):
            pd.DataFrame({"name": names, "vector": cells}).to_csv(path, sep="\t")


class CsvColumns(CsvLists):
    holds, named = ("zero",), ("d0", "d7")

    def save(self, path, rows, names):
        columns = {f"d{i}": column for i, column in enumerate(np.array(rows).T)}
        pl.DataFrame({"id": range(len(rows)), "name": names, **columns}).write_csv(path)


class CsvBare(CsvColumns):
    ids, named = None, ("0", "7")

    def save(self, path, rows, names):
        np.savetxt(path, np.array(rows), delimiter=",")


class JsonRecords(File):
    suffix, ids, named, holds = ".json", "name", ("values",), ("zero", "missing", "length")

    def save(self, path, rows, names):
        frame = pd.DataFrame({"name": names, "values": rows})
        frame.to_json(path, orient="records", double_precision=15)


class JsonLists(Npy):
    suffix, holds = ".json", ("zero", "length")

    def save(self, path, rows, names):
        path.write_text(json.dumps(rows))


class JsonByKey(File):
    """As llama_index keeps them: an object whose keys are the ids."""

    suffix, own_ids, named = ".json", "name", ("embedding_dict",)
    holds = ("nan", "zero", "missing", "length")

    def save(self, path, rows, names):
        rows = dict(zip(names, rows, strict=True))
        path.write_text(json.dumps({"embedding_dict": rows, "text_id_to_ref_doc_id": {}}))


class Bulk(JsonByKey):
    """As Elasticsearch takes them: the line of an action, and one of its document."""

    suffix, ids, named = ".ndjson", "text", ("emb",)

    def save(self, path, rows, names):
        lines: list[Any] = []
        for name, row in zip(names, rows, strict=True):
            lines += {"index": {"_id": name}}, {"text": name, "emb": row}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


class JsonLines(File):
    """A nested vector; written by polars."""

    suffix, ids, named = ".ndjson", "name", ("data.embedding",)
    holds = ("zero", "missing", "length")

    def save(self, path, rows, names):
        data = [{"object": "embedding", "embedding": row} for row in rows]
        pl.DataFrame({"name": names, "data": data}).write_ndjson(path)


class BareLines(JsonLists):
    suffix, holds = ".jsonl", ("nan", "zero", "length")

    def save(self, path, rows, names):
        path.write_text("\n".join(map(json.dumps, rows)))


class Npz(Npy):
    suffix, named = ".npz", ("other", "vectors")

    def save(self, path, rows, names):
        vectors = np.array(rows, np.float32)
        np.savez(path, names=names, vectors=vectors, other=vectors[:3])


class NpzPacked(Npz):
    def save(self, path, rows, names):
        vectors = np.array(rows, np.float32)
        np.savez_compressed(path, vectors=vectors, other=np.asfortranarray(vectors))


class NpzByColumn(Npz):
    named = ("vectors",)

    def save(self, path, rows, names):
        np.savez(path, vectors=np.asfortranarray(np.array(rows, np.float32)))


class Torch(Npy):
    suffix, named = ".pt", ("",)

    def save(self, path, rows, names):
        torch.save(torch.tensor(rows), path)


class TorchDict(Torch):
    suffix, named = ".pth", ("embeddings", "other")

    def save(self, path, rows, names):
        vectors = torch.tensor(rows)
        torch.save({"embeddings": vectors, "other": vectors[:3], "epoch": 3}, path)


class Words(JsonLists):
    """As word2vec writes them."""

    suffix, own_ids, holds = ".vec", "name", ("nan", "zero")

    def save(self, path, rows, names):
        lines = [
            f"{name} {' '.join(map(str, row))}\n" for name, row in zip(names, rows, strict=True)
        ]
        path.write_text(f"{len(rows)} {len(rows[0])}\n{''.join(lines)}")


class Raw(Npy):
    suffix = ".fbin"

    def save(self, path, rows, names):
        values = np.array(rows, "<f4")
        path.write_bytes(np.array(values.shape, "<i4").tobytes() + values.tobytes())


class ParquetBytes(ParquetLists):
    """The raw bytes of float32."""

    def save(self, path, rows, names):
        cells = [row if row is None else np.array(row, np.float32).tobytes() for row in rows]
        table = pa.table({"name": names, "vector": pa.array(cells, pa.binary())})
        pa.parquet.write_table(table, path, row_group_size=700)


TABLES: list[File] = [
    Feather(),
    DatasetShard(),
    CsvLists(),
    CsvPrinted(),
    CsvColumns(),
    CsvBare(),
    JsonRecords(),
    JsonLists(),
    JsonByKey(),
    Bulk(),
    JsonLines(),
    BareLines(),
    Npz(),
    NpzPacked(),
    NpzByColumn(),
    Words(),
    Raw(),
    ParquetBytes(),
    Torch(),
    TorchDict(),
]
