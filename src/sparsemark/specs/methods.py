"""Names of pruning methods, and what a name says of its method; what that of a file of ratios says."""

from __future__ import annotations

import re
from pathlib import Path

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
    """Whether a method's answer is known beforehand: what it removes is nothing, or chance."""
    return method == ALL_ONES or is_random(method)


def usual_sparsity(method: str) -> float | None:
    """Return the sparsity of a method that takes no number, None of all others."""
    return 0.0 if method in WITHOUT_SPARSITY else FIXED_SPARSITY.get(method)
