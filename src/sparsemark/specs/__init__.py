"""Specifications of models, prunings, protocols and cells: frozen, validated once, free of I/O and of torch.

A `Cell` is one row of a table: a network, what was pruned from it, and the engine that runs the result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from sparsemark.errors import UserError
from sparsemark.references import ONNX_SUFFIX
from sparsemark.specs.methods import (
    ALL_ONES,
    DENSE,
    QAT,
    RANDOM,
    WITHOUT_SPARSITY,
    is_known_beforehand,
    removes_channels,
    split_steps,
    usual_sparsity,
)
from sparsemark.specs.metric import Metric
from sparsemark.specs.protocol import Protocol
from sparsemark.specs.pruning import GRADUAL, ITERATIVE, ONE_SHOT, SCHEDULES, PruneStep, Pruning

__all__ = [
    "AA", "ALL_ONES", "DENSE", "FLOAT32", "FP32", "GRADUAL", "INPUT_DTYPES", "INT8", "ITERATIVE", "ONE_SHOT",
    "PRECISIONS", "QAT", "RANDOM", "SCHEDULES", "WITHOUT_SPARSITY", "Cell", "InputSpec", "Metric", "ModelSpec",
    "Protocol", "PruneStep", "Pruning", "Variant", "check_precision", "is_known_beforehand", "removes_channels",
    "split_steps", "usual_sparsity",
]  # fmt: skip

AA = "aa"
"""The control in which a cell is its own reference."""

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
        for one, value in values.items():  # frozen, so set past its own guard
            object.__setattr__(self, one, value)
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
class Variant:
    """One trained, pruned network: what a checkpoint file holds.

    Args:
        model: the network.
        pruning: what is taken out of it.
        seed: of its weights and of the order of its training data.
        fold: whose inputs are held back for the report; None leaves that to the task.
    """

    model: ModelSpec
    pruning: Pruning = field(default_factory=Pruning)
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
