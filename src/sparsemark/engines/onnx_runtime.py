"""ONNX Runtime on the CPU, at the faster optimisation level: the dense engine that most people deploy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.engines.base import Noted
from sparsemark.engines.onnx_levels import ALL, level_for
from sparsemark.errors import UnsupportedError
from sparsemark.files import content_hash, key_of
from sparsemark.machine.forks import renewed_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict
    from sparsemark.engines.onnx_levels import Level

    Arrays = Mapping[str, NDArray[Any]]


def load(path: Path, threads: int) -> Predict:
    """Load an ONNX file at the level that is faster for it here; errors as in `open_session`."""
    level = faster_level(path, threads)
    predict = wrap(open_session(path, threads, level=level.name))
    return Noted(predict, level.notes) if level.notes else predict


def faster_level(model: Path | bytes, threads: int) -> Level:
    """Return the level at which a file, or its content, is faster here; errors as in `open_session`."""
    return level_for(model, threads, lambda name: open_session(model, threads, level=name))


def code() -> str:
    """Return the digest of how sessions are opened; invalidates timings."""
    return key_of([content_hash(Path(__file__).with_name(name)) for name in ("onnx_runtime.py", "onnx_levels.py")])


def wrap(session: Any) -> Predict:
    """Return a `Predict` that runs an `onnxruntime.InferenceSession`."""
    names = [value.name for value in session.get_inputs()]

    def predict(*inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        return tuple(session.run(None, dict(zip(names, inputs, strict=True))))

    return predict


class Session:
    """A `Predict` of an ONNX model, at its faster level, that processes forked from the one that opened it may call.

    Args:
        model: file, or its content.
        threads: of the pool, of which a fork takes none along: with several, the child opens the model anew.

    Raises:
        UnsupportedError: as `open_session`.
    """

    def __init__(self, model: Path | bytes, threads: int) -> None:
        self._model, self._threads, self._level = model, threads, faster_level(model, threads).name
        # Kept in a child: closing a session waits for its threads.
        self._left_behind: list[Any] = []
        self._predict: Predict | None = None
        self._open()
        renewed_after_fork(self)

    def _open(self) -> Predict:
        self.opened = open_session(self._model, self._threads, level=self._level)
        self._predict = predict = wrap(self.opened)
        return predict

    def renew(self) -> None:
        """Have the model opened anew at the next call, in a process whose parent had a pool."""
        if self._threads > 1:
            self._left_behind.append(self.opened)
            self._predict = None

    def __call__(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Run a batch; every output."""
        # Two threads that come first together both open it, which costs less than a lock that a fork may leave locked.
        return (self._predict or self._open())(*inputs)

    def bind(self, inputs: Arrays, outputs: Arrays) -> Callable[[Arrays], Arrays]:
        """Return a call that reads some inputs from arrays, and writes some outputs to arrays, where these lie.

        Args:
            inputs: by name, contiguous; they must stay where they are.
            outputs: the same.

        Returns:
            A call of the other inputs, by name; the other outputs.
        """
        bound: list[tuple[Any, Any]] = []

        def call(others: Arrays) -> Arrays:
            if self._predict is None:
                self._open()
            if not bound or bound[-1][0] is not self.opened:
                bound.append((self.opened, _binding(self.opened, inputs, outputs)))
            session, binding = bound[-1]
            for name, array in others.items():
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
            left = [value.name for value in session.get_outputs() if value.name not in outputs]
            for name in left:
                binding.bind_output(name)  # anew: memory of the last call is the caller's
            session.run_with_iobinding(binding)
            # In the order in which they were bound, which is not that of the model.
            made = dict(zip((*outputs, *left), binding.get_outputs(), strict=True))
            return {name: made[name].numpy() for name in left}

        return call


def _binding(session: Any, inputs: Arrays, outputs: Arrays) -> Any:
    binding = session.io_binding()
    for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
        for name, array in arrays.items():
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    return binding


def open_session(
    model: Path | bytes, threads: int, *, level: str = ALL, trace: Path | None = None, optimised: Path | None = None
) -> Any:
    """Open an `onnxruntime.InferenceSession` of a file, or of its content, on `threads` threads that do not spin.

    A spinning pool burns the core that the next cell is timed on.

    Args:
        model: path or content.
        threads: that share a call.
        level: of graph optimisation.
        trace: prefix of the file that the profiler writes; None profiles nothing.
        optimised: where the optimised graph is written; None keeps it inside.

    Raises:
        UnsupportedError: ONNX Runtime cannot run the network; its own message.
    """
    # Else it writes an identifier to the user's cache and reports its use from another thread.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if trace is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(trace)
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise UnsupportedError(f"onnxruntime: {' '.join(str(error).split())}") from error
