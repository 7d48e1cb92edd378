"""Engines: the runtimes that run an artifact.

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
from sparsemark.engines.base import Engine, Look, Predict
from sparsemark.errors import UnsupportedError
from sparsemark.machine.at_work import at_work
from sparsemark.registry import find, why_not
from sparsemark.specs import INT8, PRECISIONS

if TYPE_CHECKING:
    from sparsemark.formats.base import Artifact

# In the order of legends: the usual reference first. Colours by Okabe and Ito, one by Tol: the colour-blind tell them
# apart. None is grey, which stands for what is not among the best of many; markers and dashes tell them apart in grey.
ENGINES: dict[str, Engine] = {
    "onnxruntime": Engine(
        ("onnx",),
        onnx_runtime.load,
        requires=("onnxruntime",),
        label="ONNX Runtime",
        look=Look("#0072B2", "o", "-"),
        precisions=PRECISIONS,
        code=onnx_runtime.code,
    ),
    "torch": Engine(
        ("dense",), torch_eager.load, requires=("torch",), label="PyTorch", look=Look("#D55E00", "s", "--")
    ),
    "torch-compile": Engine(
        ("dense",), torch_compile.load, requires=("torch",), label="torch.compile", look=Look("#E69F00", "P", "-.")
    ),
    "ncnn": Engine(
        ("dense",),
        ncnn_net.load,
        requires=("ncnn", "pnnx"),
        look=Look("#009E73", "^", "-."),
        lacking={INT8: "its Python packages bring no quantiser (ncnn2table and ncnn2int8)"},
    ),
    "openvino": Engine(
        ("onnx",),
        open_vino.load,
        requires=("openvino",),
        label="OpenVINO",
        look=Look("#56B4E9", "v", "--"),
        precisions=PRECISIONS,
    ),
    "direct-csr": Engine(
        ("csr",),
        direct_csr.load,
        requires=("numba",),
        label="direct CSR",
        look=Look("#000000", "D", "-"),
        precisions=PRECISIONS,
        sparse=True,
        code=direct_csr.code,
    ),
    "torch-csr": Engine(
        ("csr",),
        torch_csr.load,
        requires=("torch",),
        label="torch CSR",
        look=Look("#CC79A7", "X", ":"),
        sparse=True,
    ),
    "scipy-csr": Engine(
        ("csr",),
        scipy_csr.load,
        requires=("scipy", "torch"),
        label="scipy CSR",
        look=Look("#8C6D31", "d", ":"),
        sparse=True,
    ),
    "deepsparse": Engine(
        ("onnx",),
        deep_sparse.load,
        requires=("onnx",),
        label="DeepSparse",
        look=Look("#AA4499", "*", "--"),
        sparse=True,
        barred=deep_sparse.not_opted_in,
    ),
}


def check_precision(name: str, precision: str) -> None:
    """Check that an engine computes in a precision here.

    Raises:
        UserError: the engine is not known.
        UnsupportedError: it does not; names those that do.
    """
    engine = find(name, ENGINES, "engine")
    if precision not in engine.precisions:
        others = [one.label or other for other, one in ENGINES.items() if precision in one.precisions]
        why = engine.lacking.get(precision, f"it computes in {', '.join(engine.precisions)} here")
        raise UnsupportedError(f"{name}: no {precision}: {why}; {precision} runs in {', '.join(others)}")


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
    with at_work(f"loading into {name}"):
        return engine.load(artifact.path, threads)
