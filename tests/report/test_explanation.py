"""Explanation as text and as data."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sparsemark.analysis.gains import rank
from sparsemark.records.explanation import WHY_NOT, Advice, ExplainedLayer, Explanation
from sparsemark.report.knobs import NOTHING, changes, others
from sparsemark.report.renderers.explanation import as_explanation, as_json

LAYERS = (
    ExplainedLayer("features.0", "Conv", (13, 64, 64), "plain Conv", 0.003, 6_000_000, 3_000_000, 6_000_000, 0.5),
    ExplainedLayer("pool", "MaxPool", (13, 32, 32), "plain MaxPool", 0.001),
)
EXPLANATION = Explanation("net.onnx", "onnxruntime", 1, ((1, 3, 64, 64),), 0.005, LAYERS, 4e9)
FACTS = {
    "alignment": {"multiple": 8},
    "rounding": {"multiple": 8, "widths": "13 -> 16, 18 -> 16"},
    "level": {"level": "EXTENDED", "used": "ALL"},
    "subnormals": {"count": 7},
    "first-layer": {"density": 1.0, "network": 0.1},
    "cache": {"bytes": 524288, "largest": 2_000_000},
    "engine": {"work_left": 0.5},
}


def test_bytes_are_held_against_the_peak_of_bytes_and_against_none_where_there_is_none():
    of_bytes = dataclasses.replace(LAYERS[0], precision="int8")
    whole = dataclasses.replace(EXPLANATION, layers=(*LAYERS, of_bytes), peak_int8=16e9)
    assert whole.share_of_peak(LAYERS[0]) == pytest.approx(0.5)
    assert whole.share_of_peak(of_bytes) == pytest.approx(0.125)
    assert "; 16.0 in 8-bit integers" in as_explanation(whole, [], width=200, colour=False)
    assert dataclasses.replace(whole, peak_int8=None).share_of_peak(of_bytes) is None


def advice(name, gain):
    return Advice(name, ("features.0",), (0.005,) * 12, (0.005 - gain,) * 12, FACTS.get(name, {}))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alignment", "channels:S:8"),
        ("rounding", "13 -> 16, 18 -> 16"),
        ("level", "ORT_ENABLE_EXTENDED"),
        ("subnormals", "there are 7"),
        ("first-layer", "10 % of its multiply-adds"),
        ("first-layer", "may cost score, which sparsemark sensitivity shows"),
        ("cache", "524 kB"),
        ("engine", "--format csr"),
    ],
)
def test_every_change_says_what_it_gains_and_how_it_is_made(name, said):
    (line,) = changes(rank([advice(name, 0.002)], 0.005), EXPLANATION)
    assert line.startswith("2 ms [2, 2] of 5.00 ms: ")
    assert said in line
    (lost,) = (one for one in others(rank([advice(name, -0.002)], 0.005), EXPLANATION) if "tried" in one)
    assert "-2 ms" in lost


def test_most_gain_comes_first_and_nothing_is_said_to_be_nothing():
    ranked = rank([advice("level", 0.001), advice("engine", 0.003)], 0.005)
    assert [("direct-csr" in line) for line in changes(ranked, EXPLANATION)] == [True, False]
    assert changes(rank([advice("level", 0.0)], 0.005), EXPLANATION) == [NOTHING]


@pytest.mark.parametrize(
    ("gain", "said"),
    [(0.00001, "tried, gains under 1 % of a call (0.01 ms"), (0.0, "tried, no gain (0 ms"), (-0.001, "no gain (-1 ms")],
)
def test_a_gain_that_is_too_small_to_count_is_not_called_none(gain, said):
    ranked = rank([advice("level", gain)], 0.005)
    (line,) = (one for one in others(ranked, EXPLANATION) if "tried" in one)
    assert said in line
    assert changes(ranked, EXPLANATION) == [NOTHING]


def test_zeros_of_separable_layers_are_no_change_to_make():
    facts = {"kinds": "depthwise"}
    for gain, said in ((0.0, "leave these layers dense"), (0.002, "gain 2 ms")):
        ranked = rank([Advice("separable", ("a",), (0.005,) * 12, (0.005 - gain,) * 12, facts)], 0.005)
        assert changes(ranked, EXPLANATION) == [NOTHING]
        assert said in others(ranked, EXPLANATION)[-1]


def test_what_could_not_be_tried_is_said_with_the_reason():
    ranked = rank([Advice("engine", (), (), (), {WHY_NOT: "numba is not installed"})], 0.005)
    assert "not tried: engine: numba is not installed" in others(ranked, EXPLANATION)


def test_the_table_has_shares_of_time_and_of_the_peak():
    shown = as_explanation(EXPLANATION, [], width=140, colour=False)
    (line,) = (line for line in shown.splitlines() if "features.0" in line)
    assert line.split()[-7:] == ["75", "%", "6.00", "50", "%", "50", "%"]
    assert "multiply-adds left: share of the dense ones whose weight is not zero" in shown
    assert "zeros cost nothing and gain nothing in ONNX Runtime" in shown
    assert "6.0 million multiply-adds dense, 3.0 on non-zeros" in shown


def test_the_same_is_there_as_data():
    document = json.loads(as_json(EXPLANATION, rank([advice("level", 0.001)], 0.005), {"cpu_model": "x"}))
    assert [layer["name"] for layer in document["layers"]] == ["features.0", "pool"]
    (change,) = document["changes"]
    assert change["gain_s"]["estimate"] == pytest.approx(0.001)
    assert change["pays"] is True
    assert document["machine_info"] == {"cpu_model": "x"}
