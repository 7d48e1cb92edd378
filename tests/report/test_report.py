"""A report says what the intervals say, hides nothing that failed, and never passes a phantom off as a patient."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.analysis.cells import removed
from sparsemark.analysis.comparison import compare, environment_differences
from sparsemark.analysis.gate import Outcome, Verdict, gate
from sparsemark.analysis.statistics import Interval
from sparsemark.errors import UserError
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.report import FORMATS, findings, headlines, render, wording
from sparsemark.report.figures.study import accuracy_against_sparsity, draw_figures, latency_against_sparsity
from sparsemark.report.findings import controls
from sparsemark.report.renderers.github import annotate, job_summary
from sparsemark.report.renderers.verdicts import render_comparison, render_verdicts
from tests.synthetic import MACHINE, cell, study_run

FAILED = tuple(
    Measurement(f"a-{status}", status, f"why it is {status}", model="a", method="magnitude", sparsity_target=0.5)
    for status in ("unsupported", "parity_failed", "error")
)
BARE = Measurement("bare", "measured")
RUNS = {
    "study": study_run(),
    "nothing ran": Run(FAILED),
    "one bare row": Run((BARE,)),
    "bare and failed": Run((BARE, *FAILED)),
    "one row": Run((cell(model="m", method="none", engine="onnxruntime"),), MACHINE),
    "two networks": Run(study_run().measurements + study_run(1, model="unet").measurements, MACHINE),
}


def replace(run, choose, **fields):
    """Change fields of the chosen measurements."""
    changed = (dataclasses.replace(m, **fields) if choose(m) else m for m in run.measurements)
    return dataclasses.replace(run, measurements=tuple(changed))


def of(method=None, engine=None, sparsity=None, control=None):
    return lambda m: (
        (method is None or m.method == method)
        and (engine is None or m.engine == engine)
        and (sparsity is None or m.sparsity_target == sparsity)
        and m.control == control
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_run_can_be_shown_in_every_format(run, form):
    text = render(run, form)
    assert text.endswith("\n")
    assert "None" not in text
    assert "nan" not in re.split(r"\W+", text)


def test_an_unknown_format_is_refused():
    with pytest.raises(UserError, match="--format 'pdf': expected one of table, markdown, csv, html"):
        render(RUNS["study"], "pdf")


@pytest.mark.parametrize("form", FORMATS)
def test_what_did_not_run_stands_in_every_format_with_its_reason(form):
    text = render(Run((*RUNS["study"].measurements, *FAILED)), form)
    for m in FAILED:
        assert m.reason in text.replace("\\_", "_")


def test_the_headline_comes_first_and_names_the_fastest_within_one_point():
    first = render(RUNS["study"]).splitlines()[0]
    assert first.startswith("Fastest within one point of accuracy: channels 70 % on ncnn, 4.6")
    assert "accuracy 88.0 -> 87.4" in headlines(RUNS["study"])[0]
    assert "over the fastest dense engine, ncnn" in headlines(RUNS["study"])[0]


def test_the_headline_follows_the_accuracies():
    run = replace(RUNS["study"], of("channels"), accuracy=0.8)
    assert "magnitude 70 % on direct CSR" in headlines(run)[0]
    lossy = replace(RUNS["study"], lambda m: m.method != "none", accuracy=0.5)
    assert "dense on ncnn" in headlines(lossy)[0]
    assert "->" not in headlines(lossy)[0]


def test_a_loss_of_exactly_one_point_is_within_one_point():
    common = {"model": "m", "engine": "onnxruntime", "seed": 0}
    dense = cell(1, name="dense", method="none", accuracy=0.88, **common)
    cut = cell(2, ms=5, name="cut", method="channels", accuracy=0.87, **common)
    assert "channels on ONNX Runtime" in headlines(Run((dense, cut)))[0]
    assert "channels" not in headlines(Run((dense, dataclasses.replace(cut, accuracy=0.8699))))[0]


def test_a_contaminated_cell_is_marked_in_the_table_and_in_the_headline():
    run = replace(RUNS["study"], of("channels", sparsity=0.7), contaminated="somebody else was busy")
    assert "(!: somebody else was busy)" in headlines(run)[0]
    assert "(!" not in headlines(RUNS["study"])[0]
    text = render(run)
    assert text.count("] (!)") == 3
    assert "contaminated: cnn9-channels70-seed0-ncnn: somebody else was busy" in text


def test_without_a_winner_the_headline_says_so():
    slow = {"speedup": 0.5, "speedup_low": 0.4, "speedup_high": 0.6}
    assert headlines(replace(RUNS["study"], lambda m: m.status == "measured", **slow)) == [
        "Nothing within one point of accuracy is faster than dense ONNX Runtime."
    ]
    assert headlines(Run(FAILED)) == ["Nothing was measured: 1 unsupported, 1 parity_failed, 1 error."]
    assert headlines(Run((BARE,))) == ["No cell has a speedup with an interval."]


def test_an_unknown_accuracy_is_said_and_not_taken_for_a_good_one():
    run = replace(RUNS["study"], lambda m: True, accuracy=None)
    assert headlines(run)[0].startswith("Fastest (accuracy not measured): channels 90 % on ncnn")
    undense = Run(tuple(m for m in RUNS["study"].measurements if m.method != "none"))
    assert headlines(undense)[0].startswith("Fastest (no dense row to hold accuracies against): channels 90 % on ncnn")
    one_unknown = replace(RUNS["study"], of("channels"), accuracy=None)
    assert "channels" not in headlines(one_unknown)[0]


def test_the_headline_prefers_the_surer_of_two_fast_cells():
    lucky = {"speedup": 9.0, "speedup_low": 2.0, "speedup_high": 20.0}
    run = replace(RUNS["study"], of("channels", "ncnn", 0.5), **lucky)
    assert "channels 70 % on ncnn" in headlines(run)[0]
    assert "(by the lower end of the interval; channels 50 % is 9.00x [2.00, 20.00])" in headlines(run)[0]
    elsewhere = replace(RUNS["study"], of("channels", "torch", 0.5), **lucky)
    assert "; channels 50 % on PyTorch is 9.00x [2.00, 20.00])" in headlines(elsewhere)[0]
    assert "by the lower end" not in headlines(RUNS["study"])[0]
    too_lossy = replace(run, of("channels", "ncnn", 0.5), accuracy=0.5)
    assert "by the lower end" not in headlines(too_lossy)[0]


def test_an_accuracy_on_other_images_is_not_set_against_the_dense_one():
    run = replace(RUNS["study"], of("channels"), accuracy_source="other images")
    assert "channels" not in headlines(run)[0]
    rows = [line for line in render(run, "markdown").splitlines() if "| channels" in line]
    assert rows
    assert not any(re.search(r"\([+-]\d", line) for line in rows)


def test_other_threads_are_rows_and_never_the_headline():
    run = RUNS["study"]
    fast = dataclasses.replace(run.measurements[0], name="fast", threads=2, speedup=9, speedup_low=8, speedup_high=10)
    more = Run((*run.measurements, fast))
    assert headlines(more) == headlines(run)
    assert "| threads |" in render(more, "markdown").replace("---:", "")


def test_rows_above_the_reference_are_faster_and_a_cell_against_itself_is_not_among_them():
    table = [
        line for line in render(RUNS["study"], "markdown").splitlines() if line.startswith("| ") and "x \\[" in line
    ]
    speedups = [float(re.search(r"([\d.]+)x \\\[", line).group(1)) for line in table]
    assert speedups == sorted(speedups, reverse=True)
    assert sum("(reference)" in line for line in table) == 1
    assert any("random" in line for line in table)
    assert len(table) == sum(m.status == "measured" and m.control is None for m in RUNS["study"].measurements)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_terminal_is_too_narrow_for_whole_numbers(width):
    text = render(RUNS["study"], width=width)
    for m in RUNS["study"].measured():
        if m.method in ("magnitude", "channels"):
            interval = wording.ratio(Interval(m.speedup, m.speedup_low, m.speedup_high))
            row = (wording.pruned(m), wording.engine_name(m.engine), wording.milliseconds(m.p50_ms), interval)
            assert any(all(f" {part} " in line for part in row) for line in text.splitlines())


def test_colour_only_on_request():
    assert "\x1b[" not in render(RUNS["study"])
    assert "\x1b[" in render(RUNS["study"], colour=True)


def test_findings_follow_the_intervals_whatever_was_expected():
    said = findings(RUNS["study"])
    assert any(s.startswith("zero masks on ONNX Runtime: unchanged in all 4 cells; magnitude 90 %") for s in said)
    assert any(s.startswith("zero masks on PyTorch: unchanged") for s in said)
    assert any(s.startswith("sparse storage (CSR) on torch CSR: slower in all 4 cells") for s in said)
    assert any(s.startswith("sparse storage (CSR) on direct CSR: faster in all 4 cells") for s in said)
    assert any(s.startswith("removed channels on PyTorch: faster in all 4 cells") for s in said)
    assert all(re.search(r"x \[[\d.]+, [\d.]+\]", s) for s in said)
    turned = replace(RUNS["study"], of("magnitude", "torch"), speedup=2.0, speedup_low=1.9, speedup_high=2.1)
    turned = replace(turned, of("channels", "torch"), speedup=0.1, speedup_low=0.09, speedup_high=0.11)
    turned = replace(turned, of("magnitude", "torch-csr", 0.9), speedup=1.0, speedup_low=0.8, speedup_high=1.3)
    said = findings(turned)
    assert any(s.startswith("zero masks on PyTorch: faster in all 4 cells; magnitude 90 % is 3.") for s in said)
    assert any(s.startswith("removed channels on PyTorch: slower in all 4 cells") for s in said)
    assert any(
        s.startswith("sparse storage (CSR) on torch CSR: slower in 3, not settled in 1 of 4 cells") for s in said
    )
    unsettled = replace(turned, of("channels", "torch"), speedup=1.0, speedup_low=0.3, speedup_high=2.0)
    assert any(s.startswith("removed channels on PyTorch: not settled in all 4") for s in findings(unsettled))
    assert findings(Run(FAILED)) == findings(Run((BARE,))) == []


def test_a_finding_says_where_the_mask_that_changes_nothing_is_not_unchanged():
    scatter = (
        r"; but the all-ones mask, which changes nothing, is 0\.9\d+x \[.*\] there: .* of that size are scatter\.$"
    )
    assert not any("scatter" in s for s in findings(RUNS["study"]))
    off = {"speedup": 0.945, "speedup_low": 0.93, "speedup_high": 0.96, "samples_s": (), "reference_s": ()}
    run = replace(RUNS["study"], of("all-ones"), **off)
    said = findings(run)
    assert [s for s in said if re.search(scatter, s)] == [s for s in said if " on ONNX Runtime: " in s]
    other = dataclasses.replace(next(filter(of("all-ones"), run.measurements)), name="b", model="b")
    assert findings(Run((*RUNS["study"].measurements, other))) == findings(RUNS["study"])


def test_controls_say_whether_they_gave_the_known_answer():
    calm = {"speedup": 1.001, "speedup_low": 0.996, "speedup_high": 1.004}
    said = controls(replace(RUNS["study"], of("none", control="aa"), samples_s=(), reference_s=(), **calm))
    agrees = [s for s in said if s.endswith("agrees with itself to 1%.")]
    assert agrees
    assert agrees[0].startswith("A/A (cnn9 dense on ONNX Runtime)")
    assert any(s.startswith("all-ones mask on ONNX Runtime: unchanged") for s in said)
    assert any(s.startswith("random mask on ONNX Runtime: unchanged in all 4 cells") for s in said)
    off = {"speedup": 1.2, "speedup_low": 1.1, "speedup_high": 1.3}
    said = controls(replace(RUNS["study"], of("none", control="aa"), **off))
    assert any("the clock DISAGREES with itself" in s for s in said)
    said = controls(replace(RUNS["study"], of("all-ones"), **off))
    assert any(s.startswith("all-ones mask on ONNX Runtime: faster") for s in said)
    vague = {"speedup": 1.0, "speedup_low": 0.8, "speedup_high": 1.3}
    said = controls(replace(RUNS["study"], of("none", control="aa"), **vague))
    assert any("too noisy to tell" in s for s in said)


def test_the_reference_is_the_engine_that_the_cells_were_timed_against():
    run = replace(RUNS["study"], lambda m: True, reference_engine="torch")
    assert "over dense PyTorch" in headlines(run)[0]
    assert "dense (reference)** | **0 %** | **PyTorch" in render(run, "markdown")


def test_phantom_numbers_say_so_in_the_same_cell():
    run = study_run(source="PHANTOM slices, seed 0: not patients")
    table = render(run, "markdown")
    accuracies = re.findall(r"\| \**(8\d\.\d[^|]*) \|", table)
    assert accuracies
    assert all("PHANTOM" in text for text in accuracies)
    assert "on PHANTOM images" in headlines(run)[0]
    rows = list(csv.DictReader(io.StringIO(render(run, "csv"))))
    assert all("PHANTOM" in row["accuracy_source"] for row in rows if row["accuracy"])
    assert "PHANTOM" not in render(RUNS["study"])


def test_conditions_name_the_commits_at_which_cells_were_timed_and_not_that_which_wrote_them():
    """A study that is resumed after a commit holds numbers of both."""
    run = RUNS["study"]
    assert "commit 0123456789," in render(run, "markdown")
    early, late = "a" * 40, "b" * 40
    run = replace(
        replace(run, lambda m: m.status == "measured", measured_commit=early), of("random"), measured_commit=late
    )
    text = render(run, "markdown")
    timed = sum(m.measured_commit == early for m in run.measurements)
    assert f"timed at commit {early[:10]} ({timed}), commit {late[:10]} (4)," in text
    assert "0123456789" not in text


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
    text = render(Run((*RUNS["study"].measurements, nasty)), "html")
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.loaded == []
    assert "&lt;script&gt;" in text
    markdown = render(Run((nasty,)), "markdown")
    assert "<script>" not in markdown
    assert "\\| more" in markdown


def test_brackets_in_names_are_no_markup():
    odd = cell(model="[red]net[/red]", method="none", engine="[bold]")
    assert "[red]net[/red]" in render(Run((odd,)))


def test_hundreds_of_cells_can_be_shown():
    rows = [dataclasses.replace(RUNS["study"].measurements[5], name=f"c{i}", seed=i) for i in range(400)]
    assert render(Run(tuple(rows))).count("magnitude 30 %") >= 400


def test_what_was_removed_is_what_was_achieved_or_else_what_was_asked():
    asked = Measurement("k", "measured", sparsity_target=0.75)
    assert removed(asked) == 0.75
    assert removed(dataclasses.replace(asked, sparsity=0.7)) == 0.7


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (123.4, "123"), (14.91, "14.9"), (2.814, "2.81"), (0.04123, "0.0412")]
)
def test_milliseconds_keep_three_digits(value, text):
    assert wording.milliseconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (850, "850 B"), (12_300, "12.3 kB"), (3_400_000, "3.4 MB")])
def test_sizes_are_decimal(value, text):
    assert wording.size(value) == text


VERDICTS = [
    Verdict("fine", "latency", Outcome.OK, "within 2 %"),
    Verdict("slow", "latency", Outcome.REGRESSION, "beyond 2.0 %", Interval(0.2, 0.19, 0.21)),
    Verdict("slower", "latency", Outcome.REGRESSION, "beyond 2.0 %", Interval(0.5, 0.4, 0.6)),
    Verdict("wrong", "status", Outcome.PARITY_FAILURE, "measured, fails parity now: a\nb"),
    Verdict("vague", "latency", Outcome.INCONCLUSIVE, "could have seen +5 %", Interval(0.01, -0.04, 0.06)),
    Verdict("fast", "size", Outcome.IMPROVEMENT, "2 -> 1"),
]


def test_verdicts_come_worst_first_and_what_is_ok_is_only_counted():
    text = render_verdicts(VERDICTS)
    assert text.startswith("Gate - parity failure: 1, regression: 2, inconclusive: 1, improvement: 1, ok: 1 (6 cells)")
    places = [text.index(f" {name} ") for name in ("wrong", "slower", "slow", "vague", "fast")]
    assert places == sorted(places)
    assert " fine " not in text
    assert "+20.0 % [+19.0, +21.0]" in text


def test_another_machine_is_warned_of():
    assert "different machines" in render_verdicts(VERDICTS, same_machine=False)
    assert "different machines" not in render_verdicts(VERDICTS)
    assert "different machines" in job_summary(VERDICTS, same_machine=False)


def test_github_annotations_are_one_line_each_with_the_level_that_fits():
    lines = annotate(VERDICTS).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::error", "::warning", "::notice"]
    assert lines[0] == "::error title=parity failure%3A wrong::status: measured, fails parity now: a%0Ab"
    assert "+20.0 %25" in lines[2]
    many = [dataclasses.replace(VERDICTS[1], cell=f"c{i}") for i in range(30)] + [VERDICTS[4]]
    assert annotate(many).count("::error") == 10
    assert annotate(many).count("::warning") == 1
    assert annotate(VERDICTS[:1]) == ""


def test_the_job_summary_folds_what_is_ok():
    text = job_summary(VERDICTS)
    assert text.startswith("## sparsemark gate\n")
    above, below = text.split("<details>")
    assert "| slow |" in above
    assert "| fine |" in below
    assert "<details>" not in job_summary(VERDICTS[1:])


def test_a_comparison_lists_every_cell_largest_slowdown_first_and_the_environment():
    before, after = study_run(1), study_run(2)
    index = 3
    slow = dataclasses.replace(
        after.measurements[index], samples_s=tuple(1.5 * s for s in after.measurements[index].samples_s)
    )
    changed = (*after.measurements[:index], slow, *after.measurements[index + 1 :])
    after = Run(changed, MACHINE | {"versions": {"torch": "2.14.0"}})
    text = render_comparison(compare(before, after), environment_differences(before, after))
    rows = [line.split()[0] for line in text.splitlines() if line.strip().startswith("cnn9-")]
    assert rows[0] == slow.name
    assert sorted(rows) == sorted(m.name for m in before.measurements)
    assert "versions.torch" in text
    assert render_verdicts(gate(before, before)).startswith("Gate - ok: ")


def test_figures_are_drawn_for_what_there_is_and_stay_small(tmp_path):
    pytest.importorskip("matplotlib")
    run = RUNS["study"]
    seeds = [dataclasses.replace(m, seed=s) for m in run.measurements for s in (1, 2) if m.accuracy is not None]
    files = draw_figures(run, tmp_path / "figures", seeds)
    assert [f.name for f in files] == [
        "latency-sparsity-cnn9.png",
        "accuracy-sparsity-cnn9.png",
        "accuracy-latency-cnn9.png",
    ]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 300_000
    for empty in ("nothing ran", "one bare row", "one row"):
        assert draw_figures(RUNS[empty], tmp_path / "none") == []
    stripped = replace(run, lambda m: True, samples_s=(), accuracy_low=None, accuracy_raw=None, parameters=None)
    assert len(draw_figures(stripped, tmp_path / "stripped")) == 3


def drawn(axes):
    """The points of each series of a panel, by its name in the legend."""
    handles, labels = axes.get_legend_handles_labels()
    return {label: handle for handle, label in zip(handles, labels, strict=True)}


def points(container):
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(*container.lines[0].get_data(), strict=True)]


def channels_in_multiples(seed, round_to, sparsity, accuracy, achieved=None):
    return cell(
        seed, ms=10 - 5 * sparsity - round_to / 8, name=f"c{sparsity}r{round_to}s{seed}", model="m", method="channels",
        sparsity_target=sparsity, sparsity=achieved or sparsity, round_to=round_to, seed=seed, engine="onnxruntime",
        accuracy=accuracy,
    )  # fmt: skip


def dense_of(seed, accuracy):
    common = {"model": "m", "method": "none", "sparsity_target": 0.0, "sparsity": 0.0, "engine": "onnxruntime"}
    return cell(seed, name=f"dense{seed}", seed=seed, accuracy=accuracy, **common)


def test_channels_in_multiples_are_no_further_seeds_of_plain_ones():
    pytest.importorskip("matplotlib")
    plain = [channels_in_multiples(0, 1, sparsity, 0.9) for sparsity in (0.3, 0.5)]
    sixteens = [channels_in_multiples(0, 16, sparsity, 0.7) for sparsity in (0.3, 0.5)]
    cells = [dense_of(0, 0.92), *plain, *sixteens]
    first, second = [axes for axes in accuracy_against_sparsity(cells).axes if axes.get_visible()]
    assert [axes.get_title() for axes in (first, second)] == ["channels, seed 0", "channels (x16), seed 0"]
    assert points(drawn(first)["fine-tuned"]) == [(30, 90), (50, 90)]
    assert points(drawn(second)["fine-tuned"]) == [(30, 70), (50, 70)]
    lines = drawn(latency_against_sparsity(cells).axes[0])
    for name, series in (("ONNX Runtime", plain), ("ONNX Runtime (x16)", sixteens)):
        assert [y for _, y in points(lines[name])] == pytest.approx([m.p50_ms for m in (cells[0], *series)])


def test_masks_of_two_kinds_are_not_drawn_as_one_curve():
    pytest.importorskip("matplotlib")
    common = {"model": "m", "engine": "onnxruntime", "seed": 0}
    methods = {"magnitude": (0.3, 0.5, 0.9), "magnitude-layerwise": (0.3, 0.5, 0.9), "filters": (0.9,)}
    masked = [
        cell(i, ms=10.0 + i, name=f"{method}{share}", method=method, sparsity_target=share, sparsity=share, **common)
        for i, (method, share) in enumerate((method, share) for method, shares in methods.items() for share in shares)
    ]
    panels = latency_against_sparsity([dense_of(0, None), *masked]).axes
    assert [axes.get_title().rpartition(": ")[2] for axes in panels] == list(methods)
    assert [len(points(drawn(axes)["ONNX Runtime"])) for axes in panels] == [4, 4, 2]
    (one,) = latency_against_sparsity([dense_of(0, None), *masked[:3]]).axes
    assert one.get_title() == "Weights set to zero"


def test_points_and_the_dense_line_are_means_over_the_same_seeds():
    pytest.importorskip("matplotlib")
    dense = [dense_of(0, 0.9), dense_of(1, 0.7), dense_of(2, 0.7)]
    half = [channels_in_multiples(seed, 1, 0.5, 0.88 - seed / 10, 0.494 + seed / 100) for seed in (0, 1, 2)]
    most = channels_in_multiples(0, 1, 0.9, 0.8)
    (axes,) = accuracy_against_sparsity([*dense, *half, most]).axes
    assert points(drawn(axes)["fine-tuned"]) == [(49.4, 88), (90, 80)]
    assert drawn(axes)["dense"].get_ydata()[0] == pytest.approx(90)
    (axes,) = accuracy_against_sparsity([*dense, *half]).axes
    assert axes.get_title() == "channels, seeds 0, 1, 2"
    assert points(drawn(axes)["fine-tuned"]) == [(50.4, 78)]
    assert drawn(axes)["dense"].get_ydata()[0] == pytest.approx(230 / 3)
    (axes,) = accuracy_against_sparsity([*dense, half[1], most]).axes
    assert axes.get_title() == "channels, seeds 0, 1", "no seed is everywhere"


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"sparsemark\[plots\]"):
        draw_figures(RUNS["study"], tmp_path)


def test_showing_a_run_imports_nothing_heavy(tmp_path):
    path = tmp_path / "run.json"
    RUNS["study"].save(path)
    code = (
        "import sys, pathlib\n"
        "from sparsemark.records.run import Run\n"
        "from sparsemark.report import FORMATS, render\nfrom sparsemark.report.renderers import verdicts, github\nfrom sparsemark.report.figures import study\n"
        "run = Run.load(pathlib.Path(sys.argv[1]))\n"
        "[render(run, form) for form in FORMATS if form != 'csv']\n"  # pandas writes that one
        "print([m for m in ('torch', 'matplotlib', 'pandas', 'scipy', 'onnxruntime', 'pytest') if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


WHY = "candidate: the reference moved 4.8 % within the run; the ratio to the reference moved 3.1 % within the run"


def unfolded(text, column):
    """What stands in the last column of a table of one row, without the spaces at which it may have been folded."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.endswith(column))
    edge = lines[start].index(column)
    rows = itertools.takewhile(str.strip, lines[start + 2 :])
    return "".join("".join(line[edge:] for line in rows).split())


@given(st.integers(40, 200), st.text("abcdefgh", max_size=60), st.lists(st.text("xyz", min_size=1, max_size=40)))
@settings(max_examples=150, deadline=None)
def test_no_word_of_a_reason_is_lost_at_any_width(width, name, more):
    reason = " ".join([WHY, *more])
    cells = [cell(noise, name=f"c{name}", accuracy=0.9 - noise / 10, artifact_bytes=10**9 + noise) for noise in (0, 1)]
    changed = dataclasses.replace(cells[1], contaminated=reason)
    comparison = render_comparison(compare(Run((cells[0],)), Run((changed,))), width=width)
    assert "1,000,000,000" in comparison, "half a number would be another number"
    assert unfolded(comparison, "note").startswith("".join(f"candidate: {reason}".split()))
    verdict = Verdict(f"c{name}", "latency", Outcome.CONTAMINATED, reason, Interval(0.1, 0.05, 0.2))
    assert unfolded(render_verdicts([verdict], width=width), "why") == "".join(reason.split())
