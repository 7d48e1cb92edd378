"""Import path of a fresh process that runs sparsemark's own code and none of a user's."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

_OWN = Path(__file__).parents[2]


def variables() -> dict[str, str]:
    """Return this process's environment with the folders of its import path that hold what is installed.

    Left out are those that a script, a notebook or a network's file brought: a `coverage.py` there would be taken for
    the package that Numba asks for.
    """
    every = dict.fromkeys([*(Path(entry) for entry in sys.path if entry), _OWN])
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(one) for one in every if _is_installed(one))}


def _is_installed(folder: Path) -> bool:
    """Return whether a folder is of Python's own library, of installed packages, or sparsemark's."""
    standard = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platstdlib"))
    if folder == _OWN or any(one in (folder, folder.parent) for one in standard):
        return True
    return folder.is_dir() and (any(folder.glob("*.dist-info")) or any(folder.glob("*.egg-info")))
