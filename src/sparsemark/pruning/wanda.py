"""Wanda: weights times the norm of what they are multiplied with, compared within each output channel.

Source: Sun et al., A Simple and Effective Pruning Approach for Large Language Models, 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.func import functional_call

from sparsemark.pruning.calibration import batches_of, calibration, forward
from sparsemark.pruning.weights import listed, named_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.pruning.base import Calibration, Request
    from sparsemark.pruning.scores import Scores
    from sparsemark.pruning.weights import Layer, Weight


def wanda_scores(
    module: torch.nn.Module, weights: Sequence[Weight], request: Request
) -> tuple[Scores, tuple[str, ...]]:
    """Return |weight| times the L2 norm of its input feature over the calibration batches.

    A weight of a convolution meets one value of its input channel at each position, and its feature is all of those.
    Weights outside of convolutions and linear layers are scored by their magnitude, and named.

    Raises:
        UserError: the request has no data, or the task fails.
    """
    squares = squared_inputs(module, calibration(request))
    scores, without = {}, {}
    for weight in weights:
        scores[weight.key] = weight.parameter.detach().abs()
        if weight.key in squares:
            scores[weight.key] = scores[weight.key] * squares[weight.key].sqrt()
        else:
            without[weight.name] = weight.parameter.numel()
    notes = (f"wanda: scored by magnitude alone, since no layer shows their inputs: {listed(without)}",)
    return scores, notes if without else ()


def squared_inputs(module: torch.nn.Module, data: Calibration) -> Scores:
    """Return by parameter the sum of squares of all that each of its weights is multiplied with, in its shape.

    A layer's summed outputs are linear in its weights: their gradient is the sum of the inputs that each weight meets,
    and of their squares where the inputs are squared. Padding, strides and groups are the layer's own doing.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    sums: Scores = {}

    def watch(layer: Layer) -> Any:
        name, is_inside = names[id(layer.weight)], False

        def add(_: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            nonlocal is_inside
            if is_inside or not given:
                return
            is_inside = True
            weight = torch.zeros_like(layer.weight, requires_grad=True)
            with torch.enable_grad():
                squared = given[0].detach().square()
                outputs = functional_call(layer, {"weight": weight}, (squared, *given[1:]), named)
                (found,) = torch.autograd.grad(outputs.sum(), weight)
            sums[name] = sums[name] + found if name in sums else found
            is_inside = False

        return add

    handles = [layer.register_forward_pre_hook(watch(layer), with_kwargs=True) for _, layer in named_layers(module)]
    try:
        with torch.no_grad(), batches_of(data) as batches:
            for inputs, _ in batches:
                forward(module.eval(), inputs, data.name)
    finally:
        for handle in handles:
            handle.remove()
    return sums
