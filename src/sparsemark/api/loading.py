"""Load an exported network and call it: what a program deploys.

A CSR file takes NumPy, safetensors and Numba, an ONNX file takes ONNX Runtime. Nothing here imports more, nor what the
other kind of file takes: a program that answers its first image in a fraction of a second has no time for either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import InputError, UnsupportedError, UserError
from sparsemark.references import ONNX_SUFFIX
from sparsemark.registry import missing

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from sparsemark.engines.base import Predict
    from sparsemark.engines.onnx_runtime import Session
    from sparsemark.formats.csr.graph import Graph

_CSR_SUFFIX = ".csr"

_DIRECT, _DENSE = "direct-csr", "onnxruntime"

_DTYPES = {"float": "float32", "double": "float64"}
"""NumPy's names of dtypes, where ONNX Runtime has others."""


@dataclass(frozen=True)
class Input:
    """One input that a network takes.

    Args:
        name: in the file.
        shape: sizes, None for each that may be any; None where the file leaves all of them open.
        dtype: as NumPy names it.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str = "float32"

    def check(self, array: NDArray[Any], called: str) -> None:
        """Raise InputError where an array does not fit; `called` names the input in its message."""
        if array.dtype != self.dtype:
            raise InputError(f"{called} has dtype {array.dtype}, expected {self.dtype}")
        if self.shape is None:
            return
        fits = len(array.shape) == len(self.shape) and all(
            size in (None, found) for size, found in zip(self.shape, array.shape, strict=True)
        )
        if not fits:
            raise InputError(f"{called} has shape {array.shape}, expected {_in_words(self.shape)}")


class Loaded:
    """A network that is ready to run: arrays in, a tuple of all its outputs out.

    Safe to call from several threads, which run at the same time, and in processes forked from the one that loaded it.

    Args:
        path: of the file.
        engine: that runs it, `direct-csr` or `onnxruntime`.
        run: does one call; checks nothing.
        threads: that share one call.
        inputs: in the order in which they are given.
        outputs: names, in the order of the result.
    """

    def __init__(
        self, path: Path, engine: str, run: Predict, *, threads: int, inputs: Sequence[Input], outputs: Sequence[str]
    ) -> None:
        self.path, self.engine, self.threads = path, engine, threads
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self._run = run

    def __call__(self, *inputs: ArrayLike) -> tuple[NDArray[Any], ...]:
        """Run a batch.

        Args:
            inputs: an array of each input, the batch first. CSR files take float32.

        Returns:
            Every output of the network, each with the batch first. The arrays are the caller's to keep.

        Raises:
            InputError: another number of inputs than the network has, or one of another shape or dtype; a `ValueError`.
            UnsupportedError: an input or an intermediate sum is infinite or NaN, which takes ONNX Runtime, and that is
                not installed; or the file leaves its sizes open and cannot run these.
        """
        if len(inputs) != len(self.inputs):
            raise InputError(f"{len(inputs)} inputs, expected {len(self.inputs)}")
        arrays = [np.asarray(one) for one in inputs]
        for array, wanted in zip(arrays, self.inputs, strict=True):
            wanted.check(array, "input" if len(arrays) == 1 else f"input {wanted.name}")
        return self._run(*arrays)

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        """Shape of the first input; None for each size that may be any, and where the file leaves all of them open."""
        return self.inputs[0].shape

    def __repr__(self) -> str:
        takes = ", ".join("any shape" if one.shape is None else _in_words(one.shape) for one in self.inputs)
        return f"<{self.path.name}: {takes} -> {', '.join(self.outputs)}; {self.engine}, threads={self.threads}>"


def load(path: str | os.PathLike[str], threads: int = 1) -> Loaded:
    """Load an exported network.

    The first time that a CSR file is loaded on a machine, its layers are timed in all the ways they can be run, which
    takes seconds; the choice is kept in the user's cache, for all files with the same layers.

    Args:
        path: a `.csr` or `.onnx` file.
        threads: that share one call. Calls from several threads of the caller's run side by side with 1.

    Returns:
        A callable: `(logits,) = network(images)`.

    Raises:
        UserError: the file is missing, damaged or of another format, or what its engine needs is not installed.
        UnsupportedError: it takes ONNX Runtime, which is not installed, or which cannot run it either.
    """
    path = Path(path)
    if threads < 1:
        raise UserError(f"threads {threads}: expected a whole number from 1")
    if path.suffix not in (_CSR_SUFFIX, ONNX_SUFFIX):
        raise UserError(f"{path}: expected a {_CSR_SUFFIX} or {ONNX_SUFFIX} file")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return _csr(path, threads) if path.suffix == _CSR_SUFFIX else _onnx(path, threads)
    except UnsupportedError as error:
        raise UnsupportedError(f"{path}: {error}") from error


def _csr(path: Path, threads: int) -> Loaded:
    absent = missing(("numba",))
    if absent:
        raise UserError(f"{path}: {absent}, and {_DIRECT} needs it: pip install numba")
    from sparsemark.engines.direct_csr import network_of
    from sparsemark.formats.csr.graph import load_csr

    graph = load_csr(path)
    shape = None if graph.input_shape is None else (None, *graph.input_shape[1:])
    inputs = [Input(name, shape) for name in graph.inputs]
    try:
        network = network_of(graph, threads)
    except UnsupportedError as error:
        return Loaded(
            path,
            _DENSE,
            _dense(graph, threads, str(error)),
            threads=threads,
            inputs=inputs,
            outputs=graph.outputs,
        )
    if not network.is_finite:
        _check_dense("a weight is infinite or NaN")
    dense = graph.input_shape is not None and network.plan((1, *graph.input_shape[1:])).decision.dense
    engine = _DENSE if dense or not network.is_finite else _DIRECT
    return Loaded(path, engine, network, threads=threads, inputs=inputs, outputs=graph.outputs)


def _dense(graph: Graph, threads: int, reason: str) -> Predict:
    """Return what runs a graph that `direct-csr` refuses, zeros among its weights."""
    from sparsemark.formats.csr.densified import densified

    _check_dense(reason)
    return _open_dense(densified(graph), threads)


def _open_dense(model: bytes, threads: int) -> Session:
    from sparsemark.engines.direct_csr import open_dense

    return open_dense(model, threads)


def _check_dense(reason: str) -> None:
    absent = missing(("onnxruntime", "onnx"))
    if absent and absent in reason:
        raise UnsupportedError(reason)
    if absent:
        raise UnsupportedError(f"{reason}; so ONNX Runtime has to run it, and {absent}: pip install onnxruntime onnx")


def _onnx(path: Path, threads: int) -> Loaded:
    absent = missing(("onnxruntime",))
    if absent:
        raise UserError(f"{path}: {absent}: pip install onnxruntime")
    from sparsemark.engines.onnx_runtime import Session

    run = Session(path, threads)
    inputs = [Input(one.name, _shape(one.shape), _dtype(one.type)) for one in run.opened.get_inputs()]
    outputs = [one.name for one in run.opened.get_outputs()]
    return Loaded(path, _DENSE, run, threads=threads, inputs=inputs, outputs=outputs)


def _shape(sizes: Sequence[int | str | None]) -> tuple[int | None, ...] | None:
    """Return sizes with None for those that are open; a scalar, which has none, is what an unknown rank looks like."""
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in sizes) or None


def _dtype(kind: str) -> str:
    """Return NumPy's name of a type such as `tensor(float)`."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(name, name)


def _in_words(shape: Sequence[int | None]) -> str:
    """Write a shape as Python writes tuples: `N` for an open batch, `any` for another open size."""
    first, *rest = ("any" if size is None else str(size) for size in shape)
    return f"({', '.join(['N' if shape[0] is None else first, *rest])}{'' if rest else ','})"
