"""Labels and looks of engines: from the run's notes, then sparsemark's own, then the bare name and a spare look."""

from __future__ import annotations

import dataclasses

import pytest

from sparsemark import registry
from sparsemark.engines.base import Look
from sparsemark.records.engine_note import EngineNote
from sparsemark.records.run import Run
from sparsemark.report import findings, headlines, render
from sparsemark.report.figures import draw_figures
from sparsemark.report.figures.score_speedup import score_against_speedup
from sparsemark.report.figures.speedup_sparsity import speedup_against_sparsity
from sparsemark.report.style import engine_looks
from tests.report.runs import RUNS, without_scripts

SCRATCH = EngineNote("Scratch Engine", "#123456", "p", "-.", device="abacus")


def renamed(run, engine, name, **notes):
    """The same run, one of its engines under another name."""
    rows = (dataclasses.replace(m, engine=name) if m.engine == engine else m for m in run.measurements)
    return dataclasses.replace(run, measurements=tuple(rows), engines=notes)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A run with an engine of another package, read back from its file where that package is not installed."""

    def forbidden(**options):
        raise AssertionError(f"entry points are loaded: {options}")

    renamed(RUNS["study"], "direct-csr", "scratch-csr", **{"scratch-csr": SCRATCH}).save(tmp_path / "run.json")
    monkeypatch.setattr(registry, "entry_points", forbidden)
    return Run.load(tmp_path / "run.json")


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_an_engine_of_another_package_has_its_label_in_every_report(scratch, form):
    text = render(scratch, form)
    assert "Scratch Engine" in text
    assert "scratch-csr" not in text.replace("-scratch-csr", "")  # names of cells aside
    assert "direct CSR" not in text


def test_an_engine_of_another_package_has_its_label_in_every_sentence(scratch):
    lossy = [m for m in scratch.measurements if m.method != "channels"]
    assert "magnitude 70 % on Scratch Engine" in headlines(dataclasses.replace(scratch, measurements=tuple(lossy)))[0]
    assert any(s.startswith("sparse storage (CSR) on Scratch Engine: faster") for s in findings(scratch))
    assert "cnn9, magnitude on Scratch Engine: " in render(scratch)


def test_the_device_of_an_engine_is_a_condition_where_it_is_no_cpu(scratch):
    assert "\n- Scratch Engine on abacus\n" in render(scratch, "markdown")
    assert " on cpu" not in render(renamed(scratch, "torch", "torch", torch=EngineNote("PyTorch")), "markdown")


def test_an_engine_of_another_package_has_its_look_in_every_figure(scratch):
    pytest.importorskip("matplotlib")
    axes = speedup_against_sparsity(scratch.measurements, scratch.engines).axes[0]
    series = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    line = series["Scratch Engine"].lines[0]
    assert (line.get_color(), line.get_marker(), line.get_linestyle()) == ("#123456", "p", "-.")
    (axes,) = score_against_speedup(scratch.measurements, scratch.engines).axes
    points = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    assert points["Scratch Engine"].get_facecolor()[0][:3] == pytest.approx([0x12 / 255, 0x34 / 255, 0x56 / 255])


def test_a_run_with_such_an_engine_is_drawn(scratch, tmp_path):
    pytest.importorskip("matplotlib")
    assert len(draw_figures(scratch, tmp_path)) == 9


def test_engines_of_sparsemark_need_no_note():
    """Files of schema 1 have none."""
    pytest.importorskip("matplotlib")
    looks = engine_looks(["onnxruntime", None, "torch", "onnxruntime"], {})
    assert looks == {"onnxruntime": Look("#0072B2", "o", "-"), "torch": Look("#D55E00", "s", "--")}
    assert "PyTorch" in render(RUNS["study"])


def test_an_unknown_engine_has_its_bare_name_and_a_look_of_its_own():
    pytest.importorskip("matplotlib")
    run = renamed(RUNS["study"], "ncnn", "mystery")
    assert " mystery " in render(run)
    looks = engine_looks(["torch", "mystery", "other"], {})
    assert len(set(looks.values())) == 3


def test_a_spare_look_is_the_same_in_every_figure_of_a_run():
    pytest.importorskip("matplotlib")
    notes = {name: EngineNote(name.title()) for name in ("alpha", "beta", "gamma")}
    every = engine_looks(["gamma", "beta", "alpha"], notes)
    assert engine_looks(["beta"], notes) == {"beta": every["beta"]}
    assert list(every) == ["gamma", "beta", "alpha"]


@pytest.mark.parametrize(
    "wrong", [{"colour": "no colour"}, {"marker": "no marker"}, {"dashes": "no dashes"}, {"marker": None}], ids=str
)
def test_a_look_that_cannot_be_drawn_costs_no_figure(wrong):
    pytest.importorskip("matplotlib")
    note = dataclasses.replace(SCRATCH, **wrong)
    spare = engine_looks(["unheard-of"], {})["unheard-of"]
    assert engine_looks(["scratch"], {"scratch": note}) == {"scratch": spare}
    run = renamed(RUNS["study"], "ncnn", "scratch", scratch=note)
    assert speedup_against_sparsity(run.measurements, run.engines) is not None


def test_a_label_cannot_break_out_of_a_page():
    run = renamed(RUNS["study"], "ncnn", "scratch", scratch=EngineNote("<script>|[bold]"))
    assert "<script>" not in without_scripts(render(run, "html"))
    assert "<script>" not in render(run, "markdown")
    assert "\\|\\[bold\\]" in render(run, "markdown")
    assert "<script>|[bold]" in render(run)
