"""Decisions on how each layer runs: measured once and stored, and a stored one is used only if it fits."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.direct import autotune, decisions, network
from sparsemark.direct.network import Network
from sparsemark.direct.program import assemble
from sparsemark.direct.schedule import Schedule
from sparsemark.engines import direct_csr, onnx_runtime
from sparsemark.engines.direct_csr import open_dense
from tests.direct.checks import alike, chain, noise, opened, pyramid
from tests.direct.graphs import (
    WIDE,
    Prepared,
    expected,
)


@pytest.fixture
def remembered(tmp_path, no_contest, quick):
    """A network, its folder of decisions, and the only file in it."""
    opened(chain(2), 1, tmp_path)
    (path,) = tmp_path.glob("*.json")
    return tmp_path, path


def test_decision_is_remembered_and_taken(remembered, monkeypatch):
    folder, path = remembered
    before = path.read_bytes()
    monkeypatch.setattr(network, "choose", lambda *arguments: pytest.fail("measured again"))
    run = opened(chain(2), 1, folder)
    image = noise(*chain(2).input_shape)
    alike(run(image), expected(chain(2), image))
    assert path.read_bytes() == before


def changed(change):
    def apply(content):
        stored = json.loads(content)
        change(stored)
        return json.dumps(stored).encode()

    return apply


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-5],
    "no text": lambda content: bytes(range(256)),
    "not an object": lambda content: b"[1, 2]",
    "text": lambda content: b'"schedules"',
    "null": lambda content: b"null",
    "another layout": lambda content: b'{"version": 9}',
    "deep": lambda content: b"[" * 200_000,
    "deep choices": lambda content: content.replace(b'"schedules": [', b'"schedules": [' + b"[" * 100_000),
    "long number": lambda content: content.replace(b'"planes": 0', b'"planes": ' + b"9" * 5000),
    "fewer choices": changed(lambda s: s["schedules"].pop()),
    "more choices": changed(lambda s: s["schedules"].append(s["schedules"][0])),
    "choices of none": changed(lambda s: s.update(schedules=None)),
    "choices of a number": changed(lambda s: s.update(schedules=3)),
    "negative variant": changed(lambda s: s["schedules"][0].update(microkernel=-1)),
    "unknown variant": changed(lambda s: s["schedules"][0].update(microkernel=99)),
    "unfitting variant": changed(lambda s: s["schedules"][0].update(microkernel=2)),
    "infinite variant": changed(lambda s: s["schedules"][0].update(microkernel=math.inf)),
    "no number for a variant": changed(lambda s: s["schedules"][0].update(microkernel=math.nan)),
    "huge variant": changed(lambda s: s["schedules"][0].update(microkernel=10**30)),
    "text for a variant": changed(lambda s: s["schedules"][0].update(microkernel="x")),
    "negative planes": changed(lambda s: s["schedules"][0].update(block=-4)),
    "blocks that are not offered": changed(lambda s: s["schedules"][0].update(block=1)),
    "no dense": changed(lambda s: s.pop("dense")),
    "no seconds": changed(lambda s: s.pop("dense_s")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_decision_is_measured_again_and_written_anew(damage, remembered):
    folder, path = remembered
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    image = noise(*chain(2).input_shape)
    alike(opened(chain(2), 1, folder)(image), expected(chain(2), image))
    stored = json.loads(path.read_bytes())
    assert len(stored["schedules"]) == 2


@pytest.mark.parametrize("seconds", ["soon", [], {}, True])
def test_decision_with_seconds_that_are_none_is_not_taken(seconds, remembered):
    folder, path = remembered
    path.write_bytes(changed(lambda s: s.update(direct_s=seconds))(path.read_bytes()))
    decision = opened(chain(2), 1, folder).plan((1, 4, 12, 20)).decision
    assert decision.direct_s is None or type(decision.direct_s) is float


def test_decision_of_another_network_under_this_name_is_not_taken(remembered, no_contest, quick):
    folder, path = remembered
    for graph in (chain(3), chain(2, 4, (12, 16)), pyramid()):
        (folder / "other").mkdir(exist_ok=True)
        opened(graph, 1, folder / "other")
        (other,) = (folder / "other").glob("*.json")
        path.write_bytes(other.read_bytes())
        other.unlink()
        image = noise(*chain(2).input_shape)
        alike(opened(chain(2), 1, folder)(image), expected(chain(2), image))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_decision_with_changed_bytes_never_stops_a_network(data):
    """Bytes anywhere in it: what is taken must be something that fits."""
    prepared = Prepared(chain(2))
    content = bytearray(json.dumps(dataclasses.asdict(decision_of(prepared))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(content) - 1))
        content[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decision.json"
        path.write_bytes(content)
        decision = decisions.recall_decision(path, prepared.options)
    if decision is not None:
        for step, choice in zip(prepared.convolutions, decision.schedules, strict=True):
            assert choice in prepared.options[step]


def decision_of(prepared):
    return decisions.Decision(tuple(found[0] for found in prepared.options.values()), False, 0.5, 0.25)


@pytest.mark.parametrize("kind", ["file", "below a file", "folder in its place"])
def test_folder_that_cannot_be_written_costs_nothing_but_time(kind, tmp_path, no_contest, quick):
    (tmp_path / "file").write_bytes(b"")
    folder = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "x", "folder in its place": tmp_path}[kind]
    if kind == "folder in its place":
        opened(chain(2), 1, folder)
        (path,) = tmp_path.glob("*.json")
        path.unlink()
        path.mkdir()
    image = noise(*chain(2).input_shape)
    alike(opened(chain(2), 1, folder)(image), expected(chain(2), image))


def test_network_that_could_not_be_compared_with_dense_is_compared_again(tmp_path, monkeypatch, quick):
    """What keeps a dense engine from running one file, such as an operator's attribute, another file may not have."""
    graph = chain(2)
    monkeypatch.setattr(network.Network, "_contest", lambda *arguments: None)
    assert opened(graph, 1, tmp_path).plan(graph.input_shape).decision.direct_s is None
    assert not list(tmp_path.glob("*.json"))
    monkeypatch.undo()
    monkeypatch.setattr(network.Network, "_contest", lambda *arguments: (2.0, 1.0))
    assert opened(graph, 1, tmp_path).plan(graph.input_shape).decision.dense


def test_network_is_put_together_once(tmp_path, monkeypatch, no_contest, quick):
    """Twice the weights would be the peak of all memory."""
    made = []
    monkeypatch.setattr(network, "assemble", lambda *arguments: made.append(1) or assemble(*arguments))
    for _ in range(2):
        opened(chain(2), 1, tmp_path)
    assert len(made) == 2


def test_options_hold_no_choice_twice_and_only_what_divides():
    for width in (*WIDE[:3], 20, 64):
        prepared = Prepared(chain(1, 12, (16, width)))
        (step,) = prepared.convolutions
        found = prepared.options[step]
        assert found == list(dict.fromkeys(found))
        assert all(isinstance(choice, Schedule) and step.outputs % choice.channels == 0 for choice in found)


def test_the_fastest_is_timed_again_before_it_is_chosen(monkeypatch):
    prepared = Prepared(chain(1))
    (step,) = prepared.convolutions
    found = prepared.options[step]
    first = dict(zip(found, [1.0, 1.1, *[2.0] * len(found)], strict=False))
    asked = []

    def scripted(_step, choices, *_, **_least):
        (choice,) = choices.values()
        asked.append(choice)
        return first[choice] if asked.count(choice) == 1 else 0.5 if choice == found[1] else 3.0

    monkeypatch.setattr(autotune, "time_operation", scripted)
    monkeypatch.setattr(autotune, "promising", lambda _operation, ways: ways)
    assert autotune.choose(prepared.options, prepared.floats)[step].schedule == found[1]
    assert len(asked) == len(found) + min(4, len(found))


def test_dense_takes_over_where_it_is_faster_and_gives_the_same(tmp_path, monkeypatch, quick):
    monkeypatch.setattr(network, "_CLEARLY", 0.0)
    graph = chain(2)
    image = noise(*graph.input_shape)
    for _ in range(2):
        run = opened(graph, 1, tmp_path)
        assert run.plan(graph.input_shape).decision.dense
        alike(run(image), expected(graph, image))
        alike(run(np.concatenate([image, image])), [np.concatenate([a, a]) for a in expected(graph, image)])


def test_other_code_of_the_dense_engine_is_another_rival_and_the_same_layers(tmp_path, monkeypatch, quick):
    graph = chain(2)
    monkeypatch.setattr(network.Network, "_contest", lambda *arguments: (2.0, 1.0))

    def decision(code):
        return Network(graph, 1, tmp_path, open_dense, dense_code=code).plan(graph.input_shape).decision

    assert decision("one").dense
    layers = {path: path.stat().st_mtime_ns for path in tmp_path.glob("layers/*")}
    assert layers
    monkeypatch.setattr(network.Network, "_contest", lambda *arguments: (1.0, 2.0))
    assert decision("one").dense, "remembered"
    assert not decision("other").dense, "timed against another"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("layers/*")} == layers


def test_the_engine_is_another_where_its_dense_parts_run_otherwise(monkeypatch):
    before = direct_csr.code()
    assert direct_csr.code() == before
    monkeypatch.setattr(onnx_runtime, "code", lambda: "other")
    assert direct_csr.code() != before
    opened_with = []
    monkeypatch.setattr(network, "Network", lambda *_, dense_code, **__: opened_with.append(dense_code))
    direct_csr.network_of(chain(2), 1)
    assert opened_with == ["other"]


def test_without_a_dense_engine_there_is_no_contest_and_no_memory_of_one(tmp_path, quick):
    """A network that is given one later must still be timed against it."""
    graph = chain(2)
    run = Network(graph, 1, tmp_path)
    decision = run.plan(graph.input_shape).decision
    assert (decision.dense, decision.direct_s, decision.dense_s) == (False, None, None)
    assert not list(tmp_path.glob("*.json"))
    image = noise(*graph.input_shape)
    alike(run(image), expected(graph, image))
    assert opened(graph, 1, tmp_path).plan(graph.input_shape).decision.dense_s is not None


def test_remembered_victory_of_dense_is_not_taken_without_a_dense_engine(tmp_path, monkeypatch, quick):
    graph = chain(2)
    monkeypatch.setattr(network.Network, "_contest", lambda *arguments: (2.0, 1.0))
    assert opened(graph, 1, tmp_path).plan(graph.input_shape).decision.dense
    run = Network(graph, 1, tmp_path)
    assert not run.plan(graph.input_shape).decision.dense
    image = noise(*graph.input_shape)
    alike(run(image), expected(graph, image))


@pytest.mark.parametrize("threads", [1, 2])
def test_dense_engine_gets_the_model_and_the_threads_and_is_kept(threads, monkeypatch, quick):
    monkeypatch.setattr(network, "_CLEARLY", 0.0)
    graph, calls = chain(2), []

    def open_dense(model, count):
        calls.append((onnx.load_from_string(model).graph.input[0].name, count))
        return lambda image: (image,)

    run = Network(graph, threads, open_dense=open_dense)
    image = noise(*graph.input_shape)
    np.testing.assert_array_equal(run(image)[0], image)
    assert calls[-1] == (graph.inputs[0], threads)
    opened_so_far = len(calls)
    run(image)
    run(np.concatenate([image, image]))
    assert len(calls) == opened_so_far


def test_decision_that_was_changed_by_hand_is_measured_again(remembered):
    """It would still fit; the whole network would run dense."""
    folder, path = remembered
    assert json.loads(path.read_bytes())["dense"] is False
    path.write_bytes(changed(lambda s: s.update(dense=True, direct_s=2.0, dense_s=1.0))(path.read_bytes()))
    assert not opened(chain(2), 1, folder).plan(chain(2).input_shape).decision.dense
    assert json.loads(path.read_bytes())["dense"] is False
