"""Versions of installed packages, for keys that are computed whenever a network is loaded."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress


def installed_version(name: str) -> str | None:
    """Return the version of an installed package, or None where there is none.

    Wheels are installed beside a folder whose name says it. What has none is looked up by importlib.metadata, which
    takes 20 ms and 2 MB to import.
    """
    start, end = f"{re.sub(r'[-_.]+', '_', name)}-", ".dist-info"
    for folder in sys.path:
        with suppress(OSError):  # no folder, such as Python's own archive
            for found in os.listdir(folder or "."):  # noqa: PTH208 - a third of the time
                if found.startswith(start) and found.endswith(end):
                    return found.removeprefix(start).removesuffix(end)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
