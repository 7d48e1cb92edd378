"""Float64 outputs of a network: the reference that every engine is checked against."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sparsemark.errors import NoFloat64Error, UnsupportedError
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sparsemark.networks.source import Source

Outputs = tuple["NDArray[np.float64]", ...]
"""Every output of the network, each for all images: shape (images, ...)."""

Batch = tuple["NDArray[Any]", ...]
"""An array of each input."""

LEAST_BATCHES = 8
"""Compared whatever the time."""

_SAME = 1e-9
"""Largest difference between two answers to one input in float64, over the largest value: sums in another order."""


@dataclass(frozen=True)
class Reference:
    """Outputs that engines are checked against.

    Args:
        outputs: of the batches in `chosen`, in that order.
        chosen: indices of the batches that were run, as many as there was time for.
        notes: what a reader must know of the reference, in words.
        steps: of a quantised network, the step of each output: the smallest difference that its integers can express.
            Empty in float32.
        moved: of a quantised network, how far rounding in float32 alone moves each output; empty where it does not.
    """

    outputs: Outputs
    chosen: tuple[int, ...]
    notes: tuple[str, ...] = field(default=())
    steps: tuple[float, ...] = field(default=())
    moved: tuple[float, ...] = field(default=())


def stack(answers: Sequence[Sequence[NDArray[Any]]]) -> tuple[NDArray[Any], ...]:
    """Concatenate the answers for all images, output by output; a single number becomes one value per image."""
    return tuple(np.concatenate([np.atleast_1d(one) for one in output]) for output in zip(*answers, strict=True))


def spread(count: int) -> tuple[int, ...]:
    """Return 0 to count - 1, every beginning spread over all: neighbours in a volume are alike."""
    golden = (np.sqrt(5) - 1) / 2
    return tuple(int(i) for i in np.argsort((np.arange(count) * golden) % 1, kind="stable"))


def float64_outputs(source: Source, batches: Sequence[Batch], seconds: float = float("inf")) -> Reference:
    """Compute the reference: the network itself, in float64, on one thread, in the library that defines it.

    For a checkpoint that is PyTorch, for an ONNX file ONNX's reference evaluator.

    Args:
        source: a checkpoint or ONNX file.
        batches: arrays of each input.
        seconds: after which no further batch is run, once there are `LEAST_BATCHES`.

    Raises:
        NoFloat64Error: the network does not run in float64.
        UnsupportedError: it answers one input in two ways.
    """
    network: _Network = _in_onnx(source) if source.is_onnx else _InTorch(source)
    order = spread(len(batches))
    answers: list[list[NDArray[Any]]] = []
    started = time.perf_counter()
    for index in order:
        if len(answers) >= LEAST_BATCHES and time.perf_counter() - started > seconds:
            break
        answers.append(network(batches[index]))
        if len(answers) == 1:
            _check_same(answers[0], network(batches[index]))
            _check_draws_nothing(network)
        _check_shapes(answers[0], answers[-1])
    outputs = tuple(output.astype(np.float64) for output in stack(answers))
    return Reference(outputs, order[: len(answers)], network.notes)


class _Network(Protocol):
    """A network in float64."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats on its answers, in words."""

    def __call__(self, batch: Batch) -> list[NDArray[Any]]:
        """Return every output for a batch."""


def _in_onnx(source: Source) -> _Network:
    from sparsemark.networks.onnx_reference import OnnxInFloat64

    return OnnxInFloat64(source.path)


class _InTorch:
    """A checkpoint's network in PyTorch, in float64."""

    def __init__(self, source: Source) -> None:
        from sparsemark.networks.checkpoint import load_checkpoint

        self._module = load_checkpoint(source.path).build()
        self._narrow: set[str] = set()
        self.drawn: set[str] = set()

    def __call__(self, batch: Batch) -> list[NDArray[Any]]:
        """Return every output for a batch."""
        import torch

        from sparsemark.machine.placement import torch_threads
        from sparsemark.networks.float64 import widened
        from sparsemark.networks.outputs import output_tensors

        tensors = [torch.from_numpy(array.copy()) for array in batch]  # copied: a network may write into its input
        wide = [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors]
        try:
            # More threads than one wait for each other: float64 has no blocked kernels.
            with torch_threads(1), widened() as mode:
                self._module.double()
                outputs = output_tensors(self._module(*wide))
        except Exception as error:
            raise NoFloat64Error(one_line(error)[:200]) from error
        self._narrow |= mode.narrow
        self.drawn |= mode.drawn
        # Copied: a network may return one of its buffers.
        return [output.numpy().copy() for output in outputs]

    @property
    def notes(self) -> tuple[str, ...]:
        """Name the dtypes that the network casts to itself, where they are narrower than float32."""
        if not self._narrow:
            return ()
        return (f"the network computes in {', '.join(sorted(self._narrow))} itself, the reference in float64",)


def _check_draws_nothing(network: _Network) -> None:
    """Raise UnsupportedError where a network draws random numbers, even the same ones at each call."""
    if isinstance(network, _InTorch) and network.drawn:
        raise UnsupportedError(
            f"the network draws random numbers in eval mode ({', '.join(sorted(network.drawn))}), others in each "
            "precision, so no engine can be checked against it"
        )


def _check_shapes(first: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
    shapes = [tuple(output.shape) for output in first], [tuple(output.shape) for output in other]
    if shapes[0] != shapes[1]:
        raise UnsupportedError(
            f"the shape of its output depends on the values of its input: {shapes[0]} and {shapes[1]}, so engines "
            "cannot be compared on several inputs"
        )


def _check_same(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> None:
    for one, other in zip(first, second, strict=True):
        scale = float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
        same = one.shape == other.shape and np.allclose(one, other, rtol=0, atol=_SAME * scale, equal_nan=True)
        if not same:
            raise UnsupportedError(
                "the network gives different answers to one input in eval mode, so no engine can be checked against it"
            )
