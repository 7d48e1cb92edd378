"""Figures of the paper, drawn from the committed tables: its points where it prints some, and our curves beside them.

    python -m bench.redraw

draws them all under `results/figures/paper/`. Figure 10 is that of each timed study. Figures 1 and 2 show images and
their classes, which are not in the repository.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.paper_architectures import DRAWN, draw_architecture
from bench.paper_numbers import EPOCHS, SCORES_BY_EPOCH, VALIDATION_BY_EPOCH
from sparsemark import paths
from sparsemark.report.style import End, caption, label_ends, new_figure, save, tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.paper import Study

FOLDER = "paper"
"""Below `results/figures`."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "X")


@dataclass(frozen=True)
class Curve:
    """A number by epoch, in the unit of its panel; its points are those that the paper prints."""

    name: str
    epochs: Sequence[int]
    values: Sequence[float]
    points: Sequence[float] = ()


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


def _panel(axes: Axes, title: str, curves: Sequence[Curve], label: str, names: Sequence[str]) -> list[End]:
    """Draw curves and return where they end; a name has one colour and one marker in all panels."""
    ends = []
    for one in curves:
        look = names.index(one.name) % len(_COLOURS)
        colour, marker = _COLOURS[look], _MARKERS[look]
        every = max(1, len(one.values) // 8)
        axes.plot(one.epochs, one.values, color=colour, linewidth=1.6, marker=marker, markevery=every, markersize=4)
        if one.points:
            axes.plot(EPOCHS, one.points, color=colour, linestyle="", marker="*", markersize=11, markeredgecolor="0.2",
                      markeredgewidth=0.6)  # fmt: skip
        ends.append(End(one.values[-1], one.name, colour))
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="epoch", ylabel=label)
    tidy(axes)
    return ends


def _panels(title: str, panels: Sequence[tuple[str, Sequence[Curve], str]], note: str) -> Figure | None:
    """Return a figure with a panel for each that has a curve; None where none has."""
    shown = [panel for panel in panels if panel[1]]
    if not shown:
        return None
    figure = new_figure(1.0 + 4.3 * len(shown), 3.6, title)
    grid = figure.subplots(1, len(shown), squeeze=False)
    names = list(dict.fromkeys(one.name for _, curves, _ in shown for one in curves))
    ends = {axes: _panel(axes, *panel, names) for axes, panel in zip(grid.flat, shown, strict=True)}
    caption(figure, note)
    label_ends(figure, ends)
    return figure


def tables_1_and_3(study: Study) -> Figure | None:
    """Return the validation scores of the three networks epoch by epoch, and the paper's beside them."""
    of_networks = [
        (name, _known([curve(study, variant, "validation_accuracy", "accuracy", [one / 100 for one in points])]),
         "validation accuracy, %")
        for name, (variant, points) in VALIDATION_BY_EPOCH.items()
    ]  # fmt: skip
    scores = _known(
        curve(study, "cnn9-dense-seed0", f"validation_{metric}", metric.replace("_", " "), points)
        for metric, points in SCORES_BY_EPOCH.items()
    )
    last = [f"{name} {curves[0].values[-1]:.1f} %" for name, curves, _ in of_networks if curves]
    return _panels(
        f"Validation accuracy at the end: {', '.join(last)}",
        [*of_networks, ("CNN, other scores", scores, "score, %")],
        "lines: ours, seed 0, on patients never trained on; stars: the paper, whose split of the images is not known",
    )


def figure_8(study: Study) -> Figure | None:
    """Return the fine-tuning of the CNN after one-shot pruning."""
    return _pruning(study, "One-shot", [(f"{share} %", f"cnn9-magnitude{share}-seed0") for share in (30, 50, 70, 90)])


def figure_9(study: Study) -> Figure | None:
    """Return the fine-tuning of the CNN in rounds of pruning."""
    return _pruning(
        study, "Iterative", [(f"{share} %", f"cnn9-iterative-magnitude{share}-seed0") for share in (50, 75, 90)]
    )


def _pruning(study: Study, way: str, arms: Sequence[tuple[str, str]]) -> Figure | None:
    every = [("no zeros", "cnn9-all-ones-seed0"), *arms]
    accuracy = _known(curve(study, variant, "validation_accuracy", name) for name, variant in every)
    training = _known(curve(study, variant, "train_accuracy", name) for name, variant in every)
    if not accuracy:
        return None
    last = [one.values[-1] for one in accuracy]
    return _panels(
        f"{way} pruning of the CNN: {min(last):.1f} to {max(last):.1f} % validation accuracy after fine-tuning",
        [
            ("on validation patients", accuracy, "accuracy, %"),
            ("on training slices, augmented", training, "accuracy, %"),
        ],
        "seed 0; six epochs of fine-tuning in all for each, the dense network too",
    )


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
    if alone is None or not last:
        return None
    return _panels(
        f"Dice on validation patients: {alone:.0f} % with a mask alone, {max(last.values()):.0f} % trained jointly",
        [
            ("mask", dice, "Dice of a volume, %"),
            ("label", label, "accuracy of the head, %"),
            ("angle between the gradients of both losses", angles, "degrees"),
        ],
        "seed 0; loss = theta x mask + (1 - theta) x label; angle: in shared layers, mean of an epoch, opposed over 90;"
        " the first 30 epochs are at half the size",
    )


FIGURES: dict[str, Callable[[Study], Figure | None]] = {
    "tables-1-3": tables_1_and_3,
    "figure-08-one-shot": figure_8,
    "figure-09-iterative": figure_9,
    "figure-11-heads": figure_11,
}
"""By name of the file."""


def draw_paper(study: Study) -> Iterator[Path]:
    """Draw every figure that there are numbers for, and the networks, and yield each file once it is there."""
    folder = paths.RESULTS / "figures" / FOLDER
    for name, make in FIGURES.items():
        figure = make(study)
        for end in (".png", ".svg") if figure is not None else ():
            save(figure, folder / f"{name}{end}")
            yield folder / f"{name}{end}"
    for model in DRAWN:
        yield from draw_architecture(model, folder)
