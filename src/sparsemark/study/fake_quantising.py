"""Fake quantisation: while a network is fine-tuned, its layers compute with the rounding that int8 will bring.

Hooks of the layers apply PyTorch's own `fake_quantize` operators, so the module stays as it is: class, parameters,
their names and order, masks. Of the libraries, torch.ao.quantization is marked for deletion by its makers, torchao's
eager form knows nn.Linear alone and its exported graphs are no longer the user's module, and NNCF patches torch and
pins its version.

The scheme is that of `formats.onnx_int8`. A weight has a scale for each output channel, from its largest magnitude. The
input of a layer has one scale and a zero point, from its extremes and zero. Those are of the batch at hand, which come
near the extremes of all calibration inputs: nothing is kept from one batch to the next, so that a run that was
interrupted goes on bit by bit. Gradients pass straight through.

BatchNorm needs no folding beforehand: it scales whole output channels, and their largest magnitudes with them, so the
rounding is the same before and after (but for grouped transposed convolutions, whose groups share scales). What lies
between layers (sums, joins, the network's output) is rounded by the quantiser and not here, nor are weights that no
layer below multiplies with its input; `note` names those.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sparsemark.errors import UnsupportedError
from sparsemark.formats.onnx_int8 import weight_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.hooks import RemovableHandle

_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)

_NEVER_CALLED = nn.modules.linear.NonDynamicallyQuantizableLinear
"""Projection of attention, whose weight is taken by the layer around it."""

_WEIGHT = "weight"

_MOST = 255
"""Of an input's integers, which begin at 0."""

_LISTED = 3
"""Weights that a note names; the others are counted."""


@contextmanager
def fake_quantised(module: nn.Module) -> Iterator[None]:
    """Have convolutions and linear layers compute with rounded weights and inputs, in training and evaluation alike.

    Args:
        module: in its plain form, whose weights are parameters.

    Raises:
        UnsupportedError: it has no such layer.
    """
    layers = _layers(module)
    if not layers:
        raise UnsupportedError("qat: the network has no convolution or linear layer whose weight could be rounded")
    enter = partial(_enter, limit=weight_limit())
    handles: list[RemovableHandle] = []
    try:
        for layer in layers:
            handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(layer.register_forward_hook(_leave, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for layer in layers:  # torch calls no hook after an interrupt
            vars(layer).pop(_WEIGHT, None)


def note(module: nn.Module) -> str:
    """Return a clause for a row: what fine-tuning rounded, and what it left alone."""
    words = f"fine-tuned with its layers rounded as in int8 (weights to integers up to {weight_limit()})"
    rounded = {id(layer.weight) for layer in _layers(module)}
    alone = [name for name, one in module.named_parameters() if one.ndim > 1 and id(one) not in rounded]
    if not alone:
        return words
    more = f" and {len(alone) - _LISTED} more" if len(alone) > _LISTED else ""
    return f"{words}, but for {', '.join(alone[:_LISTED])}{more}"


def rounded_weight(layer: nn.Module, limit: int) -> torch.Tensor:
    """Return a layer's weight as its int8 form dequantises, with a gradient; zeros stay zero.

    Args:
        layer: a convolution or linear layer.
        limit: largest magnitude of an integer.
    """
    weight: Any = layer._parameters[_WEIGHT]
    axis = int(isinstance(layer, nn.modules.conv._ConvTransposeNd))
    with torch.no_grad():
        largest = weight.abs().amax(dim=[other for other in range(weight.ndim) if other != axis])
        scale = _usable(largest / limit)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, axis, -limit, limit)


def rounded_input(given: torch.Tensor) -> torch.Tensor:
    """Return an input of a layer as unsigned bytes over its own range hold it, in its own dtype, with a gradient."""
    wide = given.float()  # under autocast it may be narrower
    with torch.no_grad():
        low, high = wide.aminmax()
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)  # zero must be one of the values: it pads
        scale = _usable((high - low) / _MOST)
        zero = (-low / scale).round().clamp(0, _MOST).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(wide, scale, zero, 0, _MOST).to(given.dtype)


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers that are rounded, each once."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, _LAYERS)
        and not isinstance(layer, _NEVER_CALLED)
        and layer._parameters.get(_WEIGHT) is not None
    ]


def _enter(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, limit: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the rounded weight before the parameter of its name, and round the input."""
    # Modules look for parameters only where they have no attribute of that name.
    vars(layer)[_WEIGHT] = rounded_weight(layer, limit)
    if args:
        return (rounded_input(args[0]), *args[1:]), kwargs
    return args, kwargs | {"input": rounded_input(kwargs["input"])}


def _leave(layer: nn.Module, *_: Any) -> None:
    """Take the rounded weight away."""
    vars(layer).pop(_WEIGHT, None)


def _usable(scale: torch.Tensor) -> torch.Tensor:
    """Return scales with 1 in place of those of nothing but zeros, as the quantiser has them."""
    return torch.where(scale < torch.finfo(scale.dtype).tiny, 1.0, scale)
