"""A network from its reference: the one door for the study's models and for any user's own."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from sparsemark.errors import UserError
from sparsemark.references import one_line, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.specs import ModelSpec

ONNX_SUFFIX = ".onnx"


def build_model(model: ModelSpec, seed: int = 0) -> torch.nn.Module:
    """Call the model's factory without arguments.

    Args:
        model: names the factory.
        seed: of torch's random numbers while it runs. A factory may draw what no state dict holds, such as a buffer
            that is not persistent, and must draw the same each time the network is rebuilt.

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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = factory()
    except (Exception, SystemExit) as error:
        raise UserError(f"{model.reference}: the factory failed: {one_line(error)}") from error
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


def output_tensors(outputs: Any) -> list[torch.Tensor]:
    """The tensors among what a network returns: one, or nested in tuples, lists and dictionaries, None left out."""
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def name_of(reference: str) -> str:
    """Short name of a model for tables: the factory's, or the ONNX file's stem."""
    name = Path(reference).stem if reference.endswith(ONNX_SUFFIX) else reference.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.") or "model"


def input_shape_of(reference: str) -> tuple[int, ...] | None:
    """Input shape of an ONNX file, with a batch of 1 where it leaves that open; None for a factory, which has none.

    Raises:
        UserError: the file is missing, no ONNX, has not exactly one input, or leaves another size than the batch open.
    """
    if not reference.endswith(ONNX_SUFFIX):
        return None
    sizes = _declared_sizes(reference)
    if not sizes or not all(sizes[1:]):
        raise UserError(f"{reference}: declares an input of {_in_words(sizes)}; say which sizes with --input")
    return (sizes[0] or 1, *sizes[1:])


def check_onnx_input(model: ModelSpec) -> None:
    """Hold the given input shape against the one that the ONNX file declares.

    Raises:
        UserError: they differ in a size that the file does not leave open; or as `input_shape_of`.
    """
    sizes = _declared_sizes(model.reference)
    fits = len(sizes) == len(model.input_shape) and all(
        declared in (0, given) for declared, given in zip(sizes, model.input_shape, strict=True)
    )
    if not fits:
        given = ",".join(map(str, model.input_shape))
        raise UserError(f"{model.reference}: input {given} does not fit this network: it declares {_in_words(sizes)}")


def _in_words(sizes: Sequence[int]) -> str:
    return ",".join(str(size or "any") for size in sizes) or "no sizes"


def _declared_sizes(reference: str) -> list[int]:
    """Sizes of an ONNX file's one input, 0 where they are open."""
    from sparsemark.formats.onnx_file import inputs_of, load_onnx

    model = load_onnx(Path(reference))
    names = inputs_of(model)
    if len(names) != 1:
        raise UserError(f"{reference}: expected an ONNX model with one input, found {len(names)}")
    (value,) = [value for value in model.graph.input if value.name == names[0]]
    return [size.dim_value for size in value.type.tensor_type.shape.dim]
