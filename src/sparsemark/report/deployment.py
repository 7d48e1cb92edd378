"""Files of a run: that of a chosen configuration, or the command that makes it, and the results."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.report import wording
from sparsemark.report.harmless import harmless
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.analysis.front import Standing
    from sparsemark.records.measurement import Measurement

_REFERENCE = "REF"
"""Stands for the network where a result file is all that is known."""

_RESULT = "RUN.json"
"""Stands for the result file where nobody knows it."""

_LOADED = "direct-csr"
"""Engine that `sparsemark.load` runs CSR files on."""


@dataclass(frozen=True)
class Deployment:
    """Origin of a run's files.

    Args:
        reference: of the network, as `sparsemark export` takes it; None where nobody knows it.
        inputs: words that name the network's inputs.
        finetuning: words that name the task and how long a pruned network is fine-tuned.
        folder: where the exported files are kept, or None where they are not.
        results: the run's result files, as `sparsemark report` takes them; none where nobody knows them.
    """

    reference: str | None = None
    inputs: tuple[str, ...] = ()
    finetuning: tuple[str, ...] = ()
    folder: Path | None = None
    results: tuple[Path, ...] = ()

    @property
    def as_csv(self) -> str:
        """Command line that shows every field of every row."""
        files = [str(path) for path in self.results] or [_RESULT]
        return harmless(shlex.join(["sparsemark", "report", *files, "--format", "csv"]))

    def of(self, m: Measurement) -> str:
        """Return the file of a cell where it is kept, else the command line that makes it."""
        quantised = () if m.precision in (None, FP32) else ("--precision", str(m.precision))
        precision = f"-{m.precision}" if quantised else ""
        name = f"{m.name.rpartition(f'-{m.engine}')[0] or m.name}{precision}{_suffix(m.format)}"
        if self.folder is not None:
            return harmless(str(self.folder / name))
        words = ["sparsemark", "export", self.reference or _REFERENCE, *self.inputs]
        if m.method != DENSE:
            words += ["--prune", m.pruning or _pruning(m)]
        if m.method != DENSE or quantised:
            words += [*quantised, *self.finetuning]
            if self.reference is None and any(score.raw is not None for score in m.scores.values()):
                words += ["--task", "TASK.py"]  # else the network would not be fine-tuned again
        words += ["--format", m.format or "FORMAT", "--output", name]
        return harmless(shlex.join(words))

    def line(self, one: Standing) -> str:
        """Return the same as a line of a report, with what runs the file and which of several folds it is."""
        said = ["sparsemark.load runs it"] if one.deployed.engine == _LOADED else []
        said += [which] if (which := wording.deployed(one)) else []
        note = f" ({'; '.join(said)})" if said else ""
        return f"deploy{note}: {self.of(one.deployed)}"


def _pruning(m: Measurement) -> str:
    """Return what a file of schema 1 asked for, in the words of `--prune`."""
    multiple = f":{m.round_to}" if (m.round_to or 1) > 1 else ""
    return f"{m.method}:{m.sparsity_target or 0:g}{multiple}"


def _suffix(name: str | None) -> str:
    """Return the suffix of a format's files; no entry point is loaded for one of another package."""
    from sparsemark.formats import FORMATS

    return FORMATS[name].suffix if name in FORMATS else f".{name}"
