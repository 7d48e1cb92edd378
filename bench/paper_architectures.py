"""Diagrams of the networks, drawn from the real modules (figures 3 to 7 of the paper)."""

from __future__ import annotations

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
    from pathlib import Path

    from matplotlib.axes import Axes

DRAWN = {
    "cnn3": "figure-03-cnn3",
    "cnn4": "figure-03-cnn4",
    "cnn9": "figure-03-cnn9",
    "unet": "figure-04-unet",
    "unet_head": "figure-05-unet_head",
    "resnet3": "figure-06-resnet3",
    "resnet3_max": "figure-07-resnet3_max",
}
"""Names of files by network."""

_COLOURS = {"convolution": "#0072B2", "transposed": "#009E73", "pooling": "#999999", "linear": "#D55E00"}
_KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution",
    nn.ConvTranspose2d: "transposed",
    nn.MaxPool2d: "pooling",
    nn.AvgPool2d: "pooling",
    nn.AdaptiveAvgPool2d: "pooling",
    nn.AdaptiveMaxPool2d: "pooling",
    nn.Linear: "linear",
}


@dataclass(frozen=True)
class Block:
    """A layer in a diagram.

    Args:
        kind: of layer.
        channels: that it makes.
        size: height of what it makes, in pixels; 1 for a vector.
        above: places of the layers that it is computed from, through whatever lies between; -1 is the image.
    """

    kind: str
    channels: int
    size: int
    above: tuple[int, ...]


def blocks_of(module: nn.Module, inputs: torch.Tensor) -> list[Block]:
    """Return the layers of a network in the order in which they run, with what each is computed from."""
    traced = symbolic_trace(module)
    ShapeProp(traced).propagate(inputs)  # type: ignore[no-untyped-call]  # torch's own lacks types
    layers = dict(traced.named_modules())
    found: list[Block] = []
    sources: dict[Node, tuple[int, ...]] = {}
    for node in traced.graph.nodes:
        above = tuple(sorted({place for one in node.all_input_nodes for place in sources[one]}))
        kind = _KINDS.get(type(layers[str(node.target)])) if node.op == "call_module" else None
        if node.op == "placeholder":
            above = (-1,)
        elif kind is not None:
            shape = _shape(node.meta["tensor_meta"])
            found.append(Block(kind, shape[1], shape[2] if len(shape) > 2 else 1, above))
            above = (len(found) - 1,)
        sources[node] = above
    return found


def _shape(described: Any) -> tuple[int, ...]:
    return tuple(described.shape)


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
    weighty = sum(block.kind != "pooling" for block in blocks)
    macs = sum(weight.macs for weight in used.weights)
    parameters = sum(used.parameters.values())
    title = f"{model}: {weighty} layers, {parameters:,} parameters, {macs / 1e6:,.0f} million multiply-adds"
    figure = new_figure(max(7.0, 1.2 + 0.42 * len(blocks)), 3.6, title)
    axes = figure.add_subplot()
    _draw(axes, blocks)
    caption(figure, "number: channels; height: pixels of a side; arcs: what a layer takes besides the one before it; "
            "BatchNorm and ReLU are not drawn")  # fmt: skip
    files = [folder / f"{DRAWN[model]}{end}" for end in (".png", ".svg")]
    for file in files:
        save(figure, file)
    return files


def _draw(axes: Axes, blocks: list[Block]) -> None:
    from matplotlib.patches import FancyArrowPatch, Rectangle

    tallest = max(INPUT_SHAPE[2], *(block.size for block in blocks))

    def half(size: int) -> float:
        return 0.06 + 0.94 * (size / tallest) ** 0.5

    shown = [Block("image", INPUT_SHAPE[1], INPUT_SHAPE[2], ()), *blocks]
    for place, block in enumerate(shown, start=-1):
        colour = _COLOURS.get(block.kind, "0.85")
        axes.add_patch(Rectangle((place - 0.32, -half(block.size)), 0.64, 2 * half(block.size), facecolor=colour,
                                 edgecolor="0.2", linewidth=0.8, label=block.kind))  # fmt: skip
        axes.text(place, -half(block.size) - 0.05, f"{block.channels}", ha="center", va="top", fontsize=7.5)
        for source in block.above:
            if source < place - 1:
                start, end = (source, half(shown[source + 1].size)), (place, half(block.size))
                bend = -min(0.35, 0.9 / (place - source))
                axes.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>",
                                               mutation_scale=8, color=GREY, linewidth=1.1))  # fmt: skip
    handles = {str(patch.get_label()): patch for patch in axes.patches if isinstance(patch, Rectangle)}
    axes.legend(handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=len(handles),
                frameon=False, fontsize=8.5)  # fmt: skip
    has_arcs = any(source < place - 1 for place, block in enumerate(blocks) for source in block.above)
    axes.set(xlim=(-1.8, len(blocks) - 0.2), ylim=(-1.35, 1.5 if has_arcs else 1.1))
    axes.axis("off")
