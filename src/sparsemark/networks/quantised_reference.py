"""Reference of a quantised network: its own graph, integers and scales, in float64, and the step of each output.

What quantising changed is no error of an engine. An engine may round a product that lies between two integers the other
way, which moves an output by one step; within the network such a step passes on, and where weights are large against
the output's scale it becomes several. How many is seen by rounding every result of the graph itself to float32, to the
nearest and at random: one run alone shows one of the ways that rounding can fall.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import NoFloat64Error, UnsupportedError
from sparsemark.networks.evaluation.rounding import at_random, to_nearest
from sparsemark.networks.onnx_model import load_onnx
from sparsemark.networks.onnx_reference import OnnxInFloat64
from sparsemark.networks.reference import LEAST_BATCHES, Reference, float64_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.networks.reference import Batch
    from sparsemark.networks.source import Source

VERSION = 2
"""Raised when the same graph gets another reference or limit, so that kept ones are computed again."""

NOTE = "int8 is compared with the quantised graph in float64, within one step of its output"

_AT_RANDOM = 2
"""Runs that round at random, beside the one to the nearest."""

_LEVELS = 255
"""Steps in the range of eight bits."""

_SAME_VALUES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that leave every value as it is."""


def quantises(path: Path) -> bool:
    """Return whether an ONNX file rounds activations to integers: a quantised network, whoever quantised it."""
    return any(node.op_type == "QuantizeLinear" for node in load_onnx(path).graph.node)


def quantised_outputs(source: Source, batches: Sequence[Batch], seconds: float = float("inf")) -> Reference:
    """Compute what engines must answer for a quantised ONNX file; arguments as in `float64_outputs`.

    Raises:
        UnsupportedError: the graph cannot be run in float64, or answers one input in two ways.
    """
    try:
        exact = float64_outputs(source, batches, seconds)
    except NoFloat64Error as error:
        raise UnsupportedError(f"no reference of the quantised graph: {error}") from error
    scales = _scales(load_onnx(source.path))
    steps = tuple(scale or _step(output) for scale, output in zip(scales, exact.outputs, strict=True))
    moved = _moved(source, batches, exact, seconds)
    furthest = max((more / step for more, step in zip(moved, steps, strict=True) if step), default=0.0)
    note = f"{NOTE} and the {furthest:.3g} that rounding in float32 alone moves it by" if furthest else NOTE
    return replace(exact, notes=(*exact.notes, note), steps=steps, moved=moved if furthest else ())


def _moved(source: Source, batches: Sequence[Batch], exact: Reference, seconds: float) -> tuple[float, ...]:
    """Return how far rounding to float32 moves each output at most, over as many batches as each run has time for."""
    per_batch = [np.split(output, len(exact.chosen)) for output in exact.outputs]
    moved = [0.0] * len(exact.outputs)
    for rounding in (to_nearest, *(at_random(np.random.default_rng(seed)) for seed in range(_AT_RANDOM))):
        network = OnnxInFloat64(source.path, rounding=rounding)
        started = time.perf_counter()
        for place, index in enumerate(exact.chosen):
            if place >= LEAST_BATCHES and time.perf_counter() - started > seconds:
                break
            for output, got in enumerate(network(batches[index])):
                right = per_batch[output][place]
                finite = np.isfinite(right)
                furthest = float(np.abs(got.reshape(right.shape) - right)[finite].max(initial=0.0))
                moved[output] = max(moved[output], furthest)
    return tuple(moved)


def _scales(model: Any) -> list[float | None]:
    """Return the scale of each output's integers; None where operators in float come after them."""
    from onnx import numpy_helper

    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    constants = {one.name: one for one in graph.initializer}
    found: list[float | None] = []
    for output in graph.output:
        node = _behind(output.name, producers)
        is_known = node is not None and node.op_type == "DequantizeLinear" and node.input[1] in constants
        found.append(float(numpy_helper.to_array(constants[node.input[1]]).max()) if is_known else None)
    return found


def _behind(name: str, producers: Mapping[str, Any]) -> Any:
    """Return the node that computes a value, past those that only move it."""
    node = producers.get(name)
    while node is not None and node.op_type in _SAME_VALUES:
        node = producers.get(node.input[0])
    return node


def _step(output: NDArray[np.float64]) -> float:
    """Return the step that eight bits would have over the range of an output, zero included."""
    finite = output[np.isfinite(output)]
    return float(finite.max(initial=0.0) - finite.min(initial=0.0)) / _LEVELS
