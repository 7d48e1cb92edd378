"""Epochs in the history of a checkpoint: of one training, or of the rounds of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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
