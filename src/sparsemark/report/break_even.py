"""Break-even in words: between which measured sparsities an engine becomes as fast as dense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis import break_even
from sparsemark.analysis.cells import reference_engine
from sparsemark.analysis.folds import rows_as_one
from sparsemark.report import wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.analysis.break_even import BreakEven, Crossing
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.report.wording import Notes

_NOT_MEASURED = "not measured"
_GAIN = f"{100 * (break_even.GAIN - 1):.0f} %"

TITLE = (
    "Break-even: the share of zeros from which on an engine is as fast as the dense network; zeros pay: from which on "
    f"they make it {_GAIN} faster than its own dense form"
)


def break_evens(run: Run) -> list[str]:
    """Write one line for each network, kind of mask and engine that was measured at several sparsities.

    It names the measured sparsities around a break-even and never one between them, where nobody looked. Folds count as
    one.
    """
    found = break_even.break_evens(rows_as_one(run.measured()))
    several_threads, several_batches = _vary(found)
    lines = []
    for one in found:
        runner = wording.engine_name(one.engine, run.engines) + wording.precision_mark(one.precision)
        threads = f", threads {one.threads}" if several_threads else ""
        batch = f", batch {one.batch}" if several_batches else ""
        method = wording.named(one.method, one.schedule)
        lines.append(f"{one.model}, {method} on {runner}{threads}{batch}: {_over_dense(one)}; {_by_zeros(one)}.")
    return lines


def break_even_table(run: Run) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the same as titles and rows, empty where there is none: a cell says from which share on."""
    measured = rows_as_one(run.measured())
    found = break_even.break_evens(measured)
    reference = reference_of(measured, run.engines)
    several_threads, several_batches = _vary(found)
    shown = {
        "model": len({one.model for one in found}) > 1,
        "zeros by": True,
        "engine": True,
        "threads": several_threads,
        "batch": several_batches,
        f"as fast as {reference} from": True,
        f"{_GAIN} faster than its own dense form from": True,
    }
    rows = []
    for one in found:
        texts = (
            one.model or wording.ABSENT,
            wording.named(one.method, one.schedule),
            wording.engine_name(one.engine, run.engines) + wording.precision_mark(one.precision),
            wording.number(one.threads),
            wording.number(one.batch),
            _share(one.over_dense, one.most),
            _own_share(one),
        )
        rows.append(tuple(text for text, is_shown in zip(texts, shown.values(), strict=True) if is_shown))
    return tuple(column for column, is_shown in shown.items() if is_shown), rows


def reference_of(measured: Iterable[Measurement], notes: Notes) -> str:
    """Return what speedups are over: `dense ONNX Runtime`, or `the dense reference` where networks have several."""
    references = {wording.engine_name(reference_engine(m), notes) for m in measured if not m.control}
    return f"dense {next(iter(references))}" if len(references) == 1 else "the dense reference"


def _vary(found: Sequence[BreakEven]) -> tuple[bool, bool]:
    """Return whether threads, and whether batches, differ."""
    return len({one.threads for one in found}) > 1, len({one.batch for one in found}) > 1


def _own_share(one: BreakEven) -> str:
    """Return from which share on the zeros themselves gain, or what keeps that from being known."""
    if one.by_zeros is None:
        return _NOT_MEASURED
    is_settled = one.by_zeros.reached is not None or one.by_zeros.below == one.most
    off = None if is_settled else one.without_zeros
    known = f": a mask without a zero gave {wording.ratio(off)}" if off else ""
    return f"{_share(one.by_zeros, one.most)}{known}"


def _share(at: Crossing, most: float) -> str:
    """Return the measured shares around a crossing, `between 50 % and 70 %`, or why there are none.

    Args:
        at: the crossing.
        most: largest share that was measured.
    """
    if at.below == most:
        return f"never (up to {wording.percent(most)})"
    if at.reached is None:
        return "not settled" if at.below is None else f"not settled above {wording.percent(at.below)}"
    reached = wording.percent(at.reached)
    if at.below is not None:
        return f"between {wording.percent(at.below)} and {reached}"
    return f"{reached}{', or less' if at.unsettled else ''}"


def _over_dense(one: BreakEven) -> str:
    at = one.over_dense
    if at.below is not None and at.reached is None:
        return f"slower up to {wording.percent(at.below)}{'' if at.below == one.most else ', then not settled'}"
    return _from(at) if at.reached is None else f"as fast {_from(at)}"


def _by_zeros(one: BreakEven) -> str:
    """Write from where on the zeros themselves gain: an engine may be faster than the reference without any."""
    at = one.by_zeros
    if at is None:
        return "its own dense form was not measured"
    if at.below == one.most:
        return f"zeros do not pay up to {wording.percent(one.most)}"
    off = one.without_zeros
    known = f", a mask without a zero gave {wording.ratio(off)}" if off else ""
    return f"zeros pay {_from(at)}" if at.reached is not None else f"whether zeros pay is not settled{known}"


def _from(at: Crossing) -> str:
    """Return `from between 50 % and 70 % on`: shares between the two were not measured, or are not settled."""
    if at.reached is None:
        return "not settled"
    reached = wording.percent(at.reached)
    if at.below is not None:
        return f"from between {wording.percent(at.below)} and {reached} on"
    return f"from {reached} on{', or earlier' if at.unsettled else ''}"
