"""A PyTorch network in float64, whatever it casts to itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDER = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}
_NARROW = (torch.float16, torch.bfloat16)


class Widened(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lacks types
    """Replaces every floating dtype that an operator is asked for by float64; integers stay integers.

    A network that makes its own state or casts its input names a dtype: `.float()`, `torch.zeros(...)`, autocast.

    Attributes:
        narrow: dtypes of 16 bits that were asked for, by name, those of autocast among them.
        drawn: operators that drew random numbers.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.narrow: set[str] = set()
        self.drawn: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator with its dtypes widened."""

        def widen(value: Any) -> Any:
            if not isinstance(value, torch.dtype):
                return value
            if value in _NARROW:
                self.narrow.add(str(value).removeprefix("torch."))
            return _WIDER.get(value, value)

        args, kwargs = pytree.tree_map(widen, (args, kwargs or {}))
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        # The tag says that an operator can draw: attention with a dropout of 0 leaves its generator as it is.
        generator = kwargs.get("generator") or torch.default_generator
        before = generator.get_state()
        result = func(*args, **kwargs)
        if not torch.equal(before, generator.get_state()):
            self.drawn.add(func.overloadpacket.__name__)
        return result


class _Autocast(TorchFunctionMode):
    """Adds the dtype of autocast to the narrow ones: autocast leaves float64 as it is, and asks for no dtype."""

    def __init__(self, narrow: set[str]) -> None:
        super().__init__()
        self._narrow = narrow

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, and record whether that is in such a region."""
        if torch.is_autocast_enabled("cpu"):
            self._narrow.add(str(torch.get_autocast_dtype("cpu")).removeprefix("torch."))
        return func(*args, **(kwargs or {}))


@contextmanager
def widened() -> Iterator[Widened]:
    """Compute in float64 within the block, without gradients."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), Widened() as mode, _Autocast(mode.narrow):
            yield mode
    finally:
        torch.set_default_dtype(default)
