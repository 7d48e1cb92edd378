"""Explanation of a network, layer by layer: chosen kernels, their time, and the distance to the machine's limits."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.autotune import time_operation
from sparsemark.direct.block_forms import FORM
from sparsemark.direct.blocks import BLOCK
from sparsemark.direct.ir import BlockConvolution, Convolution, Dense, Matrix
from sparsemark.direct.mixed import named
from sparsemark.direct.program import assemble
from sparsemark.direct.runtime.runner import Runner
from sparsemark.direct.winograd import OUT, PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from sparsemark.direct.ir import Operation, Tensor
    from sparsemark.direct.network import Plan
    from sparsemark.direct.runtime.parts import Arrays, Bound, Session
    from sparsemark.direct.schedule import Schedule

COPIES = isa.INPUT, isa.COPY
"""Operations that compute nothing: they lay the image or an activation out as a layer reads it."""

_CALLS = 6
"""Of a network whose dense parts are timed; the first one warms up."""


@dataclass(frozen=True)
class Layer:
    """One operation of the program, timed alone with everything it reads in the cache; or a part that runs dense.

    Args:
        name: of the node that it comes from, or of the part.
        shape: of what it makes, channels first; of a part, empty where native operations read nothing of it.
        density: non-zeros over weights; None where there are no weights.
        kernel: how it runs.
        seconds: of one image, on one thread; None for the copy of the image, and for parts of a network that runs
            dense as a whole.
        multiply_adds: on non-zeros, an image.
        products: multiply-adds that are carried out for them; Winograd's tiles take fewer, and have no zeros.
        winograd: whether such tiles run it.
        dense: multiply-adds with zeros counted, an image.
        of_bytes: whether it multiplies 8-bit integers.
    """

    name: str
    shape: tuple[int, ...]
    density: float | None
    kernel: str
    seconds: float | None
    multiply_adds: int
    products: int
    winograd: bool
    dense: int
    of_bytes: bool = False

    @property
    def rate(self) -> float | None:
        """Multiply-adds on non-zeros a second."""
        return self.multiply_adds / self.seconds if self.multiply_adds and self.seconds else None

    @property
    def pace(self) -> float | None:
        """Multiply-adds carried out a second: what the machine's limits are for."""
        return self.products / self.seconds if self.products and self.seconds else None


def explain(plan: Plan) -> Iterator[Layer]:
    """Time every operation of a plan by itself, and its dense parts in whole calls."""
    seconds_of = _time_parts(plan)
    for operation in plan.lowered.steps():
        if isinstance(operation, Dense):
            yield _layer_of(operation, seconds_of.get(operation.name))
            continue
        schedule = plan.schedules.get(operation)
        seconds = None if operation.code == isa.INPUT else time_operation(operation, plan.schedules, plan.floats)
        work, kernel = _work(operation), _kernel(operation, schedule)
        winograd = schedule is not None and schedule.winograd
        product = schedule is not None and schedule.product
        products = _products(operation) if winograd else dense_multiply_adds(operation) if product else work
        yield Layer(
            operation.name,
            _shape(operation),
            _density(operation),
            kernel,
            seconds,
            work,
            products,
            winograd,
            dense_multiply_adds(operation),
            of_bytes=isinstance(operation, BlockConvolution),
        )


def _shape(operation: Operation) -> tuple[int, int, int]:
    """Channels, height, width of what it makes; of bytes, channels that fill the last word count.

    Of the phases of a stride, which are no activation of the network's, those of what they are of.
    """
    channels, height, width = operation.target.shape
    phases = operation.numbers[isa.PHASES] if operation.code in COPIES else 1
    if phases > 1:
        return channels // phases, operation.numbers[isa.SOURCE_HEIGHT], operation.numbers[isa.SOURCE_WIDTH]
    return channels if operation.target.fill is None else BLOCK * channels, height, width


def _layer_of(part: Dense, seconds: float | None) -> Layer:
    shape = next((border.shape[1:] for border in part.results.values()), ())
    kernel = f"dense, {named(node.op for node in part.graph.nodes)}"
    return Layer(part.name, shape, None, kernel, seconds, 0, 0, winograd=False, dense=0)


class _Stopwatch:
    """A session of the dense engine whose calls are timed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.seconds: list[float] = []

    def __call__(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        return self._session(*inputs)

    def bind(self, inputs: Arrays, outputs: Arrays) -> Bound:
        bound = self._session.bind(inputs, outputs)

        def timed(others: Arrays) -> Arrays:
            start = time.perf_counter()
            left = bound(others)
            self.seconds.append(time.perf_counter() - start)
            return left

        return timed


def _time_parts(plan: Plan) -> dict[str, float]:
    """Least seconds of each dense part, between native operations as in every call."""
    if not plan.parts:
        return {}
    watched = {part.dense.name: _Stopwatch(part.session) for part in plan.parts}
    parts = [replace(part, session=watched[part.dense.name]) for part in plan.parts]
    runner = Runner(assemble(plan.lowered.operations, plan.schedules, plan.floats, 1), 1, parts)
    image = np.random.default_rng(0).standard_normal(plan.lowered.shape, np.float32)
    for _ in range(_CALLS):
        runner(image)
    return {name: min(watch.seconds) for name, watch in watched.items()}


def repeated(plan: Plan) -> Callable[[], None]:
    """Return a call of all native operations of a plan but the copy of the image, on what the arena holds."""
    operations = [operation for operation in plan.lowered.operations if operation.code != isa.INPUT]
    runner = Runner(assemble(operations, plan.schedules, plan.floats, 1), 1)
    image = np.zeros(1, np.float32)

    def call() -> None:
        runner(image)

    return call


def _density(operation: Operation) -> float | None:
    if isinstance(operation, BlockConvolution):
        return operation.nonzeros / operation.weights
    if isinstance(operation, Convolution):
        return len(operation.taps.weight) / operation.weights
    return operation.values.size / operation.weights if isinstance(operation, Matrix) else None


def _work(operation: Operation) -> int:
    if isinstance(operation, BlockConvolution):
        return operation.nonzeros * operation.height * operation.width
    if isinstance(operation, Convolution):
        return len(operation.taps.weight) * operation.height * operation.width
    return operation.values.size if isinstance(operation, Matrix) else 0


def dense_multiply_adds(operation: Operation) -> int:
    """Return the multiply-adds of an operation, an image, with zeros counted."""
    if isinstance(operation, BlockConvolution):
        return operation.weights * operation.height * operation.width
    if isinstance(operation, Convolution):
        return operation.weights * operation.height * operation.width
    return operation.weights if isinstance(operation, Matrix) else 0


def _products(operation: Operation) -> int:
    """Of a convolution by tiles, those that reach over the edge of the image not counted."""
    if not isinstance(operation, Convolution) or operation.source is None:
        raise ValueError(f"{operation.name} has no tiles")
    return PRODUCTS * operation.source.channels * operation.outputs * operation.height * operation.width // OUT**2


def _kernel(operation: Operation, schedule: Schedule | None) -> str:
    if isinstance(operation, BlockConvolution):
        kind = f"int8, all blocks, {FORM}" if schedule and schedule.product else f"int8 blocks of four, {FORM}"
        return kind + _taken_in(None, pooled=operation.pooled)
    if operation.code in COPIES:
        phases = operation.numbers[isa.PHASES]
        return f"copy in {phases} phases" if phases > 1 else "copy"
    if not isinstance(operation, Convolution) or schedule is None:
        return "matrix x vector" if isinstance(operation, Matrix) else "plain loop"
    if schedule.winograd:
        return f"Winograd 4 x 4, {schedule.vectors} vectors{_taken_in(operation.second, pooled=operation.pooled)}"
    if schedule.product:
        kind = f"all weights, {schedule.channels} channels together, {schedule.vectors} vectors"
        return kind + _taken_in(operation.second, pooled=False)
    kind = "direct" if schedule.channels == 1 else f"{schedule.channels} channels together"
    blocks = f", {schedule.block} channels a block" if schedule.block else ""
    if operation.split is not None:
        kind = "phases in scratch"
    flat = ", flat" if schedule.flat else ""
    return f"{kind}, {schedule.vectors} vectors{blocks}{flat}{_taken_in(operation.second, pooled=operation.pooled)}"


def _taken_in(second: Tensor | None, *, pooled: bool) -> str:
    return (", adds" if second is not None else "") + (", pools" if pooled else "")
