"""Calibration: what a few training batches say of a network's weights."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from sparsemark.errors import TaskError, UserError
from sparsemark.networks.channel_graph import differentiable
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from sparsemark.pruning.base import Calibration, Request

CALIBRATION_BATCHES = 8
"""Training batches that a score is taken on: 128 inputs and more at usual batch sizes, as many as Wanda's authors take;
their order of weights then hardly changes, and a method costs less than an epoch of fine-tuning."""


def calibration(request: Request) -> Calibration:
    """Return the data of a request.

    Raises:
        UserError: there are none.
    """
    if request.data is None:
        raise UserError(
            f"{request.spec.text}: needs training batches of a task; there is no task with batches and loss"
        )
    return request.data


def forward(module: nn.Module, inputs: Any, name: str) -> Any:
    """Call a network with the inputs of a batch.

    Args:
        module: the network.
        inputs: one tensor, or a tuple or list of several.
        name: of the task that they come from.

    Raises:
        TaskError: the network does not take them.
    """
    try:
        return module(*inputs) if isinstance(inputs, tuple | list) else module(inputs)
    except Exception as error:
        raise TaskError(f"{name}: batches: inputs that the network does not take: {one_line(error)[:200]}") from error


@contextmanager
def batches_of(data: Calibration) -> Iterator[Iterator[tuple[Any, Any]]]:
    """Yield an iterator over the batches, with torch's random numbers as they were afterwards.

    Raises:
        TaskError: there was no batch.
    """
    count = 0

    def counted() -> Iterator[tuple[Any, Any]]:
        nonlocal count
        for batch in data.batches():
            count += 1
            yield batch

    with torch.random.fork_rng(devices=[]):
        yield counted()
    if not count:
        raise TaskError(f"{data.name}: batches: yields nothing; expected pairs of inputs and targets")


def gradient_magnitudes(module: nn.Module, data: Calibration) -> dict[str, torch.Tensor]:
    """Return the absolute gradient of the loss by parameter name, as its mean over the batches, in eval mode.

    The mean of absolute values, since in a trained network the gradients of the batches cancel out.

    Raises:
        TaskError: the task fails, or its loss does not depend on the weights.
    """
    totals: dict[str, torch.Tensor] = {}
    count = 0
    module.eval()
    with differentiable(module), torch.enable_grad(), batches_of(data) as batches:
        parameters = {name: one for name, one in module.named_parameters() if one.requires_grad}
        for inputs, targets in batches:
            loss = data.loss(forward(module, inputs, data.name), targets)
            try:
                found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            except RuntimeError as error:
                raise TaskError(f"{data.name}: loss: has no gradient: {one_line(error)[:200]}") from error
            count += 1
            for name, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    dense = gradient.to_dense() if gradient.is_sparse else gradient
                    totals[name] = totals.get(name, 0) + dense.abs()
    return {name: totals[name] / count if name in totals else torch.zeros_like(one) for name, one in parameters.items()}


def digest(data: Calibration) -> str:
    """Return the SHA-256 of the batches, in hex: other data make other scores."""
    sha = hashlib.sha256()
    with batches_of(data) as batches:
        for batch in batches:
            for leaf in pytree.tree_leaves(batch):
                if isinstance(leaf, torch.Tensor):
                    leaf = leaf.detach().cpu().contiguous().view(-1).numpy()  # noqa: PLW2901 - the same in bytes
                sha.update(leaf.tobytes() if hasattr(leaf, "tobytes") else repr(leaf).encode())
    return sha.hexdigest()
