"""Table of the networks of `families.toml` in `direct-csr`: speed, share that runs sparse, time to plan.

    python -m bench.breadth [options of `sparsemark run`]

One command for all of it. It shows its progress, and, interrupted or killed, goes on where it was: cells are kept by
the study's journal, plans in notes beside it. Planning is timed in a fresh process that remembers no choice, with the
interpreter compiled before.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.proportions import publish
from sparsemark import paths
from sparsemark.analysis.statistics import Interval, quotient
from sparsemark.files import key_of, note_of, read_note, write_atomically
from sparsemark.machine.fingerprint import machine_name
from sparsemark.records.run import Run
from sparsemark.report.conditions import conditions
from sparsemark.report.renderers.markdown import markdown_table
from sparsemark.specs import DENSE
from sparsemark.study.file import load_study, quick_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import open_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sparsemark.formats.base import Artifact
    from sparsemark.records.measurement import Measurement
    from sparsemark.specs import Cell, ModelSpec
    from sparsemark.study.file import Study

STUDY = Path(__file__).with_name("families.toml")
ENGINE, DENSE_ENGINE = "direct-csr", "onnxruntime"
_PLAN = "--plan"
"""Option by which this program plans one file, in a process of its own."""


@dataclass(frozen=True)
class Planned:
    """A file that was planned without a remembered choice.

    Args:
        seconds: that loading it took, the contest against ONNX Runtime included.
        multiply_adds: dense ones, an image, of the layers that run sparse; none where the whole network runs dense.
    """

    seconds: float
    multiply_adds: int


def plan(path: Path) -> Planned:
    """Plan a CSR file in this process."""
    from sparsemark.direct.explain import dense_multiply_adds
    from sparsemark.direct.network import Network
    from sparsemark.direct.runtime.machine_code import load
    from sparsemark.engines.direct_csr import open_dense
    from sparsemark.formats.csr.graph import load_csr

    load()
    start = time.perf_counter()
    network = Network(load_csr(path), 1, None, open_dense)
    seconds = time.perf_counter() - start
    found = network.plan((1, *(network.input_shape or ())[1:]))
    work = 0 if found.decision.dense else sum(map(dense_multiply_adds, found.lowered.operations))
    return Planned(seconds, work)


def _planned(path: Path) -> Planned:
    """Plan a CSR file in a fresh process; CalledProcessError where it fails there."""
    command = [sys.executable, "-m", __spec__.name, _PLAN, str(path)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own module
    return Planned(**json.loads(ended.stdout))


@functools.cache
def _multiply_adds(model: ModelSpec) -> int:
    """Multiply-adds of a network, attention counted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from sparsemark.networks.factory import build_model

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        build_model(model)(torch.zeros(model.input_shape))
    return int(counter.get_total_flops()) // 2


def _plans(study: Study, work: Path) -> Iterator[tuple[Cell, Planned, float]]:
    """Yield the cells of the engine with their plans, and the share of all multiply-adds that runs sparse."""
    pipeline = open_pipeline(study, Places(paths.WEIGHTS, work))
    cells = [cell for cell in study.cells if cell.engine == ENGINE]
    for n, cell in enumerate(cells, start=1):
        sys.stderr.write(f"planning {n} of {len(cells)}: {cell.variant.name}\n")
        artifact = pipeline.export(pipeline.prepare(cell.variant), cell.format)
        planned = _remembered(work, artifact)
        yield cell, planned, planned.multiply_adds / _multiply_adds(cell.variant.model)


def _remembered(work: Path, artifact: Artifact) -> Planned:
    from sparsemark.direct.fingerprint import fingerprint

    path = work / "plans" / f"{key_of(artifact.sha256, fingerprint())}.json"
    note = read_note(path)
    if note is not None:
        return Planned(float(note["seconds"]), int(note["multiply_adds"]))
    planned = _planned(artifact.path)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, note_of({"seconds": planned.seconds, "multiply_adds": planned.multiply_adds}))
    return planned


def table(rows: Sequence[Measurement], plans: Mapping[str, tuple[Planned, float]]) -> str:
    """Return the table as Markdown.

    Args:
        rows: of the study's result file.
        plans: by the name of a row, how it was planned and the share of multiply-adds that runs sparse.
    """
    lines = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        engines = {row.engine: _speedup(row) for row in own if row.method == DENSE and row.engine != ENGINE}
        measured = {name: found for name, found in engines.items() if found is not None}
        fastest = max(measured, key=lambda name: measured[name].estimate, default=None)
        for row in (one for one in own if one.engine == ENGINE):
            planned, share = plans.get(row.name, (None, None))
            found = _speedup(row)
            over = quotient(found, measured[fastest]) if found is not None and fastest is not None else None
            zeros, sparse = f"{100 * (row.sparsity_target or 0):.0f} %", "" if share is None else f"{100 * share:.0f} %"
            seconds = "" if planned is None else f"{planned.seconds:.1f} s"
            notes = row.reason or row.notes or ""
            lines.append((f"{model}", zeros, sparse, _ratio(found), _ratio(over), f"{fastest}", seconds, notes))
    columns = (
        "network", "zeros", "multiply-adds run sparse", f"over dense {DENSE_ENGINE}", "over the fastest dense engine",
        "which is", "planning", "notes",
    )  # fmt: skip
    return markdown_table(columns, lines)


def _speedup(row: Measurement) -> Interval | None:
    if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
        return None
    return Interval(row.speedup, row.speedup_low, row.speedup_high)


def _ratio(found: Interval | None) -> str:
    return "" if found is None else f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"


def main(arguments: Sequence[str]) -> int:
    """Measure what is not yet measured, plan what is not yet planned, and write the table."""
    from sparsemark.cli import main as sparsemark

    parser = argparse.ArgumentParser(prog="python -m bench.breadth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(_PLAN, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="the cells that answer, in one process")
    options, others = parser.parse_known_args(arguments)
    if options.plan is not None:
        sys.stdout.write(json.dumps(vars(plan(options.plan))))
        return 0
    ended = sparsemark(["run", str(STUDY), *(["--quick"] if options.quick else []), *others])
    if ended:
        return ended
    study = quick_study(load_study(STUDY)) if options.quick else load_study(STUDY)
    plans = {cell.name: (planned, share) for cell, planned, share in _plans(study, paths.study_work(study.name))}
    run = Run.load(paths.run(machine_name(), study.name))
    title = "direct-csr on the networks that people bring"
    # Not under the study's own name: its table of cells is there.
    publish("breadth", title, table(run.measurements, plans), conditions(run, run.measurements))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
