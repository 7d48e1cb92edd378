"""Epochs in the history of a checkpoint: of one training, or of the rounds of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PRUNING_SECONDS = "pruning_seconds"
"""Field of a checkpoint's provenance: what choosing took in all rounds, calibration included."""


def epochs_of(history: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield each epoch with the number of its round, from 1.

    Args:
        history: `{"epochs": [...]}` or `{"rounds": [{"epochs": [...]}, ...]}`. What a task's `train` returned in
            another form has no epochs.
    """
    whole = history if isinstance(history, dict) else {}
    rounds = whole.get("rounds", [whole])
    for number, part in enumerate(rounds if isinstance(rounds, list) else ()):
        epochs = part.get("epochs") if isinstance(part, dict) else None
        for epoch in epochs if isinstance(epochs, list) else ():
            if isinstance(epoch, dict):
                yield number + 1, epoch


def seconds_of(history: Any) -> float | None:
    """Return the seconds that all epochs of a history took, validation included; None where one does not say."""
    found = [epoch.get("seconds") for _, epoch in epochs_of(history)]
    validation = [epoch.get("validation_seconds", 0.0) for _, epoch in epochs_of(history)]
    numbers = [one for one in (*found, *validation) if isinstance(one, int | float)]
    return sum(numbers) if len(numbers) == len(found) + len(validation) else None
