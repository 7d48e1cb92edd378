"""ncnn keeps its inputs, converts in silence, and says what it cannot run."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest
import torch

from sparsemark.engines import ncnn_net
from sparsemark.errors import UnsupportedError
from sparsemark.measurement import parity
from sparsemark.networks.checkpoint import Checkpoint, Header, save_checkpoint
from sparsemark.networks.factory import build_model
from sparsemark.networks.reference import float64_outputs
from sparsemark.networks.source import Source
from sparsemark.specs import ModelSpec, Variant
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


OWN = """
import torch
from torch import nn
class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3)
    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3))
def build():
    torch.manual_seed(1)
    return Twice()
"""


@needs("ncnn")
@pytest.mark.parametrize(
    ("place", "names"), [("net.py", str), ("my-nets.d/2-fast.v1.py", os.path.relpath), ("un été/net ß.py", str)]
)
def test_ncnn_runs_a_class_of_the_users_own_whatever_folder_it_is_in(place, names, tmp_path, monkeypatch):
    """Its name becomes part of what pnnx reads, and pnnx aborts on dots, dashes and digits in front."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(OWN)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    model = ModelSpec("own", f"{names(file)}:build", (1, 3, 9, 8))
    source = Source(model, tmp_path / "own.safetensors")
    save_checkpoint(source.path, Checkpoint(Header(Variant(model)), build_model(model).state_dict()))
    batches = [(one.numpy(),) for one in torch.randn(4, 1, 3, 9, 8, generator=torch.Generator().manual_seed(0))]
    verified = parity.check(ncnn_net.load(source.path, 1), batches, float64_outputs(source, batches))
    assert verified.parity.max_rel <= parity.TOLERANCE
    assert np.ptp([verified.predict(*batch)[0] for batch in batches]) > 0, "answers that tell images apart"


@needs("ncnn")
def test_ncnn_whose_converter_fails_says_so(monkeypatch):
    import pnnx

    monkeypatch.setattr(pnnx, "EXEC_PATH", "false")
    with pytest.raises(UnsupportedError, match="ncnn: pnnx ended with 1: no reason given"):
        ncnn_net.load(artifact("mlp", "none", "dense").path, 1)
