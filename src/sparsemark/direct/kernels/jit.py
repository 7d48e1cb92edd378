"""Compilation of functions: without the interpreter's lock, and with the arithmetic of the hardware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

Function = Callable[..., Any]

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Python never calls one of them itself, and arrays are views of memory that somebody else owns.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
}


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile a function where another one that is compiled calls it."""
    decorate: Callable[[Function], Function] = njit(**_OPTIONS, **options)
    return decorate
