"""Operators of ONNX that gather, scatter and resample, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from onnx.reference.ops.op_resize import Resize as _Resize

from sparsemark.networks.evaluation.base import Standard

if TYPE_CHECKING:
    from onnx.reference.op_run import OpRun


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Einsum(Standard):
    """Sum of products, in the order that costs least."""

    def _run(self, *operands: Array, equation: str) -> tuple[Array]:
        return (np.asarray(np.einsum(equation, *operands, optimize=True)),)


class GatherElements(Standard):
    """Elements by place along an axis."""

    def _run(self, data: Array, places: Array, axis: int | None = None) -> tuple[Array]:
        along = axis or 0
        wrapped = np.where(places < 0, places + data.shape[along], places)
        return (_torch(data).gather(along, _torch(wrapped)).numpy(),)


class ScatterElements(Standard):
    """Elements put in place along an axis."""

    def _run(
        self, data: Array, places: Array, updates: Array, axis: int | None = None, reduction: str | None = None
    ) -> tuple[Array]:
        along = axis or 0
        index = _torch(np.where(places < 0, places + data.shape[along], places))
        if reduction in (None, "", "none"):
            return (_torch(data).scatter(along, index, _torch(updates)).numpy(),)
        named = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[str(reduction)]
        return (_torch(data).scatter_reduce(along, index, _torch(updates), named).numpy(),)


class Scatter(ScatterElements):
    """Name of ScatterElements before version 11."""


def _torch(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.require(array, None, ["C", "W"]))


class GridSample(Standard):
    """Samples at places of a grid."""

    def _run(
        self,
        x: Array,
        grid: Array,
        *,
        mode: str | None = None,
        padding_mode: str | None = None,
        align_corners: int | None = None,
    ) -> tuple[Array]:
        named = {"linear": "bilinear", "cubic": "bicubic"}.get(str(mode), mode or "bilinear")
        sampled = F.grid_sample(_torch(x), _torch(grid), named, padding_mode or "zeros", bool(align_corners))
        return (sampled.numpy(),)


class AffineGrid(Standard):
    """Grid of an affine map."""

    def _run(self, theta: Array, size: Array, align_corners: int | None = None) -> tuple[Array]:
        grid = F.affine_grid(_torch(theta), [int(one) for one in size], align_corners=bool(align_corners))
        return (grid.numpy(),)


class Resize(_Resize):
    """Resizing, also of version 10, which has no region of interest."""

    op_domain = ""

    def _run(self, x: Array, *operands: Array | None, **attributes: Any) -> Any:  # type: ignore[override]
        if self.run_params["opsets"].get("", 1) < 11:
            return self._asymmetric(x, operands[0], attributes.get("mode"))
        roi, scales, sizes = (*(None if one is None or one.size == 0 else one for one in operands), None, None, None)[
            :3
        ]
        return super()._run(x, roi, scales, sizes, **attributes)

    def _asymmetric(self, x: Array, scales: Array | None, mode: str | None) -> Any:
        return super()._run(
            x,
            None,
            scales,
            coordinate_transformation_mode="asymmetric",
            mode=mode or "nearest",
            nearest_mode="floor",
            cubic_coeff_a=-0.75,
            exclude_outside=0,
            extrapolation_value=0.0,
            keep_aspect_ratio_policy="stretch",
            antialias=0,
        )


class Upsample(Resize):
    """Resizing before version 10."""

    def _run(  # type: ignore[override]
        self, x: Array, scales: Array | None = None, mode: str | None = None, **attributes: Any
    ) -> Any:
        factors = attributes.get("scales") if scales is None else scales
        return self._asymmetric(x, np.asarray(factors, np.float64), mode)


OPERATORS: list[type[OpRun]] = [
    AffineGrid,
    Einsum,
    GatherElements,
    GridSample,
    Resize,
    Scatter,
    ScatterElements,
    Upsample,
]
