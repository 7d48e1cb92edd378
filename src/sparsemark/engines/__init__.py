"""What runs an artifact.

A new engine is one file and one line in `ENGINES`; nothing heavy is imported before it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.engines import (
    deep_sparse,
    direct_csr,
    ncnn_net,
    onnx_runtime,
    open_vino,
    scipy_csr,
    torch_compile,
    torch_csr,
    torch_eager,
)
from sparsemark.engines.base import Engine, Predict
from sparsemark.errors import UnsupportedError
from sparsemark.registry import find, why_not

if TYPE_CHECKING:
    from sparsemark.formats.base import Artifact

ENGINES: dict[str, Engine] = {
    "torch": Engine("dense", torch_eager.load, requires=("torch",)),
    "torch-compile": Engine("dense", torch_compile.load, requires=("torch",)),
    "torch-csr": Engine("csr", torch_csr.load, requires=("torch",), sparse=True),
    "scipy-csr": Engine("csr", scipy_csr.load, requires=("scipy", "torch"), sparse=True),
    "direct-csr": Engine("csr", direct_csr.load, requires=("numba",), sparse=True, code=direct_csr.code),
    "onnxruntime": Engine("onnx", onnx_runtime.load, requires=("onnxruntime",)),
    "openvino": Engine("onnx", open_vino.load, requires=("openvino",)),
    "ncnn": Engine("dense", ncnn_net.load, requires=("ncnn", "pnnx")),
    "deepsparse": Engine("onnx", deep_sparse.load, requires=("onnx",), sparse=True, barred=deep_sparse.not_opted_in),
}


def load(artifact: Artifact, name: str, threads: int) -> Predict:
    """Load an artifact into an engine.

    Raises:
        UserError: the engine is not known.
        UnsupportedError: it is not installed, or does not know an operator of this network.
    """
    engine = find(name, ENGINES, "engine")
    absent = why_not(engine)
    if absent:
        raise UnsupportedError(absent)
    return engine.load(artifact.path, threads)
