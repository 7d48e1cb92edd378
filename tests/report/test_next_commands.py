"""Commands that a failed gate leads to: they parse, and fit what failed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sparsemark.analysis.statistics import Interval
from sparsemark.analysis.verdicts import Outcome, Verdict
from sparsemark.cli.parser import _parser
from sparsemark.records.run import Run
from sparsemark.report.next_commands import next_commands
from tests.synthetic import cell

CHANGE = Interval(0.2, 0.19, 0.21)
CSR, ONNX = "net-magnitude90-seed0-direct-csr-int8", "net-dense-seed0-onnxruntime"
RUN = Run((cell(name=ONNX, engine="onnxruntime"), cell(name=CSR, engine="direct-csr")))


def verdict(outcome, name=ONNX, quantity="latency", slower=0.2):
    change = Interval(slower, slower - 0.01, slower + 0.01) if quantity == "latency" else None
    return Verdict(name, quantity, outcome, "", change)


def commands(*verdicts, paths=("a b.json", "-c'.json")):
    found = [one.command for one in next_commands(verdicts, RUN, *map(Path, paths))]
    return [shlex.split(line) for line in found]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([verdict(Outcome.PARITY_FAILURE, quantity="status")], [["report", "b.json"]]),
        ([verdict(Outcome.REGRESSION)], [["compare", "a.json", "b.json"]]),
        (
            [verdict(Outcome.REGRESSION), verdict(Outcome.REGRESSION, CSR)],
            [["compare", "a.json", "b.json"], ["explain", "net-magnitude90-seed0.csr"]],
        ),
        ([verdict(Outcome.REGRESSION, CSR, "accuracy")], [["compare", "a.json", "b.json"]]),
        ([verdict(Outcome.IMPROVEMENT, CSR), verdict(Outcome.CONTAMINATED)], [["doctor"]]),
        ([verdict(Outcome.INCONCLUSIVE)], [["doctor"]]),
        ([verdict(Outcome.INCONCLUSIVE), verdict(Outcome.REGRESSION)], [["compare", "a.json", "b.json"]]),
        ([verdict(Outcome.INCOMPARABLE)], []),
    ],
)
def test_the_command_fits_what_failed_and_parses(verdicts, expected):
    found = commands(*verdicts, paths=("a.json", "b.json"))
    assert found == [["sparsemark", *words] for words in expected]
    for words in found:
        assert _parser().parse_args(words[1:]).name == words[1]


def test_the_slowest_of_several_files_is_explained():
    other = CSR.replace("90", "70")
    run = Run((*RUN.measurements, cell(name=other, engine="direct-csr")))
    verdicts = [verdict(Outcome.REGRESSION, CSR, slower=0.1), verdict(Outcome.REGRESSION, other, slower=0.3)]
    (line,) = [one.command for one in next_commands(verdicts, run, Path("a"), Path("b")) if "explain" in one.command]
    assert line == "sparsemark explain net-magnitude70-seed0.csr"


def test_names_of_files_are_quoted_for_a_shell_and_steer_nothing():
    (found,) = commands(verdict(Outcome.REGRESSION), paths=("a b$(x).json", "c'd.json"))
    assert found == ["sparsemark", "compare", "a b$(x).json", "c'd.json"]
    (one,) = next_commands([verdict(Outcome.REGRESSION)], RUN, Path("a\x1b[2J\n::x"), Path("b"))
    assert one.command.isprintable()
