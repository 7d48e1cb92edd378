"""What `direct-csr` must reach: each target is a ratio in one paired run, printed with its interval.

`pytest bench/targets.py` measures them all. Nothing here fails where a target is missed: the line says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sparsemark import paths
from sparsemark.errors import UnsupportedError
from sparsemark.pipeline import Pipeline
from sparsemark.specs import Cell, ModelSpec, Protocol, PruneSpec, Variant
from sparsemark.statistics import summarise
from sparsemark.study import load_study
from sparsemark.subjects import open_study
from sparsemark.timing import measure, time_rounds

if TYPE_CHECKING:
    from sparsemark.statistics import Summary

STUDY = Path(__file__).with_name("sparse.toml")
PROTOCOL = Protocol(pairs=30)
ENGINE, DENSE_ENGINE = "direct-csr", "onnxruntime"
EVENLY, GLOBALLY = "magnitude-layerwise", "magnitude"


@dataclass(frozen=True)
class Target:
    """How many times as fast as `reference` the `candidate` must be: engine, method, sparsity, threads."""

    model: str
    candidate: tuple[str, str, float, int]
    reference: tuple[str, str, float, int]
    at_least: float

    @property
    def words(self) -> str:
        """The target in words."""
        (engine, method, sparsity, threads), (other, _, other_sparsity, other_threads) = self.candidate, self.reference
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
        for engine in (DENSE_ENGINE, "openvino", "ncnn", "torch-compile")
    ),
    *(Target(model, (ENGINE, "none", 0.0, 1), _dense(), 1 / 1.1) for model in ("cnn9_wide", "residual", "unet")),
]


@pytest.fixture(scope="module")
def own_pipeline() -> Pipeline:
    """The networks of the sparse study, whatever `--study` says."""
    study = load_study(STUDY)
    work = paths.study_work(study.name)
    return Pipeline(open_study(study, work, None), PROTOCOL, work)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.words)
def test_target(target: Target, own_pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    models = {variant.model.name: variant.model for variant in load_study(STUDY).variants}
    try:
        summary = _measure(own_pipeline, models[target.model], target)
    except UnsupportedError as error:
        pytest.skip(str(error))
    verdict = "reached" if summary.speedup >= target.at_least else "MISSED"
    moved = "" if summary.reference_drift is None else f", reference moved {100 * summary.reference_drift:.1f} %"
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{target.words}: {summary.speedup:.2f} [{summary.speedup_low:.2f}, {summary.speedup_high:.2f}], "
            f"target {target.at_least:.2f}: {verdict} ({PROTOCOL.pairs} pairs{moved})"
        )


def _measure(pipeline: Pipeline, model: ModelSpec, target: Target) -> Summary:
    candidate, reference = (
        Cell(Variant(model, PruneSpec(method, sparsity)), engine, threads)
        for engine, method, sparsity, threads in (target.candidate, target.reference)
    )
    verified = [pipeline.verify(cell) for cell in (candidate, reference)]
    images = pipeline.subject.images(candidate.variant).batches[: PROTOCOL.images]
    protocol = replace(PROTOCOL, threads=max(candidate.threads, reference.threads))
    timing = measure(*verified, images, protocol, time_rounds)
    return summarise(timing.samples_s, timing.reference_s, timing.block)
