"""`sparsemark explain`: how direct-csr runs a file."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")

from sparsemark.cli import main
from sparsemark.direct.explanation import explain
from sparsemark.direct.limits import measure_limits
from sparsemark.direct.machine_code import load
from tests.direct.graphs import Prepared, Sketch
from tests.small_networks import artifact


@pytest.fixture
def unet(tmp_path, monkeypatch):
    load()  # not again for the empty cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return artifact("unet", "magnitude:0.9", "csr").path


def test_every_layer_is_there_with_what_it_does_and_takes(unet, tmp_path, capsys):
    assert main(["explain", str(unet), "--figure", str(tmp_path / "roof.png")]) == 0
    shown = capsys.readouterr().out
    for word in ("density", "G/s", "of peak", "direct", "plain loop", "million multiply-adds", "peak of one core"):
        assert word in shown
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")


def test_a_damaged_file_is_one_line(unet, tmp_path, capsys):
    damaged = tmp_path / "damaged.csr"
    damaged.write_bytes(unet.read_bytes()[:-3])
    assert main(["explain", str(damaged)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "damaged.csr: damaged" in line


def test_an_input_that_the_network_cannot_take_is_one_line(unet, capsys):
    assert main(["explain", str(unet), "--input", "1,7,16,16"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Conv at" in line


def test_sharing_a_load_is_never_slower_than_a_load_each():
    limits = measure_limits()
    assert limits.multiply_adds >= limits.loads > 0


def test_layer_by_tiles_carries_out_a_quarter_of_what_a_dense_one_is():
    sketch = Sketch(1, 8, 16, 16)
    sketch.conv("x", np.ones((8, 8, 3, 3), np.float32), pads=[1, 1, 1, 1])
    prepared = Prepared(sketch.graph())
    (step,) = prepared.convolutions
    for choice in prepared.options[step]:
        plan = SimpleNamespace(lowered=prepared.lowered, choices={step: choice}, floats=prepared.floats)
        layer = list(explain(plan))[-1]
        assert layer.multiply_adds == 8 * 8 * 9 * 16 * 16
        assert layer.products == (layer.multiply_adds // 4 if choice.winograd else layer.multiply_adds)
        assert ("Winograd" in layer.kernel) == choice.winograd
    assert any(choice.winograd for choice in prepared.options[step])
