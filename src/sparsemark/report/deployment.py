"""Files of a run: that of a chosen configuration, or the command that makes it, and the results."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.records.origin import Origin
from sparsemark.report import wording
from sparsemark.report.harmless import harmless
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from sparsemark.analysis.front import Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

_REFERENCE = "REF"
"""Stands for the network where a result file is all that is known."""

_TASK = "TASK.py"
"""Stands for the file with the network's task."""

_STAND_INS = {
    _REFERENCE: "the network as the run was given it, such as file.py:factory or model.onnx",
    _TASK: "the file with its task, by which the pruned network is fine-tuned",
}
"""Capitals in a command line, and what to write in their place."""

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
        earlier: whether another command kept the files, so that they may be gone; else this one keeps them.
        again: command line that times the same networks again, for longer; empty where nobody knows it, or it cannot
            be shown as it is.
    """

    reference: str | None = None
    inputs: tuple[str, ...] = ()
    finetuning: tuple[str, ...] = ()
    folder: Path | None = None
    results: tuple[Path, ...] = ()
    earlier: bool = False
    again: str = ""

    @classmethod
    def of_run(cls, run: Run, results: tuple[Path, ...]) -> Deployment:
        """Return what a run's result file says of its files; of several files, only their names are known."""
        origin = run.origin
        if origin is None or len(results) != 1:
            return cls(results=results)
        folder = None
        if origin.artifacts is not None:
            folder = Path(os.path.normpath(results[0].parent / origin.artifacts))
        inputs, finetuning = _words(origin.inputs), _words(origin.finetuning)
        return cls(origin.reference, inputs, finetuning, folder, results, earlier=True)

    def origin(self) -> Origin:
        """Return what a result file says, for `of_run` to read; nothing but its own place is absolute in it."""
        folder = None
        if self.folder is not None and self.results:
            folder = os.path.relpath(self.folder, self.results[0].parent)
        return Origin(self.reference or "", shlex.join(self.inputs), shlex.join(self.finetuning), folder)

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
        if self.folder is not None and (not self.earlier or _is_there(self.folder / name, m)):
            return harmless(str(self.folder / name))
        words = ["sparsemark", "export", self.reference or _REFERENCE, *self.inputs]
        if m.method != DENSE:
            words += ["--prune", m.pruning or _pruning(m)]
        if m.method != DENSE or quantised:
            words += [*quantised, *self.finetuning]
            if self.reference is None and any(score.raw is not None for score in m.scores.values()):
                words += ["--task", _TASK]  # else the network would not be fine-tuned again
        words += ["--format", m.format or "FORMAT", "--output", name]
        return harmless(shlex.join(words))

    def explained(self, m: Measurement) -> str:
        """Return what to write for the capitals of `of`, and what runs its file; empty where nothing needs it."""
        words = self.of(m).split()
        said = [f"{name}: {meaning}" for name, meaning in _STAND_INS.items() if name in words]
        if m.engine == _LOADED:
            said.append("sparsemark.load(PATH) runs the file from Python")
        return "; ".join(said)

    def line(self, one: Standing, *, is_certain: bool = True) -> str:
        """Return the same as a line of a report, with what runs the file and which of several folds it is.

        Args:
            one: what was chosen.
            is_certain: whether nothing speaks against the choice.
        """
        said = ["sparsemark.load runs it"] if one.deployed.engine == _LOADED else []
        said += [which] if (which := wording.deployed(one)) else []
        note = f" ({'; '.join(said)})" if said else ""
        held = "" if is_certain else ", if it holds"
        return f"deploy{note}{held}: {self.of(one.deployed)}"


def _words(text: str) -> tuple[str, ...]:
    """Return the words of options as a shell reads them; none where it would not."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        return ()


def _is_there(path: Path, m: Measurement) -> bool:
    """Return whether a file is there, of the size that was timed: a later command may have replaced it."""
    try:
        return path.is_file() and path.stat().st_size == m.artifact_bytes
    except (OSError, ValueError):  # a name that no file can have
        return False


def _pruning(m: Measurement) -> str:
    """Return what a file of schema 1 asked for, in the words of `--prune`."""
    multiple = f":{m.round_to}" if (m.round_to or 1) > 1 else ""
    return f"{m.method}:{m.sparsity_target or 0:g}{multiple}"


def _suffix(name: str | None) -> str:
    """Return the suffix of a format's files; no entry point is loaded for one of another package."""
    from sparsemark.formats import FORMATS

    return FORMATS[name].suffix if name in FORMATS else f".{name}"
