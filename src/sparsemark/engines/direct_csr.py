"""Run a CSR file by direct sparse convolution: its non-zeros only, in one native call; see `sparsemark.direct`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.engines.base import Predict


def code() -> str:
    """Name the engine's code."""
    from sparsemark.direct.sources import digest

    return digest()


def load(path: Path, threads: int) -> Predict:
    """Load a CSR file, plan it, and choose how each layer runs.

    Raises:
        UnsupportedError: naming the operator that cannot be run.
        UserError: the file is missing or damaged.
    """
    from sparsemark import paths
    from sparsemark.direct.network import Network
    from sparsemark.formats.csr.graph import load_csr

    return Network(load_csr(path), threads, paths.decisions())
