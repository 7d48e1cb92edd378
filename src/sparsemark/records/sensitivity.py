"""Sensitivity: scores of a network with single layers pruned, as a file that `--prune METHOD@FILE` reads.

History of `schema`:
1. Layers with the weights that go together, their scores and the ratio made of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - files are read by these annotations
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.files import write_atomically
from sparsemark.records.ranges import Count, Fraction, ScoreValue  # noqa: TC001 - as above

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1

_FIELDS = {"schema", "method", "metric", "sparsities", "layers"}
"""Fields that a file of another kind does not have together."""


@dataclass(frozen=True)
class LayerSensitivity:
    """Scores with one layer pruned, or several whose channels go together.

    Args:
        name: of the layer; of coupled ones, joined by ` + `.
        parameters: shapes by name of the weight.
        weights: elements of all of them.
        scores: one for each sparsity of the whole.
        ratio: highest sparsity that stays within the tolerance, interpolated.
        notes: what the method said of it.
    """

    name: str
    parameters: Mapping[str, tuple[int, ...]]
    weights: Count
    scores: tuple[ScoreValue, ...]
    ratio: Fraction
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of a network, its most sensitive layers first.

    Args:
        model: name of the network.
        method: that pruned one layer at a time, without fine-tuning.
        metric: headline metric of the task.
        higher_is_better: its direction.
        dense: score of the unpruned network.
        tolerance: loss of score, in the metric's unit, that the ratios stay within.
        data: that was scored on, in words.
        sparsities: that were tried, ascending.
        layers: the ratios in them are how the layers compare.
    """

    model: str
    method: str
    metric: str
    higher_is_better: bool
    dense: ScoreValue
    tolerance: ScoreValue
    data: str
    sparsities: tuple[Fraction, ...]
    layers: tuple[LayerSensitivity, ...]

    def loss(self, score: float) -> float:
        """Return by how much a score is worse than the dense one, in the metric's unit; below 0 where it is better."""
        return self.dense - score if self.higher_is_better else score - self.dense

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        write_atomically(path, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, allow_nan=False).encode())


def check_replaceable(path: Path) -> None:
    """Check that a path names an earlier sensitivity file, an empty one or none: others may hold hours of measurements.

    Raises:
        UserError: it names another file, or one that cannot be read.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
        document = json.loads(content) if content.strip() else dict.fromkeys(_FIELDS)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not document.keys() >= _FIELDS:
        raise UserError(
            f"{path}: holds something else, which would be lost; expected an earlier sensitivity file or none"
        )
