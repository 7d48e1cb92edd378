"""Distance that an engine may have from a quantised network: a step of the output, beyond what rounding moves it by."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from sparsemark.networks.quantised_reference import NOTE, quantised_outputs
from sparsemark.networks.source import Source
from sparsemark.specs import ModelSpec
from tests.networks.onnx_files import model_of, node


@pytest.mark.parametrize(("large", "moved"), [(2.0**24, (5.0,)), (1.0, ())])
def test_a_step_within_the_network_passes_on_as_many_as_its_weight_makes(large, moved, tmp_path):
    """Beside 2^24 a float32 has room for 0 and 2 in place of 0.7, one step less or more than the one of float64."""
    constants = {"large": np.float32(large), "one": np.float32(1), "zero": np.int8(0), "five": np.float32(5)}
    nodes = [
        node("Add", ["x", "large"], ["sum"]),
        node("Sub", ["sum", "large"], ["same"]),
        node("QuantizeLinear", ["same", "one", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
        node("Mul", ["d", "five"], ["m"]),
        node("QuantizeLinear", ["m", "one", "zero"], ["r"]),
        node("DequantizeLinear", ["r", "one", "zero"]),
    ]
    path = tmp_path / "net.onnx"
    onnx.save(model_of(nodes, constants, (1, 4)), path)
    batches = [(np.full((1, 4), 0.7, np.float32),)] * 3
    found = quantised_outputs(Source(ModelSpec("net", str(path), (1, 4)), path), batches)
    assert found.outputs[0].tolist() == [[5.0] * 4] * 3
    assert (found.steps, found.moved) == ((1.0,), moved)
    assert (found.notes == (NOTE,)) is not bool(moved)
