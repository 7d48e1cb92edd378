"""A network from its reference: the one door for the study's models and for any user's own."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sparsemark.errors import UserError
from sparsemark.references import resolve

if TYPE_CHECKING:
    from sparsemark.specs import ModelSpec

ONNX_SUFFIX = ".onnx"


def build_model(model: ModelSpec) -> torch.nn.Module:
    """Call the model's factory without arguments.

    Raises:
        UserError: the factory needs arguments, fails, or returns something that is no module.
    """
    factory = resolve(model.reference)
    try:
        needed = [
            p.name
            for p in inspect.signature(factory).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        needed = []  # a callable written in C has no signature: calling it tells
    if needed:
        raise UserError(
            f"{model.reference}: the factory needs {', '.join(needed)}; expected one that takes no arguments"
        )
    try:
        module = factory()
    except Exception as error:
        raise UserError(f"{model.reference}: the factory failed: {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise UserError(
            f"{model.reference}: expected the factory to return a torch.nn.Module, got {type(module).__name__}"
        )
    return module


def example_input(model: ModelSpec) -> torch.Tensor:
    """One input of the model's shape, float32, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(model.input_shape, generator=generator)


def check_input(module: torch.nn.Module, model: ModelSpec) -> None:
    """Run the network once on its declared input shape, in eval mode.

    Raises:
        UserError: with what the network said, where the shape does not fit.
    """
    try:
        with torch.no_grad():
            module.eval()(example_input(model))
    except Exception as error:
        shape = ",".join(map(str, model.input_shape))
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{model.reference}: input {shape} does not fit this network: {first}") from error


def name_of(reference: str) -> str:
    """Short name of a model for tables: the factory's, or the ONNX file's stem."""
    location, _, attribute = reference.rpartition(":")
    name = Path(reference).stem if reference.endswith(ONNX_SUFFIX) else attribute
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.") or location


def input_shape_of(reference: str) -> tuple[int, ...] | None:
    """Input shape of an ONNX file, with 1 for every size that it leaves open; None for a factory, which does not say.

    Raises:
        UserError: the file is missing or no ONNX.
    """
    if not reference.endswith(ONNX_SUFFIX):
        return None
    from sparsemark.formats.onnx_file import load_onnx

    graph = load_onnx(Path(reference)).graph
    constants = {tensor.name for tensor in graph.initializer}
    sizes = next(v for v in graph.input if v.name not in constants).type.tensor_type.shape.dim
    return tuple(size.dim_value or 1 for size in sizes)
