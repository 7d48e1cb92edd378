"""Walks over folds: the page compares each walk's last network with the control and the grid, by patient."""

from __future__ import annotations

import json

import pytest

from bench import target_walk
from bench.target_walk import MODEL, document

FOLDS = ("0", "1")
PATIENTS = 8
CONTROL, GRID, WALKED = 0.95, 0.93, 0.94


def patients(fold, accuracy):
    return {f"p{fold}-{i}": [accuracy + 0.001 * i, 1.0] for i in range(PATIENTS)}


def step(fold, accuracy, channels):
    return {
        "pruning": f"channels@fold{fold}.json:0.9",
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

    assert "94.0" in walked
    assert "-1.0 [-20.2, +18.6]" in walked, "as much in each of few patients"
    assert "+1.0 [-18.6, +20.2]" in walked


def test_what_a_walk_removed_and_why_it_ended_is_said_of_each_fold(page):
    first, second = page.split("Fold 1:")

    assert "10.0x at 90.0 %, 10.0x at 94.0 %" in first
    assert "| `first.weight` | 25 | 0 |" in first
    assert "| `head.weight` | 0 | 50 |" in first
    assert "Not reached" not in first
    assert "Not reached: 6 steps did not suffice." in second


def test_the_cost_of_all_walks_is_said(page):
    assert "2 folds" in page
    assert "6 minutes in all" in page
