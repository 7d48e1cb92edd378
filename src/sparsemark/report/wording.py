"""How numbers and names are written, in every format alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_structural
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement

ABSENT = "-"

_ENGINE_NAMES = {
    "torch": "PyTorch",
    "torch-compile": "torch.compile",
    "torch-csr": "torch CSR",
    "scipy-csr": "scipy CSR",
    "direct-csr": "direct CSR",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "deepsparse": "DeepSparse",
}

_PHANTOM = "PHANTOM"
_LEAKY = "LEAKY"
"""What `accuracy_source` and `agreement_source` hold where the images were drawn and are of no patient."""


def engine_name(engine: str | None) -> str:
    """Write an engine as its makers do; names of other packages stay as they are."""
    return _ENGINE_NAMES.get(engine, engine) if engine else ABSENT


def milliseconds(value: float | None) -> str:
    """Write three significant digits: 14.9, 2.81, 0.0412."""
    if value is None:
        return ABSENT
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 4  # noqa: PLR2004 - powers of ten
    return f"{value:.{decimals}f}"


def ratio(interval: Interval) -> str:
    """Write `2.91x [2.74, 3.02]`; below 1.1 with a third decimal, or the interval would vanish in the rounding."""
    decimals = 3 if interval.high < 1.1 else 2  # noqa: PLR2004 - as said above
    return f"{interval.estimate:.{decimals}f}x [{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def percent(fraction: float | None, decimals: int = 0) -> str:
    """Write a fraction as `90 %`."""
    return ABSENT if fraction is None else f"{100 * fraction:.{decimals}f} %"


def size(count: int | None) -> str:
    """Write bytes in decimal units: `850 B`, `12 kB`, `3.4 MB`."""
    if count is None:
        return ABSENT
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def pruned(measurement: Measurement) -> str:
    """Write what was asked for: `dense`, `magnitude 90 %`, `channels 50 % (x16)` where channels come in sixteens."""
    if measurement.method is None:
        return ABSENT
    if measurement.method == DENSE:
        return "dense"
    asked = f" {percent(measurement.sparsity_target)}" if measurement.sparsity_target else ""
    rounding = multiple_of(measurement.round_to or 1) if is_structural(measurement) else ""
    return f"{measurement.method}{asked}{rounding}"


def multiple_of(count: int) -> str:
    """Write ` (x16)` behind channels that come in sixteens, nothing behind those that come as they are."""
    return f" (x{count})" if count > 1 else ""


def is_phantom(source: str | None) -> bool:
    """Tell whether a number comes from images of no patient."""
    return source is not None and _PHANTOM in source.upper()


def caveat(source: str | None) -> str:
    """Say in a word what keeps an accuracy from being one on new patients; empty where nothing does."""
    if is_phantom(source):
        return _PHANTOM
    return _LEAKY if source is not None and _LEAKY in source.upper() else ""


def accuracy(measurement: Measurement, dense: float | None) -> str:
    """Write `90.8 (-0.4)` in percent and points against dense; numbers of phantom images say so in the same breath."""
    if measurement.accuracy is None:
        return ABSENT
    points = 100 * (measurement.accuracy - dense) if dense is not None and measurement.method != DENSE else None
    delta = "" if points is None else f" ({points:+.1f})"
    return f"{100 * measurement.accuracy:.1f}{delta} {caveat(measurement.accuracy_source)}".rstrip()
