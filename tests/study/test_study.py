"""A whole study, from its file to its tables: what is there is not made again, what changed is."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from sparsemark import paths
from sparsemark.analysis.verdicts import Tolerances
from sparsemark.cli import main
from sparsemark.errors import UserError
from sparsemark.machine.fingerprint import machine_name
from sparsemark.networks.checkpoint import load_checkpoint, save_checkpoint
from sparsemark.records.measurement import MEASURED, UNSUPPORTED
from sparsemark.records.run import Run
from sparsemark.specs import AA
from sparsemark.study.file import headline_cells, load_study, quick_study
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.publish import redraw
from tests.toy_study.place import HERE, journal_keys, place, trained

JOURNAL = paths.journal(paths.study_work("toy"))
RESULT = paths.run(machine_name(), "toy")
TRAININGS = [
    "train toy-dense-seed0",
    "finetune toy-magnitude50-seed0",
    "finetune toy-magnitude90-seed0",
    "finetune toy-channels50-seed0",
    "train toy-dense-seed1",
]
CELLS = [
    "toy-dense-seed0-torch",
    "toy-dense-seed0-onnxruntime",
    "toy-dense-seed0-onnxruntime-aa",
    "toy-magnitude50-seed0-torch",
    "toy-magnitude90-seed0-torch",
    "toy-channels50-seed0-torch",
]


@pytest.fixture
def again(finished_study, tmp_path, monkeypatch):
    """A copy of the finished study to work in."""
    folder = tmp_path / "again"
    shutil.copytree(finished_study, folder)
    monkeypatch.chdir(folder)
    return folder


def test_tables_and_figures_are_made_anew_from_the_files_byte_for_byte(again):
    kept = {*again.glob("results/*/*.json"), *again.glob("results/tables/*-epochs.csv")}
    made = [path for path in again.rglob("results/**/*") if path.is_file()]
    before = {path: path.read_bytes() for path in made}
    anew = {*made} - kept - {*again.glob("results/tables/*-layers.csv")}
    for path in anew:
        path.unlink()
    assert {again / path for path in redraw(machine_name(), "toy")} == anew
    assert {path: path.read_bytes() for path in made} == before
    RESULT.unlink()
    assert not any(path.suffix == ".html" for path in redraw(machine_name(), "toy"))
    paths.accuracy_table("toy", "json").unlink()
    with pytest.raises(UserError, match=r"toy\.json: cannot be read"):
        list(redraw(machine_name(), "toy"))


@pytest.fixture
def measured(monkeypatch):
    """Names of the cells that were timed."""
    names = []
    plain = Pipeline.measure

    def measure(self, cell, *more):
        names.append(cell.name)
        return plain(self, cell, *more)

    monkeypatch.setattr(Pipeline, "measure", measure)
    return names


# --- the file


def test_the_grid_is_every_model_sparsity_and_seed_on_every_engine_without_repeats(tmp_path):
    study = load_study(place(tmp_path) / "toy.toml")
    assert [cell.name for cell in study.cells] == CELLS
    assert [cell.name for cell in study.cells if cell.control == AA] == ["toy-dense-seed0-onnxruntime-aa"]
    assert [variant.name for variant in study.variants] == [line.split()[1] for line in TRAININGS]
    text = (tmp_path / "toy.toml").read_text()
    (tmp_path / "twice.toml").write_text(text + text[text.index("[[prune]]") :])
    assert load_study(tmp_path / "twice.toml").cells == study.cells


def test_the_studies_of_this_repository_can_be_read():
    bench = HERE.parents[1] / "bench"
    for path in sorted(bench.glob("*.toml")):
        study = load_study(path)
        assert study.variants, path
        assert len({cell.name for cell in study.cells}) == len(study.cells)
        assert len({variant.name for variant in study.variants}) == len(study.variants)


# --- the first run


def test_every_variant_is_trained_once_the_dense_network_first(finished_study):
    assert trained(finished_study) == TRAININGS


def test_every_cell_is_measured_once(finished_study):
    assert len(journal_keys(finished_study / JOURNAL)) == len(set(journal_keys(finished_study / JOURNAL))) == len(CELLS)
    run = Run.load(finished_study / RESULT)
    assert [m.name for m in run.measurements] == CELLS
    assert {m.status for m in run.measurements} == {MEASURED}
    assert run == Run(run.measurements, run.machine_info, run.commit_info, run.when, run.engines)


def test_a_row_carries_its_accuracy_at_each_step_and_the_images_it_was_taken_on(finished_study):
    rows = {m.name: m for m in Run.load(finished_study / RESULT).measurements}
    masked, dense = rows["toy-magnitude90-seed0-torch"], rows["toy-dense-seed0-torch"]
    for row in (masked, dense):
        accuracy = row.scores["accuracy"]
        assert accuracy.low <= accuracy.value <= accuracy.high
        assert row.data.words == "toy images 0, 8 in the test set"
        assert row.parity_data.words == "all 8 inputs (toy images 0, 8 in the test set)"
    assert masked.scores["accuracy"].raw is not None
    assert masked.scores["accuracy"].recalibrated is not None
    assert dense.scores["accuracy"].raw is None
    assert 0.85 < masked.sparsity <= 0.95
    assert dense.sparsity == 0


def test_the_control_is_its_own_reference(finished_study):
    rows = {m.name: m for m in Run.load(finished_study / RESULT).measurements}
    control = rows["toy-dense-seed0-onnxruntime-aa"]
    assert (control.control, control.speedup_reference) == (AA, "toy-dense-seed0-onnxruntime-aa")
    assert rows["toy-magnitude90-seed0-torch"].speedup_reference == "toy-dense-seed0-onnxruntime"


def test_tables_figures_and_patients_are_written(finished_study):
    tables = finished_study / "results" / "tables"
    for name in (f"toy-{machine_name()}.md", f"toy-{machine_name()}.csv", "toy-accuracy.csv"):
        assert "magnitude" in (tables / name).read_text()
    assert "toy-dense-seed1" in (tables / "toy-accuracy.csv").read_text(), "what was not timed has an accuracy too"
    patients = json.loads((tables / "toy-patients.json").read_text())
    assert {seed: split["test"] for seed, split in patients.items()} == {"seed 0": ["toy-0-0"], "seed 1": ["toy-0-1"]}
    assert list((finished_study / "results" / "figures").iterdir())
    assert "toy" in (finished_study / "results" / "toy.html").read_text()


def test_scores_by_group_and_every_epoch_are_written(finished_study):
    tables = finished_study / "results" / "tables"
    groups = json.loads((tables / "toy-groups.json").read_text())
    assert set(groups) == {line.split()[1] for line in TRAININGS}
    scores = {row["name"]: float(row["accuracy"]) for row in rows_of(tables / "toy-accuracy.csv")}
    for name, of in groups.items():
        values, weights = zip(*of["accuracy"].values(), strict=True)
        assert np.average(values, weights=weights) == pytest.approx(scores[name])
    epochs = rows_of(tables / "toy-epochs.csv")
    assert [f"{row['variant']}" for row in epochs] == [line.split()[1] for line in TRAININGS]
    assert {row["round"] for row in epochs} == {"1"}
    assert all(float(row["train_loss"]) > 0 for row in epochs)


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_nothing_is_left_over(finished_study):
    assert not [path for path in finished_study.rglob("*") if path.name.endswith(".tmp")]


# --- the second run


def test_a_second_run_trains_and_measures_nothing(again, measured, monkeypatch):
    monkeypatch.setattr("sparsemark.study.pipeline.measure", pytest.fail)
    monkeypatch.setattr("sparsemark.study.pipeline.engines.load", pytest.fail)
    journal, rows = JOURNAL.read_bytes(), Run.load(RESULT).measurements
    assert main(["run", "toy.toml"]) == 0
    assert trained(again) == TRAININGS
    assert measured == []
    assert JOURNAL.read_bytes() == journal
    assert Run.load(RESULT).measurements == rows


def test_results_that_were_removed_are_written_from_the_journal(again, measured):
    rows = Run.load(RESULT).measurements
    shutil.rmtree("results")
    assert main(["run", "toy.toml"]) == 0
    assert measured == []
    assert Run.load(RESULT).measurements == rows


def test_another_checkpoint_is_measured_again_and_nothing_else(again, measured):
    path = Path("models/weights/toy-magnitude90-seed0.safetensors")
    checkpoint = load_checkpoint(path)
    checkpoint.state["head.bias"].add_(1.0)
    save_checkpoint(path, checkpoint)
    assert main(["run", "toy.toml"]) == 0
    assert measured == ["toy-magnitude90-seed0-torch"]
    assert trained(again) == TRAININGS


def test_another_protocol_is_measured_again_and_nothing_is_trained(again, measured):
    study = Path("toy.toml")
    study.write_text(study.read_text().replace("pairs = 6", "pairs = 7"))
    assert main(["run", "toy.toml"]) == 0
    assert measured == CELLS
    assert trained(again) == TRAININGS
    assert {m.samples for m in Run.load(RESULT).measurements} == {14}


def test_a_checkpoint_that_was_removed_is_made_again_and_the_others_are_kept(again):
    Path("models/weights/toy-magnitude50-seed0.safetensors").unlink()
    assert main(["run", "toy.toml"]) == 0
    assert trained(again) == [*TRAININGS, "finetune toy-magnitude50-seed0"]


def test_without_training_a_missing_checkpoint_is_a_row_with_that_reason(again, capsys):
    missing = Path("models/weights/toy-magnitude90-seed0.safetensors")
    missing.unlink()
    before = trained(again)
    assert main(["run", "toy.toml", "--no-training"]) == 0
    assert trained(again) == before
    assert not missing.exists()
    rows = {m.name: m for m in Run.load(RESULT).measurements}
    assert rows["toy-magnitude90-seed0-torch"].status == UNSUPPORTED
    assert rows["toy-magnitude90-seed0-torch"].reason == f"{missing}: no such checkpoint, and nothing is to be trained"
    assert rows["toy-magnitude50-seed0-torch"].status == MEASURED
    table = Path("results/tables/toy-accuracy.md").read_text()
    assert f"- toy-magnitude90-seed0: {missing}: no such" in table.replace("\\", "")


def test_a_study_without_engines_is_scored_and_not_timed(again, capsys):
    text = re.sub(r"\n(engines|controls) = .*", "", Path("toy.toml").read_text())
    Path("scored.toml").write_text(text.replace('name = "toy"', 'name = "scored"', 1))
    assert main(["run", "scored.toml"]) == 0
    assert trained(again) == TRAININGS, "the checkpoints of the other study serve"
    shown = capsys.readouterr().out
    assert "| toy | magnitude 90 % |" in shown
    assert not paths.run(machine_name(), "scored").exists()
    assert not paths.table(machine_name(), "scored", "md").exists()
    assert "magnitude" in paths.accuracy_table("scored", "csv").read_text()


@pytest.mark.parametrize("name", ["toy-dense-seed0", "toy-magnitude90-seed0"])
def test_a_checkpoint_that_names_another_factory_is_refused_and_its_code_never_runs(name, again, capsys):
    path = Path(f"models/weights/{name}.safetensors")
    checkpoint = load_checkpoint(path)
    Path("theirs.py").write_text("open('ran', 'w')\nfrom network import build\n")
    model = dataclasses.replace(checkpoint.variant.model, reference="theirs.py:build")
    header = dataclasses.replace(checkpoint.header, variant=dataclasses.replace(checkpoint.variant, model=model))
    save_checkpoint(path, dataclasses.replace(checkpoint, header=header))
    assert main(["run", "toy.toml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert f"{path}: header.model.reference is 'theirs.py:build'; expected 'network.py:build'" in line
    assert not Path("ran").exists()


def test_a_checkpoint_under_anothers_name_is_refused(again, capsys):
    """It would put one network's numbers into another's row."""
    weights = Path("models/weights")
    shutil.copy(weights / "toy-magnitude90-seed0.safetensors", weights / "toy-magnitude50-seed0.safetensors")
    assert main(["run", "toy.toml"]) == 2
    line = capsys.readouterr().err
    assert "toy-magnitude50-seed0.safetensors: holds toy-magnitude90-seed0" in line


# --- weights that came with the repository, images that did not


def test_weights_of_other_images_are_used_but_never_fine_tuned(again):
    """Their test patients may be training patients here: what is not there yet cannot be made honestly."""
    weights = Path("models/weights")
    (weights / "toy-magnitude50-seed0.safetensors").unlink()
    assert main(["run", "toy.toml", "--data", "7"]) == 0
    assert trained(again) == TRAININGS
    assert not (weights / "toy-magnitude50-seed0.safetensors").exists()
    rows = {m.name: m for m in Run.load(RESULT).measurements}
    absent = rows["toy-magnitude50-seed0-torch"]
    assert absent.status == UNSUPPORTED
    assert "toy-dense-seed0.safetensors was not trained on the images at hand (toy images 7" in absent.reason
    used = rows["toy-magnitude90-seed0-torch"]
    assert used.status == MEASURED
    assert used.data.words == "toy images 0, 8 in the test set"
    assert used.parity_data.words == "all 8 inputs (toy images 7, 8 in the test set)"


def test_images_of_another_shape_are_refused(again, capsys):
    study = Path("toy.toml")
    study.write_text(study.read_text().replace("[1, 1, 16, 16]", "[1, 1, 20, 16]"))
    assert main(["run", "toy.toml"]) == 2
    assert "input" in capsys.readouterr().err


# --- what a study cannot do without


def test_without_matplotlib_one_line_says_so_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(place(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["run", "toy.toml"]) == 2
    assert (
        "matplotlib is not installed: the figures need it, pip install 'sparsemark[plots]'" in capsys.readouterr().err
    )
    assert trained(tmp_path) == []


def test_a_network_pruned_from_another_dense_one_is_refused(again, capsys):
    """Its accuracy would be held against a network that it does not come from."""
    path = Path("models/weights/toy-dense-seed0.safetensors")
    checkpoint = load_checkpoint(path)
    checkpoint.state["head.bias"].add_(1.0)
    save_checkpoint(path, checkpoint)
    assert main(["run", "toy.toml"]) == 2
    assert "toy-magnitude50-seed0.safetensors: pruned from another network than" in capsys.readouterr().err


def test_a_hook_that_refuses_its_data_is_one_line(again, capsys):
    hooks = Path("hooks.py")
    refusal = 'from sparsemark.errors import UserError\ndef open_task(*_): raise UserError("no images in 7")\n'
    hooks.write_text(refusal)
    assert main(["run", "toy.toml", "--data", "7"]) == 2
    assert "sparsemark run: no images in 7" in capsys.readouterr().err


def test_the_default_study_is_looked_for_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"bench/cnn9\.toml: cannot be read"):
        load_study(paths.DEFAULT_STUDY)


UNTRAINED = """
name = "untrained"
[[model]]
name = "net"
reference = "network.py:Toy"
input = [1, 1, 8, 8]
[[prune]]
method = "none"
engines = ["torch"]
[[prune]]
method = "magnitude"
sparsity = [0.9]
engines = ["torch"]
[protocol]
pairs = 2
block = 2
warmup_calls = 1
warmup_seconds = 0.0
"""


def test_a_study_without_hooks_times_the_factorys_own_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(place(tmp_path))
    Path("untrained.toml").write_text(UNTRAINED)
    assert main(["run", "untrained.toml"]) == 0
    run = Run.load(paths.run(machine_name(), "untrained"))
    rows = {m.name: m for m in run.measurements}
    assert {m.status for m in rows.values()} == {MEASURED}
    assert rows["net-magnitude90-seed0-torch"].sparsity == pytest.approx(0.9, abs=0.02)
    assert [m.scores for m in rows.values()] == [{}, {}]
    assert not paths.accuracy_table("untrained", "md").exists(), "nothing is known about accuracy"
    assert not paths.WEIGHTS.exists(), "weights that nobody trained are kept nowhere"


def test_the_cells_that_answer_first_are_of_what_removes_most_in_the_engines_that_matter():
    study = load_study(Path("bench/cnn9.toml"))
    names = [cell.name.removeprefix("cnn9-") for cell in headline_cells(study, 6)]
    assert names == [
        "dense-seed0-direct-csr",
        "dense-seed0-onnxruntime",
        "magnitude90-seed0-direct-csr",
        "magnitude90-seed0-onnxruntime",
        "channels90-seed0-onnxruntime",
        "channels90+magnitude70-seed0-onnxruntime",
    ]
    assert headline_cells(study, 1)[0].name == "cnn9-dense-seed0-onnxruntime"
    assert not any("all-ones" in cell.name or "random" in cell.name for cell in headline_cells(study, 10))


def test_a_quick_look_has_few_cells_and_a_name_of_its_own():
    study = load_study(Path("bench/cnn9.toml"))
    quick = quick_study(study)
    assert (quick.name, len(quick.cells), quick.protocol.pairs) == ("cnn9-quick", 10, 8)
    assert set(quick.variants) == {v for cell in quick.cells for v in (cell.variant, cell.variant.dense)}
    assert quick_study(quick).cells == quick.cells


def test_a_study_says_what_its_gate_tolerates(tmp_path):
    path = tmp_path / "study.toml"
    text = Path("bench/cnn9.toml").read_text()
    path.write_text(text + '[tolerance]\nlatency = 0.05\naccuracy = 0.02\n[tolerance.cells]\n"*-torch" = 0.2\n')
    found = load_study(path).tolerances
    assert (found.latency, found.scores, found.latency_of("a-torch")) == (0.05, {"accuracy": 0.02}, 0.2)
    assert load_study(Path("bench/cnn9.toml")).tolerances == Tolerances()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("latency = -1", "tolerance latency -1.0: expected a number from 0"),
        ("cells = 5", "tolerance: expected numbers, and a table of numbers called cells"),
        ("others = {a = 1}", "tolerance: expected numbers, and a table of numbers called cells"),
        ('latency = "small"', "tolerance.latency"),
    ],
)
def test_tolerances_that_make_no_sense_are_named(tmp_path, table, expected):
    path = tmp_path / "study.toml"
    path.write_text(Path("bench/cnn9.toml").read_text() + f"[tolerance]\n{table}\n")
    with pytest.raises(UserError, match=f"{path}: {expected}"):
        load_study(path)
