"""Loops and optional values of ONNX; the evaluator's loops stop early or join their outputs along the wrong axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.networks.evaluation.base import Standard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from onnx.reference.op_run import OpRun

    Array = NDArray[Any]


class _Body(Standard):
    """A node with a body, which may read any value around it."""

    body: Any

    def need_context(self) -> bool:
        """Ask for the values around the node."""
        return True


class Loop(_Body):
    """Repetition, up to a number of times or while a condition holds."""

    def _run(
        self,
        most: Array | None,
        condition: Array | None,
        *initial: Any,
        context: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> tuple[Any, ...]:
        names = self.body.input_names
        state = list(initial)
        kept: list[list[Array]] = [[] for _ in self.body.output_names[1 + len(state) :]]
        going, count = condition is None or bool(condition), 0
        while going and (most is None or count < int(most)):
            given = {names[0]: np.array(count), names[1]: np.array(going), **dict(zip(names[2:], state, strict=True))}
            answer = self.body.run(None, {**(context or {}), **given})
            going, state = bool(answer[0]), answer[1 : 1 + len(state)]
            for values, value in zip(kept, answer[1 + len(state) :], strict=True):
                values.append(value)
            count += 1
        return (*state, *(np.stack(values) if values else self._none(index) for index, values in enumerate(kept)))

    def _none(self, index: int) -> Array:
        """Return what no repetition adds up to."""
        kept = len(self.body.output_names) - 1 - (len(self.body.input_names) - 2)
        kind = self.body.output_types_[index - kept].tensor_type
        from onnx import helper

        sizes = [size.dim_value for size in kind.shape.dim]
        return np.zeros((0, *sizes), helper.tensor_dtype_to_np_dtype(kind.elem_type))


class Scan(_Body):
    """Repetition over the slices of tensors."""

    num_scan_inputs: int

    def _run(self, *operands: Any, context: Mapping[str, Any] | None = None, **attributes: Any) -> tuple[Any, ...]:
        if self.opset < 9:
            raise NotImplementedError("Scan before version 9")
        count = self.num_scan_inputs
        state, scanned = list(operands[:-count]), operands[-count:]
        outputs = len(self.body.output_names) - len(state)
        axes, backwards = self._ways(attributes, "scan_input", count)
        slices = [
            np.flip(np.moveaxis(one, axis, 0), 0) if back else np.moveaxis(one, axis, 0)
            for one, axis, back in zip(scanned, axes, backwards, strict=True)
        ]
        kept: list[list[Array]] = [[] for _ in range(outputs)]
        for index in range(len(slices[0])):
            given = dict(zip(self.body.input_names, [*state, *(one[index] for one in slices)], strict=True))
            answer = self.body.run(None, {**(context or {}), **given})
            state = answer[: len(state)]
            for values, value in zip(kept, answer[len(state) :], strict=True):
                values.append(value)
        if outputs and not kept[0]:
            raise ValueError("no slices")
        axes, backwards = self._ways(attributes, "scan_output", outputs)
        joined = [
            np.stack(values[::-1] if back else values, axis)
            for values, axis, back in zip(kept, axes, backwards, strict=True)
        ]
        return (*state, *joined)

    @staticmethod
    def _ways(attributes: Mapping[str, Any], which: str, count: int) -> tuple[Sequence[int], Sequence[int]]:
        """Return axis and direction of each tensor."""
        axes, directions = (attributes.get(f"{which}_{name}") or [0] * count for name in ("axes", "directions"))
        return axes, directions


class _Held(list[Any]):
    """An optional value; of a list, so that the evaluator lets it pass."""


class Optional(Standard):
    """A value, or none."""

    def _run(self, x: Any = None, **_: Any) -> tuple[_Held]:
        return (_Held([x]),)


class OptionalGetElement(Standard):
    """The value of an optional; other values are themselves."""

    def _run(self, x: Any) -> tuple[Any]:
        value = x[0] if isinstance(x, _Held) else x
        if value is None:
            raise ValueError("an optional without a value")
        return (value,)


class OptionalHasElement(Standard):
    """Whether an optional has a value."""

    def _run(self, x: Any = None) -> tuple[Array]:
        value = x[0] if isinstance(x, _Held) else x
        return (np.array(value is not None),)


OPERATORS: list[type[OpRun]] = [Loop, Optional, OptionalGetElement, OptionalHasElement, Scan]
