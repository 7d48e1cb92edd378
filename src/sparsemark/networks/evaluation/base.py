"""Base of our operators for ONNX's reference evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Standard(OpRun):
    """An operator of ONNX's own set."""

    op_domain = ""

    @property
    def opset(self) -> int:
        """Version of the operators in the file."""
        return int(self.run_params["opsets"].get("", 1))

    def given(self, attribute: str) -> bool:
        """Whether the node itself has an attribute; others have the default of the newest version."""
        return any(one.name == attribute for one in self.onnx_node.attribute)


def channels(parameter: Array, rank: int) -> Array:
    """Return one number a channel in a form that broadcasts to (images, channels, ...)."""
    return parameter.reshape(-1, *[1] * (rank - 2)) if parameter.ndim == 1 else parameter
