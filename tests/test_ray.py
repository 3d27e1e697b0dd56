"""Ray on this machine, with a worker that is killed. It takes a minute or more, so only on demand:

NANOV2T_RAY=1 pytest tests/test_ray.py
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
from support import vectors_with_bad_rows

from nanov2t import load_inverter
from nanov2t.bulk import BulkRun
from nanov2t.core.errors import UserError
from nanov2t.inverter import Inverter
from nanov2t.stores.registry import open_source

pytestmark = pytest.mark.skipif(not os.environ.get("NANOV2T_RAY"), reason="NANOV2T_RAY is not set")


def load_and_die_once(folder: Path, driver: int) -> Inverter:
    """An inverter, in a process that is killed a little later, if it is the first worker."""
    killed = folder / "killed"
    if os.getpid() != driver and not killed.exists():
        killed.write_text(str(os.getpid()))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return load(folder)


def load(folder: Path) -> Inverter:
    inverter = load_inverter(folder / "inverter", device="cpu")
    return inverter.with_options(rounds=0, beam=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An inverter, vectors, two of them bad, and what the local engine makes of them."""
    folder = tmp_path_factory.mktemp("ray")
    tiny.inverter(folder / "inverter", tokens=3)
    vectors_with_bad_rows(folder / "vectors.npy")
    source = open_source(str(folder / "vectors.npy"))
    BulkRun(load(folder), source, folder / "local").finish()
    return folder


def test_the_rows_of_the_local_engine_though_a_worker_is_killed(folder):
    from ray import cloudpickle

    from nanov2t.ray import invert_to_folder

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
    dying = partial(load_and_die_once, folder, os.getpid())
    out = folder / "out"
    invert_to_folder(dying, str(folder / "vectors.npy"), None, out)
    assert (folder / "killed").exists()
    assert pq.read_table(out).equals(pq.read_table(folder / "local"))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("nowhere.invalid:6379", "not known|resolution"),
        ("somewhere", "Invalid address format"),
        ("127.0.0.1:x", "port number"),
    ],
)
def test_a_cluster_that_does_not_answer_is_one_line(folder, address, said):
    from nanov2t.ray import invert_to_folder

    given = (partial(load, folder), str(folder / "vectors.npy"), None, folder / "none")
    with pytest.raises(UserError, match=f"--address {address}: .*({said})") as error:
        invert_to_folder(*given, address=address)
    assert "\n" not in str(error.value)


def test_a_data_set(folder):
    import ray

    from nanov2t.ray import invert_dataset

    local = pq.read_table(folder / "local").slice(0, 1200)
    vectors = np.load(folder / "vectors.npy")[:1200]
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    try:
        items = [{"key": f"k{i}", "vector": row} for i, row in enumerate(vectors.tolist())]
        plain = partial(load_inverter, folder / "inverter", device="cpu")
        found = invert_dataset(ray.data.from_items(items), inverter=plain, rounds=0, beam=1)
        rows = sorted(found.take_all(), key=lambda row: int(row["key"][1:]))
    finally:
        ray.shutdown()
    assert [row.pop("key") for row in rows] == [f"k{i}" for i in range(1200)]
    assert rows == local.drop_columns(["id"]).to_pylist()
