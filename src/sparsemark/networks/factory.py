"""Network from its reference: calling the factory, its example inputs, whether they fit."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.files import key_of
from sparsemark.machine.at_work import at_work
from sparsemark.references import ONNX_SUFFIX, one_line, resolve
from sparsemark.specs import FLOAT32

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from sparsemark.specs import ModelSpec


def build_model(model: ModelSpec, seed: int = 0) -> torch.nn.Module:
    """Call the model's factory without arguments and return the network in its plain form; errors as in `build`."""
    return build(model, seed)[0]


def build(model: ModelSpec, seed: int = 0) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Call the model's factory without arguments.

    Args:
        model: names the factory.
        seed: of torch's random numbers while it runs. A factory may draw what no state dict holds, such as a buffer
            that is not persistent, and must draw the same each time the network is rebuilt.

    Returns:
        The network in its plain form (`sparsemark.networks.plain`), and what had to be changed for that, in words.

    Raises:
        UserError: the factory needs arguments, fails, or returns something that is no module.
    """
    from sparsemark.networks.plain import copied, plain

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
    module = _called(factory, model.reference, seed)
    if model.reference not in _RETURNS_ONE:
        _RETURNS_ONE[model.reference] = _share(_called(factory, model.reference, seed), module)
    if _RETURNS_ONE[model.reference]:
        module = copied(module, model.reference)
    return plain(module, model.reference)


def build_whole(model: ModelSpec, seed: int = 0) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Build a network and run it once on its declared inputs: lazy layers take their shapes and draw their weights.

    Returns as `build`, and leaves torch's random numbers as they were; errors as in `build` and `check_input`.
    """
    import torch

    with torch.random.fork_rng(devices=[]), at_work("building the network"):
        torch.manual_seed(seed)
        module, notes = build(model, seed)
        check_input(module, model)
    return module, notes


def structure_key(module: torch.nn.Module) -> str:
    """Return the key of a module as it prints itself: what its factory read from a file decides as much as its code."""
    return key_of(_ADDRESS.sub("", repr(module)))


_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+\b")
"""In what is printed of a function or object: another in each process."""

_RETURNS_ONE: dict[str, bool] = {}
"""Whether the networks of two calls of a factory share a part, by reference: only such a network need be copied."""


def _share(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Return whether two networks are one, or have the memory of a tensor in common."""
    import torch
    from torch.nn.parameter import is_lazy

    def memory(module: torch.nn.Module) -> set[int]:
        tensors = [one for one in (*module.parameters(), *module.buffers()) if not is_lazy(one)]
        return {one.untyped_storage().data_ptr() for one in tensors if one.layout is torch.strided} - {0}

    return one is other or not memory(one).isdisjoint(memory(other))


def _called(factory: Callable[..., Any], reference: str, seed: int) -> torch.nn.Module:
    import torch

    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = factory()
    except (Exception, SystemExit) as error:
        raise UserError(f"{reference}: the factory failed: {one_line(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise UserError(f"{reference}: expected the factory to return a torch.nn.Module, got {type(module).__name__}")
    return module


def example_inputs(model: ModelSpec) -> tuple[torch.Tensor, ...]:
    """Return one value of each input, the same in every process.

    Floating ones are standard normal; of integers and booleans only 0 and 1 are known to be valid, whatever they mean.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(one.shape, generator=generator)
        if one.dtype == FLOAT32
        else torch.randint(0, 2, one.shape, generator=generator).to(getattr(torch, one.dtype))
        for one in model.inputs
    )


def check_input(module: torch.nn.Module, model: ModelSpec) -> None:
    """Run the network once on its declared inputs, in eval mode.

    Raises:
        UserError: with what the network said, where the inputs do not fit; with the part that computes in another
            dtype than the weights of the plain form, where that is what fails; or it returns no tensor.
    """
    import torch

    from sparsemark.networks.casts import failing_cast
    from sparsemark.networks.outputs import output_tensors

    try:
        with torch.no_grad():
            outputs = module.eval()(*example_inputs(model))
    except Exception as error:
        given = " ".join(one.text for one in model.inputs)
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        wanted = _integers_instead(module, model)
        if wanted:
            raise UserError(f"{model.reference}: takes int64 indices; say --input {wanted}") from error
        cast = failing_cast(module, example_inputs(model))
        if cast:
            raise UserError(
                f"{model.reference}: {cast}: {first}; expected a cast to the dtype of the weights, as in "
                "x.to(layer.weight.dtype)"
            ) from error
        raise UserError(f"{model.reference}: input {given} does not fit this network: {first}") from error
    if not output_tensors(outputs):
        raise UserError(
            f"{model.reference}: returns {type(outputs).__name__}, in which there is no tensor; expected a tensor, or "
            "tensors in a tuple, list, dictionary or dataclass"
        )


def _integers_instead(module: torch.nn.Module, model: ModelSpec) -> str | None:
    """Return the option with which a network that looks up indices would run, None where that is not it."""
    import torch

    if len(model.inputs) != 1 or model.inputs[0].dtype != FLOAT32:
        return None
    (one,) = model.inputs
    try:
        with torch.no_grad():
            module(torch.zeros(one.shape, dtype=torch.int64))
    except Exception:
        return None
    return f"{one.text}:int64"


def name_of(reference: str) -> str:
    """Short name of a model for tables: the factory's, or the ONNX file's stem."""
    name = Path(reference).stem if reference.endswith(ONNX_SUFFIX) else reference.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.") or "model"
