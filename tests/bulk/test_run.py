from __future__ import annotations

import json
import os
import resource
import subprocess
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from bulk_store import read
from support import BAD, VECTORS

from nanov2t import bulk, load_inverter
from nanov2t.bulk import PART_ROWS, BulkRun, OpenRows, RunFolder
from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter
from nanov2t.search.options import Budget, SearchOptions
from nanov2t.stores.registry import open_source
from nanov2t.targets import prepare_targets


def test_rows_are_those_of_the_in_memory_search(store, whole):
    table = read(whole).to_pydict()
    assert list(table) == [
        "id",
        "inverted",
        "cosine",
        "stopped",
        "rounds",
        "embedder_calls",
        "error",
    ]
    assert table["id"] == list(range(VECTORS))
    assert {i: error for i, error in enumerate(table["error"]) if error} == BAD
    assert all(
        table[name][i] is None for name in ("inverted", "cosine", "stopped", "rounds") for i in BAD
    )
    good = [i for i in range(VECTORS) if i not in BAD]
    found = load_inverter(store.inverter, device="cpu").invert(
        np.load(store.vectors)[good], rounds=0, beam=1
    )
    assert [table["inverted"][i] for i in good] == [f.text for f in found]
    assert np.allclose([table["cosine"][i] for i in good], [f.cosine for f in found], atol=1e-5)
    assert sorted(path.name for path in whole.iterdir()) == [
        "_SHA256SUMS",
        "_manifest.json",
        *(f"part-{i:08d}.parquet" for i in range(4)),
    ]
    assert pq.read_table(whole).num_rows == VECTORS  # as readers of whole folders do


def test_only_missing_parts_are_done_again(store, whole, tmp_path, capsys):
    store.invert(tmp_path)
    (tmp_path / "part-00000002.parquet").unlink()
    kept = (tmp_path / "part-00000001.parquet").stat().st_mtime_ns
    store.invert(tmp_path)
    assert (tmp_path / "part-00000001.parquet").stat().st_mtime_ns == kept
    assert read(tmp_path).equals(read(whole))
    said = capsys.readouterr()
    assert f"{VECTORS:,} rows" in said.out and "2 with a bad vector" in said.out
    assert "384 dimensions, float32, of unit length" in said.err


def test_another_run_is_refused_by_name(store, tmp_path):
    store.invert(tmp_path, limit=10)
    for settings, said in (
        ({"rounds": 1}, r"another rounds \(0, not 1\)"),
        ({"beam": 2}, r"another beam \(1, not 2\)"),
        ({"limit": 11}, r"another rows \(10, not 11\)"),
    ):
        with pytest.raises(UserError, match=said):
            store.invert(tmp_path, **{"limit": 10} | settings)
    os.utime(store.vectors)
    with pytest.raises(UserError, match=r"another source .*vectors\.npy"):
        store.invert(tmp_path, limit=10)
    manifest = json.loads((tmp_path / "_manifest.json").read_text())
    manifest["inverter"]["fingerprint"] = "0"
    with pytest.raises(UserError, match="another inverter"):
        RunFolder(tmp_path, 10, manifest)


def test_effort_budget_and_defence_are_part_of_a_run(bundled, minilm, tmp_path):
    np.save(tmp_path / "v.npy", minilm.encode(["a grey cat", "we met at noon"]))

    def inverter(**settings):
        defence = settings.pop("defence", None)
        options = SearchOptions(rounds=1, beam=2, **settings)
        return Inverter(bundled.networks, options, defence)

    def run(inverter):
        source = open_source(str(tmp_path / "v.npy"))
        BulkRun(inverter, source, tmp_path / "out").finish()

    first = inverter(effort="fast")
    run(first)
    found = first.invert(np.load(tmp_path / "v.npy"))
    assert read(tmp_path / "out")["inverted"].to_pylist() == [f.text for f in found]
    run(inverter(effort="fast"))  # the same again
    rounded = partial(np.round, decimals=2)
    for settings, said in (
        ({"effort": "default"}, r"another effort \(fast, not default\)"),
        ({"budget": Budget(embeddings=9)}, "another budget"),
        ({"defence": np.round}, r"another defence \(None, not round\)"),
        ({"defence": rounded}, r"another defence \(None, not partial\)"),
        ({"search": "evolution"}, "another search"),
    ):
        with pytest.raises(UserError, match=said):
            run(inverter(**{"effort": "fast"} | settings))


def test_a_fingerprint_covers_networks_and_dictionary(bundled):
    prints = {bundled.fingerprint()}
    parts = (bundled.hypothesizer.scale, bundled.corrector.bias)
    dictionary = bundled.dictionary
    for tensor in (*parts, dictionary.states, dictionary.whitening, dictionary.log_frequency):
        value = tensor.view(-1)[0].item()
        with torch.no_grad():
            tensor.view(-1)[0] = value + 1
        prints.add(bundled.fingerprint())
        with torch.no_grad():
            tensor.view(-1)[0] = value
    assert len(prints) == 6 and bundled.fingerprint() in prints


def test_a_damaged_part_is_named(store, tmp_path):
    store.invert(tmp_path, limit=10)
    part = tmp_path / "part-00000000.parquet"
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"part-00000000.parquet: damaged"):
        store.invert(tmp_path, limit=10)


def test_quantised_vectors_find_the_same_texts(store, tmp_path):
    vectors = np.delete(np.load(store.vectors)[:60], 7, axis=0)
    inverter = load_inverter(store.inverter, device="cpu").with_options(rounds=0, beam=1)
    texts = []
    for kind, scale in (("float32", 1), ("float16", 1), ("int8", 127 / np.abs(vectors).max())):
        values = vectors * scale
        np.save(
            tmp_path / f"{kind}.npy", (values.round() if kind == "int8" else values).astype(kind)
        )
        source = open_source(str(tmp_path / f"{kind}.npy"))
        remarks = bulk.look_at(source, inverter)
        rows = source.read(0, source.count)
        targets = prepare_targets(rows.vectors, inverter.embedder.info)
        assert (
            ("rounded" in str(remarks))
            == ("scaled to unit length" in str(remarks))
            == (kind == "int8")
        )
        exact = (rows.vectors * vectors).sum(1) / np.linalg.norm(rows.vectors, axis=1)
        assert all(1 - e < target.tolerance for e, target in zip(exact, targets, strict=True))
        inverting = OpenRows(rows, integer_ids=True)
        assert len(list(inverting.invert(inverter))) == len(rows.ids)
        texts.append(inverting.table()["inverted"].to_pylist())
    # An untrained network's words are close to ties, the more so in bfloat16.
    for other, share in ((texts[1], 0.95), (texts[2], 0.8)):
        assert np.mean([a == b for a, b in zip(texts[0], other, strict=True)]) > share


def test_other_dimensions_are_refused_before_anything_is_written(store, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 5), np.float32))
    with pytest.raises(UserError, match="vectors of 5 dimensions"):
        replace(store, vectors=tmp_path / "a.npy").invert(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_loses_nothing_finished(store, whole, tmp_path):
    store.invert(tmp_path, limit=PART_ROWS)  # so that the manifest and the first part are there
    manifest = json.loads((tmp_path / "_manifest.json").read_text()) | {"rows": VECTORS}
    (tmp_path / "_manifest.json").write_text(json.dumps(manifest))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(UserError, match="what is finished stays"):
            store.invert(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in sorted(tmp_path.glob("*.parquet"))] == ["part-00000000.parquet"]
    store.invert(tmp_path)
    assert read(tmp_path).equals(read(whole))


@pytest.mark.parametrize("options", ["size=64k", "ro"])
def test_a_small_or_read_only_disk_gives_a_line(store, tmp_path, options):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("may not mount a file system")
    try:
        said = "Read-only file system" if options == "ro" else "No space left on device"
        with pytest.raises(UserError, match=said):
            store.invert(disk / "out")
        assert all(pq.read_table(path).num_rows == PART_ROWS for path in disk.glob("out/*.parquet"))
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
