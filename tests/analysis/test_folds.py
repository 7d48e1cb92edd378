"""Folds of one pruning as one: what is a mean, what a spread, and what is never averaged."""

from __future__ import annotations

import dataclasses

import pytest

from sparsemark.analysis.folds import folds_of, mean_score, rows_as_one, spanned
from sparsemark.analysis.front import Bar, answers, best, standings, with_folds_as_one
from sparsemark.analysis.groups import interval_of, loss_interval, pooled, unseen
from sparsemark.analysis.statistics import Interval
from sparsemark.records.measurement import Measurement
from sparsemark.records.scores import DataNote, Score, SingleInputs
from sparsemark.report.front import places

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


def test_speed_is_a_geometric_mean_and_its_ends_are_those_of_the_folds_intervals():
    found = folds_of(study())[1]
    m = found.measurement
    assert (m.speedup, m.speedup_low, m.speedup_high) == pytest.approx((4.0, 1.98, 8.08))
    assert m.p50_ms == pytest.approx(0.25)
    assert m.scores["accuracy"].value == pytest.approx(0.892)
    assert (m.seed, m.fold, m.name) == (0, None, "m-magnitude:0.9-seed0-folds-e")
    assert (found.unit, len(found.members), found.asked, found.disturbed) == ("folds", 5, 5, 0)


def test_the_mean_of_equal_ratios_lies_between_them():
    for ratio in (3.0, 0.1, 1.7):
        found = spanned([Interval(ratio, ratio, ratio)] * 3)
        assert found.low <= found.estimate <= found.high


def test_folds_that_agree_by_chance_are_not_certain():
    """Each may be off by half: that both came out alike does not make them faster than dense."""
    rows = study(speedups=(1.05, 1.06, 1.05, 1.06, 1.05))
    rows[5:] = [dataclasses.replace(m, speedup_low=0.7, speedup_high=1.5) for m in rows[5:]]
    assert (best(rows), answers(rows)[0].best) == (None, None)


def test_folds_without_an_interval_keep_their_mean():
    rows = [dataclasses.replace(m, speedup_low=None, speedup_high=None) for m in study()]
    m = folds_of(rows)[1].measurement
    assert (m.speedup, m.speedup_low, m.speedup_high) == (pytest.approx(4.0), None, None)


def test_a_fold_that_is_left_alone_by_the_failed_ones_is_one_of_them():
    rows = study(data=DataNote("d", "PHANTOM"))
    rows[6:] = [dataclasses.replace(m, status="error", data=None, scores={}, speedup=None) for m in rows[6:]]
    found = folds_of(rows)[1]
    assert (len(found.members), found.asked, found.unit) == (1, 5, "folds")
    assert (found.measurement.speedup, found.measurement.fold) == (2.0, None)


def test_folds_have_no_name_of_another_row():
    """The same pruning without a fold is apart from them, and so is its place on the front."""
    alone = [dataclasses.replace(m, name=m.name.replace("-fold0", ""), fold=None) for m in study() if m.fold == 0]
    alone[1] = dataclasses.replace(alone[1], speedup=9.0, speedup_low=8.9, speedup_high=9.1)
    (answer,) = answers([*study(), *alone])
    places_of = places(answer.candidates)
    assert len({one.measurement.name for one in answer.candidates}) == 4
    assert places_of[alone[1].name] == "F1" != places_of[study()[5].name]


def test_what_is_deployed_of_folds_is_the_first_and_no_lucky_one():
    (answer,) = answers(study())
    assert best(study()) == answer.best.deployed == study()[5]


def walked(fold, steps, speedup=10.0, **fields):
    """The end of a walk: its files of ratios are those of its last step."""
    pruning = "+".join(f"{method}@w/fold{fold}/10x-step{fold + 1}-{method}.json:{share}" for method, share in steps)
    method = "+".join(method for method, _ in steps)
    return dataclasses.replace(row(fold, speedup, DENSE[fold] - 0.001, pruning), method=method, **fields)


def test_walks_to_one_target_are_folds_of_it():
    ends = [walked(0, [("channels", 0.8)]), walked(1, [("channels", 0.6), ("magnitude", 0.5)], 40.0)]
    (found,) = folds_of(ends)
    m = found.measurement
    assert (m.speedup, m.method, m.sparsity_target) == (pytest.approx(20.0), "channels+magnitude", 0.25)
    assert m.pruning == "channels@10x.json:0.7+magnitude@10x.json:0.25"
    (answer,) = answers([*study()[:5], *ends])
    assert answer.best.folds.members == tuple(ends)
    other = dataclasses.replace(ends[1], pruning=ends[1].pruning.replace("10x", "9x"))
    assert folds_of([ends[0], other]) == []


def test_steps_of_one_walk_are_several_prunings():
    steps = [dataclasses.replace(walked(step, [("channels", 0.5)]), fold=0) for step in range(3)]
    others = [dataclasses.replace(m, name=f"{m.name}-1", fold=1) for m in steps]
    for rows in (steps, [*steps, *others]):
        assert rows_as_one(rows) == rows
    scored = [
        dataclasses.replace(m, data=DATA[0], scores={"accuracy": Score(value, tolerance=0.01)})
        for m, value in zip(steps, (0.5, 0.9, 0.9), strict=True)
    ]
    found = standings([study()[0], *scored], Bar())
    assert [one.keeps for one in found[1:]] == [False, True, True]


def test_failed_and_disturbed_folds_are_counted():
    rows = study()
    rows[-1] = dataclasses.replace(rows[-1], status="error", speedup=None)
    rows[-2] = dataclasses.replace(rows[-2], reference_drift=0.2)
    found = folds_of(rows)[1]
    assert (len(found.members), found.asked, found.disturbed) == (4, 5, 1)
    assert found.measurement.reference_drift == 0.2


@pytest.mark.parametrize(
    "fields", [{"engine": "f"}, {"precision": "int8"}, {"pruning": "b"}, {"threads": 2}, {"schedule": "iterative"},
               {"control": "aa"}, {"fold": None}, {"data": DataNote("d", "PHANTOM")}, {"host_class": "h"}],
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
    assert found.estimate == pytest.approx(2.0)
    assert found.low == pytest.approx(2 / 1.01**2**0.5, rel=1e-3)
