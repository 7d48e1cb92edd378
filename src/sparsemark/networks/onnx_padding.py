"""Channels of an ONNX model in multiples, the widths that dense kernels like.

Padded, it is the same function: every convolution whose width is no multiple gets further output channels, whose
weights and biases are zero, and those that read it get inputs with zero weights. What the padding cannot pass through
is given the real channels by a Gather. Rounded to the nearest multiple, channels are left out as well: a network of the
speed, not of the answers, that pruning to such widths gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CHANNELWISE = {
    *("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Identity"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
}
"""Operators that treat each channel of their first input by itself, whatever the others hold."""

_REDUCTIONS = ("ReduceMax", "ReduceMean")


@dataclass(frozen=True)
class _Wide:
    """A padded tensor: its name, its channels, and which of them hold those of the tensor that it replaces.

    A place of -1 is of a channel that was left out.
    """

    name: str
    width: int
    places: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which channels of the tensor that it replaces are in it."""
        return self.places >= 0


@dataclass(frozen=True)
class Padded:
    """A model in multiples.

    Args:
        model: `onnx.ModelProto`.
        multiple: of channels.
        weights: names, in the original, of the weights whose output channels are other than they were.
        widths: output channels before and after, each pair once.
    """

    model: Any
    multiple: int
    weights: tuple[str, ...]
    widths: tuple[tuple[int, int], ...]


def padded(model: Any, multiple: int) -> Padded:
    """Pad the channels of convolutions to a multiple.

    Widths up to half of it are left alone: rounding them up would double the work.

    Args:
        model: `onnx.ModelProto` whose weights are initialisers; left as it is.
        multiple: of channels.

    Raises:
        UnsupportedError: no convolution has a width to round.
    """
    return _Padding(model, multiple, nearest=False).made()


def rounded(model: Any, multiple: int) -> Padded:
    """Bring the channels of convolutions to the nearest multiple, to see how fast such a network is; as `padded`."""
    return _Padding(model, multiple, nearest=True).made()


class _Padding:
    def __init__(self, model: Any, multiple: int, *, nearest: bool) -> None:
        from onnx import numpy_helper

        self._changed: dict[str, tuple[int, int]] = {}
        self._model, self._multiple, self._nearest = model, multiple, nearest
        self._initial = {tensor.name: tensor for tensor in model.graph.initializer}
        self._read = numpy_helper.to_array
        self._outputs = {value.name for value in model.graph.output}
        self._wide: dict[str, _Wide] = {}
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._narrowed: set[str] = set()

    def made(self) -> Padded:
        """Return the model and what was changed in it."""
        for node in self._model.graph.node:
            self._add(node)
        if not self._changed:
            raise UnsupportedError(f"no convolution whose channels are not in multiples of {self._multiple}")
        return Padded(
            self._finish(), self._multiple, tuple(self._changed), tuple(dict.fromkeys(self._changed.values()))
        )

    def _add(self, node: Any) -> None:
        """Take over a node, padded where it can be."""
        if node.op_type in ("Conv", "ConvTranspose") and not node.domain and self._convolution(node):
            return
        if not any(name in self._wide for name in node.input):
            self._nodes.append(node)
        elif not node.domain and self._channelwise(node):
            source = self._wide[node.input[0]]
            self._put(node, [source.name, *node.input[1:]], source.width, source.places)
        elif not node.domain and node.op_type in ("Add", "Mul", "Sub") and self._alike(node):
            source = self._wide[node.input[0]]
            self._put(node, [self._wide[name].name for name in node.input], source.width, source.places)
        elif not node.domain and node.op_type == "Concat" and self._joins_channels(node):
            self._concatenation(node)
        else:
            self._narrow(node.input)
            self._nodes.append(node)

    def _finish(self) -> Any:
        import onnx
        from onnx import numpy_helper

        self._narrow(self._outputs)
        made = onnx.ModelProto()
        made.CopyFrom(self._model)
        graph = made.graph
        for part in (graph.node, graph.value_info, graph.initializer):
            del part[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input} | self._outputs
        graph.initializer.extend(tensor for name, tensor in self._initial.items() if name in used)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in self._constants.items())
        return made

    def _convolution(self, node: Any) -> bool:
        """Pad a convolution; return whether it was."""
        attributes = _attributes(node)
        group, turned = attributes.get("group", 1), node.op_type == "ConvTranspose"
        constants = [name for name in node.input[1:] if name]
        if not all(name in self._initial for name in constants):
            return False
        weight = self._read(self._initial[node.input[1]])
        if turned:
            weight = weight.swapaxes(0, 1) if group == 1 else weight
        inputs = weight.shape[1] * group if not turned or group == 1 else weight.shape[0]
        source = self._wide.get(node.input[0]) or _Wide(node.input[0], inputs, np.arange(inputs))
        outputs = len(weight)
        if group == 1:
            width = outputs if node.output[0] in self._outputs else self._rounded(outputs)
            places = np.where(np.arange(outputs) < width, np.arange(outputs), -1)
            wide = np.zeros((width, source.width, *weight.shape[2:]), weight.dtype)
            wide[: min(outputs, width), source.places[source.kept]] = weight[:width, source.kept]
        elif not turned and group == inputs == outputs:  # depthwise: as wide as what it reads
            width, places = source.width, source.places
            wide = np.zeros((width, *weight.shape[1:]), weight.dtype)
            wide[places[source.kept]] = weight[source.kept]
        else:
            return False
        if wide.shape == weight.shape:
            return False
        if group == 1 and width != outputs:
            self._changed[node.input[1]] = outputs, width
        operands = [source.name, self._constant(node.output[0], "weight", wide.swapaxes(0, 1) if turned else wide)]
        if len(node.input) > 2 and node.input[2]:
            bias = self._read(self._initial[node.input[2]])
            more = np.zeros(width, bias.dtype)
            more[places[places >= 0]] = bias[places >= 0]
            operands.append(self._constant(node.output[0], "bias", more))
        self._put(node, operands, width, places, group=group if group == 1 else width)
        return True

    def _rounded(self, outputs: int) -> int:
        if 2 * outputs <= self._multiple:
            return outputs
        up = -(-outputs // self._multiple) * self._multiple
        return up - self._multiple if self._nearest and 2 * (up - outputs) > self._multiple else up

    def _channelwise(self, node: Any) -> bool:
        if node.input[0] not in self._wide or any(name in self._wide for name in node.input[1:]):
            return False
        if node.op_type in _REDUCTIONS:
            attributes = _attributes(node)
            axes = attributes.get("axes")
            if axes is None and len(node.input) > 1 and node.input[1] in self._initial:
                axes = self._read(self._initial[node.input[1]]).tolist()
            return (
                axes is not None
                and len(axes) > 0
                and set(axes) <= {2, 3, -1, -2}
                and attributes.get("keepdims", 1) == 1
            )
        return node.op_type in _CHANNELWISE and len(node.output) == 1

    def _alike(self, node: Any) -> bool:
        sources = [self._wide.get(name) for name in node.input]
        if any(source is None for source in sources):
            return False
        first, second = (source for source in sources if source is not None)
        return first.width == second.width and np.array_equal(first.places, second.places)

    def _joins_channels(self, node: Any) -> bool:
        return _attributes(node).get("axis") == 1 and all(name in self._wide for name in node.input)

    def _concatenation(self, node: Any) -> None:
        sources = [self._wide[name] for name in node.input]
        starts = np.cumsum([0, *(source.width for source in sources)])
        offset = [np.where(one.kept, start + one.places, -1) for start, one in zip(starts, sources, strict=False)]
        places = np.concatenate(offset)
        self._put(node, [source.name for source in sources], int(starts[-1]), places)

    def _put(self, node: Any, inputs: Sequence[str], width: int, places: NDArray[np.int64], **changed: int) -> None:
        """Add a node that makes the padded form of what `node` makes."""
        from onnx import NodeProto, helper

        made = NodeProto()
        made.CopyFrom(node)
        made.input[:], made.output[:] = inputs, [f"{node.output[0]} padded"]
        for attribute in made.attribute:
            if attribute.name in changed:
                attribute.CopyFrom(helper.make_attribute(attribute.name, changed[attribute.name]))
        self._nodes.append(made)
        self._wide[node.output[0]] = _Wide(made.output[0], width, places)

    def _narrow(self, names: Any) -> None:
        """Make the real channels of padded tensors again, under their own names; the first for any left out."""
        from onnx import helper

        for name in dict.fromkeys(names):
            if name in self._wide and name not in self._narrowed:
                source = self._wide[name]
                places = self._constant(name, "places", np.maximum(source.places, 0).astype(np.int64))
                self._nodes.append(helper.make_node("Gather", [source.name, places], [name], axis=1))
                self._narrowed.add(name)

    def _constant(self, owner: str, what: str, value: NDArray[Any]) -> str:
        name = f"{owner} padded {what}"
        self._constants[name] = np.ascontiguousarray(value)
        return name


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
