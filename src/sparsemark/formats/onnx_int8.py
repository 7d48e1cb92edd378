"""Int8 form of an ONNX file, by ONNX Runtime's static quantiser: QDQ, a scale for each channel of a weight.

The quantiser folds what it can, runs the calibration inputs through the network for the range of each activation, and
puts pairs of QuantizeLinear and DequantizeLinear around the operators that engines compute in integers.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UnsupportedError
from sparsemark.files import replacing
from sparsemark.machine.fingerprint import sums_bytes_exactly
from sparsemark.machine.temporary import temporary_folder
from sparsemark.networks.onnx_model import inputs_of, load_onnx
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sparsemark.networks.reference import Batch

_QUANTISED = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
"""Operators of a network that is quantised already."""


def notes() -> tuple[str, ...]:
    """Return which quantiser made a file, and how many bits the weights have, which the processor decides."""
    named = "int8 by ONNX Runtime's static quantiser (QDQ, per channel)"
    if sums_bytes_exactly():
        return (named,)
    # As ONNX Runtime's documentation says: two products of 8 bits overflow the 16 bits that they are summed in.
    return (named, "int8 weights have 7 bits, since this processor has no VNNI and would saturate")


def weight_limit() -> int:
    """Return the largest magnitude of a weight's integers: 127, or 64 where they have 7 bits."""
    return 127 if sums_bytes_exactly() else 64


def quantise(source: Path, target: Path, batches: Sequence[Batch]) -> None:
    """Write the int8 form of a file; the same file, batches and versions give the same bytes.

    Args:
        source: the ONNX file, in float32.
        target: path of the new file.
        batches: inputs that the ranges of activations are taken from.

    Raises:
        UnsupportedError: nothing in the network can be quantised, or it is already, or the quantiser fails.
    """
    model = load_onnx(source)
    found = next((node.op_type for node in model.graph.node if node.op_type in _QUANTISED), None)
    if found is not None:
        raise UnsupportedError(f"the network is quantised already ({found})")
    with temporary_folder() as folder, _quiet():
        quantised = _quantised(source, inputs_of(model), batches, folder)
    if not any(node.op_type == "DequantizeLinear" for node in quantised.graph.node):
        raise UnsupportedError("onnxruntime.quantization: the network has no operator that it quantises")
    with replacing(target) as path:
        path.write_bytes(quantised.SerializeToString(deterministic=True))


def _quantised(source: Path, names: Sequence[str], batches: Sequence[Batch], folder: Path) -> Any:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc] # it has no types
        """Calibration inputs, one batch at a time."""

        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch by input, None after the last."""
            batch = next(self._left, None)
            return None if batch is None else dict(zip(names, batch, strict=True))

    prepared, quantised = folder / "prepared.onnx", folder / "quantised.onnx"
    try:
        # Shapes are fixed, so the slow symbolic inference would find nothing more.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantised),
            Batches(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=not sums_bytes_exactly(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    except Exception as error:
        raise UnsupportedError(f"onnxruntime.quantization: {one_line(error)[:300]}") from error
    return load_onnx(quantised)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser's advice, which it gives on the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
