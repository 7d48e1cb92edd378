"""Counts of disturbed cells: one count, said with what it counts, the same wherever it stands."""

from __future__ import annotations

import dataclasses
import re

import pytest

from sparsemark.analysis.contamination import Disturbance
from sparsemark.report import render
from sparsemark.report.conditions import conditions, summary
from sparsemark.report.page import library
from sparsemark.report.page.summary import machine_tile
from tests.report.runs import BARE, FAILED, RUNS, of, replace, without_scripts

COUNT = re.compile(r"(\d+ of \d+) timed cells disturbed")

NOISY = replace(RUNS["two networks"], lambda m: m.engine in ("onnxruntime", "torch", "torch-csr"), steal=0.3)
"""Most cells of both networks disturbed, controls among them."""


@pytest.fixture(autouse=True)
def _charts(monkeypatch):
    monkeypatch.setattr(library, "is_installed", lambda: True)
    monkeypatch.setattr(library, "vega_bundle", lambda: "window.sparsemarkVega = null;")


def alone(model):
    rows = [m for m in NOISY.measurements if m.model == model]
    # Of another job and on a fold: neither is a candidate, each is a row.
    rows.append(dataclasses.replace(rows[0], name="two threads", threads=2))
    rows.append(dataclasses.replace(rows[1], name="fold", fold=3))
    return dataclasses.replace(NOISY, measurements=tuple(rows))


def test_timed_cells_count_whatever_they_are_and_others_do_not():
    disturbed = replace(RUNS["study"], of("none", "onnxruntime", control="aa"), steal=0.3)
    timed = sum(m.status == "measured" for m in disturbed.measurements)
    count = Disturbance.of((*disturbed.measurements, *FAILED, BARE))
    assert (len(count.cells), count.timed, count.is_most) == (1, timed, False)
    assert count.words == f"1 of {timed} timed cells disturbed"
    half = Disturbance(count.cells, 2)
    assert not half.is_most
    assert Disturbance(count.cells, 1).is_most
    assert not Disturbance.of(()).is_most


def test_a_run_of_one_network_has_one_count_in_every_place():
    """The tile counted rows, the answer candidates, the conditions all cells."""
    run = alone("cnn9")
    words = Disturbance.of(run.measurements).words
    places = [
        *(without_scripts(render(run, form)) for form in ("table", "markdown", "html")),
        machine_tile(run).words,
        summary(run, [m for m in run.measurements if m.threads == 1]),
        *(line for line in conditions(run, run.measurements[:9]) if COUNT.search(line)),
    ]
    assert len(places) == 6
    for text in places:
        assert {f"{found} timed cells disturbed" for found in COUNT.findall(" ".join(text.split()))} == {words}


def test_counts_of_networks_add_up_to_that_of_the_run():
    def numbers(text):
        return [tuple(map(int, found.split(" of "))) for found in COUNT.findall(text)]

    networks = [numbers(machine_tile(alone(model)).words)[0] for model in ("cnn9", "unet")]
    both = dataclasses.replace(NOISY, measurements=alone("cnn9").measurements + alone("unet").measurements)
    (total,) = (line for line in conditions(both, both.measurements) if COUNT.search(line))
    assert numbers(total) == [tuple(map(sum, zip(*networks, strict=True)))]
    page = without_scripts(render(both, "html"))
    assert set(numbers(page)) == {*networks, *numbers(total)}


def test_other_counts_say_what_they_count():
    page = without_scripts(render(RUNS["study"], "html"))
    rows = page.count("<tr data-name=")
    assert f"{rows} rows, one a cell; 1 A/A control stands under Controls" in page
    assert rows + 1 == len(RUNS["study"].measured())
