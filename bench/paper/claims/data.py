"""Verdicts on scores, splits, settings and images: claims 10, 11, 13 and 14."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.paper.claims.pruning import TOO_FEW
from bench.paper.verdicts import ABOVE, OPEN, OVER_HALF, Margin, Part, Verdict, absent, percent, verdict
from bench.tables import mean_of
from sparsemark.analysis.groups import loss_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.tables import Study

_SIZE, _IMAGES, _SIZES = 256, 3243, 1
"""Side in pixels of every image of the set at hand before it was reduced, how many there are, and of how many sizes:
its notice."""

_SEVERAL = Margin("more than one size", low=1.0, form=".0f")
_PICKED = "the best of {} others was picked on the patients that would give it, after {} epochs where the paper has 30"


def accuracy_misleads(study: Study) -> Verdict:
    """10: what answers without a look at the image is above a half."""
    blind = {
        "always the most frequent class": "majority-seed0",
        "a slice's position without its pixels": "position-seed0",
    }
    levels = {what: study.level([name]) for what, name in blind.items()}
    if any(level is None for level in levels.values()):
        return Verdict(OPEN, absent(study, blind.values()) or "not evaluated")
    parts = [
        Part(what, f"{level}{_others(study, blind[what])}", (level.low, level.high), OVER_HALF)
        for what, level in levels.items()
        if level is not None
    ]
    collapsed, whole = "cnn9-magnitude90-seed0", "cnn9-dense-seed0"
    more = [
        f"{what} {percent(value)}{_others(study, name, field)}"
        for what, name, field in (
            ("90 % zeros before retraining", collapsed, "_raw"),
            ("to compare, the dense `cnn9`", whole, ""),
        )
        if (value := study.score(name, f"accuracy{field}")) is not None
    ]
    return verdict(parts, "accuracy", kind="answers", more="; ".join(more))


def _others(study: Study, name: str, field: str = "") -> str:
    """Return the scores that the paper prefers, as exact numbers of these slices."""
    recall, f1 = (study.score(name, f"{one}{field}") for one in ("recall", "f1"))
    return "" if recall is None or f1 is None else f" (recall {percent(recall)}, F1 {percent(f1)})"


def split_decides(study: Study) -> Verdict:
    """11: split by slice minus by patient; from the ends of both intervals, since their tests are not the same."""
    ours, leaky = "cnn9-dense-seed0", "cnn9_slice-dense-seed0"
    patient, slices = study.level([ours]), study.level([leaky])
    if patient is None or slices is None:
        return Verdict(OPEN, absent(study, [ours, leaky]) or TOO_FEW)
    low, high = slices.low - patient.high, slices.high - patient.low
    text = f"{slices.percent - patient.percent:+.1f} [{low:+.1f}, {high:+.1f}] points, from the ends of both intervals"
    more = f"by slice, where a patient is both trained and tested on, {slices}; by patient {patient}"
    part = Part("", text, (low, high), ABOVE)
    return verdict([part], "by slice minus by patient", more=more, caveat="; one network each")


def adam_is_best(study: Study) -> Verdict:
    """13: the paper's settings minus each other trial of the search, paired by validation patient.

    Where one other alone was tried, it was not picked, and its interval can deny the claim.
    """
    found = study.search
    settings = None if found is None else next((t for t in found["trials"] if _has(t, found["paper"])), None)
    if found is None or settings is None:
        return Verdict(OPEN, "not searched yet")
    others = [trial for trial in found["trials"] if trial is not settings]
    parts = [_against(settings, trial) for trial in others]
    best = max(others, key=lambda trial: float(trial["validation_roc_auc"]))
    shown = parts[others.index(best)]
    more = (
        f"{len(others)} other trials, {found['epochs']} epochs each; the best by validation ROC AUC, "
        f"{best['validation_roc_auc']:.3f}, has {_settings(best)}; "
        f"the paper's settings {settings['validation_roc_auc']:.3f}"
    )
    if len(others) > 1 and any(part.interval is None or part.interval[0] <= 0 for part in parts):
        unknown = _PICKED.format(len(others), found["epochs"])
        parts = [Part("", shown.value, None, ABOVE, unknown)]
        return verdict(parts, "validation accuracy, the paper's settings minus the best others", more=more)
    return verdict(parts, "validation accuracy, the paper's settings minus others", kind="trials", more=more)


def _against(settings: Mapping[str, Any], trial: Mapping[str, Any]) -> Part:
    interval = loss_interval(settings["patients"], trial["patients"], higher_is_better=True)
    if interval is None:
        return Part("", "", None, ABOVE, TOO_FEW)
    points = 100 * (mean_of(settings["patients"]) - mean_of(trial["patients"]))
    low, high = (100 * end for end in interval)
    patients = len(trial["patients"])
    return Part("", f"{points:+.1f} [{low:+.1f}, {high:+.1f}] points, {patients} patients", (low, high), ABOVE)


def _settings(trial: Mapping[str, Any]) -> str:
    return (
        f"{trial['optimizer']} at {trial['learning_rate']:.2g}, momentum {trial['momentum']:.2g}, "
        f"{trial['initialization']} initial weights"
    )


def _has(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(trial[name] == value for name, value in settings.items())


def sizes_differ(_study: Study) -> Verdict:
    """14a: by the notice of the reduced set, which names the size that its images had."""
    text = f"{_IMAGES:,} images, each {_SIZE} x {_SIZE} pixels before it was reduced to half: {_SIZES} size"
    return verdict([Part("", text, (_SIZES, _SIZES), _SEVERAL)])


def images_are_alike(_study: Study) -> Verdict:
    """14b: nothing committed measures it."""
    return Verdict(OPEN, "the paper gives no measure of it, and ours has none")
