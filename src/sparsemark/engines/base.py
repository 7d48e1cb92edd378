"""Engine: how an artifact is run, and how it is called in lists, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sparsemark.specs import FP32

if TYPE_CHECKING:
    from pathlib import Path

Predict = Callable[..., tuple[NDArray[Any], ...]]
"""One call: a batch of each input in, every output of the network out, all as arrays in main memory."""


@dataclass(frozen=True)
class Noted:
    """A `Predict` with what a row must say of how it runs.

    Args:
        predict: one call.
        notes: clauses without an end.
    """

    predict: Predict
    notes: tuple[str, ...]

    def __call__(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Run one call."""
        return self.predict(*inputs)


def notes_of(predict: Predict) -> tuple[str, ...]:
    """Return what a row must say of an engine that was loaded."""
    return predict.notes if isinstance(predict, Noted) else ()


@dataclass(frozen=True)
class Look:
    """Colour, marker and dashes of an engine's series in figures, in matplotlib's notation."""

    colour: str
    marker: str
    dashes: str


@dataclass(frozen=True)
class Engine:
    """Something that runs an artifact.

    Args:
        formats: of the artifacts it reads, names in `FORMATS`; the first is taken unless another is asked for.
        load: path and number of threads to a `Predict`; raises UnsupportedError naming the operator it does not know.
        requires: modules without which it cannot run; their versions go into the conditions of every run.
        label: its name as its makers write it; empty where that is the registered name.
        look: in figures; None takes one of those kept for engines without.
        precisions: what it computes in here, a subset of `fp32` and `int8`.
        lacking: by precision that its makers offer and it does not compute in here, the reason.
        device: what it runs on.
        sparse: whether it exploits zeros, so that a dense network without any says little about it.
        code: digest of the engine's source where it comes with sparsemark; invalidates timings. Empty where a version
            says as much.
        barred: says what else keeps it from being used, such as a licence that must be accepted, or None.
    """

    formats: tuple[str, ...]
    load: Callable[[Path, int], Predict]
    requires: tuple[str, ...]
    label: str = ""
    look: Look | None = None
    precisions: tuple[str, ...] = (FP32,)
    lacking: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    sparse: bool = False
    code: Callable[[], str] = str
    barred: Callable[[], str | None] = lambda: None
