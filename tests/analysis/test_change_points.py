"""Change points: found where a level changes, and rarely where none does."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sparsemark.analysis.change_points import LEAST_NOISE, PENALTY, SHORTEST, change_points, series_of
from sparsemark.records.history import Point

pytest.importorskip("ruptures")

NOISE = 0.01
"""Standard deviation of the logarithm of a run's ratio."""


def ratios(rng, levels, noise=NOISE):
    return np.exp(np.log(levels) + rng.normal(0, noise, len(levels)))


def places(changes):
    return [change.index for change in changes]


@pytest.mark.parametrize(("runs", "at"), [(10, 5), (20, 3), (20, 17), (60, 30), (60, 57)])
def test_a_step_is_found_at_its_run_with_its_size(runs, at):
    """Five standard deviations, down and up: in at least 47 of 50 series."""
    rng = np.random.default_rng(0)
    for ratio in (0.95, 1.05):
        found = [change_points(ratios(rng, [2.0] * at + [2.0 * ratio] * (runs - at))) for _ in range(50)]
        exact = [changes for changes in found if places(changes) == [at]]
        assert len(exact) >= 47
        sizes = [changes[0].ratio for changes in exact]
        assert float(np.mean(sizes)) == pytest.approx(ratio, abs=0.004)


def test_several_steps_are_found_each():
    levels = [1.0] * 12 + [1.1] * 8 + [1.02] * 10
    changes = change_points(ratios(np.random.default_rng(1), levels, 0.005))
    assert places(changes) == [12, 20]
    assert [change.ratio for change in changes] == pytest.approx([1.1, 1.02 / 1.1], abs=0.01)


@pytest.mark.parametrize("runs", [6, 8, 12, 20, 50, 200])
def test_pure_noise_seldom_shows_a_change(runs):
    """Of 600 series below 4 %, normal or with two levels by chance; with a smaller penalty there are more."""
    rng = np.random.default_rng(runs)
    normal = sum(bool(change_points(ratios(rng, [2.0] * runs))) for _ in range(600))
    layouts = rng.choice([1.0, 1.02], size=(600, runs))
    two = sum(bool(change_points(ratios(rng, levels, 0.005))) for levels in layouts)
    assert normal < 0.04 * 600
    assert two < 0.04 * 600


def test_the_penalty_is_what_keeps_noise_silent(monkeypatch):
    def found():
        rng = np.random.default_rng(5)
        return sum(bool(change_points(ratios(rng, [1.0] * 20))) for _ in range(200))

    assert found() <= 6
    monkeypatch.setattr("sparsemark.analysis.change_points.PENALTY", PENALTY / 3)
    assert found() > 20


def test_the_segments_are_those_of_pelt():
    import ruptures

    rng = np.random.default_rng(2)
    for _ in range(10):
        series = ratios(rng, rng.choice([1.0, 1.03, 1.1], size=4).repeat(6))
        logs = np.log(series)
        variance = max(float(np.mean(np.diff(logs) ** 2)) / 2, LEAST_NOISE**2)
        pelt = ruptures.Pelt(model="l2", min_size=SHORTEST, jump=1).fit(logs[:, np.newaxis])
        assert places(change_points(series)) == pelt.predict(pen=PENALTY * math.log(len(logs)) * variance)[:-1]


def test_a_step_smaller_than_what_any_run_scatters_is_no_change():
    assert change_points([1.0] * 10 + [1.002] * 10) == ()
    assert places(change_points([1.0] * 10 + [1.02] * 10)) == [10]


@pytest.mark.parametrize(
    "series",
    [[], [2.0], [1.0, 9.0], [1.0] * 5 + [9.0], [1.0] * 50, [1.0, 1.0001] * 20, [1e-24] * 10, [1.0] * 9 + [1.05]],
    ids=str,
)
def test_one_odd_run_or_nothing_at_all_is_no_change(series):
    assert change_points(series) == ()


def test_one_outlier_in_the_middle_is_no_change():
    series = ratios(np.random.default_rng(3), [1.0] * 20)
    series[10] *= 1.3
    assert change_points(series) == ()


# --- series


def point(cell="a", day=1, speedup=1.0, machine_key="k", reference="r"):
    return Point(cell, f"machine {machine_key}", machine_key, f"2026-01-{day:02}T00:00:00+00:00", speedup, None, None,
                 reference)  # fmt: skip


def test_another_machine_or_reference_is_another_series():
    points = [point(), point("b"), point(machine_key="l"), point(reference="s"), point(day=2)]
    series = series_of(points, find_changes=True)
    assert [(one.cell, one.machine_key, one.reference, len(one.points)) for one in series] == [
        ("a", "k", "r", 2), ("b", "k", "r", 1), ("a", "l", "r", 1), ("a", "k", "s", 1),
    ]  # fmt: skip
    assert series[2].machine == "machine l"


def test_runs_are_in_the_order_of_their_dates_whatever_the_zone():
    late = dataclasses.replace(point(speedup=3.0), when="2026-01-05T01:00:00+02:00")  # 23 o'clock of the fourth, in UTC
    bare = dataclasses.replace(point(speedup=2.0), when="2026-01-04T22:00:00")
    (series,) = series_of([point(day=5, speedup=4.0), late, bare, point(day=1, speedup=1.0)], find_changes=False)
    assert series.speedups == (1.0, 2.0, 3.0, 4.0)
    assert series.changes is None


def test_levels_lie_between_changes():
    points = [point(day=day, speedup=1.0 if day <= 5 else 4.0 if day % 2 else 1.0) for day in range(1, 6)]
    (flat,) = series_of(points, find_changes=True)
    assert flat.levels == ((0, 5, pytest.approx(1.0)),)
    points = [point(day=day, speedup=1.0 if day <= 5 else 2.0) for day in range(1, 11)]
    (stepped,) = series_of(points, find_changes=True)
    assert stepped.levels == ((0, 5, pytest.approx(1.0)), (5, 10, pytest.approx(2.0)))
    assert stepped.changes[0].ratio == pytest.approx(2.0)
