"""Inversion shared out among the processes of `torchrun` or `accelerate launch`. Importing it does
not import torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from nanov2t.core.progress import progress
from nanov2t.search.options import BEAM

if TYPE_CHECKING:
    import numpy as np

    from nanov2t.inverter import Inverter
    from nanov2t.search.state import Inversion

Part = TypeVar("Part")
Result = TypeVar("Result")
PART = 64
"""Vectors of a part. Each part is a search of its own, so that what is found for its vectors is, to
the last bit, the same whichever process does it."""


def local_device() -> str:
    """This process's own GPU under torchrun; the first one, or the CPU, without."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def is_first() -> bool:
    """Whether this process is the one that says what came out."""
    return os.environ.get("RANK", "0") == "0"


def invert_shared(
    inverter: Inverter,
    vectors: np.ndarray,
    rounds: int | None = None,
    beam: int = BEAM,
    drafts: Sequence[str] | None = None,
) -> list[Inversion]:
    """As :meth:`Inverter.invert`; every process inverts its share, and all have all of them in the
    end. The first process shows the progress of its share.

    Args:
        vectors: float32 [n, dim], the same in every process; like the drafts.
    """
    from nanov2t.evaluation.pace import watched

    starts = range(0, len(vectors), PART)
    share = sum(min(PART, len(vectors) - starts[i]) for i in _own(starts))

    def part(start: int) -> list[Inversion]:
        rows = slice(start, start + PART)
        given = None if drafts is None else drafts[rows]
        found = dict(watched(inverter, vectors[rows], rounds, beam, tick, given))
        return [found[i] for i in range(len(found))]

    with progress("inverting", share, shown=is_first()) as tick:
        parts = share_out(part, starts)
    return [inversion for inversions in parts for inversion in inversions]


def share_out(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """What a function makes of each part, in their order. Every process does its share, and all
    have all of it in the end.

    Args:
        parts: the same in every process.
    """
    from accelerate.utils import gather_object

    done: list[tuple[int, Result]] = gather_object([(i, work(parts[i])) for i in _own(parts)])
    return [result for _, result in sorted(done, key=lambda pair: pair[0])]


def _own(parts: Sequence[Part]) -> range:
    """The places of the parts that are this process's share."""
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return range(state.process_index, len(parts), state.num_processes)


def of_first(value: Result) -> Result:
    """The first process's value, in every process: what they all go by where each might see
    something else, such as a file that is just being written."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())
    [value] = broadcast_object_list([value])
    return value
