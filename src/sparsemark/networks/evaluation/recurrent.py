"""Recurrent layers of ONNX in float64: all directions, sequence lengths, activations, peepholes and clipping."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from onnx.reference.op_run import OpRun
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

_DEFAULTS = {
    "Affine": (1.0, 0.0),
    "Elu": (1.0, 0.0),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01, 0.0),
    "ScaledTanh": (1.0, 1.0),
    "ThresholdedRelu": (1.0, 0.0),
}
"""Alpha and beta of activations that have them; a file that gives none leaves those of ONNX Runtime."""

_FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "affine": lambda x, alpha, beta: alpha * x + beta,
    "elu": lambda x, alpha, _: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "hardsigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "leakyrelu": lambda x, alpha, _: np.where(x >= 0, x, alpha * x),
    "relu": lambda x, _, __: np.maximum(x, 0),
    "scaledtanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "sigmoid": lambda x, _, __: expit(x),
    "softplus": lambda x, _, __: np.logaddexp(x, 0),
    "softsign": lambda x, _, __: x / (1 + np.abs(x)),
    "tanh": lambda x, _, __: np.tanh(x),
    "thresholdedrelu": lambda x, alpha, _: np.where(x > alpha, x, 0),
}


def _applied(function: Callable[[Array, float, float], Array], alpha: float, beta: float, x: Array) -> Array:
    return function(x, alpha, beta)


@dataclass(frozen=True)
class _Direction:
    """Weights of one direction; rows of gates one below the other."""

    weight: Array
    recurrence: Array
    bias: Array
    peepholes: Array | None
    activations: Sequence[Callable[[Array], Array]]
    clip: float | None

    def held(self, gate: Array) -> Array:
        """Clip what goes into an activation."""
        return gate if not self.clip else np.clip(gate, -self.clip, self.clip)


class _Recurrent(OpRun):
    """Recurrent layer around the step of its kind."""

    op_domain = ""
    gates: ClassVar[int]
    names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def step(self, direction: _Direction, given: Array, state: Array, cell: Array) -> tuple[Array, Array]:
        """Compute the next state and cell from the inputs' share of the gates."""

    def _run(
        self,
        x: Array,
        weight: Array,
        recurrence: Array,
        *optional: Array | None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        bias, lengths, state, cell, peepholes = (*optional, *[None] * 5)[:5]
        layout = attributes.get("layout")
        if layout:
            x = np.swapaxes(x, 0, 1)
            state, cell = (None if one is None else np.swapaxes(one, 0, 1) for one in (state, cell))
        steps, batch = x.shape[:2]
        directions, hidden = len(weight), recurrence.shape[-1]
        ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
        backward = ways[attributes.get("direction") or "forward"]
        if len(backward) != directions:
            raise ValueError(f"weights of {directions} directions, expected {len(backward)}")
        last = np.full(batch, steps) if lengths is None else lengths.astype(np.int64)
        functions = self._activations(attributes, directions)
        output = np.zeros((steps, directions, batch, hidden))
        states, cells = (
            np.zeros((directions, batch, hidden)) if one is None else one.astype(np.float64) for one in (state, cell)
        )
        for index, reverse in enumerate(backward):
            direction = _Direction(
                weight[index],
                recurrence[index],
                np.zeros(2 * self.gates * hidden) if bias is None else bias[index],
                None if peepholes is None else peepholes[index],
                functions[index],
                attributes.get("clip"),
            )
            found = {"output": output[:, index], "state": states[index], "cell": cells[index]}
            self._sweep(direction, x, last, **found, reverse=reverse)
        if layout:
            output, states, cells = output.transpose(2, 0, 1, 3), states.swapaxes(0, 1), cells.swapaxes(0, 1)
        return (output, states, cells)[: 3 if self.gates == 4 else 2]

    def _sweep(
        self,
        direction: _Direction,
        x: Array,
        last: Array,
        *,
        output: Array,
        state: Array,
        cell: Array,
        reverse: bool,
    ) -> None:
        """Go through the steps, filling `output` and leaving the last of each sequence in `state` and `cell`."""
        given = x @ direction.weight.T
        for count in range(int(last.max(initial=0))):
            running = count < last
            # Backwards, each sequence begins at its own end.
            places = np.where(running, last - 1 - count, 0) if reverse else np.full(len(last), count)
            rows = np.arange(len(last))
            new_state, new_cell = self.step(direction, given[places, rows], state, cell)
            state[running], cell[running] = new_state[running], new_cell[running]
            output[places[running], rows[running]] = new_state[running]

    def _activations(self, attributes: dict[str, Any], directions: int) -> list[list[Callable[[Array], Array]]]:
        names = list(attributes.get("activations") or self.names * directions)
        alphas, betas = (list(attributes.get(f"activation_{name}") or []) for name in ("alpha", "beta"))
        made: list[Callable[[Array], Array]] = []
        for name in names:
            alpha, beta = next((value for key, value in _DEFAULTS.items() if key.lower() == name.lower()), (0.0, 0.0))
            # Given in order to the activations that have one.
            if alphas and name.lower() in _WITH_ALPHA:
                alpha = float(alphas.pop(0))
            if betas and name.lower() in _WITH_BETA:
                beta = float(betas.pop(0))
            made.append(partial(_applied, _FUNCTIONS[name.lower()], alpha, beta))
        each = len(self.names)
        return [made[index * each : (index + 1) * each] for index in range(directions)]


_WITH_ALPHA = ("affine", "elu", "hardsigmoid", "leakyrelu", "scaledtanh", "thresholdedrelu")
_WITH_BETA = ("affine", "hardsigmoid", "scaledtanh")


class RNN(_Recurrent):
    """One gate."""

    gates = 1
    names = ("Tanh",)

    def step(self, direction: _Direction, given: Array, state: Array, cell: Array) -> tuple[Array, Array]:  # noqa: D102
        hidden = state.shape[-1]
        gate = given + state @ direction.recurrence.T + direction.bias[:hidden] + direction.bias[hidden:]
        return direction.activations[0](direction.held(gate)), cell


class GRU(_Recurrent):
    """Update, reset and hidden gate."""

    gates = 3
    names = ("Sigmoid", "Tanh")

    def step(self, direction: _Direction, given: Array, state: Array, cell: Array) -> tuple[Array, Array]:  # noqa: D102
        hidden = state.shape[-1]
        inner, outer = direction.bias[: 3 * hidden], direction.bias[3 * hidden :]
        first, second = direction.activations
        recurrence = direction.recurrence
        gates = given + inner
        both = gates[:, : 2 * hidden] + state @ recurrence[: 2 * hidden].T + outer[: 2 * hidden]
        update, reset = np.split(first(direction.held(both)), 2, axis=1)
        own, shift = recurrence[2 * hidden :], outer[2 * hidden :]
        if getattr(self, "linear_before_reset", 0):
            inward = reset * (state @ own.T + shift)
        else:
            inward = (reset * state) @ own.T + shift
        candidate = second(direction.held(gates[:, 2 * hidden :] + inward))
        return (1 - update) * candidate + update * state, cell


class LSTM(_Recurrent):
    """Input, output, forget and cell gate."""

    gates = 4
    names = ("Sigmoid", "Tanh", "Tanh")

    def step(self, direction: _Direction, given: Array, state: Array, cell: Array) -> tuple[Array, Array]:  # noqa: D102
        hidden = state.shape[-1]
        first, second, third = direction.activations
        bias = direction.bias[: 4 * hidden] + direction.bias[4 * hidden :]
        entry, exit_, forget, candidate = np.split(given + state @ direction.recurrence.T + bias, 4, axis=1)
        into, out, keep = (0.0, 0.0, 0.0) if direction.peepholes is None else np.split(direction.peepholes, 3)
        entry = first(direction.held(entry + into * cell))
        coupled = getattr(self, "input_forget", 0)
        forget = 1 - entry if coupled else first(direction.held(forget + keep * cell))
        new = forget * cell + entry * second(direction.held(candidate))
        return first(direction.held(exit_ + out * new)) * third(new), new


OPERATORS: list[type[OpRun]] = [RNN, GRU, LSTM]
