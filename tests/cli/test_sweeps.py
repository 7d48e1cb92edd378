"""Several sparsities, batches and threads in one command, and files that nobody named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.engines import ENGINES
from sparsemark.records.benchmark_json import extra_info
from sparsemark.records.measurement import MEASURED
from sparsemark.records.run import Run
from sparsemark.report import render
from sparsemark.study import pipeline
from tests.cli.small_bench import BENCH, bench

TASK = """
import numpy as np
images = lambda: np.arange(6.0 * 3 * 8 * 8).reshape(6, 3, 8, 8) % 7 / 7
score = lambda predict: float(predict(images())[0].mean())
"""


def rows(path="out.json"):
    return {m.name: m for m in Run.load(Path(path)).measurements}


def test_the_last_step_takes_several_sparsities(here, quick):
    lists = ("--prune", "magnitude:0.5,0.7", "--prune", "channels:0.2,0.4:1", "--prune", "random:0.5+magnitude:0.5,0.9")
    assert main([*BENCH, *lists]) == 0
    labels = ["dense", "magnitude50", "magnitude70", "channels20", "channels40"]
    labels += ["random50+magnitude50", "random50+magnitude90"]
    assert list(rows()) == [f"build-{label}-seed0-torch" for label in labels]


def test_batches_and_threads_are_cells_of_one_network_each_beside_dense_with_the_same(here, quick, capsys, monkeypatch):
    prepared = []
    plain = pipeline.prepare

    def counted(variant, *arguments, **more):
        prepared.append(variant.name)
        return plain(variant, *arguments, **more)

    monkeypatch.setattr(pipeline, "prepare", counted)
    sweep = ("--batch", "4,1", "--threads", "1,2", "--prune", "magnitude:0.5", "--artifacts", "kept")
    assert main([*BENCH, *sweep]) == 0
    assert prepared == ["build-dense-seed0", "build-magnitude50-seed0"], "each is pruned once"
    found = rows()
    marks = ["-torch", "-torch-2t", "-b4-torch", "-b4-torch-2t"]
    assert list(found) == [f"build-{label}-seed0{mark}" for label in ("dense", "magnitude50") for mark in marks]
    for mark, batch, threads in zip(marks, (1, 1, 4, 4), (1, 2, 1, 2), strict=True):
        masked, dense = (found[f"build-{label}-seed0{mark}"] for label in ("magnitude50", "dense"))
        assert (masked.status, masked.batch, masked.threads) == (MEASURED, batch, threads)
        assert masked.speedup_reference == dense.name
        assert masked.reference_sha256 == dense.reference_sha256
        assert masked.nonzeros == found["build-magnitude50-seed0-torch"].nonzeros
        assert masked.mac_density == found["build-magnitude50-seed0-torch"].mac_density
        assert extra_info(masked)["images_per_second"] == pytest.approx(1e3 * batch / masked.p50_ms)
    out = capsys.readouterr().out
    assert "images/s" in out
    header = next(line for line in out.splitlines() if "images/s" in line)
    assert "batch" in header
    assert "threads" in header
    assert len(list(Path("kept").iterdir())) == 4, "a file for each network and batch"
    assert "images_per_second" in render(Run.load(Path("out.json")), "csv").splitlines()[0]


def test_one_batch_shows_no_throughput(here, quick, capsys):
    assert main(BENCH) == 0
    assert "images/s" not in capsys.readouterr().out


def test_the_answer_is_of_the_smallest_batch(here, quick, monkeypatch):
    assert main([*BENCH, "--batch", "2,8"]) == 0
    assert [(m.name, m.batch) for m in rows().values()] == [
        ("build-dense-seed0-torch", 2),
        ("build-dense-seed0-b8-torch", 8),
    ]


def test_a_task_is_scored_on_all_images_whatever_the_batch(here, quick):
    Path("task.py").write_text(TASK)
    assert main([*bench("networks.py:build"), "--task", "task.py", "--engine", "torch", "--batch", "1,3"]) == 0
    one, three = rows().values()
    assert one.scores["score"].value == pytest.approx(three.scores["score"].value, rel=1e-6)
    assert (one.batch, three.batch) == (1, 3)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--task", "task.py", "--batch", "1,4"), "task.py: images: 6 inputs; expected a multiple of the batch of"),
        (
            ("--input", "a=1,3", "--input", "b=2,3", "--batch", "2"),
            "batch 2: inputs a=1,3 b=2,3; expected all to begin",
        ),
    ],
)
def test_a_batch_that_cannot_be_is_one_line_before_anything_is_measured(more, words, here, measured, refused):
    Path("task.py").write_text(TASK)
    assert words in refused(*bench("networks.py:build", *more))
    assert measured == []


def test_what_the_task_has_is_what_the_network_takes(here, quick):
    Path("task.py").write_text(TASK)
    assert main([*bench("networks.py:fits_eight"), "--task", "task.py", "--engine", "torch"]) == 0
    assert rows()["fits_eight-dense-seed0-torch"].status == MEASURED


def test_a_result_that_nobody_named_replaces_none(here, quick, capsys):
    command = ["bench", "networks.py:build", "--input", "1,3,8,8", "--engine", "torch"]
    for name in ("build-bench.json", "build-bench2.json"):
        assert main(command) == 0
        out = capsys.readouterr().out
        assert f"wrote {name}" in out.splitlines()
        assert "--artifacts DIR keeps those to deploy" in out
        assert list(rows(name)) == ["build-dense-seed0-torch"]
    left = {path.name for path in here.iterdir() if path.name != "__pycache__"}
    assert left == {"networks.py", "build-bench.json", "build-bench2.json"}, "and nothing that does not show"


def test_engines_that_are_not_installed_are_named_where_none_was_chosen(here, quick, capsys, monkeypatch):
    for name in [name for name in ENGINES if name not in {"torch", "onnxruntime", "direct-csr"}]:
        monkeypatch.setitem(ENGINES, name, dataclasses.replace(ENGINES[name], requires=(), barred=lambda: "barred"))
    absent = dataclasses.replace(ENGINES["direct-csr"], requires=("a_package_nobody_has",))
    monkeypatch.setitem(ENGINES, "direct-csr", absent)
    command = ["bench", "networks.py:build", "--input", "1,3,8,8", "--json", "out.json"]
    assert main(command) == 0
    assert "not tried: direct-csr (a-package-nobody-has is not installed)" in capsys.readouterr().out.splitlines()
    assert main([*command, "--engine", "torch"]) == 0
    assert "not tried" not in capsys.readouterr().out
