"""Break-even in words: from which sparsity on an engine is faster than dense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis import break_even
from sparsemark.report import wording

if TYPE_CHECKING:
    from sparsemark.analysis.break_even import BreakEven
    from sparsemark.records.run import Run

_GAIN = f"{100 * (break_even.GAIN - 1):.0f} %"


def break_evens(run: Run) -> list[str]:
    """Write one line for each network, kind of mask and engine that was measured at several sparsities.

    The interval is where the ends of the speedups' own intervals break even.
    """
    found = break_even.break_evens(run.measured())
    several_threads = len({one.threads for one in found}) > 1
    several_batches = len({one.batch for one in found}) > 1
    lines = []
    for one in found:
        runner = wording.engine_name(one.engine, run.engines) + wording.precision_mark(one.precision)
        threads = f", threads {one.threads}" if several_threads else ""
        batch = f", batch {one.batch}" if several_batches else ""
        method = f"{wording.schedule_mark(one.schedule)}{one.method}"
        lines.append(f"{one.model}, {method} on {runner}{threads}{batch}: {_over_dense(one)}; {_by_zeros(one)}.")
    return lines


def _over_dense(one: BreakEven) -> str:
    early, found, late = one.over_dense.early, one.over_dense.found, one.over_dense.late
    most = wording.percent(one.most)
    if found is None:
        return f"slower than dense at every sparsity up to {most}"
    first = wording.percent(one.least)
    end = f"beyond {most}" if late is None else wording.percent(late)
    return (
        f"at least as fast as dense from {first} on"
        if found <= one.least
        else f"breaks even at {wording.percent(found)}"
    ) + f" [{wording.percent(early or 0.0)}, {end}]"


def _by_zeros(one: BreakEven) -> str:
    """Write from where on the zeros themselves gain: an engine may be faster than the reference without any."""
    if one.by_zeros is None:
        return "its own dense form was not measured"
    early, found, late = one.by_zeros.early, one.by_zeros.found, one.by_zeros.late
    most = wording.percent(one.most)
    if early is None:
        return f"zeros up to {most} do not make it {_GAIN} faster than its own dense form"
    if found is None or late is None:
        return f"whether zeros up to {most} make it {_GAIN} faster than its own dense form is not settled"
    bounds = f"{wording.percent(found)} [{wording.percent(early)}, {wording.percent(late)}]"
    return f"zeros make it {_GAIN} faster than its own dense form from {bounds} on"
