"""The `latency` fixture, and the hooks that turn a run of pytest-benchmark into one that can be reported and gated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_benchmark.fixture import BenchmarkFixture

    from sparsemark.journal import Journal
    from sparsemark.pipeline import Pipeline
    from sparsemark.records import Measurement
    from sparsemark.specs import Cell
    from sparsemark.timing import Arguments

_MEASURED = pytest.StashKey[dict[str, "Measurement"]]()


@pytest.fixture
def latency(request: pytest.FixtureRequest) -> Callable[[Pipeline, Cell, Journal | None], Measurement]:
    """Measure one cell through pytest-benchmark: `latency(pipeline, cell, journal)`.

    The result goes into `extra_info` and, when it is finished, into the journal. A cell that cannot be measured is a
    row that says why, and a skipped test; one that fails parity or breaks is a row and a failed test.
    """
    benchmark: BenchmarkFixture = request.getfixturevalue("benchmark")

    def rounds(function: Callable[..., Any], setup: Callable[[], Arguments], count: int) -> Sequence[float]:
        benchmark.pedantic(function, setup=setup, rounds=count)
        assert benchmark.stats is not None  # noqa: S101 - pedantic has just made it
        return list(benchmark.stats.stats.data)

    def measure(pipeline: Pipeline, cell: Cell, journal: Journal | None = None) -> Measurement:
        from sparsemark.records import MEASURED, UNSUPPORTED

        if benchmark.disabled:
            measurement = pipeline.measure(cell, rounds=None)
        else:
            measurement = pipeline.measure(cell, rounds)
            benchmark.extra_info.update(measurement.extra_info())
            benchmark.group = benchmark.group or measurement.model
            request.config.stash.setdefault(_MEASURED, {})[request.node.nodeid] = measurement
            if journal is not None:
                journal.append(cell.name, measurement)
        if measurement.status == UNSUPPORTED:
            pytest.skip(str(measurement.reason))
        if measurement.status != MEASURED:
            pytest.fail(f"{measurement.status}: {measurement.reason}", pytrace=False)
        return measurement

    return measure


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add what decides a latency, and drop the host's name, which does not."""
    if config.stash.get(_MEASURED, None):
        from sparsemark.machine import fingerprint

        machine_info.update(fingerprint(), node="")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put the reference's raw samples beside each benchmark's own, and add the rows that have no latency.

    pytest-benchmark calls this once per file it writes, on documents that share entries, so it must not matter how
    often.
    """
    measured = config.stash.get(_MEASURED, {})
    entries = output_json["benchmarks"]
    for entry in entries:
        if entry["fullname"] in measured:
            entry["sparsemark"] = measured[entry["fullname"]].raw()
    present = {entry["fullname"] for entry in entries}
    for nodeid, measurement in measured.items():
        if nodeid not in present:
            entries.append(measurement.to_benchmark() | {"name": nodeid.rpartition("::")[2], "fullname": nodeid})
