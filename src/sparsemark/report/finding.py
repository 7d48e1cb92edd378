"""Finding: what one change to a network did to the time of one engine; as a sentence, and as a row of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.statistics import Interval
from sparsemark.report import wording

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

NEGLIGIBLE = 0.03
"""A change of time inside this band is called none: machines move as much within a run without anybody noticing."""

QUANTISING = "quantising"
"""What a finding of a quantised network is of: its sentence has the score as well, which quantising may cost."""

UNCHANGED = "unchanged"

_NO_NOISE = Interval(1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Finding:
    """What was done, to which engine's time, with which verdict; numbers are those of one example.

    Args:
        model: network; empty where the run has one alone.
        what: was done.
        runner: engine, with its precision.
        verdict: which way the time went, by the ratio that decides.
        over: what the ratio that decides is over, `dense PyTorch`; empty without such a ratio.
        example: pruning from which the most was removed.
        over_reference: its speedup over the reference, as in its row of the table; None without an interval.
        over_own: its speedup over its own engine: over the dense network there, of a quantised network over the same in
            float32; None where that was not measured.
        by_reference: whether the first of the two decides, else the second.
        values: score before and after, `accuracy 92.4 -> 91.8`; empty where there is none.
        change: of the score, with interval and unit; empty where there is none.
        counts: cells by verdict, where they differ.
        noise: what a mask without a zero gave on this engine, where that was not unchanged.
    """

    model: str
    what: str
    runner: str
    verdict: str
    over: str
    example: str
    over_reference: Interval | None
    over_own: Interval | None
    by_reference: bool = False
    values: str = ""
    change: str = ""
    counts: str = ""
    noise: Interval | None = None

    @property
    def name(self) -> str:
        """Name of the change and the engine, behind that of the network if there are several."""
        return f"{f'{self.model}: ' if self.model else ''}{self.what} on {self.runner}"

    @property
    def sentence(self) -> str:
        """One verdict, and one number with what both are over."""
        ratio = self.over_reference if self.by_reference else self.over_own
        told = f"{self.example} is {wording.ratio(ratio)} over {self.over}" if ratio else self.example
        if self.what == QUANTISING and self.values:
            told = f"{told}, {self.values} ({self.change})"
        return f"{self.name}: {self.verdict}; {told}."


def word_of(interval: Interval, noise: Interval | None = None) -> str:
    """Return which way a time went; what a mask without a zero reached as well settles nothing."""
    reached = noise or _NO_NOISE
    if interval.low > 1 - NEGLIGIBLE and interval.high < 1 + NEGLIGIBLE:
        return UNCHANGED
    if interval.low > max(1, reached.high):
        return "faster"
    return "slower" if interval.high < min(1, reached.low) else "not settled"


def verdict_of(words: Counter[str]) -> tuple[str, str]:
    """Return what most cells say, and the counts where not all say the same."""
    cells = words.total()
    word, most = words.most_common(1)[0]
    if most == cells:
        return word + (f" in all {cells} cells" if cells > 1 else ""), ""
    counts = ", ".join(f"{one} in {n}" for one, n in words.most_common())
    return (f"{word} in {most} of {cells} cells" if 2 * most > cells else f"mixed in {cells} cells"), counts


def sentences(found: Sequence[Finding]) -> list[str]:
    """Return one sentence a finding."""
    return [one.sentence for one in found]


def beside(found: Sequence[Finding]) -> list[str]:
    """Return what the sentences leave out, each once: counts of cells that differ, and noise of an engine."""
    noisy = {(one.model, one.runner): one for one in found if one.noise}
    return [*_counts(found), *map(_noise, noisy.values())]


def _counts(found: Sequence[Finding]) -> Iterator[str]:
    return (f"{one.name}, cell by cell over {one.over}: {one.counts}." for one in found if one.counts)


def _noise(one: Finding) -> str:
    network = f"{one.model}: " if one.model else ""
    gave = wording.ratio(one.noise) if one.noise else wording.ABSENT
    what = f"a mask without a zero on {one.runner} gave {gave} over dense {one.runner}"
    return f"{network}{what}: ratios within that are not settled."


@dataclass(frozen=True)
class Cell:
    """One text of the table.

    Args:
        text: as shown.
        classes: of the style sheet: `number`, and `decides` for the ratio that the verdict goes by.
        more: a second line, in small letters.
    """

    text: str
    classes: str = ""
    more: str = ""


def findings_table(found: Sequence[Finding], reference: str) -> tuple[list[str], list[list[Cell]]]:
    """Return titles and rows of the same as a table, a row a finding; a column that is empty in every row is left out.

    Args:
        found: in the order of the rows.
        reference: what speedups are over, `dense ONNX Runtime`.
    """
    rows = [
        {
            "what": Cell(f"{one.what} on {one.runner}", more=", ".join(filter(None, (one.model, one.example)))),
            "verdict": Cell(one.verdict, more=f"over {one.over}" if one.over else ""),
            f"over {reference}": _ratio(one.over_reference, decides=one.by_reference),
            "over the same without it": _ratio(one.over_own, decides=not one.by_reference),
            "score change": Cell(one.change, "number", one.values.replace("->", "\N{RIGHTWARDS ARROW}")),
        }
        for one in found
    ]
    empty = "", wording.ABSENT
    columns = [title for title in (rows[0] if rows else {}) if any(row[title].text not in empty for row in rows)]
    return columns, [[row[title] for title in columns] for row in rows]


def _ratio(interval: Interval | None, *, decides: bool) -> Cell:
    return Cell(wording.ratio(interval) if interval else wording.ABSENT, "number decides" if decides else "number")
