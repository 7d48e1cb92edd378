"""How functions are compiled: without the interpreter's lock, kept on disk where there is a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

Function = Callable[..., Any]


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile a function at its first call; the machine code is kept for the next process."""

    def decorate(function: Function) -> Function:
        try:
            kept: Function = njit(nogil=True, error_model="numpy", cache=True, **options)(function)
        except RuntimeError:
            # Neither the package's folder nor the user's cache can be written: a slow start each time.
            kept = njit(nogil=True, error_model="numpy", **options)(function)
        return kept

    return decorate
