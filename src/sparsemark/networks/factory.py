"""Network from its reference: calling the factory, its example input, its outputs as tensors."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.references import ONNX_SUFFIX, one_line, resolve

if TYPE_CHECKING:
    import torch

    from sparsemark.specs import ModelSpec


def build_model(model: ModelSpec, seed: int = 0) -> torch.nn.Module:
    """Call the model's factory without arguments.

    Args:
        model: names the factory.
        seed: of torch's random numbers while it runs. A factory may draw what no state dict holds, such as a buffer
            that is not persistent, and must draw the same each time the network is rebuilt.

    Raises:
        UserError: the factory needs arguments, fails, or returns something that is no module.
    """
    import torch

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
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(model.input_shape, generator=generator)


def check_input(module: torch.nn.Module, model: ModelSpec) -> None:
    """Run the network once on its declared input shape, in eval mode.

    Raises:
        UserError: with what the network said, where the shape does not fit.
    """
    import torch

    try:
        with torch.no_grad():
            module.eval()(example_input(model))
    except Exception as error:
        shape = ",".join(map(str, model.input_shape))
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{model.reference}: input {shape} does not fit this network: {first}") from error


def output_tensors(outputs: Any) -> list[torch.Tensor]:
    """The tensors among what a network returns: one, or nested in tuples, lists and dictionaries, None left out."""
    import torch
    from torch.utils import _pytree as pytree

    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def name_of(reference: str) -> str:
    """Short name of a model for tables: the factory's, or the ONNX file's stem."""
    name = Path(reference).stem if reference.endswith(ONNX_SUFFIX) else reference.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.") or "model"
