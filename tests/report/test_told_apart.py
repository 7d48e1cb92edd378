"""Lines on networks that a run cannot tell apart: all at the ceiling of the score, or as fast and smaller."""

from __future__ import annotations

import pytest

from sparsemark.analysis.front import Bar
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
from sparsemark.report.advice import advice
from tests.report.runs import RUNS, of, replace, scored

RUN = RUNS["study"]


def perfect(run=RUN, value=1.0, **more):
    fields = {"input_count": 200, "low": 0.98, "high": 1.0} | more
    return replace(run, lambda m: bool(m.scores), **scored(value, **fields))


def ceilings(run, **more):
    return [line for line in advice(run, **more) if "cannot tell these networks apart" in line]


def test_a_score_at_its_ceiling_tells_nothing_and_how_many_inputs_would_is_said():
    assert ceilings(perfect()) == [
        "accuracy cannot tell these networks apart: dense or pruned, each has 100.0 on all 200 inputs; 381 like that "
        "would exclude a loss of 1.0 points, harder ones may show one"
    ]
    assert "; 1917 like that would exclude a loss of 0.2 points" in ceilings(perfect(), bar=Bar(within=0.002))[0]
    assert ceilings(perfect(input_count=381)) == [
        "accuracy cannot tell these networks apart: dense or pruned, each has 100.0 on all 381 inputs, which exclude a "
        "loss of 1.0 points; harder ones may show a smaller one"
    ]
    for unknown, unit in (({"group_count": 20}, "20 groups"), ({"low": None, "high": None}, "200 inputs")):
        assert ceilings(perfect(**unknown))[0].endswith(
            f"each has 100.0 on all {unit}, the best possible; harder {unit.split()[1]} may"
        ), "groups weigh unlike, and no interval, no single answers: nobody knows how many are enough"
    assert "each has 100.0; 381 like that" in ceilings(perfect(input_count=None))[0], "an earlier version did not say"


def test_it_is_said_where_nothing_pays_too():
    slow = replace(perfect(), lambda m: m.control is None, speedup=0.5, speedup_low=0.4, speedup_high=0.6)
    assert len(ceilings(slow)) == 1


@pytest.mark.parametrize("value", [0.9999, 0.5, 0.0])
def test_a_score_that_could_be_better_is_no_ceiling(value):
    assert ceilings(perfect(value=value)) == []


def test_one_network_that_lost_something_tells_them_apart():
    assert ceilings(replace(perfect(), of("magnitude", "scipy-csr", 0.9), **scored(0.995))) == []
    there = replace(perfect(), of("magnitude", "scipy-csr", 0.9), **scored(1.0, select=0.99))
    dense = replace(there, lambda m: m.method == "none", **scored(1.0, select=1.0))
    assert ceilings(dense) == [], "on the select inputs"


def test_dense_networks_alone_are_not_to_be_told_apart():
    assert ceilings(Run(tuple(m for m in perfect().measurements if m.method == "none"))) == []


def test_of_an_error_the_best_possible_is_none():
    def error(value):
        score = Score(value, higher_is_better=False, tolerance=0.1, input_count=200)
        return replace(RUN, lambda m: bool(m.scores), scores={"mae": score})

    assert ceilings(error(0.0))[0].startswith(
        "mae cannot tell these networks apart: dense or pruned, each has 0.0 on all 200 inputs"
    )
    assert ceilings(error(1.0)) == []
    far = {"mae": Score(7.0, higher_is_better=False, tolerance=0.1)}
    assert ceilings(replace(error(0.0), of("magnitude", "ncnn", 0.9), scores=far)) == []
    assert ceilings(replace(error(0.0), of("random"), scores=far)), "a control is no choice"


def rivals(run):
    return [line for line in advice(run) if line.startswith("not told apart from ")]


def rival(speedup, **more):
    """The run with channels 50 % on ncnn that fast, beside the best, channels 70 %: 4.63x [4.59, 4.64]."""
    low, high = speedup - 0.3, speedup + 0.3
    fields = {"speedup": speedup, "speedup_low": low, "speedup_high": high}
    return replace(RUN, of("channels", "ncnn", 0.5), **fields, **more)


def with_bytes(run, count):
    return replace(run, of("channels", "ncnn", 0.7), artifact_bytes=count)


def test_a_rival_as_fast_that_is_smaller_is_named():
    assert rivals(RUN) == []
    run = with_bytes(rival(4.6, artifact_bytes=120_000, **scored(0.874)), 247_000)
    assert rivals(run) == [
        "not told apart from channels 50 % on ncnn, 4.60x [4.30, 4.90], which is smaller (120 kB of 247 kB)"
    ]


@pytest.mark.parametrize(
    ("speedup", "count", "accuracy"),
    [
        (4.2, 120_000, 0.88),  # its interval ends below
        (4.6, 240_000, 0.874),  # no smaller to speak of
        (4.6, 247_000, 0.88),  # a better score, of which its own interval would have to tell
        (4.6, 120_000, 0.8),  # it does not keep the score
    ],
)
def test_a_rival_that_is_slower_or_no_gain_is_not(speedup, count, accuracy):
    assert rivals(with_bytes(rival(speedup, artifact_bytes=count, **scored(accuracy)), 247_000)) == []


def test_of_several_rivals_the_smallest_is_named():
    run = with_bytes(rival(4.6, artifact_bytes=200_000, **scored(0.874)), 247_000)
    fast = {"speedup": 4.6, "speedup_low": 4.2, "speedup_high": 4.9}
    smaller = replace(run, of("magnitude", "direct-csr", 0.5), **fast, artifact_bytes=90_000, **scored(0.874))
    (line,) = rivals(smaller)
    assert "magnitude 50 % on direct CSR" in line
