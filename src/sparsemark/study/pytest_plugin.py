"""The `latency` fixture, and the hooks that turn a run of pytest-benchmark into one that can be reported and gated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from sparsemark.measurement.timing import Arguments
    from sparsemark.records.earlier import Lost
    from sparsemark.records.journal import Journal
    from sparsemark.records.measurement import Measurement
    from sparsemark.specs import Cell
    from sparsemark.study.pipeline import Pipeline

_MEASURED = pytest.StashKey[dict[str, "Measurement"]]()
_WRITTEN = pytest.StashKey[bool]()
_RESULT: pytest.StashKey[Path | None] = pytest.StashKey()
_LOST: pytest.StashKey[Lost | None] = pytest.StashKey()

_LOST_CODE = 2
"""Exit code of the command line for the same."""


def pytest_configure(config: pytest.Config) -> None:
    """Note the result file that pytest-benchmark will write."""
    config.stash[_RESULT] = config.getoption("benchmark_json", None)


@pytest.fixture
def latency(
    request: pytest.FixtureRequest, benchmark: BenchmarkFixture
) -> Callable[[Pipeline, Cell, Journal | None], Measurement]:
    """Measure one cell through pytest-benchmark: `latency(pipeline, cell, journal)`.

    The result goes into `extra_info` and, when it is finished, into the journal. A cell that cannot be measured is a
    row with the reason, and a skipped test; one that fails parity or breaks is a row and a failed test.
    """

    def rounds(function: Callable[..., Any], setup: Callable[[], Arguments], count: int) -> Sequence[float]:
        benchmark.pedantic(function, setup=setup, rounds=count)
        assert benchmark.stats is not None  # noqa: S101 - pedantic has just made it
        return list(benchmark.stats.stats.data)

    def measure(pipeline: Pipeline, cell: Cell, journal: Journal | None = None) -> Measurement:
        from sparsemark.errors import UserError
        from sparsemark.records.benchmark_json import extra_info
        from sparsemark.records.measurement import MEASURED, UNSUPPORTED
        from sparsemark.study.interrupts import raised_again
        from sparsemark.study.journal_keys import journal_key

        try:
            with raised_again() as raise_if_interrupted:
                if benchmark.disabled:
                    # Through `benchmark`, which then only calls, and does not complain that it was not used.
                    measurement: Measurement = benchmark.pedantic(pipeline.measure, args=(cell, None))
                else:
                    measurement = pipeline.measure(cell, rounds)
                raise_if_interrupted()
            if not benchmark.disabled:
                benchmark.extra_info.update(extra_info(measurement))
                benchmark.group = benchmark.group or measurement.model
                request.config.stash.setdefault(_MEASURED, {})[request.node.nodeid] = measurement
                key = journal_key(pipeline, cell)
                if journal is not None:
                    # A network that cannot be made has no key; its row is for the report alone.
                    journal.append(key or cell.name, measurement)
        except UserError as error:
            pytest.fail(str(error), pytrace=False)
        if measurement.status == UNSUPPORTED:
            pytest.skip(str(measurement.reason))
        if measurement.status != MEASURED:
            pytest.fail(f"{measurement.status}: {measurement.reason}", pytrace=False)
        return measurement

    return measure


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add what decides a latency, and drop the host's name, which does not."""
    measured = config.stash.get(_MEASURED, {})
    if measured:
        from sparsemark.study.conditions import conditions

        machine_info.update(conditions(_engines(measured)), node="")


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(machine_info: dict[str, Any], compared_benchmark: dict[str, Any]) -> None:
    """Describe this machine as the saved run does: pytest-benchmark looks before anything is measured here.

    It would call every machine a different one.
    """
    saved = compared_benchmark["machine_info"]
    if "cpu_model" in saved:
        from sparsemark.machine.fingerprint import fingerprint

        # Readings of one moment, such as the load, are no sign of another machine.
        readings = {"readings": saved["readings"]} if "readings" in saved else {}
        machine_info.update(fingerprint(saved.get("versions") or {}) | readings, node="")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Write the reference's raw samples beside each benchmark's own, and add the rows that have no latency.

    pytest-benchmark calls this once per file it writes, on documents that share entries, so it must not matter how
    often.
    """
    from sparsemark.records.benchmark_json import notes, raw, to_benchmark
    from sparsemark.study.conditions import engine_notes

    measured = config.stash.get(_MEASURED, {})
    config.stash[_WRITTEN] = True
    if not measured:
        return
    _keep_earlier(config)
    entries = output_json["benchmarks"]
    for entry in entries:
        if entry["fullname"] in measured:
            entry["sparsemark"] = raw(measured[entry["fullname"]])
    present = {entry["fullname"] for entry in entries}
    unmeasured = [
        to_benchmark(measurement) | {"name": nodeid.rpartition("::")[2], "fullname": nodeid}
        for nodeid, measurement in measured.items()
        if nodeid not in present
    ]
    output_json["sparsemark"] = notes(engine_notes(_engines(measured)), unmeasured)


def _keep_earlier(config: pytest.Config) -> None:
    """Keep the file that is about to be replaced where cells in it are measured no more; once a session."""
    path = config.stash.get(_RESULT, None)
    if path is None or _LOST in config.stash:
        return
    from sparsemark.errors import UserError
    from sparsemark.records.earlier import keep_earlier

    try:
        config.stash[_LOST] = keep_earlier(path, list(config.stash[_MEASURED].values()))
    except UserError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


def _engines(measured: Mapping[str, Measurement]) -> set[str]:
    return {name for m in measured.values() for name in (m.engine, m.reference_engine) if name}


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the result file where no cell has a latency: pytest-benchmark writes none then, and reasons would go.

    A session that passed ends with code 2 where cells of the file that it replaced are measured no more.
    """
    _write_unmeasured(session)
    lost = session.config.stash.get(_LOST, None)
    if lost is not None and lost.broke and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = _LOST_CODE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the cells that are measured no more."""
    lost = config.stash.get(_LOST, None)
    if lost is not None:
        terminalreporter.write_line(f"sparsemark: {lost.line}", red=True)


def _write_unmeasured(session: pytest.Session) -> None:
    measured, path = session.config.stash.get(_MEASURED, {}), session.config.getoption("benchmark_json", None)
    if not measured or path is None or session.config.stash.get(_WRITTEN, False):
        return
    from sparsemark.errors import UserError
    from sparsemark.machine.fingerprint import commit
    from sparsemark.records.benchmark_json import write_document
    from sparsemark.records.run import Run
    from sparsemark.study.conditions import conditions

    document = Run((), conditions(_engines(measured)), commit()).document()
    pytest_benchmark_update_json(session.config, document)
    try:
        write_document(path, document)
    except UserError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
