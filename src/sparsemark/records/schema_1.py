"""Entries of schema 1, read as those of schema 2."""

from __future__ import annotations

from typing import Any

from sparsemark.errors import UserError
from sparsemark.records import typed
from sparsemark.records.ranges import Fraction, Positive, ScoreValue
from sparsemark.specs import FP32, Pruning

METRICS = ("accuracy", "f1", "recall", "precision", "roc_auc")
"""Fields of the record in schema 1, the headline first."""

ACCURACY_TOLERANCE = 0.01
"""Loss that the gate of schema 1 allowed; it judged no other metric."""

CAVEATS = ("PHANTOM", "LEAKY")
"""Words that schema 1 wrote into the sentence on the images, in any case; the first found counts."""


def upgraded(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of schema 1 in the form of schema 2; its prose on contamination is left out.

    Fields whose names stay are passed on as they are, to be checked with the others.

    Raises:
        ValueError: a field that is read here has another type.
    """
    info = dict(entry["extra_info"])
    for old, new in (("accuracy_source", "score"), ("agreement_source", "parity")):
        words = _taken(info, old, str)
        caveat = next((word for word in CAVEATS if words and word in words.upper()), None)
        info |= {f"{new}_data": words, f"{new}_caveat": caveat}
    info["engine_agreement"] = _taken(info, "agreement", Fraction)
    # Schema 2 keeps this name for what the engine computes in.
    info["score_precision"] = _taken(info, "precision", ScoreValue)
    info["precision"] = FP32 if info.get("engine") else None
    info["pruning"] = _pruning(info)
    info["launches"] = None if info.get("samples") is None else 1
    scores: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}
    scores["accuracy"]["tolerance"] = ACCURACY_TOLERANCE
    beside = {**typed.mapping(entry, "sparsemark"), "scores": scores}
    return {**entry, "extra_info": info, "sparsemark": beside}


def _pruning(info: dict[str, Any]) -> str | None:
    """Text of the one step that schema 1 knew."""
    method, sparsity, round_to = (
        typed.scalar(info.get(name), kind | None, f"extra_info.{name}")
        for name, kind in (("method", str), ("sparsity_target", Fraction), ("round_to", Positive))
    )
    if method is None:
        return None
    try:
        return Pruning.of(method, sparsity or 0.0, round_to or 1).text
    except UserError:
        return None  # numbers that nothing could have been pruned with


def _taken(info: dict[str, Any], name: str, kind: Any) -> Any:
    """Remove and return a field that has another name in schema 2."""
    return typed.scalar(info.pop(name, None), kind | None, f"extra_info.{name}")
