"""Arrays and words, in files of every kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from shapes import NAMES, ODD, check, said

from nanov2t.stores.registry import open_source


@pytest.mark.parametrize("name", ODD)
def test_arrays_of_any_name(tmp_path, vectors, name):
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    arrays = {name: vectors, "other": vectors[:, :3]}
    save_file(arrays, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **arrays)
    torch.save({n: torch.from_numpy(array) for n, array in arrays.items()}, tmp_path / "a.pt")
    group = zarr.create_group(tmp_path / "a.zarr")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for n, array in arrays.items():
            file[n] = array
            group.create_array(n, data=array)
    for suffix in ("safetensors", "npz", "pt", "zarr", "h5"):
        check(f"{tmp_path}/a.{suffix}#{name}", vectors)


def test_one_vector_alone(tmp_path, vectors):
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    row = vectors[0]
    np.save(tmp_path / "a.npy", row)
    np.savez(tmp_path / "a.npz", row)
    torch.save(torch.from_numpy(row), tmp_path / "a.pt")
    save_file({"x": row}, tmp_path / "a.safetensors")
    zarr.create_array(tmp_path / "a.zarr", data=row)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = row
    for suffix, content in (("json", row.tolist()), ("jsonl", row.tolist())):
        (tmp_path / f"a.{suffix}").write_text(json.dumps(content))
    (tmp_path / "b.json").write_text(json.dumps({"embedding": row.tolist(), "text": "x"}))
    for path in sorted(tmp_path.iterdir()):
        check(path, vectors[:1])


def test_vectors_by_their_names(tmp_path, vectors):
    h5py = pytest.importorskip("h5py")
    arrays = dict(zip(NAMES, vectors, strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    save_file(arrays, tmp_path / "a.safetensors")
    tensors = {name: torch.from_numpy(row) for name, row in arrays.items()}
    torch.save(tensors, tmp_path / "a.pt")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, row in arrays.items():
            file[name] = row
    for suffix in ("npz", "safetensors", "pt", "h5"):
        check(f"{tmp_path}/a.{suffix}", vectors, NAMES)
        check(f"{tmp_path}/a.{suffix}#c", vectors[2:3])
    torch.save({"ids": NAMES, "rows": list(tensors.values())}, tmp_path / "b.pt")
    assert open_source(f"{tmp_path}/b.pt").count == 6


def test_words_and_their_vectors(tmp_path, vectors):
    words = ["the", "größe", ". . .", "7", "New York", "f"]
    lines = "".join(
        f"{word} {' '.join(map(str, row.tolist()))}\n"
        for word, row in zip(words, vectors, strict=True)
    )
    (tmp_path / "glove.txt").write_text(lines)
    (tmp_path / "word2vec.vec").write_text(f"6 384\n{lines}".replace("\n", " \n"))
    for file in ("glove.txt", "word2vec.vec"):
        check(tmp_path / file, vectors, words)
    np.savetxt(tmp_path / "bare.txt", vectors)
    check(tmp_path / "bare.txt", vectors)
    (tmp_path / "cut.txt").write_text(lines[:-3])
    assert "its last line has no end" in said(tmp_path / "cut.txt")
    (tmp_path / "cut.vec").write_text(f"7 384\n{lines}")
    assert "holds 6 rows, not 7" in said(tmp_path / "cut.vec")
    (tmp_path / "notes.txt").write_text("the ferry\ncrossed the lake\n")
    assert "its lines hold no vectors" in said(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("suffix", "kind"), [("fbin", "<f4"), ("ibin", "<i4"), ("u8bin", "u1"), ("i8bin", "i1")]
)
def test_arrays_after_their_shape(tmp_path, vectors, suffix, kind):
    values = (vectors * 200).astype(kind)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(np.array(values.shape, "<i4").tobytes() + values.tobytes())
    check(path, values)
    path.write_bytes(path.read_bytes()[:-1])
    assert "its size is not that of 6 rows of 384" in said(path)
