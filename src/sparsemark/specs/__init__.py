"""Specifications of models, prunings, protocols and cells: frozen, validated once, free of I/O and of torch.

A `Cell` is one row of a table: a network, what was pruned from it, and the engine that runs the result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from sparsemark.errors import UserError
from sparsemark.references import ONNX_SUFFIX
from sparsemark.specs.methods import (
    ALL_ONES,
    DENSE,
    FIXED_SPARSITY,
    RANDOM,
    WITHOUT_SPARSITY,
    is_known_beforehand,
    removes_channels,
    usual_sparsity,
)
from sparsemark.specs.metric import Metric
from sparsemark.specs.protocol import Protocol

__all__ = [
    "AA", "ALL_ONES", "DENSE", "FLOAT32", "FP32", "GRADUAL", "INPUT_DTYPES", "INT8", "ITERATIVE", "ONE_SHOT",
    "PRECISIONS", "RANDOM", "SCHEDULES", "WITHOUT_SPARSITY", "Cell", "InputSpec", "Metric", "ModelSpec", "Protocol",
    "PruneStep", "Pruning", "Variant", "check_precision", "is_known_beforehand", "removes_channels", "usual_sparsity",
]  # fmt: skip

AA = "aa"
"""The control in which a cell is its own reference."""

ONE_SHOT, ITERATIVE, GRADUAL = "one-shot", "iterative", "gradual"
SCHEDULES = (ONE_SHOT, ITERATIVE, GRADUAL)

FP32 = "fp32"
"""Precision of everything that computes in 32-bit floating point."""

INT8 = "int8"
"""Precision of a quantised network: weights and activations of eight bits."""

PRECISIONS = (FP32, INT8)


def check_precision(name: str) -> None:
    """Raise UserError unless a precision is known."""
    if name not in PRECISIONS:
        raise UserError(f"precision {name!r}: expected one of {', '.join(PRECISIONS)}")


FLOAT32 = "float32"
"""Dtype of an input that is not said to be another."""

INPUT_DTYPES = (FLOAT32, "int64", "int32", "int16", "int8", "uint8", "bool")
"""What inputs can be, as NumPy names it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class InputSpec:
    """One input of a network.

    Args:
        shape: batch first, for example (1, 3, 128, 128).
        dtype: a name in `INPUT_DTYPES`.
        name: of the input, where the network has several; empty for one without.
    """

    shape: tuple[int, ...]
    dtype: str = FLOAT32
    name: str = ""

    def __post_init__(self) -> None:
        if not self.shape or any(size < 1 for size in self.shape):
            raise UserError(f"input shape {self.shape}: expected positive sizes, batch first, such as 1,3,128,128")
        if self.dtype not in INPUT_DTYPES:
            raise UserError(f"input dtype {self.dtype!r}: expected one of {', '.join(INPUT_DTYPES)}")

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """Read `[NAME=]SIZES[:DTYPE]`, such as `1,3,224,224` or `ids=1,128:int64`.

        Raises:
            UserError: the text has another form, a size is not positive, or the dtype is not known.
        """
        name, _, rest = text.rpartition("=")
        sizes, _, dtype = rest.partition(":")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            raise UserError(
                f"input {text!r}: expected [NAME=]SIZES[:DTYPE], such as 1,3,128,128 or ids=1,12:int64"
            ) from None
        return cls(shape, dtype or FLOAT32, name)

    @property
    def text(self) -> str:
        """The input as `parse` reads it."""
        name, dtype = f"{self.name}=" if self.name else "", "" if self.dtype == FLOAT32 else f":{self.dtype}"
        return f"{name}{','.join(map(str, self.shape))}{dtype}"


@dataclass(frozen=True)
class ModelSpec:
    """A network: its name in tables, the reference of its factory or ONNX file, and its inputs.

    Args:
        name: appears in file names and tables.
        reference: `file.py:factory`, `package.module:factory` or `model.onnx`.
        inputs: in the order in which the network takes them; a bare shape stands for one float32 input.
        made_batch: batch that it is pruned and trained with, where `inputs` have another.
    """

    name: str
    reference: str
    inputs: tuple[InputSpec, ...]
    made_batch: int | None

    def __init__(
        self, name: str, reference: str, inputs: tuple[InputSpec | int, ...], made_batch: int | None = None
    ) -> None:
        given = tuple(one for one in inputs if isinstance(one, InputSpec))
        specs = given or (InputSpec(tuple(size for size in inputs if isinstance(size, int))),)
        values = {"name": name, "reference": reference, "inputs": specs, "made_batch": made_batch}
        for field, value in values.items():  # frozen, so set past its own guard
            object.__setattr__(self, field, value)
        if not _NAME.fullmatch(self.name):
            raise UserError(f"model name {self.name!r}: expected letters, digits, '_' and '.'")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input, the batch's size first."""
        return self.inputs[0].shape

    @property
    def takes_one_image(self) -> bool:
        """Whether there is one input, and it is float32."""
        return len(self.inputs) == 1 and self.inputs[0].dtype == FLOAT32

    @property
    def is_onnx(self) -> bool:
        """Whether the reference is an ONNX file, which has no module to go with it."""
        return self.reference.endswith(ONNX_SUFFIX)


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
    """

    steps: tuple[PruneStep, ...] = ()
    schedule: str = ONE_SHOT

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

    @classmethod
    def of(cls, method: str, sparsity: float | None = None, round_to: int = 1, schedule: str = ONE_SHOT) -> Pruning:
        """Return a pruning of one step, or the dense network for method `none`; errors as in `PruneStep.of`."""
        step = PruneStep.of(method, sparsity, round_to)
        return cls(() if method == DENSE else (step,), schedule)

    @classmethod
    def parse(cls, text: str) -> Pruning:
        """Read `[iterative-|gradual-]METHOD:SPARSITY[:ROUND_TO][+...]`, as given on the command line.

        Raises:
            UserError: the text has another form or a number is out of range.
        """
        schedule = next((name for name in SCHEDULES[1:] if text.startswith(f"{name}-")), ONE_SHOT)
        steps = text if schedule == ONE_SHOT else text.removeprefix(f"{schedule}-")
        try:
            parsed = tuple(map(PruneStep.parse, steps.split("+")))
            return cls(() if parsed == (PruneStep(DENSE),) else parsed, schedule)
        except UserError as error:
            # A single step of the wrong form is named by its own message.
            named = "" if str(error).startswith(f"{text!r}: ") else f"{text!r}: "
            raise UserError(f"--prune {named}{error}") from None

    @property
    def is_dense(self) -> bool:
        """Whether nothing is taken out."""
        return not self.steps

    @property
    def method(self) -> str:
        """Methods in their order: `none`, `magnitude`, `channels+magnitude`."""
        return "+".join(step.method for step in self.steps) or DENSE

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
        """Name in files and tables: `dense`, `magnitude90`, `channels50r16+magnitude80`, `iterative-magnitude90`."""
        steps = "+".join(step.label for step in self.steps) or "dense"
        return steps if self.schedule == ONE_SHOT else f"{self.schedule}-{steps}"

    @property
    def text(self) -> str:
        """The pruning as `parse` reads it."""
        steps = "+".join(step.text for step in self.steps) or DENSE
        return steps if self.schedule == ONE_SHOT else f"{self.schedule}-{steps}"


@dataclass(frozen=True)
class Variant:
    """One trained, pruned network: what a checkpoint file holds.

    Args:
        model: the network.
        pruning: what is taken out of it.
        seed: of its weights and of the order of its training data.
        fold: whose inputs are held back for the report; None leaves that to the task.
    """

    model: ModelSpec
    pruning: Pruning = Pruning()
    seed: int = 0
    fold: int | None = None

    @property
    def name(self) -> str:
        """Stem of its files: `cnn9-magnitude90-seed0`, `-fold2` where one is chosen, `-b8` for another batch."""
        fold = "" if self.fold is None else f"-fold{self.fold}"
        batch = "" if self.model.made_batch is None else f"-b{self.model.input_shape[0]}"
        return f"{self.model.name}-{self.pruning.label}-seed{self.seed}{fold}{batch}"

    @property
    def dense(self) -> Variant:
        """The same network before anything was taken out."""
        return replace(self, pruning=Pruning())


@dataclass(frozen=True)
class Cell:
    """One row of a table: a variant as a file, on an engine.

    Args:
        variant: the network.
        format: of the file, a name in `sparsemark.formats.FORMATS`.
        engine: a name in `sparsemark.engines.ENGINES`.
        precision: what the engine computes in.
        threads: of the engine.
        control: marks a cell whose answer is known beforehand (`AA`).
    """

    variant: Variant
    format: str
    engine: str
    precision: str = FP32
    threads: int = 1
    control: str | None = None

    @property
    def name(self) -> str:
        """Unique within a run: `cnn9-magnitude90-seed0-onnxruntime`, with `-int8`, `-2t`, `-aa` where that differs."""
        threads = f"-{self.threads}t" if self.threads != 1 else ""
        suffix = f"-{self.control}" if self.control else ""
        return f"{self.variant.name}-{self.engine}{self._precision}{threads}{suffix}"

    @property
    def file_name(self) -> str:
        """Stem of its exported file: `cnn9-magnitude90-seed0`, `-int8` where it is quantised."""
        return f"{self.variant.name}{self._precision}"

    @property
    def _precision(self) -> str:
        return "" if self.precision == FP32 else f"-{self.precision}"
