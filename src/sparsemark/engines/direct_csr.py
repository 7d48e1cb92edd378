"""Direct sparse convolution: a CSR file run from its non-zeros only, in one native call; see `sparsemark.direct`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.engines.base import Noted
from sparsemark.engines.onnx_runtime import Session
from sparsemark.errors import UnsupportedError
from sparsemark.registry import missing

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.direct.network import Network
    from sparsemark.engines.base import Predict


def code() -> str:
    """Return the digest of the engine's source; invalidates compiled code, tuning and timings."""
    from sparsemark.direct.fingerprint import fingerprint

    return fingerprint()


def load(path: Path, threads: int) -> Predict:
    """Load a CSR file and plan it; errors as in `open_network`."""
    network = open_network(path, threads)
    return Noted(network, network.notes) if network.notes else network


def open_network(path: Path, threads: int) -> Network:
    """Load a CSR file, plan it where its input's shape is fixed, and choose how each layer runs.

    Raises:
        UnsupportedError: naming the operators that cannot be run.
        UserError: the file is missing or damaged.
    """
    from sparsemark.direct.network import Network
    from sparsemark.formats.csr.graph import load_csr

    return Network(load_csr(path), threads, paths.decisions(), open_dense)


def open_dense(model: bytes, threads: int) -> Session:
    """Open an ONNX model in ONNX Runtime: a whole network, or the parts of one that are not lowered.

    Raises:
        UnsupportedError: ONNX Runtime is not installed, or cannot run the model.
    """
    absent = missing(("onnxruntime",))
    if absent:
        raise UnsupportedError(f"direct-csr: dense: {absent}")
    return Session(model, threads)
