"""Targets of `direct-csr`: each a ratio in one paired run, printed with its interval.

`pytest bench/targets.py` measures them all, and writes a table under `results/`. A missed target fails no test: its
line reports it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.peak_memory import SUPPORTED, peak_memory
from sparsemark import paths
from sparsemark.analysis.statistics import summarise
from sparsemark.errors import UnsupportedError
from sparsemark.files import write_atomically
from sparsemark.machine.fingerprint import commit, machine_name
from sparsemark.measurement.timing import measure, time_rounds
from sparsemark.report.conditions import environment
from sparsemark.report.renderers.markdown import escape, markdown_table
from sparsemark.specs import FP32, INT8, ModelSpec, Protocol, Pruning, Variant
from sparsemark.study.conditions import conditions
from sparsemark.study.file import cell_of, load_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import open_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sparsemark.analysis.statistics import Summary
    from sparsemark.measurement.parity import Verified
    from sparsemark.specs import Cell
    from sparsemark.study.pipeline import Pipeline

STUDY = Path(__file__).with_name("sparse.toml")
PROTOCOL = Protocol(pairs=30)
ENGINE, DENSE_ENGINE = "direct-csr", "onnxruntime"
EVENLY, GLOBALLY, BLOCKS = "magnitude-layerwise", "magnitude", "block4-layerwise"


@dataclass(frozen=True)
class Target:
    """Least speedup of `candidate` over `reference`, each given as engine, method, sparsity, threads.

    `precisions` are those of the two.
    """

    model: str
    candidate: tuple[str, str, float, int]
    reference: tuple[str, str, float, int]
    at_least: float
    precisions: tuple[str, str] = (FP32, FP32)

    @property
    def words(self) -> str:
        """The target in words."""
        (engine, method, sparsity, threads), (other, _, other_sparsity, other_threads) = self.candidate, self.reference
        engine, other = (
            name if precision == FP32 else f"{name} {precision}"
            for name, precision in zip((engine, other), self.precisions, strict=True)
        )
        of = f"{engine} at {100 * sparsity:.0f} % ({method}) over {other} at {100 * other_sparsity:.0f} %"
        return f"{self.model}: {of}" + (f", {threads} threads over {other_threads}" if threads > 1 else "")


def _dense(engine: str = DENSE_ENGINE) -> tuple[str, str, float, int]:
    return engine, "none", 0.0, 1


TARGETS = [
    *(
        Target("cnn9_wide", (ENGINE, EVENLY, sparsity, 1), _dense(), ratio)
        for sparsity, ratio in ((0.5, 1.3), (0.8, 3.0), (0.9, 5.0), (0.95, 7.5))
    ),
    *(
        Target("cnn9_wide", (ENGINE, EVENLY, sparsity, 1), ("deepsparse", EVENLY, sparsity, 1), 1.0)
        for sparsity in (0.5, 0.8, 0.9, 0.95)
    ),
    *(
        Target("cnn9_wide", (ENGINE, EVENLY, 0.9, 1), _dense(engine), 2.4)
        for engine in ("ncnn", "openvino", "torch-compile")
    ),
    Target("cnn9_wide", (ENGINE, EVENLY, 0.9, 2), (ENGINE, EVENLY, 0.9, 1), 1.7),
    *(
        Target(model, (ENGINE, GLOBALLY, 0.9, 1), (engine, GLOBALLY, 0.9, 1), 1.0)
        for model in ("residual", "unet")
        for engine in (DENSE_ENGINE, "openvino", "ncnn", "torch-compile", "deepsparse")
    ),
    *(Target(model, (ENGINE, "none", 0.0, 1), _dense(), 1 / 1.1) for model in ("cnn9_wide", "residual", "unet")),
    # What AVX-512 with VNNI must reach: AVX2 multiplies bytes at half that pace at most.
    *(
        Target("cnn9_wide", (ENGINE, BLOCKS, sparsity, 1), _dense(), ratio, (INT8, FP32))
        for sparsity, ratio in ((0.0, 3.3), (0.5, 6.5), (0.8, 14.0), (0.9, 22.0), (0.95, 30.0))
    ),
    *(
        Target("cnn9_wide", (ENGINE, BLOCKS, sparsity, 1), _dense(), ratio, (INT8, INT8))
        for sparsity, ratio in ((0.0, 1.0), (0.5, 1.0), (0.8, 4.0), (0.9, 6.5), (0.95, 6.5))
    ),
]


@pytest.fixture(scope="module")
def own_pipeline() -> Pipeline:
    """The networks of the sparse study, whatever `--study` says."""
    study = replace(load_study(STUDY), protocol=PROTOCOL)
    return open_pipeline(study, Places(paths.WEIGHTS, paths.study_work(study.name)))


MEMORY = (0.5, 0.9)
"""Sparsities at which memory is measured."""

MEMORY_TARGET = 1.5
"""Times the peak of a process that runs the dense network in ONNX Runtime."""


class Report:
    """Findings, printed as they come and written at the end, unless only some were asked for."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, list[list[str]]()

    def add(self, capsys: pytest.CaptureFixture[str], what: str, found: str, target: str, *, reached: bool) -> None:
        """Add a finding: the quantity, its value and its target."""
        self.rows.append([what, found, target, "reached" if reached else "MISSED"])
        with capsys.disabled():
            print(f"\n{what}: {found}; {target}: {self.rows[-1][-1]}")  # noqa: T201

    def write(self) -> None:
        """Write the table, with the conditions."""
        rows = [[escape(text) for text in row] for row in self.rows]
        table = markdown_table(("what", "found", "target", ""), rows)
        head = commit()
        changes = " with local changes" if head.get("dirty") else ""
        origin = f"{datetime.now(UTC).isoformat(timespec='seconds')}, commit {head.get('id', 'unknown')[:10]}{changes}"
        protocol = f"one thread if nothing else is said, batch 1, {PROTOCOL.pairs} pairs of {PROTOCOL.block} calls each"
        engines = {engine for target in TARGETS for engine, *_ in (target.candidate, target.reference)}
        lines = "\n".join(f"- {escape(line)}" for line in (*environment(conditions(engines)), protocol, origin))
        write_atomically(self.path, f"{table}\n\n### Conditions\n\n{lines}\n".encode())


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """The table of all targets."""
    found = Report(paths.targets(machine_name()))
    yield found
    whole = len(TARGETS) + len(MEMORY)
    if sum(item.path == request.path for item in request.session.items) == whole:
        found.write()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.words)
def test_speed(target: Target, own_pipeline: Pipeline, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        summary = _measure(own_pipeline, _models()[target.model], target)
    except UnsupportedError as error:
        pytest.skip(str(error))
    moved = "" if summary.reference_drift is None else f", reference moved {100 * summary.reference_drift:.1f} %"
    found = f"{summary.speedup:.2f} [{summary.speedup_low:.2f}, {summary.speedup_high:.2f}]{moved}"
    reached = summary.speedup is not None and summary.speedup >= target.at_least
    report.add(capsys, target.words, found, f"at least {target.at_least:.2f}", reached=reached)


@pytest.mark.skipif(not SUPPORTED, reason="the peak of a process is known on Linux only")
@pytest.mark.parametrize("sparsity", MEMORY)
def test_memory(sparsity: float, own_pipeline: Pipeline, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    model = _models()["cnn9_wide"]
    dense = _cell(model, _dense())
    peaks = []
    for cell in (_cell(model, (ENGINE, EVENLY, sparsity, 1)), dense):
        artifact = own_pipeline.export(own_pipeline.prepare(cell.variant), cell.format)
        own_pipeline.verify(cell, artifact)  # so that a plan is remembered
        peaks.append(peak_memory(cell.engine, artifact.path, model.input_shape))
    times = peaks[0] / peaks[1]
    what = f"cnn9_wide: peak memory of a process, {ENGINE} at {100 * sparsity:.0f} % ({EVENLY}) over {dense.name}"
    found = f"{times:.2f} ({peaks[0] / 1e6:.0f} MB over {peaks[1] / 1e6:.0f} MB)"
    report.add(capsys, what, found, f"at most {MEMORY_TARGET:.2f}", reached=times <= MEMORY_TARGET)


def _models() -> dict[str, ModelSpec]:
    return {variant.model.name: variant.model for variant in load_study(STUDY).variants}


def _cell(model: ModelSpec, side: tuple[str, str, float, int], precision: str = FP32) -> Cell:
    engine, method, sparsity, threads = side
    pruning = Pruning.of(method if sparsity else "none", sparsity)
    return cell_of(Variant(model, pruning), engine, precision, threads)


def _measure(pipeline: Pipeline, model: ModelSpec, target: Target) -> Summary:
    candidate, reference = (
        _cell(model, side, precision)
        for side, precision in zip((target.candidate, target.reference), target.precisions, strict=True)
    )
    images = pipeline.inputs(candidate.variant).batches[: PROTOCOL.images]
    protocol = replace(PROTOCOL, threads=max(candidate.threads, reference.threads))
    verified = _verify(pipeline, candidate), _verify(pipeline, reference)
    timing = measure(verified[0], verified[1], images, protocol, time_rounds)
    return summarise(timing.samples_s, timing.reference_s, timing.block)


def _verify(pipeline: Pipeline, cell: Cell) -> Verified:
    return pipeline.verify(cell, pipeline.artifact(cell))
