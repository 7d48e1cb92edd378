"""Pruning of a network: its steps, the schedule that reaches their sparsity, and whether int8 is trained for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparsemark.errors import UserError
from sparsemark.specs.methods import (
    ALL_ONES,
    DENSE,
    FIXED_SPARSITY,
    QAT,
    WITHOUT_SPARSITY,
    removes_channels,
    split_steps,
    usual_sparsity,
)

ONE_SHOT, ITERATIVE, GRADUAL = "one-shot", "iterative", "gradual"
SCHEDULES = (ONE_SHOT, ITERATIVE, GRADUAL)


@dataclass(frozen=True)
class PruneStep:
    """One method applied to a network.

    Args:
        method: a name in `sparsemark.pruning.PRUNERS`.
        sparsity: fraction to remove, in [0, 1): of the weights for masks, of the parameters for `channels`; of what the
            step before has left.
        round_to: channel counts are kept multiples of this (structural methods only); 1 leaves them alone.
        ratios: file with the fraction of each layer, which are scaled until the whole reaches the sparsity; empty where
            the method spreads it.
    """

    method: str
    sparsity: float = 0.0
    round_to: int = 1
    ratios: str = ""

    def __post_init__(self) -> None:
        if self.ratios and set(self.ratios) & set(":+"):
            raise UserError(f"{self.method}@{self.ratios}: expected the name of a file without ':' and '+'")
        if not 0.0 <= self.sparsity < 1.0:
            raise UserError(f"sparsity {self.sparsity:g} of {self.method!r}: expected a fraction in [0, 1)")
        if self.method in WITHOUT_SPARSITY and self.sparsity:
            raise UserError(
                f"sparsity {self.sparsity:g} of {self.method!r}: expected none, this method removes nothing"
            )
        if self.round_to < 1:
            raise UserError(f"round_to {self.round_to} of {self.method!r}: expected a whole number from 1")
        if self.round_to > 1 and not self.removes_channels:
            raise UserError(
                f"round_to {self.round_to} of {self.method!r}: expected none, only methods that remove channels take a "
                "multiple"
            )

    @classmethod
    def of(cls, method: str, sparsity: float | None = None, round_to: int = 1) -> PruneStep:
        """Return a step; `method` may be `METHOD@RATIOS`, and its usual sparsity is taken where none is given.

        Raises:
            UserError: a name is empty, or a number is out of range.
        """
        name, at, ratios = method.partition("@")
        if at and not ratios:
            raise UserError(f"{method!r}: expected METHOD@FILE, such as magnitude@sensitivity.json")
        return cls(name, usual_sparsity(name) or 0.0 if sparsity is None else sparsity, round_to, ratios)

    @classmethod
    def parse(cls, text: str) -> PruneStep:
        """Read `METHOD[@RATIOS]:SPARSITY` or `METHOD[@RATIOS]:SPARSITY:ROUND_TO`.

        Raises:
            UserError: the text has another form or a number is out of range.
        """
        method, _, numbers = text.partition(":")
        sparsity, _, round_to = numbers.partition(":")
        usual = usual_sparsity(method.partition("@")[0])
        try:
            return cls.of(method, float(sparsity or ("" if usual is None else usual)), int(round_to or 1))
        except ValueError:
            raise UserError(f"{text!r}: expected METHOD:SPARSITY, such as magnitude:0.9") from None

    @property
    def removes_channels(self) -> bool:
        """Whether the shapes of the weights change."""
        return removes_channels(self.method)

    @property
    def kind(self) -> str:
        """Method, with the stem of the file of ratios: `magnitude`, `magnitude@sensitivity`."""
        return f"{self.method}@{Path(self.ratios).stem}" if self.ratios else self.method

    @property
    def is_of_usual_sparsity(self) -> bool:
        """Whether the method's name says how much it removes."""
        return usual_sparsity(self.method) == self.sparsity

    @property
    def label(self) -> str:
        """Name in files: `all-ones`, `magnitude90`, `channels50r16`, `nm24`, `magnitude@sensitivity80`."""
        if self.is_of_usual_sparsity:
            return self.method
        rounding = f"r{self.round_to}" if self.round_to > 1 else ""
        between = "-" if self.kind[-1].isdigit() else ""  # block4-50, not block450
        return f"{self.kind}{between}{100 * self.sparsity:.10g}{rounding}"

    @property
    def text(self) -> str:
        """The step as `parse` reads it."""
        if self.is_of_usual_sparsity:
            return self.method
        rounding = f":{self.round_to}" if self.round_to > 1 else ""
        ratios = f"@{self.ratios}" if self.ratios else ""
        return f"{self.method}{ratios}:{self.sparsity!r}{rounding}"


@dataclass(frozen=True)
class Pruning:
    """Pruning of a network: steps in their order, and the schedule by which their sparsity is reached.

    Args:
        steps: none leaves the network dense.
        schedule: `one-shot` prunes once, then fine-tunes. `iterative` and `gradual` reach the last step's sparsity in
            several rounds with fine-tuning between them.
        quantisation_aware: the last fine-tuning rounds weights and inputs of layers as int8 does.
    """

    steps: tuple[PruneStep, ...] = ()
    schedule: str = ONE_SHOT
    quantisation_aware: bool = False

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise UserError(f"schedule {self.schedule!r}: expected one of {', '.join(SCHEDULES)}")
        if self.schedule != ONE_SHOT and (not self.steps or self.steps[-1].method in WITHOUT_SPARSITY):
            raise UserError(f"schedule {self.schedule!r}: expected a step that removes something")
        for step in self.steps:
            fixed = FIXED_SPARSITY.get(step.method, step.sparsity)
            if step.sparsity != fixed:
                raise UserError(
                    f"sparsity {step.sparsity:g} of {step.method!r}: expected none or {fixed:g}, it is fixed"
                )
        if any(step.method == DENSE for step in self.steps):
            raise UserError(f"{DENSE!r}: expected alone, it is no step")
        if self.quantisation_aware and not self.steps:
            raise UserError(f"{QAT!r}: the dense network is not fine-tuned; expected {ALL_ONES}+{QAT}")

    @classmethod
    def of(cls, method: str, sparsity: float | None = None, round_to: int = 1, schedule: str = ONE_SHOT) -> Pruning:
        """Return a pruning of one step, or the dense network for method `none`; errors as in `PruneStep.of`."""
        step = PruneStep.of(method, sparsity, round_to)
        return cls(() if method == DENSE else (step,), schedule)

    @classmethod
    def parse(cls, text: str) -> Pruning:
        """Read `[iterative-|gradual-]METHOD:SPARSITY[:ROUND_TO][+...][+qat]`, as given on the command line.

        Raises:
            UserError: the text has another form or a number is out of range.
        """
        schedule = next((name for name in SCHEDULES[1:] if text.startswith(f"{name}-")), ONE_SHOT)
        steps = text if schedule == ONE_SHOT else text.removeprefix(f"{schedule}-")
        try:
            texts, is_aware = split_steps(steps)
            parsed = tuple(map(PruneStep.parse, texts))
            return cls(() if parsed == (PruneStep(DENSE),) else parsed, schedule, is_aware)
        except UserError as error:
            # A single step of the wrong form is named by its own message.
            named = "" if str(error).startswith(f"{text!r}: ") else f"{text!r}: "
            raise UserError(f"--prune {named}{error}") from None

    @property
    def is_dense(self) -> bool:
        """Whether nothing is taken out."""
        return not self.steps

    @property
    def needs_finetuning(self) -> bool:
        """Whether it cannot be had without fine-tuning: in rounds, or with int8 in mind."""
        return self.schedule != ONE_SHOT or self.quantisation_aware

    @property
    def method(self) -> str:
        """Methods in their order: `none`, `magnitude`, `channels+magnitude`, `block4+qat`."""
        return ("+".join(step.method for step in self.steps) or DENSE) + self._suffix

    @property
    def sparsity(self) -> float:
        """Fraction that the last step removes."""
        return self.steps[-1].sparsity if self.steps else 0.0

    @property
    def round_to(self) -> int:
        """Multiple in which channels are kept, 1 where they are not rounded."""
        return max((step.round_to for step in self.steps), default=1)

    @property
    def label(self) -> str:
        """Name in files: `dense`, `channels50r16+magnitude80`, `iterative-magnitude90`, `block4-90+qat`."""
        steps = ("+".join(step.label for step in self.steps) or "dense") + self._suffix
        return steps if self.schedule == ONE_SHOT else f"{self.schedule}-{steps}"

    @property
    def text(self) -> str:
        """The pruning as `parse` reads it."""
        steps = ("+".join(step.text for step in self.steps) or DENSE) + self._suffix
        return steps if self.schedule == ONE_SHOT else f"{self.schedule}-{steps}"

    @property
    def _suffix(self) -> str:
        return f"+{QAT}" if self.quantisation_aware else ""
