"""Choices of single layers: measured once for all of one kind, shared between networks, and again where in doubt."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sparsemark.direct import autotune, choices
from sparsemark.direct.choices import MOST_LOOKS, Choice, recall_choice, remember_choice
from sparsemark.direct.estimate import promising
from sparsemark.direct.schedule import Schedule
from sparsemark.direct.taps import Taps
from tests.direct.checks import chain, noise, opened
from tests.direct.graphs import Prepared, Sketch

SEVERAL = 3
HOUR = 3601.0


@pytest.fixture
def timed(monkeypatch):
    """Operations that were timed, in order; each schedule always takes as long."""
    asked, known = [], {}

    def scripted(operation, schedules, *_, **_least):
        asked.append(operation)
        (schedule,) = schedules.values()
        return known.setdefault(schedule, 1.0 + len(known))

    monkeypatch.setattr(autotune, "time_operation", scripted)
    return asked


def test_layers_of_one_kind_are_measured_once(timed):
    prepared = Prepared(chain(SEVERAL))
    first, *others = prepared.convolutions
    found = autotune.choose(prepared.options, prepared.floats)
    assert set(timed) == {first}
    assert {found[other].schedule for other in others} == {found[first].schedule}


def two_kinds(densities=(1.0, 1.0), widths=(4, 4)):
    sketch = Sketch(1, 4, 12, 20)
    generator = np.random.default_rng(0)
    name = "x"
    for density, width in zip(densities, widths, strict=True):
        weight = noise(width, 4, 3, 3) * (generator.random((width, 4, 3, 3)) < density)
        name = sketch.conv(name, weight, pads=[1, 1, 1, 1])
    return Prepared(sketch.graph())


@pytest.mark.parametrize("other", [{"densities": (1.0, 0.3)}, {"widths": (4, 8)}])
def test_layers_of_other_shapes_or_densities_are_measured_apart(other, timed):
    prepared = two_kinds(**other)
    autotune.choose(prepared.options, prepared.floats)
    assert set(timed) == set(prepared.convolutions)


def test_networks_share_choices_on_disk_until_the_machine_is_another(timed, tmp_path):
    for count in (1, SEVERAL):
        prepared = Prepared(chain(count))
        autotune.choose(prepared.options, prepared.floats, tmp_path, "here")
        assert len(set(timed)) == 1
    autotune.choose(prepared.options, prepared.floats, tmp_path, "there")
    assert len(set(timed)) == 1 + 1


def test_choices_stay_with_those_of_networks(tmp_path, no_contest, quick, timed):
    """A network of which a few layers are new costs those alone."""
    opened(chain(2), 1, tmp_path)
    before = len(timed)
    opened(chain(SEVERAL), 1, tmp_path)
    assert len(timed) == before
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert len(list((tmp_path / "layers").glob("*.json"))) == 1


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves."""
    now = [1e9]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def noisy(monkeypatch, factors):
    """Time the first schedule at 1 and all others at 1.02, each look multiplied by the next factor."""
    looks, order = {}, []

    def scripted(_operation, schedules, *_, **_least):
        (schedule,) = schedules.values()
        order.extend([schedule] if schedule not in order else [])
        looks[schedule] = looks.get(schedule, 0) + 1
        return (1.0 if schedule == order[0] else 1.02) * factors[(looks[schedule] - 1) % len(factors)]

    monkeypatch.setattr(autotune, "time_operation", scripted)
    return looks


def test_choice_of_a_noisy_minute_is_made_again_at_a_later_load_and_a_few_times_only(
    monkeypatch, tmp_path, no_contest, clock
):
    looks = noisy(monkeypatch, [1.0, 1.5])
    asked = []
    for _ in range(MOST_LOOKS + 2):
        run = opened(chain(2), 1, tmp_path)
        asked.append(sum(looks.values()))
        opened(chain(2), 1, tmp_path)
        assert sum(looks.values()) == asked[-1]  # not within the hour
        clock[0] += HOUR
    counts = np.diff([0, *asked])
    assert (counts[:MOST_LOOKS] > 0).all()
    assert not counts[MOST_LOOKS:].any()
    assert run.plan((1, 4, 12, 20)).decision.again_at is None


def test_choice_of_a_quiet_minute_stands(monkeypatch, tmp_path, no_contest, clock):
    looks = noisy(monkeypatch, [1.0, 1.01])
    for _ in range(2):
        assert opened(chain(2), 1, tmp_path).plan((1, 4, 12, 20)).decision.again_at is None
        asked = sum(looks.values())
        clock[0] += HOUR
    assert sum(looks.values()) == asked


FAST, SLOW = Schedule(0), Schedule(1)


@pytest.mark.parametrize(
    ("seconds", "spread", "doubtful"),
    [
        ({FAST: 1.0, SLOW: 1.1}, 0.2, True),
        ({FAST: 1.0, SLOW: 1.3}, 0.2, False),
        ({FAST: 1.0, SLOW: 1.01}, 0.02, False),
        ({FAST: 1.0}, 3.0, False),
    ],
)
def test_choice_is_doubtful_where_timings_differ_by_more_than_schedules(seconds, spread, doubtful):
    assert Choice(seconds, spread, 0.0).is_doubtful == doubtful


def test_least_of_all_looks_counts():
    early, late = Choice({FAST: 2.0, SLOW: 1.0}, 0.5, 0.0), Choice({FAST: 1.5, SLOW: 4.0}, 0.1, 9.0)
    assert late.schedule == FAST
    assert late.joined(early) == Choice({FAST: 1.5, SLOW: 1.0}, 0.1, 9.0, 2)
    assert late.joined(early).schedule == SLOW


def test_choice_is_read_as_it_was_written(tmp_path):
    choice = Choice({Schedule(3, 16): 0.25, Schedule(9, 0, winograd=True): 0.5}, 0.125, 17.0, 2)
    remember_choice(tmp_path / "kind.json", choice)
    assert recall_choice(tmp_path / "kind.json", list(choice.seconds)) == choice
    assert recall_choice(tmp_path / "kind.json", list(choice.seconds)[:1]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.pop("spread"),
        lambda stored: stored.update(timed=[]),
        lambda stored: stored.update(timed=5),
        lambda stored: stored.update(looks="many"),
        lambda stored: stored["timed"][0].update(seconds=-1.0),
        lambda stored: stored["timed"][0].update(seconds=None),
        lambda stored: stored["timed"][0].update(microkernel=99),
    ],
)
def test_choice_that_is_not_whole_is_measured_again(change, tmp_path, monkeypatch):
    path = tmp_path / "kind.json"
    remember_choice(path, Choice({FAST: 1.0}, 0.0, 0.0))
    assert recall_choice(path, [FAST]) is not None
    stored = json.loads(path.read_bytes())
    change(stored)
    monkeypatch.setattr(choices, "read_note", lambda _: stored)
    assert recall_choice(path, [FAST]) is None


def test_ways_of_dense_layers_that_are_promising_are_tiles_and_those_of_few_weights_are_not():
    sketch = Sketch(1, 64, 32, 32)
    sketch.conv("x", noise(64, 64, 3, 3), pads=[1, 1, 1, 1])
    (dense,) = Prepared(sketch.graph()).options.items()
    assert 0 < len(promising(*dense)) < len(dense[1])
    assert all(way.winograd for way in promising(*dense))
    sketch = Sketch(1, 64, 32, 32)
    few = noise(64, 64, 3, 3) * (np.random.default_rng(0).random((64, 64, 3, 3)) < 0.1)
    sketch.conv("x", few, pads=[1, 1, 1, 1])
    (sparse,) = Prepared(sketch.graph()).options.items()
    kept = promising(*sparse)
    assert kept
    assert {way.channels for way in kept} == {1}
    assert not any(way.winograd for way in kept)


def test_extents_of_taps_are_looked_for_once():
    class Counted(np.ndarray):
        asked = 0

        def min(self, *given, **named):
            Counted.asked += 1
            return np.asarray(self).min(*given, **named)

    dx = np.array([-1, 0, 2]).view(Counted)
    taps = Taps(*[np.zeros(3, int)] * 3, dx, np.ones(3, np.float32))
    assert (taps.right, taps.right) == (1, 1)
    assert Counted.asked == 1
