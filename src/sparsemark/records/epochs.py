"""Epochs in the history of a checkpoint: of one training, or of the rounds of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PRUNING_SECONDS, FINETUNING_SECONDS = "pruning_seconds", "finetuning_seconds"
"""Fields of a checkpoint's provenance: what choosing took in all rounds, calibration included, and fine-tuning."""

FINETUNING_EPOCHS = "finetuning_epochs"
"""Field of a checkpoint's provenance: epochs of fine-tuning in all; absent for a network that was not pruned."""


def spent_on(provenance: Mapping[str, Any]) -> int | None:
    """Return the epochs of fine-tuning after a pruning; None where nothing was pruned, or nobody recorded it."""
    spent = provenance.get(FINETUNING_EPOCHS)
    return spent if isinstance(spent, int) and spent >= 0 else None


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


def cost_of(provenance: Mapping[str, Any]) -> float | None:
    """Return the seconds that pruning and fine-tuning took; None where they were not recorded.

    Epochs that say how long they took count also what an interrupted process did before.
    """
    pruning, whole = provenance.get(PRUNING_SECONDS), provenance.get(FINETUNING_SECONDS)
    if not isinstance(pruning, int | float) or not isinstance(whole, int | float):
        return None
    epochs = [epoch for _, epoch in epochs_of(provenance.get("history"))]
    each = [epoch.get(name) for epoch in epochs for name in ("seconds", "validation_seconds")]
    known = [one for one in each if isinstance(one, int | float)]
    return pruning + (sum(known) if each and len(known) == len(each) else whole)
