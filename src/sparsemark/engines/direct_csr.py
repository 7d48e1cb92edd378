"""Direct sparse convolution: a CSR file run from its non-zeros only, in one native call; see `sparsemark.direct`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.engines import onnx_runtime
from sparsemark.engines.base import Noted
from sparsemark.engines.onnx_runtime import Session
from sparsemark.errors import UnsupportedError
from sparsemark.files import key_of
from sparsemark.registry import missing

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.direct.network import Network
    from sparsemark.engines.base import Predict
    from sparsemark.formats.csr.graph import Graph


def code() -> str:
    """Return the digest of the engine's source, and of how ONNX Runtime runs its dense parts; invalidates timings."""
    from sparsemark.direct.fingerprint import fingerprint

    return key_of(fingerprint(), onnx_runtime.code())


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
    from sparsemark.formats.csr.graph import load_csr

    return network_of(load_csr(path), threads)


def network_of(graph: Graph, threads: int) -> Network:
    """Plan a file's network, decisions kept in the user's cache; errors as in `Network`."""
    from sparsemark.direct.network import Network

    return Network(graph, threads, paths.decisions(), open_dense, dense_code=onnx_runtime.code())


def open_dense(model: bytes, threads: int) -> Session:
    """Open an ONNX model in ONNX Runtime: a whole network, or the parts of one that are not lowered.

    Raises:
        UnsupportedError: ONNX Runtime is not installed, or cannot run the model.
    """
    absent = missing(("onnxruntime",))
    if absent:
        raise UnsupportedError(f"direct-csr: dense: {absent}")
    return Session(model, threads)
