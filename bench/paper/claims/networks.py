"""Verdicts on the networks before pruning: claims 8, 9 and 16."""

from __future__ import annotations

from statistics import mean, stdev
from typing import TYPE_CHECKING

from bench.paper.claims.pruning import caveat, part_of_change
from bench.paper.numbers import VALIDATION_BY_EPOCH
from bench.paper.verdicts import ABOVE, BELOW, OPEN, Part, Verdict, absent, verdict
from sparsemark.analysis.launches import student_quantile

if TYPE_CHECKING:
    from bench.paper.verdicts import Margin
    from bench.tables import Study

_SEEDS = range(3)
_ONE_CURVE = "scores by epoch are kept as totals, of one network"


def _on_seeds(one: str, other: str) -> list[tuple[str, str]]:
    return [(f"{one}-dense-seed{seed}", f"{other}-dense-seed{seed}") for seed in _SEEDS]


def deeper_is_better(study: Study) -> Verdict:
    """8a: each deeper network better than the one before, over three seeds."""
    steps = {"4 minus 3 layers": _on_seeds("cnn3", "cnn4"), "9 minus 4 layers": _on_seeds("cnn4", "cnn9")}
    parts = [part_of_change(study, name, pairs, ABOVE) for name, pairs in steps.items()]
    return verdict(parts, kind="steps", caveat=max((caveat(study, pairs) for pairs in steps.values()), key=len))


def resnet_is_best(study: Study) -> Verdict:
    """8b: ResNet3 as the paper has it, with average pooling, above every other network on test patients."""
    pairs = {f"`{other}`": _on_seeds(other, "resnet3") for other in ("cnn3", "cnn4", "cnn9", "unet")}
    parts = [part_of_change(study, name, of, ABOVE) for name, of in pairs.items()]
    pooled = study.change(_on_seeds("cnn9", "resnet3_max"))
    more = "" if pooled is None else f"with maximum pooling in place of average, minus `cnn9` {pooled}"
    return verdict(parts, "`resnet3` minus", kind="networks", more=more, caveat=caveat(study, pairs["`cnn9`"]))


def part_over_seeds(study: Study, name: str, variant: str, epochs: tuple[int, int], margin: Margin) -> Part:
    """Return how validation accuracy changes between two epochs, with Student's interval over three seeds.

    Args:
        study: holds the epochs.
        name: of the part.
        variant: without its seed.
        epochs: from which to which, -1 for the last.
        margin: of the claim.
    """
    names = [f"{variant}-seed{seed}" for seed in _SEEDS]
    scores = [[study.validation(one, epoch) for epoch in epochs] for one in names]
    changes = [after - before for before, after in scores if before is not None and after is not None]
    if len(changes) < 2:
        return Part(name, "", None, margin, absent(study, names) or "no epochs recorded")
    room = student_quantile(len(changes) - 1) * stdev(changes) / len(changes) ** 0.5
    low, high = mean(changes) - room, mean(changes) + room
    by_seed = ", ".join(f"{one:+.1f}" for one in changes)
    text = f"{mean(changes):+.1f} [{low:+.1f}, {high:+.1f}] points (by seed {by_seed})"
    return Part(name, text, (low, high), margin)


_STUDENT = "validation patients, Student's interval of three seeds"


def rises_every_epoch(study: Study) -> Verdict:
    """16: from each epoch that the paper prints to the next one that ours have."""
    steps = ((1, 10), (10, 20), (20, -1))
    parts = [
        part_over_seeds(study, f"{name}, epoch {a} to {b if b > 0 else 'the last'}", variant, (a, b), ABOVE)
        for name, variant in (("ResNet3", "resnet3-dense"), ("CNN", "cnn9-dense"))
        for a, b in steps
    ]
    return verdict(parts, _STUDENT, kind="steps")


def unet_falls(study: Study) -> Verdict:
    """9a: accuracy (any pixel of the mask) on validation patients at epoch 30 against epoch 20, over seeds."""
    _, (*_, at_20, at_30) = VALIDATION_BY_EPOCH["U-Net"]
    paper = at_30 - at_20
    part = part_over_seeds(study, "", "unet-dense", (20, 30), BELOW)
    later = part_over_seeds(study, "", "unet-dense", (20, -1), BELOW)
    excluded = part.interval is not None and part.interval[0] > paper
    said = f"; a fall as large as the paper's ({paper:+.1f}) is excluded" if excluded else ""
    more = f"from epoch 20 to the last {later.value}" if later.value else ""
    return verdict([part], f"{_STUDENT}, from epoch 20 to 30", caveat=said, more=more)


def heads_disturb(study: Study) -> Verdict:
    """9b: Dice of the mask, jointly trained minus alone."""
    pairs = [("unet-dense-seed0", "unet_head-dense-seed0")]
    ends = [study.validation(name, -1, "dice_volume") for name in pairs[0]]
    more = (
        ""
        if None in ends
        else "on validation patients, after the last epoch (figure 11), without an interval: "
        f"{ends[0]:.1f} % alone and {ends[1]:.1f} % with two heads; no network has the label alone"
    )
    return verdict(
        [part_of_change(study, "", pairs, BELOW, "dice_volume")],
        "Dice of the mask on test patients, two heads at theta 0.5 minus the mask alone",
        caveat=caveat(study, pairs, "dice_volume"),
        more=more,
    )


def apart_mends(study: Study) -> Verdict:
    """9c: separately backpropagated minus jointly, for both heads."""
    pairs = [("unet_head-dense-seed0", "unet_head_separate-dense-seed0")]
    parts = [
        part_of_change(study, "Dice of the mask", pairs, ABOVE, "dice_volume"),
        part_of_change(study, "accuracy of the label", pairs, ABOVE),
    ]
    return verdict(parts, "losses backpropagated separately minus jointly", kind="heads", caveat=caveat(study, pairs))


def label_comes_first(study: Study) -> Verdict:
    """9d: the label's accuracy falls while the mask's Dice rises: one curve of each."""
    name = "unet_head-dense-seed0"
    epochs = {1: "epoch 1", 10: "10", 20: "20", 30: "30", -1: "the last"}
    found = {
        what: [study.validation(name, epoch, metric) for epoch in epochs]
        for what, metric in (("accuracy of the label", "accuracy"), ("Dice of the mask", "dice_volume"))
    }
    if any(value is None for values in found.values() for value in values):
        return Verdict(OPEN, absent(study, [name]) or "no epochs recorded")
    text = "; ".join(f"{what} {', '.join(f'{value:.1f}' for value in values)} %" for what, values in found.items())
    part = Part("", text, None, BELOW, _ONE_CURVE)
    return verdict([part], f"validation patients, theta 0.5, at {', '.join(epochs.values())}")
