"""Remembered choices: the schedules of one kind of convolution with their seconds, and whether to measure them again.

A minute in which others had the processor can decide for the slower of two schedules. So what two looks at the same
schedule differed by is kept beside the seconds: where the fastest was no further ahead than that, it is measured again
at a later load, and the least of all looks counts.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sparsemark import paths
from sparsemark.direct.schedule import Schedule
from sparsemark.errors import UserError
from sparsemark.files import note_of, read_note, write_privately

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_MATTERS = 0.05
"""Spread up to which a wrong choice costs too little to be measured again."""

MOST_LOOKS = 3
"""Times that one choice is measured at most."""

_APART = 3600.0
"""Seconds between two looks: a busy minute must be over, and the launches of a study are to run the same program."""


@dataclass(frozen=True)
class Choice:
    """Schedules of one kind of convolution that were timed.

    Args:
        seconds: of each, the least of all looks.
        spread: by how much two timings of one schedule differed at the last look, as a share of the shorter.
        measured_at: time of the last look, in seconds since the epoch.
        looks: times that it was measured.
    """

    seconds: Mapping[Schedule, float]
    spread: float
    measured_at: float
    looks: int = 1

    @property
    def schedule(self) -> Schedule:
        """The fastest."""
        return min(self.seconds, key=self.seconds.__getitem__)

    @property
    def is_doubtful(self) -> bool:
        """Whether another schedule was no further behind than timings of one differed."""
        first, *others = sorted(self.seconds.values())
        return bool(others) and self.spread > max(_MATTERS, others[0] / first - 1)

    @property
    def again_at(self) -> float | None:
        """Time from which on it is to be measured again; None where it stands."""
        return self.measured_at + _APART if self.is_doubtful and self.looks < MOST_LOOKS else None

    def joined(self, earlier: Choice | None) -> Choice:
        """Return this look with an earlier one's seconds beside its own."""
        if earlier is None:
            return self
        seconds = {
            schedule: min(self.seconds.get(schedule, math.inf), earlier.seconds.get(schedule, math.inf))
            for schedule in {**earlier.seconds, **self.seconds}
        }
        return Choice(seconds, self.spread, self.measured_at, earlier.looks + 1)


def remember(path: Path, content: Mapping[str, Any]) -> None:
    """Write a note to the user's cache; a folder that cannot be written costs the next load its time, no more."""
    with contextlib.suppress(UserError):
        cache = paths.user_cache()
        root = cache if cache in path.parents else path.parent
        write_privately(path, note_of(content), root)


def remember_choice(path: Path, choice: Choice) -> None:
    """Write a choice."""
    timed = [asdict(schedule) | {"seconds": seconds} for schedule, seconds in choice.seconds.items()]
    remember(
        path,
        {"timed": timed, "spread": choice.spread, "measured_at": choice.measured_at, "looks": choice.looks},
    )


def recall_choice(path: Path, ways: Sequence[Schedule]) -> Choice | None:
    """Return a remembered choice; None where there is none, or it is not whole or not among these ways."""
    stored = read_note(path)
    if stored is None:
        return None
    try:
        seconds = {schedule_of(one): _positive(one["seconds"]) for one in stored["timed"]}
        spread, measured_at, looks = (_number(stored[name]) for name in ("spread", "measured_at", "looks"))
        choice = Choice(seconds, spread, measured_at, int(looks))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return choice if seconds and all(schedule in ways for schedule in seconds) else None


def schedule_of(stored: Mapping[str, Any]) -> Schedule:
    """Return a schedule as a note holds it; what is none raises one of Python's own errors."""
    kinds = (bool(stored[name]) for name in ("winograd", "flat", "product"))
    return Schedule(int(stored["microkernel"]), int(stored["block"]), *kinds)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError(f"{value!r} are no seconds")
    return number
