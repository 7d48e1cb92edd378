"""Parity: an engine's outputs against the float64 reference. No latency without it: only `check` makes a `Verified`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.engines.base import notes_of
from sparsemark.machine.at_work import at_work
from sparsemark.networks.reference import stack
from sparsemark.records.measurement import CONSTANT, NEVER_DEPENDED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict
    from sparsemark.networks.reference import Batch, Reference
    from sparsemark.records.scores import Score


TOLERANCE = 1e-5
"""Largest max |d| / max |reference| of a float32 engine.

Some 80 units in the last place, room for another order of summation.
"""


STEPS = 1.001
"""Largest difference of an int8 engine beyond what rounding in float32 moves the quantised graph by, in steps of the
output's scale: one, and the rounding of the output itself."""

_LISTED = 5
"""Disagreements that a row lists with their margin; the others are numbers alone."""


WRITES = "the network writes into its input, so each call is given a copy"

_CONSTANT = 1e-9
"""Largest change of a float64 output over all inputs, relative to its size, that is none."""

Scorer = Callable[[Sequence["NDArray[Any]"]], "Mapping[str, Score]"]
"""Scores by metric of every output, each for all images."""

_PASS = object()


class ParityError(Exception):
    """An engine that does not agree; `parity` holds the distances, where they could be computed."""

    def __init__(self, reason: str, parity: Parity | None = None) -> None:
        super().__init__(reason)
        self.parity = parity

    def beside_saturation(self) -> ParityError:
        """Return the error with what the processor does to products of bytes."""
        return ParityError(
            f"{self}; this processor adds products of bytes in 16 bits, where weights of 8 bits overflow and those of "
            "7 (reduce_range) do not",
            self.parity,
        )

    def beside_rounding(self, alone: float, *, made_up: bool) -> ParityError:
        """Return the error with what float32 costs the network by itself.

        Args:
            alone: max |d| / max |reference| of the network in float32.
            made_up: whether the inputs are random.
        """
        if alone <= TOLERANCE:
            return ParityError(f"{self}; float32 by itself costs this network {alone:.1e}", self.parity)
        real = "; random inputs can do that, real ones come with --task FILE.py" if made_up else ""
        return ParityError(
            f"{self}; float32 by itself costs this network {alone:.1e} on these inputs, whatever the engine{real}",
            self.parity,
        )


@dataclass(frozen=True)
class Parity:
    """Distance of an engine's outputs from the reference.

    Args:
        max_abs: largest absolute difference over all outputs and images.
        max_rel: the same over the largest absolute value of that output.
        agreement: fraction of equal decisions: the largest class where there are several, the sign where there is one.
        with_dense: the same against the unpruned network, or None where that was not asked for or has other outputs.
        disagreements: numbers of the images on which they differ, with the margin of the reference, in words.
        images: number of batches compared.
        notes: what a reader must know of the comparison, in words.
    """

    max_abs: float
    max_rel: float
    agreement: float
    disagreements: str
    images: int
    with_dense: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """An engine whose answers were checked and scored; the only thing that can be timed."""

    predict: Predict
    parity: Parity
    scores: Mapping[str, Score]
    _pass: InitVar[object]  # no field, so that dataclasses.replace cannot carry it to another engine

    def __post_init__(self, _pass: object) -> None:
        if _pass is not _PASS:
            raise TypeError("a Verified comes from parity.check only")


def check(
    predict: Predict,
    batches: Sequence[Batch],
    reference: Reference,
    *,
    dense: Reference | None = None,
    score: Scorer | None = None,
) -> Verified:
    """Compare an engine with the reference, and score the very outputs that were compared.

    Without a score, only the batches that the reference is of are run. An engine that writes into its inputs is given
    a copy at each call, from then on.

    Args:
        predict: the engine, one batch a call.
        batches: arrays of each input, as the network takes them; left as they are.
        reference: outputs for some of the batches.
        dense: those of the unpruned network, or None.
        score: a task's scores of the engine's outputs, or None.

    Raises:
        ParityError: another number or shape of outputs, a value that is not finite where the reference is, or a
            difference above `TOLERANCE`, of a quantised network above `STEPS`; or the reference itself holds no finite
            value.
    """
    notes = (*reference.notes, *notes_of(predict))
    # What is not scored need not be run where there is nothing to compare it with.
    run = range(len(batches)) if score else reference.chosen
    with at_work("checking its outputs"):
        predict, answers, written = _answers(predict, [batches[index] for index in run])
    notes = (*notes, *written)
    expected = reference.outputs
    _check_numbers(answers, expected)
    if not any(np.isfinite(output).any() for output in expected):
        raise ParityError("the network's own output holds no finite number, so there is nothing to compare with")
    found = dict(zip(run, answers, strict=True))
    compared = stack([found[index] for index in reference.chosen])
    for index, (got, right) in enumerate(zip(compared, expected, strict=True)):
        if got.shape != right.shape:
            raise ParityError(f"output {index} has shape {got.shape}, the reference {right.shape}")
    parity = replace(_compare(compared, expected, reference.chosen, len(batches[0][0])), notes=notes)
    beyond = _beyond(parity, compared, reference)
    if beyond:
        raise ParityError("; ".join((beyond, *notes)), parity)
    if is_constant(reference):
        has_lost = dense is not None and not is_constant(dense)
        parity = replace(parity, notes=(*parity.notes, CONSTANT if has_lost else NEVER_DEPENDED))
    if dense is not None:
        common = min(len(reference.chosen), len(dense.chosen))
        ours, theirs = (_first(outputs, common, of) for outputs, of in ((compared, reference), (dense.outputs, dense)))
        parity = replace(parity, with_dense=_agreement(ours, theirs))
    return Verified(predict, parity, score(stack(answers)) if score else {}, _PASS)


def _beyond(parity: Parity, compared: Sequence[NDArray[Any]], reference: Reference) -> str:
    """Return which limit the differences exceed, in words; empty within the limits of the precision."""
    if not reference.steps or not np.isfinite(parity.max_abs):
        within = parity.max_rel <= TOLERANCE  # NaN is not
        return "" if within else f"max |d| / max |reference| is {parity.max_rel:.1e}, allowed {TOLERANCE:.0e}"
    moved = reference.moved or (0.0,) * len(reference.steps)
    for got, expected, step, more in zip(compared, reference.outputs, reference.steps, moved, strict=True):
        finite = np.isfinite(expected)
        difference = float(np.max(np.abs(got[finite].astype(np.float64) - expected[finite]), initial=0.0))
        if difference > STEPS * step + more:
            found = f"{difference / step:.3g} steps of the output's scale" if step else f"{difference:.3g}"
            beside = f" and the {more / step:.3g} of rounding in float32" if more and step else ""
            return f"max |d| is {found}, allowed 1{beside}"
    return ""


def is_constant(reference: Reference) -> bool:
    """Return whether a network gives the same outputs for different inputs, whatever their size."""
    parts = [output.reshape(len(reference.chosen), -1) for output in reference.outputs]
    if len(reference.chosen) < 2:  # one answer differs from nothing
        return False
    finite = [part for part in parts if part.size and np.isfinite(part).all()]
    return bool(finite) and all(
        float(np.abs(part - part[:1]).max()) <= _CONSTANT * float(np.abs(part).max()) for part in finite
    )


def _first(outputs: Sequence[NDArray[Any]], count: int, of: Reference) -> list[NDArray[Any]]:
    """Return the rows of the first `count` batches: the order in which batches are chosen is the same for all."""
    return [output[: len(output) // len(of.chosen) * count] for output in outputs]


def _answers(
    predict: Predict, batches: Sequence[Batch]
) -> tuple[Predict, list[tuple[NDArray[Any], ...]], tuple[str, ...]]:
    """Return an engine's answers, and the engine itself, on copies from the batch on that it wrote into."""
    answers = []
    writes = False
    for batch in batches:
        before = tuple(array.copy() for array in batch)
        answer = predict(*batch)
        if not writes and not all(map(_equal, batch, before)):
            writes, predict = True, _on_copies(predict)
            for array, one in zip(batch, before, strict=True):
                array[...] = one
            answer = predict(*batch)  # the first one may be the input itself
        answers.append(answer)
    return predict, answers, (WRITES,) if writes else ()


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return np.array_equal(one, other)


def _check_numbers(answers: Sequence[Sequence[NDArray[Any]]], expected: Sequence[NDArray[Any]]) -> None:
    """Raise ParityError unless every answer has the reference's number of outputs, and the first one's shapes."""
    for answer in answers:
        if len(answer) != len(expected):
            raise ParityError(f"{len(answer)} outputs, the reference has {len(expected)}")
        for index, (first, got) in enumerate(zip(answers[0], answer, strict=True)):
            if np.shape(got) != np.shape(first):
                raise ParityError(f"output {index} has shape {np.shape(first)} once and {np.shape(got)} another time")


def _on_copies(predict: Predict) -> Predict:
    def on_copies(*inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        return predict(*(array.copy() for array in inputs))

    return on_copies


def _agreement(outputs: Sequence[NDArray[Any]], others: Sequence[NDArray[Any]]) -> float | None:
    """Return the fraction of equal decisions, or None where the outputs have other shapes."""
    if [output.shape for output in outputs] != [other.shape for other in others]:
        return None
    same: list[NDArray[np.bool_]] = [
        np.asarray(decisions(output) == decisions(other)) for output, other in zip(outputs, others, strict=True)
    ]
    return float(sum(int(one.sum()) for one in same) / max(1, sum(one.size for one in same)))


def _compare(
    outputs: Sequence[NDArray[Any]], reference: Sequence[NDArray[np.float64]], chosen: Sequence[int], batch: int
) -> Parity:
    """Compare outputs of the batches in `chosen`, each of `batch` images where every output has a row for each."""
    images = len(chosen)
    # Else an output is of the batch as a whole, and batches are what can be named.
    each = batch if all(len(output) == images * batch for output in reference) else 1
    max_abs = max_rel = 0.0
    equal: NDArray[np.bool_] = np.ones(images * each, dtype=bool)
    decided = agreed = 0
    margins = np.full(images * each, np.inf)
    for got, expected in zip(outputs, reference, strict=True):
        finite = np.isfinite(expected)
        if not np.array_equal(got[~finite], expected[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
            return Parity(float("inf"), float("inf"), 0.0, "infinities or NaN other than the reference's", images)
        difference = float(np.max(np.abs(got[finite].astype(np.float64) - expected[finite]), initial=0.0))
        scale = float(np.max(np.abs(expected[finite]), initial=0.0))
        max_abs = max(max_abs, difference)
        max_rel = max(max_rel, difference / scale if scale else (float("inf") if difference else 0.0))
        same, margin = decisions(got) == decisions(expected), _margins(expected)
        decided, agreed = decided + same.size, agreed + int(same.sum())
        rows = same.reshape(len(equal), -1).all(axis=1)
        least = margin.reshape(len(equal), -1).min(axis=1, initial=np.inf)
        margins = np.minimum(margins, np.where(rows, np.inf, least))
        equal &= rows
    numbers = np.add.outer(each * np.asarray(chosen), np.arange(each)).ravel()
    wrong = {int(numbers[i]): float(margins[i]) for i in np.flatnonzero(~equal)}
    return Parity(max_abs, max_rel, agreed / decided if decided else 1.0, _in_words(wrong), images)


def _in_words(wrong: Mapping[int, float]) -> str:
    """Name the images on which decisions differ, the first ones with the margin of the reference."""
    numbers = sorted(wrong)
    listed = ", ".join(f"{number} (margin {wrong[number]:.1e})" for number in numbers[:_LISTED])
    rest = numbers[_LISTED:]
    return f"{listed} and {len(rest)} more: {_ranges(rest)}" if rest else listed


def _ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers as `5, 7-9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def decisions(output: NDArray[Any]) -> NDArray[np.intp]:
    """Return the decisions: the index of the largest class (axis 1), or for one value whether it is positive.

    Args:
        output: shape (images, classes, ...) or (images,); the result lacks the class axis.
    """
    if output.ndim > 1 and output.shape[1] > 1:
        largest: NDArray[np.intp] = output.argmax(axis=1)
        return largest
    return (output > 0).astype(np.intp)


def _margins(output: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each decision from turning over."""
    if output.ndim > 1 and output.shape[1] > 1:
        top = np.partition(output, -2, axis=1)
        with np.errstate(invalid="ignore"):  # two infinities: no margin
            margin: NDArray[np.float64] = top[:, -1] - top[:, -2]
        return margin
    return np.abs(output)
