"""Peak memory of a process that loads an artifact and runs one image: `python -m bench.peak_memory ENGINE FILE SIZES`.

`load` in place of an engine is `sparsemark.load`, as a program deploys it. One process per engine, since the peak of a
process covers everything it ever did.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.engines.base import Predict

_STATUS = Path("/proc/self/status")
SUPPORTED = _STATUS.exists()
"""Elsewhere than on Linux the peak of a process counts that of the one it came from."""

_DEPLOYED = "load"
"""Name that stands for `sparsemark.load` among those of engines."""


def peak_memory(engine: str, artifact: Path, shape: Sequence[int]) -> int:
    """Measure an engine in a fresh process, in bytes; CalledProcessError where it fails there."""
    command = [sys.executable, "-m", __spec__.name, engine, str(artifact), *map(str, shape)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own module
    return int(ended.stdout)


def _load(engine: str, artifact: Path) -> Predict:
    if engine == _DEPLOYED:
        import sparsemark

        return sparsemark.load(artifact)
    from sparsemark.engines import ENGINES

    return ENGINES[engine].load(artifact, 1)


def _main(engine: str, artifact: str, *sizes: str) -> None:
    _load(engine, Path(artifact))(np.ones([int(size) for size in sizes], np.float32))
    (kilobytes,) = re.findall(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    print(1024 * int(kilobytes))  # noqa: T201 - what the caller reads


if __name__ == "__main__":
    _main(*sys.argv[1:])
