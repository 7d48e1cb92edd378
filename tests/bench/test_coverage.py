"""The coverage that is published is that of the intervals which a table shows."""

from __future__ import annotations

import numpy as np
import pytest

from bench.coverage import DRAWN, Engine, disjoint, drawn, table
from sparsemark.specs import AA, ALL_ONES, DENSE
from tests.synthetic import REFERENCE_MS, samples, timed

PAIRS, LAUNCHES = 5, 150


def cell(seed, *, between, method=DENSE, control=None, engine="torch"):
    """A cell of true ratio 1 whose processes differ."""
    rng = np.random.default_rng(seed)
    launches = [samples(rng, REFERENCE_MS, pairs=PAIRS, process=between) for _ in range(LAUNCHES)]
    candidate, reference = (list(np.concatenate([one[side] for one in launches])) for side in (0, 1))
    pairs = (PAIRS,) * LAUNCHES
    return timed(
        f"{method}-{control}", candidate, reference, launch_pairs=pairs, method=method, control=control, engine=engine
    )


def shares(rows):
    """Share of intervals that hold the truth, by what and how."""
    lines = [[field.strip() for field in line.strip("|").split("|")] for line in table(rows).splitlines()[2:]]
    return {(line[1], line[2]): float(line[5].removesuffix(" %")) for line in lines}


@pytest.fixture(scope="module")
def rows():
    return [
        cell(0, between=0.02, control=AA),
        cell(1, between=0.02),
        cell(2, between=0.02, method=ALL_ONES),
    ]


def test_an_engine_whose_processes_differ_is_covered_as_often_as_its_intervals_say(rows):
    found = shares(rows)
    assert set(found) == {
        (w, h) for w in ("against itself", "mask of ones against dense") for h in ("in order", "drawn")
    }
    # Two standard errors of 50 sets are 6 points.
    assert all(88 <= share <= 100 for share in found.values()), found


def test_intervals_of_single_processes_would_be_seen_to_hold_too_little(rows, monkeypatch):
    """The table has to show it where the spread between launches is left out."""
    from bench import coverage
    from sparsemark.analysis.statistics import Interval

    def within(cells):
        joined = [np.concatenate(cell) for cell in cells]
        halves = [1.96 * blocks.std(ddof=1) / len(blocks) ** 0.5 for blocks in joined]
        return [Interval(b.mean(), b.mean() - h, b.mean() + h) for b, h in zip(joined, halves, strict=True)]

    monkeypatch.setattr(coverage, "log_ratio_intervals", within)
    biased = [cell(3, between=0.1, control=AA)]
    assert shares(biased)["against itself", "in order"] < 85


def test_sets_of_launches_are_disjoint_or_drawn_without_a_launch_twice():
    assert [list(one) for one in disjoint(7)] == [[0, 1, 2], [3, 4, 5]]
    assert len(drawn(4)) == DRAWN
    assert all(len(set(one)) == len(one) for one in drawn(4))


def test_an_engine_without_a_mask_of_ones_has_its_own_line_only(rows):
    lone = Engine.of("torch", rows[:1])
    assert {what for what, _ in lone.intervals(disjoint(6))} == {"against itself"}
