"""Claims of the paper, and what this study says of each: its verdict follows from the tables by a rule stated here."""

from __future__ import annotations

from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from bench.paper_claims_cost import (
    lighter,
    masks_are_faster,
    resnet_is_slow,
    retraining_is_faster,
    sparse_storage_is_faster,
)
from bench.paper_verdicts import FAILS, HOLDS, OPEN, POINT, Claim, Verdict, absent, kept, percent
from sparsemark.analysis.groups import loss_interval
from sparsemark.analysis.launches import student_quantile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.paper_study import Change, Study

_COLLAPSED = 0.05
"""Accuracy above the most frequent class up to which a network counts as collapsed to it."""

_SIZE, _IMAGES = 256, 3243
"""Side in pixels of every image of the set at hand before it was reduced, and how many there are: its notice."""

_TOO_FEW = "too few patients for an interval"


def _folds(pruning: str, model: str = "cnn9") -> list[str]:
    return [f"{model}-{pruning}-seed0-fold{fold}" for fold in range(5)]


def _against_control(study: Study, pruning: str) -> Change | None:
    """Return the change against the dense network fine-tuned as long: over folds where there are some, else seed 0."""
    for dense, pruned in ((_folds("all-ones"), _folds(pruning)), (["cnn9-all-ones-seed0"], [f"cnn9-{pruning}-seed0"])):
        if not study.missing(*dense, *pruned):
            return study.change(list(zip(dense, pruned, strict=True)))
    return None


def _on_seeds(study: Study, one: str, other: str) -> Change | None:
    """Return how much better another network is, over three seeds."""
    return study.change([(f"{one}-seed{seed}", f"{other}-seed{seed}") for seed in range(3)])


def _kept_to_seventy(study: Study) -> Verdict:
    """5: kept within a point at 70 % and lost at 90 %."""
    at_seventy, at_ninety = _against_control(study, "magnitude70"), _against_control(study, "magnitude90")
    if at_seventy is None or at_ninety is None:
        names = ["cnn9-magnitude70-seed0", "cnn9-magnitude90-seed0", "cnn9-all-ones-seed0"]
        return Verdict(OPEN, absent(study, names) or _TOO_FEW)
    evidence = f"against the dense network fine-tuned as long, 70 %: {at_seventy}; 90 %: {at_ninety}"
    if kept(at_ninety) == HOLDS:
        return Verdict(FAILS, f"it does not drop at 90 % either: a loss over {POINT:.0f} point is excluded", evidence)
    if kept(at_seventy) == HOLDS and at_ninety.high < 0:
        return Verdict(HOLDS, f"a loss over {POINT:.0f} point is excluded at 70 %, and none at all at 90 %", evidence)
    first = f"at 70 % a loss over {POINT:.0f} point is {'excluded' if kept(at_seventy) == HOLDS else 'not excluded'}"
    then = "the interval at 90 % reaches from a loss to a gain" if at_ninety.high >= 0 else "at 90 % there is a loss"
    return Verdict(OPEN, f"{first}; {then}", evidence)


def _iterative_is_alike(study: Study) -> Verdict:
    """6: within a point of one-shot at 90 %, either way."""
    pairs = [(f"cnn9-magnitude90-seed{seed}", f"cnn9-iterative-magnitude90-seed{seed}") for seed in range(3)]
    names = [name for pair in pairs for name in pair]
    change = None if study.missing(*names) else study.change(pairs)
    if change is None:
        return Verdict(OPEN, absent(study, names) or _TOO_FEW)
    evidence = f"iterative against one-shot at 90 %, equal fine-tuning: {change}"
    if change.low >= -POINT and change.high <= POINT:
        word, why = HOLDS, f"the whole interval is within {POINT:.0f} point"
    elif change.low > POINT or change.high < -POINT:
        word, why = FAILS, f"the whole interval is beyond {POINT:.0f} point"
    else:
        word, why = OPEN, f"the interval reaches beyond {POINT:.0f} point"
    return Verdict(word, why + change.caveat, evidence)


def _collapses(study: Study) -> Verdict:
    """7: before retraining, at 70 %, within five points of the most frequent class, in every network pruned so."""
    chance = study.score("majority-seed0")
    networks = {name: f"{name}-magnitude70-seed0" for name in ("cnn9", "resnet3_max")}
    raw = {name: found for name, row in networks.items() if (found := study.score(row, "accuracy_raw")) is not None}
    again, again90 = (study.score(f"cnn9-magnitude{share}-seed0", "accuracy_recalibrated") for share in (70, 90))
    raw90 = study.score("cnn9-magnitude90-seed0", "accuracy_raw")
    if chance is None or "cnn9" not in raw or raw90 is None:
        return Verdict(OPEN, absent(study, ["majority-seed0", "cnn9-magnitude70-seed0", "cnn9-magnitude90-seed0"]))
    patients = len(study.groups.get("majority-seed0", {}).get("accuracy", {}))
    others = "".join(f", {name} {percent(value)}" for name, value in raw.items() if name != "cnn9")
    evidence = (
        f"accuracy before retraining at 70 %: cnn9 {percent(raw['cnn9'])}{others}; at 90 %: cnn9 {percent(raw90)}; "
        f"most frequent class {percent(chance)}; with BatchNorm's statistics taken anew, cnn9 {percent(again)} and "
        f"{percent(again90)}; {len(raw)} networks, seed 0, {patients} patients; no interval, since "
        "these scores are kept as totals"
    )
    collapsed = [value < chance + _COLLAPSED for value in raw.values()]
    if all(collapsed):
        return Verdict(HOLDS, "at 70 % it answers little better than the most frequent class", evidence)
    if any(collapsed):
        return Verdict(OPEN, "one network collapses at 70 % and another does not", evidence)
    above = 100 * (min(raw.values()) - chance)
    at_ninety = "it collapses at 90 %" if raw90 < chance + _COLLAPSED else "nor does it at 90 %"
    return Verdict(
        FAILS, f"at 70 % it is still {above:.0f} points above the most frequent class; {at_ninety}", evidence
    )


def _deeper_is_better(study: Study) -> Verdict:
    """8a: each deeper network better than the one before, over three seeds, with the whole interval."""
    names = [f"{model}-dense-seed{seed}" for model in ("cnn3", "cnn4", "cnn9") for seed in range(3)]
    if lacking := absent(study, names):
        return Verdict(OPEN, lacking)
    steps = [_on_seeds(study, f"{a}-dense", f"{b}-dense") for a, b in (("cnn3", "cnn4"), ("cnn4", "cnn9"))]
    known = [step for step in steps if step is not None]
    if len(known) < len(steps):
        return Verdict(OPEN, _TOO_FEW)
    evidence = f"4 over 3 layers {known[0]}; 9 over 4 {known[1]}"
    if all(step.low > 0 for step in known):
        caveat = max(known, key=lambda step: step.unlike).caveat
        return Verdict(HOLDS, f"both steps are above 0 with their whole intervals{caveat}", evidence)
    if any(step.high < 0 for step in known):
        return Verdict(FAILS, "a deeper one is worse with its whole interval", evidence)
    return Verdict(OPEN, "an interval reaches from a loss to a gain", evidence)


def _resnet_is_best(study: Study) -> Verdict:
    """8b: ResNet3 as the paper has it, with average pooling, above the best CNN."""
    names = [f"{model}-dense-seed{seed}" for model in ("cnn9", "resnet3") for seed in range(3)]
    if lacking := absent(study, names):
        return Verdict(OPEN, lacking)
    paper, ours = (_on_seeds(study, "cnn9-dense", f"{model}-dense") for model in ("resnet3", "resnet3_max"))
    if paper is None:
        return Verdict(OPEN, _TOO_FEW)
    evidence = f"ResNet3 over cnn9, average pooling (the paper's) {paper}"
    if ours is not None:
        evidence += f"; maximum pooling {ours}"
    if paper.low > 0:
        return Verdict(HOLDS, f"it is above the 9-layer CNN with the whole interval{paper.caveat}", evidence)
    if paper.high < 0:
        why = f"the 9-layer CNN is better with the whole interval{_with_maximum(ours)}{paper.caveat}"
        return Verdict(FAILS, why, evidence)
    return Verdict(OPEN, "the interval reaches from a loss to a gain", evidence)


def _with_maximum(change: Change | None) -> str:
    """Return what becomes of ResNet3 with maximum pooling in place of the paper's average."""
    if change is None:
        return ""
    found = "better" if change.low > 0 else "worse" if change.high < 0 else "not told apart from it"
    return f"; with maximum pooling ResNet3 is {found}"


def _unet_falls(study: Study) -> Verdict:
    """9a: accuracy (any pixel of the mask) on validation patients at epoch 30 against epoch 20, over seeds."""
    names = [f"unet-dense-seed{seed}" for seed in range(3)]
    scores = [[study.validation(name, epoch) for epoch in (20, 30, -1)] for name in names]
    changes = [b - a for a, b, _ in scores if a is not None and b is not None]
    ends = [c - a for a, _, c in scores if a is not None and c is not None]
    if len(changes) < 2:
        return Verdict(OPEN, absent(study, names) or "no epochs recorded")
    room = student_quantile(len(changes) - 1) * stdev(changes) / len(changes) ** 0.5
    middle = mean(changes)
    evidence = (
        f"from epoch 20 to 30 {middle:+.1f} [{middle - room:+.1f}, {middle + room:+.1f}] points, Student's interval of "
        f"{len(changes)} seeds (by seed {', '.join(f'{one:+.1f}' for one in changes)}; paper -8.2); to the last epoch "
        f"{', '.join(f'{one:+.1f}' for one in ends)}"
    )
    if middle + room < 0:
        return Verdict(HOLDS, "it falls with the whole interval", evidence)
    if middle - room > 0:
        return Verdict(FAILS, "it rises with the whole interval", evidence)
    risen = sum(one > 0 for one in ends)
    return Verdict(
        OPEN, f"the interval reaches from a fall to a rise; {risen} of {len(ends)} seeds end above epoch 20", evidence
    )


def _heads_disturb(study: Study) -> Verdict:
    """9b: jointly trained below alone, by Dice."""
    return _heads(study, ("unet", "alone"), ("unet_head", "two heads, theta 0.5"), worse=True)


def _apart_mends(study: Study) -> Verdict:
    """9c: separately backpropagated above jointly, by Dice."""
    return _heads(study, ("unet_head", "jointly"), ("unet_head_separate", "losses separately"), worse=False)


def _heads(study: Study, one: tuple[str, str], other: tuple[str, str], *, worse: bool) -> Verdict:
    names = [f"{model}-dense-seed0" for model, _ in (one, other)]
    if lacking := absent(study, names):
        return Verdict(OPEN, lacking)
    change = study.change([(names[0], names[1])], "dice_volume")
    if change is None:
        return Verdict(OPEN, _TOO_FEW)
    evidence = f"Dice of the mask, {other[1]} against {one[1]}: {change}, seed 0"
    claimed, denied = (change.high < 0, change.low > 0) if worse else (change.low > 0, change.high < 0)
    if claimed:
        return Verdict(HOLDS, f"it is {'worse' if worse else 'better'} with its whole interval", evidence)
    if denied:
        return Verdict(FAILS, f"it is {'better' if worse else 'worse'} with its whole interval", evidence)
    return Verdict(OPEN, "the interval by patient reaches from a loss to a gain", evidence)


def _accuracy_misleads(study: Study) -> Verdict:
    """10: what answers without a network is far above a half."""
    chance, position = study.level(["majority-seed0"]), study.level(["position-seed0"])
    raw = study.score("cnn9-magnitude90-seed0", "accuracy_raw")
    if chance is None or position is None:
        return Verdict(OPEN, "not evaluated")
    evidence = (
        f"always the most frequent class {chance}; a slice's position without its pixels {position}"
        + ("" if raw is None else f"; a network with 90 % zeros, not trained again {percent(raw)}")
        + "; seed 0"
    )
    if chance.low > 50:
        return Verdict(HOLDS, "an answer without a look at the image is above a half with its whole interval", evidence)
    if chance.high < 50:
        return Verdict(FAILS, "the most frequent class is below a half with its whole interval", evidence)
    return Verdict(OPEN, "the interval of the most frequent class holds a half", evidence)


def _split_decides(study: Study) -> Verdict:
    """11: split by slice against by patient, by more than their intervals."""
    ours, leaky = "cnn9-dense-seed0", "cnn9_slice-dense-seed0"
    if lacking := absent(study, [ours, leaky]):
        return Verdict(OPEN, lacking)
    patient, slices = study.level([ours]), study.level([leaky])
    if patient is None or slices is None:
        return Verdict(OPEN, _TOO_FEW)
    evidence = f"one network each: by slice (LEAKY) {slices}; by patient {patient}"
    if slices.low > patient.high:
        return Verdict(HOLDS, "by slice is higher, and their intervals do not meet", evidence)
    if slices.high < patient.low:
        return Verdict(FAILS, "by slice is lower, and their intervals do not meet", evidence)
    return Verdict(OPEN, "the intervals overlap", evidence)


def _adam_is_best(study: Study) -> Verdict:
    """13: the best trial of the search against that of the paper's settings, paired by validation patient."""
    found = study.search
    settings = None if found is None else next((t for t in found["trials"] if _has(t, found["paper"])), None)
    if found is None or settings is None:
        return Verdict(OPEN, "not searched yet")
    best = found["trials"][0]
    trials = f"{len(found['trials'])} trials of {found['epochs']} epochs"
    words = f"{trials}, validation ROC AUC {best['validation_roc_auc']:.3f}"
    if best is settings:
        return Verdict(HOLDS, "the paper's settings are the best of the search", words)
    interval = loss_interval(settings["patients"], best["patients"], higher_is_better=True)
    names = ("optimizer", "learning_rate", "momentum", "initialization")
    other = ", ".join(f"{best[name]:.2g}" if isinstance(best[name], float) else best[name] for name in names)
    words += f" with {other}; {settings['validation_roc_auc']:.3f} with the paper's"
    if interval is None:
        return Verdict(OPEN, _TOO_FEW, words)
    low, high = (-100 * end for end in reversed(interval))
    words += f"; accuracy [{low:+.1f}, {high:+.1f}] points, paired by {len(best['patients'])} validation patients"
    if low > 0:
        why = "other settings are better with the whole interval, though they were chosen on the same patients"
        return Verdict(FAILS, why, words)
    return Verdict(OPEN, "the interval of the best settings reaches that of the paper's", words)


def _has(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(trial[name] == value for name, value in settings.items())


def _sizes_differ(_study: Study) -> Verdict:
    """14a: by the notice of the reduced set, which names the size that its images had."""
    evidence = f"{_IMAGES:,} images, each {_SIZE} x {_SIZE} before it was reduced to half; a fact, without an interval"
    return Verdict(FAILS, f"all have one size, {_SIZE} x {_SIZE} pixels", evidence)


def _images_are_alike(_study: Study) -> Verdict:
    """14b: nothing committed measures it."""
    return Verdict(OPEN, "the paper gives no measure of it, and ours has none")


def _pruning_regularises(study: Study) -> Verdict:
    """15: above the dense control, paired by patient, with the whole interval."""
    found = {f"{share} %": _against_control(study, f"magnitude{share}") for share in (30, 50, 70, 90)}
    known = {share: change for share, change in found.items() if change is not None}
    if not known:
        return Verdict(OPEN, "not trained yet")
    evidence = "; ".join(f"{share} zeros {change}" for share, change in known.items())
    evidence = f"against the dense network fine-tuned as long: {evidence}"
    if any(change.low > 0 for change in known.values()):
        return Verdict(HOLDS, "at one sparsity the whole interval is above the dense network", evidence)
    if all(change.high < 0 for change in known.values()):
        return Verdict(FAILS, "at every sparsity the whole interval is below the dense network", evidence)
    return Verdict(
        OPEN, "at no sparsity is the whole interval above the dense network, nor at all of them below", evidence
    )


CLAIMS = (
    Claim("1", "A zero-masked model infers faster as sparsity rises (figure 10)", masks_are_faster),
    Claim("2", "Stored as a sparse matrix it would be faster still", sparse_storage_is_faster),
    Claim("3", "Pruning makes the model lighter", lighter),
    Claim("4", "Retraining a pruned model is significantly faster", retraining_is_faster),
    Claim("5", "Accuracy is kept up to 70 %, and drops at 90 %", _kept_to_seventy),
    Claim("6", "One-shot and iterative pruning end alike", _iterative_is_alike),
    Claim("7", "Before retraining, accuracy collapses from 70 % on", _collapses),
    Claim("8a", "Deeper CNNs are better: 3 < 4 < 9 layers", _deeper_is_better),
    Claim("8b", "ResNet3 is the best of all on test", _resnet_is_best),
    Claim("9a", "The U-Net's accuracy falls after epoch 20", _unet_falls),
    Claim("9b", "Two heads trained jointly do worse than one (figure 11)", _heads_disturb),
    Claim("9c", "Separately backpropagated losses mend it", _apart_mends),
    Claim("10", "Accuracy alone misleads on two classes", _accuracy_misleads),
    Claim("11", "The split decides the score: by slice or by patient", _split_decides),
    Claim("12", 'ResNet "takes too much time for training"', resnet_is_slow),
    Claim("13", "Adam at 1e-3 with beta1 0.9 gives the best results", _adam_is_best),
    Claim("14a", "The images are all different in size", _sizes_differ),
    Claim("14b", "The images are very similar to each other", _images_are_alike),
    Claim("15", "Pruning regularises as dropout does: accuracy sometimes rises", _pruning_regularises),
)
