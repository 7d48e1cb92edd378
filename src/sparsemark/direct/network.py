"""A CSR file that is ready to run: planned for the shape of its input, each layer run as was measured fastest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemark.direct.autotune import choose, is_due
from sparsemark.direct.decisions import Decision, machine_key, network_key, recall_decision, remember_decision
from sparsemark.direct.ir import BlockConvolution, Convolution
from sparsemark.direct.lowering import NotTakenError, lower
from sparsemark.direct.memory import place
from sparsemark.direct.mixed import (
    bytes_in_words,
    dense_nodes,
    has_weights,
    in_words,
    kinds_of,
    lower_mixed,
    open_parts,
)
from sparsemark.direct.partition import sparse_nodes
from sparsemark.direct.program import assemble
from sparsemark.direct.runtime.callers import Callers
from sparsemark.direct.runtime.parts import Part, Session, all_finite
from sparsemark.direct.schedule import Schedule, byte_options, options
from sparsemark.errors import UnsupportedError
from sparsemark.files import key_of
from sparsemark.formats.csr.densified import densified
from sparsemark.machine.forks import renewed_after_fork
from sparsemark.references import one_line
from sparsemark.registry import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sparsemark.direct.ir import Lowered, Operation
    from sparsemark.formats.csr.graph import Graph

Predict = Callable[[NDArray[np.float32]], tuple[NDArray[Any], ...]]
"""One call: an input batch in, every output of the network out."""

OpenDense = Callable[[bytes, int], Session]
"""Open the bytes of an ONNX model in a dense engine, on a number of threads; raises UnsupportedError if it cannot."""

_LAYERS = "layers"
"""Folder within the memory for choices of single layers, which networks share."""

_DENSE = ("onnx", "onnxruntime")
"""Modules that a network is run dense with."""

_CONTEST = 15
"""Pairs of calls by which the whole network is timed against its dense form."""

_PATIENCE = 3.0
"""Seconds after which no further pair is begun."""

_CLEARLY = 1.05
"""How much slower than dense a network must be before dense runs it: below that the contest is noise."""


@dataclass(frozen=True)
class Plan:
    """A network for one shape of input.

    Args:
        lowered: its operations, placed.
        floats: of the arena that its tensors take.
        schedules: how each convolution runs.
        decision: the same as it is remembered, with the contest against dense.
        predict: runs one image, of shape (1, channels, height, width).
        parts: that the dense engine runs between native operations; empty where it runs the whole.
        finite: whether all numbers are that native operations read.
    """

    lowered: Lowered
    floats: int
    schedules: dict[Operation, Schedule]
    decision: Decision
    predict: Predict
    parts: tuple[Part, ...]
    finite: bool


class Network:
    """Runs a CSR file.

    Args:
        graph: of the file.
        threads: that share one image.
        memory: folder where schedules are remembered; None forgets them.
        open_dense: opens models in the dense engine: the network, its zeros among the weights, which it is timed
            against and which runs what is not finite; and parts of it that are not lowered. With None nothing is ever
            run dense, and what would have to be is refused.
        dense_code: digest of how `open_dense` runs a model. Whether all of a network runs dense was decided against
            that, so another one decides anew; schedules of single layers stay.

    Raises:
        UnsupportedError: naming the operators that cannot be run.
    """

    def __init__(
        self,
        graph: Graph,
        threads: int,
        memory: Path | None = None,
        open_dense: OpenDense | None = None,
        *,
        dense_code: str = "",
    ) -> None:
        if len(graph.inputs) != 1:
            raise UnsupportedError(f"direct-csr: {len(graph.inputs)} inputs, expected one")
        self._graph, self._threads, self._memory, self._opener = graph, threads, memory, open_dense
        self._dense_code = dense_code
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._dense: Predict | None = None
        self.renew()
        renewed_after_fork(self)
        numbers = {**{name: matrix.data for name, matrix in graph.matrices.items()}, **graph.constants}
        self._not_finite = {
            name for name, array in numbers.items() if array.dtype.kind == "f" and not np.isfinite(array).all()
        }
        if graph.input_shape is not None:
            self.plan((1, *graph.input_shape[1:]))

    def __call__(self, image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Every output of a batch, shape (n, channels, height, width)."""
        image = np.ascontiguousarray(image, np.float32)
        plan = self.plan((1, *image.shape[1:]))
        if not len(image):
            return tuple(np.zeros((0, *shape[1:]), np.float32) for _, shape in plan.lowered.outputs)
        if len(image) > 1:
            self._check_batch(plan)
        if plan.decision.dense or not plan.finite or not all_finite(image):
            # Zero times infinity is not a number, and skipping zeros would hide it.
            return self._run_dense(image)
        outputs = _image_by_image(plan.predict, image)
        return outputs if all(map(all_finite, outputs)) else self._run_dense(image)

    def _check_batch(self, plan: Plan) -> None:
        for name, (tensor, shape) in zip(self._graph.outputs, plan.lowered.outputs, strict=True):
            if tensor is None and shape[:1] != (1,):
                raise UnsupportedError(f"direct-csr: output {name} has no batch; one image a call")

    @property
    def is_finite(self) -> bool:
        """Whether all constants are finite that are read natively; else the dense engine runs every call."""
        return not self._not_finite if self._graph.input_shape is None else self._own_plan.finite

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of a row on how the network runs; empty where all of it is native, or its shape is open."""
        if self._graph.input_shape is None:
            return ()
        plan = self._own_plan
        if plan.decision.dense:
            layers = sparse_nodes(self._graph)
            return (f"0 of {len(layers)} {kinds_of(layers)} sparse; the whole network dense in ONNX Runtime",)
        in_bytes = (bytes_in_words(self._graph, plan.lowered),) if self._graph.blocks else ()
        return (*in_bytes, in_words(self._graph, plan.lowered)) if plan.lowered.dense else in_bytes

    @property
    def _own_plan(self) -> Plan:
        """The plan for the shape that the file fixes."""
        return self.plan((1, *(self._graph.input_shape or ())[1:]))

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one input as the file fixes it; None where it takes several."""
        return self._graph.input_shape

    def plan(self, shape: tuple[int, ...]) -> Plan:
        """The plan for images of a shape, made at its first use."""
        found = self._plans.get(shape)
        if found is not None:
            return found
        with self._planning:
            if shape not in self._plans:
                self._plans[shape] = self._make_plan(shape)
            return self._plans[shape]

    def renew(self) -> None:
        """Replace the lock of planning, which a thread that a fork left behind may hold."""
        self._planning = threading.Lock()

    def _make_plan(self, shape: tuple[int, ...]) -> Plan:
        lowered, open_dense_parts = self._lower(shape)
        floats = place(lowered)
        ways = _ways(lowered, self._threads)
        machine = machine_key(self._threads, _DENSE)
        key = network_key(lowered, ways, key_of(machine, self._dense_code))
        path = self._memory / f"{key}.json" if self._memory else None
        decision = recall_decision(path, ways) if path else None
        if decision is not None and is_due(decision.again_at):
            decision = None
        if decision is not None and self._opener is None:
            decision = replace(decision, dense=False)
        direct: Predict | None = None
        parts: tuple[Part, ...] = ()
        if lowered.dense and not has_weights(lowered):
            # Nothing to gain; refused here and now where the dense engine cannot run it either.
            self._dense = self._dense or self._open_dense()
            decision = Decision((), dense=True)
        if lowered.dense and self._opener is not None and not (decision and decision.dense):
            parts = open_dense_parts(self._opener)
        if decision is None:
            choices = choose(ways, floats, self._memory / _LAYERS if self._memory else None, machine)
            schedules: dict[Operation, Schedule] = {one: choice.schedule for one, choice in choices.items()}
            direct = self._runner(lowered, floats, schedules, parts)
            seconds = self._contest(direct, shape)
            lost = seconds is not None and seconds[0] > _CLEARLY * seconds[1]
            again = [choice.again_at for choice in choices.values() if choice.again_at is not None]
            direct_s, dense_s = seconds or (None, None)
            decision = Decision(
                tuple(schedules[operation] for operation in ways), lost, direct_s, dense_s, max(again, default=None)
            )
            # A network that no dense engine could run is compared again: a file with the same layers may be another.
            # Without a dense engine there is nothing to compare; the key changes when one is installed.
            if path and (seconds is not None or missing(_DENSE) is not None):
                remember_decision(path, decision)
        else:
            schedules = dict(zip(ways, decision.schedules, strict=True))
        predict: Predict = self._run_dense
        if decision.dense:
            parts = ()
        else:
            predict = direct or self._runner(lowered, floats, schedules, parts)
        elsewhere = {id(node) for node in dense_nodes(lowered)}
        read = {name for node in self._graph.nodes if id(node) not in elsewhere for name in node.inputs}
        finite = not (self._not_finite & read if lowered.dense else self._not_finite)
        return Plan(lowered, floats, schedules, decision, predict, parts, finite)

    def _lower(self, shape: tuple[int, ...]) -> tuple[Lowered, Callable[[OpenDense], tuple[Part, ...]]]:
        """Lower the network, or as much of it as can be where the dense engine runs the rest; also what opens that."""
        try:
            return lower(self._graph, shape), lambda _: ()
        except NotTakenError as error:
            batch = self._graph.input_shape[0] if self._graph.input_shape else 1
            if batch != 1:
                raise UnsupportedError(
                    f"{error}; the file is for {batch} images a call, direct-csr runs one"
                ) from error
            if self._opener is None:
                raise
            absent = missing(_DENSE)
            if absent:
                counts = [f"{op} ({n} nodes)" if n > 1 else op for op, n in error.operators.items()]
                raise UnsupportedError(
                    f"direct-csr: needs onnxruntime for {', '.join(counts)}, and {absent}: pip install onnxruntime onnx"
                ) from error
            refusal = error
        with _nor_dense(refusal):
            lowered, values = lower_mixed(self._graph, shape)

        def open_dense_parts(opener: OpenDense) -> tuple[Part, ...]:
            with _nor_dense(refusal):
                return open_parts(lowered, self._graph.inputs[0], values, opener, self._threads)

        return lowered, open_dense_parts

    def _runner(
        self, lowered: Lowered, floats: int, schedules: dict[Operation, Schedule], parts: tuple[Part, ...]
    ) -> Predict:
        run = Callers(assemble(lowered.operations, schedules, floats, self._threads), self._threads, parts)
        outputs = tuple(
            name if tensor is None else tensor
            for name, (tensor, _) in zip(self._graph.outputs, lowered.outputs, strict=True)
        )

        def predict(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
            try:
                made = run(image, outputs)
            except ArithmeticError:  # what a dense part gave was not finite
                return self._run_dense(image)
            return tuple(
                array if tensor is None else array.reshape(shape)
                for array, (tensor, shape) in zip(made, lowered.outputs, strict=True)
            )

        return predict

    def _contest(self, direct: Predict, shape: tuple[int, ...]) -> tuple[float, float] | None:
        """Median seconds of a call, direct and dense, alternating; None where no dense engine can run the network."""
        image = np.random.default_rng(0).standard_normal(shape, np.float32)
        try:
            dense = self._open_dense()
            dense(image)
        except Exception:  # what keeps it from running is its own matter: this engine stands alone then
            return None
        times: dict[Predict, list[float]] = {direct: [], dense: []}
        begun = time.perf_counter()
        while len(times[dense]) < _CONTEST and (not times[dense] or time.perf_counter() - begun < _PATIENCE):
            for predict, taken in times.items():
                predict(image)
                start = time.perf_counter()
                predict(image)
                taken.append(time.perf_counter() - start)
        return float(np.median(times[direct])), float(np.median(times[dense]))

    def _open_dense(self) -> Predict:
        """Open the same weights, zeros among them, in the dense engine.

        Raises:
            UnsupportedError: there is none, or it cannot hold or run the network.
        """
        if self._opener is None:
            raise UnsupportedError(
                "direct-csr: the input, a weight or a sum between layers is infinite or NaN; skipping zeros would hide "
                "it, since zero times infinity is NaN, and no dense engine was given to run it"
            )
        absent = missing(("onnx",))
        if absent:
            raise UnsupportedError(
                "direct-csr: the input, a weight or a sum between layers is infinite or NaN, which ONNX Runtime has to "
                f"run: {absent}"
            )
        try:
            run = self._opener(densified(self._graph), self._threads)
        except UnsupportedError:
            raise
        except Exception as error:  # onnx has no error of its own for what a damaged file makes of it
            raise UnsupportedError(f"direct-csr: dense: {one_line(error)}") from error

        def predict(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
            try:
                return run(image)
            except Exception as error:
                raise UnsupportedError(f"direct-csr: dense: {one_line(error)}") from error

        return predict

    def _run_dense(self, image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        if self._dense is None:
            self._dense = self._open_dense()
        return _image_by_image(self._dense, image)


def _ways(lowered: Lowered, threads: int) -> dict[Operation, list[Schedule]]:
    """Return the ways to run each convolution that has a choice."""
    found: dict[Operation, list[Schedule]] = {}
    for operation in lowered.operations:
        if isinstance(operation, Convolution):
            found[operation] = options(operation, threads)
        elif isinstance(operation, BlockConvolution) and len(by_blocks := byte_options(operation)) > 1:
            found[operation] = by_blocks
    return found


@contextmanager
def _nor_dense(refusal: NotTakenError) -> Iterator[None]:
    """Prepend the engine's own refusal to an error: it may be the input's fault rather than the operator's."""
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(f"{refusal}; nor with these in ONNX Runtime: {error}") from error


def _image_by_image(predict: Predict, images: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
    """A batch, one image after the other."""
    parts = [predict(images[n : n + 1]) for n in range(len(images))]
    return parts[0] if len(parts) == 1 else tuple(np.concatenate(same) for same in zip(*parts, strict=True))
