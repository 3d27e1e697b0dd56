"""What a training run teaches, as the loop sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
Trained = TypeVar("Trained", bound=nn.Module, contravariant=True)


class MicroBatch(NamedTuple):
    """Examples that pass through the model together."""

    arguments: dict[str, Any]
    """Of the model's forward, whose output must have a `loss`: a mean, of any unit."""
    weight: Tensor
    """Share of this mean in the loss of the step: float []. Over the micro-batches of all processes
    the weights of a step sum to 1."""
    then: Callable[[Any], None] | None = None
    """Called with what the model's forward gave."""


class Task(Protocol[Trained]):
    """Examples for a model, and figures of it.

    What a step sees must be a function of the seed, the step and :meth:`state` alone, and together
    the same examples whatever the number of processes: then a run that was killed ends with the
    weights of one that was not.

    Attributes:
        steps: of the whole run.
    """

    steps: int

    def seen(self, step: int) -> int:
        """How many examples are in the steps before `step`, over all processes."""

    def begin(self) -> None:
        """Prepare the model for its first step; not called in a run that is resumed."""

    def micro_batches(self, step: int, current: Callable[[], Trained]) -> Iterable[MicroBatch]:
        """This process's examples of a step.

        Args:
            current: gives the model in training, ready to generate. Where the weights are shared
                out among the processes, all of them must call it together.
        """

    def state(self) -> dict[str, Tensor]:
        """What must outlast a kill besides the weights, such as a pool of examples that the model
        wrote; no name may begin with `random.`."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a :meth:`state`."""

    def dev(self, model: Trained) -> dict[str, float]:
        """Figures of the model on texts that it does not train on. One is the `loss`: the model
        with the lowest is the best."""

    def save(self, model: Trained, folder: Path) -> None:
        """Write the model."""
