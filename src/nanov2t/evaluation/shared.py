"""Split inversion between the processes of `torchrun` or `accelerate launch`. Importing this does
not import torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from nanov2t.core.progress import progress
from nanov2t.evaluation.pace import watched
from nanov2t.search.options import SearchOptions

if TYPE_CHECKING:
    import numpy as np
    from accelerate import PartialState

    from nanov2t.inverter import Inverter
    from nanov2t.search.state import Inversion

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


def invert_shared(
    inverter: Inverter,
    vectors: np.ndarray,
    options: SearchOptions,
    drafts: Sequence[str] | None = None,
) -> list[Inversion]:
    """Invert vectors, float32 [n, dim], which must be the same in every process, like the drafts.
    Every process searches its share and gets all results. The first one shows its progress."""
    starts = range(0, len(vectors), PART)
    share = sum(min(PART, len(vectors) - starts[i]) for i in _own(starts))

    def part(start: int) -> list[Inversion]:
        rows = slice(start, start + PART)
        given = None if drafts is None else drafts[rows]
        found = dict(watched(inverter, vectors[rows], options, tick, given))
        return [found[i] for i in range(len(found))]

    with progress("inverting", share, shown=is_first()) as tick:
        parts = share_out(part, starts)
    return [inversion for inversions in parts for inversion in inversions]


def share_out(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Call a function with each part, and return the results in order. Every process does its share
    of the parts, which must be the same in all, and gets all results."""
    from accelerate.utils import gather_object

    done: list[tuple[int, Result]] = gather_object([(i, work(parts[i])) for i in _own(parts)])
    return [result for _, result in sorted(done, key=lambda pair: pair[0])]


def of_first(value: Result) -> Result:
    """The first process's value. Use it for what processes could see differently, such as whether a
    file exists."""
    from accelerate.utils import broadcast_object_list

    _state()
    [value] = broadcast_object_list([value])
    return value


def _own(parts: Sequence[Part]) -> range:
    """The numbers of the parts that this process does."""
    state = _state()
    return range(state.process_index, len(parts), state.num_processes)


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
