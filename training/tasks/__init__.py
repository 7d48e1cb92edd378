"""Tasks on slices, by the name that a recipe gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.tasks.both import Both
from training.tasks.classification import Classification
from training.tasks.segmentation import Segmentation

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.tasks.base import SliceTask

CLASSIFICATION, BOTH = "classification", "both"

TASKS: dict[str, Callable[[float], SliceTask]] = {
    CLASSIFICATION: lambda _: Classification(),
    "segmentation": lambda _: Segmentation(),
    BOTH: Both,
}
"""Made with theta, the weight of the mask's loss, which only `both` has a use for."""

EQUAL = 0.5
"""Theta where it decides nothing: in scoring, and where each loss has its steps."""
