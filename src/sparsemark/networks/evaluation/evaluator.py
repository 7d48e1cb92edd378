"""ONNX's reference evaluator with our operators, which drops each value after its last use."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference import ReferenceEvaluator

from sparsemark.errors import UnsupportedError
from sparsemark.networks.evaluation import (
    activations,
    control,
    normalisation,
    places,
    quantisation,
    recurrent,
    runtime,
    windows,
)
from sparsemark.references import root_cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from sparsemark.networks.evaluation.rounding import Rounding

    Array = NDArray[Any]

_OPERATORS = [
    *windows.OPERATORS,
    *recurrent.OPERATORS,
    *activations.OPERATORS,
    *normalisation.OPERATORS,
    *quantisation.OPERATORS,
    *places.OPERATORS,
    *control.OPERATORS,
    *runtime.OPERATORS,
]


class Evaluator(ReferenceEvaluator):
    """Evaluator of a model, or of the body of a node in it.

    Attributes:
        rounding: of the results of each operator, those of a body when it ends; None for none.
    """

    rounding: Rounding | None = None

    def __init__(self, proto: Any, **options: Any) -> None:
        """Take a model whose functions are inlined, or what the base class gives for a body."""
        given = options.pop("new_ops", None)
        super().__init__(proto, new_ops=given or _OPERATORS, **options)
        self._uses = [uses([node.onnx_node]) for node in self.rt_nodes_]

    def answer(self, constants: Mapping[str, Array], feed: Mapping[str, Array]) -> list[Array]:
        """Run the model and return its outputs.

        Raises:
            UnsupportedError: an operator cannot be run, or an output is no tensor.
        """
        answers = self.run(None, {**constants, **feed})
        for name, answer in zip(self.output_names, answers, strict=True):
            if not isinstance(answer, np.ndarray):
                raise UnsupportedError(f"output {name} is no tensor")
        return list(answers)

    def run(
        self, output_names: Any, feed_inputs: Mapping[str, Any], attributes: Any = None, *_: Any, **__: Any
    ) -> list[Any]:
        """Run the nodes in order; as in the base class, without its checks."""
        values: dict[str, Any] = {"": None, **self.rt_inits_, **feed_inputs}
        wanted = list(output_names or self.output_names)
        left = Counter(wanted)
        for used in self._uses:
            left.update(used)
        for node, used in zip(self.rt_nodes_, self._uses, strict=True):
            linked = {"linked_attributes": attributes} if node.has_linked_attribute and attributes else {}
            context = {"context": values} if node.need_context() else {}
            try:
                outputs = node.run(*(values[name] for name in node.input), **context, **linked)
            except UnsupportedError:
                raise
            except Exception as error:
                called = f" at {node.onnx_node.name}" if node.onnx_node.name else ""
                raise UnsupportedError(f"{node.op_type}{called}: {root_cause(error)}") from error
            if self.rounding is not None:
                outputs = tuple(_rounded(output, self.rounding) for output in outputs)
            values.update(zip(node.output, outputs, strict=False))
            left.subtract(used)
            for name in (*used, *node.output):
                if name and not left[name]:
                    values.pop(name, None)
        return [values[name] for name in wanted]


def _rounded(value: Any, rounding: Rounding) -> Any:
    return rounding(value) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def uses(nodes: Iterable[Any]) -> Counter[str]:
    """Count how often each name is read, bodies of If, Loop and Scan included."""
    found: Counter[str] = Counter()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                found.update(uses(graph.node))
                found.update(value.name for value in graph.output)
    return found
