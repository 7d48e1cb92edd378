"""Kinds of cells, and the dense cell that each is held against."""

from __future__ import annotations

import dataclasses

import pytest

from sparsemark.analysis.cells import (
    dense_scores,
    dense_twin,
    is_control,
    is_mask_only,
    is_masked,
    is_quantisation_aware,
    is_reference,
    is_structural,
    is_unpruned,
    removed,
)
from sparsemark.records.measurement import Measurement
from sparsemark.records.scores import DataNote, Score
from tests.synthetic import accuracy, study_run

LGG = DataNote("LGG", key="split 0")


def row(method="none", scores=None, **fields):
    common = {"model": "cnn9", "engine": "torch", "format": "dense", "precision": "fp32", "seed": 0, "data": LGG}
    return Measurement(f"{method} {fields}", "measured", method=method, scores=scores or {}, **(common | fields))


@pytest.mark.parametrize(
    ("method", "structural", "masked", "mask_only"),
    [
        (None, False, False, False),
        ("none", False, False, False),
        ("all-ones", False, False, False),
        ("magnitude", False, True, True),
        ("random", False, True, True),
        ("magnitude-layerwise", False, True, True),
        ("filters", False, True, True),
        ("channels", True, False, False),
        ("their-channels", True, False, False),
        ("channels+magnitude", True, True, False),
        ("magnitude+channels", True, True, False),
        ("channels+all-ones", True, False, False),
        ("block4+magnitude", False, True, True),
        ("block4+qat", False, True, True),
        ("all-ones+qat", False, False, False),
        ("channels+qat", True, False, False),
    ],
)
def test_a_composed_method_is_of_every_kind_that_it_has_a_step_of(method, structural, masked, mask_only):
    cell = row(method)
    assert (is_structural(cell), is_masked(cell), is_mask_only(cell)) == (structural, masked, mask_only)


@pytest.mark.parametrize(
    ("method", "control", "answer_known"),
    [
        ("none", None, False),
        ("none", "aa", True),
        ("all-ones", None, True),
        ("random", None, True),
        ("channels+random", None, True),
        ("channels+magnitude", None, False),
        ("all-ones+qat", None, False),
        ("all-ones+qat", "aa", True),
        ("random+qat", None, True),
        ("random-lamp+qat", None, True),
        (None, None, False),
    ],
)
def test_a_control_is_a_cell_whose_answer_is_known(method, control, answer_known):
    assert is_control(row(method, control=control)) is answer_known


@pytest.mark.parametrize(
    ("method", "unpruned", "aware"),
    [
        (None, False, False),
        ("none", True, False),
        ("all-ones+qat", True, True),
        ("block4", False, False),
        ("block4+qat", False, True),
        ("channels+qat", False, True),
    ],
)
def test_a_network_that_was_trained_for_int8_is_pruned_where_a_step_removed_something(method, unpruned, aware):
    assert (is_unpruned(row(method)), is_quantisation_aware(row(method))) == (unpruned, aware)


def test_the_reference_is_dense_in_fp32_on_the_engine_of_the_protocol():
    reference = row(engine="onnxruntime")
    assert is_reference(reference)
    assert is_reference(dataclasses.replace(reference, precision=None))
    for other in ({"precision": "int8"}, {"engine": "torch"}, {"control": "aa"}, {"method": "magnitude"}):
        assert not is_reference(dataclasses.replace(reference, **other))
    assert is_reference(row(reference_engine="torch"))
    assert [m.name for m in study_run().measurements if is_reference(m)] == ["cnn9-dense-seed0-onnxruntime"]


@pytest.mark.parametrize(
    "other", [{"engine": "ncnn"}, {"format": "onnx"}, {"precision": "int8"}, {"threads": 2}, {"model": "unet"}]
)
def test_the_dense_twin_is_run_in_the_same_way(other):
    masked = row("magnitude")
    assert dense_twin(masked, [row(**other)]) is None
    assert dense_twin(masked, [row(**other), row()]) == row()


def test_the_dense_twin_has_the_same_seed_and_fold_if_there_is_one():
    masked = row("magnitude", seed=1, fold=2)
    twins = [row(seed=0, fold=0), row(seed=1, fold=0), row(seed=1, fold=2)]
    assert dense_twin(masked, twins) is twins[2]
    assert dense_twin(masked, twins[:1]) is twins[0]
    assert dense_twin(masked, [dataclasses.replace(twins[2], status="error")]) is None


def test_dense_scores_are_those_of_the_same_seed_fold_and_data():
    masked = row("magnitude", accuracy(0.8), engine="direct-csr")
    dense = row(scores=accuracy(0.9))
    assert dense_scores(masked, [masked, dense]) == accuracy(0.9)
    for other in ({"seed": 1}, {"fold": 1}, {"data": DataNote("LGG", key="split 1")}, {"data": None}, {"scores": {}}):
        assert dense_scores(masked, [dataclasses.replace(dense, **other)]) == {}


def test_dense_scores_are_in_fp32_where_both_precisions_were_measured():
    quantised = row("magnitude", accuracy(0.8), precision="int8")
    among = [row(scores=accuracy(0.85), precision="int8"), row(scores=accuracy(0.9))]
    assert dense_scores(quantised, among) == accuracy(0.9)
    assert dense_scores(quantised, among[:1]) == accuracy(0.85)


def test_the_headline_is_the_first_metric_of_any_name():
    scores = {"dice_volume": Score(0.81), "dice_tumour_slices": Score(0.79)}
    assert row(scores=scores).headline == ("dice_volume", Score(0.81))
    assert row().headline is None


def test_a_loss_is_in_the_direction_of_the_metric():
    assert Score(0.8).loss_against(Score(0.9)) == pytest.approx(0.1)
    assert Score(0.8, higher_is_better=False).loss_against(Score(0.9, higher_is_better=False)) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("pruning", "target", "share"),
    [
        ("channels:0.9+magnitude:0.7", 0.7, 0.97),
        ("magnitude:0.7", 0.7, 0.7),
        ("none", 0.0, 0.0),
        (None, 0.4, 0.4),
        ("of another program", 0.4, 0.4),
    ],
)
def test_what_is_removed_before_it_is_counted_is_what_all_steps_ask_for(pruning, target, share):
    m = Measurement("m", "measured", pruning=pruning, sparsity_target=target)
    assert removed(m) == pytest.approx(share)
    assert removed(dataclasses.replace(m, sparsity=0.5)) == 0.5
