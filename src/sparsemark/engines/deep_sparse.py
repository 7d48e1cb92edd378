"""DeepSparse 1.8 in a separate process, for those who opt in.

DeepSparse is closed, abandoned and licensed for evaluation only, and needs Python 3.11 with an old NumPy and ONNX. So
it is never a dependency: users name an environment that has it, and state that they accept its licence.

Images and outputs lie in shared memory, and a byte through a pipe asks for each call. The latency includes that: a call
that computes nothing takes some tens of microseconds with an image of 200 kB, copies included.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UnsupportedError
from sparsemark.machine.placement import pinned
from sparsemark.machine.temporary import temporary_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict

PYTHON = "SPARSEMARK_DEEPSPARSE_PYTHON"
LICENCE = "SPARSEMARK_DEEPSPARSE_LICENCE"
"""Environment variables that opt in."""

_VERSION = "1.8.0"
_OPSET, _IR = 17, 8
"""Newest versions that it runs itself: in later opsets axes are operands, and it leaves the network to ONNX Runtime."""

_SILENT = {"NM_DISABLE_ANALYTICS": "True", "ORT_DISABLE_TELEMETRY": "1"}
"""Settings against the usage reports of DeepSparse and of the ONNX Runtime inside it."""

_PATIENCE = 5.0
"""Seconds after which a process that was asked to end is killed."""


def not_opted_in() -> str | None:
    """Return what the user must do before this engine can be used, or None."""
    if sys.platform != "linux":
        return "deepsparse: runs on Linux only"
    python = os.environ.get(PYTHON)
    if not python:
        return (
            f"deepsparse: opt-in: set {PYTHON} to the Python 3.11 of an environment with deepsparse=={_VERSION}, and "
            f"{LICENCE}=accepted once you have read its licence, which is for evaluation only"
        )
    if not shutil.which(python):
        return f"deepsparse: {PYTHON} names no program"
    if os.environ.get(LICENCE) != "accepted":
        return (
            f"deepsparse: opt-in: set {LICENCE}=accepted once you have read its licence, which is for evaluation only"
        )
    return None


def load(path: Path, threads: int) -> Predict:
    """Start a process with an ONNX file, lowered to what DeepSparse knows.

    Raises:
        UnsupportedError: the user has not opted in, or DeepSparse cannot load the network or runs no operator of it.
    """
    reason = not_opted_in()
    if reason:
        raise UnsupportedError(reason)
    model, shape = _lowered(path)
    with temporary_folder() as folder:
        lowered = folder / "network.onnx"
        lowered.write_bytes(model)
        return _Child(lowered, threads, shape)


class _Child:
    """Process that runs one network; it ends with this object, or with the process that holds it."""

    def __init__(self, path: Path, threads: int, shape: tuple[int, ...]) -> None:
        memory = os.memfd_create("sparsemark")
        command = [os.environ[PYTHON], "-P", str(Path(__file__).with_name("deep_sparse_worker.py"))]
        try:
            # It inherits the processors on which its caller will be timed.
            with pinned(threads):
                process = subprocess.Popen(  # noqa: S603 - the user's own interpreter
                    [*command, str(path), str(threads), str(memory), json.dumps(shape)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                    pass_fds=(memory,),
                    env=os.environ | _SILENT,
                )
            weakref.finalize(self, _end, process)
            loaded = _loaded(process)
            shared = mmap.mmap(memory, loaded["bytes"])
        finally:
            os.close(memory)
        self._lock = threading.Lock()
        self._asks, self._answers = (pipe.fileno() for pipe in (process.stdin, process.stdout) if pipe)
        self._input = _view(shared, "<f4", shape, 0)
        self._outputs = [_view(shared, *output) for output in loaded["outputs"]]

    def __call__(self, image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        if image.shape != self._input.shape:
            raise ValueError(f"deepsparse: the image has shape {image.shape}, expected {self._input.shape}")
        with self._lock:
            np.copyto(self._input, image)
            os.write(self._asks, b".")
            if not os.read(self._answers, 1):
                raise RuntimeError("deepsparse: its process has ended")
            return tuple(output.copy() for output in self._outputs)


def _view(shared: mmap.mmap, dtype: str, shape: tuple[int, ...], start: int) -> NDArray[Any]:
    return np.ndarray(shape, dtype, shared, start)


def _loaded(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait until the network is loaded and return the process's description of it."""
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        raise UnsupportedError(f"deepsparse: its process ended with {process.wait()} before it answered")
    loaded: dict[str, Any] = json.loads(line)
    if "error" in loaded:
        raise UnsupportedError(f"deepsparse: {' '.join(loaded['error'].split())[:300]}")
    if loaded["version"] != _VERSION:
        raise UnsupportedError(f"deepsparse: {PYTHON} has version {loaded['version']}, expected {_VERSION}")
    if not loaded["supported"]:
        # DeepSparse would silently leave the network to the ONNX Runtime inside it.
        raise UnsupportedError("deepsparse: it runs no operator of this network itself")
    return loaded


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _lowered(path: Path) -> tuple[bytes, tuple[int, ...]]:
    """Lower an ONNX file's network to an older opset and return it with the shape of its input."""
    from onnx import version_converter

    from sparsemark.networks.onnx_model import inputs_of, load_onnx

    model = load_onnx(path)
    inputs = inputs_of(model)
    if len(inputs) != 1:
        raise UnsupportedError(f"deepsparse: the network has {len(inputs)} inputs, expected one")
    (value,) = (value for value in model.graph.input if value.name == inputs[0])
    shape = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
    if not shape or 0 in shape[1:]:
        raise UnsupportedError(f"deepsparse: the input has shape {shape}, expected fixed sizes")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset > _OPSET:
        try:
            model = version_converter.convert_version(model, _OPSET)
        except Exception as error:
            cause = str(error).rpartition("failed: ")[2].strip()
            raise UnsupportedError(f"deepsparse: lowering opset {opset} to {_OPSET}: {cause}") from error
        for node in model.graph.node:
            # The converter leaves this attribute of the later opset behind.
            kept = [attribute for attribute in node.attribute if attribute.name != "noop_with_empty_axes"]
            del node.attribute[:]
            node.attribute.extend(kept)
    model.ir_version = min(model.ir_version, _IR)
    return model.SerializeToString(), (shape[0] or 1, *shape[1:])
