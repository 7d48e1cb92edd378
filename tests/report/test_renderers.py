"""Formats of a report: terminal, Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from sparsemark.analysis.front import Bar
from sparsemark.analysis.statistics import Interval
from sparsemark.errors import UserError
from sparsemark.records.run import Run
from sparsemark.report import FORMATS, render, wording
from sparsemark.report.document import content_of
from sparsemark.report.renderers.csv import table_csv
from tests.report.runs import FAILED, RUNS, without_scripts
from tests.synthetic import cell


def test_an_unknown_format_is_refused():
    with pytest.raises(UserError, match="--format 'pdf': expected one of table, markdown, csv, html"):
        render(RUNS["study"], "pdf")


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_terminal_is_too_narrow_for_whole_numbers(width):
    text = render(RUNS["study"], width=width)
    for m in RUNS["study"].measured():
        if m.method in ("magnitude", "channels"):
            interval = wording.ratio(Interval(m.speedup, m.speedup_low, m.speedup_high))
            row = (wording.pruned(m), wording.engine_name(m.engine, {}), wording.milliseconds(m.p50_ms), interval)
            assert any(all(f" {part} " in line for part in row) for line in text.splitlines())


def test_only_a_terminal_costs_columns():
    wide = dataclasses.replace(RUNS["study"].measurements[5], model="m" * 90, name="wide")
    run = Run((*RUNS["study"].measurements, wide))
    header = next(line for line in render(run).splitlines() if "p50 ms" in line)
    left_out = [column for column in content_of(run).columns if column.partition(" (")[0] not in render(run)]
    assert (left_out, "p90 ms" in header, "size" in header) == ([], True, True)
    assert "too narrow for" not in render(run)
    assert re.search("too narrow for: .*p90 ms", render(run, width=120))


def test_colour_only_on_request():
    assert "\x1b[" not in render(RUNS["study"])
    assert "\x1b[" in render(RUNS["study"], colour=True)


def test_csv_is_unrounded_and_empty_where_nothing_is_known():
    run = RUNS["bare and failed"]
    rows = list(csv.DictReader(io.StringIO(render(run, "csv"))))
    assert [row["name"] for row in rows] == [m.name for m in run.measurements]
    assert rows[0]["p50_ms"] == ""
    first = next(csv.DictReader(io.StringIO(render(RUNS["study"], "csv"))))
    assert float(first["p50_ms"]) == RUNS["study"].measurements[0].p50_ms


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.loaded = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href")]


def test_html_escapes_what_others_wrote_and_loads_nothing():
    nasty = dataclasses.replace(FAILED[0], reason="<script>alert('x')</script> & | more", model="<b>m</b>")
    text = without_scripts(render(Run((*RUNS["study"].measurements, nasty)), "html"))
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags
    assert "<b>m</b>" not in text
    assert [address for address in page.loaded if not address.startswith("data:")] == [""] * page.tags.count("img")
    assert "&lt;script&gt;" in text
    markdown = render(Run((nasty,)), "markdown")
    assert "<script>" not in markdown
    assert "\\| more" in markdown


def test_brackets_in_names_are_no_markup():
    odd = cell(model="[red]net[/red]", method="none", engine="[bold]")
    assert "[red]net[/red]" in render(Run((odd,)))


def test_showing_a_run_imports_nothing_heavy(tmp_path):
    path = tmp_path / "run.json"
    RUNS["study"].save(path)
    code = (
        "import sys, pathlib, importlib.util\n"
        "from sparsemark.records.run import Run\n"
        "from sparsemark.report import FORMATS, figures, render\n"
        "from sparsemark.report.renderers import verdicts, github\n"
        "run = Run.load(pathlib.Path(sys.argv[1]))\n"
        "[render(run, form) for form in FORMATS]\n"
        "page = importlib.util.find_spec('vl_convert') is not None  # without it, its figures need matplotlib\n"
        "heavy = 'torch', *['matplotlib'] * page, 'pandas', 'scipy', 'onnxruntime', 'pytest'\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_csv_of_nothing_but_failures_has_no_column_for_a_score():
    (first, *_) = csv.DictReader(io.StringIO(render(RUNS["nothing ran"], "csv")))
    assert first["reason"] == FAILED[0].reason
    assert "accuracy" not in first
    assert first["contaminated"] == ""


def test_csv_says_why_a_cell_is_contaminated():
    m = dataclasses.replace(cell(name="c"), reference_drift=0.05, steal=0.03)
    (row,) = csv.DictReader(io.StringIO(render(Run((m,)), "csv")))
    assert row["contaminated"] == (
        "the reference moved 5.0 % within the run; other tenants took 3.0 % of the processor"
    )


def test_csv_says_what_a_cell_loses_and_what_dominates_it():
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(render(RUNS["study"], "csv")))}
    best, below = rows["cnn9-channels70-seed0-ncnn"], rows["cnn9-channels70-seed0-torch"]
    assert (best["on_front"], best["dominated_by"], best["keeps_score"]) == ("True", "", "True")
    assert (below["on_front"], below["dominated_by"]) == ("False", "cnn9-channels70-seed0-ncnn")
    assert float(best["loss"]) == pytest.approx(0.006)
    assert float(best["allowed_loss"]) == 0.01
    assert rows["cnn9-channels90-seed0-ncnn"]["keeps_score"] == "False"
    assert (rows["cnn9-random90-seed0-onnxruntime"]["on_front"], best["loss_low"]) == ("False", "")
    strict = csv.DictReader(io.StringIO(render(RUNS["study"], "csv", bar=Bar(within=0.0))))
    assert {row["keeps_score"] for row in strict if row["name"] == best["name"]} == {"False"}


def test_the_front_stands_above_all_rows_and_controls_last():
    for form in FORMATS:
        if form == "csv":
            continue
        text = without_scripts(render(RUNS["study"], form, width=160))
        order = [text.index(word) for word in ("Prune: ", "how sure", "Front:", "p50 ms")]
        deploy = "Deploy:" if form == "html" else "deploy"
        assert order[0] < text.index(deploy) < order[2], form
        assert order == sorted(order), form
        assert text.index("What it says") < text.index("Controls") < text.index("Conditions")


def test_csv_keeps_commas_quotes_and_line_ends():
    reason = 'a, "b"\nc'
    (row,) = csv.DictReader(io.StringIO(render(Run((dataclasses.replace(FAILED[0], reason=reason),)), "csv")))
    assert row["reason"] == reason


def test_layers_are_a_row_each():
    layers = [
        {"variant": "v", "name": "a", "weights": 3, "sparsity": 1 / 3},
        {"variant": "v", "name": "b", "bias": None},
    ]
    text = table_csv(layers)
    assert text.splitlines()[0] == "variant,name,weights,sparsity,bias"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert float(rows[0]["sparsity"]) == 1 / 3
    assert rows[1] == {"variant": "v", "name": "b", "weights": "", "sparsity": "", "bias": ""}
