"""Rule of every verdict: an interval against the margin of its claim, and the words that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from sparsemark.report import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.tables import Study

HOLDS, FAILS, OPEN = "holds", "does not hold", "can't tell"

POINT = 1.0
"""Points of accuracy within which a score counts as kept, and two as alike."""


@dataclass(frozen=True)
class Margin:
    """Range in which a number lies where its claim is true, both ends outside of it.

    Args:
        words: what is said of a number that lies there: `above 0`.
        form: of a number of its unit.
    """

    words: str
    low: float = -inf
    high: float = inf
    form: str = "+.1f"


ABOVE = Margin("above 0", low=0.0)
BELOW = Margin("below 0", high=0.0)
KEPT = Margin(f"above -{POINT:.0f} point", low=-POINT)
ALIKE = Margin(f"within {POINT:.0f} point either way", -POINT, POINT)
FASTER = Margin("above 1.05x", low=1.05, form=".2f")
LIGHTER = Margin("below half of the bytes", high=0.5, form=".2f")
COLLAPSED = Margin("less than 5 points above the most frequent class", high=5.0)
OVER_HALF = Margin("above 50 %", low=50.0, form=".1f")

RULES = (
    ("better, worse, rises, falls", "the difference", "0, since any difference counts that is not chance"),
    ("accuracy is kept", "pruned minus dense", "-1 point: a loss of less is what users put up with for speed"),
    ("two are alike", "the difference", "1 point either way, the same"),
    ("faster", "the ratio of the times", "1.05x, since a change of pruning or engine for less is not worth it"),
    ("lighter", "the share of the bytes", "half: of 90 % zeros less is not worth another format"),
    ("accuracy collapses", "accuracy minus that of the most frequent class", "5 points; the paper's 70 % is at 1.5"),
    ("an answer misleads", "its accuracy", "50 %, the paper's own number"),
)
"""What a claim says, the number that is judged, and the margin that it must pass."""


def judged(interval: tuple[float, float] | None, margin: Margin) -> str:
    """Return the word for a number: by the whole of its interval inside the margin, or the whole of it outside.

    Args:
        interval: lowest and highest value; twice the same for an exact number; None where there is none.
        margin: of the claim.
    """
    if interval is None:
        return OPEN
    low, high = interval
    if margin.low < low and high < margin.high:
        return HOLDS
    return FAILS if high <= margin.low or low >= margin.high else OPEN


@dataclass(frozen=True)
class Part:
    """A number that a claim depends on.

    Args:
        name: of what is compared: `70 % zeros`.
        value: the number with its interval and its sample, as the page shows it; empty where there is none.
        interval: its ends, in the unit of the margin; None where there is none.
        margin: of the claim.
        unknown: why there is no interval.
    """

    name: str
    value: str
    interval: tuple[float, float] | None
    margin: Margin
    unknown: str = ""

    @property
    def word(self) -> str:
        """Whether the claim holds for this number."""
        return judged(self.interval, self.margin)

    def phrase(self, *, alone: bool = False) -> str:
        """Return where the interval lies, with its ends where there is no other part."""
        if self.interval is None:
            return f"no interval: {self.unknown}" if self.value else self.unknown
        low, high = self.interval
        form = self.margin.form
        if low == high:
            return f"the exact number {low:{form}} is {'' if self.word == HOLDS else 'not '}{self.margin.words}"
        ends = f"interval [{low:{form}}, {high:{form}}]" if alone else "interval"
        where = {HOLDS: "the whole", FAILS: "no part of the", OPEN: "only a part of the"}
        return f"{where[self.word]} {ends} is {self.margin.words}"


@dataclass(frozen=True)
class Verdict:
    """A word of the three with its reason.

    Args:
        word: of the three.
        why: one sentence, without a full stop.
        evidence: numbers with how many cases and which interval; empty where there are none.
        beyond: what the paper did not ask; empty where there is nothing.
    """

    word: str
    why: str
    evidence: str = ""
    beyond: str = ""


def verdict(
    parts: Sequence[Part],
    lead: str = "",
    *,
    kind: str = "numbers",
    some: bool = False,
    caveat: str = "",
    more: str = "",
    beyond: str = "",
) -> Verdict:
    """Return the verdict on a claim that has some parts.

    Args:
        parts: at least one.
        lead: what all their numbers are.
        kind: what the parts are called where there are several.
        some: the claim says `sometimes`: one part is enough for it, and all must deny it. Else all must hold, and one
            that does not denies the claim.
        caveat: what stands behind the reason.
        more: what stands behind the numbers and is not judged.
        beyond: what the paper did not ask.
    """
    words = [part.word for part in parts]
    enough, denied = (any, all) if some else (all, any)
    word = OPEN
    if enough(one == HOLDS for one in words):
        word = HOLDS
    elif denied(one == FAILS for one in words):
        word = FAILS
    numbers = "; ".join(f"{part.name} {part.value}".strip() for part in parts if part.value)
    evidence = "; ".join(text for text in (f"{lead}: {numbers}" if lead and numbers else numbers, more) if text)
    return Verdict(word, _reason(parts, word, kind) + caveat, evidence, beyond)


def _reason(parts: Sequence[Part], word: str, kind: str) -> str:
    """Return where the intervals lie, those first that decide."""
    if len(parts) == 1:
        return parts[0].phrase(alone=True)
    phrases: dict[str, list[str]] = {}
    for part in sorted(parts, key=lambda part: part.word != word):
        phrases.setdefault(part.phrase(), []).append(part.name)
    if len(phrases) == 1:
        every = "both" if len(parts) == 2 else f"all {wording.numeral(len(parts))}"
        return f"{every} {kind}: {parts[0].phrase()}"
    return "; ".join(f"{wording.listed(names)}: {phrase}" for phrase, names in phrases.items())


@dataclass(frozen=True)
class Claim:
    """What the paper says, and the rule that judges it.

    Args:
        number: in the ledger, with a letter where one of its claims has several parts.
        text: what is claimed.
        judge: returns the verdict.
    """

    number: str
    text: str
    judge: Callable[[Study], Verdict]


def counted(verdicts: Iterable[Verdict]) -> str:
    """Return how many of the claims hold, do not hold, and can't be told."""
    words = [one.word for one in verdicts]
    return (
        f"Of {len(words)} claims, {words.count(HOLDS)} hold, {words.count(FAILS)} do not hold, and on "
        f"{words.count(OPEN)} we can't tell."
    )


def absent(study: Study, names: Iterable[str]) -> str:
    """Return which variants a verdict lacks; empty where all are there."""
    missing = study.missing(*names)
    return f"not trained yet: {wording.listed(f'`{name}`' for name in missing)}" if missing else ""


def percent(value: float | None) -> str:
    """Return a fraction as `92.4 %`."""
    return wording.percent(value, 1)
