"""Groups of scores that a checkpoint holds without them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsemark.networks.source import Source
from sparsemark.records.scores import DataNote, Score, SingleInputs
from sparsemark.specs import ModelSpec, Pruning, Variant
from sparsemark.study import grouped
from sparsemark.study.prepare import Prepared

MODEL = ModelSpec("m", "m.py:build", (1, 3, 8, 8))
NOTE = DataNote("images", key="these")
PATIENTS = {"a": (0.5, 4.0), "b": (1.0, 4.0)}


def prepared(score, note=NOTE):
    variant = Variant(MODEL, Pruning.parse("none"))
    return Prepared(
        variant, Source(MODEL, Path("m.safetensors")), "f" * 64, "key", scores={"accuracy": score}, data=note
    )


@pytest.fixture
def evaluations(monkeypatch):
    """Names of what was evaluated: it scores 0.75, patient by patient."""
    done = []
    found = {
        "accuracy": Score(0.75, groups=PATIENTS),
        "roc_auc": Score(0.8),
        "f1": Score(0.7, groups=SingleInputs({"0": (0.7, 1.0)})),
    }

    def evaluate(_module, _task, model, _part):
        done.append(model.name)
        return found

    monkeypatch.setattr(grouped, "evaluate", evaluate)
    monkeypatch.setattr(grouped, "load_checkpoint", lambda path: SimpleNamespace(build=lambda: None))
    return done


TASK = SimpleNamespace(note=NOTE)


def test_groups_are_computed_once_and_scores_stay(evaluations, tmp_path):
    for _ in range(2):
        made = grouped.with_groups(prepared(Score(0.75, low=0.6, high=0.9, raw=0.2)), TASK, tmp_path)
        assert made.scores == {"accuracy": Score(0.75, low=0.6, high=0.9, raw=0.2, groups=PATIENTS)}
    assert evaluations == ["m"]


def test_a_score_that_comes_out_differently_gets_no_groups(evaluations, tmp_path):
    before = prepared(Score(0.76))
    assert grouped.with_groups(before, TASK, tmp_path) == before
    assert evaluations == ["m"]


@pytest.mark.parametrize(
    ("before", "task"),
    [
        (prepared(Score(0.75, groups=PATIENTS)), TASK),
        (prepared(Score(0.75), DataNote("others", key="others")), TASK),
        (prepared(Score(0.75), None), TASK),
        (prepared(Score(0.75)), None),
    ],
)
def test_nothing_is_evaluated_where_groups_are_there_or_the_data_is_not(evaluations, tmp_path, before, task):
    assert grouped.with_groups(before, task, tmp_path) == before
    assert not evaluations
