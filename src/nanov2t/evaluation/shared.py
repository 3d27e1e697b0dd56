"""Inversion shared out among the processes of `torchrun` or `accelerate launch`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from nanov2t.inverter import Inverter
from nanov2t.search.options import BEAM
from nanov2t.search.state import Inversion

PART = 64
"""Vectors of a part. Each part is a search of its own, so that what is found for its vectors is, to
the last bit, the same whichever process does it."""


def local_device() -> str:
    """This process's own GPU under torchrun; the first one, or the CPU, without."""
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
    end.

    Args:
        vectors: float32 [n, dim], the same in every process; like the drafts.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state = PartialState(cpu=not torch.cuda.is_available())
    starts = range(0, len(vectors), PART)
    found = []
    for start in starts[state.process_index :: state.num_processes]:
        part = slice(start, start + PART)
        given = None if drafts is None else drafts[part]
        found.append((start, inverter.invert(vectors[part], rounds, beam, given)))
    parts: list[tuple[int, list[Inversion]]] = sorted(gather_object(found), key=lambda x: x[0])
    return [inversion for _, inversions in parts for inversion in inversions]
