"""What an engine is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

Predict = Callable[[NDArray[np.float32]], tuple[NDArray[Any], ...]]
"""One call: an input batch in, every output of the network out, all as arrays in main memory."""


@dataclass(frozen=True)
class Engine:
    """Something that runs an artifact.

    Args:
        format: of the artifacts it reads, a name in `FORMATS`.
        load: path and number of threads to a `Predict`; raises UnsupportedError naming the operator it does not know.
        requires: modules without which it cannot run; the first one's version is the engine's.
        sparse: whether it is there for the sake of zeros, so that a dense network without any says little about it.
        code: names the code of an engine that comes with sparsemark, so that nothing timed with other code is taken for
            its own; empty where a version says as much.
        barred: says what else keeps it from being used, such as a licence that must be accepted, or None.
    """

    format: str
    load: Callable[[Path, int], Predict]
    requires: tuple[str, ...]
    sparse: bool = False
    code: Callable[[], str] = str
    barred: Callable[[], str | None] = lambda: None
