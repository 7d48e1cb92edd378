"""Mutated result files: whatever one holds, a command ends in its exit code and one line, never in a traceback."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.records.engine_note import EngineNote
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote
from tests.synthetic import MACHINE, accuracy, cell

MUTATIONS = 200
NUMBERS = [
    0, -1, 1, 2, 0.5, 1.5, -0.5, 1e308, -1e308, 1e300, 1e-308, 5e-324, 10**400, -(10**400), 2**63, -(2**63),
    2**63 - 1, 2**31 - 1, math.nan, math.inf, -math.inf, 1e9, 1e-15, 1e12, 1e-12, 1e24, 1e-24, 1e100, -1e100,
]  # fmt: skip
"""Among them both ends of every range: what is read there must not overflow further on."""

OTHERS = [
    True, None, "", "text", "\x1b[31m", "a\r\nb", "::error::x", "=1", "\ud800", "\u202e", "|`<b>", [], [1], {},
    {"a": 1},
]  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """Three cells, one of them without a latency, with every field that a measurement fills."""
    common = {
        "model": "m", "seed": 0, "precision": "fp32", "scores": accuracy(0.9, low=0.8, high=0.95, raw=0.5),
        "data": DataNote("LGG", "PHANTOM", "k"), "parity_data": DataNote("LGG"), "engine_agreement": 1.0,
        "artifact_bytes": 1000, "parameters": 10, "sparsity": 0.5, "sparsity_target": 0.5, "steal": 0.0, "waited": 0.0,
    }  # fmt: skip
    rows = (
        cell(1, pairs=7, name="dense", method="none", engine="onnxruntime", **common),
        cell(2, 5.0, pairs=7, name="cut", method="magnitude", pruning="magnitude:0.5", engine="ncnn", **common),
        Measurement("failed", "error", "out of memory", model="m", method="magnitude", engine="theirs"),
    )
    path = tmp_path_factory.mktemp("mutated") / "base.json"
    Run(rows, MACHINE, {"id": "abc"}, "2026-01-01", {"ncnn": EngineNote("ncnn", "red", "o", "-")}).save(path)
    return json.loads(path.read_text())


def places(value, path=()):
    """Paths of everything in a document, of lists the first items."""
    for key in value if isinstance(value, dict) else range(min(len(value), 3)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


def mutated(document, draw):
    """A copy with one to three changes, and the changes."""
    found, changes = copy.deepcopy(document), []
    known = list(places(document))
    numbers = [path for path in known if "extra_info" in path or "data" in path or "reference_data" in path]
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        path = draw.choice(draw.choice((known, numbers, numbers)))
        holder = found
        try:
            for key in path[:-1]:
                holder = holder[key]
            if draw.random() < 0.1:
                del holder[path[-1]]
                changes.append((path, "removed"))
            else:
                holder[path[-1]] = draw.choice(draw.choice((NUMBERS, NUMBERS, OTHERS)))
                changes.append((path, holder[path[-1]]))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    return found, changes


def test_a_mutated_file_is_read_or_refused_in_one_line(document, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    Path("base.json").write_text(json.dumps(document))
    draw = random.Random(20261126)
    ended = {0: 0, 2: 0}
    for _ in range(MUTATIONS):
        changed, changes = mutated(document, draw)
        Path("m.json").write_text(json.dumps(changed))
        form = draw.choice(("table", "markdown", "csv", "html"))
        first, second = draw.choice((("base.json", "m.json"), ("m.json", "base.json")))
        command = draw.choice(
            (("report", "m.json", "--format", form), ("compare", first, second), ("gate", "--baseline", first, second))
        )
        code = main(command)
        out, err = capsys.readouterr()
        said = f"{changes}: {command}: {code}: {err}"
        assert code in ((0, 1, 2, 3, 4, 5) if command[0] == "gate" else (0, 2)), said
        assert len(err.splitlines()) == (code in (2, 4)), said
        out = re.sub(r"<script.*?</script>", "", out, flags=re.DOTALL)  # the library that draws charts is not ours
        assert all(character.isprintable() or character in "\n\N{NO-BREAK SPACE}" for character in out + err), said
        ended[2 if err else 0] += 1
    assert min(ended.values()) > MUTATIONS / 10, f"{ended}: too few of one kind to say much"


def test_what_a_mutated_file_adds_to_a_history_can_be_read(document, tmp_path, monkeypatch, capsys):
    """One line that no reader takes would cost the whole history."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(20261127)
    added = 0
    for _ in range(MUTATIONS // 4):
        changed, changes = mutated(document, draw)
        Path("m.json").write_text(json.dumps(changed))
        before = Path("history.jsonl").read_bytes() if added else b""
        code = main(["history", "add", "m.json"])
        said = f"{changes}: {code}: {capsys.readouterr().err}"
        assert code in (0, 2), said
        if code == 2:
            assert not added or Path("history.jsonl").read_bytes() == before, said
            continue
        added += 1
        assert main(["history"]) == 0, said
        out, err = capsys.readouterr()
        assert err == "", said
        assert all(character.isprintable() or character == "\n" for character in out), said
        Path("history.jsonl").write_bytes(b"".join(Path("history.jsonl").read_bytes().splitlines(keepends=True)[-40:]))
    assert added > MUTATIONS / 40


@pytest.mark.parametrize("command", [("report",), ("compare", "base.json"), ("gate", "--baseline", "base.json"),
                                     ("history", "add")])  # fmt: skip
def test_a_number_out_of_range_is_named_by_every_command(command, document, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("base.json").write_text(json.dumps(document))
    wrong = {"reference_p50_ms": 0, "block": -1, "steal": 10**400, "p50_ms": 1e308, "speedup": -2.0, "samples": -3}
    for field, value in wrong.items():
        changed = copy.deepcopy(document)
        changed["benchmarks"][1]["extra_info"][field] = value
        Path("m.json").write_text(json.dumps(changed))
        assert main([*command, "m.json"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"m.json: benchmarks[1]: extra_info.{field} is " in line
        assert ", expected " in line
