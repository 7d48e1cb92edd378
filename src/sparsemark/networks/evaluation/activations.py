"""Activations of ONNX in float64."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import erf, expit

from sparsemark.networks.evaluation.base import Standard

if TYPE_CHECKING:
    from onnx.reference.op_run import OpRun


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Erf(Standard):
    """Error function; the evaluator's rounds to float32."""

    def _run(self, x: Array) -> tuple[Array]:
        return (erf(x),)


class Gelu(Standard):
    """Gaussian error linear unit."""

    def _run(self, x: Array, approximate: str | None = None) -> tuple[Array]:
        return (gelu(x, approximated=approximate == "tanh"),)


def gelu(x: Array, *, approximated: bool = False) -> Array:
    """Compute the Gaussian error linear unit, or its approximation by a hyperbolic tangent."""
    inner = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)) if approximated else erf(x / math.sqrt(2))
    found: Array = 0.5 * x * (1 + inner)
    return found


class HardSwish(Standard):
    """x times the hard sigmoid of x."""

    def _run(self, x: Array) -> tuple[Array]:
        return (x * np.clip(x / 6 + 0.5, 0, 1),)


class Mish(Standard):
    """x times the hyperbolic tangent of its softplus."""

    def _run(self, x: Array) -> tuple[Array]:
        return (x * np.tanh(np.logaddexp(x, 0)),)


class Sigmoid(Standard):
    """Logistic function."""

    def _run(self, x: Array) -> tuple[Array]:
        return (expit(x),)


class _AlongAxis(Standard):
    """Over one axis; before version 13 over all axes from one on."""

    @abstractmethod
    def compute(self, x: Array, axis: int) -> Array:
        """Compute the operator over one axis."""

    def _run(self, x: Array, axis: int | None = None) -> tuple[Array]:
        if self.opset >= 13:
            return (self.compute(x, -1 if axis is None else axis),)
        first = int(axis) if self.given("axis") and axis is not None else 1
        first += x.ndim if first < 0 else 0
        flat = x.reshape(math.prod(x.shape[:first]), -1)
        return (self.compute(flat, 1).reshape(x.shape),)


class Softmax(_AlongAxis):
    """Exponentials that add up to one."""

    def compute(self, x: Array, axis: int) -> Array:  # noqa: D102
        raised = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
        found: Array = raised / raised.sum(axis=axis, keepdims=True)
        return found


class LogSoftmax(_AlongAxis):
    """Logarithm of the softmax."""

    def compute(self, x: Array, axis: int) -> Array:  # noqa: D102
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
        found: Array = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        return found


class Hardmax(_AlongAxis):
    """One at the first maximum, zero elsewhere."""

    def compute(self, x: Array, axis: int) -> Array:  # noqa: D102
        found = np.zeros_like(x)
        np.put_along_axis(found, x.argmax(axis=axis, keepdims=True), 1, axis)
        return found


OPERATORS: list[type[OpRun]] = [
    Erf,
    Gelu,
    HardSwish,
    Mish,
    Sigmoid,
    Softmax,
    LogSoftmax,
    Hardmax,
]
