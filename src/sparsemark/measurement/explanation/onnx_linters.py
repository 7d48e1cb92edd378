"""Linters of an ONNX file in ONNX Runtime. Each looks at the layers, times a change beside them, and returns both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark import formats
from sparsemark.engines.onnx_levels import ALL, EXTENDED
from sparsemark.engines.onnx_runtime import open_session
from sparsemark.errors import UnsupportedError
from sparsemark.machine.temporary import temporary_folder
from sparsemark.measurement.explanation.changes import subnormal
from sparsemark.measurement.explanation.layers_alone import beyond_cache
from sparsemark.measurement.explanation.onnx_profile import BLOCKED, REORDERS
from sparsemark.measurement.explanation.pairs import time_pairs
from sparsemark.measurement.explanation.subject import simd_block
from sparsemark.measurement.parity import TOLERANCE
from sparsemark.networks.onnx_padding import padded, rounded
from sparsemark.networks.source import Source
from sparsemark.records.explanation import WHY_NOT, Advice
from sparsemark.registry import missing
from sparsemark.specs import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.measurement.explanation.subject import OnnxSubject
    from sparsemark.networks.onnx_padding import Padded
    from sparsemark.records.explanation import ExplainedLayer, Fact

_FLOAT32 = 1
"""`onnx.TensorProto.FLOAT`."""


def alignment(subject: OnnxSubject) -> Advice | None:
    """Channels that are no multiple of the SIMD block, against the same network with zeros up to the next multiple."""
    other = _in_blocks(subject, padded)
    if other is None:
        return None
    return _whole(subject, "alignment", other.model, _named(subject, other.weights), {"multiple": other.multiple})


def rounding(subject: OnnxSubject) -> Advice | None:
    """Channels at the nearest multiple of the SIMD block, some fewer: what pruning to such widths would give."""
    other = _in_blocks(subject, rounded)
    if other is None or all(now > was for was, now in other.widths):  # the latter is the one with zeros
        return None
    try:
        before, after = time_pairs(subject.caller(subject.model), subject.caller(other.model))
    except Exception:  # a graph that ONNX Runtime refuses: then there is nothing to propose
        return None
    widths = ", ".join(f"{was} -> {now}" for was, now in other.widths)
    facts: dict[str, Fact] = {"multiple": other.multiple, "widths": widths}
    return Advice("rounding", _named(subject, other.weights), before, after, facts)


def _in_blocks(subject: OnnxSubject, change: Callable[[Any, int], Padded]) -> Padded | None:
    """Return the network in multiples of the SIMD block; None where that is not known, or all its widths are such."""
    block = simd_block()
    try:
        return None if block is None else change(subject.model, block)
    except UnsupportedError:
        return None


def _named(subject: OnnxSubject, weights: Sequence[str]) -> tuple[str, ...]:
    """Return the layers of these weights, in their order; the weights where the engine names none of them."""
    names = {weight.removesuffix(".weight") for weight in weights}
    return tuple(layer.name for layer in subject.explanation.layers if layer.name in names) or tuple(sorted(names))


def layout(subject: OnnxSubject) -> Advice | None:
    """Convolutions outside of the blocked layout for another reason than their width: what they are, untimed."""
    block = simd_block()
    if block is None:
        return None
    outside = [
        layer
        for layer in subject.explanation.layers
        if "Conv" in layer.operator and not layer.kernel.startswith(BLOCKED) and layer.shape[0] % block == 0
    ]
    reorders = [layer for layer in subject.explanation.layers if layer.operator in REORDERS]
    inside = [layer for layer in subject.explanation.layers if layer.kernel.startswith(f"{BLOCKED} Conv")]
    if not outside or not inside or not _seconds(inside):
        return None
    rate = sum(layer.carried_out for layer in inside) / _seconds(inside)
    facts = {
        "spent_s": _seconds(outside),
        "at_their_rate_s": sum(layer.carried_out for layer in outside) / rate,
        "reorders": len(reorders),
        "reorders_s": _seconds(reorders),
    }
    return Advice("layout", tuple(layer.name for layer in outside), (), (), facts)


def level(subject: OnnxSubject) -> Advice | None:
    """The other optimisation level."""
    other = EXTENDED if subject.level == ALL else ALL
    before, after = time_pairs(subject.caller(subject.model), subject.caller(subject.model, other))
    return Advice("level", (), before, after, {"level": other.upper(), "used": subject.level.upper()})


def subnormals(subject: OnnxSubject) -> Advice | None:
    """Weights below the normal range, against the same network with zeros in their place."""
    import onnx
    from onnx import numpy_helper

    made, count = onnx.ModelProto(), 0
    made.CopyFrom(subject.model)
    for tensor in made.graph.initializer:
        if tensor.data_type == _FLOAT32:
            values = numpy_helper.to_array(tensor)
            small = subnormal(values)
            if small.any():
                count += int(small.sum())
                tensor.CopyFrom(numpy_helper.from_array(np.where(small, np.float32(0), values), tensor.name))
    return _whole(subject, "subnormals", made, (), {"count": count}) if count else None


def cache(subject: OnnxSubject) -> Advice | None:
    """Layers whose activations exceed the second-level cache, against twice the same layer on half the rows."""
    threads, at = subject.explanation.threads, subject.level
    return beyond_cache(
        subject.windows, lambda weight, attributes, source: _alone(weight, attributes, source, threads=threads, at=at)
    )


def engine(subject: OnnxSubject) -> Advice | None:
    """The same network in `direct-csr`, which skips zeros that ONNX Runtime multiplies by; untimed without numba."""
    counted = [layer for layer in subject.explanation.layers if layer.multiply_adds]
    dense, left = (sum(getattr(layer, name) for layer in counted) for name in ("multiply_adds", "left"))
    facts: dict[str, Fact] = {"work_left": left / dense if dense else 1.0}
    absent = missing(("numba",))
    if absent:
        return Advice("engine", (), (), (), facts | {WHY_NOT: str(absent)})
    if subject.explanation.threads != 1 or len(subject.given) != 1:
        return None
    from sparsemark.engines.direct_csr import open_network

    (image,) = subject.given.values()
    with temporary_folder() as folder:
        source = Source(ModelSpec("network", str(subject.path), image.shape), subject.path)
        try:
            artifact = formats.export(source, "csr", folder / "network")
            network = open_network(artifact.path, subject.explanation.threads)
            dense_call = subject.caller(subject.model)
            if not _agree(network(image), dense_call()):
                return None
        except UnsupportedError:
            return None
        before, after = time_pairs(dense_call, lambda: network(image))
    return Advice("engine", (), before, after, facts)


def _whole(
    subject: OnnxSubject, name: str, model: Any, layers: Sequence[str], facts: Mapping[str, Any]
) -> Advice | None:
    """Time a network beside a changed one that computes the same; None where it does not."""
    try:
        before, after = subject.caller(subject.model), subject.caller(model)
        if not _agree(after(), before()):
            return None
    except Exception:  # a graph that ONNX Runtime refuses: then there is nothing to propose
        return None
    return Advice(name, tuple(layers), *time_pairs(before, after), facts)


def _agree(got: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]]) -> bool:
    return all(
        one.shape == other.shape
        and float(np.abs(one - other).max(initial=0)) <= TOLERANCE * float(np.abs(other).max(initial=0))
        for one, other in zip(got, right, strict=True)
    )


def _seconds(layers: Sequence[ExplainedLayer]) -> float:
    return math.fsum(layer.seconds or 0.0 for layer in layers)


def _alone(
    weight: NDArray[Any], attributes: Mapping[str, Any], source: tuple[int, ...], *, threads: int, at: str
) -> Callable[[], Any]:
    """Return a call of one convolution in ONNX Runtime."""
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    described = helper.make_tensor_value_info("x", TensorProto.FLOAT, source)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "layer", [described], [made], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = open_session(model.SerializeToString(), threads, level=at)
    given = {"x": np.random.default_rng(0).standard_normal(source, np.float32)}
    return lambda: session.run(None, given)


LINTERS: Mapping[str, Callable[[OnnxSubject], Advice | None]] = {
    "alignment": alignment,
    "rounding": rounding,
    "layout": layout,
    "level": level,
    "subnormals": subnormals,
    "cache": cache,
    "engine": engine,
}
"""A new linter is one function and one line here, and its words in `sparsemark.report.knobs`."""
