"""Wording of numbers and names, in every format alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.records.engine_note import EngineNote
from sparsemark.specs import DENSE, FP32, ONE_SHOT, QAT, SCHEDULES, Pruning, removes_channels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparsemark.analysis.folds import Folds
    from sparsemark.analysis.front import Standing
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import DataNote

Notes = Mapping[str, EngineNote]
"""Notes of a run on its engines, by name."""

ABSENT = "-"

_DIGITS = 4
"""Significant digits of a score that is no percentage."""

_SMALLEST = 1e-4  # below, zeros behind the point would outnumber the digits

_FEW = 0.005
"""Share of zeros that is none: a single zero, such as an unused bias, makes no network sparse."""

_NUMERALS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_NOUNS = {"PHANTOM": "images"}
"""Caveats that are said of something narrower than data."""

_AWARE = f"+{QAT}"
"""End of the methods of a network that was fine-tuned for int8."""


def engine_name(engine: str | None, notes: Notes) -> str:
    """Return an engine's name as its makers write it: the run's note first, then sparsemark's own, then the bare name.

    No entry point is loaded: what another package brings was noted when the run was made.
    """
    if not engine:
        return ABSENT
    if engine in notes:
        return notes[engine].label or engine
    from sparsemark.engines import ENGINES

    return (ENGINES[engine].label if engine in ENGINES else "") or engine


def runner(measurement: Measurement, notes: Notes) -> str:
    """Return the engine of a cell, with its precision where that is not fp32: `ONNX Runtime int8`."""
    return engine_name(measurement.engine, notes) + precision_mark(measurement.precision)


def precision_mark(precision: str | None) -> str:
    """Return ` int8` to stand behind an engine, nothing for fp32."""
    return "" if precision in (None, FP32) else f" {precision}"


def milliseconds(value: float | None) -> str:
    """Return three significant digits: 14.9, 2.81, 0.412, 0.0412."""
    if value is None:
        return ABSENT
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{decimals}f}"


def rate(value: float | None) -> str:
    """Return three significant digits, or all before the point: 71.2, 24680."""
    return ABSENT if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ratio(interval: Interval) -> str:
    """Return `2.91x [2.74, 3.02]`; below 1.1 with a third decimal, or the interval would vanish in the rounding."""
    decimals = _ratio_decimals(interval.high)
    return f"{interval.estimate:.{decimals}f}x [{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def bare_ratio(value: float) -> str:
    """Return a ratio that has no interval, `2.91x`, with the decimals of one that has."""
    return f"{value:.{_ratio_decimals(value)}f}x"


def _ratio_decimals(highest: float) -> int:
    return 3 if highest < 1.1 else 2


def times(interval: Interval) -> str:
    """Return the same without its interval, `2.91x`."""
    return ratio(interval).partition(" ")[0]


def number(value: int | None) -> str:
    """Return a whole number."""
    return ABSENT if value is None else str(value)


def numeral(count: int) -> str:
    """Return a count in words up to ten, else in digits."""
    return _NUMERALS[count] if count < len(_NUMERALS) else str(count)


def several(folds: Folds | None) -> str:
    """Return `five folds`, `four of five folds` or `three seeds`; empty for a single cell."""
    if folds is None:
        return ""
    of = f" of {numeral(folds.asked)}" if folds.asked > len(folds.members) else ""
    return f"{numeral(len(folds.members))}{of} {folds.unit}"


def over(folds: Folds | None) -> str:
    """Return `, over five folds` to stand behind a number, nothing for a single cell."""
    return f", over {several(folds)}" if folds is not None else ""


def which(m: Measurement, unit: str) -> str:
    """Return `fold 3`, `seed 1`, or `seed 1, fold 3`: which of the folds, seeds or networks a cell is."""
    named = [f"{name} {number(value)}" for name, value in (("seed", m.seed), ("fold", m.fold))]
    return ", ".join(named) if unit == "networks" else named[unit == "folds"]


def deployed(one: Standing) -> str:
    """Return which of several folds is deployed, `fold 0, the first of five folds`; empty for a single cell."""
    return f"{which(one.deployed, one.folds.unit)}, the first of {several(one.folds)}" if one.folds else ""


def percent(fraction: float | None, decimals: int = 0) -> str:
    """Return a fraction as `90 %`."""
    return ABSENT if fraction is None else f"{100 * fraction:.{decimals}f} %"


def points(fraction: float, digits: int = 6) -> str:
    """Return a difference of fractions in words: `one point`, `2.5 points`, with so many significant digits."""
    text = f"{100 * fraction:.{digits}g}"
    return "one point" if text == "1" else f"{text} points"


def share(fraction: float) -> str:
    """Return a fraction as `94 %`, with a decimal rounded down where it would read as all: `99.9 %`."""
    if fraction < 1 and round(100 * fraction) == 100:
        return f"{math.floor(1000 * fraction) / 10:.1f} %"
    return percent(fraction)


def listed(words: Iterable[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def significant_decimals(value: float) -> int | None:
    """Return the decimals that show four significant digits of a value, None where only an exponent can."""
    if value == 0:
        return _DIGITS - 1
    if abs(value) < _SMALLEST:
        return None
    return max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))


def significant(value: float) -> str:
    """Return four significant digits of a value, or more where it has more before its point."""
    decimals = significant_decimals(value)
    return f"{value:.{_DIGITS - 1}e}" if decimals is None else f"{value:.{decimals}f}"


def size(count: int | None) -> str:
    """Return bytes in decimal units: `850 B`, `12 kB`, `3.4 MB`."""
    if count is None:
        return ABSENT
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def pruned(measurement: Measurement) -> str:
    """Return what was asked for: `dense`, `channels 50 % (x16) + magnitude 80 %`, `block4 90 %, quantisation-aware`.

    `(x16)` stands behind channels that come in sixteens, the schedule in front: `iterative magnitude 90 %`.
    """
    if measurement.method is None:
        return ABSENT
    schedule, steps = _asked(measurement)
    return schedule + (" + ".join(map(_step, steps)) or _unpruned(measurement)) + qat_mark(measurement.method)


def _unpruned(measurement: Measurement) -> str:
    """Return what a network without a pruning is called: a network that arrives with zeros is not dense."""
    sparsity = measurement.sparsity
    return "dense" if sparsity is None or sparsity < _FEW else f"as given, {percent(sparsity)} zeros"


def kind(measurement: Measurement) -> str:
    """Return how a network was pruned, without how much: `channels (x16)`, `iterative magnitude`."""
    if measurement.method is None:
        return ABSENT
    schedule, steps = _asked(measurement)
    methods = " + ".join(method + multiple_of(of) for method, _, of in steps) or "dense"
    return f"{schedule}{methods}{qat_mark(measurement.method)}"


def swept(measurement: Measurement) -> str:
    """Return what was asked for without the share of the last step: `channels 80 % (x16) + magnitude`.

    Networks alike in it differ in one share alone, so that a line may join them.
    """
    return ABSENT if measurement.method is None else _line(measurement) + qat_mark(measurement.method)


def mix(measurement: Measurement) -> str:
    """Return the same of a pruning of several steps, to tell its line from others of its methods; else empty."""
    return _line(measurement) if "+" in str(measurement.method).removesuffix(_AWARE) else ""


def _line(measurement: Measurement) -> str:
    schedule, steps = _asked(measurement)
    *before, last = steps or [(_unpruned(measurement), 0.0, 1)]
    return schedule + " + ".join([*map(_step, before), last[0] + multiple_of(last[2])])


def _step(step: tuple[str, float, int]) -> str:
    method, share, of = step
    return f"{method}{f' {percent(share)}' if share else ''}{multiple_of(of)}"


def multiple_of(count: int) -> str:
    """Return ` (x16)` to stand behind channels that come in sixteens, nothing behind those that are not rounded."""
    return f" (x{count})" if count > 1 else ""


def _asked(m: Measurement) -> tuple[str, list[tuple[str, float, int]]]:
    """Return the schedule and the steps (method, sparsity, multiple) that a row records."""
    try:
        pruning = Pruning.parse(m.pruning or "")
    except UserError:
        # A file of another program: no text, or one with numbers that nothing could have been pruned with.
        method = (m.method or DENSE).removesuffix(_AWARE)
        multiple = (m.round_to or 1) if removes_channels(method) else 1
        return schedule_mark(m.schedule), [] if method == DENSE else [(method, m.sparsity_target or 0.0, multiple)]
    return schedule_mark(pruning.schedule), [(step.kind, step.sparsity, step.round_to) for step in pruning.steps]


def schedule_mark(name: str | None) -> str:
    """Return `iterative ` to stand before a method, nothing for one-shot."""
    return "" if name not in SCHEDULES or name == ONE_SHOT else f"{name} "


def qat_mark(method: str | None) -> str:
    """Return `, quantisation-aware` to stand behind what was pruned by such a method, nothing behind others."""
    return ", quantisation-aware" if str(method).endswith(_AWARE) else ""


def named(method: str | None, schedule: str | None) -> str:
    """Return the methods of a row with how they were fine-tuned: `gradual magnitude`, `block4, quantisation-aware`."""
    return f"{schedule_mark(schedule)}{str(method).removesuffix(_AWARE)}{qat_mark(method)}"


def caveat(data: DataNote | None) -> str:
    """Return the word that keeps a number from being what it seems; empty where nothing does."""
    return (data.caveat if data else None) or ""


def on_caveat(word: str) -> str:
    """Return ` on PHANTOM images` for a sentence or an axis, nothing where there is no caveat."""
    return f" on {word} {_NOUNS.get(word, 'data')}" if word else ""
