"""Inversion on Ray, of stores into a folder and of Ray's data sets. Actors hold the inverter. Ray
restarts an actor that dies and repeats its work."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nanov2t.bulk import PART_ROWS, SAVE_SECONDS, BulkRun, OpenRows
from nanov2t.core.errors import UserError, first_line
from nanov2t.core.imports import import_client
from nanov2t.core.progress import progress
from nanov2t.inverter import Inverter
from nanov2t.load import load_inverter
from nanov2t.seal import seal
from nanov2t.search.options import BEAM
from nanov2t.stores.arrow import choose_vectors
from nanov2t.stores.base import Rows
from nanov2t.stores.registry import open_source

if TYPE_CHECKING:
    from ray.data import Dataset

PATIENCE = 10  # seconds to wait for a cluster to answer


def invert_to_folder(
    load: Callable[[], Inverter],
    vectors: str,
    ids: str | None,
    out: Path,
    *settings: Any,
    address: str | None = None,
) -> None:
    """Invert a store into a folder, or continue such a run, with an actor for each GPU of a
    cluster, or for each CPU if it has no GPU. Every machine must see the same files and folder.

    `load` makes the inverter on each machine, and `settings` are the other arguments of
    :class:`~nanov2t.bulk.BulkRun`. Without an address, a cluster is started on this machine.
    """
    ray = import_client("ray", "ray")
    from ray.util import ActorPool

    out = out.absolute()

    def begin() -> BulkRun:
        return BulkRun(load(), open_source(vectors, ids), out, *settings)

    run = begin()
    folder = run.folder
    _connect(ray, address)
    try:
        known = ray.cluster_resources()
        gpus = int(known.get("GPU", 0))
        count = max(1, min(gpus or int(known["CPU"]), len(folder.missing)))
        actor = ray.remote(_Worker).options(
            num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=-1, max_task_retries=-1
        )
        workers = ActorPool([actor.remote(begin) for _ in range(count)])
        for part in folder.missing:
            workers.submit(lambda worker, part: worker.invert.remote(part), part)
        with progress("inverting", run.count, folder.finished_rows) as tick:
            tick.say(f"{vectors.rpartition('@')[2]}: {', '.join(run.remarks)}")
            tick.say(f"{count} workers of Ray")
            while workers.has_next():
                with suppress(TimeoutError):  # to count the rows that workers have saved
                    workers.get_next_unordered(timeout=SAVE_SECONDS)
                tick(folder.finished_rows - tick.done)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise UserError(f"a worker of Ray failed: {first_line(cause)}") from None
    finally:
        ray.shutdown()
    folder.tidy()
    seal(folder.out)
    folder.show()


def invert_dataset(
    ds: Dataset,
    column: str = "",
    inverter: str | Callable[[], Inverter] = "minilm-exact",
    rounds: int | None = None,
    beam: int = BEAM,
    num_gpus: float = 0,
    concurrency: int = 1,
) -> Dataset:
    """Replace the vectors of a data set by the columns inverted, cosine, stopped, rounds,
    embedder_calls and error. The inverter is a name or folder, or a function that makes one and is
    called once in each of `concurrency` actors, which have `num_gpus` each."""
    load = partial(load_inverter, inverter) if isinstance(inverter, str) else inverter
    return ds.map_batches(
        _Batches,
        fn_constructor_args=(load, column, {"rounds": rounds, "beam": beam}),
        batch_format="pyarrow",
        batch_size=PART_ROWS,
        num_gpus=num_gpus,
        concurrency=concurrency,
    )


class _Worker:
    def __init__(self, begin: Callable[[], BulkRun]):
        self.run = begin()

    def invert(self, part: int) -> None:
        with progress("inverting", self.run.count, shown=False) as tick:
            self.run.invert_part(part, tick)


class _Batches:
    def __init__(self, load: Callable[[], Inverter], column: str, options: dict[str, Any]):
        self.inverter, self.column = load().with_options(**options), column

    def __call__(self, table: pa.Table) -> pa.Table:
        empty = [pa.RecordBatch.from_pylist([], table.schema)]
        [batch] = table.combine_chunks().to_batches() or empty
        found = choose_vectors("data set", batch, self.column, None)
        each = (v[0] if len(v) == 1 else f"{len(v)} vectors, not one" for v in found.each(batch))
        rows = Rows.of(list(range(len(batch))), list(each), self.inverter.embedder.dim)
        inverting = OpenRows(rows, integer_ids=True)
        for _ in inverting.invert(self.inverter):
            pass
        inverted = inverting.table()
        table = table.drop_columns(list(dict.fromkeys(found.columns)))
        for name in inverted.column_names[1:]:
            table = table.append_column(name, inverted.column(name))
        return table


def _connect(ray: Any, address: str | None) -> None:
    try:
        host, _, port = (address or "").rpartition("/")[2].rpartition(":")
        if host and port.isdigit():  # Ray alone would try for minutes
            socket.create_connection((host, int(port)), PATIENCE).close()
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        place = f"--address {address}" if address else "Ray"
        raise UserError(f"{place}: {first_line(error)}") from None
