"""Nothing that a stranger wrote steers what shows it."""

from __future__ import annotations

import csv
import dataclasses
import io
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.analysis.comparison import compare, environment_differences
from sparsemark.analysis.gains import rank
from sparsemark.analysis.gate import gate
from sparsemark.analysis.verdicts import Outcome, Verdict
from sparsemark.cli import main
from sparsemark.records.engine_note import EngineNote
from sparsemark.records.explanation import WHY_NOT, Advice, ExplainedLayer, Explanation
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote, Score
from sparsemark.report import FORMATS, render
from sparsemark.report.accuracy import accuracy_markdown
from sparsemark.report.harmless import cell_of_csv, harmless, without_commands
from sparsemark.report.next_commands import next_commands
from sparsemark.report.renderers.comment import pull_request_comment
from sparsemark.report.renderers.csv import table_csv
from sparsemark.report.renderers.explanation import as_explanation
from sparsemark.report.renderers.github import annotate, job_summary
from sparsemark.report.renderers.junit import as_junit
from sparsemark.report.renderers.markdown import escape
from sparsemark.report.renderers.verdicts import render_comparison, render_verdicts
from tests.report.runs import without_scripts
from tests.synthetic import cell

ESCAPE = "\x1b[2J\x1b]0;owned\x07"
BIDI = "\u202egnp.exe\u2066\u200f\ufeff\u200b"
LINES = "a\r\nb\rc\nd\u2028e\u2029f\x85g\x0bh\x0ci"
NASTY = f"{ESCAPE}{BIDI}{LINES}\ud800\x00\x7f\x9b31m"
HARMLESS = r"\x1b[2J\x1b]0;owned\x07\u202egnp.exe\u2066\u200f\ufeff\u200ba b c d e f g h i\ud800\x00\x7f\x9b31m"


def test_what_steers_is_written_as_an_escape_and_lines_are_joined():
    assert harmless(NASTY) == HARMLESS
    assert harmless("  plain: 漢字 é \U0001f600 (90 %)\t\n") == "plain: 漢字 é \U0001f600 (90 %)"


def test_lines_may_be_kept_and_end_alike():
    assert harmless(LINES, lines=True).split("\n") == list("abcdefghi")
    assert harmless("a\tb\x1b  c\u00a0d", lines=True) == r"a b\x1b  c d"


@given(st.text(st.characters()), st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_text_becomes_printable_and_stays_as_it_is_the_second_time(text, lines):
    clean = harmless(text, lines=lines)
    assert all(character.isprintable() or (lines and character == "\n") for character in clean)
    assert not any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in clean.replace("\n", "")
    )
    assert harmless(clean, lines=lines) == clean
    clean.encode()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "\n=", "\uff1d", "\u00a0="])
def test_a_text_that_a_spreadsheet_would_compute_is_a_text(start):
    assert cell_of_csv(f"{start}1+1").startswith("'")


@pytest.mark.parametrize("value", [-1.5, -3, 0, 1e-300, None, True, "a=b", "1-2", "", "torch"])
def test_numbers_and_plain_texts_stay_what_they_are(value):
    assert cell_of_csv(value) is value


def test_no_command_of_github_is_left():
    for text in ("::error::x", " ::add-mask::x", "a##[group]b", "##[[", ":::::", "###[#[#[", "x::y"):
        found = without_commands(text)
        assert "::" not in found
        assert "##[" not in found
    assert without_commands("12:30: a:b ## [c]") == "12:30: a:b ## [c]"


def nasty(text):
    """Text in every place of a run that can hold one."""
    note = DataNote(f"{text} words", f"{text} caveat", f"{text} key")
    common = {
        "model": f"{text} model", "scope": text, "schedule": text, "format": text, "reference_engine": f"{text} engine",
        "speedup_reference": text, "measured_at": text, "measured_commit": text, "disagreements": text,
        "parity_data": note, "data": note,
    }  # fmt: skip
    scores = {f"{text} metric": Score(0.9, 0.8, 0.95, tolerance=0.01), f"{text} other": Score(3.0)}
    fp32 = {"method": "none", "engine": f"{text} engine", "precision": "fp32"}
    int8 = {"method": f"{text} method", "engine": "theirs", "precision": f"{text} int8", "steal": 0.5, "sparsity": 0.5}
    absent = {"method": f"{text} m", "pruning": text, "engine": f"{text} x", "model": f"{text} model"}
    rows = [
        cell(1, name=f"{text} dense", scores=scores, **fp32, **common),
        cell(2, 5.0, f"{text} cut", scores=scores, **int8, **common),
        Measurement(f"{text} failed", "error", f"{text} reason", **absent),
    ]
    machine = {
        "cpu_model": text,
        "kernel": text,
        "python": text,
        "versions": {text: text},
        text: {text: [{text: text}]},
    }
    notes = {"theirs": EngineNote(text, text, text, text, text), f"{text} engine": EngineNote(text, device=text)}
    return Run(tuple(rows), machine, {"id": text, "dirty": True}, text, notes)


def shown(run, other):
    """Everything that shows a run or two."""
    yield from (render(run, form) for form in FORMATS)
    yield accuracy_markdown(run.measurements)
    differences = environment_differences(run, other)
    yield render_comparison(compare(run, other), differences)
    verdicts = gate(run, other)
    yield render_verdicts(verdicts, differences, same_machine=False)
    yield job_summary(verdicts, same_machine=False)
    yield annotate(verdicts)
    yield pull_request_comment(verdicts, other, next_commands(verdicts, other, Path("a\x1b"), Path("b\u202e")))
    yield as_junit(verdicts)


def test_nothing_of_a_run_reaches_a_reader_unprinted():
    run = nasty(NASTY)
    other = dataclasses.replace(
        run,
        measurements=(dataclasses.replace(run.measurements[0], artifact_bytes=3, threads=7), *run.measurements[1:2]),
    )
    # Vega's script has spaces of many widths; a page's data are ASCII.
    for text in map(without_scripts, shown(run, other)):
        text.encode()
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "x1b" in text


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_nothing_of_a_run_is_markup(form):
    evil = "<script>x</script><img src=x>|`*_[a](b)~$#@you\\"
    run = nasty(evil)
    text = render(run, form)
    if form == "html":
        page = Page()
        page.feed(without_scripts(text))
        assert "x" not in page.sources
        assert "script" not in page.tags
        return
    assert "<script" not in text
    assert "<img" not in text
    assert "@you" not in text
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert blocks
    for rows in blocks:
        assert len({len(split_row(row)) for row in rows}) == 1, "every row has as many cells as the title"
    other = dataclasses.replace(run, measurements=(dataclasses.replace(run.measurements[0], artifact_bytes=3),))
    for text in (
        accuracy_markdown(run.measurements),
        job_summary(gate(run, nasty(evil))),
        pull_request_comment(gate(run, other), other, next_commands(gate(run, other), other, Path(evil), Path(evil))),
    ):
        assert "<script" not in text
        assert "@you" not in text


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.sources = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name == "src"]


def split_row(row):
    """Cells of a row of Markdown's table: a bar behind a backslash is none, a backslash behind a backslash is one."""
    cells, escaped = [""], False
    for character in row.strip().removeprefix("|"):
        if character == "|" and not escaped:
            cells.append("")
        else:
            cells[-1] += character
        escaped = character == "\\" and not escaped
    return cells


def test_no_cell_of_csv_is_a_formula_and_numbers_are_numbers():
    run = nasty("=HYPERLINK(1)")
    text = render(run, "csv")
    titles, *rows = csv.reader(io.StringIO(text))
    assert not any(value.lstrip().startswith(("=", "+", "@", "\t", "\r")) for row in (titles, *rows) for value in row)
    assert "'=HYPERLINK(1) metric" in titles
    negative = cell(1, name="-x", scores={"score": Score(-0.5)})
    (row,) = csv.DictReader(io.StringIO(render(Run((negative,)), "csv")))
    assert (row["name"], float(row["score"])) == ("'-x", -0.5)
    assert "\r" not in render(Run((dataclasses.replace(negative, reason="a\rb\r\nc"),)), "csv")
    assert table_csv([{"=name": "@a", "weights": -3}]) == "'=name,weights\n'@a,-3\n"


def test_a_log_of_github_is_steered_by_the_gates_own_annotations_alone(tmp_path, monkeypatch, capsys):
    evil = "::error::pwned ##[error]pwned ::stop-commands::x"
    slow = dataclasses.replace(nasty(evil), measurements=tuple(
        dataclasses.replace(m, samples_s=tuple(2 * s for s in m.samples_s)) for m in nasty(evil).measurements
    ))  # fmt: skip
    nasty(evil).save(tmp_path / "a.json")
    slow.save(tmp_path / "b.json")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    for command in (["report", a], ["report", a, "--format", "csv"], ["compare", a, b], ["gate", "--baseline", a, b]):
        assert main(command) == (1 if command[0] == "gate" else 0)
        captured = capsys.readouterr()
        assert "##[" not in captured.out
        commands = [line for line in captured.out.splitlines() if "::" in line]
        assert bool(commands) == (command[0] == "gate")
        for line in commands:
            assert line.startswith(("::error title=", "::warning title="))
            assert line.count("::") == 2
    assert main(["report", str(tmp_path / "::error::x")]) == 2
    assert "::" not in capsys.readouterr().err


def test_an_annotation_holds_no_other_command():
    verdict = Verdict("::a##[b]", "status", Outcome.REGRESSION, "x ::error::y\r\n##[group]\x1b z")
    assert annotate([verdict]) == (
        "::error title=regression%3A %3A %3Aa## [b]::status: x : :error: :y%0A## [group]\\x1b z\n"
    )


def test_markdown_gives_no_character_a_meaning():
    assert escape("\\ ` * _ [x](y) | ~~ $a$ #1 <b> & @you") == (
        r"\\ \` \* \_ \[x\](y) \| \~\~ \$a\$ \#1 &lt;b&gt; &amp; &#64;you"
    )


def test_a_layer_of_a_strangers_file_is_printed(monkeypatch):
    layer = ExplainedLayer(NASTY, NASTY, (1,), NASTY, None)
    explanation = Explanation(NASTY, NASTY, 1, (), 0.1, (layer,), 1.0, notes=(NASTY,))
    advice = Advice("alignment", (NASTY,), (0.1,) * 12, (0.0,) * 12, {"multiple": 8})
    untried = Advice("level", (), (), (), {WHY_NOT: NASTY})
    text = as_explanation(explanation, rank([advice, untried], 0.1), width=120, colour=False)
    assert all(character.isprintable() or character == "\n" for character in text)
