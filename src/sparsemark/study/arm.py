"""Program of one arm of a comparison: check the cells of a study in this environment, and describe their launches.

It runs in the arm's own Python and folder, with the arm's own sparsemark: `python -m sparsemark.study.arm ANSWER`, the
request on stdin.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.files import write_atomically
from sparsemark.measurement.launch import Job  # noqa: TC001 - an answer is read by these annotations
from sparsemark.records.benchmark_json import to_benchmark
from sparsemark.study.conditions import conditions
from sparsemark.study.file import headline_cells, load_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import open_pipeline


@dataclass(frozen=True)
class Request:
    """What an arm is asked for.

    Args:
        study: file, relative to the arm's folder.
        data: for the study's tasks, or None.
        cells: names; empty for the headline cells.
        most: number of headline cells.
    """

    study: str
    data: str | None
    cells: tuple[str, ...]
    most: int


@dataclass(frozen=True)
class CheckedCell:
    """A cell in an arm: its row without a latency, and its launch where it can be timed.

    Args:
        row: as in a result file.
        job: of a launch.
        patience: seconds after which a launch counts as hung.
        reference: name of the cell that it is timed against.
    """

    row: dict[str, Any]
    job: Job | None
    patience: float
    reference: str | None


@dataclass(frozen=True)
class Answer:
    """What an arm found: cells by name, and its machine and versions; or what was wrong with the request."""

    cells: dict[str, CheckedCell]
    conditions: dict[str, Any]
    error: str | None = None


def answer(request: Request) -> Answer:
    """Check the cells; errors as in `Pipeline.measure`."""
    study = load_study(Path(request.study))
    known = {cell.name: cell for cell in study.cells}
    absent = [name for name in request.cells if name not in known]
    asked = (
        [known[name] for name in request.cells if name in known]
        if request.cells
        else headline_cells(study, request.most)
    )
    places = Places(paths.WEIGHTS, paths.study_work(study.name), may_train=False)
    pipeline = open_pipeline(study, places, data=Path(request.data) if request.data else None)
    found = {}
    for cell in asked:
        checked = pipeline.check(cell)
        found[cell.name] = CheckedCell(to_benchmark(checked.row), checked.job, checked.patience, checked.reference)
        sys.stderr.write(f"sparsemark: checked {cell.name}\n")
        sys.stderr.flush()
    engines = {cell.engine for cell in asked} | {study.protocol.reference}
    error = f"{request.study}: no cell {absent[0]}" if absent and not asked else None
    return Answer(found, conditions(engines), error)


def main(path: str) -> int:
    """Answer the request on stdin into a file."""
    try:
        found = answer(msgspec.json.decode(sys.stdin.buffer.read(), type=Request))
    except UserError as error:
        found = Answer({}, {}, str(error))
    write_atomically(Path(path), msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
