"""Every way a command can end has its exit code, and its one line on stderr."""

from __future__ import annotations

import errno

import pytest

from sparsemark.analysis import gate
from sparsemark.cli import exits, main
from sparsemark.errors import UserError


@pytest.fixture
def ending(monkeypatch, capsys):
    """Run a command that ends in an exception: its exit code, and the lines it writes to stderr."""
    monkeypatch.delenv(exits.DEBUG, raising=False)

    def run(error):
        def execute(options):
            raise error

        monkeypatch.setattr("sparsemark.cli.doctor.execute", execute)
        code = main(["doctor"])
        return code, capsys.readouterr().err.splitlines()

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a.toml: name:\n expected text"), 2, "a.toml: name: expected text"),
        (gate.NoBaselineError("no baseline"), 4, "no baseline"),
        (OSError(errno.ENOSPC, "No space left on device", "out.json"), 2, "out.json: No space left on device"),
        (OSError("odd"), 2, "odd"),
        (
            RuntimeError("one\ntwo"),
            70,
            "a fault of sparsemark: RuntimeError: one two (set SPARSEMARK_DEBUG=1 for the traceback)",
        ),
        (AssertionError(), 70, "a fault of sparsemark: AssertionError: (set SPARSEMARK_DEBUG=1 for the traceback)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_exception_is_a_code_and_a_line(error, code, line, ending):
    assert ending(error) == (code, [f"sparsemark doctor: {line}"])


def test_a_faults_traceback_is_shown_where_it_is_asked_for(ending, monkeypatch):
    monkeypatch.setenv(exits.DEBUG, "1")
    code, lines = ending(RuntimeError("broken"))
    assert code == exits.FAULT == 70
    assert lines[0] == "Traceback (most recent call last):"
    assert "RuntimeError: broken" in lines
    assert lines[-1].startswith("sparsemark doctor: a fault of sparsemark: RuntimeError: broken")


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch, capsys):
    monkeypatch.setattr(exits, "_redirect_stdout", lambda: None)

    def execute(options):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("sparsemark.cli.doctor.execute", execute)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().err == ""


def test_an_interrupt_has_the_code_of_shells(ending):
    code, lines = ending(KeyboardInterrupt())
    assert code == exits.INTERRUPTED == 130
    assert lines[-1] == "sparsemark doctor: interrupted; the same command goes on from here"


def test_the_code_of_an_error_of_usage_is_that_of_the_gate():
    assert exits.USAGE == gate.EXIT_USAGE


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--help"])
    assert exit_.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_help_of_the_gate_names_every_exit_code(capsys):
    shown = helped(capsys, "gate")
    named = {
        gate.EXIT_OK: "ok",
        gate.EXIT_REGRESSION: "regression",
        gate.EXIT_USAGE: "usage or unreadable input",
        gate.EXIT_INCONCLUSIVE: "inconclusive or contaminated",
        gate.EXIT_NO_BASELINE: "no baseline",
        gate.EXIT_PARITY: "parity failure",
    }
    assert all(f" {code} {meaning}" in shown for code, meaning in named.items())


def test_the_help_tells_which_commands_may_train(capsys):
    shown = helped(capsys)
    assert "`run` may train networks and fine-tune them; `bench` fine-tunes pruned ones where --task" in shown
    assert "No other command trains." in shown
    assert "May train" in helped(capsys, "run")
    assert "fine-tuned only where --task" in helped(capsys, "bench")
    for command in ("report", "compare", "gate", "doctor", "explain", "list"):
        assert not {"train", "fine-tune"} & set(helped(capsys, command).lower().split())
