"""Schema 1 of a checkpoint's header, read as schema 2.

It held one pruning step as a table, named its data by their hash and the split, told a phantom or a leaky split by a
word in a sentence, and had scores of five names for each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.files import key_of
from sparsemark.specs import Pruning

if TYPE_CHECKING:
    from collections.abc import Mapping

METRICS = ("accuracy", "f1", "recall", "precision", "roc_auc")

_CAVEATS = ("PHANTOM", "LEAKY")
_TOLERANCE = 0.01  # of accuracy: one point


def upgrade(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header of schema 1 as one of schema 2.

    Raises:
        KeyError: a field is missing.
        UserError: the pruning is none.
    """
    pruning = Pruning.of(**header["prune"])
    provenance = _upgrade_provenance(header["provenance"])
    return {**header, "pruning": pruning.text, "fold": None, "provenance": provenance}


def _upgrade_provenance(old: Mapping[str, Any]) -> dict[str, Any]:
    new = {name: value for name, value in old.items() if name not in ("metrics", "data", "source")}
    if isinstance(data := old.get("data"), dict):
        new |= {name: value for name, value in data.items() if name not in ("source", "split")}
        new["key"] = key_of(data.get("hash"), old.get("split"))
    if source := old.get("source"):
        new["data"] = source
        new["caveat"] = next((word for word in _CAVEATS if word in source.upper()), None)
    if scores := _scores(old.get("metrics", {})):
        new["scores"] = scores
    if baselines := old.get("baselines"):
        new["baselines"] = baselines
    return new


def _scores(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    final = metrics.get("finetuned") or metrics.get("trained") or {}
    raw, recalibrated = metrics.get("raw", {}), metrics.get("recalibrated", {})
    return {
        name: {
            "value": final[name],
            "low": final.get(f"{name}_low"),
            "high": final.get(f"{name}_high"),
            "raw": raw.get(name),
            "recalibrated": recalibrated.get(name),
            "higher_is_better": True,
            "tolerance": _TOLERANCE if name == METRICS[0] else None,
        }
        for name in METRICS
        if final.get(name) is not None
    }
