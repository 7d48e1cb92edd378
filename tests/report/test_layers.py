"""Layers of two explained files: reading, pairing, and the part of the page that shows them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sparsemark.analysis.gains import rank
from sparsemark.cli import main
from sparsemark.errors import UserError
from sparsemark.records.explanation import ExplainedLayer, Explanation
from sparsemark.records.run import Run
from sparsemark.report import render
from sparsemark.report.layers import read_layers
from sparsemark.report.page import layers as page_layers
from sparsemark.report.page import library
from sparsemark.report.renderers.explanation import as_json
from tests.report.pages import HOSTILE
from tests.report.runs import FAILED, RUNS, without_scripts

DENSE = Explanation(
    "dense.onnx",
    "onnxruntime",
    1,
    ((1, 3, 64, 64),),
    0.005,
    (
        ExplainedLayer("features.0", "Conv", (16, 64, 64), "NCHWc Conv", 0.003, 6_000_000, 6_000_000, 6_000_000, 1.0),
        ExplainedLayer("pool", "MaxPool", (16, 32, 32), "NCHWc MaxPool", 0.00001),
        ExplainedLayer("classifier", "Gemm", (2,), "plain Gemm", 0.002, 1_000_000, 1_000_000, 1_000_000, 1.0),
    ),
    4e9,
)
PRUNED = dataclasses.replace(
    DENSE,
    artifact="pruned.csr",
    engine="direct-csr",
    seconds=0.002,
    layers=(
        ExplainedLayer(
            "features.0", "Conv", (16, 64, 64), "direct, 8 vectors", 0.001, 6_000_000, 600_000, 600_000, 0.1
        ),
        ExplainedLayer("classifier", "Gemm", (2,), "matrix x vector", 0.0005, 1_000_000, 100_000, 100_000, 0.1),
        ExplainedLayer("extra", "", (2,), "plain loop", 0.0005),
    ),
)


def written(folder, dense=DENSE, pruned=PRUNED):
    paths = (folder / "dense.json", folder / "pruned.json")
    for path, explanation in zip(paths, (dense, pruned), strict=True):
        path.write_text(as_json(explanation, rank([], explanation.seconds), {}), encoding="utf-8")
    return paths


@pytest.fixture
def _vega(monkeypatch):
    monkeypatch.setattr(library, "is_installed", lambda: True)
    monkeypatch.setattr(library, "vega_bundle", lambda: "window.sparsemarkVega = null;")


def test_layers_are_paired_by_name_and_none_is_lost(tmp_path):
    layers = read_layers(*written(tmp_path))
    assert [(pair.name, bool(pair.dense), bool(pair.pruned)) for pair in layers.pairs] == [
        ("features.0", True, True),
        ("pool", True, False),
        ("classifier", True, True),
        ("extra", False, True),
    ]
    first, pool = page_layers.table(layers)[:2]
    assert first == (
        "features.0", "16 x 64 x 64", "NCHWc Conv", "direct, 8 vectors", "3.000", "1.000", "3.00x", "6.00", "0.60",
        "50 %", "15 %",
    )  # fmt: skip
    assert pool[3] == "-"
    assert pool[6:] == ("",) * 5


def test_layers_of_one_name_are_all_there(tmp_path):
    twice = dataclasses.replace(DENSE, layers=DENSE.layers[:1] * 2)
    layers = read_layers(*written(tmp_path, dense=twice))
    assert [pair.name for pair in layers.pairs][:2] == ["features.0", "features.0 (2)"]


def test_charts_have_a_bar_for_each_side_and_a_name_for_each_line(tmp_path):
    specs, values = page_layers.charts(read_layers(*written(tmp_path)))
    assert set(specs) == set(values) == {page_layers.TIME, page_layers.WORK}
    times = {(point["cell"], point["run"]): point["x"] for point in values[page_layers.TIME]}
    assert times["features.0", "dense"] == pytest.approx(3)
    assert times["features.0", "pruned"] == pytest.approx(1)
    work = {(point["cell"], point["run"]): point["x"] for point in values[page_layers.WORK]}
    assert work["features.0", "pruned"] == pytest.approx(0.6)
    assert ("pool", "dense") not in times  # 0.2 % of a call
    for found in values.values():
        named = [point["place"] for point in found if point["text"]]
        assert named == sorted({point["place"] for point in found})
    texts = [point["text"] for point in values[page_layers.TIME]]
    assert "features.0: NCHWc Conv, 50 % -> direct, 8 vectors, 15 % of peak" in texts


@pytest.mark.usefixtures("_vega")
def test_the_page_shows_layers_and_what_would_gain_and_nothing_without_them(tmp_path):
    layers = dataclasses.replace(read_layers(*written(tmp_path)))
    page = render(RUNS["study"], "html", layers=layers)
    assert 'id="layers-time"' in page
    assert "pruned: pruned.csr, 2.00 ms a call in direct CSR, 0.7 million multiply-adds on non-zeros" in page
    assert f"pruned.csr: {layers.pruned.suggested[0]}" in page
    assert "layers-time" not in without_scripts(render(RUNS["study"], "html"))
    for run in (Run(()), Run(FAILED)):
        assert "direct, 8 vectors" in render(run, "html", layers=layers)


def test_without_the_library_layers_are_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "is_installed", lambda: False)
    page = render(RUNS["study"], "html", layers=read_layers(*written(tmp_path)))
    assert "<details open><summary>Layers as a table" in page
    assert 'id="layers-time"' not in page


@pytest.mark.usefixtures("_vega")
def test_names_of_a_stranger_stay_text(tmp_path):
    named = dataclasses.replace(
        DENSE, artifact=HOSTILE, layers=tuple(dataclasses.replace(layer, name=HOSTILE) for layer in DENSE.layers)
    )
    page = render(RUNS["study"], "html", layers=read_layers(*written(tmp_path, dense=named)))
    assert "<img" not in without_scripts(page)
    assert page.count("<script") == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected what sparsemark explain --json writes"),
        ("[]", "expected what"),
        ("{}", "sparsemark_explanation is None"),
        ('{"sparsemark_explanation": 9}', "sparsemark_explanation is 9"),
        ('{"sparsemark_explanation": 1}', "artifact"),
        ('{"sparsemark_explanation": 1, "artifact": "a", "engine": "e", "seconds": "x", "layers": []}', "seconds"),
        ("\udcff", "expected what"),
    ],
)
def test_what_is_no_explanation_is_refused_by_its_field(tmp_path, content, said):
    dense, pruned = written(tmp_path)
    pruned.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=said) as error:
        read_layers(dense, pruned)
    assert str(pruned) in str(error.value)


def test_the_command_writes_them_and_wants_a_page(tmp_path, capsys):
    run, page = tmp_path / "run.json", tmp_path / "page.html"
    RUNS["one row"].save(run)
    files = [str(path) for path in written(tmp_path)]
    assert main(["report", str(run), "--format", "html", "--output", str(page), "--layers", *files]) == 0
    assert "NCHWc Conv" in page.read_text(encoding="utf-8")
    for more in ([], ["--index", str(tmp_path / "index.html"), "--format", "html"]):
        assert main(["report", str(run), *more, "--layers", *files]) == 2
        assert "--layers: expected --format html" in capsys.readouterr().err
    assert main(["report", str(run), "--format", "html", "--layers", files[0], str(tmp_path / "none.json")]) == 2
    assert json.loads((tmp_path / "dense.json").read_text())["artifact"] == "dense.onnx"
