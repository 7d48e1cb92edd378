"""Comparison of two runs, and the gate's verdicts on it, for a terminal and as Markdown."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from sparsemark.analysis.contamination import in_words
from sparsemark.analysis.verdicts import Outcome
from sparsemark.report import wording
from sparsemark.report.harmless import harmless_comparisons, harmless_differences, harmless_verdicts
from sparsemark.report.renderers.markdown import escape, markdown_table
from sparsemark.report.renderers.terminal import DEFAULT_WIDTH, draw, grid
from sparsemark.report.scores import Scoring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from sparsemark.analysis.comparison import Comparison, Difference
    from sparsemark.analysis.statistics import Interval
    from sparsemark.analysis.verdicts import Verdict
    from sparsemark.records.measurement import Measurement

ORDER = (
    Outcome.PARITY_FAILURE,
    Outcome.REGRESSION,
    Outcome.CONTAMINATED,
    Outcome.INCONCLUSIVE,
    Outcome.INCOMPARABLE,
    Outcome.IMPROVEMENT,
    Outcome.OK,
)
"""Worst first: what stops a merge, then what nobody can tell, then what is fine."""

_COLOURS = {
    Outcome.PARITY_FAILURE: "bold red",
    Outcome.REGRESSION: "bold red",
    Outcome.CONTAMINATED: "yellow",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.INCOMPARABLE: "yellow",
    Outcome.IMPROVEMENT: "green",
}
_COLUMNS = ("verdict", "cell", "what", "time [95 %]", "why")
OTHER_MACHINE = (
    "The runs come from different machines: ratios to the reference may depend on the processor, so the gate judges no "
    "latency. Take the baseline on the machine that runs the gate."
)
_WHOLE = ("verdict", "cell", "what", "time [95 %]")  # columns that are not folded: half a name is no name
_SHORT = 60  # characters of a condition that are shown


def summary_line(verdicts: Sequence[Verdict]) -> str:
    """Return counts, the worst first: `regression: 1, inconclusive: 2, ok: 44 (47 values of 12 cells)`."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    said = ", ".join(f"{outcome}: {counts[outcome]}" for outcome in ORDER if counts[outcome])
    return f"{said} ({len(verdicts)} values of {len({verdict.cell for verdict in verdicts})} cells)"


def render_verdicts(
    verdicts: Sequence[Verdict],
    differences: Sequence[Difference] = (),
    *,
    same_machine: bool = True,
    width: int = DEFAULT_WIDTH,
    colour: bool = False,
) -> str:
    """Write what the gate found for a terminal: the summary, then everything that is not ok, worst first."""
    noticed = noticeable(harmless_verdicts(verdicts))
    parts: list[RenderableType] = [Text(f"Gate - {summary_line(verdicts)}", "bold")]
    if noticed:
        rows = [_row(verdict) for verdict in noticed]
        parts.append(
            grid(_COLUMNS, rows, whole=_WHOLE, styles=[_COLOURS.get(verdict.outcome, "") for verdict in noticed])
        )
    parts += _environment(differences, same_machine=same_machine)
    return draw(parts, width=width, colour=colour)


def render_comparison(
    comparisons: Sequence[Comparison],
    differences: Sequence[Difference] = (),
    *,
    same_machine: bool = True,
    width: int = DEFAULT_WIDTH,
    colour: bool = False,
) -> str:
    """Write two runs side by side for a terminal, the largest slowdown first, what cannot be compared last."""
    comparisons = harmless_comparisons(comparisons)
    ordered = sorted(comparisons, key=lambda c: -c.latency.log_change.estimate if c.latency else math.inf)
    both = [m for c in comparisons for m in (c.baseline, c.candidate) if m]
    scoring = Scoring.of(both)
    leading = scoring.shown(both)
    rows = [
        (
            c.cell,
            change_text(c.latency.change) if c.latency else wording.ABSENT,
            _pair(c, lambda m: None if m.speedup is None else wording.bare_ratio(m.speedup)),
            _pair(c, lambda m: _score(m, scoring, named=len(leading) > 1)),
            _pair(c, lambda m: None if m.artifact_bytes is None else f"{m.artifact_bytes:,}"),
            in_words(c.latency.contaminated) if c.latency else (c.why_not or ""),
        )
        for c in ordered
    ]
    tones = [_tone(c) for c in ordered]
    score = leading[0].metric if len(leading) == 1 else "score"
    columns = ("cell", "time [95 %]", "speedup", score, "bytes", "note")
    parts = [grid(columns, rows, whole=_WHOLE, styles=tones), *_environment(differences, same_machine=same_machine)]
    return draw(parts, width=width, colour=colour)


def markdown_verdicts(verdicts: Sequence[Verdict], *, same_machine: bool = True) -> str:
    """Write what the gate found as GitHub's Markdown; what is ok is folded away."""
    verdicts = harmless_verdicts(verdicts)
    noticed = noticeable(verdicts)
    fine = [verdict for verdict in verdicts if verdict.outcome is Outcome.OK]
    blocks = [f"## sparsemark gate\n\n**{escape(summary_line(verdicts))}**"]
    if not same_machine:
        blocks.append(f"> {OTHER_MACHINE}")
    if noticed:
        blocks.append(_markdown_rows(noticed))
    if fine:
        blocks.append(f"<details><summary>{len(fine)} ok</summary>\n\n{_markdown_rows(fine)}\n\n</details>")
    return "\n\n".join(blocks) + "\n"


def noticeable(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return what is not ok, worst first, and within that the largest slowdown first."""
    noticed = [verdict for verdict in verdicts if verdict.outcome is not Outcome.OK]
    return sorted(noticed, key=lambda v: (ORDER.index(v.outcome), -v.change.estimate if v.change else 0.0))


def change_text(change: Interval) -> str:
    """Write a change of time in percent: `+20.1 % [+19.2, +21.0]`."""
    return f"{100 * change.estimate:+.1f} % [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def _row(verdict: Verdict) -> tuple[str, ...]:
    change = change_text(verdict.change) if verdict.change else ""
    return str(verdict.outcome), verdict.cell, verdict.quantity, change, verdict.reason


def _markdown_rows(verdicts: Sequence[Verdict]) -> str:
    return markdown_table(_COLUMNS, [[escape(text) for text in _row(verdict)] for verdict in verdicts])


def _pair(comparison: Comparison, write: Callable[[Measurement], str | None]) -> str:
    before, after = ((write(m) if m else None) or wording.ABSENT for m in (comparison.baseline, comparison.candidate))
    return before if before == after else f"{before} -> {after}"


def _score(m: Measurement, scoring: Scoring, *, named: bool) -> str | None:
    """Return the headline score: a fraction with four decimals, as the gate's tolerances are, or four digits."""
    scale, score = scoring.scale(m.model), scoring.score(m)
    if score is None:
        return None
    text = f"{score.value:.4f}" if scale.percent else wording.significant(score.value)
    return f"{scale.metric} {text}" if named else text


def _tone(comparison: Comparison) -> str:
    if comparison.latency is None:
        return "yellow"
    interval = comparison.latency.log_change
    return "red" if interval.low > 0 else "green" if interval.high < 0 else ""


def _environment(differences: Sequence[Difference], *, same_machine: bool) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if not same_machine:
        parts.append(Text(f"\n{OTHER_MACHINE}", "yellow"))
    if differences:
        parts.append(Text("\nConditions that differ", "bold"))
        rows = [_shortened(difference) for difference in harmless_differences(differences)]
        parts.append(grid(("condition", "baseline", "candidate"), rows))
    return parts


def _shortened(difference: Difference) -> tuple[str, ...]:
    texts = (difference.field, difference.baseline, difference.candidate)
    return tuple(text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..." for text in texts)
