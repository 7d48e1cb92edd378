"""Wording of what linters found: what to change, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.gains import LEAST_SHARE
from sparsemark.records.explanation import WHY_NOT
from sparsemark.report.wording import milliseconds, percent, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sparsemark.analysis.gains import Ranked
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.explanation import Advice, Explanation

_NAMED = 4
"""Layers that a line names; the others are counted."""

_FEW_LEFT = 0.99
"""Share of the multiply-adds below which zeros are worth a word."""

NOTHING = f"Nothing to turn: no change that was tried gains {percent(LEAST_SHARE)} of a call, above noise."

FACTS = ("separable", "layout")
"""Linters whose seconds are no gain of a change."""


def _alignment(advice: Advice) -> tuple[str, str]:
    multiple = advice.facts["multiple"]
    how = f"{_layers(advice.layers)} are not; zeros fill them. Prune with channels:S:{multiple}, or choose such widths"
    return f"channels in multiples of {multiple}", how


def _rounding(advice: Advice) -> tuple[str, str]:
    multiple = advice.facts["multiple"]
    how = f"{advice.facts['widths']}. Another network, timed alone: prune with channels:S:{multiple} and see its score"
    return f"channels at the nearest multiple of {multiple}", how


def _level(advice: Advice) -> tuple[str, str]:
    level = advice.facts["level"]
    how = f"SessionOptions.graph_optimization_level = ORT_ENABLE_{level}"
    return f"optimisation level {level} in place of {advice.facts['used']}", how


def _subnormals(advice: Advice) -> tuple[str, str]:
    how = f"there are {advice.facts['count']}. Set weights below 1.2e-38 to zero before exporting"
    return "zeros in place of subnormal weights", how


def _first_layer(advice: Advice) -> tuple[str, str]:
    density, network = (percent(float(advice.facts[name])) for name in ("density", "network"))
    how = (
        f"{_layers(advice.layers)} has {density} non-zeros, the network does {network} of its multiply-adds. Try "
        "magnitude-layerwise:S, which prunes every layer as far; it may cost score, which sparsemark sensitivity shows"
    )
    return "a first layer as sparse as the network", how


def _cache(advice: Advice) -> tuple[str, str]:
    held, largest = (size(int(advice.facts[name])) for name in ("bytes", "largest"))
    how = f"up to {largest} in {_layers(advice.layers)}. Smaller images, an earlier stride or fewer channels there"
    return f"activations within the second-level cache of {held}", how


def _engine(advice: Advice) -> tuple[str, str]:
    left = float(advice.facts["work_left"])
    zeros = f"{percent(left)} of the multiply-adds are not on zeros, which it skips. " if left < _FEW_LEFT else ""
    return "direct-csr in place of ONNX Runtime", f"{zeros}sparsemark export ... --format csr"


_CHANGES: Mapping[str, Callable[[Advice], tuple[str, str]]] = {
    "alignment": _alignment,
    "rounding": _rounding,
    "level": _level,
    "subnormals": _subnormals,
    "first-layer": _first_layer,
    "cache": _cache,
    "engine": _engine,
}
"""By linter: the change, and what makes it worth trying and how it is made."""


def changes(ranked: Sequence[Ranked], explanation: Explanation) -> list[str]:
    """Return a line for each change that pays, most first; one line that says so where none does."""
    paying = [one for one in ranked if one.pays and one.advice.linter not in FACTS]
    total = milliseconds(1e3 * explanation.seconds)
    lines = []
    for one in paying:
        what, how = _CHANGES[one.advice.linter](one.advice)
        lines.append(f"{_interval(one.gain_s)} of {total} ms: {what}: {how}")
    return lines or [NOTHING]


def others(ranked: Sequence[Ranked], explanation: Explanation) -> list[str]:
    """Return a line for each change that does not pay, and for what is no change."""
    lines = []
    if explanation.engine == "onnxruntime" and _left(explanation) < _FEW_LEFT:
        lines.append("zeros cost nothing and gain nothing in ONNX Runtime, which multiplies by them")
    for one in ranked:
        if WHY_NOT in one.advice.facts:
            lines.append(f"not tried: {one.advice.linter}: {one.advice.facts[WHY_NOT]}")
        elif one.advice.linter == "separable":
            lines.append(_separable(one))
        elif one.advice.linter == "layout":
            lines.append(_layout(one.advice))
        elif not one.pays:
            lines.append(f"tried, {_too_little(one.gain_s)}: {_CHANGES[one.advice.linter](one.advice)[0]}")
    return lines


def _too_little(gain: Interval | None) -> str:
    """Return why a change does not pay: within noise, or above it and still less than is worth a line."""
    small = gain is not None and gain.low > 0
    return f"{f'gains under {percent(LEAST_SHARE)} of a call' if small else 'no gain'} ({_interval(gain)})"


def _interval(gain: Interval | None) -> str:
    """Return `0.61 ms [0.52, 0.7]`."""
    if gain is None:
        return "not timed"
    estimate, low, high = (f"{1e3 * seconds:.3g}" for seconds in (gain.estimate, gain.low, gain.high))
    return f"{estimate} ms [{low}, {high}]"


def _separable(one: Ranked) -> str:
    where = f"the {one.advice.facts['kinds']} layers {_layers(one.advice.layers)}"
    if one.pays:
        return f"zeros in {where} gain {_interval(one.gain_s)}"
    return f"zeros in {where}: {_too_little(one.gain_s)}: leave these layers dense"


def _layout(advice: Advice) -> str:
    spent, pace, reorders = (1e3 * float(advice.facts[name]) for name in ("spent_s", "at_their_rate_s", "reorders_s"))
    return (
        f"outside of the NCHWc layout, though of fitting width: {_layers(advice.layers)}, {milliseconds(spent)} ms; "
        f"{milliseconds(pace)} ms at the rate of the layers inside. Reordering takes {milliseconds(reorders)} ms more"
    )


def _left(explanation: Explanation) -> float:
    dense = sum(layer.multiply_adds for layer in explanation.layers)
    return sum(layer.left for layer in explanation.layers) / dense if dense else 1.0


def _layers(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
