"""`--keep` and `--within` of `sparsemark report`: the answer follows them, and the rest of the command line refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsemark.cli import main
from tests.synthetic import study_run


@pytest.fixture(autouse=True)
def run_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study_run().save(Path("run.json"))


@pytest.mark.parametrize(
    ("option", "start"),
    [
        ("", "fastest within one point of accuracy: channels 70 % on ncnn"),
        ("--keep 0.999", "fastest that keeps 99.9 % of the dense accuracy: channels 30 % on ncnn"),
        ("--keep 0.9", "fastest that keeps 90 % of the dense accuracy: channels 90 % on ncnn"),
        ("--within 0.04", "fastest within 4 points of accuracy: channels 90 % on ncnn"),
    ],
)
@pytest.mark.parametrize("form", ["table", "markdown"])
def test_the_answer_follows_what_may_be_lost(option, start, form, capsys):
    assert main(["report", "run.json", "--format", form, *option.split()]) == 0
    answer = " ".join(capsys.readouterr().out.split())
    assert start in answer.partition("as fast as dense ONNX Runtime")[2][:200]


def test_both_at_once_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", "run.json", "--keep", "0.9", "--within", "0.1"])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report run.json", "run study.toml"])
def test_a_share_out_of_range_is_one_line_and_exit_2(command, capsys):
    assert main([*command.split(), "--keep", "99"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "keep 99: expected a share of the dense score, above 0 and up to 1" in line
