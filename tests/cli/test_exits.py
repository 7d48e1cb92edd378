"""Every way a command can end has its exit code, and its one line on stderr."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import sparsemark
from sparsemark.analysis import verdicts
from sparsemark.cli import exits, main
from sparsemark.errors import UserError
from sparsemark.records.run import Run
from tests.synthetic import cell


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
        (verdicts.NoBaselineError("no baseline"), 4, "no baseline"),
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


class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError("no words")


class Uncommon(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("cannot import name 'x'"), "ImportError: cannot import name 'x'"),
        (RecursionError("maximum recursion depth exceeded"), "RecursionError: maximum recursion depth exceeded"),
        (MemoryError(), "MemoryError:"),
        (SystemExit(1), "SystemExit: 1"),
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit(), "GeneratorExit:"),
        (Uncommon("odd"), "Uncommon: odd"),
        (ExceptionGroup("two", [ValueError(), TypeError()]), "ExceptionGroup: two (2 sub-exceptions)"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "UnicodeEncodeError: 'utf-8' codec"),
        (UnspeakableError(), "UnspeakableError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_is_not_expected_is_a_fault_and_never_a_regression(error, words, ending):
    code, (line,) = ending(error)
    assert code == 70
    assert line.startswith(f"sparsemark doctor: a fault of sparsemark: {words}")


def test_a_message_steers_neither_the_terminal_nor_a_log(ending, monkeypatch):
    nasty = "\x1b]0;title\x07 a.json:\r\n::error::b \u202e\u2028##[group]\ud800"
    _, lines = ending(UserError(nasty))
    assert lines == [r"sparsemark doctor: \x1b]0;title\x07 a.json: ::error::b \u202e ##[group]\ud800"]
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    _, lines = ending(UserError(nasty))
    assert lines == [r"sparsemark doctor: \x1b]0;title\x07 a.json: : :error: :b \u202e ## [group]\ud800"]


def test_a_message_is_written_where_the_report_cannot_be_imported(ending, monkeypatch):
    monkeypatch.setitem(sys.modules, "sparsemark.report.harmless", None)
    assert ending(UserError("a\x1b[1m\nb")) == (2, [r"sparsemark doctor: a\x1b[1m b"])


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (MemoryError(), 2)])
def test_an_error_while_reporting_does_not_change_the_kind_of_exit(error, code, ending, monkeypatch):
    def fails(*_):
        raise error

    monkeypatch.setattr(exits, "_report", fails)
    assert ending(UserError("wrong"))[0] == code


class Broken:
    """A stream whose reader has gone, or whose disk is full."""

    encoding = "utf-8"

    def __init__(self, error):
        self.error = error

    def isatty(self):
        return False

    def fileno(self):
        raise ValueError

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space"), BrokenPipeError(), ValueError("closed")])
def test_nobody_listens_on_stderr_and_the_code_says_it(error, monkeypatch):
    def execute(options):
        raise UserError("wrong")

    monkeypatch.setattr("sparsemark.cli.doctor.execute", execute)
    monkeypatch.setattr(sys, "stderr", Broken(error))
    assert main(["doctor"]) == 2


def test_a_verdict_survives_a_reader_that_has_gone(tmp_path, monkeypatch):
    """`sparsemark gate ... | head` under `pipefail`: 0 would let a regression pass."""
    before = cell(1)
    slow = dataclasses.replace(before, samples_s=tuple(1.3 * s for s in before.samples_s))
    for name, row in (("a", before), ("b", slow)):
        Run((row,)).save(tmp_path / f"{name}.json")
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    assert main(["gate", "--baseline", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1


def test_a_summary_that_cannot_be_written_is_no_verdict(tmp_path, monkeypatch, capsys):
    Run((cell(1),)).save(tmp_path / "a.json")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert main(["gate", "--baseline", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert "GITHUB_STEP_SUMMARY: " in capsys.readouterr().err


def python(code, *arguments, **more):
    environment = os.environ | {"PYTHONPATH": str(Path(sparsemark.__file__).parents[1])}
    command = [sys.executable, *arguments, *(["-c", code] if code else [])]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, **more)


def test_a_broken_installation_is_a_fault():
    """An import that fails before any command is known; Python's own code would be 1."""
    code = (
        "import sys; sys.modules['sparsemark.cli.bench'] = None\n"
        "from sparsemark.cli import main\nsys.exit(main(['list']))"
    )
    done = python(code)
    assert done.returncode == 70
    (line,) = done.stderr.splitlines()
    assert line.startswith("sparsemark: a fault of sparsemark: ModuleNotFoundError: ")


def test_python_m_has_the_same_codes(tmp_path):
    assert python("", "-m", "sparsemark.cli", "report", str(tmp_path / "none.json")).returncode == 2
    assert python("", "-m", "sparsemark.cli", "rport").returncode == 2
    assert python("", "-m", "sparsemark.cli", "--help").returncode == 0


def test_an_argument_is_quoted_without_being_obeyed(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["compare", "a.json", "b.json", "\x1b[31m"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith("unrecognized arguments: \\x1b[31m\n")


@pytest.fixture
def run_file(tmp_path):
    Run((cell(1), cell(2, name="other"))).save(tmp_path / "x.json")
    return tmp_path / "x.json"


def shell(text, folder):
    """A command line of a shell, with `sparsemark` in it."""
    environment = os.environ | {"PYTHONPATH": str(Path(sparsemark.__file__).parents[1])}
    text = text.replace("sparsemark ", f"{sys.executable} -m sparsemark.cli ")
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {text}"],
        check=False, capture_output=True, text=True, cwd=folder, env=environment,
    )  # fmt: skip


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


@needs_bash
@pytest.mark.parametrize(
    "command",
    [
        "sparsemark report x.json >&-",
        "sparsemark report x.json --format csv >&-",
        "sparsemark report x.json --output y.txt >&-",
        "sparsemark gate --baseline x.json x.json >&-",
        "sparsemark compare x.json x.json >&- 2>&-",
        "sparsemark report x.json <&- >&- 2>&-",
        "sparsemark --help >&-",
        "sparsemark report x.json --format csv | true",
        "sparsemark report x.json --output /dev/stdout --format csv | true",
        "sparsemark --help | true",
        "sparsemark report x.json 2>&-",
    ],
)
def test_closed_streams_and_pipes_are_no_error(command, run_file):
    done = shell(command, run_file.parent)
    assert (done.returncode, done.stderr) == (0, "")


@needs_bash
def test_a_mistake_keeps_its_code_where_stderr_is_closed(run_file):
    done = shell("sparsemark report none.json 2>&-", run_file.parent)
    assert (done.returncode, done.stdout) == (2, "")


@needs_bash
def test_a_report_goes_through_links_and_to_stdout_by_its_name(run_file):
    folder = run_file.parent
    (folder / "real.md").write_text("old")
    (folder / "real.md").chmod(0o600)
    (folder / "link.md").symlink_to("real.md")
    done = shell(
        "sparsemark report x.json --format markdown --output link.md; "
        "(echo first; sparsemark report x.json --format markdown --output /dev/stdout; echo last) > all.md",
        folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = (folder / "real.md").read_text()
    assert report.startswith("**")
    assert (folder / "all.md").read_text() == f"first\n{report}last\n"
    assert (folder / "link.md").is_symlink()
    assert stat.S_IMODE((folder / "real.md").stat().st_mode) == 0o600


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
    assert exits.USAGE == verdicts.EXIT_USAGE


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--help"])
    assert exit_.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_help_of_the_gate_names_every_exit_code(capsys):
    shown = helped(capsys, "gate")
    named = {
        verdicts.EXIT_OK: "ok",
        verdicts.EXIT_REGRESSION: "regression",
        verdicts.EXIT_USAGE: "usage or unreadable input",
        verdicts.EXIT_INCONCLUSIVE: "inconclusive or contaminated",
        verdicts.EXIT_NO_BASELINE: "no baseline",
        verdicts.EXIT_PARITY: "parity failure",
    }
    assert all(f" {code} {meaning}" in shown for code, meaning in named.items())


def test_the_help_tells_which_commands_may_train(capsys):
    shown = helped(capsys)
    assert (
        "`run` may train networks and fine-tune them; `bench` and `export` fine-tune pruned ones where --task" in shown
    )
    assert "No other command trains." in shown
    assert "May train" in helped(capsys, "run")
    assert "fine-tuned only where --task" in helped(capsys, "bench")
    assert "fine-tune it where --task" in helped(capsys, "export")
    for command in ("report", "compare", "gate", "history", "doctor", "explain", "list"):
        assert not {"train", "fine-tune"} & set(helped(capsys, command).lower().split())
