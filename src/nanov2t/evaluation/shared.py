"""Inversion with progress, split between the processes of `torchrun` or `accelerate launch`. Free
of torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from nanov2t.core.progress import Tick, progress

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter
    from nanov2t.search.state import Inversion, OnRound, Round

Part = TypeVar("Part")
Result = TypeVar("Result")
PART = 64
"""Vectors in a part. Each part is a search of its own, so its results are the same to the last bit
in any process."""


def local_device() -> str:
    """The GPU of this process under torchrun; else the first GPU, or the CPU."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def is_first() -> bool:
    """Whether this process is the one that prints."""
    return os.environ.get("RANK", "0") == "0"


def watched(
    inverter: Inverter, vectors: np.ndarray, tick: Tick, drafts: Sequence[str] | None = None
) -> Iterator[tuple[int, Inversion]]:
    """:meth:`Inverter.stream` with a tick for every finished vector."""
    for found in inverter.stream(vectors, drafts, estimate(inverter, tick)):
        tick()
        yield found


def estimate(inverter: Inverter, tick: Tick) -> OnRound:
    """After each round, tell `tick` how long a vector takes at most: until its rounds or its budget
    are used up, whichever comes first."""
    budget = inverter.options.budget

    def on_round(_: int, best: Round) -> None:
        used = (best.round + 1) / (inverter.rounds + 1)
        used = max(used, best.embedder_calls / budget.embeddings, best.seconds / budget.seconds)
        tick.expect(best.seconds / min(1.0, used))

    return on_round


def invert_shared(
    inverter: Inverter, vectors: np.ndarray, drafts: Sequence[str] | None = None
) -> list[Inversion]:
    """Invert vectors, float32 [n, dim]. They and the drafts must be the same in every process. Each
    process searches its share and gets all results; the first shows its progress."""
    parts = [slice(start, start + PART) for start in range(0, len(vectors), PART)]
    share = sum(len(vectors[rows]) for _, rows in _own(parts))

    def search(rows: slice) -> list[Inversion]:
        given = None if drafts is None else drafts[rows]
        found = dict(watched(inverter, vectors[rows], tick, given))
        return [found[i] for i in range(len(found))]

    with progress("inverting", share, shown=is_first()) as tick:
        return [inversion for found in share_out(search, parts) for inversion in found]


def share_out(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Call a function with each part, and return the results in order. The parts must be the same
    in every process; each works on its share and gets all results."""
    from accelerate.utils import gather_object

    done: list[tuple[int, Result]] = gather_object([(i, work(part)) for i, part in _own(parts)])
    return [result for _, result in sorted(done, key=lambda pair: pair[0])]


def of_first(value: Result) -> Result:
    """The first process's value of something that others may see differently, such as files."""
    from accelerate.utils import broadcast_object_list

    _state()
    [value] = broadcast_object_list([value])
    return value


def _own(parts: Sequence[Part]) -> list[tuple[int, Part]]:
    """This process's parts, with their numbers."""
    state = _state()
    return list(enumerate(parts))[state.process_index :: state.num_processes]


def _state() -> Any:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
