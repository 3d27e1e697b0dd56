from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from processes import FORKS
from support import BAD, VECTORS, vectors_with_bad_rows

from nanov2t import load_inverter
from nanov2t.bulk import run as bulk
from nanov2t.bulk.folder import PART_ROWS, RunFolder
from nanov2t.bulk.run import invert_source
from nanov2t.bulk.table import OpenRows
from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter
from nanov2t.search.options import Budget
from nanov2t.stores.registry import open_source
from nanov2t.targets import prepare_targets


@dataclass
class Store:
    inverter: Path
    vectors: Path

    def invert(self, out: Path, **settings) -> None:
        settings = {"rounds": 0, "beam": 1} | settings
        invert_source(
            load_inverter(self.inverter, device="cpu"),
            open_source(str(self.vectors)),
            out,
            **settings,
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    tiny.inverter(folder / "inverter", tokens=3)
    vectors_with_bad_rows(folder / "vectors.npy")
    return Store(folder / "inverter", folder / "vectors.npy")


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    store.invert(out)
    return out


def read(out: Path):
    return pq.read_table(sorted(out.glob("part-*.parquet")))


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
        networks = (bundled.hypothesizer, bundled.corrector, bundled.dictionary)
        return Inverter(minilm, bundled.tokenizer, *networks, **settings)

    def run(inverter):
        source = open_source(str(tmp_path / "v.npy"))
        invert_source(inverter, source, tmp_path / "out", rounds=1, beam=2)

    first = inverter(effort="fast")
    run(first)
    found = first.invert(np.load(tmp_path / "v.npy"), rounds=1, beam=2)
    assert read(tmp_path / "out")["inverted"].to_pylist() == [f.text for f in found]
    run(inverter(effort="fast"))  # the same again
    rounded = partial(np.round, decimals=2)
    for settings, said in (
        ({"effort": "default"}, r"another effort \(fast, not default\)"),
        ({"budget": Budget(embeddings=9)}, "another budget"),
        ({"defence": np.round}, r"another defence \(None, not round\)"),
        ({"defence": rounded}, r"another defence \(None, not partial\)"),
        ({"search": "exhaustive"}, "another search"),
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
    inverter = load_inverter(store.inverter, device="cpu")
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
        assert len(list(inverting.invert(inverter, rounds=0, beam=1))) == len(rows.ids)
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


def work(store: Store, out: Path, rank: int, seconds: float = 0) -> None:
    """A process of a run, which saves its rows every so many seconds, and never rests after one."""
    os.environ["RANK"] = str(rank)
    bulk.SAVE_SECONDS = seconds
    store.invert(out)


def close(a, b) -> bool:
    """Whether tables are the same, but for rounding: rows were searched beside others."""
    a, b = a.to_pydict(), b.to_pydict()
    cosines = [np.array(table.pop("cosine"), float) for table in (a, b)]
    return a == b and np.allclose(*cosines, atol=1e-5, equal_nan=True)


def test_killed_processes_lose_nothing_and_others_take_over(store, whole, tmp_path):
    chance = random.Random(0)
    running = [FORKS.Process(target=work, args=(store, tmp_path, rank)) for rank in range(2)]
    for process in running:
        process.start()
    for kill in range(5):
        running[kill % 2].join(chance.uniform(1, 6))
        if running[kill % 2].is_alive():
            os.kill(running[kill % 2].pid, signal.SIGKILL)
            running[kill % 2].join()
        running[kill % 2] = FORKS.Process(target=work, args=(store, tmp_path, kill % 2))
        running[kill % 2].start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    assert close(read(tmp_path), read(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )


def test_a_kill_in_mid_part_costs_only_what_was_not_saved(store, whole, tmp_path, monkeypatch):
    process = FORKS.Process(target=work, args=(store, tmp_path, 0))
    process.start()
    while not (saved := len(list(tmp_path.glob(".part-*.open")))):
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert saved == 1
    parts = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    folder = RunFolder(tmp_path, VECTORS, json.loads((tmp_path / "_manifest.json").read_text()))
    [part] = [p for p in folder.missing if folder.saved(p)]
    kept = folder.saved(part)
    assert 0 < len(kept) < PART_ROWS
    before = folder.finished_rows
    assert before == len(kept) + sum(len(folder.rows_of(p)) for p in folder.parts)
    bad = sum(row in folder.rows_of(p) for row in BAD for p in folder.missing)

    searched = []
    stream = Inverter.stream

    def count(self, vectors, *args, **settings):
        searched.append(len(vectors))
        return stream(self, vectors, *args, **settings)

    monkeypatch.setattr(Inverter, "stream", count)
    store.invert(tmp_path)
    assert sum(searched) == VECTORS - before - bad
    assert all(path.stat().st_mtime_ns == when for path, when in parts.items())
    table = read(tmp_path)
    assert close(table, read(whole))
    rows = table.slice(folder.rows_of(part).start, PART_ROWS).to_pylist()
    assert all(rows[place] | cells == rows[place] for place, cells in kept.items())
    assert not list(tmp_path.glob(".part-*"))


def test_saved_rows_that_cannot_be_read_are_done_again(store, tmp_path):
    store.invert(tmp_path, limit=10)
    whole = read(tmp_path)
    (tmp_path / "part-00000000.parquet").unlink()
    (tmp_path / ".part-00000000.open").write_bytes(b"PAR1 and no more")
    store.invert(tmp_path, limit=10)
    assert read(tmp_path).equals(whole)
    assert not list(tmp_path.glob(".part-*"))
