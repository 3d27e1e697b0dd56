"""Columns of every form of a vector and of any name, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from shapes import NAMES, ODD, check, said, write_lines

from nanov2t.core.errors import UserError
from nanov2t.stores.registry import names_in, open_source


def npy(row: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, row)
    return file.getvalue()


def bson(row: np.ndarray) -> str:
    return base64.b64encode(b"\x27\0" + row.tobytes()).decode()


def write_bytes(path: Path, cells: list[bytes]) -> Path:
    pq.write_table(pa.table({"name": NAMES, "emb": pa.array(cells, pa.binary())}), path)
    return path


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "i1"])
@pytest.mark.parametrize("to_bytes", [np.ndarray.tobytes, npy])
def test_raw_bytes(tmp_path, vectors, kind, to_bytes):
    values = (vectors * 400 if kind == "i1" else vectors).astype(kind)
    path = write_bytes(tmp_path / "a.parquet", list(map(to_bytes, values)))
    assert open_source(str(path)).kind == np.dtype(kind).name
    check(path, values, NAMES, ids="name")


@pytest.mark.parametrize(
    ("to_bytes", "why"),
    [
        (lambda row: np.packbits(row > 0).tobytes(), "48 bytes a row, which are neither floats"),
        (
            lambda row: (row * 400 + 128).astype("u1").tobytes(),
            "384 bytes a row, which are neither",
        ),
        (pickle.dumps, "a pickle, which may run code and is not opened"),
        (lambda row: npy(row)[:-9], "not an array"),
        (lambda row: npy(row.astype(object)), "not an array"),
    ],
)
def test_bytes_that_are_no_vectors(tmp_path, vectors, to_bytes, why):
    path = write_bytes(tmp_path / "a.parquet", list(map(to_bytes, vectors)))
    assert why in said(path) and why in said(f"{path}#emb")


def test_a_row_of_other_bytes_is_an_error_of_its_own(tmp_path, vectors):
    cells = [row.tobytes() for row in vectors]
    cells[2:4] = cells[2][:-1], cells[3][:40]
    rows = open_source(str(write_bytes(tmp_path / "a.parquet", cells))).read(0, 6)
    assert rows.errors == {2: "1535 bytes, not numbers of float32", 3: "10 dimensions, not 384"}


@pytest.mark.parametrize(
    "cell",
    [
        lambda row: base64.b64encode(row.tobytes()).decode(),
        lambda row: list(map(repr, row.tolist())),
        lambda row: [{"N": repr(number)} for number in row.tolist()],
        lambda row: {"L": [{"N": repr(number)} for number in row.tolist()]},
        lambda row: {"B": base64.b64encode(row.tobytes()).decode()},
        lambda row: [{"$numberDouble": repr(number)} for number in row.tolist()],
        lambda row: {"$binary": {"base64": bson(row), "subType": "09"}},
        lambda row: [row.tolist()],
        lambda row: str(row.tolist()),
        lambda row: str(list(row)),
        lambda row: " ".join(map(repr, row.tolist())),
        lambda row: ",".join(map(repr, row.tolist())),
        lambda row: f"tensor({row.tolist()}, device='cuda:0')",
        lambda row: f"tensor([{row.tolist()}], grad_fn=<MeanBackward1>)",
        lambda row: np.array_repr(row, precision=9),
    ],
)
def test_numbers_as_text(tmp_path, vectors, cell):
    with np.printoptions(threshold=9999):
        cells = list(map(cell, vectors))
    documents = [{"id": n, "e": cell} for n, cell in zip(NAMES, cells, strict=True)]
    check(write_lines(tmp_path / "a.jsonl", documents), vectors, NAMES, ids="id")
    (tmp_path / "a.json").write_text(json.dumps({"model": "x", "rows": documents}))
    check(tmp_path / "a.json", vectors, NAMES, ids="id")
    pq.write_table(pa.table({"id": NAMES, "e": cells}), tmp_path / "a.parquet")
    check(tmp_path / "a.parquet", vectors, NAMES, ids="id")
    if isinstance(cells[0], str):
        pd.DataFrame(documents).to_csv(tmp_path / "a.csv", index=False)
        check(tmp_path / "a.csv", vectors, NAMES, ids="id")


@pytest.mark.parametrize("name", ODD)
def test_names_of_any_characters(tmp_path, vectors, name):
    table = {name: vectors.tolist(), "other": vectors[:, :3].tolist(), f"id {name}": NAMES}
    documents = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    folder = tmp_path / "one#of: [1]"
    folder.mkdir()
    pq.write_table(pa.table(table), folder / "a.parquet")
    pa.feather.write_feather(pa.table(table), folder / "a.feather")
    pd.DataFrame(table).to_csv(folder / "a.csv", index=False)
    write_lines(folder / "a.jsonl", documents)
    (folder / "a.json").write_text(json.dumps(documents))
    for suffix in ("parquet", "feather", "csv", "jsonl", "json"):
        check(f"{folder}/a.{suffix}#{name}", vectors, NAMES, ids=f"id {name}")
        assert name in names_in(folder / f"a.{suffix}")
    nested = [{"in": {name: row}, "up": [1]} for row in vectors.tolist()]
    check(f"{write_lines(folder / 'b.jsonl', nested)}#in.{name}", vectors)
    pq.write_table(pa.Table.from_pylist(nested), folder / "b.parquet")
    check(f"{folder}/b.parquet#in.{name}", vectors)


def test_columns_of_dimensions_whose_names_hold_colons(tmp_path, vectors):
    frame = pd.DataFrame(vectors, columns=[f"e:{i}" for i in range(384)])
    frame.assign(**{"score:": 0.5}).to_csv(tmp_path / "a.csv", index=False)
    check(f"{tmp_path}/a.csv#e:0:e:383", vectors)


def test_of_many_names_the_first_are_listed(tmp_path):
    names = [f"d{i}" for i in range(99)]
    pq.write_table(pa.table({name: ["x"] for name in names}), tmp_path / "a.parquet")
    assert said(tmp_path / "a.parquet").endswith(f"{', '.join(names[:16])}, and 83 more")


def test_tensors_and_nested_lists_of_arrow(tmp_path, vectors):
    columns = {
        "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(vectors),
        "row": pa.FixedShapeTensorArray.from_numpy_ndarray(vectors[:, None]),
        "fixed": pa.FixedSizeListArray.from_arrays(vectors.ravel(), 384),
        "nested": pa.array([[row] for row in vectors.tolist()]),
        "doubles": pa.array(vectors.astype(float).tolist(), pa.large_list(pa.float64())),
    }
    for name, column in columns.items():
        pq.write_table(pa.table({"id": NAMES, name: column}), tmp_path / "a.parquet")
        check(tmp_path / "a.parquet", vectors, NAMES, ids="id")
        pa.feather.write_feather(pa.table({name: column}), tmp_path / "a.feather")
        check(tmp_path / "a.feather", vectors)


def test_semicolons_tabs_and_columns_of_one_name(tmp_path, vectors):
    frame = pd.DataFrame({"id": NAMES, "emb": [str(row) for row in vectors.tolist()], "x": "a, b"})
    for delimiter in ",;\t|":
        frame.to_csv(tmp_path / "a.csv", sep=delimiter, index=False)
        check(tmp_path / "a.csv", vectors, NAMES, ids="id")
    for named in (True, False):  # by pandas: 0, 1, 2 and so on
        pd.DataFrame(vectors).to_csv(tmp_path / "c.csv", index=False, header=named)
        check(tmp_path / "c.csv", vectors)
    (tmp_path / "b.csv").write_text('x,x\n1,"[1, 2]"\n')
    check(f"{tmp_path}/b.csv#x.1", np.array([[1, 2]]))


def test_the_cause_in_one_line(tmp_path, vectors):
    european = pd.DataFrame(vectors).to_csv(sep=";", decimal=",", index=False)
    (tmp_path / "named.csv").write_text(european)
    (tmp_path / "bare.csv").write_text(european.partition("\n")[2])
    for file in ("named.csv", "bare.csv"):
        assert "numbers with decimal commas" in said(tmp_path / file)
    lines = [
        json.dumps({"text": "größe", "emb": row}, ensure_ascii=False) for row in vectors.tolist()
    ]
    for suffix in ("json", "jsonl", "csv", "txt"):
        for code, why in (("utf-16", "in UTF-16"), ("latin-1", "perhaps in Latin-1")):
            (tmp_path / f"a.{suffix}").write_text("\n".join(lines), code)
            assert why in said(tmp_path / f"a.{suffix}")
    for suffix in ("bin", "vec", "json", "csv"):
        (tmp_path / f"b.{suffix}").write_bytes(b"4 384\nthe \x80\x3e\xcd\xcc\1\x3d")
        assert "a binary file of no known format" in said(tmp_path / f"b.{suffix}")
    np.save(tmp_path / "turned.npy", vectors.T)
    with pytest.raises(
        UserError, match=r"6 dimensions, but minilm .*: 384 rows of 6, transposed\?"
    ):
        open_source(f"{tmp_path}/turned.npy").expect(384, "minilm")
