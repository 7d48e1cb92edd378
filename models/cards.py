"""Cards of the trained networks: how each was trained, on whom it was tested, and what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.networks.checkpoint import read_header
from sparsemark.records.epochs import spent_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_COLUMNS = ("network", "pruning", "seed", "recipe", "precision", "epochs", "fine-tuned", "tested on")
_SHOWN = {"accuracy": "accuracy, %", "roc_auc": "ROC AUC, %", "dice_volume": "Dice of the volume, %"}
"""Scores of a card, with the titles of their columns."""

_PRECISIONS = {"bf16-mixed": "bfloat16", "32-true": "float32"}
"""Precisions of training, by Lightning's names."""


def cards(folder: Path) -> str:
    """Return a table of all checkpoints in a folder, from their headers; scores with 95 % intervals by patient."""
    titles = (*_COLUMNS, *_SHOWN.values())
    lines = [_row(titles), _row(["---"] * len(titles))]
    return "\n".join([*lines, *(_row(_card(path)) for path in sorted(folder.glob("*.safetensors")))])


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _card(path: Path) -> Iterator[str]:
    header = read_header(path)
    variant, origin = header.variant, header.provenance
    recipe = origin["recipe"]
    yield f"`{variant.model.name}`"
    yield "-" if variant.pruning.is_dense else variant.pruning.label
    yield f"{variant.seed}" if variant.fold is None else f"{variant.seed}, fold {variant.fold}"
    yield str(recipe["name"])
    yield _PRECISIONS.get(recipe["train"]["precision"], recipe["train"]["precision"])
    yield str(recipe["train"]["epochs"])
    # Files from before the epochs were recorded spent what their recipe says.
    yield "-" if variant.pruning.is_dense else str(spent_on(origin) or recipe["finetune"]["epochs"])
    yield str(origin["data"]).rpartition("; test on ")[2]
    for name in _SHOWN:
        yield _score(origin["scores"].get(name))


def _score(score: Mapping[str, Any] | None) -> str:
    if score is None or score.get("value") is None:
        return "-"
    low, high = score.get("low"), score.get("high")
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * score['value']:.1f}{interval}"
