"""Latency of the harness over that of a bare loop around the same session, in one paired run."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.analysis.statistics import Interval, percentile_interval, resampled_medians
from sparsemark.engines import onnx_runtime
from sparsemark.machine.placement import library_threads, pinned

if TYPE_CHECKING:
    import pytest
    from pytest_benchmark.fixture import BenchmarkFixture

    from sparsemark.measurement.timing import Arguments
    from sparsemark.specs import Cell
    from sparsemark.study.file import Study
    from sparsemark.study.pipeline import Pipeline

BLOCK = 8
PAIRS = 100


def test_bare_loop(
    benchmark: BenchmarkFixture, pipeline: Pipeline, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    cell: Cell = next(cell for cell in study.cells if cell.engine == "onnxruntime")
    artifact = pipeline.export(pipeline.prepare(cell.variant), cell.format)
    session = onnx_runtime.open_session(artifact.path, threads=1)
    predict = onnx_runtime.wrap(session)
    name = session.get_inputs()[0].name
    images = itertools.cycle(image for (image,) in pipeline.inputs(cell.variant).batches[: pipeline.protocol.images])
    bare: list[float] = []
    calls = itertools.count()

    def loop() -> None:
        block = list(itertools.islice(images, BLOCK))
        start = time.perf_counter()
        for image in block:
            session.run(None, {name: image})
        bare.append((time.perf_counter() - start) / BLOCK)

    def setup() -> Arguments:
        block, within = divmod(next(calls), BLOCK)
        # Bare, harness, harness, bare: as the harness itself pairs blocks.
        while within == 0 and len(bare) < (block + 1 if block % 2 == 0 else block):
            loop()
        return (next(images),), {}

    with pinned(1), library_threads(1):
        for image in itertools.islice(images, 50):
            predict(image)
        benchmark.pedantic(predict, setup=setup, rounds=BLOCK * PAIRS)
        while len(bare) < PAIRS and benchmark.enabled:
            loop()
    if benchmark.disabled:
        return
    ratio = _ratio(benchmark.stats.stats.data, bare)  # type: ignore[union-attr]  # pedantic has just made it
    benchmark.extra_info.update(ratio=ratio.estimate, ratio_low=ratio.low, ratio_high=ratio.high, pairs=PAIRS)
    with capsys.disabled():
        print(f"\nharness over bare loop: {ratio.estimate:.4f} [{ratio.low:.4f}, {ratio.high:.4f}], {PAIRS} pairs")  # noqa: T201
    assert len(bare) == PAIRS


def _ratio(harness: list[float], bare: list[float]) -> Interval:
    blocks = np.asarray(harness).reshape(PAIRS, BLOCK).mean(axis=1)
    ratios: Any = np.log(blocks / np.asarray(bare))
    return percentile_interval(float(np.median(ratios)), resampled_medians(ratios)).exp()
