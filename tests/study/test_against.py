"""Two arms in one job: what each is asked, how they are launched in turn, and what a failing one becomes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparsemark import paths
from sparsemark.analysis.verdicts import LATENCY, NoBaselineError, Outcome, Tolerances
from sparsemark.cli import main
from sparsemark.errors import UserError
from sparsemark.measurement.launch import InTurnError, Launch, LaunchError
from sparsemark.measurement.timing import Timing
from sparsemark.measurement.turns import InTurn
from sparsemark.records.run import Run
from sparsemark.study import against as module
from sparsemark.study.against import Duel, judge
from sparsemark.study.arm import Request, answer
from sparsemark.study.revision import Arm
from tests.toy_study.place import HERE

STUDY = """
name = "toy"
[[model]]
name = "toy"
reference = "network.py:build"
input = [1, 1, 16, 16]
[[prune]]
method = "none"
engines = ["onnxruntime"]
[[prune]]
method = "magnitude"
sparsity = [0.5, 0.9]
engines = ["onnxruntime"]
"""
DENSE, PRUNED = "toy-dense-seed0-onnxruntime", "toy-magnitude90-seed0-onnxruntime"


def everything(items, what):
    yield from items


def tree(folder):
    folder.mkdir()
    shutil.copy(HERE / "network.py", folder)
    (folder / "study.toml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """Two trees, each an arm with the packages of this process."""
    root = tmp_path_factory.mktemp("arms")
    source = str(Path(module.__file__).parents[2])
    return tuple(
        Arm(name, tree(root / name), sys.executable, os.environ | {"PYTHONPATH": source})
        for name in ("before", "after")
    )


@pytest.fixture(scope="module")
def request_():
    return Request("study.toml", None, (), 2)


@pytest.fixture(scope="module")
def duels(arms, request_):
    """Make duels of one check of both arms, which takes seconds; the second finds what the first has exported."""
    answers = {}
    real = module._ask

    def ask(arm, request):
        named = "after" if arm.name == "this tree" else arm.name
        if named not in answers:
            answers[named] = real(arm, request)
        exported = arms[1].folder / paths.WORK
        if exported.exists() and not (arms[0].folder / paths.WORK).exists():
            shutil.copytree(exported, arms[0].folder / paths.WORK)
        return answers[named]

    def make(monkeypatch, *others):
        monkeypatch.setattr(module, "_ask", ask)
        return Duel(*(others or arms), request_)

    make.ask = ask
    return make


class Processes:
    """Stands in for launches: the candidate is `slower`, processes scatter."""

    def __init__(self, slower=0.0):
        self.slower = {DENSE: slower, PRUNED: slower}
        self.done = []
        self.fail = {}
        self.alone = 1.0
        self.swing = 0.0
        self.rng = np.random.default_rng(0)

    def __call__(self, jobs, patience, notice, places):
        return tuple(self._one(which, job, place) for which, (job, place) in enumerate(zip(jobs, places, strict=True)))

    def _one(self, which, job, place):
        arm, cell = place.folder.name, f"{job.candidate.outputs}-onnxruntime"
        self.done.append((arm, cell, job))
        if (arm, cell) in self.fail:
            raise InTurnError(which, self.fail[arm, cell])
        factor = 1 + self.slower[cell] * (arm == "after")
        if cell == PRUNED and arm == "after":
            turn = sum(one[:2] == (arm, cell) for one in self.done)
            factor *= float(np.exp(self.swing * (-1) ** turn))
        count = job.protocol.pairs * job.protocol.block
        seconds = (float(0.005 * factor * np.exp(self.rng.normal(0, 0.003))),) * count
        alone = tuple(one * (self.alone if arm == "after" else 1) for one in seconds)
        timing = Timing(alone, (0.01,) * count, job.protocol.block, None, None, 0.0, (0.001,) * 4)
        return Launch(timing, 1000, InTurn(seconds, job.protocol.block))


@pytest.fixture
def processes(monkeypatch):
    stand_in = Processes()
    monkeypatch.setattr(module, "launch_in_turn", stand_in)
    return stand_in


def verdict(duel, launches=10, quantity=LATENCY, cell=PRUNED):
    verdicts, before, after = judge(duel, launches, Tolerances(), everything)
    return {(v.cell, v.quantity): v for v in verdicts}[cell, quantity], before, after


def test_the_headline_cells_are_launched_in_turn_beside_the_baselines_own_dense_file(duels, processes, monkeypatch):
    found, before, after = verdict(duels(monkeypatch))
    assert found.outcome is Outcome.OK
    assert len(processes.done) == 2 * 2 * 10
    pairs = [processes.done[i : i + 2] for i in range(0, 40, 2)]
    assert all(one[1] == other[1] and one[0] != other[0] for one, other in pairs), "both arms of a cell, in turn"
    assert {pair[0][0] for pair in pairs} == {"before", "after"}, "each is the first about as often"
    assert sum(pair[0][0] == "before" for pair in pairs) == 10
    references = {job.reference.path for _, _, job in processes.done}
    assert len(references) == 1
    assert "/before/" in references.pop()
    for run in (before, after):
        assert [(m.name, m.launches, m.peak_rss_bytes) for m in run.measurements] == [
            (DENSE, 10, 1000), (PRUNED, 10, 1000),
        ]  # fmt: skip


def test_what_an_arm_measured_alone_met_another_moment_and_decides_nothing(duels, processes, monkeypatch):
    processes.alone = 2.0
    found, _, _ = verdict(duels(monkeypatch))
    assert found.outcome is Outcome.OK


def test_a_cell_that_ten_launches_do_not_settle_is_launched_on(duels, processes, monkeypatch):
    """Launches 3 % above and below in turn leave an interval from -3 to 3 %; of thirty, it lies around 0."""
    processes.swing = 0.03
    found, before, after = verdict(duels(monkeypatch))
    assert found.outcome is Outcome.OK
    launches = {name: sum(one == name for _, one, _ in processes.done) // 2 for name in (DENSE, PRUNED)}
    assert launches == {DENSE: 30, PRUNED: 30}, "the dense network too, for the speedup"
    for run in (before, after):
        assert [m.launches for m in run.measurements] == [30, 30]


def test_a_second_decision_on_the_same_arms_starts_anew(duels, processes, monkeypatch):
    duel = duels(monkeypatch)
    verdict(duel)
    duel.forget()
    _, before, _ = verdict(duel)
    assert [m.launches for m in before.measurements] == [10, 10]


def test_a_slowdown_is_confirmed_by_a_second_batch_of_what_alarmed(duels, processes, monkeypatch):
    processes.slower[PRUNED] = 0.08
    found, _, _ = verdict(duels(monkeypatch))
    assert found.outcome is Outcome.REGRESSION
    assert found.change.estimate == pytest.approx(0.08, abs=0.01)
    assert len(processes.done) == 40 + 40, "the dense network too, for the speedup"


def test_an_alarm_that_the_second_batch_does_not_show_is_none(duels, processes, monkeypatch):
    processes.slower[PRUNED] = 0.08
    duel = duels(monkeypatch)
    first, real = [], duel.launch

    def launch(*arguments, **options):
        if first:
            processes.slower[PRUNED] = 0.0
        first.append(real(*arguments, **options))
        return first[-1]

    monkeypatch.setattr(duel, "launch", launch)
    assert verdict(duel)[0].outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("arm", "outcome"), [("after", Outcome.REGRESSION), ("before", Outcome.INCOMPARABLE)])
def test_an_arm_that_crashes_is_its_cells_status(duels, processes, monkeypatch, arm, outcome):
    processes.fail[arm, PRUNED] = LaunchError("the process was ended by SIGSEGV")
    found, _, _ = verdict(duels(monkeypatch), quantity="status")
    assert found.outcome is outcome
    assert arm == "before" or "SIGSEGV" in found.reason
    assert sum(one[1] == PRUNED for one in processes.done) <= 2, "not tried again and again"
    assert verdict(duels(monkeypatch), cell=DENSE)[0].outcome is Outcome.OK


def test_an_arm_says_what_is_wrong_with_the_request(arms, request_, tmp_path):
    (tmp_path / "study.toml").write_text("name = 5")
    broken = Arm("broken", tmp_path, sys.executable, arms[0].environment)
    with pytest.raises(UserError, match=r"^broken: study.toml: name: 5, expected text"):
        Duel(arms[0], broken, request_)


def test_a_cell_that_the_study_does_not_have_is_named(arms, monkeypatch):
    monkeypatch.chdir(arms[0].folder)
    assert answer(Request("study.toml", None, ("nobody",), 6)).error == "study.toml: no cell nobody"


def test_a_revision_without_this_command_says_what_else_there_is(arms, duels, monkeypatch, tmp_path):
    old = tmp_path / "old" / "sparsemark"
    old.mkdir(parents=True)
    (old / "__init__.py").touch()
    environment = arms[0].environment | {"PYTHONPATH": str(old.parent)}
    with pytest.raises(NoBaselineError, match="old: its sparsemark has no --against; compare files, with --baseline"):
        duels(monkeypatch, Arm("old", tree(tmp_path / "tree"), sys.executable, environment), arms[1])


# --- the command


@pytest.fixture
def repository(tmp_path, monkeypatch, processes, duels):
    """Its files are those of the arms, so that only its commit has to be checked anew."""
    monkeypatch.setattr(module, "_ask", duels.ask)
    folder = tree(tmp_path / "after")
    monkeypatch.chdir(folder)
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        subprocess.run(["git", *who, *arguments], check=True)
    return folder


def test_the_command_judges_this_tree_and_keeps_what_both_arms_measured(repository, processes, capsys):
    assert main(["gate", "--against", "HEAD", "--study", "study.toml", "--launches", "8"]) == 0
    out = capsys.readouterr().out
    assert "Gate - ok" in out, out
    for name in ("baseline", "candidate"):
        run = Run.load(Path(".sparsemark/against") / f"{name}.json")
        assert [m.launches for m in run.measurements] == [8] * 2
    assert main(["gate", "--baseline", ".sparsemark/against/baseline.json", ".sparsemark/against/candidate.json"]) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--against", "HEAD", "run.json"], "run.json: expected no file beside --against, which measures this tree"),
        (["--baseline", "a.json"], "B.json: missing, expected the result file to judge"),
        (["--baseline", "a.json", "b.json", "--cell", "x"], "--cell: expected --against beside it"),
        (["--against", "HEAD", "--launches", "0"], "--launches 0: expected a whole number from 1"),
        (["--against", "HEAD", "--study", "none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["--baseline", "a", "b", "--tolerance", "latency=-1"], "tolerance latency -1.0: expected a number from 0"),
        (["--baseline", "a", "b", "--tolerance", "latency:*=nan"], "tolerance * nan: expected a number from 0"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_one_line(tmp_path, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "b.json"):
        Path(name).write_text(json.dumps({"benchmarks": []}))
    assert main(["gate", *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"sparsemark gate: {expected}"
