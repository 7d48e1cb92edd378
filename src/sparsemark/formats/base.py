"""What a format is, what it is made from, and the file it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sparsemark.specs import ModelSpec


@dataclass(frozen=True)
class Source:
    """A variant on disk, to be exported.

    Args:
        model: factory reference and shape of one input.
        path: a checkpoint (`.safetensors`), or the user's own ONNX file (`.onnx`), which has no module to go with it.
    """

    model: ModelSpec
    path: Path

    @property
    def is_onnx(self) -> bool:
        """Whether the user gave an ONNX file in place of a factory."""
        return self.path.suffix == ".onnx"


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
    """

    suffix: str
    export: Callable[[Source, Path], None]
    count: Callable[[Path], Weights]
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """An exported file."""

    path: Path
    format: str
    weights: Weights

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return self.path.stat().st_size
