"""Tasks on slices, by the name that a recipe gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.tasks.both import Both
from training.tasks.classification import Classification
from training.tasks.segmentation import Segmentation

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.tasks.base import SliceTask

BOTH = "both"

TASKS: dict[str, Callable[[float], SliceTask]] = {
    "classification": lambda _: Classification(),
    "segmentation": lambda _: Segmentation(),
    BOTH: Both,
}
"""Made with theta, the weight of the mask's loss, which only `both` has a use for."""
