"""Resize and Pad: for every row and column of the output, the place in the input that it takes, worked out once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Operation, check_size, planes
from sparsemark.direct.lowering.convolutions import lower_convolution
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node

_MOST_EXACT = 2**22
"""Input size times output size up to which float32 decides between neighbours as fractions do."""

_LARGEST = 2**13
"""Pixels along an axis of the output."""

_UNDECIDED = Fraction(1, 1000)
"""Distance from the border between two pixels within which float32 may choose the other one."""


@dataclass(frozen=True)
class _Axis:
    """Where each pixel along an axis of the output comes from: places of two pixels, the weight of the second one."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, places: Sequence[int] | NDArray[np.int64]) -> _Axis:
        """Take each pixel from one place."""
        first = np.asarray(places, np.int64)
        return cls(first, first, np.zeros(len(first)))

    @property
    def constants(self) -> NDArray[np.float32]:
        """As compiled code reads it; places are whole numbers that float32 holds."""
        return np.concatenate([self.first, self.second, self.weight]).astype(np.float32)

    def repeats(self, extent: int) -> int:
        """How many times each pixel of the input comes, one after the other; 0 where that is not all there is."""
        times = len(self.first) // extent
        same = times * extent == len(self.first) and not self.weight.any()
        return times if same and (self.first == np.arange(len(self.first)) // max(times, 1)).all() else 0


def _resize(context: Context, node: Node) -> None:
    _resampled(context, node, _axes_of(context, node), blend=node.attributes.get("mode") == "linear")


def repeats_of(context: Context, node: Node) -> list[int]:
    """Return how many times a Resize repeats each row and each column; 0 where it does anything else.

    Raises:
        UnsupportedError: it is none that can be run.
    """
    extents = context.shapes[node.inputs[0]][2:]
    return [axis.repeats(extent) for axis, extent in zip(_axes_of(context, node), extents, strict=True)]


def _axes_of(context: Context, node: Node) -> list[_Axis]:
    """Where rows and columns of a Resize come from."""
    attributes, shape = node.attributes, context.shapes[node.inputs[0]]
    if len(shape) != 4:  # an image
        raise UnsupportedError(f"of shape {shape}")
    mode = attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise UnsupportedError(f"mode {mode}")
    for name, usual in (("antialias", 0), ("exclude_outside", 0), ("keep_aspect_ratio_policy", "stretch")):
        if attributes.get(name, usual) != usual:
            raise UnsupportedError(f"{name} {attributes[name]}")
    scales, sizes = _scales_of(context, node, shape)
    if sizes[:2] != list(shape[:2]) or scales[:2] != [1, 1]:
        raise UnsupportedError(f"from {shape} to {sizes}")
    check_size(*sizes[1:])
    return [_axis(shape[a], sizes[a], scales[a], mode, attributes) for a in (2, 3)]


def _scales_of(context: Context, node: Node, shape: tuple[int, ...]) -> tuple[list[Fraction], list[int]]:
    """Scale and size of every axis of the output."""
    axes = [int(axis) % 4 for axis in node.attributes.get("axes", range(4))]
    scales, sizes = [Fraction(1)] * 4, list(shape)
    by_size = len(node.inputs) > 3 and node.inputs[3]  # input, region, scales, sizes
    given = context.constant(node.inputs[3 if by_size else 2]).reshape(-1).tolist()
    if len(given) != len(axes) or len(set(axes)) != len(axes):
        raise UnsupportedError(f"{given} for axes {axes}")
    for axis, value in zip(axes, given, strict=True):
        if not 0 < value <= _LARGEST:
            raise UnsupportedError(f"scales or sizes {given}")
        if by_size:
            scales[axis], sizes[axis] = Fraction(int(value), shape[axis]), int(value)
            continue
        scales[axis] = Fraction(value)
        sizes[axis] = math.floor(scales[axis] * shape[axis])
        if sizes[axis] != math.floor(np.float32(value) * np.float32(shape[axis])):
            raise UnsupportedError(f"scale {value} of {shape[axis]} pixels, whose size rounding decides")
    return scales, sizes


def _axis(extent: int, size: int, scale: Fraction, mode: str, attributes: Mapping[str, object]) -> _Axis:
    if scale == 1:
        return _Axis.of(range(extent))
    if extent * size > _MOST_EXACT or size > _LARGEST:
        raise UnsupportedError(f"from {extent} to {size} pixels")
    how = attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = attributes.get("nearest_mode", "round_prefer_floor")
    places = [_place(i, extent, size, scale, how) for i in range(size)]
    if mode == "linear":
        inside = [min(max(place, Fraction(0)), Fraction(extent - 1)) for place in places]
        first = np.array([math.floor(place) for place in inside], np.int64)
        weight = np.array([float(place - math.floor(place)) for place in inside])
        return _Axis(first, np.minimum(first + 1, extent - 1), weight)
    if rounding not in _ROUNDINGS:
        raise UnsupportedError(f"nearest_mode {rounding}")
    exact = how == "align_corners" or scale.denominator == 1 or (scale.numerator == 1 and _is_power(scale.denominator))
    border = Fraction(1, 2) if str(rounding).startswith("round") else Fraction(0)
    if not exact and any(_to_whole(place - border) < _UNDECIDED for place in places):
        raise UnsupportedError(f"scale {float(scale):.6g}, {how}, {rounding}, where rounding decides between pixels")
    return _Axis.of([min(max(_ROUNDINGS[str(rounding)](place), 0), extent - 1) for place in places])


def _place(i: int, extent: int, size: int, scale: Fraction, how: object) -> Fraction:
    """Coordinate in the input of pixel `i` of the output; formulas of the operator's specification."""
    if how == "asymmetric":
        return i / scale
    if how == "half_pixel" or (how == "pytorch_half_pixel" and size > 1):
        return (i + Fraction(1, 2)) / scale - Fraction(1, 2)
    if how == "pytorch_half_pixel" or (how == "align_corners" and size == 1):
        return Fraction(0)
    if how == "align_corners":
        return Fraction(i * (extent - 1), size - 1)
    raise UnsupportedError(f"coordinate_transformation_mode {how}")


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0


def _to_whole(number: Fraction) -> Fraction:
    return abs(number - round(number))


_ROUNDINGS = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda place: math.ceil(place - Fraction(1, 2)),
    "round_prefer_ceil": lambda place: math.floor(place + Fraction(1, 2)),
}


def _resampled(context: Context, node: Node, axes: Sequence[_Axis], value: float = 0.0, *, blend: bool = False) -> None:
    """Append what takes rows and columns from these places; repeated pixels have a faster way."""
    name, shape = node.inputs[0], context.shapes[node.inputs[0]]
    source = context.planar(name)
    target = planes(source.channels, *(len(axis.first) for axis in axes))
    repeats = [axis.repeats(extent) for axis, extent in zip(axes, shape[2:], strict=True)]
    if repeats == [1, 1]:
        context.set(node.outputs[0], source)
        return
    if all(repeats):
        numbers = {isa.ROW_STRIDE: repeats[0], isa.COLUMN_STRIDE: repeats[1], isa.PHASES: 1}
        step = Operation(isa.INTERLEAVE, node.name, source, target, numbers=numbers)
    else:
        blend = blend and any(axis.weight.any() for axis in axes)
        numbers = {isa.KIND: isa.LINEAR_BLEND if blend else isa.PLACE, isa.SOURCE_WIDTH: source.width}
        step = Operation(
            isa.RESAMPLE, node.name, source, target, numbers=numbers, parameters=np.array([value, 0], np.float32),
            more=np.concatenate([axis.constants for axis in axes]), scratch=source.width,
        )  # fmt: skip
    context.set(node.outputs[0], context.add(step))


def _pad(context: Context, node: Node) -> None:
    shape, mode = context.shapes[node.inputs[0]], node.attributes.get("mode", "constant")
    if mode not in ("constant", "edge", "reflect"):
        raise UnsupportedError(f"mode {mode}")
    before, after, value = _padding_of(context, node, len(shape))
    if len(shape) != 4 or any((*before[:2], *after[:2])):  # an image; rows and columns
        raise UnsupportedError(f"{[*before, *after]} around {shape}")
    if (
        mode == "constant"
        and value == 0
        and min((*before, *after)) >= 0
        and _into_convolution(context, node, before, after)
    ):
        return
    axes = []
    for extent, less, more in zip(shape[2:], before[2:], after[2:], strict=True):
        if extent + less + more < 1 or max(abs(less), abs(more)) > _LARGEST:
            raise UnsupportedError(f"{[*before, *after]} around {shape}")
        places = np.arange(-less, extent + more)
        if mode == "constant":
            places[(places < 0) | (places >= extent)] = -1
        elif mode == "edge":
            places = places.clip(0, extent - 1)
        elif max(less, more) >= extent or min(less, more) < 0:
            raise UnsupportedError(f"{less} and {more} pixels mirrored of {extent}")
        else:
            places = extent - 1 - np.abs(np.abs(places) - (extent - 1))
        axes.append(_Axis.of(places))
    _resampled(context, node, axes, value)


def _padding_of(context: Context, node: Node, rank: int) -> tuple[list[int], list[int], float]:
    """Padding before and after each axis, and the value to pad with."""
    pads = [int(one) for one in context.constant(node.inputs[1]).reshape(-1)]
    value = float(context.constant(node.inputs[2]).reshape(())) if len(node.inputs) > 2 and node.inputs[2] else 0.0
    chosen = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3]:  # data, pads, value, axes
        chosen = [int(axis) % rank for axis in context.constant(node.inputs[3]).reshape(-1)]
    if len(pads) != 2 * len(chosen) or len(set(chosen)) != len(chosen):
        raise UnsupportedError(f"{pads} for axes {chosen}")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(chosen):
        before[axis], after[axis] = pads[i], pads[len(chosen) + i]
    return before, after, value


def _into_convolution(context: Context, node: Node, before: list[int], after: list[int]) -> bool:
    """Lower zeros around an image, and the convolution that reads it alone, as one with padding; False without one."""
    following = context.only_user(node.outputs[0])
    if following is None or following[1].op != "Conv" or following[1].inputs[0] != node.outputs[0]:
        return False
    place, convolution = following
    if convolution.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    own = convolution.attributes.get("pads", [0, 0, 0, 0])
    pads = [int(one) + int(other) for one, other in zip(own, [*before[2:], *after[2:]], strict=True)]
    padded = replace(
        convolution,
        inputs=(node.inputs[0], *convolution.inputs[1:]),
        attributes={**convolution.attributes, "auto_pad": "NOTSET", "pads": pads},
    )
    lower_convolution(context, padded)
    context.done.add(place)
    return True


OPERATORS: Mapping[str, Lowering] = {
    "Pad": _pad,
    "Resize": _resize,
}
