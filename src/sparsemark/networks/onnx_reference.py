"""Float64 outputs of an ONNX file: ONNX's reference evaluator on a model whose floats are all widened.

The evaluator computes in the types that it is given. Its slow operators, and those that are wrong or absent for older
files, are replaced by ours (`evaluation`); values are dropped after their last use.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import NoFloat64Error, UnsupportedError, UserError
from sparsemark.networks.evaluation.widening import widen
from sparsemark.networks.onnx_model import inlined, inputs_of, load_onnx, modernised, opset_of
from sparsemark.references import root_cause

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.networks.evaluation.rounding import Rounding

    Array = NDArray[Any]

_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")

_NEWEST = 21
"""Version to convert to where the evaluator lacks an operator of the file's own."""


class OnnxInFloat64:
    """An ONNX file in float64.

    Args:
        path: the file.
        rounding: of what each operator computes to float32, to see what that alone costs; None for none.

    Raises:
        NoFloat64Error: the evaluator cannot run the file; with the operator and the reason.
        UserError: as `load_onnx`.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, *, rounding: Rounding | None = None) -> None:
        self._names = inputs_of(load_onnx(path))
        with _named_reason(), _one_thread():
            self._evaluator, self._constants = _prepared(path)
        self._evaluator.rounding = rounding

    def __call__(self, batch: Sequence[Array]) -> list[Array]:
        """Return the outputs in the order of the file.

        Args:
            batch: arrays in the order of the file's inputs; floats are widened, integers stay.

        Raises:
            NoFloat64Error: as above.
        """
        with _named_reason(), _one_thread():
            feed = dict(zip(self._names, map(_wide, batch), strict=True))
            answers: list[Array] = self._evaluator.answer(self._constants, feed)
            return answers


@contextmanager
def _named_reason() -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except UnsupportedError as error:
        raise NoFloat64Error(f"onnx: {error}") from error
    except Exception as error:
        raise NoFloat64Error(f"onnx: {root_cause(error)}") from error


def _wide(array: Array) -> Array:
    floating = array.dtype.kind == "f" or "float" in array.dtype.name
    return array.astype(np.float64) if floating else array


def _prepared(path: Path) -> tuple[Any, dict[str, Array]]:
    """Return an evaluator and the model's constants in float64."""
    model = inlined(load_onnx(path))
    drawn = next((node.op_type for node in model.graph.node if node.op_type in _RANDOM and not node.domain), None)
    if drawn is not None:
        raise UnsupportedError(f"{drawn}: draws at random")
    try:
        constants = widen(model)
        return _evaluator(model), constants
    except Exception as error:
        # Read again rather than copied beforehand: few files come here, and they can be large.
        original = inlined(load_onnx(path))
        if opset_of(original) >= _NEWEST:
            raise
        try:
            newer = modernised(original, _NEWEST, _NEWEST)
        except UnsupportedError:
            raise error from None  # what is absent, not why nothing newer helps
        constants = widen(newer)
        return _evaluator(newer), constants


def _evaluator(model: Any) -> Any:
    from sparsemark.networks.evaluation.evaluator import Evaluator

    return Evaluator(model)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: on a busy machine several wait for each other."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"), torch.inference_mode(), np.errstate(all="ignore"):
            yield
    finally:
        torch.set_num_threads(threads)
