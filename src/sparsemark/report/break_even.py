"""Break-even in words: between which measured sparsities an engine becomes as fast as dense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis import break_even
from sparsemark.report import wording

if TYPE_CHECKING:
    from sparsemark.analysis.break_even import BreakEven, Crossing
    from sparsemark.records.run import Run

TITLE = "Break-even: the share of zeros from which on an engine is as fast as the dense network"

_GAIN = f"{100 * (break_even.GAIN - 1):.0f} %"


def break_evens(run: Run) -> list[str]:
    """Write one line for each network, kind of mask and engine that was measured at several sparsities.

    It names the measured sparsities around a break-even and never one between them, where nobody looked.
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
    at = one.over_dense
    most = wording.percent(one.most)
    if at.below == one.most:
        return f"still slower than dense at {most}, the most that was measured"
    if at.reached is None:
        slower = "" if at.below is None else f"slower than dense at {wording.percent(at.below)}, "
        return f"{slower}{_unsettled(at)}"
    reached = wording.percent(at.reached)
    if at.below is None:
        settled = f", {_unsettled(at)}" if at.unsettled else ""
        return f"at least as fast as dense from {reached} on{settled}"
    return f"breaks even between {wording.percent(at.below)} and {reached}, {_between(at)}"


def _by_zeros(one: BreakEven) -> str:
    """Write from where on the zeros themselves gain: an engine may be faster than the reference without any."""
    at = one.by_zeros
    if at is None:
        return "its own dense form was not measured"
    than = f"{_GAIN} faster than its own dense form"
    if at.below == one.most:
        return f"zeros up to {wording.percent(one.most)} do not make it {than}"
    if at.reached is None or at.below is None:
        return f"whether zeros make it {than} is {_unsettled(at)}"
    between = f"between {wording.percent(at.below)} and {wording.percent(at.reached)}"
    return f"zeros make it {than} from somewhere {between} on, {_between(at)}"


def _between(at: Crossing) -> str:
    return _unsettled(at) if at.unsettled else "nothing measured between"


def _unsettled(at: Crossing) -> str:
    return f"not settled at {wording.listed(map(wording.percent, at.unsettled))}"
