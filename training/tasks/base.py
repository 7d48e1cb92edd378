"""Protocol of a task on slices: targets, losses, and scores from a few numbers a slice.

A network's outputs are first summarised, one number or more a slice (`PerSlice`), and scored from those: an epoch of
masks needs no memory, and patients can be told apart afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sparsemark.specs import Metric

PerSlice = dict[str, torch.Tensor]
"""Numbers by name, each of shape (n,)."""

PatientScores = dict[str, dict[str, tuple[float, float]]]
"""Score and weight by patient and metric; the weighted mean over patients is the metric."""


class SliceTask(Protocol):
    """What a network predicts of a slice, and how that is learnt and scored.

    Attributes:
        metrics: in the order of tables; the first is the headline.
        selects: the metric by which an epoch is chosen on validation patients.
        uses_masks: whether targets hold masks, which augmentation then moves with the images.
    """

    metrics: ClassVar[Mapping[str, Metric]]
    selects: ClassVar[str]
    uses_masks: ClassVar[bool]

    def targets(self, labels: NDArray[np.bool_], masks: NDArray[np.uint8] | None) -> Any:
        """Return the targets of a batch, as tensors: `labels` of shape (n,), `masks` of shape (n, height, width)."""

    def losses(self, outputs: Sequence[torch.Tensor], targets: Any) -> dict[str, tuple[float, torch.Tensor]]:
        """Return weight and scalar of each loss."""

    def summarise(self, outputs: Sequence[torch.Tensor], targets: Any) -> PerSlice:
        """Return what scores need of each slice."""

    def score(self, table: PerSlice, patients: Sequence[str]) -> dict[str, float | None]:
        """Return every metric; None where the slices cannot show it, such as the Dice of slices without a tumour."""

    def by_patient(self, table: PerSlice, patients: Sequence[str]) -> PatientScores:
        """Return the metrics that are weighted means over patients, patient by patient."""


def total(losses: Mapping[str, tuple[float, torch.Tensor]]) -> torch.Tensor:
    """Return the weighted sum of losses."""
    return torch.stack([weight * loss for weight, loss in losses.values()]).sum()


def check_outputs(outputs: Sequence[torch.Tensor], shapes: Sequence[tuple[int, ...]]) -> None:
    """Check number and shapes of a network's outputs, and that they are finite.

    Raises:
        UserError: naming what was found and what was expected.
    """
    found = [tuple(output.shape) for output in outputs]
    if found != list(shapes):
        words = " and ".join(map(str, found)) or "none"
        raise UserError(f"output of shape {words}; expected logits {' and '.join(map(str, shapes))}")
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise UserError("output holds NaN or infinities; expected finite logits")
