"""Checkpoints of schema 1, as they are committed, are read as schema 2 and lose nothing that the harness reads."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sparsemark
from sparsemark.files import key_of
from sparsemark.networks.checkpoint import load_checkpoint, read_header
from sparsemark.networks.checkpoint_v1 import METRICS, upgrade
from sparsemark.specs import Pruning
from sparsemark.study.prepare import Prepared

ROOT = Path(__file__).parents[2]
PRUNINGS = {
    "all-ones": "all-ones",
    "dense": "none",
    "random90": "random:0.9",
    **{f"channels{share}": f"channels:0.{share // 10}" for share in (30, 50, 70, 90)},
    **{f"channels{share}r16": f"channels:0.{share // 10}:16" for share in (30, 50)},
    **{f"magnitude{share}": f"magnitude:0.{share // 10}" for share in (30, 50, 70, 90)},
}
"""The text of each pruning by its label in a file name."""


def stored(path):
    """The header as it stands in the file."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["sparsemark"])


COMMITTED = sorted(path for path in (ROOT / "models" / "weights").glob("*.safetensors") if stored(path)["schema"] == 1)


def by_stem(paths):
    return pytest.mark.parametrize("path", paths, ids=[path.stem for path in paths])


def test_there_are_committed_checkpoints_of_schema_1():
    assert len(COMMITTED) == 17
    assert {path.stem for path in COMMITTED} >= {"cnn9-dense-seed0", "cnn9-channels50r16-seed0"}


@by_stem(COMMITTED)
def test_variant_is_the_one_that_names_the_file(path):
    header = read_header(path)
    assert header.variant.name == path.stem
    label, _, seed = path.stem.removeprefix("cnn9-").rpartition("-seed")
    assert header.variant.pruning.text == PRUNINGS[label]
    assert (header.variant.seed, header.variant.fold) == (int(seed), None)
    assert header.variant.model.reference == "models/cnn.py:cnn9"
    assert bool(header.channel_plan) == header.variant.pruning.method.startswith("channels")


@by_stem(COMMITTED)
def test_scores_are_those_of_the_last_step_with_earlier_values_beside_them(path):
    metrics = stored(path)["provenance"]["metrics"]
    final = metrics.get("finetuned") or metrics["trained"]
    scores = read_header(path).provenance["scores"]
    assert list(scores) == list(METRICS)
    for name, score in scores.items():
        assert score["value"] == final[name]
        assert score["raw"] == metrics.get("raw", {}).get(name)
        assert score["recalibrated"] == metrics.get("recalibrated", {}).get(name)
        assert score["higher_is_better"] is True
    accuracy = scores["accuracy"]
    assert (accuracy["low"], accuracy["high"]) == (final["accuracy_low"], final["accuracy_high"])
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert [score["tolerance"] for score in scores.values()] == [0.01, None, None, None, None]
    assert (accuracy["raw"] is None) == ("dense" in path.stem)


@by_stem(COMMITTED)
def test_data_are_in_words_and_by_a_key_of_pixels_and_split(path):
    old, new = stored(path)["provenance"], read_header(path).provenance
    assert new["data"] == old["source"]
    assert new["caveat"] is None
    assert new["key"] == key_of(old["data"]["hash"], old["split"])
    assert (new["slices"], new["patients"], new["hash"]) == (3243, 90, old["data"]["hash"])
    assert new["baselines"] == old["baselines"]
    assert {"model", "recipe", "seed", "split", "origin", "versions", "history"} <= set(new)
    assert not {"metrics", "source"} & set(new)


def test_key_tells_splits_apart_and_prunings_of_one_network_not():
    keys = {path.stem: read_header(path).provenance["key"] for path in COMMITTED}
    assert len({keys[f"cnn9-dense-seed{seed}"] for seed in range(3)}) == 3
    for stem, key in keys.items():
        assert key == keys[f"cnn9-dense-{stem[-len('seed0') :]}"]


@by_stem([path for path in COMMITTED if "r16" in path.stem])
def test_digest_of_the_network_that_it_was_pruned_from_is_kept(path):
    parent = read_header(path).provenance["pruned_from"]
    dense = path.with_name("cnn9-dense-seed0.safetensors")
    assert parent == hashlib.sha256(dense.read_bytes()).hexdigest()


@by_stem([ROOT / "models" / "weights" / f"cnn9-{one}-seed0.safetensors" for one in ("magnitude90", "channels50")])
def test_network_is_built_and_described(path, monkeypatch):
    monkeypatch.chdir(ROOT)  # its reference is relative to it
    checkpoint = load_checkpoint(path)
    assert checkpoint.header == read_header(path)
    module = checkpoint.build()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, checkpoint.state[name])
    prepared = Prepared.of(checkpoint.variant, path, checkpoint.provenance)
    assert prepared.scores["accuracy"].value == checkpoint.provenance["scores"]["accuracy"]["value"]
    assert (prepared.data.words, prepared.data.key) == (checkpoint.provenance["data"], checkpoint.provenance["key"])


@pytest.mark.parametrize("path", [COMMITTED[0], "written"])
def test_header_is_read_without_torch(path, tmp_path):
    if path == "written":
        from tests.small_networks import source

        path = source("mlp").path
    code = (
        "import sys\nfrom pathlib import Path\nfrom sparsemark.networks.checkpoint import read_header\n"
        "print(read_header(Path(sys.argv[1])).variant.name)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(sparsemark.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, path], check=False, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == path.stem


def old_header(**provenance):
    return {
        "schema": 1,
        "model": {"name": "cnn9", "reference": "models/cnn.py:cnn9", "input_shape": [1, 3, 8, 8]},
        "prune": {"method": "channels", "sparsity": 0.5, "round_to": 16},
        "seed": 1,
        "channel_plan": [],
        "provenance": provenance,
    }


@pytest.mark.parametrize(
    ("source", "caveat"),
    [
        ("PHANTOM: made-up images", "PHANTOM"),
        ("the set, leaky slice split", "LEAKY"),
        ("LGG set, split by patient", None),
    ],
)
def test_caveat_is_the_word_that_a_reader_was_warned_with(source, caveat):
    new = upgrade(old_header(source=source))["provenance"]
    assert (new["data"], new["caveat"]) == (source, caveat)


@pytest.mark.parametrize("provenance", [{}, {"pruned_from": "0" * 64}, {"metrics": {}}])
def test_header_without_data_or_scores_gets_none_made_up(provenance):
    new = upgrade(old_header(**provenance))
    assert not {"scores", "data", "caveat", "key", "baselines"} & set(new["provenance"])
    assert (Pruning.parse(new["pruning"]), new["fold"]) == (Pruning.of("channels", 0.5, 16), None)


def test_scores_of_networks_that_were_trained_only_have_no_earlier_values():
    new = upgrade(old_header(metrics={"trained": {"accuracy": 0.75, "f1": 0.5}}))["provenance"]
    assert list(new["scores"]) == ["accuracy", "f1"]
    assert {score["raw"] for score in new["scores"].values()} == {None}
    assert {score["low"] for score in new["scores"].values()} == {None}
