"""Compiled activation functions, written so that a row of values becomes vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.vectors import as_float


@compiled()
def _exponential(x: Any) -> Any:
    """Exponential of x, to about one part in ten million: arithmetic alone, so that a loop of it becomes vectors.

    Range reduction by the two parts of ln 2, then the polynomial of Cephes' expf.
    """
    x = _clip(x, np.float32(-87.0), np.float32(88.0))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    return p * as_float(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))


@compiled()
def _sigmoid(x: Any) -> Any:
    return np.float32(1) / (np.float32(1) + _exponential(-x))


@compiled()
def _tangent(x: Any) -> Any:
    """Hyperbolic tangent; near zero by its series, since a difference of two halves would leave few digits."""
    square = x * x
    series = np.float32(62 / 2835) * square - np.float32(17 / 315)
    series = (series * square + np.float32(2 / 15)) * square - np.float32(1 / 3)
    far = np.float32(2) * _sigmoid(np.float32(2) * x) - np.float32(1)
    return x + x * square * series if square < np.float32(0.0625) else far


@compiled()
def _clip(x: Any, low: Any, high: Any) -> Any:
    x = low if x < low else x  # noqa: FURB136 - `max` would turn NaN into a number
    return high if x > high else x  # noqa: FURB136 - as above


@compiled()
def _error_function(x: Any) -> Any:
    """Error function, to two parts in ten million, without a call: so that a loop of it becomes vectors.

    Up to 1 a polynomial of the square, times x; beyond, one minus the exponential of a polynomial. Both interpolate at
    Chebyshev's nodes: erf(sqrt(s)) / sqrt(s), and -log(erfc(t)) / t up to 4, from where on it is one in float32.
    """
    t = _clip(abs(x), np.float32(0), np.float32(4))
    s = t * t
    near = np.float32(7.882497103e-05)
    near = near * s + np.float32(-8.018854991e-04)
    near = near * s + np.float32(5.189311942e-03)
    near = near * s + np.float32(-2.685432880e-02)
    near = near * s + np.float32(1.128359746e-01)
    near = near * s + np.float32(-3.761262690e-01)
    near = near * s + np.float32(1.128379166)
    far = np.float32(-1.093036235e-06)
    far = far * t + np.float32(3.530376995e-05)
    far = far * t + np.float32(-5.062736728e-04)
    far = far * t + np.float32(4.336510293e-03)
    far = far * t + np.float32(-2.522306327e-02)
    far = far * t + np.float32(1.079790401e-01)
    far = far * t + np.float32(6.340508430e-01)
    far = far * t + np.float32(1.128934315)
    far = np.float32(1) - _exponential(-t * far)
    # A choice within a choice would keep a loop from becoming vectors.
    far *= np.float32(1) - np.float32(2) * np.float32(x < np.float32(0))
    return x * near if t < np.float32(1) else far


@compiled()
def _mish(x: Any) -> Any:
    """Mish: x times tanh of softplus of x, which is e (e + 2) / (e (e + 2) + 2) with e the exponential of x."""
    e = _exponential(_clip(x, np.float32(-87.0), np.float32(20.0)))
    n = e * (e + np.float32(2))
    # Below, as in SiLU; above 20, the quotient is one in float32.
    return x * (n / (n + np.float32(2))) if x > np.float32(-87.0) else np.float32(0)


@compiled()
def activate(kind: int, source: Any, target: Any, p: Any, q: Any) -> None:
    """One row; a loop for each kind, since a choice inside the loop would keep it from becoming vectors."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    count = len(target)
    if kind == isa.CLIP:
        for x in range(count):
            target[x] = _clip(source[x], p, q)
    elif kind == isa.LEAKY:
        for x in range(count):
            target[x] = source[x] if source[x] >= zero else p * source[x]
    elif kind == isa.SIGMOID:
        for x in range(count):
            target[x] = _sigmoid(source[x])
    elif kind == isa.SILU:
        for x in range(count):
            # Below, the sigmoid vanishes; what is left of it must not be multiplied by a huge number.
            target[x] = source[x] * _sigmoid(source[x]) if source[x] > np.float32(-87.0) else zero
    elif kind == isa.HARD_SIGMOID:
        for x in range(count):
            target[x] = _clip(p * source[x] + q, zero, one)
    elif kind == isa.HARD_SWISH:
        for x in range(count):
            target[x] = source[x] * _clip(source[x] * np.float32(1 / 6) + half, zero, one)
    elif kind == isa.TANH:
        for x in range(count):
            target[x] = _tangent(source[x])
    elif kind == isa.GELU:
        for x in range(count):
            target[x] = half * source[x] * (one + _error_function(source[x] * np.float32(0.7071067811865476)))
    elif kind == isa.MISH:
        for x in range(count):
            target[x] = _mish(source[x])
    elif kind == isa.SOFTPLUS:
        for x in range(count):
            target[x] = _clip(source[x], zero, np.float32(math.inf)) + np.float32(
                math.log1p(_exponential(-abs(source[x])))
            )
    elif kind == isa.ERROR_FUNCTION:
        for x in range(count):
            target[x] = _error_function(source[x])
    else:
        for x in range(count):
            target[x] = source[x] if source[x] >= zero else p * np.float32(math.expm1(source[x]))
