"""Parts of a network that the dense engine runs between native calls, on views of the same arena."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsemark.direct.memory import placed
from sparsemark.errors import UnsupportedError
from sparsemark.references import one_line

if TYPE_CHECKING:
    from sparsemark.direct.ir import Border, Dense

Arrays = Mapping[str, NDArray[Any]]

Bound = Callable[[Arrays], Arrays]
"""One call: the inputs that change in, the outputs that have no fixed place out, by name."""

RunPart = Callable[[NDArray[np.float32], Arrays], Arrays]
"""Run a part on the image and on what earlier parts left outside of the arena; what it leaves there itself."""


class Session(Protocol):
    """A model that the dense engine has opened."""

    def __call__(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Run a batch; every output."""

    def bind(self, inputs: Arrays, outputs: Arrays) -> Bound:
        """Return a call that reads some inputs from these arrays, and writes some outputs to those, in place."""


@dataclass(frozen=True)
class Part:
    """A part that is open in the dense engine.

    Args:
        before: native operations that come before it.
        dense: its nodes and borders.
        image: name of the network's input, if the part reads it.
        session: runs it.
    """

    before: int
    dense: Dense
    image: str
    session: Session

    def bind(self, arena: NDArray[np.float32]) -> RunPart:
        """Return what runs the part on one arena."""
        sources = {name: view(arena, border) for name, border in self.dense.sources.items()}
        results = {name: view(arena, border) for name, border in self.dense.results.items()}
        others = [name for name in self.dense.graph.inputs if name not in sources]
        try:
            bound = self.session.bind(sources, results)
        except Exception as error:  # the engine's own classes
            raise UnsupportedError(f"direct-csr: {self.dense.place}: {one_line(error)}") from error

        def run(image: NDArray[np.float32], outside: Arrays) -> Arrays:
            try:
                left = bound({name: image if name == self.image else outside[name] for name in others})
            except Exception as error:
                raise UnsupportedError(f"direct-csr: {self.dense.place}: {one_line(error)}") from error
            for name, values in results.items():
                if not all_finite(values):
                    # Zero times infinity is not a number, and skipping zeros would hide it.
                    raise ArithmeticError(f"{name} is infinite or NaN")
            return left

        return run


def view(arena: NDArray[np.float32], border: Border) -> NDArray[np.float32]:
    """Return the array of an activation at a border, in the arena itself."""
    first = placed(border.tensor).position
    return arena[first : first + math.prod(border.shape)].reshape(border.shape)


def all_finite(values: NDArray[np.float32]) -> bool:
    """Whether there is neither infinity nor NaN; values whose sum overflows count as some."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(float(np.add.reduce(values, axis=None)))
