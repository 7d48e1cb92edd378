"""CSR file in `direct-csr`, ready for linters."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.explain import explain, repeated
from sparsemark.direct.ir import BlockConvolution, Convolution, Dense, Matrix, Operation
from sparsemark.direct.mixed import in_words
from sparsemark.direct.network import Network
from sparsemark.engines.direct_csr import open_network
from sparsemark.errors import UserError
from sparsemark.formats.csr.graph import CsrMatrix, Graph, Node, load_csr
from sparsemark.measurement.explanation.pairs import time_calls
from sparsemark.measurement.explanation.subject import CsrSubject, Window
from sparsemark.records.explanation import ExplainedLayer, Explanation
from sparsemark.specs import FP32, INT8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.direct.decisions import Decision
    from sparsemark.direct.explain import Layer
    from sparsemark.direct.network import Plan
    from sparsemark.direct.peak import Peak
    from sparsemark.specs import InputSpec

ENGINE = "direct-csr"

_WEIGHTED = ("Conv", "ConvTranspose")
"""Operators whose copies carry their names."""


def plan_file(path: Path, given: InputSpec | None) -> tuple[Network, Plan]:
    """Plan a CSR file.

    Args:
        path: of the file.
        given: size of its input where it leaves that open.

    Raises:
        UserError: the file is missing or damaged, or leaves the size open that was not given.
        UnsupportedError: the engine cannot run it.
    """
    network = open_network(path, threads=1)
    sizes = given.shape if given else network.input_shape
    if sizes is None:
        raise UserError(f"{path}: takes inputs of several shapes; choose one with --input")
    return network, network.plan((1, *sizes[1:]))


def timed_file(path: Path, network: Network, plan: Plan, peak: Peak) -> tuple[CsrSubject, list[Layer]]:
    """Time each layer of a CSR file alone.

    Args:
        path: of the file.
        network: of the file.
        plan: for one shape of input.
        peak: of one core.
    """
    shape, graph = plan.lowered.shape, load_csr(path)
    image = np.random.default_rng(0).standard_normal(shape, np.float32)
    nodes = {node.name: node for node in graph.nodes}
    steps = list(plan.lowered.steps())
    layers = [replace(layer, name=name) for name, layer in zip(labels(steps, nodes), explain(plan), strict=True)]
    shown = tuple(_shown(layer, step, nodes.get(step.name)) for step, layer in zip(steps, layers, strict=True))
    windows = tuple(
        window
        for step, layer in zip(steps, shown, strict=True)
        if (window := _window(step, layer, nodes.get(step.name), graph)) is not None
    )
    explanation = Explanation(
        path.name,
        ENGINE,
        1,
        (shape,),
        # A network that runs dense is explained as it would run otherwise, and its changes are compared with that.
        time_calls(repeated(plan) if plan.decision.dense and not plan.lowered.dense else lambda: network(image)),
        shown,
        peak.multiply_adds,
        peak.loads,
        peak.of_bytes,
        (*_contest(plan.decision), *([in_words(graph, plan.lowered)] if plan.lowered.dense else [])),
    )
    return CsrSubject(explanation, graph, plan, windows), layers


def layer_alone(weight: NDArray[Any], attributes: Mapping[str, Any], source: tuple[int, ...]) -> Callable[[], Any]:
    """Return a call of one convolution, run in the fastest of all ways; what copies the image in is left out.

    Args:
        weight: float32, shape (outputs, inputs / groups, height, width).
        attributes: of the node.
        source: shape of what it reads.
    """
    matrix = CsrMatrix.compress(np.ascontiguousarray(weight, np.float32).reshape(len(weight), -1))
    nodes = (Node("Conv", "layer", ("x", "w"), ("y",), attributes),)
    network = Network(Graph(("x",), ("y",), nodes, {"w": matrix}, {"w": weight.shape}, {}, source), 1)
    return repeated(network.plan(source))


def labels(steps: Sequence[Operation | Dense], nodes: Mapping[str, Node]) -> list[str]:
    """Return the names of steps, each once.

    Args:
        steps: in the order in which they run.
        nodes: of the graph, by name.

    Returns:
        The name of the layer's weight, else of its node; of a copy, that of the step that reads it and ` (input)`. Of
        what stands for itself several times, the second has ` (2)` behind it.
    """
    found: list[str] = []
    for place, step in enumerate(steps):
        name = _label(nodes.get(step.name), step)
        reader = next((one for one in steps[place + 1 :] if _reads(one, step)), None) if _is_for(step, nodes) else None
        if reader is not None:
            name = f"{_label(nodes.get(reader.name), reader)} (input)"
        free = (name if number == 1 else f"{name} ({number})" for number in count(1))
        found.append(next(one for one in free if one not in found))
    return found


def _is_for(step: Operation | Dense, nodes: Mapping[str, Node]) -> bool:
    """Return whether a step is no node's own: a copy of an activation in the layout that some layer needs."""
    node = nodes.get(step.name)
    return isinstance(step, Operation) and step.code == isa.COPY and (node is None or node.op in _WEIGHTED)


def _reads(step: Operation | Dense, copied: Operation | Dense) -> bool:
    """Return whether a step reads what a copy made, whole or as a part."""
    if isinstance(copied, Dense):
        return False
    if isinstance(step, Dense):
        return any(border.tensor is copied.target for border in step.sources.values())
    read = [one for one in (step.source, step.second) if one is not None]
    return any(copied.target in (one, one.whole) for one in read)


def _label(node: Node | None, step: Operation | Dense) -> str:
    """Return the name of a weight without `.weight`, which users know from their module, else of the node."""
    if node is None or not isinstance(step, BlockConvolution | Convolution | Matrix):
        return step.name
    return next((name.partition(".weight")[0] for name in node.inputs[1:2] if ".weight" in name), step.name)


def _shown(layer: Layer, step: Operation | Dense, node: Node | None) -> ExplainedLayer:
    return ExplainedLayer(
        layer.name,
        node.op if node is not None and isinstance(step, BlockConvolution | Convolution | Matrix) else "",
        layer.shape,
        layer.kernel,
        layer.seconds,
        layer.dense,
        layer.multiply_adds,
        layer.products,
        layer.density,
        INT8 if layer.of_bytes else FP32,
    )


def _contest(decision: Decision) -> Iterator[str]:
    if decision.direct_s is None or decision.dense_s is None:
        yield "the whole network could not be compared with dense ONNX Runtime; it runs direct"
        return
    direct, dense = 1e3 * decision.direct_s, 1e3 * decision.dense_s
    chosen = "dense" if decision.dense else "direct"
    yield f"when it was planned: {direct:.2f} ms direct, {dense:.2f} ms dense in ONNX Runtime; it runs {chosen}"


def _window(step: Operation | Dense, layer: ExplainedLayer, node: Node | None, graph: Graph) -> Window | None:
    if not isinstance(step, Convolution) or step.source is None or node is None or node.op != "Conv":
        return None
    if node.inputs[1] not in graph.matrices:  # quantised, and run in float32
        return None
    weight = graph.matrices[node.inputs[1]].toarray().reshape(graph.shapes[node.inputs[1]])
    attributes = {name: value for name, value in node.attributes.items() if name != "auto_pad"}
    rows, columns = attributes.get("strides") or (1, 1)
    # A stride has split what it reads into phases, each of a share of the rows and columns.
    source = step.source.height * rows, step.source.width * columns
    return Window(layer, weight, attributes, (1, weight.shape[1] * attributes.get("group", 1), *source))
