"""Calibration: a few training batches, the gradients of the loss on them, and their digest."""

from __future__ import annotations

import hashlib
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
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

_NUMPY_SEEDS = 2**32
"""NumPy's global generator takes seeds below."""


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
    """Yield an iterator over the batches.

    They are the same whatever was drawn before: a shuffling DataLoader draws from torch's generator, augmentation often
    from NumPy's or Python's. All three are seeded by the data's seed, and are afterwards as they were.

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
        before = random.getstate(), np.random.get_state()  # noqa: NPY002 - what a user's augmentation draws from
        try:
            torch.manual_seed(data.seed)
            random.seed(data.seed)
            np.random.seed(data.seed % _NUMPY_SEEDS)  # noqa: NPY002 - as above
            yield counted()
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002 - as above
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
    """Return the SHA-256 of the batches, in hex: other data make other scores.

    Tensors and arrays count with place, shape and dtype, numbers and text by value. Of any other object only the class
    does: its text holds an address, which differs in every process. What it holds is the task's own, whose code and
    key of the data count in any case.
    """
    sha = hashlib.sha256()
    with batches_of(data) as batches:
        for batch in batches:
            for place, leaf in pytree.tree_flatten_with_path(batch)[0]:
                sha.update(f"{pytree.keystr(place)}\0{type(leaf).__qualname__}\0".encode())
                sha.update(_content(leaf))
    return sha.hexdigest()


def _content(leaf: Any) -> bytes:
    """Return the bytes that tell a leaf of a batch from others of its class."""
    if isinstance(leaf, np.ndarray | np.generic) and not leaf.dtype.hasobject:
        return f"{leaf.shape} {leaf.dtype}\0".encode() + leaf.tobytes()
    if isinstance(leaf, torch.Tensor):
        dense = leaf.detach().cpu().to_dense() if leaf.layout != torch.strided else leaf.detach().cpu()
        plain = dense.resolve_conj().resolve_neg().contiguous().reshape(-1)
        # By bytes: NumPy has no bfloat16.
        return f"{tuple(leaf.shape)} {leaf.dtype}\0".encode() + plain.view(torch.uint8).numpy().tobytes()
    return repr(leaf).encode() if isinstance(leaf, bool | int | float | complex | str | bytes | None) else b""
