"""Figure of the pace of layers: what its title says, and its files."""

from __future__ import annotations

import pytest

from sparsemark.direct.explain import Layer
from sparsemark.direct.peak import Peak
from sparsemark.report.figures.layer_pace import draw_layer_pace, layer_title

PEAK = Peak(1e9, 8e8)


def layer(share, seconds):
    """A layer that reaches a share of the peak."""
    products = int(share * 1e9 * seconds)
    return Layer("a", (1, 1, 1), 0.5, "direct", seconds, products, products, winograd=False, dense=products)


def test_the_pace_of_layers_is_weighed_by_their_time():
    title = layer_title("net", [layer(0.4, 1.0), layer(0.8, 3.0), layer(0.01, 0.001)], PEAK)
    assert title == (
        "net: 70 % of the multiply-adds that one core can do, 40 to 80 % in each layer of 1 % of the time or more"
    )
    assert layer_title("net", [], PEAK) == "net: no layer was timed"


def test_many_layers_that_take_little_each_have_a_title_all_the_same():
    assert layer_title("net", [layer(0.5, 1.0)] * 150, PEAK) == "net: 50 % of the multiply-adds that one core can do"


def test_each_file_has_the_format_of_its_name(tmp_path):
    pytest.importorskip("matplotlib")
    paths = [tmp_path / "pace.png", tmp_path / "pace.svg"]
    draw_layer_pace("net", [layer(0.4, 1.0), layer(0.8, 3.0)], PEAK, ["conditions"], paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert "40 %" in paths[1].read_text()
