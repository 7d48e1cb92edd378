"""Tables under `results/` are what the result files beside them say, to the byte."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from sparsemark.records.run import Run
from sparsemark.report import render

RESULTS = Path(__file__).parents[2] / "results"
COMMITTED = sorted(RESULTS.glob("*/*.json"))


def table_of(path, suffix):
    return RESULTS / "tables" / f"{path.stem}-{path.parent.name}.{suffix}"


@pytest.mark.skipif(not RESULTS.exists(), reason="the results are not in this distribution")
def test_there_are_committed_runs():
    assert {path.stem for path in COMMITTED} >= {"cnn9", "sparse"}


@pytest.mark.parametrize("path", [p for p in COMMITTED if table_of(p, "md").exists()], ids=lambda path: path.stem)
def test_the_committed_table_is_the_committed_run(path):
    assert render(Run.load(path), "markdown") == table_of(path, "md").read_text(encoding="utf-8")


RENAMED = {
    "accuracy_source": "score_data",
    "agreement": "engine_agreement",
    "agreement_source": "parity_data",
    "precision": "score_precision",
}
"""Columns of schema 1 that have another name in schema 2."""


@pytest.mark.parametrize("path", [p for p in COMMITTED if table_of(p, "csv").exists()], ids=lambda path: path.stem)
def test_the_committed_csv_has_the_numbers_of_the_committed_run(path):
    """Every field as text, whatever the schema in which the CSV was written; absent columns are empty ones."""
    committed = list(csv.DictReader(io.StringIO(table_of(path, "csv").read_text(encoding="utf-8"))))
    rendered = list(csv.DictReader(io.StringIO(render(Run.load(path), "csv"))))
    assert len(committed) == len(rendered)
    of_schema_1 = "accuracy_source" in committed[0]
    for before, after in zip(committed, rendered, strict=True):
        for column, text in before.items():
            name = RENAMED.get(column, column) if of_schema_1 else column
            assert after.get(name, "") == text, f"{before['name']}: {column}"
