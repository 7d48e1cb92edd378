"""The float64 reference is the network itself, whether it is rebuilt from a checkpoint or read from an ONNX file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsemark.networks.reference import float64_outputs
from sparsemark.networks.source import Source
from tests.small_networks import artifact, build, images, reference, source


def test_reference_is_the_network_in_float64():
    module = build("residual").double()
    inputs = images("residual", 2)
    with torch.no_grad():
        expected = torch.cat([module(torch.from_numpy(image).double()) for image in inputs]).numpy()
    (got,) = float64_outputs(source("residual"), inputs)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("network", ["plain", "unet", "odd", "mlp"])
def test_reference_of_an_onnx_file_agrees_with_that_of_its_checkpoint(network):
    """Closer than float32 can, so float64 it is; except where BatchNorm was folded into float32 weights."""
    exported = artifact(network, "none", "onnx")
    got = float64_outputs(Source(source(network).model, exported.path), images(network))
    for one, other in zip(got, reference(network, "none"), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= (1e-6 if network in ("plain", "unet") else 1e-8) * np.abs(other).max()


def test_references_agree_between_formats():
    """What every engine is compared with does not depend on the file: unet's own outputs, computed by torch."""
    module = build("unet").double()
    with torch.no_grad():
        expected = [module(torch.from_numpy(image).double()) for image in images("unet")]
    for index, output in enumerate(reference("unet", "none")):
        np.testing.assert_allclose(output, torch.cat([one[index] for one in expected]).numpy(), rtol=1e-12)
