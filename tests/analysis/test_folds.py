"""Folds of one pruning as one: what is a mean, what a spread, and what is never averaged."""

from __future__ import annotations

import dataclasses

import pytest

from sparsemark.analysis.folds import folds_of, mean_score, rows_as_one, spread
from sparsemark.analysis.front import Bar, answers, standings, with_folds_as_one
from sparsemark.analysis.groups import interval_of, loss_interval, pooled, unseen
from sparsemark.records.measurement import Measurement
from sparsemark.records.scores import DataNote, Score, SingleInputs

DATA = [DataNote(f"fold {fold}", key=str(fold)) for fold in range(5)]
DENSE = [0.90, 0.95, 0.85, 0.92, 0.88]


def row(fold, speedup, value, pruning="magnitude:0.9", seed=0, **fields):
    """A timed cell of a fold."""
    method = "none" if pruning == "none" else "magnitude"
    given = {"model": "m", "method": method, "engine": "e", "precision": "fp32", "data": DATA[fold]} | fields
    return Measurement(
        f"m-{pruning}-seed{seed}-fold{fold}-e", "measured", pruning=pruning, seed=seed, fold=fold, p50_ms=1 / speedup,
        speedup=speedup, speedup_low=0.99 * speedup, speedup_high=1.01 * speedup,
        scores={"accuracy": Score(value, value - 0.02, value + 0.02, tolerance=0.01)}, **given,
    )  # fmt: skip


def study(losses=(0.0, 0.01, 0.0, 0.02, 0.01), speedups=(2.0, 4.0, 8.0, 4.0, 4.0), **fields):
    dense = [row(fold, 1.0, value, "none") for fold, value in enumerate(DENSE)]
    pruned = [row(fold, speedups[fold], DENSE[fold] - lost, **fields) for fold, lost in enumerate(losses)]
    return [*dense, *pruned]


def test_speed_is_a_geometric_mean_and_its_ends_are_folds():
    found = folds_of(study())[1]
    m = found.measurement
    assert (m.speedup, m.speedup_low, m.speedup_high) == (pytest.approx(4.0), 2.0, 8.0)
    assert m.p50_ms == pytest.approx(0.25)
    assert m.scores["accuracy"].value == pytest.approx(0.892)
    assert (m.seed, m.fold, m.name) == (0, None, "m-magnitude:0.9-seed0-e")
    assert (found.unit, len(found.members), found.asked, found.disturbed) == ("folds", 5, 5, 0)


def test_the_mean_of_equal_ratios_lies_between_them():
    for ratio in (3.0, 0.1, 1.7):
        found = spread([ratio] * 3)
        assert found.low <= found.estimate <= found.high


def test_failed_and_disturbed_folds_are_counted():
    rows = study()
    rows[-1] = dataclasses.replace(rows[-1], status="error", speedup=None)
    rows[-2] = dataclasses.replace(rows[-2], reference_drift=0.2)
    found = folds_of(rows)[1]
    assert (len(found.members), found.asked, found.disturbed) == (4, 5, 1)
    assert found.measurement.reference_drift == 0.2


@pytest.mark.parametrize(
    "fields", [{"engine": "f"}, {"precision": "int8"}, {"pruning": "b"}, {"threads": 2}, {"schedule": "iterative"},
               {"control": "aa"}, {"fold": None}, {"data": DataNote("d", "PHANTOM")}],
)  # fmt: skip
def test_what_differs_in_more_than_the_fold_is_never_averaged(fields):
    one = row(0, 2.0, 0.9)
    other = dataclasses.replace(row(1, 2.0, 0.9), **fields)
    assert folds_of([one, other]) == []
    assert rows_as_one([one, other]) == [one, other]
    assert len(folds_of([one, row(1, 2.0, 0.9)])) == 1


def test_a_single_fold_is_as_it_was():
    rows = [m for m in study() if m.fold == 3]
    found = standings(rows, Bar())
    assert with_folds_as_one(found) == found


def groups(names, value):
    return {name: (value + 0.01 * place, 1.0) for place, name in enumerate(names)}


def test_intervals_are_of_the_groups_of_all_folds_in_pairs():
    names = [[f"{fold}-{n}" for n in range(4)] for fold in range(3)]
    dense = [Score(0.9, groups=groups(of, 0.9)) for of in names]
    scores = [Score(0.8, groups=groups(of, 0.8 - 0.01 * fold)) for fold, of in enumerate(names)]
    found = mean_score(scores, dense, [0, 0, 0])
    before, after = (pooled(score.groups for score in of) for of in (dense, scores))
    assert (found.low, found.high) == interval_of(after)
    assert (found.loss_low, found.loss_high) == loss_interval(before, after, higher_is_better=True)


def test_the_dense_network_has_no_interval_of_its_own_loss():
    groups = {str(i): (1.0, 1.0) for i in range(20)}
    rows = study((0.0,) * 5)
    rows = [
        dataclasses.replace(m, scores={"accuracy": dataclasses.replace(m.scores["accuracy"], groups=groups)})
        for m in rows
    ]
    dense, pruned = (m.scores["accuracy"] for m in rows_as_one(rows))
    assert (dense.loss_low, dense.loss_high) == (None, None)
    assert pruned.loss_low == -pruned.loss_high == pytest.approx(-unseen(20)), "though none was seen"
    assert (dense.input_count, dense.group_count) == (None, 20)
    one = next(one for one in with_folds_as_one(standings(rows, Bar())) if one.measurement.method == "none")
    assert one.score.loss_low is None


def test_without_groups_folds_add_in_quadrature_and_seeds_do_not():
    scores = [Score(0.8, 0.7, 0.9, loss_low=0.0, loss_high=0.2), Score(0.8, 0.7, 0.9, loss_low=0.0, loss_high=0.2)]
    dense = [Score(0.9), Score(0.9)]
    folds, seeds = (mean_score(scores, dense, of) for of in ([0, 0], [0, 1]))
    assert folds.high - folds.value == pytest.approx(0.1 / 2**0.5)
    assert folds.loss_high == pytest.approx(0.1 + 0.1 / 2**0.5)
    assert seeds.high - seeds.value == pytest.approx(0.1)
    assert mean_score([scores[0], Score(0.8)], dense, [0, 0]).low is None


def test_single_inputs_of_two_folds_are_other_inputs():
    scores = [Score(value, groups=SingleInputs({"0": (value, 1.0)})) for value in (0.2, 0.8)]
    found = mean_score(scores, [None, None], [0, 0])
    assert found.groups is None
    assert found.value == pytest.approx(0.5)


def test_folds_are_chosen_as_one_and_stand_on_the_front_as_one():
    luckiest = study((-0.05, 0.08, 0.08, 0.08, 0.08), (99.0, 9.0, 9.0, 9.0, 9.0), pruning="lucky")[5:]
    (answer,) = answers([*study(), *luckiest])
    assert answer.best.measurement.pruning == "magnitude:0.9"
    assert answer.best.loss == pytest.approx(0.008)
    assert len(answer.candidates) == 3
    assert sum(one.on_front for one in answer.candidates) == 3
    (one,) = (one for one in answers([*study(), *luckiest])[0].candidates if one.measurement.pruning == "lucky")
    assert not one.keeps


def test_a_ratio_of_two_prunings_is_of_the_same_folds():
    slow, fast = folds_of([*study(pruning="a")[5:], *study(speedups=(4.0, 8.0, 16.0, 8.0, 8.0), pruning="b")[5:]])
    found = fast.over(slow)
    assert (found.low, found.estimate, found.high) == pytest.approx((2.0, 2.0, 2.0))
