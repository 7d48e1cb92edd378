"""Verdicts on what pruning does to accuracy: claims 5, 6, 7 and 15."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.paper.verdicts import (
    ABOVE,
    ALIKE,
    BELOW,
    COLLAPSED,
    KEPT,
    OPEN,
    Part,
    Verdict,
    absent,
    percent,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.paper.verdicts import Margin
    from bench.tables import Change, Study

TOO_FEW = "too few patients, or no difference in any of them"
_LEAD = "pruned minus dense, fine-tuned as long"
_TOTALS = "scores before retraining are kept as totals, so that no patients can be resampled"


def part_of_change(
    study: Study, name: str, pairs: Sequence[tuple[str, str]], margin: Margin, metric: str = "accuracy"
) -> Part:
    """Return the second of each pair minus the first as a part of a claim."""
    change = study.change(pairs, metric)
    if change is None:
        return Part(name, "", None, margin, absent(study, [one for pair in pairs for one in pair]) or TOO_FEW)
    return Part(name, str(change), change.ends, margin)


def caveat(study: Study, pairs: Sequence[tuple[str, str]], metric: str = "accuracy") -> str:
    """Return what stands behind the reason of a verdict on those pairs: one pair alone, or two number formats."""
    change = study.change(pairs, metric)
    return "" if change is None else change.caveat


def _of_seed(share: int) -> list[tuple[str, str]]:
    return [("cnn9-all-ones-seed0", f"cnn9-magnitude{share}-seed0")]


def _of_folds(share: int) -> list[tuple[str, str]]:
    return [(f"cnn9-all-ones-seed0-fold{fold}", f"cnn9-magnitude{share}-seed0-fold{fold}") for fold in range(5)]


def _largest(study: Study, share: int) -> list[tuple[str, str]]:
    """Return the pairs of the five folds, which test every patient, where all are trained; else those of seed 0."""
    folds = _of_folds(share)
    return folds if not study.missing(*(name for pair in folds for name in pair)) else _of_seed(share)


def kept_to_seventy(study: Study) -> Verdict:
    """5a: no loss over a point at 30, 50 and 70 %."""
    parts = [part_of_change(study, f"{share} % zeros", _of_seed(share), KEPT) for share in (30, 50, 70)]
    return verdict(parts, _LEAD, kind="shares", caveat=caveat(study, _of_seed(70)))


def drops_at_ninety(study: Study) -> Verdict:
    """5b: below dense at 90 %, over folds where there are some."""
    pairs = _largest(study, 90)
    one = study.change(_of_seed(90))
    more = "" if one is None or pairs == _of_seed(90) else f"apart from these, seed 0 of 5a at 90 % {one}"
    return verdict(
        [part_of_change(study, "", pairs, BELOW)], f"{_LEAD}, 90 % zeros", caveat=caveat(study, pairs), more=more
    )


def iterative_is_alike(study: Study) -> Verdict:
    """6: within a point of one-shot, either way, at both shares that the paper pruned in both ways."""
    pairs = {
        f"{share} % zeros": [
            (f"cnn9-magnitude{share}-seed{seed}", f"cnn9-iterative-magnitude{share}-seed{seed}") for seed in seeds
        ]
        for share, seeds in ((50, (0,)), (90, (0, 1, 2)))
    }
    parts = [part_of_change(study, name, of, ALIKE) for name, of in pairs.items()]
    found = [change for of in pairs.values() if (change := study.change(of)) is not None]
    return verdict(parts, "iterative minus one-shot, equal fine-tuning", kind="shares", caveat=_formats(found))


def _formats(found: Sequence[Change]) -> str:
    """Return in how many of all pairs two number formats were compared."""
    unlike, pairs = sum(one.unlike for one in found), sum(one.networks for one in found)
    return f"; the number format differs in {unlike} of {pairs} pairs" if unlike else ""


def collapses_at_seventy(study: Study) -> Verdict:
    """7a: at 70 %."""
    return _collapses(study, 70)


def collapses_at_ninety(study: Study) -> Verdict:
    """7b: at 90 %."""
    return _collapses(study, 90)


def _collapses(study: Study, share: int) -> Verdict:
    """7: accuracy before retraining against that of the most frequent class, in the paper's CNN."""
    name, chance = f"cnn9-magnitude{share}-seed0", study.score("majority-seed0")
    raw, recall = (study.score(name, field) for field in ("accuracy_raw", "recall_raw"))
    if chance is None or raw is None:
        return Verdict(OPEN, absent(study, ["majority-seed0", name]) or "not evaluated before retraining")
    again = study.score(name, "accuracy_recalibrated")
    other = study.score(f"resnet3_max-magnitude{share}-seed0", "accuracy_raw")
    # No slice is called a tumour and as many are right as are none: the answers are those of the most frequent class.
    exact = (0.0, 0.0) if recall == 0 and raw == chance else None
    above = 100 * (raw - chance)
    text = f"{percent(raw)}, the most frequent class {percent(chance)}, a difference of {above:+.1f} points"
    if exact:
        text += ': it answers "no tumour" to every slice, so that the two agree on every patient'
    more = [] if again is None else [f"with BatchNorm's statistics taken anew {percent(again)}"]
    more += [] if other is None else [f"`resnet3_max`, which the paper did not prune, {percent(other)}"]
    unknown = f"{above:+.1f} points from the most frequent class, but {_TOTALS}"
    part = Part("", text, exact, COLLAPSED, unknown)
    return verdict([part], f"`cnn9`, {share} % zeros, before retraining", more="; ".join(more), caveat="; one network")


def pruning_regularises(study: Study) -> Verdict:
    """15: above the dense control, paired by patient, with the whole interval."""
    pairs = {share: _largest(study, share) for share in (30, 50, 70, 90)}
    if all(study.change(of) is None for of in pairs.values()):
        return Verdict(OPEN, "not trained yet")
    parts = [part_of_change(study, f"{share} % zeros", of, ABOVE) for share, of in pairs.items()]
    return verdict(parts, _LEAD, kind="shares", some=True)
