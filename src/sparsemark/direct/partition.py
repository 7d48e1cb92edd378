"""Partition of a graph into native parts and parts that the dense engine runs, which take turns.

A node's stage is the least that is not before those of the nodes that it reads: even stages are native, odd ones dense.
So nothing in a stage waits for a later one, parallel branches share a part, and the parts are as few as can be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sparsemark.direct.lowering import refusals
from sparsemark.direct.lowering.borders import DENSE
from sparsemark.direct.lowering.context import Known
from sparsemark.formats.csr.graph import Graph, Node

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sparsemark.formats.csr.densified import Value

_FLOAT = 1
"""`onnx.TensorProto.FLOAT`."""


def partition(graph: Graph, shape: Sequence[int], values: Mapping[str, Value]) -> tuple[Graph, Known]:
    """Return a graph whose native nodes can all be lowered, dense parts being a node each, and what is known of these.

    Args:
        graph: of the file.
        shape: of its input.
        values: what is known of its activations.
    """
    shapes = {name: sizes for name, (_, sizes) in values.items() if sizes is not None}
    floats = {name for name, (kind, _) in values.items() if kind == _FLOAT}
    native = set(range(len(graph.nodes)))
    while True:
        native, stages = _worthwhile(graph, native)
        contracted, places, parts = _contracted(graph, stages)
        known = Known(shapes, floats, parts)
        # A node that was taken together with its neighbours need not be taken without them.
        refused = {places[i] for i in refusals(contracted, shape, known)} - {None}
        if not refused:
            return contracted, known
        native -= refused


def sparse_nodes(graph: Graph) -> list[Node]:
    """Return the nodes with a sparse matrix."""
    sparse = graph.matrices.keys() | graph.blocks.keys()
    return [node for node in graph.nodes if len(node.inputs) > 1 and node.inputs[1] in sparse]


def _stages(graph: Graph, native: Collection[int]) -> list[int]:
    stages: list[int] = []
    made: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        earliest = max((made[name] for name in node.inputs if name in made), default=0)
        stages.append(earliest + (earliest % 2 == (i in native)))
        made |= dict.fromkeys(node.outputs, stages[-1])
    return stages


def _worthwhile(graph: Graph, native: set[int]) -> tuple[set[int], list[int]]:
    """Leave nodes to the dense engine that hold no weights and touch none that do: each border costs copies."""
    weighted = {id(node) for node in sparse_nodes(graph)}
    while True:
        stages = _stages(graph, native)
        group = list(range(len(graph.nodes)))

        def root(i: int, group: list[int] = group) -> int:
            while group[i] != i:
                i = group[i]
            return i

        made = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs}
        for i in native:
            for name in graph.nodes[i].inputs:
                j = made.get(name)
                if j in native and stages[j] == stages[i]:
                    group[root(i)] = root(j)
        kept = {root(i) for i in native if id(graph.nodes[i]) in weighted or graph.nodes[i].op == "ConvTranspose"}
        staying = {i for i in native if root(i) in kept}
        if staying == native or len(native) == len(graph.nodes):
            return native, stages
        native = staying


def _contracted(graph: Graph, stages: Sequence[int]) -> tuple[Graph, list[int | None], dict[str, Graph]]:
    """Put a node in place of each dense stage; also the place of each node in the whole graph, and the parts."""
    nodes: list[Node] = []
    places: list[int | None] = []
    parts: dict[str, Graph] = {}
    for stage in range(max(stages, default=0) + 1):
        members = [i for i in range(len(graph.nodes)) if stages[i] == stage]
        if stage % 2 == 0:
            nodes += [graph.nodes[i] for i in members]
            places += members
        elif (part := _part(graph, members)).outputs:
            name = f"dense part {len(parts)}"
            parts[name] = part
            nodes.append(Node(DENSE, name, part.inputs, part.outputs, {}))
            places.append(None)
    return replace(graph, nodes=tuple(nodes)), places, parts


def _part(graph: Graph, members: Sequence[int]) -> Graph:
    """Return some nodes as a graph; its inputs and outputs are what crosses the border."""
    nodes = tuple(graph.nodes[i] for i in members)
    chosen = set(members)
    made = {name for node in nodes for name in node.outputs if name}
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name)
    elsewhere = {name for i, node in enumerate(graph.nodes) if i not in chosen for name in node.inputs}
    wanted = elsewhere | set(graph.outputs)
    stored = graph.constants.keys() | graph.matrices.keys() | graph.blocks.keys()
    return Graph(
        inputs=tuple(name for name in read if name not in made | stored),
        outputs=tuple(name for node in nodes for name in node.outputs if name in made & wanted),
        nodes=nodes,
        matrices={name: matrix for name, matrix in graph.matrices.items() if name in read},
        shapes={name: shape for name, shape in graph.shapes.items() if name in read},
        constants={name: constant for name, constant in graph.constants.items() if name in read},
        opset=graph.opset,
        blocks={name: matrix for name, matrix in graph.blocks.items() if name in read},
    )
