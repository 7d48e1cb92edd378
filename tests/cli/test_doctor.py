"""`sparsemark doctor`: one verdict at the end, from launches of an A/A measurement."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sparsemark.cli import main
from sparsemark.measurement.aa import Launch

QUIET_LAUNCH = Launch((1.0,) * 24, (1.0,) * 24, 8, 0.0, 0.0, 0)


@pytest.fixture
def doctor(capsys, monkeypatch):
    """The last line of doctor on launches that were made elsewhere, and all lines."""

    def shown(made, *options):
        asked = []
        monkeypatch.setattr(
            "sparsemark.study.fitness.launches", lambda seconds, threads, watch: asked.append(seconds) or made
        )
        assert main(["doctor", *(options or ("--seconds", "0.01"))]) == 0, "whatever the verdict"
        lines = capsys.readouterr().out.rstrip().splitlines()
        return SimpleNamespace(verdict=lines[-1], lines=lines, asked=asked)

    return shown


def apart(*percents):
    """Launches whose sides differ by so much."""
    return [replace(QUIET_LAUNCH, samples_s=(1 + percent / 100,) * 24) for percent in percents]


def test_doctor_ends_with_one_verdict(doctor):
    """Of three launches 0.1 % apart: 5.3634 x 0.1 % x 2 x sqrt(0.2) is 0.48 %."""
    fit = doctor(apart(-0.1, 0, 0.1))
    assert fit.verdict == "fit: the smallest effect you can trust here is 0.5 %"
    assert all(any(what in line for line in fit.lines) for what in ("processors", "timer", "pinning"))
    (row,) = [line for line in fit.lines if "A/A" in line]
    assert "0.10 % between 3 processes" in row
    # On a busy machine other rows are longer, so that this one is wrapped.
    assert "10 launches a side needs a tolerance of 0.3 %" in " ".join(" ".join(fit.lines).split())
    assert doctor(apart(-1, 0, 1)).verdict == "noisy: the smallest effect you can trust here is 5.0 %"
    assert doctor(apart(-9, 0, 9)).verdict == "unfit: effects below 54.2 % cannot be told from noise"


def test_doctor_is_unfit_where_others_take_the_time(doctor):
    busy = [replace(QUIET_LAUNCH, waited=waited, throttled=None) for waited in (0.1, None, 0.3)]
    assert doctor(busy).verdict == "unfit: other processes had the processor for 20.0 % of the time"
    shares = [replace(QUIET_LAUNCH, steal=steal, waited=None, throttled=1) for steal in (0.0, 0.03, 0.06)]
    reasons = "other tenants took 3.0 % of the processor; the control group's CPU limit stopped the measurement 3 times"
    assert doctor(shares).verdict == f"unfit: {reasons}"


def test_doctor_times_nothing_where_there_are_fewer_processors_than_threads(doctor):
    many = (os.cpu_count() or 1) + 1
    unfit = doctor(None, "--seconds", "0.01", "--threads", str(many))
    assert re.match(rf"unfit: {many} threads on \d+ processors?$", unfit.verdict)
    assert unfit.asked == []


def test_doctor_takes_a_minute_unless_told(doctor, monkeypatch):
    looped = []
    monkeypatch.setattr("sparsemark.machine.doctor.examine", lambda seconds, threads: looped.append(seconds) or [])
    assert doctor(apart(0, 0), "--threads", "1").asked == [60.0]
    assert doctor(apart(0, 0), "--seconds", "5").asked == [5.0]
    assert looped == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seconds", "0"), "--seconds 0: expected a number above 0"),
        (("--seconds", "nan"), "--seconds nan: expected a number above 0"),
        (("--seconds", "inf"), "--seconds inf: expected a number above 0"),
        (("--threads", "0"), "--threads 0: expected a whole number from 1"),
    ],
)
def test_doctor_refuses_numbers_that_make_no_sense(options, message, capsys):
    assert main(["doctor", *options]) == 2
    assert capsys.readouterr() == ("", f"sparsemark doctor: {message}\n")
