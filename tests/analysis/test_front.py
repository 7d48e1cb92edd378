"""Choice of a configuration: the bar, the front and what dominates whom, the best."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemark.analysis.front import KEEP, Bar, answers, best, standings
from sparsemark.analysis.groups import GROUPS_NEEDED, loss_interval, unseen
from sparsemark.errors import UserError
from sparsemark.records.measurement import Measurement
from sparsemark.records.scores import DataNote, Score
from tests.synthetic import study_run

DATA = DataNote("d")


def row(name, speedup=None, score=None, *, width=0.01, **fields):
    """A measured cell; `score` is a Score or the value of one gated to one point."""
    given = {"model": "m", "method": "magnitude", "engine": "e", "seed": 0, "data": DATA} | fields
    if isinstance(score, float):
        score = Score(score, tolerance=0.01)
    if speedup is not None:
        given |= {"speedup": speedup, "speedup_low": speedup - width, "speedup_high": speedup + width}
    return Measurement(name, "measured", scores={} if score is None else {"accuracy": score}, **given)


def dense(score=0.9, speedup=1.0, **fields):
    return row("dense", speedup, score, method="none", **fields)


@pytest.mark.parametrize(
    ("bar", "score", "allowed"),
    [
        (Bar(), Score(0.9, tolerance=0.02), 0.02),
        (Bar(), Score(0.9), 0.9 * (1 - KEEP)),
        (Bar(keep=0.95), Score(0.8, tolerance=0.02), 0.04),
        (Bar(within=0.3), Score(0.8, tolerance=0.02), 0.3),
        (Bar(keep=0.8), Score(4.0, higher_is_better=False), 1.0),
        (Bar(keep=0.9), Score(-10.0), 1.0),
        (Bar(keep=0.5), Score(-10.0, higher_is_better=False), 10.0),
        (Bar(keep=0.5), Score(0.0), 0.0),
    ],
)
def test_the_allowed_loss_is_in_the_metrics_unit(bar, score, allowed):
    assert bar.allowed(score) == pytest.approx(allowed)


@pytest.mark.parametrize(
    "wrong", [{"keep": 0.9, "within": 0.1}, {"keep": 0.0}, {"keep": 1.01}, {"keep": float("nan")}, {"within": -1.0}]
)
def test_a_bar_out_of_range_is_refused(wrong):
    with pytest.raises(UserError, match="expected"):
        Bar(**wrong)


def test_best_is_the_fastest_by_its_lower_end_that_keeps_the_score():
    rows = [dense(), row("a", 2.0, 0.895), row("b", 3.0, 0.895, width=1.5), row("c", 4.0, 0.8)]
    assert best(rows).name == "a"
    assert best(rows, within=0.2).name == "c"
    assert best(rows, keep=0.999) is None, "the dense network is as fast as itself"
    with pytest.raises(UserError):
        best(rows, keep=0.9, within=0.1)


def test_a_network_without_a_score_is_never_best():
    rows = [dense(), row("a", 2.0)]
    assert best(rows) is None
    assert best([*rows, row("fast", 3.0, method="none", engine="other")]).name == "fast", "dense on another engine"


def test_controls_and_other_jobs_are_never_best():
    rows = [dense(threads=1), row("t", 9.0, 0.9, threads=2), row("r", 9.0, 0.9, method="random"),
            row("aa", 9.0, 0.9, control="aa"), row("a", 1.5, 0.9, threads=1)]  # fmt: skip
    assert best(rows).name == "a"


def test_choices_are_made_on_select_and_losses_are_of_what_is_reported():
    def of(value, select):
        return Score(value, tolerance=0.01, select=select)

    rows = [dense(of(0.9, 0.95)), row("good there", 2.0, of(0.5, 0.945)), row("good here", 3.0, of(0.9, 0.9))]
    _, there, here = standings(rows, Bar())
    assert (there.keeps, here.keeps) == (True, False)
    assert there.is_contradicted
    assert there.loss == pytest.approx(0.4)
    assert best(rows).name == "good there"
    one_sided = [dense(0.9), *rows[1:]]
    assert best(one_sided).name == "good here", "the dense network was not scored there, so the report decides"


def test_each_dominated_row_names_the_fastest_of_the_front_that_dominates_it():
    rows = [dense(), row("a", 4.0, 0.85), row("b", 3.0, 0.88), row("c", 2.0, 0.92), row("low", 1.9, 0.86),
            row("close", 2.995, 0.84), row("unscored", 9.0)]  # fmt: skip
    found = {one.measurement.name: one for one in standings(rows, Bar())}
    assert {name for name, one in found.items() if one.on_front} == {"a", "b", "c"}
    by = {name: one.dominated_by.name for name, one in found.items() if one.dominated_by}
    assert by == {"dense": "c", "low": "b", "close": "a"}
    wide = standings([dense(), row("a", 2.0, 0.9), row("b", 1.99, 0.9)], Bar())
    assert [one.is_close for one in wide] == [False, False, True]


POINTS = st.lists(
    st.tuples(st.sampled_from([1.0, 1.5, 2.0, 3.0]), st.sampled_from([0.5, 0.7, 0.9])), min_size=1, max_size=8
)


@given(POINTS, st.booleans())
def test_the_front_is_what_nothing_dominates(points, higher):
    def score(value):
        return Score(value, higher_is_better=higher)

    rows = [dense(score(0.7)), *(row(str(i), speed, score(value)) for i, (speed, value) in enumerate(points))]
    found = standings(rows, Bar())
    sign = 1 if higher else -1
    at = {one.measurement.name: (one.measurement.speedup, sign * one.score.value) for one in found}

    def above(a, b):
        return a != b and a[0] >= b[0] and a[1] >= b[1]

    for one in found:
        own = at[one.measurement.name]
        assert one.on_front == (not any(above(other, own) for other in at.values()))
        assert (one.dominated_by is None) == one.on_front
        if one.dominated_by is not None:
            assert above(at[one.dominated_by.name], own)
    front = sorted(at[one.measurement.name] for one in found if one.on_front)
    assert all(before[1] >= after[1] for before, after in itertools.pairwise(front))


def test_seeds_are_held_against_their_own_dense_network():
    rows = [dense(0.9), dense(0.6, seed=1), row("a", 2.0, 0.6, seed=1), row("b", 2.0, 0.6)]
    *_, a, b = standings(rows, Bar())
    assert (a.keeps, b.keeps) == (True, False)
    assert b.dominated_by.name == "a"


def test_seeds_and_folds_of_one_pruning_are_judged_by_their_mean():
    rows = [dense(0.90, seed=0), dense(0.90, seed=1)]
    rows += [row("lucky0", 9.0, 0.90, pruning="a", seed=0), row("lucky1", 9.0, 0.80, pruning="a", seed=1)]
    rows += [row("steady0", 3.0, 0.895, pruning="b", seed=0), row("steady1", 3.0, 0.885, pruning="b", seed=1)]
    kept = {one.measurement.name: one.keeps for one in standings(rows, Bar(within=0.01))}
    assert [kept[name] for name in ("lucky0", "lucky1", "steady0", "steady1")] == [False, False, True, True]
    assert best(rows, within=0.01).name in ("steady0", "steady1")


def test_networks_are_answered_apart():
    run = study_run()
    both = [*run.measurements, *study_run(1, model="unet").measurements]
    found = answers(both)
    assert [answer.model for answer in found] == ["cnn9", "unet"]
    assert found[0].best.measurement == best(run.measurements)
    fronts = {one.dominated_by.model for one in found[1].standings if one.dominated_by}
    assert fronts == {"unet"}


def groups(values, weight=1.0):
    return {str(index): (value, weight) for index, value in enumerate(values)}


def test_a_loss_is_paired_by_group():
    """Groups differ by far more than the networks: only pairs show that one is always worse by two points."""
    easy = [0.1, 0.9, 0.5, 0.99, 0.3, 0.7, 0.8, 0.2]
    worse = [value - 0.02 - 0.001 * (-1) ** index for index, value in enumerate(easy)]
    low, high = loss_interval(groups(easy), groups(worse), higher_is_better=True)
    assert 0.019 < low <= 0.02 <= high < 0.021
    turned = loss_interval(groups(easy), groups(worse), higher_is_better=False)
    assert turned == pytest.approx((-high, -low))


def test_a_loss_weighs_groups():
    before, after = groups([1.0] * 8), groups([1.0] * 7 + [0.0])
    heavy = {name: (value, 99.0 if name == "7" else 1.0) for name, (value, _) in after.items()}
    light = {name: (value, 0.0 if name == "7" else 1.0) for name, (value, _) in after.items()}
    assert loss_interval(before, heavy, higher_is_better=True)[1] > 0.9
    assert loss_interval(before, light, higher_is_better=True) == pytest.approx((-unseen(7), unseen(7)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (groups([3.1] * 8), groups([3.1] * 8)),
        (groups([0.1] * (GROUPS_NEEDED - 1)), groups([0.2] * (GROUPS_NEEDED - 1))),
        (groups([0.1] * 8), groups([0.1] * 9)),
    ],
    ids=["no difference, and no fraction", "few", "others"],
)
def test_what_supports_no_interval_has_none(before, after):
    assert loss_interval(before, after, higher_is_better=True) is None


def test_an_interval_excludes_what_lies_above_it():
    def standing(high):
        score = Score(0.895, tolerance=0.01, loss_low=0.0, loss_high=high)
        return standings([dense(), row("a", 2.0, score)], Bar())[1]

    assert standing(0.01).excludes_more
    assert not standing(0.011).excludes_more
    assert not dataclasses.replace(standing(0.01), score=Score(0.895)).excludes_more
