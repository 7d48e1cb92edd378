"""A disturbed machine: the command that times the same networks again, for longer, fine-tunes none of them."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from sparsemark.analysis.spending import Trial
from sparsemark.cli import bench, main
from sparsemark.cli.again import again
from sparsemark.cli.parser import _parser
from sparsemark.specs import Protocol, Pruning
from sparsemark.study import prepare, run
from sparsemark.study import target as walking
from sparsemark.study.chosen import Chosen
from sparsemark.study.sampling import IN_THIS_PROCESS
from sparsemark.study.trials import FRACTIONS, Trying
from tests.cli.small_bench import MASKED
from tests.cli.test_task_faults import TASK, write

ASKED = (*MASKED, "--prune", "channels:0.5:2", "--task", "task.py", "--epochs", "1")


@pytest.fixture
def disturbed(monkeypatch, here, quick):
    """Have others take the processor while cells are measured, as long as the list is not empty."""
    others = ["a neighbour"]
    plain = run.measure_cells

    def measure_cells(*arguments):
        found = plain(*arguments)
        signs = {"reference_drift": 0.0, "waited": 0.0, "steal": 0.07 if others else 0.0}
        rows = tuple(dataclasses.replace(m, **signs) for m in found.measurements)
        return dataclasses.replace(found, measurements=rows)

    few = Protocol(pairs=6, block=2, warmup_calls=1, warmup_seconds=0.0, images=2)  # with an interval
    monkeypatch.setattr(Protocol, "of_rounds", lambda *_: few)
    monkeypatch.setattr(run, "measure_cells", measure_cells)
    monkeypatch.setattr(bench, "sampling", lambda _: IN_THIS_PROCESS)
    return others


def command(out):
    return re.search(r"next: (sparsemark bench .*?) \(times the same networks again", " ".join(out.split()))


def test_the_same_networks_are_timed_again_and_none_is_fine_tuned(disturbed, monkeypatch, capsys):
    write(TASK)
    assert main(list(ASKED)) == 0
    out = capsys.readouterr().out
    kept = Path("out.json.networks")
    assert f"{kept}: the fine-tuned networks, kept to be timed again; may be deleted" in out
    named = shlex.split(command(out)[1])
    assert named[named.index("--rounds") + 1] == "320"
    assert named[named.index("--launches") + 1] == "6"
    disturbed.clear()
    monkeypatch.setattr(prepare, "prune_from", lambda *_, **__: pytest.fail("pruned and fine-tuned anew"))
    assert main(named[1:]) == 0
    out = capsys.readouterr().out
    assert command(out) is None
    assert "kept to be timed again" not in out
    assert not kept.exists(), "the answer stands"


@pytest.mark.parametrize("words", [("--search", "magnitude"), ("--target", "100x")], ids=["search", "target"])
def test_what_a_search_or_a_walk_found_is_not_fine_tuned_anew(words, disturbed, monkeypatch, capsys):
    """It is found under names and with pruning of its own."""
    write(TASK)
    monkeypatch.setattr(walking, "MOST_STEPS", 1)
    saving = (0.1, 0.0, 0.1)  # whatever the clock says
    monkeypatch.setattr(Trying, "trials", lambda _, at: [Trial(at.method, at.names, FRACTIONS[at.method][0], *saving)])
    kept = ASKED[: ASKED.index("--prune")]
    assert main([*kept, "--task", "task.py", "--epochs", "1", *words]) == 0
    named = shlex.split(command(capsys.readouterr().out)[1])
    assert not {"--search", "--target"} & set(named)
    assert named[named.index("--prune") + 1] not in {"none", ""}
    disturbed.clear()
    monkeypatch.setattr(prepare, "prune_from", lambda *_, **__: pytest.fail("pruned and fine-tuned anew"))
    assert main(named[1:]) == 0


def test_a_quiet_machine_keeps_no_networks(disturbed, capsys):
    disturbed.clear()
    write(TASK)
    assert main(list(ASKED)) == 0
    assert command(capsys.readouterr().out) is None
    assert not Path("out.json.networks").exists()


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--input", "1,3,8,8", "--input", "mask=1,8", "--engine", "torch", "--precision", "int8"),
        ("--prune", "magnitude:0.5,0.9", "--batch", "1,8", "--threads", "1,2", "--keep", "0.9"),
        ("--task", "my task.py", "--epochs", "2", "--artifacts", "dir", "--html", "a.html", "--within", "0.1"),
    ],
)
def test_what_was_asked_for_is_asked_again(more):

    def parsed(words):
        return vars(_parser().parse_args(words))

    options = _parser().parse_args(["bench", "net.py:build", "--json", "out.json", *more])
    found = parsed(shlex.split(again(options, None))[1:])
    longer = {"rounds": 320, "launches": 6}
    assert found == vars(options) | longer


def test_a_search_or_a_walk_is_not_repeated():

    words = ["bench", "net.py:build", "--json", "o.json", "--task", "t.py", "--search", "magnitude", "--seeds", "3"]
    options = _parser().parse_args([*words, "--launches", "5", "--quick"])
    chosen = Chosen((Pruning.parse("magnitude:0.83"),), "found")
    found = _parser().parse_args(shlex.split(again(options, chosen))[1:])
    assert (found.search, found.seeds, found.prune, found.launches, found.quick) == (
        None, None, ["magnitude:0.83"], 10, False,
    )  # fmt: skip


def test_a_command_that_a_terminal_cannot_show_is_none():
    """Copied, it would name another file."""
    for name in ("a  b.py:build", "a\x1b[31m.py:build"):
        options = _parser().parse_args(["bench", name, "--json", "o.json"])
        assert again(options, None) == ""
