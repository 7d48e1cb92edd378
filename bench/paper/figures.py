"""Figures of the paper, drawn from the committed tables: its points where it prints some, and our curves beside them.

`python -m bench.redraw` draws them all under `results/figures/paper/`. Figure 10 is that of each timed study. Figure 1
shows images, which are not in the repository.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.paper.architectures import DRAWN, draw_architecture
from bench.paper.numbers import EPOCHS, ONE_SHOT, SCORES_BY_EPOCH, VALIDATION_BY_EPOCH
from sparsemark import paths
from sparsemark.report.style import GREY, End, caption, label_ends, new_figure, save, tidy
from sparsemark.report.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.tables import Study

FOLDER = "paper"
"""Below `results/figures`."""

_LOOKS = {
    "no zeros": ("0.5", "o", "--"),
    "30 %": ("#F0A030", "s", "-"),
    "50 %": ("#D8576B", "^", "-"),
    "70 %": ("#9C179E", "D", "-"),
    "75 %": ("#9C179E", "v", "-"),
    "90 %": ("#0D0887", "X", "-"),
    "mask alone": ("0.5", "o", "--"),
    "theta 0.2": ("#E69F00", "s", "-"),
    "theta 0.5": ("#0072B2", "^", "-"),
    "theta 0.8": ("#CC79A7", "D", "-"),
    "losses apart": ("#000000", "v", ":"),
    "label of the head": ("#E69F00", "s", "--"),
}
"""Colour, marker and dashes by name, the same in every figure; more zeros are darker."""

_NAMES = {"f1": "F1", "recall": "recall", "precision": "precision", "roc_auc": "ROC AUC"}

_LOOK = ("#0072B2", "o", "-")

_KAGGLE = (110, 2556, 1373)
"""Patients of the whole set, slices without a tumour, and with one."""

_SMOOTHED = 5
"""Epochs over which a long curve is averaged."""


@dataclass(frozen=True)
class Curve:
    """A number by epoch, in the unit of its panel; its points are those that the paper prints."""

    name: str
    epochs: Sequence[int]
    values: Sequence[float]
    points: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """Curves on one pair of axes."""

    title: str
    curves: Sequence[Curve]
    label: str = ""


def curve(study: Study, variant: str, field: str, name: str, points: Sequence[float] = ()) -> Curve | None:
    """Return a score of the table of epochs in percent; None where it is not there.

    Args:
        study: holds the table.
        variant: the network; its rounds of fine-tuning stand one after the other.
        field: column of the table, from 0 to 1.
        name: of the curve.
        points: the paper's, from 0 to 1.
    """
    found = _column(study, variant, field, name)
    if found is None:
        return None
    return replace(found, values=[100 * one for one in found.values], points=[100 * one for one in points])


def _column(study: Study, variant: str, field: str, name: str) -> Curve | None:
    values = [float(row[field]) for row in study.epochs.get(variant, ()) if row.get(field)]
    return Curve(name, range(1, len(values) + 1), values) if values else None


def _known(curves: Iterable[Curve | None]) -> list[Curve]:
    return [one for one in curves if one is not None]


def _draw(axes: Axes, panel: Panel, *, smooth: bool = False) -> list[End]:
    """Draw the curves of a panel and return where they end."""
    ends = []
    for one in panel.curves:
        colour, marker, dashes = _LOOKS.get(one.name, _LOOK)
        values = _averaged(one.values) if smooth else one.values
        every = max(1, len(values) // 8)
        axes.plot(one.epochs, values, color=colour, linewidth=1.6, linestyle=dashes, marker=marker, markevery=every,
                  markersize=4.5, label=one.name)  # fmt: skip
        if one.points:
            axes.plot(EPOCHS, one.points, color="white", linestyle="", marker="*", markersize=11, markeredgecolor="0.1",
                      markeredgewidth=1.0, label="paper", zorder=3)  # fmt: skip
        ends.append(End(values[-1], one.name, colour, one.epochs[-1]))
    axes.set_title(panel.title, fontsize=10)
    axes.set(xlabel="epoch", ylabel=panel.label)
    tidy(axes)
    return ends


def _averaged(values: Sequence[float]) -> list[float]:
    """Return the mean of each value and those before it, up to `_SMOOTHED`."""
    return [float(np.mean(values[max(0, end - _SMOOTHED) : end])) for end in range(1, len(values) + 1)]


def figure_2(study: Study) -> Figure | None:
    """Return how many slices have a tumour, in the whole set and in ours."""
    folds = [f"seed0-fold{fold}" for fold in range(5)]
    slices, without, patients = 0.0, 0.0, 0
    for fold in folds:
        groups = study.groups.get(f"cnn9-dense-{fold}", {}).get("accuracy")
        majority = study.score(f"majority-{fold}")
        if groups is None or majority is None:
            return None
        weight = sum(weight for _, weight in groups.values())
        slices, without, patients = slices + weight, without + weight * majority, patients + len(groups)
    ours = (patients, round(without), round(slices - without))
    shares = [100 * tumour / (clear + tumour) for _, clear, tumour in (_KAGGLE, ours)]
    figure = new_figure(
        8.0, 1.9, f"Slices with a tumour: {shares[0]:.1f} % of the paper's set, {shares[1]:.1f} % of ours"
    )
    axes = figure.add_subplot()
    for place, (name, (count, clear, tumour)) in enumerate((("ours", ours), ("paper's set", _KAGGLE))):
        for left, width, colour, text in (
            (0, clear, "0.85", f"no tumour: {clear:,}"),
            (clear, tumour, "#0072B2", f"tumour: {tumour:,}"),
        ):
            axes.barh(place, width, left=left, color=colour, edgecolor="0.2", height=0.6)
            axes.text(left + width / 2, place, text, ha="center", va="center", fontsize=9,
                      color="white" if colour != "0.85" else "black")  # fmt: skip
        axes.text(-40, place, f"{name},\n{count} patients", ha="right", va="center", fontsize=9)
    axes.set(yticks=[], xlabel="slices", xlim=(0, None))
    tidy(axes)
    axes.spines["left"].set_visible(False)
    caption(figure, "one bar a set; ours are those of its patients that are at hand, reduced to 128 x 128 pixels")
    return figure


def tables_1_and_3(study: Study) -> Figure | None:
    """Return the validation scores of the three networks epoch by epoch on one axis, and the paper's beside them."""
    accuracies = [
        Panel(
            f"{name}, accuracy",
            _known(
                curve(
                    study,
                    variant,
                    "validation_accuracy",
                    "ours" if first else what,
                    [one / 100 for one in points] if first else (),
                )
                for first, (what, variant) in zip((True, False), variants.items(), strict=False)
            ),
        )
        for name, (variants, points) in VALIDATION_BY_EPOCH.items()
    ]
    scores = [
        Panel(f"CNN, {_NAMES[metric]}",
              _known([curve(study, "cnn9-dense-seed0", f"validation_{metric}", "ours", points)]))
        for metric, points in SCORES_BY_EPOCH.items()
    ]  # fmt: skip
    if not any(panel.curves for panel in (*accuracies, *scores)):
        return None
    last = [f"{name} {panel.curves[0].values[-1]:.1f} % (paper {points[-1]:.1f})" for (name, (_, points)), panel in
            zip(VALIDATION_BY_EPOCH.items(), accuracies, strict=True) if panel.curves]  # fmt: skip
    figure = new_figure(11.5, 5.4, f"Validation accuracy at the end: {', '.join(last)}")
    grid = figure.subplots(2, len(scores), sharey=True)
    spare = grid[0, len(accuracies)]
    for axes, panel in zip((*grid[0, : len(accuracies)], *grid[1]), (*accuracies, *scores), strict=True):
        _draw(axes, panel)
    handles = {
        text: handle for axes in grid.flat for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    spare.axis("off")
    spare.legend(handles.values(), handles.keys(), loc="center", frameon=False, fontsize=10)
    for axes in grid[:, 0]:
        axes.set_ylabel("score, %")
    caption(figure, "ours: seed 0, one network each, 14 validation patients never trained on, without an interval; "
            "stars: the paper, split not known; U-Net: any pixel of the mask, the paper's may be either")  # fmt: skip
    return figure


def figure_8(study: Study) -> Figure | None:
    """Return the fine-tuning of the CNN after one-shot pruning."""
    return _pruning(study, "One-shot", _ONE_SHOT)


def figure_9(study: Study) -> Figure | None:
    """Return the fine-tuning of the CNN in rounds of pruning."""
    return _pruning(study, "Iterative", _ITERATIVE)


_CONTROL = {"no zeros": "cnn9-all-ones-seed0"}
_ONE_SHOT = _CONTROL | {f"{share} %": f"cnn9-magnitude{share}-seed0" for share in ONE_SHOT}
_ITERATIVE = _CONTROL | {f"{share} %": f"cnn9-iterative-magnitude{share}-seed0" for share in (50, 75, 90)}


def _when(study: Study, arms: Mapping[str, str]) -> str:
    """Return before which epochs the arms were pruned, and how many they had."""
    of_arms = [rows for name, variant in arms.items() if name not in _CONTROL and (rows := study.epochs.get(variant))]
    rounds = ([row.get("round") for row in rows] for rows in of_arms)
    starts = {tuple(place for place, one in enumerate(own, 1) if own.index(one) == place - 1) for own in rounds}
    lengths = sorted({len(rows) for variant in arms.values() if (rows := study.epochs.get(variant))})
    before = " or ".join(f"epoch{'s' * (len(own) > 1)} {listed(map(str, own))}" for own in sorted(starts))
    return f"pruned before {before}; {' or '.join(map(str, lengths))} epochs of fine-tuning in all"


def _pruning(study: Study, way: str, arms: Mapping[str, str]) -> Figure | None:
    panels = [
        Panel(title, _known(curve(study, variant, field, name) for name, variant in arms.items()))
        for title, field in (
            ("on validation patients", "validation_accuracy"),
            ("on training slices, augmented", "train_accuracy"),
        )
    ]
    panels = [panel for panel in panels if panel.curves]
    if not panels:
        return None
    last = [one.values[-1] for one in panels[0].curves]
    figure = new_figure(
        9.6,
        3.8,
        f"{way} pruning of the CNN: {min(last):.1f} to {max(last):.1f} % validation accuracy after fine-tuning",
    )
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    ends = {axes: _draw(axes, panel) for axes, panel in zip(grid.flat, panels, strict=True)}
    grid[0, 0].set(ylabel="accuracy, %", ylim=_range(study))
    caption(figure, f"names: share of weights that are zero; {_when(study, arms)}; no zeros: the dense network, "
            "fine-tuned as well; seed 0, 14 validation patients, without an interval")  # fmt: skip
    label_ends(figure, ends)
    return figure


def _range(study: Study) -> tuple[float, float]:
    """Return limits that hold the curves of figures 8 and 9, so that they can be compared."""
    values = [
        value
        for variant in (*_ONE_SHOT.values(), *_ITERATIVE.values())
        for field in ("validation_accuracy", "train_accuracy")
        for one in _known([curve(study, variant, field, "")])
        for value in one.values
    ]
    return min(values) - 0.5, max(values) + 0.5


def table_2(study: Study) -> Figure | None:
    """Return the test accuracy against sparsity, before retraining and after, and the paper's."""
    steps = {
        "fine-tuned": ("accuracy", "#0072B2", "o", "-"),
        "recalibrated": ("accuracy_recalibrated", "#E69F00", "s", "--"),
        "pruned": ("accuracy_raw", "#D55E00", "^", ":"),
    }
    found = {
        step: [(share, 100 * value) for share in ONE_SHOT
               if (value := study.score(f"cnn9-magnitude{share}-seed0", field)) is not None]
        for step, (field, *_) in steps.items()
    }  # fmt: skip
    if not all(found.values()):
        return None
    share, best = found["fine-tuned"][-1]
    figure = new_figure(7.0, 4.2, f"CNN of nine layers, {share} % zeros: {best:.1f} % after fine-tuning, "
                        f"{found['pruned'][-1][1]:.1f} % before")  # fmt: skip
    axes = figure.add_subplot()
    for step, points in found.items():
        _, colour, marker, dashes = steps[step]
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=colour, marker=marker, linestyle=dashes, label=f"ours, {step}", markersize=5)
        if step == "fine-tuned":
            levels = [study.level([f"cnn9-magnitude{share}-seed0"]) for share in x]
            room = [(0.0, 0.0) if one is None else (one.percent - one.low, one.high - one.percent) for one in levels]
            axes.errorbar(x, y, yerr=np.array(room).T, color=colour, linestyle="", capsize=4)
    for name, index, colour in (("retrained", 1, "white"), ("pruned", 0, "0.45")):
        aside = [share + _ASIDE for share in ONE_SHOT]  # else they would cover ours
        axes.plot(aside, [both[index] for both in ONE_SHOT.values()], color=colour, marker="*", markersize=12,
                  linestyle="", markeredgecolor="0.1", label=f"paper, {name}")  # fmt: skip
    if (majority := study.score("majority-seed0")) is not None:
        axes.axhline(100 * majority, color=GREY, linewidth=1.0, linestyle="--", label="most frequent class, ours")
    axes.set(xlabel="weights that are zero, %", ylabel="test accuracy, %", ylim=(30, 100), xticks=list(ONE_SHOT))
    tidy(axes)
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    caption(figure, "seed 0; bars: 95 % interval, resampling 14 test patients; recalibrated: BatchNorm's statistics "
            "taken anew, nothing trained; 35 % is what \"always a tumour\" scores in the paper")  # fmt: skip
    return figure


_ASIDE = 1.2
"""Distance of the paper's points from ours, in percent of the weights."""

_HEADS = {
    "mask alone": "unet-dense-seed0",
    "theta 0.2": "unet_head_theta20-dense-seed0",
    "theta 0.5": "unet_head-dense-seed0",
    "theta 0.8": "unet_head_theta80-dense-seed0",
    "losses apart": "unet_head_separate-dense-seed0",
}


def figure_11(study: Study) -> Figure | None:
    """Return what becomes of the two heads of a U-Net, and the angle between their gradients."""
    dice = _known(curve(study, variant, "validation_dice_volume", name) for name, variant in _HEADS.items())
    label = _known(
        curve(study, variant, "validation_accuracy", name) for name, variant in _HEADS.items() if name != "mask alone"
    )
    angles = _known(_column(study, variant, "gradient_angle_mean", name) for name, variant in _HEADS.items())
    last = {one.name: one.values[-1] for one in dice}
    alone = last.pop("mask alone", None)
    last.pop("losses apart", None)
    if alone is None or not last:
        return None
    joint = " to ".join(dict.fromkeys(f"{end:.0f}" for end in (min(last.values()), max(last.values()))))
    figure = new_figure(
        13.0, 3.9, f"Dice on validation patients: {alone:.0f} % with a mask alone, {joint} % trained jointly"
    )
    grid = figure.subplots(1, 3)
    grid[1].sharey(grid[0])
    panels = (
        Panel("mask", dice, "Dice of a volume, or accuracy, %"),
        Panel("label", label),
        Panel("angle between the gradients of both losses", angles, "degrees"),
    )
    ends = {axes: _draw(axes, panel, smooth=True) for axes, panel in zip(grid, panels, strict=True)}
    grid[2].axhline(90, color=GREY, linewidth=1.0, linestyle="--")
    ends[grid[2]].append(End(90.0, "at right angles", GREY))
    caption(figure, f"means of {_SMOOTHED} epochs; one seed, 14 validation patients, without an interval; loss = theta "
            "x mask + (1 - theta) x label; losses apart: a step for each; angle: in shared layers; over 90 the losses "
            "are opposed")  # fmt: skip
    label_ends(figure, ends)
    return figure


FIGURES: dict[str, Callable[[Study], Figure | None]] = {
    "figure-02-classes": figure_2,
    "figure-08-one-shot": figure_8,
    "figure-09-iterative": figure_9,
    "figure-11-heads": figure_11,
    "table-2-one-shot": table_2,
    "tables-1-3": tables_1_and_3,
}
"""By name of the file."""


def draw_paper(study: Study) -> Iterator[Path]:
    """Draw every figure that there are numbers for, and the networks, and yield each file once it is there."""
    folder = paths.RESULTS / "figures" / FOLDER
    for name, make in FIGURES.items():
        figure = make(study)
        if figure is None:
            continue
        for end in (".png", ".svg"):
            save(figure, folder / f"{name}{end}")
            yield folder / f"{name}{end}"
    for model in DRAWN:
        yield from draw_architecture(model, folder)
