"""Names of pruning methods, and what a name says of its method; what that of a file of ratios says."""

from __future__ import annotations

import re
from pathlib import Path

from sparsemark.errors import UserError

DENSE = "none"
"""The method name of the network as it was trained."""

ALL_ONES = "all-ones"
"""The method name of the mask that zeroes nothing."""

WITHOUT_SPARSITY = (DENSE, ALL_ONES)
"""Methods that remove nothing, and so need no number."""

RANDOM = "random"
"""The method name of random weights, and the start of those that take at random what another method would choose."""

FIXED_SPARSITY = {"nm24": 0.5, "random-nm24": 0.5}
"""Methods whose sparsity is part of what they are, with it."""

QAT = "qat"
"""Last part of a pruning's text, `block4:0.9+qat`, where it is fine-tuned with int8 in mind."""


_OF_WALK = re.compile(r"(?P<target>[0-9.]+(?:x|ms))-step[0-9]+-[a-z]+", re.ASCII)
"""Stem of a file of ratios that a walk to a target wrote."""


def walked_to(ratios: str) -> str:
    """Return the target of the walk that wrote a file of ratios, such as `10x`; empty where no walk did."""
    found = _OF_WALK.fullmatch(Path(ratios).stem)
    return found["target"] if found else ""


def removes_channels(method: str) -> bool:
    """Whether a method changes the shapes of the weights: recognised by its name, in other packages too.

    `channels` does, what begins with `channels-` or ends in `channels`, and their random controls.
    """
    return method.endswith("channels") or method.removeprefix(f"{RANDOM}-").startswith("channels-")


def is_random(method: str) -> bool:
    """Whether a method takes at random: `random`, or `random-lamp`, which takes as many of each layer as `lamp`."""
    return method == RANDOM or method.startswith(f"{RANDOM}-")


def is_known_beforehand(method: str) -> bool:
    """Whether the answer of a method, or of several in a row, is known beforehand: it removes nothing, or by chance.

    `all-ones+qat` is none of them: it is the dense network trained for int8, and one that could be deployed.
    """
    steps = method.split("+")
    return any(map(is_random, steps)) or (ALL_ONES in steps and QAT not in steps)


def split_steps(text: str) -> tuple[list[str], bool]:
    """Return the steps of a pruning as text, or its methods, and whether `+qat` stands behind them.

    Raises:
        UserError: it stands elsewhere.
    """
    steps = text.split("+")
    is_aware = len(steps) > 1 and steps[-1] == QAT
    if is_aware:
        steps.pop()
    if any(step.partition(":")[0] == QAT for step in steps):
        raise UserError(f"{QAT!r}: expected once and last, behind what is pruned, such as block4:0.9+{QAT}")
    return steps, is_aware


def usual_sparsity(method: str) -> float | None:
    """Return the sparsity of a method that takes no number, None of all others."""
    return 0.0 if method in WITHOUT_SPARSITY else FIXED_SPARSITY.get(method)
