"""An ONNX file that is damaged, missing or of another shape is one line."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from sparsemark.networks.onnx_model import onnx_inputs
from sparsemark.specs import InputSpec
from tests.cli.small_bench import bench


def identity(sizes=(1, 3, 8, 8)):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("inxx", "outx")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["inxx"], ["outx"], name="node")], "grap", values[:1], values[1:]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def with_tensor(**fields):
    model = identity()
    model.graph.initializer.append(TensorProto(name="weight", **fields))
    return model.SerializeToString()


WHOLE = identity().SerializeToString()
ELSEWHERE = onnx.StringStringEntryProto(key="location", value="no.bin")
BAD = {
    **{
        f"UTF-8 in {name.decode()}": WHOLE.replace(name, b"\xff\xfe" + name[2:])
        for name in (b"inxx", b"outx", b"node", b"grap", b"Identity")
    },
    "cut": WHOLE[: len(WHOLE) // 2],
    "empty": b"",
    "text": b"This is not a network.\n" * 9,
    "zeros": bytes(1000),
    "huge weight": with_tensor(data_type=1, dims=[10**6, 10**6], raw_data=b"1234"),
    "huge weight without data": with_tensor(data_type=1, dims=[10**9, 10**9]),
    "negative size": with_tensor(data_type=1, dims=[-5], raw_data=b"1234"),
    "unknown type": with_tensor(data_type=77, dims=[1], raw_data=b"1234"),
    "huge input": identity((1, 3, 10**8, 10**8)).SerializeToString(),
    "data elsewhere": with_tensor(data_type=1, dims=[1], data_location=1, external_data=[ELSEWHERE]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("more", [(), ("--input", "1,3,8,8")], ids=["", "with a shape"])
def test_a_bad_onnx_file_is_one_line(kind, more, here, quick, refused):
    if (kind, bool(more)) == ("huge input", True):
        pytest.skip("then the shape does not fit, which another test covers")
    Path("bad.onnx").write_bytes(BAD[kind])
    line = refused("bench", "bad.onnx", "--engine", "onnxruntime", "--json", "out.json", *more)
    assert line.startswith("sparsemark bench: bad.onnx: ")
    assert "nothing was measured" not in line
    assert not Path("out.json").exists()


def test_a_folder_called_like_an_onnx_file_is_one_line(here, quick, refused):
    Path("bad.onnx").mkdir()
    assert "bad.onnx: cannot be read: Is a directory" in refused("bench", "bad.onnx", "--json", "out.json")


def test_an_onnx_file_is_missing_damaged_or_of_another_shape(here, refused):
    assert "nowhere.onnx: cannot be read: No such file" in refused(*bench("nowhere.onnx"))
    assert "nowhere.onnx: cannot be read: No such file" in refused(*bench("nowhere.onnx", "--input", "1,3,8,8"))
    Path("damaged.onnx").write_bytes(b"\x08\xff not protobuf")
    assert "damaged.onnx: expected an ONNX model" in refused(*bench("damaged.onnx"))
    assert "damaged.onnx: expected an ONNX model" in refused(*bench("damaged.onnx", "--input", "1,3,8,8"))
    Path("empty.onnx").write_bytes(b"")
    assert "empty.onnx: " in refused(*bench("empty.onnx"))


@pytest.mark.parametrize(
    ("sizes", "declared", "example"),
    [
        (("n", 3, "h", "w"), "any,3,any,any", "1,3,N,N"),
        ((1, 3, 8, None), "1,3,8,any", "1,3,8,N"),
        ((), "no sizes", "1,N,..."),
    ],
)
def test_an_onnx_file_leaves_more_than_the_batch_open(sizes, declared, example, here, refused):
    save_identity(sizes)
    line = refused(*bench("open.onnx"))
    assert line.endswith(f"open.onnx: declares an input of {declared}; say which sizes with --input {example}")


def test_an_open_batch_is_one(here):
    save_identity(("n", 3, 8, 8))
    assert onnx_inputs("open.onnx") == (InputSpec((1, 3, 8, 8)),)


def save_identity(sizes):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "open", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), "open.onnx")
