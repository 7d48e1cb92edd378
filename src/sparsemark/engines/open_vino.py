"""OpenVINO on the CPU, held to float32: left alone it computes in bfloat16 where the processor can."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UnsupportedError
from sparsemark.references import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict


def load(path: Path, threads: int) -> Predict:
    """Compile an ONNX file; errors as in `compile_model`."""
    compiled = compile_model(path, threads)
    requests = threading.local()  # one request answers one caller at a time

    def predict(*inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        # The inputs are not copied. The outputs are: the request overwrites them in the next call.
        return tuple(requests.own.infer(list(inputs), share_inputs=True, share_outputs=False).to_tuple())

    return predict


def compile_model(path: Path, threads: int) -> Any:
    """Return an `openvino.CompiledModel` for one call at a time, on `threads` threads.

    Raises:
        UnsupportedError: OpenVINO cannot run the network; its own message.
    """
    # Importing it is reported to its makers, unless the package that does so is absent.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: cannot be imported
    import openvino

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # The harness chooses the processors; the plugin's own choice would undo that.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        core = openvino.Core()
        return core.compile_model(core.read_model(path), "CPU", options)
    except Exception as error:
        raise UnsupportedError(f"openvino: {one_line(error)[:300]}") from error
