"""Format: a file that holds a network, how it is written and how its weights are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sparsemark.networks.onnx_weights import Tally
    from sparsemark.networks.reference import Batch
    from sparsemark.networks.source import Source


@dataclass(frozen=True)
class Weights:
    """Weights as counted in an exported file: of convolutions, products, recurrent layers and embeddings; no biases.

    Args:
        total: elements; None where nothing is known.
        nonzeros: elements that are not zero; None where nothing is known.
        uncounted: elements of constants in operators that are not understood.
        note: what is not counted, in words.
    """

    total: int | None
    nonzeros: int | None
    uncounted: int = 0
    note: str | None = None

    @classmethod
    def of(cls, tally: Tally) -> Weights:
        """Return what was found in a graph; unknown where all of its constants are in operators not understood."""
        total = sum(piece.total for piece in tally.pieces.values())
        nonzeros = sum(piece.nonzeros for piece in tally.pieces.values())
        uncounted = sum(size for size, _ in tally.unknown.values())
        if not uncounted:
            return cls(total, nonzeros)
        share = 100 * uncounted / (total + uncounted)
        rounded = f"{share:.0f}" if 1 <= share <= 99 or share == 100 else "under 1" if share < 1 else "over 99"
        operators = ", ".join(sorted({operator for _, operator in tally.unknown.values()}))
        note = f"{rounded} % of the constants are in operators whose weights are not counted: {operators}"
        return cls(total, nonzeros, uncounted, note) if total else cls(None, None, uncounted, note)


@dataclass(frozen=True)
class Quantiser:
    """Program that makes the int8 form of a format's files.

    Args:
        write: quantises a file to a path, whole or not at all, by calibration batches; raises UnsupportedError for what
            it cannot quantise.
        notes: what a row must say of its files; other notes are of other files.
        requires: modules without which it cannot run.
    """

    write: Callable[[Path, Path, Sequence[Batch]], None]
    notes: Callable[[], tuple[str, ...]]
    requires: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """A file that holds a network.

    Args:
        suffix: of the file's name.
        export: writes the source to a path, whole or not at all; raises UnsupportedError for what it cannot express.
        count: counts the weights in such a file.
        requires: modules without which it cannot be written.
        made_from: format that it is converted from, or None for the network itself.
        quantiser: makes its int8 form; None where there is none, or where that is made from another format's.
    """

    suffix: str
    export: Callable[[Source, Path], None]
    count: Callable[[Path], Weights]
    requires: tuple[str, ...] = ()
    made_from: str | None = None
    quantiser: Quantiser | None = None


@dataclass(frozen=True)
class Artifact:
    """An exported file, with the digest of its content and what was counted in it."""

    path: Path
    format: str
    sha256: str
    weights: Weights
    bytes: int
