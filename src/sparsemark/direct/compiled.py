"""How functions are compiled: without the interpreter's lock, kept on disk where there is a place for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config as _config

from sparsemark import paths

Function = Callable[..., Any]


def _sources() -> str:
    """Hash of this folder: Numba itself looks at the date of one file, and would keep calling what another one was."""
    sha = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sha.update(path.read_bytes())
    return sha.hexdigest()[:16]


config: Any = _config  # its attributes come into being at run time

_FOLDER = str(paths.machine_code(_sources()))


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile a function at its first call; the machine code is kept for the next process."""

    def decorate(function: Function) -> Function:
        before = config.CACHE_DIR
        config.CACHE_DIR = _FOLDER  # read when the function is decorated, and never again
        try:
            kept: Function = njit(nogil=True, error_model="numpy", cache=True, **options)(function)
        except RuntimeError:
            # Nowhere to keep it: a slow start each time.
            kept = njit(nogil=True, error_model="numpy", **options)(function)
        finally:
            config.CACHE_DIR = before
        return kept

    return decorate
