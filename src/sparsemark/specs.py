"""What is measured and how: frozen, validated once, free of I/O and of torch.

A `Cell` is one row of a table: a network, what was pruned from it, and the engine that runs the result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sparsemark.errors import UserError

DENSE = "none"
"""The method name of the network as it was trained."""

ALL_ONES = "all-ones"
"""The method name of the mask that zeroes nothing."""

WITHOUT_SPARSITY = (DENSE, ALL_ONES)
"""Methods that remove nothing, and so need no number."""

AA = "aa"
"""The control in which a cell is its own reference."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")


def removes_channels(method: str) -> bool:
    """Whether a method changes the shapes of the weights: another package's says so by its name, as ours does."""
    return method.endswith("channels")


@dataclass(frozen=True)
class ModelSpec:
    """A network: its name in tables, the reference of its factory or ONNX file, and the shape of one input.

    Args:
        name: appears in file names and tables.
        reference: `file.py:factory`, `package.module:factory` or `model.onnx`.
        input_shape: batch first, for example (1, 3, 128, 128).
    """

    name: str
    reference: str
    input_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UserError(f"model name {self.name!r}: expected letters, digits, '_' and '.'")
        if not self.input_shape or any(size < 1 for size in self.input_shape):
            raise UserError(
                f"input shape {self.input_shape}: expected positive sizes, batch first, such as 1,3,128,128"
            )


@dataclass(frozen=True)
class PruneSpec:
    """What is taken out of a network.

    Args:
        method: a name in `sparsemark.pruning.PRUNERS`.
        sparsity: fraction to remove, in [0, 1): of the weights for masks, of the parameters for `channels`.
        round_to: channel counts are kept multiples of this (structural methods only); 1 leaves them alone.
    """

    method: str = DENSE
    sparsity: float = 0.0
    round_to: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.sparsity < 1.0:
            raise UserError(f"sparsity {self.sparsity:g} of {self.method!r}: expected a fraction in [0, 1)")
        if self.method in WITHOUT_SPARSITY and self.sparsity:
            raise UserError(
                f"sparsity {self.sparsity:g} of {self.method!r}: expected none, this method removes nothing"
            )
        if self.round_to < 1:
            raise UserError(f"round_to {self.round_to} of {self.method!r}: expected a whole number from 1")
        if self.round_to > 1 and not removes_channels(self.method):
            raise UserError(
                f"round_to {self.round_to} of {self.method!r}: expected none, only methods that remove channels take a "
                "multiple"
            )

    @classmethod
    def parse(cls, text: str) -> PruneSpec:
        """Read `METHOD:SPARSITY` or `METHOD:SPARSITY:ROUND_TO`, as given on the command line.

        Raises:
            UserError: where the text has another form or a number is out of range.
        """
        method, _, numbers = text.partition(":")
        sparsity, _, round_to = numbers.partition(":")
        try:
            return cls(method, float(sparsity or (0.0 if method in WITHOUT_SPARSITY else "")), int(round_to or 1))
        except ValueError:
            raise UserError(f"--prune {text!r}: expected METHOD:SPARSITY, such as magnitude:0.9") from None

    @property
    def label(self) -> str:
        """Name in files and tables: `dense`, `all-ones`, `magnitude90`, `channels50r16`."""
        if self.method == DENSE:
            return "dense"
        if self.method == ALL_ONES:
            return self.method
        rounding = f"r{self.round_to}" if self.round_to > 1 else ""
        return f"{self.method}{100 * self.sparsity:.10g}{rounding}"


@dataclass(frozen=True)
class Protocol:
    """How a cell is timed; MEASURING in the README gives the reasons.

    Args:
        threads: of every library's pool, in every engine.
        pairs: blocks of the candidate, each paired with a block of the reference, in ABBA order.
        block: timed calls in one block; alternating single calls would evict each other's caches.
        rewarm: untimed calls before each block.
        warmup_calls: least number of untimed calls before the first block.
        warmup_seconds: least time spent on them.
        images: different inputs that rotate through the calls.
    """

    threads: int = 1
    pairs: int = 20
    block: int = 8
    rewarm: int = 1
    warmup_calls: int = 10
    warmup_seconds: float = 0.5
    images: int = 32

    def __post_init__(self) -> None:
        for field in ("threads", "pairs", "block", "images"):
            if getattr(self, field) < 1:
                raise UserError(f"protocol {field} {getattr(self, field)}: expected a whole number from 1")

    @classmethod
    def of_rounds(cls, rounds: int, threads: int) -> Protocol:
        """Make a protocol of at least `rounds` timed calls.

        Raises:
            UserError: there is no call, or no thread.
        """
        if rounds < 1:
            raise UserError(f"rounds {rounds}: expected a whole number from 1")
        return cls(threads=threads, pairs=-(-rounds // cls.block))

    @property
    def rounds(self) -> int:
        """Timed calls of the candidate in all."""
        return self.pairs * self.block


@dataclass(frozen=True)
class Variant:
    """One trained, pruned network: what a checkpoint file holds."""

    model: ModelSpec
    prune: PruneSpec = PruneSpec()
    seed: int = 0

    @property
    def name(self) -> str:
        """Stem of its checkpoint: `cnn9-magnitude90-seed0`."""
        return f"{self.model.name}-{self.prune.label}-seed{self.seed}"


@dataclass(frozen=True)
class Cell:
    """One row: a variant on an engine. `control` marks a cell whose answer is known beforehand (`AA`)."""

    variant: Variant
    engine: str
    threads: int = 1
    control: str | None = None

    @property
    def name(self) -> str:
        """Unique within a run: `cnn9-magnitude90-seed0-onnxruntime`, with `-aa` or `-2t` where that differs."""
        suffix = f"-{self.control}" if self.control else ""
        threads = f"-{self.threads}t" if self.threads != 1 else ""
        return f"{self.variant.name}-{self.engine}{threads}{suffix}"
