"""Numbers and names as every format writes them."""

from __future__ import annotations

import pytest

from sparsemark.analysis.statistics import Interval
from sparsemark.records.measurement import Measurement
from sparsemark.records.scores import DataNote
from sparsemark.report import wording
from sparsemark.specs import Pruning


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (123.4, "123"), (14.91, "14.9"), (2.814, "2.81"), (0.4123, "0.412"), (0.04123, "0.0412")],
)
def test_milliseconds_keep_three_digits(value, text):
    assert wording.milliseconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (850, "850 B"), (12_300, "12.3 kB"), (3_400_000, "3.4 MB")])
def test_sizes_are_decimal(value, text):
    assert wording.size(value) == text


@pytest.mark.parametrize(
    ("fraction", "digits", "text"),
    [(0.01, 6, "one point"), (0.00999, 2, "one point"), (0.025, 6, "2.5 points"), (0.009234, 2, "0.92 points")],
)
def test_a_single_point_is_no_plural(fraction, digits, text):
    assert wording.points(fraction, digits) == text


def pruned(text, **fields):
    return Measurement("m", "measured", method=Pruning.parse(text).method, pruning=text, **fields)


@pytest.mark.parametrize(
    ("text", "words", "kind"),
    [
        ("none", "dense", "dense"),
        ("all-ones", "all-ones", "all-ones"),
        ("magnitude:0.9", "magnitude 90 %", "magnitude"),
        ("channels:0.5:16", "channels 50 % (x16)", "channels (x16)"),
        ("channels:0.5:16+magnitude:0.8", "channels 50 % (x16) + magnitude 80 %", "channels (x16) + magnitude"),
        ("iterative-magnitude:0.9", "iterative magnitude 90 %", "iterative magnitude"),
        (
            "gradual-channels:0.5+magnitude:0.9",
            "gradual channels 50 % + magnitude 90 %",
            "gradual channels + magnitude",
        ),
        ("block4:0.9+qat", "block4 90 %, quantisation-aware", "block4, quantisation-aware"),
        ("all-ones+qat", "all-ones, quantisation-aware", "all-ones, quantisation-aware"),
        (
            "iterative-channels:0.5:16+block4:0.9+qat",
            "iterative channels 50 % (x16) + block4 90 %, quantisation-aware",
            "iterative channels (x16) + block4, quantisation-aware",
        ),
    ],
)
def test_a_pruning_is_written_step_by_step_with_its_schedule(text, words, kind):
    assert wording.pruned(pruned(text)) == words
    assert wording.kind(pruned(text)) == kind


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": None}, "-"),
        ({"method": "none"}, "dense"),
        ({"method": "magnitude", "sparsity_target": 0.9}, "magnitude 90 %"),
        ({"method": "channels", "sparsity_target": 0.5, "round_to": 16}, "channels 50 % (x16)"),
        ({"method": "magnitude", "sparsity_target": 0.9, "schedule": "iterative"}, "iterative magnitude 90 %"),
        ({"method": "block4+qat", "sparsity_target": 0.9}, "block4 90 %, quantisation-aware"),
        ({"method": "theirs", "sparsity_target": 0.9, "pruning": "not: of, this form"}, "theirs 90 %"),
        ({"method": "magnitude", "sparsity_target": 1.2, "pruning": "magnitude:1.2"}, "magnitude 120 %"),
    ],
)
def test_a_file_without_the_text_of_its_pruning_is_read_by_its_fields(fields, words):
    assert wording.pruned(Measurement("m", "measured", **fields)) == words


def test_lines_join_networks_that_differ_in_one_share_and_not_in_their_fine_tuning():
    assert wording.swept(pruned("block4:0.9+qat")) == "block4, quantisation-aware"
    assert wording.mix(pruned("block4:0.9+qat")) == "", "one step"
    assert wording.swept(pruned("channels:0.5+block4:0.9+qat")) == "channels 50 % + block4, quantisation-aware"
    assert wording.mix(pruned("channels:0.5+block4:0.9+qat")) == "channels 50 % + block4"
    assert wording.named("block4+qat", "gradual") == "gradual block4, quantisation-aware"
    assert wording.named("block4", "one-shot") == "block4"


def test_a_caveat_is_a_field_and_never_searched_for():
    assert wording.caveat(DataNote("phantom slices, leaky, PHANTOM")) == ""
    assert wording.caveat(DataNote("slices", "SYNTHETIC")) == "SYNTHETIC"
    assert wording.caveat(None) == ""
    assert wording.on_caveat("PHANTOM") == " on PHANTOM images"
    assert wording.on_caveat("LEAKY") == " on LEAKY data"
    assert wording.on_caveat("") == ""


def test_a_precision_is_named_where_it_is_not_the_usual_one():
    assert wording.runner(Measurement("m", "measured", engine="onnxruntime", precision="int8"), {}) == (
        "ONNX Runtime int8"
    )
    assert wording.runner(Measurement("m", "measured", engine="onnxruntime", precision="fp32"), {}) == "ONNX Runtime"
    assert wording.runner(Measurement("m", "measured"), {}) == "-"


def test_a_ratio_has_the_decimals_of_one_with_an_interval():
    for value in (0.2834, 1.0, 1.0994, 1.1, 2.914, 12.0):
        assert wording.bare_ratio(value) == wording.times(Interval(value, value, value))
