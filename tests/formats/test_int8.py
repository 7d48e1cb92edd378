"""The int8 form of an ONNX file: the same bytes again, a scale for each channel, one step off at most in any engine."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sparsemark import engines, formats
from sparsemark.engines import ENGINES
from sparsemark.errors import UnsupportedError
from sparsemark.machine.fingerprint import sums_bytes_exactly
from sparsemark.measurement.parity import ParityError, check
from sparsemark.networks.quantised_reference import quantised_outputs
from sparsemark.networks.source import Source
from sparsemark.specs import INT8, ModelSpec
from tests.engines.installed import INSTALLED
from tests.small_networks import NETWORKS, alone_with, artifact, batches, shelf

QUANTISING = [name for name in INSTALLED if INT8 in ENGINES[name].precisions]


def quantised(name, prune="none"):
    plain = artifact(name, prune, "onnx")
    stem = shelf() / f"{plain.path.stem}-int8"
    with alone_with(stem.name):
        return formats.quantise(plain, stem, batches(name, 8))


def test_quantising_again_gives_the_same_bytes(tmp_path):
    first = quantised("plain")
    again = formats.quantise(artifact("plain", "none", "onnx"), tmp_path / "again", batches("plain", 8))
    assert again.sha256 == first.sha256
    other = formats.quantise(
        artifact("plain", "none", "onnx"), tmp_path / "other", [(9 * b[0],) for b in batches("plain")]
    )
    assert other.sha256 != first.sha256


def test_each_channel_of_a_weight_has_its_own_scale_and_zeros_stay(tmp_path):
    found = quantised("plain", "magnitude:0.9")
    plain = artifact("plain", "magnitude:0.9", "onnx")
    assert found.weights.total == plain.weights.total
    assert found.weights.nonzeros <= plain.weights.nonzeros
    scales = {one.name: numpy_helper.to_array(one) for one in onnx.load(found.path).graph.initializer}
    per_channel = [
        array.size for name, array in scales.items() if name.endswith("_scale") and array.ndim == 1 and array.size > 1
    ]
    assert sorted({6, 8, 3} & set(per_channel)) == [3, 6, 8]


@pytest.mark.parametrize("engine", QUANTISING)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_engine_agrees_with_the_quantised_graph_within_one_step(name, engine):
    file = quantised(name)
    reference = quantised_outputs(Source(NETWORKS[name], file.path), batches(name))
    if ENGINES[engine].formats[0] == "csr":
        with alone_with(f"{file.path.stem}-csr"):
            file = formats.export(Source(NETWORKS[name], file.path), "csr", file.path.with_suffix(""))
    assert len(reference.steps) == len(reference.outputs)
    assert all(step > 0 for step in reference.steps)
    predict = engines.load(file, engine, 1)
    if (name, engine) == ("mlp", "openvino") and sums_bytes_exactly():
        # OpenVINO 2026.4 with VNNI requantises the product of a matrix wrongly where its zero point is not 0.
        with pytest.raises(ParityError):
            check(predict, batches(name), reference)
        return
    verified = check(predict, batches(name), reference)
    assert any("within one step of its output" in note for note in verified.parity.notes)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_engine_that_is_three_steps_off_in_one_place_fails_whatever_rounding_does(name):
    """Three runs of rounding allow no more: small networks are moved by one step at most, and mostly by none."""
    reference = quantised_outputs(Source(NETWORKS[name], quantised(name).path), batches(name))
    assert all(more <= 1.001 * step for more, step in zip(reference.moved, reference.steps, strict=False))

    def engine(*inputs):
        found = [output[:1].copy() for output in answers.pop(0)]
        found[0].flat[0] += 3 * reference.steps[0]
        return tuple(found)

    answers = [
        [np.split(output, len(reference.chosen))[place] for output in reference.outputs]
        for place in np.argsort(reference.chosen)
    ]
    answers *= 2
    with pytest.raises(ParityError, match="steps of the output's scale"):
        check(engine, batches(name), reference)


def test_the_step_is_the_scale_of_the_output_or_of_its_range_where_operators_in_float_follow(tmp_path):
    file = quantised("plain")
    reference = quantised_outputs(Source(NETWORKS["plain"], file.path), batches("plain"))
    model = onnx.load(file.path)
    last = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
    scales = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    assert last.op_type == "DequantizeLinear"
    assert reference.steps == (float(scales[last.input[1]]),)
    for value in model.graph.output:
        model.graph.node.append(helper.make_node("Exp", [value.name], ["exp"]))
        value.name = "exp"
    onnx.save(model, tmp_path / "exp.onnx")
    reference = quantised_outputs(Source(NETWORKS["plain"], tmp_path / "exp.onnx"), batches("plain"))
    assert reference.steps == (pytest.approx(reference.outputs[0].max() / 255),)


def own(tmp_path, *nodes, name="own", shape=(1, 4)):
    """An artifact of a graph x -> y without weights."""
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in "xy"]
    graph = helper.make_graph(list(nodes), name, ends[:1], ends[1:])
    path = tmp_path / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    model = ModelSpec(name, str(path), shape)
    return formats.export(Source(model, path), "onnx", tmp_path / f"{name}-exported")


def test_what_cannot_be_quantised_is_refused_with_the_reason(tmp_path):
    data = [(np.ones((1, 4), np.float32),)]
    again = quantised("mlp")
    with pytest.raises(UnsupportedError, match="is quantised already"):
        formats.quantise(again, tmp_path / "twice", batches("mlp"))
    nothing = own(tmp_path, helper.make_node("Sin", ["x"], ["y"]))
    with pytest.raises(UnsupportedError, match="no operator that it quantises"):
        formats.quantise(nothing, tmp_path / "nothing", data)
    with pytest.raises(UnsupportedError, match=r"onnxruntime\.quantization: "):
        formats.quantise(artifact("plain", "none", "onnx"), tmp_path / "wrong", data)
    assert not list(tmp_path.glob("twice*")) + list(tmp_path.glob("nothing.*")) + list(tmp_path.glob("wrong*"))
    with pytest.raises(UnsupportedError, match="dense files have no int8 form here"):
        formats.quantiser_of("dense")
    assert formats.quantiser_of("csr") == formats.quantiser_of("onnx")  # whose files its own are made from
