"""Inversion that reports its progress and is split between the processes of `torchrun` or
`accelerate launch`. Importing this does not import torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from nanov2t.core.progress import Tick, progress
from nanov2t.search.options import SearchOptions

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter
    from nanov2t.search.state import Inversion, OnRound, Round

Part = TypeVar("Part")
Result = TypeVar("Result")
PART = 64
"""Vectors in a part. Each part is a search of its own, so the result is the same to the last bit
whichever process searches it."""


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
    inverter: Inverter,
    vectors: np.ndarray,
    options: SearchOptions,
    tick: Tick,
    drafts: Sequence[str] | None = None,
) -> Iterator[tuple[int, Inversion]]:
    """:meth:`Inverter.stream`, with a tick for every vector that is done."""
    on_round = estimate(inverter, options.rounds, tick)
    for found in inverter.stream(vectors, options.rounds, options.beam, drafts, on_round):
        tick()
        yield found


def estimate(inverter: Inverter, rounds: int | None, tick: Tick) -> OnRound:
    """After each round of a search, tell `tick` how long a vector takes at most: until its rounds
    or its budget are used up, whichever comes first."""
    most = inverter.default_rounds if rounds is None else rounds
    budget = inverter.budget

    def on_round(_: int, best: Round) -> None:
        used = (best.round + 1) / (most + 1)
        used = max(used, best.embedder_calls / budget.embeddings, best.seconds / budget.seconds)
        tick.expect(best.seconds / min(1.0, used))

    return on_round


def invert_shared(
    inverter: Inverter,
    vectors: np.ndarray,
    options: SearchOptions,
    drafts: Sequence[str] | None = None,
) -> list[Inversion]:
    """Invert vectors, float32 [n, dim], which must be the same in every process, like the drafts.
    Every process searches its share and gets all results. The first one shows its progress."""
    parts = [slice(start, start + PART) for start in range(0, len(vectors), PART)]
    share = sum(len(vectors[rows]) for _, rows in _own(parts))

    def search(rows: slice) -> list[Inversion]:
        given = None if drafts is None else drafts[rows]
        found = dict(watched(inverter, vectors[rows], options, tick, given))
        return [found[i] for i in range(len(found))]

    with progress("inverting", share, shown=is_first()) as tick:
        return [inversion for found in share_out(search, parts) for inversion in found]


def share_out(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Call a function with each part, and return the results in order. Every process does its share
    of the parts, which must be the same in all, and gets all results."""
    from accelerate.utils import gather_object

    done: list[tuple[int, Result]] = gather_object([(i, work(part)) for i, part in _own(parts)])
    return [result for _, result in sorted(done, key=lambda pair: pair[0])]


def of_first(value: Result) -> Result:
    """The first process's value, of what processes may see differently, such as files."""
    from accelerate.utils import broadcast_object_list

    _state()
    [value] = broadcast_object_list([value])
    return value


def _own(parts: Sequence[Part]) -> list[tuple[int, Part]]:
    """The parts that this process does, with their numbers."""
    state = _state()
    return list(enumerate(parts))[state.process_index :: state.num_processes]


def _state() -> Any:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
