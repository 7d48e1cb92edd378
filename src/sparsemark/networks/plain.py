"""Plain form of a user's module: float32 and strided on the CPU, no wrapper, every weight a parameter.

Whatever a module's factory has attached (masks, weight_norm, another dtype) computes the weights at each call. Pruning,
counting and export look at the weights themselves, so what is attached is folded into them first.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.spectral_norm import (
    SpectralNorm,
    SpectralNormLoadStateDictPreHook,
    SpectralNormStateDictHook,
    remove_spectral_norm,
)
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from sparsemark.errors import UserError
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRAPPED = "_orig_mod"
"""Where torch.compile keeps the module."""

_NARROW_OR_WIDE = (torch.float16, torch.bfloat16, torch.float64)


def plain(module: nn.Module, name: str) -> tuple[nn.Module, tuple[str, ...]]:
    """Make a module plain, in place, and return it without its wrapper, and what was changed, in words.

    Args:
        module: as its factory returned it, or a copy where that returns the same one each time.
        name: of the factory, for messages.

    Raises:
        UserError: the module or a part of it has no Python source any more (TorchScript), is quantised, or has no
            values (meta device).
    """
    notes = []
    module, wrapper = _unwrapped(module)
    if wrapper:
        notes.append(f"unwrapped from {wrapper}")
    for part, layer in module.named_modules():
        of = f", its part {part}" if part else ""
        if isinstance(layer, torch.jit.ScriptModule):
            raise UserError(
                f"{name}: returned a TorchScript module ({type(layer).__name__}{of}); expected the torch.nn.Module "
                "before torch.jit.script or torch.jit.trace"
            )
        if ".quantized" in type(layer).__module__ and type(layer).__module__.startswith("torch."):
            raise UserError(
                f"{name}: returned a quantised module ({type(layer).__name__}{of}); expected it before its conversion, "
                "or give it as an ONNX file"
            )
    if any(tensor.is_meta for tensor in _tensors(module)):
        raise UserError(f"{name}: parameters on the meta device have no values; expected a network with its weights")
    _unwrap_parts(module)
    training = module.training
    module.eval()  # spectral_norm takes a step of its power iteration wherever a module in training is looked at
    masks = without_masks(module)
    if masks:
        notes.append(f"masks of {len(masks)} weights made permanent")
    notes += [*_folded(module), *_dense(module), *_float32(module)]
    module.train(training)
    return module, tuple(notes)


def _unwrapped(module: nn.Module) -> tuple[nn.Module, str | None]:
    """Return what torch.compile or data parallelism wraps, and the wrapper's name."""
    wrapper = None
    while True:
        inner = getattr(module, _WRAPPED, None)
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            break
        wrapper, module = "torch.compile" if hasattr(module, _WRAPPED) else type(module).__name__, inner
    return module, wrapper


def copied(module: nn.Module, name: str) -> nn.Module:
    """Return a deep copy of a module that its factory returns each time.

    Raises:
        UserError: it cannot be copied, or a function in it (a lambda, a hook) would keep calling the original.
    """
    # What a hook computes (a masked weight, an old weight_norm) is an attribute that tensors do not let be copied.
    computed = [
        value
        for layer in module.modules()
        for value in vars(layer).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    ]
    try:
        found = copy.deepcopy(module, {id(value): value.detach().clone() for value in computed})
    except Exception as error:
        raise UserError(
            f"{name}: the factory returns the same object each time, and it cannot be copied: {one_line(error)[:200]}; "
            "expected a new network from each call"
        ) from error
    own = set(map(id, module.modules()))
    for layer in found.modules():
        hooks = [*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()]
        for value in (*vars(layer).values(), *hooks):
            cells = getattr(value, "__closure__", None) or ()
            if any(id(cell.cell_contents) in own for cell in cells):
                raise UserError(
                    f"{name}: the factory returns the same object each time, and a function in it keeps that object; "
                    "expected a new network from each call"
                )
    return found


def _unwrap_parts(module: nn.Module) -> None:
    """Replace compiled parts by what was compiled."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(inner := getattr(child, _WRAPPED, None), nn.Module):
                setattr(parent, name, inner)


def without_masks(module: nn.Module) -> dict[str, torch.Tensor]:
    """Write the zeros of torch.nn.utils.prune's masks into the weights, in place.

    Returns:
        The masks by name of the parameter, True where a value stays.
    """
    found: dict[str, torch.Tensor] = {}
    for path, layer in module.named_modules():
        for name in [name.removesuffix("_orig") for name in list(layer._parameters) if name.endswith("_orig")]:
            mask = layer._buffers.get(f"{name}_mask")
            hooks = [
                hook
                for hook in layer._forward_pre_hooks.values()
                if isinstance(hook, torch_prune.BasePruningMethod) and hook._tensor_name == name
            ]
            if mask is not None and hooks:  # else the names are the user's own
                found[f"{path}.{name}" if path else name] = mask != 0
                torch_prune.remove(layer, name)
    return found


def _folded(module: nn.Module) -> Iterator[str]:
    """Fold parametrisations into the weights: weight_norm, spectral_norm and any other."""
    found = set()
    for layer in module.modules():
        if parametrize.is_parametrized(layer):
            held: Any = layer.parametrizations
            for name in list(held):
                found |= {type(one).__name__.lstrip("_") for one in held[name]}
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        for hook in list(layer._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(layer, hook.name)
                found.add("WeightNorm")
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(layer, hook.name)
                _forget_state_hooks(layer)
                found.add("SpectralNorm")
    if found:
        yield f"folded into the weights: {', '.join(sorted(found))}"


def _forget_state_hooks(layer: nn.Module) -> None:
    """Remove what the old spectral_norm leaves behind: loading a state would ask for the folded parts."""
    for hooks in (layer._load_state_dict_pre_hooks, layer._state_dict_hooks):
        for key, hook in list(hooks.items()):
            if isinstance(getattr(hook, "hook", hook), SpectralNormLoadStateDictPreHook | SpectralNormStateDictHook):
                del hooks[key]


def _dense(module: nn.Module) -> Iterator[str]:
    """Make sparse tensors strided, on the CPU."""
    found = 0
    for layer in module.modules():
        for name, parameter in list(layer._parameters.items()):
            if parameter is not None and parameter.layout is not torch.strided:
                layer._parameters[name] = nn.Parameter(parameter.detach().to_dense())
                found += 1
        for name, buffer in list(layer._buffers.items()):
            if buffer is not None and buffer.layout is not torch.strided:
                layer._buffers[name] = buffer.to_dense()
                found += 1
    module.cpu()
    if found:
        yield f"{found} sparse tensors made dense"


def _float32(module: nn.Module) -> Iterator[str]:
    found = {str(tensor.dtype).removeprefix("torch.") for tensor in _tensors(module) if tensor.dtype in _NARROW_OR_WIDE}
    if found:
        module.float()
        yield f"cast to float32 from {', '.join(sorted(found))}"


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    for tensor in (*module.parameters(), *module.buffers()):
        if not nn.parameter.is_lazy(tensor):
            yield tensor
