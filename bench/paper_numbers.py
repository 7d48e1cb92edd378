"""Numbers of the paper, as it prints them, and ours of the same network and step beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.report.wording import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.paper import Study

    Rows = tuple[Sequence[str], Sequence[Sequence[str]]]

EPOCHS = (1, 10, 20, 30)
"""At which the paper prints scores."""

VALIDATION_BY_EPOCH = {
    "ResNet": ("resnet3-dense-seed0", (69.92, 85.80, 92.37, 95.17)),
    "U-Net": ("unet-dense-seed0", (65.88, 88.91, 91.34, 83.12)),
    "CNN": ("cnn9-dense-seed0", (67.84, 79.73, 89.31, 92.11)),
}
"""Table 1: our network, and the paper's accuracies in percent."""

SCORES_BY_EPOCH = {
    "f1": (0.73, 0.75, 0.88, 0.93),
    "recall": (0.78, 0.61, 0.83, 0.89),
    "precision": (0.68, 0.99, 0.93, 0.97),
    "roc_auc": (0.79, 0.80, 0.90, 0.94),
}
"""Table 3."""


@dataclass(frozen=True)
class Table:
    """A table of the paper: a function that returns columns and rows, and a note under it."""

    title: str
    rows: Callable[[Study], Rows]
    note: str = ""


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{100 * value:.1f}"


def _depth(study: Study) -> Rows:
    theirs = {"cnn3": (74, 71), "cnn4": (81, 79), "cnn9": (94, 89)}
    rows = []
    for model, (validation, test) in theirs.items():
        ours = [study.score(f"{model}-dense-seed{seed}") for seed in range(3)]
        known = [value for value in ours if value is not None]
        mean = sum(known) / len(known) if known else None
        rows.append((f"`{model}`", f"{validation}", f"{test}", _percent(mean), f"{len(known)}"))
    return ("network", "paper, validation %", "paper, test %", "ours, test %", "seeds"), rows


def _validation(study: Study) -> Rows:
    rows = []
    for name, (variant, numbers) in VALIDATION_BY_EPOCH.items():
        for which, values in (
            ("paper", [f"{one}" for one in numbers]),
            (_ours(study, variant), _at_epochs(study, variant)),
        ):
            rows.append((name, which, *values))
    return ("network", "", *(f"epoch {one}" for one in EPOCHS)), rows


def _ours(study: Study, variant: str) -> str:
    return f"ours, {len(study.epochs.get(variant, ()))} epochs"


def _at_epochs(study: Study, variant: str, field: str = "validation_accuracy") -> list[str]:
    """Return a score in percent at the paper's epochs, `-` beyond the last of ours."""
    known = {int(row["epoch"]): row[field] for row in study.epochs.get(variant, ()) if row[field]}
    return [f"{100 * float(known[epoch]):.1f}" if epoch in known else ABSENT for epoch in EPOCHS]


def _one_shot(study: Study) -> Rows:
    theirs = {30: (83.99, 88.5), 50: (79.09, 88.89), 70: (36.53, 88.51), 90: (35.03, 85.31)}
    rows = [("dense", "85.87 (89 in the abstract)", "", _percent(study.score("cnn9-dense-seed0")), "", "")]
    for share, (before, after) in theirs.items():
        name = f"cnn9-magnitude{share}-seed0"
        ours = [study.score(name, field) for field in ("accuracy_raw", "accuracy_recalibrated", "accuracy")]
        rows.append((f"{share} %", f"{before}", f"{after}", *map(_percent, ours)))
    columns = ("zeros", "paper, pruned", "paper, retrained", "ours, pruned", "ours, recalibrated", "ours, fine-tuned")
    return columns, rows


def _scores(study: Study) -> Rows:
    rows = []
    for metric, numbers in SCORES_BY_EPOCH.items():
        ours = _at_epochs(study, "cnn9-dense-seed0", f"validation_{metric}")
        rows += [
            (metric, "paper", *(f"{100 * one:.0f}" for one in numbers)),
            (metric, _ours(study, "cnn9-dense-seed0"), *ours),
        ]
    return ("score", "", *(f"epoch {one}" for one in EPOCHS)), rows


_OWN_RECIPE = (
    "Ours are by recipes of our own, of so many epochs. The paper does not say how it split its images; ours are of "
    "patients that the network never saw."
)

TABLES = (
    Table("Depth (text)", _depth, "The widths of its layers are not given: ours are a reconstruction."),
    Table("Validation accuracy, % (table 1)", _validation, _OWN_RECIPE),
    Table("One-shot pruning of the CNN, test accuracy, % (table 2)", _one_shot, "Ours: seed 0, 14 test patients."),
    Table("Scores of the CNN, % (table 3)", _scores, _OWN_RECIPE),
)
