"""Layers of an ONNX file as ONNX Runtime runs them: its own profiler's times, and the graph that it made of it."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.engines.onnx_levels import arguments
from sparsemark.engines.onnx_runtime import open_session
from sparsemark.errors import UnsupportedError
from sparsemark.machine.temporary import temporary_folder
from sparsemark.records.explanation import ExplainedLayer
from sparsemark.specs import FP32, INT8

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

BLOCKED = "NCHWc"
"""Layout of ONNX Runtime's fast convolutions: channels in blocks of one SIMD register."""

_DOMAIN = "com.microsoft.nchwc"
_OF_BYTES = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantize")
"""Beginnings of the names of operators whose products are of 8-bit integers."""

REORDERS = ("ReorderInput", "ReorderOutput")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose constant operand is a weight that is multiplied by."""

_SUFFIX = "_kernel_time"
_NODE = "_nchwc"
_LEAST_CALLS, _MOST_CALLS = 8, 50
_DEEPEST = 4
"""Nodes between an output and the convolution that it was fused with: activation, sum, normalisation."""

_PEAK = 256
"""Rows and columns of the product whose rate is the peak: 768 kB, which the second-level cache holds."""


@dataclass(frozen=True)
class Profiled:
    """A file in ONNX Runtime.

    Args:
        layers: of the optimised graph, in the order in which they run; medians over calls.
        inputs: made-up ones, by name.
        original: for each layer, the node of the file that it comes from, or None.
    """

    layers: tuple[ExplainedLayer, ...]
    inputs: Mapping[str, NDArray[Any]]
    original: tuple[Any | None, ...]


def profile(model: Any, threads: int, level: str, seconds: float = 2.0) -> Profiled:
    """Run a model under the profiler.

    Args:
        model: `onnx.ModelProto`, its sizes fixed.
        threads: that share a call.
        level: of graph optimisation.
        seconds: that the calls may take.

    Raises:
        UnsupportedError: ONNX Runtime cannot run it, or its sizes are open.
    """
    import onnx

    with temporary_folder() as folder:
        optimised = folder / "optimised.onnx"
        session = open_session(
            model.SerializeToString(), threads, level=level, trace=folder / "trace", optimised=optimised
        )
        given = arguments(session)
        if given is None:
            raise UnsupportedError("onnxruntime: explain makes up inputs of float32, int32 and int64 only")
        try:
            calls = _calls(session, given, seconds)
        except Exception as error:
            raise UnsupportedError(f"onnxruntime: {' '.join(str(error).split())}") from error
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(str(optimised)).graph
    return _layers(events, graph, _Original(model), given, calls)


def peak(threads: int) -> float:
    """Return multiply-adds a second of a matrix product in ONNX Runtime, the most of a few runs."""
    from onnx import TensorProto, helper, numpy_helper

    values = np.random.default_rng(0).standard_normal((_PEAK, _PEAK), np.float32)
    described = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [_PEAK, _PEAK]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "peak", described[:1], described[1:], [numpy_helper.from_array(values, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = open_session(model.SerializeToString(), threads)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        session.run(None, {"x": values})
        times.append(time.perf_counter() - start)
    return _PEAK**3 / min(times)


def _calls(session: Any, given: Mapping[str, NDArray[Any]], seconds: float) -> int:
    """Call a session for a while; return how often after the first two calls, which warm up."""
    for _ in range(2):
        session.run(None, given)
    begun, calls = time.perf_counter(), 0
    while calls < _LEAST_CALLS or (calls < _MOST_CALLS and time.perf_counter() - begun < seconds):
        session.run(None, given)
        calls += 1
    return calls


def _layers(
    events: Iterable[Mapping[str, Any]], graph: Any, original: _Original, given: Mapping[str, NDArray[Any]], calls: int
) -> Profiled:
    times: dict[tuple[str, str], list[float]] = {}
    described: dict[tuple[str, str], Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            key = event["name"].removesuffix(_SUFFIX), event["args"].get("node_index", "")
            times.setdefault(key, []).append(event["dur"] / 1e6)
            described[key] = event["args"]
    weights = _Weights(graph)
    found = [
        _layer(name, args, weights, original, statistics.median(times[name, index][-calls:]))
        for (name, index), args in described.items()
    ]
    layers, nodes = zip(*found, strict=True) if found else ((), ())
    return Profiled(layers, given, nodes)


def _layer(
    name: str, args: Mapping[str, Any], weights: _Weights, original: _Original, seconds: float
) -> tuple[ExplainedLayer, Any | None]:
    operator = args["op_name"]
    weight, domain = weights.of(name)
    node = original.find(name, weights.stored(name), weight)
    made, read = (_first_shape(args, kind) for kind in ("output_type_shape", "input_type_shape"))
    true = original.shape(name) or made
    kernel = _kernel(operator, domain)
    if weight is None or node is None:
        return ExplainedLayer(name, operator, true[1:], kernel, seconds), None
    stored, nonzeros = original.size(node, weight), weights.nonzeros(name)
    positions = _positions(operator, true, read)
    work, left = stored * positions, nonzeros * positions
    carried = stored * positions
    return (
        ExplainedLayer(
            original.label(node),
            operator,
            true[1:],
            kernel,
            seconds,
            work,
            left,
            carried,
            nonzeros / max(stored, 1),
            INT8 if operator.startswith(_OF_BYTES) else FP32,
        ),
        node,
    )


def _kernel(operator: str, domain: str) -> str:
    if operator in REORDERS:
        return "reorders channels"
    fused = ", fused" if operator.startswith("Fused") else ""
    plain = operator.removeprefix("Fused")
    if domain == _DOMAIN:
        return f"{BLOCKED} {plain}"
    return f"plain {plain}{fused}"


def _positions(operator: str, made: tuple[int, ...], read: tuple[int, ...]) -> int:
    """Return how often each weight is used in a call."""
    if "Conv" in operator:
        batch_and_pixels = read if "Transpose" in operator else made
        return math.prod((*batch_and_pixels[:1], *batch_and_pixels[2:]))
    return math.prod(made[:-1])


def _first_shape(args: Mapping[str, Any], kind: str) -> tuple[int, ...]:
    shapes = args.get(kind) or [{"": []}]
    return tuple(next(iter(shapes[0].values()), []))


class _Weights:
    """Weights of the optimised graph, by the name of their node."""

    def __init__(self, graph: Any) -> None:
        initial = {tensor.name: tensor for tensor in graph.initializer}
        self._tensors = {
            node.name: tensor
            for node in graph.node
            if node.op_type.removeprefix("Fused") in _PRODUCTS
            and (tensor := next((initial[one] for one in node.input if _is_weight(initial.get(one))), None)) is not None
        }
        self._domains = {node.name: node.domain for node in graph.node}

    def stored(self, name: str) -> str:
        """Return the name of a node's weight; empty where it has none."""
        return self._tensors[name].name if name in self._tensors else ""

    def of(self, name: str) -> tuple[tuple[int, ...] | None, str]:
        """Return the shape of a node's weight, if any, and the domain of its operator."""
        tensor = self._tensors.get(name)
        return (None if tensor is None else tuple(tensor.dims)), self._domains.get(name, "")

    def nonzeros(self, name: str) -> int:
        """Return the non-zeros of a node's weight: padding and reordering leave them as many."""
        from onnx import numpy_helper

        return int(np.count_nonzero(numpy_helper.to_array(self._tensors[name])))


def _is_weight(tensor: Any | None) -> bool:
    return tensor is not None and len(tensor.dims) >= 2 and tensor.data_type == 1  # FLOAT


def _holds(weight: tuple[int, ...], stored: tuple[int, ...]) -> bool:
    """Return whether a weight of the optimised graph may be one of the file: channels padded to blocks, or turned."""
    padded = weight[2:] == stored[2:] and all(few <= many for few, many in zip(stored[:2], weight[:2], strict=True))
    return len(weight) == len(stored) and (padded or sorted(weight) == sorted(stored))


class _Original:
    """Nodes of the file, found again from those of the optimised graph, which keeps the names of outputs."""

    def __init__(self, model: Any) -> None:
        import onnx

        graph = onnx.shape_inference.infer_shapes(model).graph
        self._makers = {name: node for node in graph.node for name in node.output}
        self._initial = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._readers = {stored: node for node in graph.node if (stored := self.weight(node)) is not None}
        self._taken: set[str] = set()
        self._named = {node.name: node for node in graph.node if node.name}
        self._shapes = {
            value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
            for value in (*graph.value_info, *graph.output)
        }

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return what a blocked node makes, its channels not padded to blocks; None for other nodes."""
        return self._shapes.get(name.removesuffix(_NODE)) if name.endswith(_NODE) else None

    def find(self, name: str, stored: str, weight: tuple[int, ...] | None) -> Any | None:
        """Return the node of the file whose weight a node of the optimised graph has, stored there under a name."""
        if weight is None:
            return None
        start = self._named.get(name) or self._readers.get(stored)
        return self._backwards(start or self._makers.get(name.removesuffix(_NODE)), weight, _DEEPEST)

    def _backwards(self, node: Any | None, weight: tuple[int, ...], depth: int) -> Any | None:
        if node is None or not depth:
            return None
        stored = self.weight(node)
        if stored is not None:
            if node.output[0] in self._taken or not _holds(weight, self._initial[stored]):
                return None
            self._taken.add(node.output[0])
            return node
        for name in node.input:
            found = self._backwards(self._makers.get(name), weight, depth - 1)
            if found is not None:
                return found
        return None

    def weight(self, node: Any) -> str | None:
        """Return the name of the constant that a node multiplies by."""
        if node.op_type not in _PRODUCTS:
            return None
        return next((name for name in node.input if len(self._initial.get(name, ())) >= 2), None)

    def label(self, node: Any) -> str:
        """Return the name of a layer: its weight's, which users know from their module."""
        stored = self.weight(node) or ""
        return stored.removesuffix(".weight") if stored.endswith(".weight") else node.name or stored

    def size(self, node: Any, otherwise: tuple[int, ...]) -> int:
        """Return the elements of a node's weight in the file."""
        return math.prod(self._initial.get(self.weight(node) or "", otherwise))
