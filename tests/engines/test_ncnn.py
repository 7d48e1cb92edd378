"""ncnn keeps its inputs, converts in silence, and says what it cannot run."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from sparsemark.engines import ncnn_net
from sparsemark.errors import UnsupportedError
from tests.engines.installed import load, needs
from tests.engines.sources import dense_source
from tests.small_networks import artifact, images


@needs("ncnn")
def test_ncnn_borrows_no_memory_that_is_gone():
    """A `Mat` borrows its array: what is made of an image must not go before the call, nor an answer after it."""
    first, second = images("unet", 2)
    predict = load("ncnn", "unet")
    expected = [output.copy() for output in predict(first)]
    answer = predict(np.asfortranarray(first))
    for _ in range(3):
        predict(second + 0)
        gc.collect()
    del predict
    gc.collect()
    for output, copy in zip(answer, expected, strict=True):
        np.testing.assert_array_equal(output, copy)


@needs("ncnn")
def test_ncnn_converts_without_a_word_and_leaves_nothing(tmp_path, monkeypatch, capfd):
    path = artifact("residual", "none", "dense").path.resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ncnn_net.load(path, 1)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@needs("ncnn")
@pytest.mark.parametrize(
    ("forward", "shape", "reason"),
    [
        ("return y[:, :2, ::2]", (1, 3, 8, 8), "ncnn: Tensor.slice at "),
        ("return y", (2, 3, 8, 8), r"ncnn: takes one float32 image a call, and the input is 2,3,8,8"),
        ("return y + self.nowhere", (1, 3, 8, 8), "ncnn: tracing: AttributeError"),
    ],
)
def test_ncnn_says_what_it_cannot_run(forward, shape, reason, tmp_path, capfd):
    with pytest.raises(UnsupportedError, match=reason) as caught:
        ncnn_net.load(dense_source(tmp_path, forward, shape).path, 1)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@needs("ncnn")
def test_ncnn_whose_converter_fails_says_so(monkeypatch):
    import pnnx

    monkeypatch.setattr(pnnx, "EXEC_PATH", "false")
    with pytest.raises(UnsupportedError, match="ncnn: pnnx ended with 1: no reason given"):
        ncnn_net.load(artifact("mlp", "none", "dense").path, 1)
