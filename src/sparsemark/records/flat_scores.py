"""Scores as plain numbers in `extra_info`: `accuracy`, `accuracy_low`, `dice_volume`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from sparsemark.records import typed
from sparsemark.records.ranges import SCORE_ORDER
from sparsemark.records.scores import Score

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_ENDS = {
    "value": "",
    "low": "_low",
    "high": "_high",
    "raw": "_raw",
    "recalibrated": "_recalibrated",
    "float32": "_float32",
}
"""Numbers of a score, with what follows the metric in their names."""

_PARTS = tuple(f.name for f in dataclasses.fields(Score) if f.name != "groups")
"""Parts of a score in a result file: all but its groups, which would come with every cell."""

_STORED = "sparsemark.scores"


def flattened(scores: Mapping[str, Score], reserved: Collection[str]) -> dict[str, float]:
    """Return every number of every score under its name in `extra_info`; absent ones are left out.

    Args:
        scores: by metric.
        reserved: names of other fields of `extra_info`.
    """
    numbers = {name: getattr(scores[metric], part) for (metric, part), name in _names(scores, reserved).items()}
    return {name: number for name, number in numbers.items() if number is not None}


def stored(scores: Mapping[str, Score]) -> dict[str, dict[str, Any]]:
    """Return what `read` takes as `stored`."""
    return {metric: {part: getattr(score, part) for part in _PARTS} for metric, score in scores.items()}


def read(info: Mapping[str, Any], stored: Mapping[str, Any] | None, reserved: Collection[str]) -> dict[str, Score]:
    """Read scores. Order, direction and tolerance come from `stored`, numbers from `extra_info`, which people edit.

    Args:
        info: the `extra_info` of an entry.
        stored: fields of each score by metric. None where another program wrote `extra_info` alone: every number in it
            that is no field is then a metric.
        reserved: names of other fields of `extra_info`.

    Raises:
        ValueError: naming the field that has another type or lies outside its range.
    """
    known: Mapping[str, Any] = dict.fromkeys(_metrics(info, reserved)) if stored is None else stored
    names = _names(known, reserved)
    # A file of another program may know a score's interval and not the score.
    hints = {part: hint | None for part, hint in typed.hints_of(Score).items()}
    scores = {}
    for metric in known:
        where = f"{_STORED}.{metric}"
        flat = {part: names[metric, part] for part in _ENDS if names.get((metric, part)) in info}
        numbers = {part: typed.scalar(info[name], hints[part], f"extra_info.{name}") for part, name in flat.items()}
        given = typed.mapping(known, metric, where)
        values = {part: given[part] for part in _PARTS if part in given} | numbers
        if values.get("value") is not None:
            places = {part: f"{where}.{part}" for part in _PARTS}
            places |= {part: f"extra_info.{name}" for part, name in flat.items()}
            scores[metric] = typed.in_order(typed.record(values, Score, places), SCORE_ORDER, places)
    return scores


def _metrics(info: Mapping[str, Any], reserved: Collection[str]) -> list[str]:
    numbers = [
        name
        for name, value in info.items()
        if name not in reserved and isinstance(value, int | float) and not isinstance(value, bool)
    ]
    parts = {name + end for name in numbers for end in _ENDS.values() if end}
    return [name for name in numbers if name not in parts]


def _names(metrics: Collection[str], reserved: Collection[str]) -> dict[tuple[str, str], str]:
    """Return the name of each metric's numbers; a name that is taken keeps its first meaning.

    A metric called like a field, as `precision` is, has `score_` before it.
    """
    names: dict[tuple[str, str], str] = {}
    taken = set(reserved)
    # All values come first, so that no metric gives way to the interval of another.
    for part, end in _ENDS.items():
        for metric in metrics:
            name = (f"score_{metric}" if metric in reserved else metric) + end
            if name not in taken:
                names[metric, part] = name
                taken.add(name)
    return names
