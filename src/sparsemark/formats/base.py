"""Format: a file that holds a network, how it is written and how its weights are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sparsemark.networks.source import Source


@dataclass(frozen=True)
class Weights:
    """Weights of convolutions and linear layers as counted in an exported file; biases are not among them."""

    total: int
    nonzeros: int


@dataclass(frozen=True)
class Format:
    """A file that holds a network.

    Args:
        suffix: of the file's name.
        export: writes the source to a path, whole or not at all; raises UnsupportedError for what it cannot express.
        count: counts the weights in such a file.
        requires: modules without which it cannot be written.
        made_from: format that it is converted from, or None for the network itself.
    """

    suffix: str
    export: Callable[[Source, Path], None]
    count: Callable[[Path], Weights]
    requires: tuple[str, ...] = ()
    made_from: str | None = None


@dataclass(frozen=True)
class Artifact:
    """An exported file, with the digest of its content and what was counted in it."""

    path: Path
    format: str
    sha256: str
    weights: Weights
    bytes: int
