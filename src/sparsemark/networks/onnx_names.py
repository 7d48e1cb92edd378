"""Names and types in an ONNX graph that protobuf and onnx's own check let pass, and that fail where they are used."""

from __future__ import annotations

from typing import Any

_FREE_TEXT = ("doc_string", "metadata_props")
"""Fields that nothing here reads."""


def check_graph(graph: Any) -> None:
    """Check the names of an `onnx.GraphProto` and the types of its initialisers.

    Raises:
        ValueError: naming the field.
    """
    from onnx import TensorProto

    check_names(graph)
    known = set(TensorProto.DataType.values())
    for tensor in graph.initializer:
        if tensor.data_type not in known:
            raise ValueError(f"initializer {tensor.name}: data_type is {tensor.data_type}, which ONNX does not have")


def check_names(message: Any, where: str = "graph") -> None:
    """Check every name in a protobuf message.

    Args:
        message: such as `onnx.GraphProto`.
        where: its place in the file, for the error.

    Raises:
        ValueError: naming the field that is not UTF-8.
    """
    if message.DESCRIPTOR.name == "TensorProto":
        # Its numbers would be copied; it has no other names.
        _check_text(message.name, f"{where}.name")
        return
    for field, value in message.ListFields():
        place = f"{where}.{field.name}"
        if field.name in _FREE_TEXT:
            continue
        if field.type == field.TYPE_STRING:
            _check_text(value, place)
        elif field.type == field.TYPE_MESSAGE:
            if hasattr(value, "add"):  # repeated
                for index, one in enumerate(value):
                    check_names(one, f"{place}[{index}]")
            else:
                check_names(value, place)


def _check_text(value: Any, place: str) -> None:
    """Raise ValueError where a text, or one of a list, is not UTF-8: protobuf hands over such text as bytes."""
    if isinstance(value, bytes) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{place} is not UTF-8")
