"""How a network runs, layer by layer: what was chosen, what it takes, and how near that is to the machine's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.direct.steps import Convolution, Matrix
from sparsemark.direct.table import INPUT
from sparsemark.direct.tuning import time_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sparsemark.direct.layout import Choice
    from sparsemark.direct.network import Plan
    from sparsemark.direct.steps import Step, Tensor


@dataclass(frozen=True)
class Layer:
    """One step of the program, timed alone with everything it reads in the cache.

    Args:
        name: of the node that it comes from.
        shape: of what it makes, channels first.
        density: non-zeros over weights; None where there are no weights.
        kernel: how it runs.
        seconds: of one image, on one thread; None for the copy of the image.
        multiply_adds: on non-zeros, an image.
    """

    name: str
    shape: tuple[int, int, int]
    density: float | None
    kernel: str
    seconds: float | None
    multiply_adds: int

    @property
    def rate(self) -> float | None:
        """Multiply-adds on non-zeros a second."""
        return self.multiply_adds / self.seconds if self.multiply_adds and self.seconds else None


def explain(plan: Plan) -> Iterator[Layer]:
    """Time every step of a plan by itself."""
    for step in plan.lowered.steps:
        choice = plan.choices.get(step)
        seconds = None if step.code == INPUT else time_step(step, plan.choices, plan.floats)
        yield Layer(step.name, step.target.shape, _density(step), _kernel(step, choice), seconds, _work(step))


def _density(step: Step) -> float | None:
    if isinstance(step, Convolution):
        return len(step.taps.weight) / step.weights
    return step.values.size / step.weights if isinstance(step, Matrix) else None


def _work(step: Step) -> int:
    if isinstance(step, Convolution):
        return len(step.taps.weight) * step.height * step.width
    return step.values.size if isinstance(step, Matrix) else 0


def _kernel(step: Step, choice: Choice | None) -> str:
    if not isinstance(step, Convolution) or choice is None:
        return "matrix x vector" if isinstance(step, Matrix) else "plain loop"
    kind = "direct" if choice.channels == 1 else f"{choice.channels} channels together"
    blocks = f", {choice.planes} planes a block" if choice.planes else ""
    return f"{kind}, {choice.vectors} vectors{blocks}{_taken_in(step.second, pooled=step.pooled)}"


def _taken_in(second: Tensor | None, *, pooled: bool) -> str:
    return (", adds" if second is not None else "") + (", pools" if pooled else "")
