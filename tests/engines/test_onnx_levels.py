"""Optimisation level of ONNX Runtime: the faster one of a file, chosen once."""

from __future__ import annotations

import numpy as np
import pytest

from sparsemark.engines import ENGINES, onnx_levels, onnx_runtime
from sparsemark.engines.base import notes_of
from sparsemark.engines.onnx_levels import ALL, DEFAULT, EXTENDED, level_for
from sparsemark.measurement.parity import check
from tests.small_networks import artifact, batches, reference


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """Have EXTENDED be so many times as fast as ALL; returns the levels at which the file was opened."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened = []

    def be(*ratios):
        calls = []

        def seconds(run):
            calls.append(run)
            pair, level = divmod(len(calls) - 1, 2)
            # By turns first, the other one at first.
            is_default = (level == 0) == bool(pair % 2)
            return ratios[pair % len(ratios)] if is_default else 1.0

        monkeypatch.setattr(onnx_levels, "_seconds", seconds)
        return opened

    plain = onnx_runtime.open_session

    def open_session(*arguments, **options):
        opened.append(options.get("level", ALL))
        return plain(*arguments, **options)

    monkeypatch.setattr(onnx_runtime, "open_session", open_session)
    return be


def path():
    return artifact("plain", "none", "onnx").path


def test_the_faster_level_is_taken_noted_in_the_row_and_never_measured_again(timed):
    opened = timed(1.05)
    predict = onnx_runtime.load(path(), 1)
    assert opened == [ALL, EXTENDED, EXTENDED]
    (note,) = notes_of(predict)
    assert "EXTENDED" in note
    assert "1.05" in note
    verified = check(predict, batches("plain"), reference("plain", "none"))
    assert note in verified.parity.notes
    del opened[:]
    again = onnx_runtime.load(path(), 1)
    assert opened == [EXTENDED]
    assert notes_of(again) == (note,)


@pytest.mark.parametrize("ratios", [(1.01,), (0.9,), (1.3, 0.9)])
def test_what_is_not_clearly_faster_leaves_the_default_without_a_note(ratios, timed):
    opened = timed(*ratios)
    predict = onnx_runtime.load(path(), 1)
    assert opened[-1] == ALL
    assert notes_of(predict) == ()
    del opened[:]
    onnx_runtime.load(path(), 1)
    assert opened == [ALL]


def test_a_choice_that_cannot_be_remembered_is_not_made(timed, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    timed(1.5)
    assert notes_of(onnx_runtime.load(path(), 1)) == ()


def test_a_choice_belongs_to_a_file_and_a_number_of_threads(timed):
    opened = timed(1.5)
    onnx_runtime.load(path(), 1)
    del opened[:]
    onnx_runtime.load(artifact("plain", "magnitude:0.9", "onnx").path, 1)
    assert ALL in opened
    del opened[:]
    onnx_runtime.load(path(), 2)
    assert ALL in opened


def test_a_program_runs_a_file_or_its_content_at_the_level_that_is_timed(timed):
    opened = timed(1.5)
    onnx_runtime.Session(path().read_bytes(), 1)
    assert opened[-1] == EXTENDED
    del opened[:]
    onnx_runtime.Session(path(), 1)
    onnx_runtime.load(path(), 1)
    assert opened == [EXTENDED, EXTENDED]


def test_inputs_of_open_sizes_take_the_default(timed):
    class Open:
        name, shape, type = "x", ["batch", 3, "height", 8], "tensor(float)"

    class Session:
        def get_inputs(self):
            return [Open()]

        def run(self, *_):
            raise AssertionError

    timed(1.5)
    assert level_for(path(), 1, lambda _: Session()) == DEFAULT


def test_made_up_inputs_have_the_sizes_and_types_that_the_file_declares():
    (image,) = onnx_levels.arguments(onnx_runtime.open_session(path(), 1)).values()
    assert (image.shape, image.dtype) == ((1, 3, 16, 12), np.float32)


def test_timings_are_made_anew_when_the_way_of_opening_changes():
    assert ENGINES["onnxruntime"].code()
