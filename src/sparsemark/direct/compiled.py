"""How functions are compiled: without the interpreter's lock, and with the arithmetic of the hardware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

Function = Callable[..., Any]


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile a function where another one that is compiled calls it."""
    decorate: Callable[[Function], Function] = njit(nogil=True, error_model="numpy", **options)
    return decorate
