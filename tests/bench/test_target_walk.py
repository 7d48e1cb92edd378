"""Walks over folds: the page compares each walk's last network with the control and the grid, by patient."""

from __future__ import annotations

import dataclasses
import json

import pytest

from bench import target_walk
from bench.tables import Study
from bench.target_walk import MODEL, document
from tests.synthetic import cell

FOLDS = ("0", "1")
PATIENTS = 8
CONTROL, GRID, WALKED = 0.95, 0.93, 0.94


def patients(fold, accuracy):
    return {f"p{fold}-{i}": [accuracy + 0.001 * i, 1.0] for i in range(PATIENTS)}


def step(fold, accuracy, channels):
    return {
        "pruning": f"channels@fold{fold}/10x-step2-channels.json:0.9",
        "minutes": 1.5,
        "distance": 0.0,
        "channels": channels,
        "zeros": {"head.weight": 0.5},
        "accuracy": accuracy,
        "groups": patients(fold, accuracy),
    }


@pytest.fixture
def page(tmp_path, monkeypatch):
    walks = {
        fold: {
            "target": "10x",
            "words": "",
            "stuck": "6 steps did not suffice" if fold == "1" else None,
            "steps": [step(fold, 0.9, {}), step(fold, WALKED, {"first.weight": 0.25})],
        }
        for fold in FOLDS
    }
    groups = {
        f"{MODEL}-{pruned}-seed0-fold{fold}": {"accuracy": patients(fold, accuracy)}
        for fold in FOLDS
        for pruned, accuracy in (("all-ones", CONTROL), ("channels-bn90+magnitude70", GRID))
    }
    record, table = tmp_path / "target.json", tmp_path / "groups.json"
    record.write_text(json.dumps(walks))
    table.write_text(json.dumps(groups))
    monkeypatch.setattr(target_walk, "RECORD", record)
    monkeypatch.setattr("sparsemark.paths.groups", lambda _: table)
    monkeypatch.setattr("sparsemark.paths.RESULTS", tmp_path)
    return document()


def test_the_last_network_of_each_walk_is_compared_with_the_control_and_the_grid(page):
    walked = next(line for line in page.splitlines() if line.startswith("| walked"))

    assert "| 94.3 |" in walked, "weighted by the patients' slices, as the differences are"
    assert "-1.0 [-20.2, +18.6]" in walked, "as much in each of few patients"
    assert "+1.0 [-18.6, +20.2]" in walked


def test_what_a_walk_removed_and_why_it_ended_is_said_of_each_fold(page):
    first, second = page.split("Fold 1:")

    assert "10.0x at 90.0 %, 10.0x at 94.0 %" in first
    assert "| `first.weight` | 25 | 0 |" in first
    assert "| `head.weight` | 0 | 50 |" in first
    assert "Not reached" not in first
    assert "Not reached: 6 steps did not suffice." in second


def cells(*speedups):
    names = [f"channels@fold{fold}/10x-step{2 + fold}-channels.json:0.9" for fold in range(len(speedups))]
    for fold, (pruning, ratio) in enumerate(zip(names, speedups, strict=True)):
        row = cell(
            fold, name=f"end{fold}", model=MODEL, method="channels", pruning=pruning, engine="direct-csr", fold=fold
        )
        yield dataclasses.replace(row, speedup=ratio, speedup_low=ratio - 1, speedup_high=ratio + 1)


@pytest.mark.parametrize(
    ("speedups", "row", "reached"),
    [
        ((9.0, 16.0), "| 12 [8, 17] |", "1 of 2 ends reach 10x; short of it: fold 0 9.00x [8.00, 10.00]."),
        ((16.0, 16.0), "| 16 [15, 17] |", "2 of 2 ends reach 10x."),
    ],
)
def test_the_speed_of_walks_is_that_of_all_folds_and_those_short_of_the_target_are_named(
    page, monkeypatch, speedups, row, reached
):
    monkeypatch.setattr(Study, "timed", list(cells(*speedups)))
    shown = document()
    assert row in next(line for line in shown.splitlines() if line.startswith("| walked"))
    assert f"Timed in several, {reached}" in shown


def test_the_cost_of_all_walks_is_said(page):
    assert "2 folds" in page
    assert "6 minutes in all" in page
