"""Diagrams of the networks, drawn from the real modules (figures 3 to 7 of the paper)."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.fx import Node, symbolic_trace
from torch.fx.passes.shape_prop import ShapeProp

from models import INPUT_SHAPE, NETWORKS
from sparsemark.pruning.weights import usage
from sparsemark.references import resolve
from sparsemark.report.style import GREY, caption, new_figure, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

DRAWN = {
    "cnn3": "figure-03-cnn3",
    "cnn4": "figure-03-cnn4",
    "cnn9": "figure-04-cnn9",
    "unet": "figure-05-unet",
    "unet_head": "figure-05-unet_head",
    "resnet3": "figure-06-resnet3",
    "resnet3_max": "figure-07-resnet3_max",
}
"""Names of files by network."""

SUM, JOIN = "sum", "concatenation"
_JOINTS = {SUM: "+", JOIN: "\N{DOUBLE VERTICAL LINE}"}
_LOOKS = {
    "image": ("0.93", ""),
    "3 x 3 convolution": ("#0072B2", ""),
    "1 x 1 convolution": ("#9BD0F5", ""),
    "2 x 2 transposed convolution": ("#009E73", "//"),
    "maximum of 2 x 2": ("0.65", ""),
    "maximum of the image": ("0.65", "xx"),
    "average of the image": ("white", "oo"),
    "linear": ("#D55E00", "\\\\"),
}
"""Colour and hatch by kind of layer; hatches tell them apart in grey."""

_WHOLE: dict[type[nn.Module], str] = {
    nn.AdaptiveMaxPool2d: "maximum of the image",
    nn.AdaptiveAvgPool2d: "average of the image",
    nn.Linear: "linear",
}
"""Layers that a kernel's size says nothing of."""

_EDGE = 0.32  # half the width of a layer, in its places
_CIRCLE = 0.2  # of a place where two ways meet
_ROOM = 0.18  # between a layer and the line around it


@dataclass(frozen=True)
class Block:
    """A layer in a diagram, or a place where two ways meet.

    Args:
        kind: of layer, `SUM` or `JOIN`.
        channels: that it makes.
        size: height of what it makes, in pixels; 1 for a vector.
        above: places of those that it is computed from, through whatever lies between; -1 is the image.
    """

    kind: str
    channels: int
    size: int
    above: tuple[int, ...]


def blocks_of(module: nn.Module, inputs: torch.Tensor) -> list[Block]:
    """Return the layers of a network in the order in which they run, with what each is computed from."""
    traced = symbolic_trace(module)
    ShapeProp(traced).propagate(inputs)
    layers = dict(traced.named_modules())
    found: list[Block] = []
    sources: dict[Node, tuple[int, ...]] = {}
    for node in traced.graph.nodes:
        above = tuple(sorted({place for one in node.all_input_nodes for place in sources[one]}))
        kind = _kind(layers[str(node.target)]) if node.op == "call_module" else _joint(node)
        if node.op == "placeholder":
            above = (-1,)
        elif kind is not None:
            shape = _shape(node.meta["tensor_meta"])
            found.append(Block(kind, shape[1], shape[2] if len(shape) > 2 else 1, above))
            above = (len(found) - 1,)
        sources[node] = above
    return found


def _kind(layer: nn.Module) -> str | None:
    """Return what a diagram calls a layer; None for those that it leaves out."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        transposed = " transposed" * isinstance(layer, nn.ConvTranspose2d)
        return f"{_square(layer.kernel_size)}{transposed} convolution"
    if isinstance(layer, nn.MaxPool2d):
        return f"maximum of {_square(layer.kernel_size)}"
    return next((kind for one, kind in _WHOLE.items() if isinstance(layer, one)), None)


def _square(size: int | tuple[int, ...]) -> str:
    rows, columns = (size, size) if isinstance(size, int) else size
    return f"{rows} x {columns}"


def _joint(node: Node) -> str | None:
    if len(node.all_input_nodes) < 2:
        return None
    return JOIN if node.target is torch.cat else SUM if node.target in (operator.add, torch.add) else None


def _shape(described: Any) -> tuple[int, ...]:
    return tuple(described.shape)


def main_way(blocks: Sequence[Block]) -> list[int]:
    """Return the longest way through a network, from the image on; the rest are shortcuts and further heads."""
    longest: list[list[int]] = []
    for place, block in enumerate(blocks):
        longest.append([*max((longest[one] for one in block.above if one >= 0), key=len, default=[]), place])
    return max(longest, key=len, default=[])


def draw_architecture(model: str, folder: Path) -> list[Path]:
    """Draw a network of `models/` as PNG and SVG, and return the files.

    Raises:
        UserError: matplotlib is not installed, or the folder cannot be written.
    """
    module: nn.Module = resolve(NETWORKS[model])().eval()
    image = torch.zeros(INPUT_SHAPE)
    used = usage(module, (image,))
    with torch.no_grad():
        blocks = blocks_of(module, image)
    macs = sum(weight.macs for weight in used.weights)
    parameters = sum(used.parameters.values())
    title = f"{model}: {len(used.weights)} layers, {parameters:,} parameters, {macs / 1e6:,.0f} million multiply-adds"
    figure = new_figure(max(8.0, 1.2 + 0.45 * len(main_way(blocks))), 3.9, title)
    axes = figure.add_subplot()
    _Drawing(axes, blocks).draw()
    joints = {SUM: "+: sum", JOIN: f"{_JOINTS[JOIN]}: channels side by side"}
    shown = [text for kind, text in joints.items() if any(block.kind == kind for block in blocks)]
    caption(figure, "; ".join(["below: channels, and size (128\N{SUPERSCRIPT TWO} = 128 x 128 pixels)",
            "heights grow with it, not in proportion",
            "arrows: what a layer takes", *shown, "BatchNorm, ReLU and Dropout are not drawn"]))  # fmt: skip
    files = [folder / f"{DRAWN[model]}{end}" for end in (".png", ".svg")]
    for file in files:
        save(figure, file)
    return files


class _Drawing:
    """Places of a network's layers on a page: the longest way in a row, what leaves it below.

    Args:
        axes: to draw on.
        blocks: of the network.
    """

    def __init__(self, axes: Axes, blocks: Sequence[Block]) -> None:
        self._axes = axes
        self._blocks = {-1: Block("image", INPUT_SHAPE[1], INPUT_SHAPE[2], ()), **dict(enumerate(blocks))}
        self._tallest = max(block.size for block in self._blocks.values())
        self._main = [-1, *main_way(blocks)]
        self._at: dict[int, tuple[float, float]] = {place: (float(x), 0.0) for x, place in enumerate(self._main)}
        for place in self._blocks:
            if place not in self._at:
                self._at[place] = self._beside(place)

    def draw(self) -> None:
        """Draw the layers, what each takes, and the legend."""
        for place, block in self._blocks.items():
            self._draw_block(place, block)
            for source in block.above:
                self._draw_way(source, place)
        handles = {str(patch.get_label()): patch for patch in self._axes.patches}
        handles.pop("", None)
        named = {kind: handles[kind] for kind in _LOOKS if kind in handles}
        self._axes.legend(named.values(), named.keys(), loc="upper center", bbox_to_anchor=(0.5, 0.0),
                          ncols=min(len(named), 5), frameon=False, fontsize=8.5)  # fmt: skip
        lowest = min(y - self._half(place) for place, (_, y) in self._at.items())
        highest = max(self._half(place) for place in self._main) + 2 * _ROOM
        self._axes.set(xlim=(-0.7, len(self._main) - 0.3), ylim=(lowest - 0.42, highest))
        self._axes.axis("off")

    def _half(self, place: int) -> float:
        """Return half the height of a layer."""
        block = self._blocks[place]
        return 0.13 if block.kind in _JOINTS else 0.06 + 0.94 * (block.size / self._tallest) ** 0.5

    def _beside(self, place: int) -> tuple[float, float]:
        """Return where a layer stands that is not on the longest way: under what runs beside it."""
        source = self._blocks[place].above[0]
        x, y = self._at[source]
        if source not in self._main:
            return x + 1.0, y
        meets = [self._at[one][0] for one in self._main if place in self._blocks[one].above]
        end = min(meets, default=x + 3.0)
        heights = [self._half(one) for one in self._main if x < self._at[one][0] <= end]
        middle = (x + end) / 2 if meets else x + 1.0
        return middle, -max(heights, default=0.0) - 0.62 - self._half(place)

    def _draw_block(self, place: int, block: Block) -> None:
        from matplotlib.patches import Rectangle

        (x, y), half = self._at[place], self._half(place)
        if block.kind in _JOINTS:
            self._axes.text(x, y, _JOINTS[block.kind], ha="center", va="center", fontsize=9, fontweight="bold",
                            bbox={"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": "0.2"})  # fmt: skip
            return
        colour, hatch = _LOOKS[block.kind]
        self._axes.add_patch(Rectangle((x - _EDGE, y - half), 2 * _EDGE, 2 * half, facecolor=colour, hatch=hatch,
                                       edgecolor="0.2", linewidth=0.8, label=block.kind))  # fmt: skip
        size = f"\n{block.size}\N{SUPERSCRIPT TWO}" if block.size > 1 else ""
        self._axes.text(x, y - half - 0.04, f"{block.channels}{size}", ha="center", va="top", fontsize=7.5)
        if block.kind.endswith("of the image") and place in self._main:
            self._axes.text(x, y + half + 0.05, block.kind.split()[0], ha="center", va="bottom", fontsize=8.5)

    def _draw_way(self, source: int, place: int) -> None:
        (x, y), (to, level) = self._at[source], self._at[place]
        joint, from_joint = self._blocks[place].kind in _JOINTS, self._blocks[source].kind in _JOINTS
        left, right = to - (_CIRCLE if joint else _EDGE), x + (_CIRCLE if from_joint else _EDGE)
        if source not in self._main and place in self._main:  # back to the row
            self._arrow([(right, y), (to, y), (to, level - 0.17)])
        elif place not in self._main and source in self._main:  # down from the row
            self._arrow([(x + 0.5, y), (x + 0.5, level), (left, level)])
        elif source in self._main and self._main.index(place) - self._main.index(source) > 1:  # over what lies between
            over = max(self._half(one) for one in self._main if x <= self._at[one][0] <= to) + _ROOM
            self._arrow([(x, self._half(source)), (x, over), (to, over), (to, level + 0.17)])
        else:
            self._arrow([(right, y), (left, level)])

    def _arrow(self, points: Sequence[tuple[float, float]]) -> None:
        *before, (x, y), end = points
        if before:
            self._axes.plot(*zip(*before, (x, y), strict=True), color=GREY, linewidth=1.1, solid_capstyle="round")
        self._axes.annotate("", end, (x, y), arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 1.1,
                            "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7})  # fmt: skip
