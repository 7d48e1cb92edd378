"""Numbers of the paper, as it prints them, and ours of the same network and step beside them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from sparsemark.report.wording import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.tables import Study

    Rows = tuple[Sequence[str], Sequence[Sequence[str]]]

EPOCHS = (1, 10, 20, 30)
"""At which the paper prints scores."""

VALIDATION_BY_EPOCH = {
    "ResNet": ({"": "resnet3-dense-seed0"}, (69.92, 85.80, 92.37, 95.17)),
    "U-Net": (
        {"any pixel of the mask": "unet-dense-seed0", "label of the head": "unet_head-dense-seed0"},
        (65.88, 88.91, 91.34, 83.12),
    ),
    "CNN": ({"": "cnn9-dense-seed0"}, (67.84, 79.73, 89.31, 92.11)),
}
"""Table 1: our networks, by what is scored where that can be several things, and the paper's accuracies in percent."""

ONE_SHOT = {30: (83.99, 88.5), 50: (79.09, 88.89), 70: (36.53, 88.51), 90: (35.03, 85.31)}
"""Table 2: test accuracy in percent by sparsity, before retraining and after."""

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
        names = [f"{model}-dense-seed{seed}" for seed in range(3)]
        known = [value for name in names if (value := study.validation(name, -1)) is not None]
        level = study.level(names)
        rows.append(
            (
                f"`{model}`",
                f"{validation}",
                f"{mean(known):.1f} [{min(known):.1f}, {max(known):.1f}]" if known else ABSENT,
                f"{test}",
                ABSENT if level is None else f"{level.percent:.1f} [{level.low:.1f}, {level.high:.1f}]",
            )
        )
    return ("network", "validation: paper", "ours [lowest, highest seed]", "test: paper", "ours [95 %]"), rows


def _validation(study: Study) -> Rows:
    rows = []
    for name, (variants, numbers) in VALIDATION_BY_EPOCH.items():
        rows.append((name, "paper", *(f"{one}" for one in numbers), "", ""))
        rows += [
            (
                name,
                f"{_ours(study, variant)}{f', {what}' if what else ''}",
                *_at_epochs(study, variant),
                _other_seeds(study, variant),
            )
            for what, variant in variants.items()
        ]
    return ("network", "", *(f"epoch {one}" for one in EPOCHS), "last epoch", "last, seeds 1 and 2"), rows


def _other_seeds(study: Study, variant: str) -> str:
    """Return the last scores of the other seeds, which have other patients."""
    others = [study.validation(variant.replace("-seed0", f"-seed{seed}"), -1) for seed in (1, 2)]
    return ", ".join(f"{one:.1f}" for one in others if one is not None) or ABSENT


def _ours(study: Study, variant: str) -> str:
    return f"ours, {len(study.epochs.get(variant, ()))} epochs"


def _at_epochs(study: Study, variant: str, field: str = "validation_accuracy") -> list[str]:
    """Return a score in percent at the paper's epochs, `-` beyond the last of ours, and at the last."""
    known = {int(row["epoch"]): row[field] for row in study.epochs.get(variant, ()) if row[field]}
    shown = (*EPOCHS, max(known, default=0))
    return [f"{100 * float(known[epoch]):.1f}" if epoch in known else ABSENT for epoch in shown]


def _one_shot(study: Study) -> Rows:
    rows: list[tuple[str, ...]] = [
        ("none", "85.87 (89 in the abstract)", "", "", "", _with_interval(study, "cnn9-dense-seed0")),
        ("none, fine-tuned as long", "", "", "", "", _with_interval(study, "cnn9-all-ones-seed0")),
    ]
    for share, (before, after) in ONE_SHOT.items():
        name = f"cnn9-magnitude{share}-seed0"
        ours = [_percent(study.score(name, field)) for field in ("accuracy_raw", "accuracy_recalibrated")]
        rows.append((f"{share} %", f"{before}", f"{after}", *ours, _with_interval(study, name)))
    columns = (
        "zeros", "paper, pruned", "paper, retrained", "ours, pruned", "ours, recalibrated", "ours, fine-tuned [95 %]",
    )  # fmt: skip
    return columns, rows


def _with_interval(study: Study, name: str) -> str:
    level = study.level([name])
    return ABSENT if level is None else f"{level.percent:.1f} [{level.low:.1f}, {level.high:.1f}]"


def _scores(study: Study) -> Rows:
    rows = []
    for metric, numbers in SCORES_BY_EPOCH.items():
        ours = _at_epochs(study, "cnn9-dense-seed0", f"validation_{metric}")
        rows += [
            (metric, "paper", *(f"{100 * one:.0f}" for one in numbers), ""),
            (metric, _ours(study, "cnn9-dense-seed0"), *ours),
        ]
    return ("score", "", *(f"epoch {one}" for one in EPOCHS), "last epoch"), rows


_OWN_RECIPE = (
    "Ours: seed 0, one network each, on 14 validation patients that it was never trained on; no interval, since scores "
    "by epoch are kept as totals. `-`: our recipe has no such epoch. The paper does not say how it split its images."
)

TABLES = (
    Table(
        "Depth (text): accuracy, %",
        _depth,
        "Ours: three seeds, each with a draw of 14 validation and 14 test patients, after 25 epochs; intervals "
        "resample the test patients of all seeds. Some patients are drawn twice. Why ours differ from the paper's, as "
        "far as it is known, stands [below](#how-the-cnn-was-trained).",
    ),
    Table(
        "Validation accuracy, % (table 1)",
        _validation,
        "The paper does not say what a U-Net's accuracy is: that of a label which any tumour pixel of the mask sets, "
        f"or that of a head beside the mask (`unet_head`, theta 0.5). Other seeds have other patients, as the last "
        f"column shows. {_OWN_RECIPE}",
    ),
    Table(
        "One-shot pruning of the CNN, test accuracy, % (table 2)",
        _one_shot,
        "Ours: seed 0, 490 slices of 14 test patients, which the intervals resample. Recalibrated: BatchNorm's "
        "statistics are taken anew from training images, and nothing else is trained. The paper's 35.03 % is "
        'about the share of slices with a tumour (34.9 % of its set): that network seems to answer "tumour" always.',
    ),
    Table(
        "Scores of the CNN, % (table 3)",
        _scores,
        f"The paper does not say whether these are validation or test scores. {_OWN_RECIPE}",
    ),
)
