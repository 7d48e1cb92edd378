"""One cell from its network to its row: what is recorded, what is refused, and what makes it be measured again."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys

import numpy as np
import pytest

from sparsemark import engines, formats
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.records.journal import Journal
from sparsemark.records.measurement import ERROR, MEASURED, PARITY_FAILED, UNSUPPORTED
from sparsemark.specs import AA, Cell, ModelSpec, Protocol, Pruning, Variant
from sparsemark.study.inputs import timed_batches
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from sparsemark.study.run import measure_cells, prepare_variants
from tests.toy_study.place import HERE, journal_keys

FEW = Protocol(pairs=6, block=2, warmup_calls=1, warmup_seconds=0.0, images=4)
MASKED = Pruning.of("magnitude", 0.5)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Artifacts that all tests share, since each export takes a second; and a network of the user's."""
    folder = tmp_path_factory.mktemp("pipeline")
    shutil.copy(HERE / "network.py", folder)
    return folder


def model(folder):
    return ModelSpec("toy", f"{folder / 'network.py'}:build", (1, 1, 16, 16))


def cell(folder, prune=Pruning(), engine="torch", **more):  # noqa: B008 - frozen
    known = engines.ENGINES.get(engine)
    return Cell(Variant(model(folder), prune), known.formats[0] if known else "dense", engine, **more)


def make(folder, work=None, protocol=FEW):
    work = work or folder
    return Pipeline(lambda variant: None, protocol, Places(work / "weights", work), 0)


@pytest.fixture
def pipeline(work):
    return make(work)


@pytest.fixture
def spoiled(monkeypatch):
    """Make an engine do something else: `spoiled("torch", predict -> predict)`."""

    def spoil(name, change):
        engine = engines.ENGINES[name]
        spoilt = dataclasses.replace(engine, load=lambda *arguments: change(engine.load(*arguments)))
        monkeypatch.setitem(engines.ENGINES, name, spoilt)

    return spoil


# --- a row


def test_a_row_says_what_was_asked_for_what_is_left_and_how_long_it_takes(pipeline, work):
    row = pipeline.measure(cell(work, MASKED))
    assert (row.name, row.status, row.reason) == ("toy-magnitude50-seed0-torch", MEASURED, None)
    assert (row.method, row.scope, row.sparsity_target, row.engine, row.format) == (
        "magnitude", "network", 0.5, "torch", "dense",
    )  # fmt: skip
    assert row.sparsity == pytest.approx(0.5, abs=0.01)
    assert 0 < row.mac_density < 1
    assert row.parity_max_rel < 1e-5
    assert row.engine_agreement == 1
    assert row.agreement_with_dense is not None
    assert row.parity_data.words == "all 32 inputs (random inputs, standard normal)"
    assert len(row.samples_s) == len(row.reference_s) == row.samples == FEW.rounds
    assert row.speedup_reference == "toy-dense-seed0-onnxruntime"


def test_verifying_alone_times_nothing_and_leaves_the_times_null(pipeline, work, monkeypatch):
    monkeypatch.setattr("sparsemark.study.pipeline.measure", pytest.fail)
    row = pipeline.measure(cell(work, MASKED), None)
    assert row.status == MEASURED
    assert row.parity_max_rel < 1e-5
    assert (row.p50_ms, row.speedup, row.samples, row.samples_s) == (None, None, None, ())


def test_a_control_is_timed_against_itself(pipeline, work):
    row = pipeline.measure(cell(work, control=AA))
    assert row.speedup_reference == row.name == "toy-dense-seed0-torch-aa"


def test_timing_images_are_spread_over_all(pipeline, work):
    inputs = pipeline.inputs(cell(work).variant)
    chosen, batches = timed_batches(inputs, FEW.images), inputs.batches
    assert len(chosen) == FEW.images
    assert chosen[0] is not chosen[1]
    assert np.array_equal(chosen[0][0], batches[0][0])
    assert np.array_equal(chosen[-1][0], batches[-1][0])


# --- no latency without parity


def test_an_engine_that_does_not_agree_is_a_row_with_its_difference_and_no_latency(work, spoiled, monkeypatch):
    monkeypatch.setattr("sparsemark.study.pipeline.measure", pytest.fail)
    spoiled("torch", lambda predict: lambda image: tuple(output * 1.001 for output in predict(image)))
    row = make(work).measure(cell(work, MASKED))
    assert row.status == PARITY_FAILED
    assert "allowed 1e-05" in row.reason
    assert row.parity_max_rel == pytest.approx(1e-3, rel=0.01)
    assert (row.p50_ms, row.samples_s) == (None, ())


@pytest.mark.parametrize("spoil", [lambda y: y * np.nan, lambda y: y[:, :1], lambda y: y[None]])
def test_an_engine_that_answers_nonsense_is_a_row_without_a_made_up_difference(spoil, work, spoiled):
    spoiled("torch", lambda predict: lambda image: tuple(map(spoil, predict(image))))
    row = make(work).measure(cell(work))
    assert row.status == PARITY_FAILED
    assert row.parity_max_rel is None


def test_an_artifact_that_lost_zeros_fails(pipeline, work, monkeypatch):
    masked, plain = cell(work, MASKED).variant, pipeline.count

    def more_zeros(variant):
        count = plain(variant)
        if variant != masked:
            return count
        layers = tuple(dataclasses.replace(layer, nonzeros=layer.nonzeros - 1) for layer in count.layers)
        return dataclasses.replace(count, layers=layers)

    monkeypatch.setattr(pipeline, "count", more_zeros)
    row = pipeline.measure(cell(work, MASKED))
    assert row.status == PARITY_FAILED
    assert "the dense file has sparsity" in row.reason


def test_an_engine_that_breaks_is_a_row_of_one_line(work, spoiled):
    def breaks(image):
        raise RuntimeError("out of\nmemory" + " and patience" * 100)

    spoiled("torch", lambda predict: breaks)
    row = make(work).measure(cell(work))
    assert row.status == ERROR
    assert row.reason.startswith("RuntimeError: out of memory and patience")
    assert len(row.reason) == 500


def test_what_a_format_cannot_express_is_a_row_that_says_so(work, monkeypatch):
    def refuses(source, path):
        raise UnsupportedError("no such operator")

    monkeypatch.setitem(formats.FORMATS, "csr", dataclasses.replace(formats.FORMATS["csr"], export=refuses))
    row = make(work).measure(cell(work, Pruning.of("magnitude", 0.25), "scipy-csr"))
    assert (row.status, row.reason) == (UNSUPPORTED, "no such operator")


# --- the reference


@pytest.mark.parametrize("failure", [UnsupportedError("cannot run this"), RuntimeError("no kernel")])
def test_the_reference_is_pytorch_where_onnx_runtime_cannot_run_the_network(failure, work, spoiled):
    def breaks(image):
        raise failure

    spoiled("onnxruntime", lambda predict: breaks)
    row = make(work).measure(cell(work, MASKED))
    assert (row.status, row.speedup_reference) == (MEASURED, "toy-dense-seed0-torch")


def test_a_cell_tells_its_own_reason_before_its_references(work, spoiled):
    spoiled("onnxruntime", lambda predict: lambda image: tuple(output + 1 for output in predict(image)))
    spoiled("torch", lambda predict: lambda image: tuple(output + 2 for output in predict(image)))
    row = make(work).measure(cell(work))
    assert row.status == PARITY_FAILED
    assert row.parity_max_abs == pytest.approx(2, rel=1e-3)


# --- what decides that a cell is measured again


def test_a_cells_key_depends_on_what_decides_its_measurement_and_on_nothing_else(work, tmp_path, monkeypatch):
    plain = make(work).key(cell(work, MASKED))
    assert make(work).key(cell(work, MASKED)) == plain
    assert make(work, tmp_path).key(cell(work, MASKED)) == plain, "where artifacts lie does not matter"
    changed = dataclasses.replace(engines.ENGINES["torch"], code=lambda: "changed")
    with monkeypatch.context() as patch:
        patch.setitem(engines.ENGINES, "torch", changed)
        others = {make(work).key(cell(work, MASKED))}
    others |= {
        make(work).key(cell(work)),
        make(work).key(cell(work, MASKED, "onnxruntime")),
        make(work).key(cell(work, MASKED, threads=2)),
        make(work).key(cell(work, MASKED, control=AA)),
        make(work, protocol=dataclasses.replace(FEW, pairs=7)).key(cell(work, MASKED)),
    }
    monkeypatch.setattr("sparsemark.study.pipeline.identity", lambda: {"cpu_model": "another"})
    others.add(make(work).key(cell(work, MASKED)))
    assert len(others - {plain}) == 7


def test_a_cells_key_depends_on_the_code_of_the_network(work, tmp_path):
    shutil.copy(work / "network.py", tmp_path)
    key = make(tmp_path).key(cell(tmp_path))
    source = tmp_path / "network.py"
    source.write_text(source.read_text().replace("torch.relu(self.second", "torch.tanh(self.second"))
    assert make(tmp_path).key(cell(tmp_path)) != key


def test_what_is_exported_is_not_exported_again(pipeline, work, monkeypatch):
    first = pipeline.export(pipeline.prepare(cell(work).variant), "dense")
    for name, form in formats.FORMATS.items():
        monkeypatch.setitem(formats.FORMATS, name, dataclasses.replace(form, export=pytest.fail))
    again = make(work)
    assert again.export(again.prepare(cell(work).variant), "dense") == first


# --- many cells


def everything(items, what, kinds=None):
    return items


def test_cells_of_the_journal_are_taken_as_they_are(work, tmp_path, monkeypatch):
    cells = [cell(work), cell(work, MASKED)]
    path = tmp_path / "journal.jsonl"
    first = measure_cells(make(work), cells[:1], Journal(path), everything)
    both = measure_cells(make(work), cells, Journal(path), everything)
    assert both.measurements[0] == first.measurements[0]
    assert len(journal_keys(path)) == 2
    monkeypatch.setattr(Pipeline, "measure", pytest.fail)
    assert measure_cells(make(work), cells, Journal(path), everything).measurements == both.measurements


def test_an_interrupt_that_a_library_makes_an_error_of_stops_everything(work, tmp_path, spoiled, interruptible):
    """PyTorch does, while it imports its exporter: the row would say that the network cannot be exported."""

    def swallows(predict):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise AttributeError("module has no attribute") from None

    spoiled("torch", swallows)
    with pytest.raises(KeyboardInterrupt):
        measure_cells(make(work), [cell(work)], Journal(tmp_path / "journal.jsonl"), everything)
    assert not (tmp_path / "journal.jsonl").exists() or not journal_keys(tmp_path / "journal.jsonl")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_a_network_is_prepared_is_no_row_of_it(number, work, monkeypatch, interruptible):
    from sparsemark.pruning import PRUNERS

    def swallows(module, request):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise AttributeError("half imported") from None

    monkeypatch.setitem(PRUNERS, "magnitude", dataclasses.replace(PRUNERS["magnitude"], apply=swallows))
    with pytest.raises(KeyboardInterrupt):
        prepare_variants(make(work), [cell(work, Pruning.of("magnitude", 0.31)).variant], everything)


def test_a_pruner_that_breaks_costs_its_own_cells_only(work, tmp_path, monkeypatch):
    """Whatever it raises; and it is not in the journal, so that a repaired one is tried."""
    from sparsemark.pruning import PRUNERS

    def breaks(module, request):
        raise ZeroDivisionError("no weights")

    monkeypatch.setitem(PRUNERS, "filters", dataclasses.replace(PRUNERS["filters"], apply=breaks))
    cells = [cell(work, Pruning.of("filters", 0.5)), cell(work)]
    run = measure_cells(make(work), cells, Journal(tmp_path / "journal.jsonl"), everything)
    assert [m.status for m in run.measurements] == [ERROR, MEASURED]
    assert run.measurements[0].reason == "ZeroDivisionError: no weights"
    assert len(journal_keys(tmp_path / "journal.jsonl")) == 1


def test_a_callers_mistake_stops_everything(pipeline, work, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="unknown engine 'torhc'; did you mean 'torch'"):
        pipeline.measure(cell(work, engine="torhc"))
    shutil.copy(work / "network.py", tmp_path)
    changed = make(tmp_path)
    changed.prepare(cell(tmp_path).variant)
    source = tmp_path / "network.py"
    source.write_text(source.read_text().replace("nn.Linear(14, 2)", "nn.Linear(14, 3)"))
    # Python tells files apart by their size and the second of their change, and would run what it compiled before.
    os.utime(source, (0, 0))
    for name in [name for name, module in sys.modules.items() if getattr(module, "__file__", None) == str(source)]:
        monkeypatch.delitem(sys.modules, name)  # as in the next process
    with pytest.raises(UserError, match="makes another network than toy"):
        changed.measure(cell(tmp_path))
    row = changed.measure(cell(tmp_path, MASKED))
    assert row.status == ERROR, "its own failure, until the dense network fails as well"
    assert "makes another network than toy" in row.reason


# --- damaged files in the work folder


def damage(path, kind):
    content = path.read_bytes()
    flipped = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "bit": flipped}[kind])


@pytest.mark.parametrize("kind", ["empty", "cut", "bit"])
def test_a_damaged_checkpoint_in_the_work_folder_is_made_again(kind, tmp_path, caplog):
    caplog.set_level("INFO", logger="sparsemark")
    shutil.copy(HERE / "network.py", tmp_path)
    variant = cell(tmp_path, MASKED).variant
    before = make(tmp_path).prepare(variant)
    whole = before.source.path.read_bytes()
    damage(before.source.path, kind)
    again = make(tmp_path).prepare(variant)
    assert again.source.path.read_bytes() == whole
    assert again.key == before.key
    assert f"{before.source.path}: damaged" in caplog.text
    assert "made again" in caplog.text


@pytest.mark.parametrize("kind", ["empty", "cut", "bit"])
@pytest.mark.parametrize("what", ["artifacts/*.safetensors", "artifacts/*.json", "counts/*.json", "references/*.npz"])
def test_a_damaged_file_in_the_work_folder_heals(what, kind, tmp_path):
    shutil.copy(HERE / "network.py", tmp_path)
    before = make(tmp_path).measure(cell(tmp_path, MASKED), None)
    files = sorted(tmp_path.glob(what))
    assert files
    whole = [path.read_bytes() for path in files]
    for path in files:
        damage(path, kind)
    assert make(tmp_path).measure(cell(tmp_path, MASKED), None) == before
    if not what.endswith(".npz"):  # which holds the time
        assert [path.read_bytes() for path in files] == whole
