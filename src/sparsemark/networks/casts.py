"""Casts in a network's forward pass that its plain form, in float32, cannot follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sparsemark.networks.float64 import widened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn


def failing_cast(module: nn.Module, inputs: Sequence[torch.Tensor]) -> str | None:
    """Return which part of a network computes in another dtype than its weights, where it fails for nothing else.

    In float64 every cast is one to float64: where the network runs in that, dtypes are what fails in float32.

    Args:
        module: whose forward pass fails; float32. It stays float32.
        inputs: with which it fails.

    Returns:
        That part, the dtype and the part that fails, in words; None where the network fails in float64 too.
    """
    watch = _Casts(module)
    handles = watch.attach()
    try:
        with torch.no_grad(), watch:
            module(*(tensor.clone() for tensor in inputs))
    except Exception:
        found = (
            f"{watch.last or 'it computes in another dtype'}, but the weights of {watch.running[-1]} are float32 here"
        )
    else:
        return None
    finally:
        for handle in handles:
            handle.remove()
    wide = [tensor.double() if tensor.is_floating_point() else tensor.clone() for tensor in inputs]
    try:
        module.double()
        with widened():
            module(*wide)
    except Exception:
        return None
    finally:
        module.float()
    return found


class _Casts(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lacks types
    """Records which part last asked for a floating dtype other than float32.

    Attributes:
        running: parts whose forward pass has begun and not ended, outermost first.
        last: the last such part and the dtype, in words.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._module = module
        self.running = [f"its forward ({type(module).__name__})"]
        self.last: str | None = None

    def attach(self) -> list[Any]:
        """Follow the parts of the network from here on; return the handles that end it."""

        def enter(words: str) -> Callable[..., None]:
            return lambda *_: self.running.append(words)

        def leave(*_: object) -> None:
            self.running.pop()

        handles = []
        for name, part in self._module.named_modules():
            if part is not self._module:
                words = f"its part {name} ({type(part).__name__})"
                handles += [part.register_forward_pre_hook(enter(words)), part.register_forward_hook(leave)]
        return handles

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and record the dtype that it is asked for."""
        for value in pytree.tree_leaves((args, kwargs)):
            if isinstance(value, torch.dtype) and value.is_floating_point and value != torch.float32:
                self.last = f"{self.running[-1]} computes in {str(value).removeprefix('torch.')}"
        return func(*args, **(kwargs or {}))
