"""Memory that this process may take and has taken, and inputs that would not fit into it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.errors import UserError
from sparsemark.machine import proc
from sparsemark.machine.control_group import memory_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.specs import InputSpec

_SHOWN = 100
"""Characters of a shape in the message."""


def available_bytes() -> int | None:
    """Return the memory that is free or can be freed, within the limit of the control group; None if not known."""
    free = re.search(r"^MemAvailable:\s*(\d+) kB", proc.read("/proc/meminfo"), re.MULTILINE)
    known = (1024 * int(free[1]) if free else None, memory_limit())
    return min((amount for amount in known if amount is not None), default=None)


def peak_bytes() -> int | None:
    """Return the largest resident memory that this process has had; None where the system does not show it."""
    peak = re.search(r"^VmHWM:\s*(\d+) kB", proc.read("/proc/self/status"), re.MULTILINE)
    return 1024 * int(peak[1]) if peak else None


def check_inputs_fit(inputs: Sequence[InputSpec], where: str, count: int = 1) -> None:
    """Refuse inputs that alone are larger than the available memory, before any is taken.

    Args:
        inputs: of one call, each batch first.
        where: option or field, for the message.
        count: how many of each are held at the same time.

    Raises:
        UserError: they do not fit.
    """
    available = available_bytes()
    needed = count * sum(np.dtype(one.dtype).itemsize * math.prod(one.shape) for one in inputs)
    if available is not None and needed > available:
        sizes = " ".join(one.text for one in inputs)[:_SHOWN]
        number = f"{count} inputs of {sizes} take" if count > 1 else f"an input of {sizes} takes"
        raise UserError(
            f"{where}: {number} {_in_words(needed)}, this machine has {_in_words(available)} available; expected "
            "smaller sizes"
        )


def _in_words(amount: int) -> str:
    # Sizes may be larger than a float can hold.
    return f"{amount / 1e9:,.1f} GB" if amount < 10**18 else f"10^{int(math.log10(amount))} bytes"
