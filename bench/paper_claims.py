"""Claims of the paper, and what this study says of each: its verdict follows from the tables by a rule stated here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsemark.analysis.cells import is_control, is_mask_only, is_structural
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.groups import loss_interval
from sparsemark.report import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bench.paper import Change, Study
    from sparsemark.records.measurement import Measurement

HOLDS, FAILS, OPEN = "holds", "does not hold", "can't tell"

_POINT = 1.0
"""Points of accuracy within which a score counts as kept."""

_FASTER = 1.05
"""Ratio that a claim of speed must exceed, with its whole interval: pruning is not worth less."""

_HERE = "on this processor"


@dataclass(frozen=True)
class Verdict:
    """A word of the three, and the evidence with its number of cases and interval."""

    word: str
    evidence: str


@dataclass(frozen=True)
class Claim:
    """What the paper says, and the rule that judges it."""

    text: str
    judge: Callable[[Study], Verdict]


def _absent(study: Study, names: Iterable[str]) -> str:
    """Return which variants a verdict lacks; empty where all are there."""
    missing = study.missing(*names)
    return f"not trained yet: {wording.listed(f'`{name}`' for name in missing)}" if missing else ""


def _folds(pruning: str, model: str = "cnn9") -> list[str]:
    return [f"{model}-{pruning}-seed0-fold{fold}" for fold in range(5)]


def _against_control(study: Study, pruning: str) -> Change | None:
    """Return the change against the dense network fine-tuned as long: over folds where there are some, else seed 0."""
    for dense, pruned in ((_folds("all-ones"), _folds(pruning)), (["cnn9-all-ones-seed0"], [f"cnn9-{pruning}-seed0"])):
        if not study.missing(*dense, *pruned):
            return study.change(list(zip(dense, pruned, strict=True)))
    return None


def _kept(change: Change) -> str:
    """Return whether a score is kept within a point: the whole interval says so, or the whole of it does not."""
    if change.low >= -_POINT:
        return HOLDS
    return FAILS if change.high < -_POINT else OPEN


def _cells(study: Study, engine: str, *, zeros: float | None = None) -> list[Measurement]:
    masks = [m for m in study.timed if m.engine == engine and is_mask_only(m) and not is_control(m)]
    return [m for m in masks if zeros is None or m.sparsity_target == zeros]


def _ratio(m: Measurement) -> str:
    speedup = speedup_of(m)
    return "-" if speedup is None else f"{wording.engine_name(m.engine, {})} {wording.ratio(speedup)}"


def _masks_are_faster(study: Study) -> Verdict:
    """1: dense engines only, as the paper ran it; whole intervals above `_FASTER` at 90 % zeros."""
    cells = [m for engine in ("torch", "onnxruntime") for m in _cells(study, engine, zeros=0.9)]
    return _faster_than_dense(study, cells, "masked weights in dense engines")


def _faster_than_dense(study: Study, cells: Sequence[Measurement], what: str) -> Verdict:
    """Judge cells against the dense network in the same engine."""
    found = []
    for m in cells:
        dense = next(
            (d for d in study.timed if d.engine == m.engine and d.method == "none" and d.control is None), None
        )
        own, base = speedup_of(m), None if dense is None else speedup_of(dense)
        if own is not None and base is not None:
            found.append((m, own.low / base.high, own.high / base.low, own.estimate / base.estimate))
    if not found:
        return Verdict(OPEN, "not measured yet")
    texts = [
        f"{wording.engine_name(m.engine, {})} {ratio:.2f}x [{low:.2f}, {high:.2f}] its own dense time at 90 %"
        for m, low, high, ratio in found
    ]
    faster = [low > _FASTER for _, low, _, _ in found]
    word = HOLDS if all(faster) else OPEN
    if not any(faster) and any(high < _FASTER for _, _, high, _ in found):
        word = FAILS
    return Verdict(word, f"{what}: {'; '.join(texts)}, {_HERE}")


def _sparse_storage_is_faster(study: Study) -> Verdict:
    """2: against the dense reference: that is what a user would run instead."""
    textbook = [m for engine in ("scipy-csr", "torch-csr") for m in _cells(study, engine, zeros=0.9)]
    direct = _cells(study, "direct-csr", zeros=0.9)
    if not textbook or not direct:
        return Verdict(OPEN, "not measured yet")
    slow = all((s := speedup_of(m)) is not None and s.high < 1 for m in textbook)
    fast = all((s := speedup_of(m)) is not None and s.low > _FASTER for m in direct)
    evidence = f"at 90 % zeros, over dense ONNX Runtime: {'; '.join(_ratio(m) for m in (*textbook, *direct))}, {_HERE}"
    if slow and fast:
        return Verdict(HOLDS, f"in an engine built for it, and not as a textbook sparse matrix; {evidence}")
    return Verdict(HOLDS if fast else FAILS if slow else OPEN, evidence)


def _lighter(study: Study) -> Verdict:
    """3: bytes of the file, masks and channels at 90 %, against the dense ONNX file."""
    dense = next((m for m in study.timed if m.engine == "onnxruntime" and m.method == "none"), None)
    rows = [
        *_cells(study, "onnxruntime", zeros=0.9)[:1],
        *_cells(study, "direct-csr", zeros=0.9)[:1],
        *[m for m in study.timed if is_structural(m) and m.sparsity_target == 0.9 and m.engine == "onnxruntime"][:1],
    ]
    if dense is None or dense.artifact_bytes is None or not rows:
        return Verdict(OPEN, "not measured yet")
    texts = [
        f"{wording.pruned(m)} as {m.format.upper() if m.format else '-'} {wording.size(m.artifact_bytes)}"
        for m in rows
        if m.artifact_bytes is not None
    ]
    word = HOLDS if any((m.artifact_bytes or 0) < 0.5 * dense.artifact_bytes for m in rows[1:]) else FAILS
    return Verdict(word, f"not by masks alone: dense {wording.size(dense.artifact_bytes)}; {'; '.join(texts)}")


def _retraining_is_faster(study: Study) -> Verdict:
    """4: seconds an epoch of fine-tuning against those of the dense control, by a tenth at least."""
    names = {
        "all-ones": "cnn9-all-ones-seed0",
        "90 % zeros": "cnn9-magnitude90-seed0",
        "90 % as channels": "cnn9-channels90-seed0",
    }
    seconds = {what: study.seconds_an_epoch(name) for what, name in names.items()}
    known = {what: value for what, value in seconds.items() if value is not None}
    if len(known) < len(names):
        return Verdict(OPEN, "not recorded for all of them")
    text = ", ".join(f"{what} {value:.0f} s" for what, value in known.items())
    return Verdict(
        OPEN,
        f"an epoch of fine-tuning: {text}; on different days and beside other work, so that no ratio of them stands",
    )


def _kept_to_seventy(study: Study) -> Verdict:
    """5: kept within a point at 70 % and lost at 90 %."""
    at_seventy, at_ninety = _against_control(study, "magnitude70"), _against_control(study, "magnitude90")
    if at_seventy is None or at_ninety is None:
        names = ["cnn9-magnitude70-seed0", "cnn9-magnitude90-seed0", "cnn9-all-ones-seed0"]
        return Verdict(OPEN, _absent(study, names))
    evidence = f"70 %: {at_seventy}; 90 %: {at_ninety}, against the dense network fine-tuned as long"
    if _kept(at_ninety) == HOLDS:
        return Verdict(FAILS, f"it does not drop at 90 %; {evidence}")
    drops = at_ninety.high < 0
    return Verdict(HOLDS if drops and _kept(at_seventy) == HOLDS else OPEN, evidence)


def _iterative_is_alike(study: Study) -> Verdict:
    """6: within a point of one-shot at 90 %, either way."""
    pairs = [(f"cnn9-magnitude90-seed{seed}", f"cnn9-iterative-magnitude90-seed{seed}") for seed in range(3)]
    names = [name for pair in pairs for name in pair]
    change = None if study.missing(*names) else study.change(pairs)
    if change is None:
        return Verdict(OPEN, _absent(study, names))
    inside = change.low >= -_POINT and change.high <= _POINT
    outside = change.low > _POINT or change.high < -_POINT
    word = HOLDS if inside else FAILS if outside else OPEN
    return Verdict(word, f"iterative against one-shot at 90 %, equal fine-tuning: {change}")


def _collapses(study: Study) -> Verdict:
    """7: before retraining, at 70 %, within five points of the most frequent class."""
    chance = study.score("majority-seed0")
    raw, again = (study.score("cnn9-magnitude70-seed0", f"accuracy_{step}") for step in ("raw", "recalibrated"))
    raw90, again90 = (study.score("cnn9-magnitude90-seed0", f"accuracy_{step}") for step in ("raw", "recalibrated"))
    if None in (chance, raw, again, raw90, again90):
        return Verdict(OPEN, _absent(study, ["majority-seed0", "cnn9-magnitude70-seed0", "cnn9-magnitude90-seed0"]))
    collapsed = raw is not None and chance is not None and raw < chance + 0.05
    evidence = (
        f"raw {_percent(raw)} at 70 % and {_percent(raw90)} at 90 % (most frequent class {_percent(chance)}); with "
        f"BatchNorm's statistics taken anew {_percent(again)} and {_percent(again90)}. One seed"
    )
    return Verdict(HOLDS if collapsed else FAILS, evidence if collapsed else f"at 90 %, not yet at 70 %: {evidence}")


def _deeper_is_better(study: Study) -> Verdict:
    """8: each deeper network better than the one before, over three seeds, with the whole interval."""
    chain = ["cnn3", "cnn4", "cnn9"]
    names = [f"{model}-dense-seed{seed}" for model in (*chain, "resnet3_max") for seed in range(3)]
    if lacking := _absent(study, names):
        return Verdict(OPEN, lacking)
    steps = [
        study.change([(f"{one}-dense-seed{seed}", f"{other}-dense-seed{seed}") for seed in range(3)])
        for one, other in (("cnn3", "cnn4"), ("cnn4", "cnn9"), ("cnn9", "resnet3_max"))
    ]
    if any(step is None for step in steps):
        return Verdict(OPEN, "too few patients")
    known = [step for step in steps if step is not None]
    word = HOLDS if all(s.low > 0 for s in known) else FAILS if any(s.high < 0 for s in known) else OPEN
    return Verdict(word, f"4 over 3 layers {known[0]}; 9 over 4 {known[1]}; ResNet3 over 9 {known[2]}")


def _heads_disturb(study: Study) -> Verdict:
    """9: jointly trained below alone, separately backpropagated back above."""
    names = ["unet-dense-seed0", "unet_head-dense-seed0", "unet_head_separate-dense-seed0"]
    joint = study.change([(names[0], names[1])], "dice_volume") if not study.missing(*names[:2]) else None
    found = "" if joint is None else f"joint (theta 0.5) against alone, Dice: {joint}"
    lacking = _absent(study, [*names, "unet_head_theta20-dense-seed0", "unet_head_theta80-dense-seed0"])
    if lacking:
        return Verdict(OPEN, "; ".join(part for part in (found, lacking) if part))
    separate = study.change([(names[1], names[2])], "dice_volume")
    if joint is None or separate is None:
        return Verdict(OPEN, found or "too few patients")
    word = HOLDS if joint.high < 0 < separate.low else FAILS if joint.low > 0 or separate.high < 0 else OPEN
    return Verdict(word, f"{found}; separate against joint: {separate}")


def _accuracy_misleads(study: Study) -> Verdict:
    """10: what answers without a network is far above a half."""
    chance, position = study.score("majority-seed0"), study.score("position-seed0")
    raw = study.score("cnn9-magnitude90-seed0", "accuracy_raw")
    if chance is None or position is None:
        return Verdict(OPEN, "not evaluated")
    evidence = (
        f"always the most frequent class {_percent(chance)}, a slice's position without its pixels {_percent(position)}"
        + ("" if raw is None else f", a network collapsed by pruning {_percent(raw)}")
    )
    return Verdict(HOLDS if chance > 0.6 else FAILS, evidence)


def _split_decides(study: Study) -> Verdict:
    """11: split by slice against by patient, by more than their intervals."""
    ours, leaky = "cnn9-dense-seed0", "cnn9_slice-dense-seed0"
    if lacking := _absent(study, [ours, leaky]):
        return Verdict(OPEN, lacking)
    low, high = (study.score(leaky, f"accuracy_{end}") for end in ("low", "high"))
    patient, slices = study.score(ours), study.score(leaky)
    top = study.score(ours, "accuracy_high")
    if low is None or high is None or top is None:
        return Verdict(OPEN, f"by patient {_percent(patient)}, by slice {_percent(slices)}")
    evidence = f"by slice {_percent(slices)} [{_percent(low)}, {_percent(high)}], by patient {_percent(patient)}"
    return Verdict(HOLDS if low > top else OPEN, evidence)


def _resnet_is_slow(study: Study) -> Verdict:
    """12: seconds an epoch, of networks that were trained in the same way."""
    names = {"cnn9": "cnn9-dense-seed0", "ResNet3": "resnet3-dense-seed0", "U-Net": "unet-dense-seed0"}
    known = {what: value for what, name in names.items() if (value := study.seconds_an_epoch(name)) is not None}
    if len(known) < 2:
        return Verdict(OPEN, "not trained yet")
    text = ", ".join(f"{what} {value:.0f} s" for what, value in known.items())
    other = [what for what in names if what not in known]
    elsewhere = f"; not on a processor: {', '.join(other)}" if other else ""
    return Verdict(OPEN, f"an epoch, two cores, other work beside it: {text}{elsewhere}")


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
        return Verdict(HOLDS, f"{words} with the paper's settings, the best")
    interval = loss_interval(settings["patients"], best["patients"], higher_is_better=True)
    names = ("optimizer", "learning_rate", "momentum", "initialization")
    other = ", ".join(f"{best[name]:.2g}" if isinstance(best[name], float) else best[name] for name in names)
    words += f" with {other}; {settings['validation_roc_auc']:.3f} with the paper's"
    if interval is None:
        return Verdict(OPEN, words)
    low, high = (-100 * end for end in reversed(interval))
    words += f"; accuracy {low:+.1f} to {high:+.1f} points, paired by patient"
    return Verdict(FAILS if low > 0 else OPEN, words)


def _has(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(trial[name] == value for name, value in settings.items())


def _sizes_differ(_study: Study) -> Verdict:
    """14: needs the original images."""
    return Verdict(OPEN, "the set at hand is reduced to one size; the original was not looked at")


def _pruning_regularises(study: Study) -> Verdict:
    """15: above the dense control, paired by patient, with the whole interval."""
    found = {f"{share} %": _against_control(study, f"magnitude{share}") for share in (30, 50, 70, 90)}
    known = {share: change for share, change in found.items() if change is not None}
    if not known:
        return Verdict(OPEN, "not trained yet")
    word = HOLDS if any(change.low > 0 for change in known.values()) else OPEN
    if all(change.high < 0 for change in known.values()):
        word = FAILS
    return Verdict(word, "; ".join(f"{share} zeros {change}" for share, change in known.items()))


def _percent(value: float | None) -> str:
    return wording.percent(value, 1)


CLAIMS = (
    Claim("A zero-masked model infers faster as sparsity rises (figure 10)", _masks_are_faster),
    Claim("Stored as a sparse matrix it would be faster still", _sparse_storage_is_faster),
    Claim("Pruning makes the model lighter", _lighter),
    Claim("Retraining a pruned model is significantly faster", _retraining_is_faster),
    Claim("Accuracy is kept up to 70 %, and drops at 90 %", _kept_to_seventy),
    Claim("One-shot and iterative pruning end alike", _iterative_is_alike),
    Claim("Before retraining, accuracy collapses from 70 % on", _collapses),
    Claim("Deeper CNNs are better: 3 < 4 < 9 layers; ResNet3 is the best of all", _deeper_is_better),
    Claim("Two heads trained jointly do worse than one; separate losses mend it", _heads_disturb),
    Claim("Accuracy alone misleads on two classes", _accuracy_misleads),
    Claim("The split decides the score: by slice or by patient", _split_decides),
    Claim('ResNet "takes too much time for training"', _resnet_is_slow),
    Claim("Adam at 1e-3 with beta1 0.9 gives the best results", _adam_is_best),
    Claim("The images are all different in size", _sizes_differ),
    Claim("Pruning regularises as dropout does: accuracy sometimes rises", _pruning_regularises),
)
