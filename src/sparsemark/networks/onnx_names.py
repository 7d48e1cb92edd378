"""Names and types in an ONNX graph that protobuf and onnx's own check let pass, and that fail where they are used."""

from __future__ import annotations

from typing import Any

_FREE_TEXT = ("doc_string",)
"""Text that nothing here reads."""


def check_graph(graph: Any) -> None:
    """Check the names of an `onnx.GraphProto` and the types of its initialisers.

    Raises:
        ValueError: naming the field.
    """
    from onnx import TensorProto

    check_names(graph)
    for tensor in graph.initializer:
        if tensor.data_type not in TensorProto.DataType.values():
            raise ValueError(f"initializer {tensor.name}: data_type is {tensor.data_type}, which ONNX does not have")


def check_names(message: Any, where: str = "graph") -> None:
    """Check every text of a protobuf message.

    Args:
        message: such as `onnx.GraphProto`.
        where: its place in the file, for the error.

    Raises:
        ValueError: naming the field that is not UTF-8.
    """
    for field in message.DESCRIPTOR.fields:
        place = f"{where}.{field.name}"
        if field.type == field.TYPE_STRING and field.name not in _FREE_TEXT:
            if not _is_text(message, field.name):
                raise ValueError(f"{place} is not UTF-8")
        elif field.type == field.TYPE_MESSAGE:
            value = getattr(message, field.name)
            if hasattr(value, "add"):  # repeated
                for index, one in enumerate(value):
                    check_names(one, f"{place}[{index}]")
            elif message.HasField(field.name):
                check_names(value, place)


def _is_text(message: Any, name: str) -> bool:
    """Return whether a field holds text: some versions of protobuf give other bytes as bytes, others fail."""
    try:
        value = getattr(message, name)
        return all(isinstance(one, str) for one in ([value] if isinstance(value, str | bytes) else value))
    except UnicodeDecodeError:
        return False
