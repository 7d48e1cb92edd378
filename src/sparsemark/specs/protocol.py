"""Protocol: how a cell is timed."""

from __future__ import annotations

from dataclasses import dataclass

from sparsemark.errors import UserError


@dataclass(frozen=True)
class Protocol:
    """Timing of a cell; "How it measures" in the root README gives the reasons.

    Args:
        threads: of every library's pool, in every engine.
        pairs: blocks of the candidate, each paired with a block of the reference, in ABBA order.
        block: timed calls in one block; alternating single calls would evict each other's caches.
        rewarm: untimed calls before each block.
        warmup_calls: least number of untimed calls before the first block.
        warmup_seconds: least time spent on them.
        images: different inputs that rotate through the calls.
        reference: engine of the dense network that every ratio is taken against.
    """

    threads: int = 1
    pairs: int = 20
    block: int = 8
    rewarm: int = 1
    warmup_calls: int = 10
    warmup_seconds: float = 0.5
    images: int = 32
    reference: str = "onnxruntime"

    def __post_init__(self) -> None:
        for field in ("threads", "pairs", "block", "images"):
            if getattr(self, field) < 1:
                raise UserError(f"protocol {field} {getattr(self, field)}: expected a whole number from 1")

    @classmethod
    def of_rounds(cls, rounds: int, threads: int) -> Protocol:
        """Build a protocol of at least `rounds` timed calls.

        Raises:
            UserError: `rounds` or `threads` is below 1.
        """
        if rounds < 1:
            raise UserError(f"rounds {rounds}: expected a whole number from 1")
        return cls(threads=threads, pairs=-(-rounds // cls.block))

    @property
    def rounds(self) -> int:
        """Timed calls of the candidate in all."""
        return self.pairs * self.block
