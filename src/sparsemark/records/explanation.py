"""Explanation of an artifact: its layers as an engine runs them, and changes that were timed beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sparsemark.specs import FP32

if TYPE_CHECKING:
    from collections.abc import Mapping

Fact = str | int | float
"""What a linter found beside seconds: a multiple, a count, another engine."""


WHY_NOT = "reason"
"""Fact of advice that could not be timed."""


@dataclass(frozen=True)
class ExplainedLayer:
    """One operation, as the engine runs it.

    Args:
        name: of the weight without `.weight`, else of the node.
        operator: of ONNX, or the engine's own.
        shape: of what it makes, without the batch.
        kernel: how it runs, in the engine's words.
        seconds: of one call; None where it was not timed.
        multiply_adds: of one call, zeros counted; 0 where there are no weights.
        left: the same on non-zeros.
        carried_out: multiply-adds that the kernel does for them: all of them in a dense engine, fewer by tiles.
        density: non-zeros over weights; None where there are no weights.
        precision: of its multiply-adds.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    kernel: str
    seconds: float | None
    multiply_adds: int = 0
    left: int = 0
    carried_out: int = 0
    density: float | None = None
    precision: str = FP32

    @property
    def rate(self) -> float | None:
        """Multiply-adds that are carried out a second."""
        return self.carried_out / self.seconds if self.carried_out and self.seconds else None


@dataclass(frozen=True)
class Advice:
    """A change that was timed beside what there is.

    Args:
        linter: name of what proposes it.
        layers: names of those concerned.
        before_s: seconds of what there is, a block each; of these layers, or of the whole network.
        after_s: seconds of the changed one, each paired with the block of the same index.
        facts: what else was found, by name.
    """

    linter: str
    layers: tuple[str, ...]
    before_s: tuple[float, ...]
    after_s: tuple[float, ...]
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """An artifact in an engine.

    Args:
        artifact: name of the file.
        engine: as users select it.
        threads: that share one call.
        input_shapes: of one call.
        seconds: of a call, the median of several.
        layers: in the order in which they run.
        peak: multiply-adds a second that one core reaches in this engine's best kernel, measured.
        loads: the same where each multiply-add needs a load of its own; None where that limits nothing.
        peak_int8: the same as `peak` in 8-bit integers; None where it was not measured.
        notes: what else the engine decided, in words.
    """

    artifact: str
    engine: str
    threads: int
    input_shapes: tuple[tuple[int, ...], ...]
    seconds: float
    layers: tuple[ExplainedLayer, ...]
    peak: float | None
    loads: float | None = None
    peak_int8: float | None = None
    notes: tuple[str, ...] = ()

    def share_of_peak(self, layer: ExplainedLayer) -> float | None:
        """Return the multiply-adds a second of a layer over the most of its precision; None where one is not known."""
        peak = self.peak if layer.precision == FP32 else self.peak_int8
        return layer.rate / peak if layer.rate and peak else None

    @property
    def layer_seconds(self) -> float:
        """Seconds of all layers, each timed by itself."""
        return sum(layer.seconds or 0.0 for layer in self.layers)
