"""Explanation of a network, layer by layer: chosen kernels, their time, and the distance to the machine's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.program import assemble
from sparsemark.direct.runner import Runner
from sparsemark.direct.steps import Convolution, Matrix
from sparsemark.direct.table import INPUT
from sparsemark.direct.tuning import time_step
from sparsemark.direct.winograd import OUT, PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        products: multiply-adds that are carried out for them; Winograd's tiles take fewer, and have no zeros.
        winograd: whether such tiles run it.
        dense: multiply-adds with zeros counted, an image.
    """

    name: str
    shape: tuple[int, int, int]
    density: float | None
    kernel: str
    seconds: float | None
    multiply_adds: int
    products: int
    winograd: bool
    dense: int

    @property
    def rate(self) -> float | None:
        """Multiply-adds on non-zeros a second."""
        return self.multiply_adds / self.seconds if self.multiply_adds and self.seconds else None

    @property
    def pace(self) -> float | None:
        """Multiply-adds carried out a second: what the machine's limits are for."""
        return self.products / self.seconds if self.products and self.seconds else None


def explain(plan: Plan) -> Iterator[Layer]:
    """Time every step of a plan by itself."""
    for step in plan.lowered.steps:
        choice = plan.choices.get(step)
        seconds = None if step.code == INPUT else time_step(step, plan.choices, plan.floats)
        work, kernel = _work(step), _kernel(step, choice)
        winograd = choice is not None and choice.winograd
        products = _products(step) if winograd else work
        yield Layer(
            step.name, step.target.shape, _density(step), kernel, seconds, work, products, winograd, _dense(step)
        )


def repeated(plan: Plan) -> Callable[[], None]:
    """Return a call of all steps of a plan but the copy of the image, on what the arena holds."""
    steps = [step for step in plan.lowered.steps if step.code != INPUT]
    runner = Runner(assemble(steps, plan.choices, plan.floats, 1), 1)
    image = np.zeros(1, np.float32)

    def call() -> None:
        runner(image)

    return call


def _density(step: Step) -> float | None:
    if isinstance(step, Convolution):
        return len(step.taps.weight) / step.weights
    return step.values.size / step.weights if isinstance(step, Matrix) else None


def _work(step: Step) -> int:
    if isinstance(step, Convolution):
        return len(step.taps.weight) * step.height * step.width
    return step.values.size if isinstance(step, Matrix) else 0


def _dense(step: Step) -> int:
    if isinstance(step, Convolution):
        return step.weights * step.height * step.width
    return step.weights if isinstance(step, Matrix) else 0


def _products(step: Step) -> int:
    """Of a convolution by tiles, those that reach over the edge of the image not counted."""
    if not isinstance(step, Convolution) or step.source is None:
        raise ValueError(f"{step.name} has no tiles")
    return PRODUCTS * step.source.channels * step.outputs * step.height * step.width // OUT**2


def _kernel(step: Step, choice: Choice | None) -> str:
    if not isinstance(step, Convolution) or choice is None:
        return "matrix x vector" if isinstance(step, Matrix) else "plain loop"
    if choice.winograd:
        return f"Winograd 4 x 4, {choice.vectors} vectors{_taken_in(step.second, pooled=step.pooled)}"
    kind = "direct" if choice.channels == 1 else f"{choice.channels} channels together"
    blocks = f", {choice.planes} planes a block" if choice.planes else ""
    return f"{kind}, {choice.vectors} vectors{blocks}{_taken_in(step.second, pooled=step.pooled)}"


def _taken_in(second: Tensor | None, *, pooled: bool) -> str:
    return (", adds" if second is not None else "") + (", pools" if pooled else "")
