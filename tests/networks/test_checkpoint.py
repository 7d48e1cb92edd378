"""A checkpoint makes the network that was stored, and a file that is none is one line that names it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch.nn.utils import prune as torch_prune

import sparsemark
from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import Checkpoint, Header, load_checkpoint, read_header, save_checkpoint
from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.pruning.weights import named_layers
from sparsemark.specs import WITHOUT_SPARSITY, ModelSpec, PruneStep, Pruning, Variant
from tests.small_networks import NETWORKS, build, example, pruned


def outputs(module, network):
    with torch.no_grad():
        return output_tensors(module(example(network)))


def dense(network="mlp", **fields):
    return Checkpoint(Header(Variant(NETWORKS[network])), build(network).state_dict(), **fields)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mlp.safetensors"
    save_checkpoint(path, dense())
    return path


def refused(path):
    with pytest.raises(UserError) as caught:
        load_checkpoint(path).build()
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line


ALONE = [name for name, pruner in PRUNERS.items() if not pruner.needs and not name.endswith("channels-bn")]
"""Methods that prune any network without data."""


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", ALONE)
def test_what_was_stored_comes_back_with_identical_outputs(network, method, tmp_path):
    path = tmp_path / "variant.safetensors"
    step = PruneStep(method, 0.0 if method in WITHOUT_SPARSITY else 0.5)
    variant = Variant(NETWORKS[network], Pruning.of(method, step.sparsity), seed=3)
    module = build(network)
    plan = prune(module, Request(step, (example(network),), seed=3)).plan
    expected = outputs(module, network)
    provenance = {"scores": {"accuracy": {"value": 0.5}}, "data": None}
    save_checkpoint(path, Checkpoint(Header(variant, plan, provenance), module.state_dict()))
    loaded = load_checkpoint(path)
    assert loaded.variant == variant
    assert loaded.header.channel_plan == plan
    assert loaded.provenance == provenance
    assert read_header(path) == loaded.header
    again = loaded.build()
    assert not again.training
    for got, stored in zip(outputs(again, network), expected, strict=True):
        assert torch.equal(got, stored)


COMPOSED = ["channels:0.5+magnitude:0.5", "magnitude:0.5+channels:0.3", "channels:0.3+filters:0.3+channels:0.3"]


@pytest.mark.parametrize("network", ["plain", "unet"])
@pytest.mark.parametrize("text", COMPOSED)
def test_composed_pruning_comes_back_with_identical_outputs(network, text, tmp_path):
    """Channels that were cut between masks, and twice, are cut from the factory's network again."""
    variant = Variant(NETWORKS[network], Pruning.parse(text), seed=3, fold=1)
    module = build(network)
    plan = ()
    for step in variant.pruning.steps:
        plan += prune(module, Request(step, (example(network),), seed=3)).plan
    expected = outputs(module, network)
    path = tmp_path / "variant.safetensors"
    save_checkpoint(path, Checkpoint(Header(variant, plan), module.state_dict()))
    loaded = load_checkpoint(path)
    assert (loaded.variant, loaded.header.channel_plan) == (variant, plan)
    again = loaded.build()
    for got, stored in zip(outputs(again, network), expected, strict=True):
        assert torch.equal(got, stored)
    assert sum(p.numel() for p in again.parameters()) < sum(p.numel() for p in build(network).parameters())
    assert any((layer.weight == 0).any() for _, layer in named_layers(again))


@pytest.mark.parametrize("text", COMPOSED)
def test_composed_pruning_of_a_variant_is_its_steps_one_after_the_other(text, tmp_path):
    variant = Variant(NETWORKS["unet"], Pruning.parse(text))
    pruned(variant, dense("unet"), tmp_path / "variant")
    module = build("unet")
    for step in variant.pruning.steps:
        prune(module, Request(step, (example("unet"),)))
    got = load_checkpoint(tmp_path / "variant").build()
    for one, other in zip(outputs(got, "unet"), outputs(module, "unet"), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", ALONE)
def test_pruning_without_data_writes_the_same_file_twice(method, tmp_path):
    variant = Variant(NETWORKS["unet"], Pruning.of(method, 0.0 if method in WITHOUT_SPARSITY else 0.5))
    for name in ("one", "two"):
        pruned(variant, dense("unet"), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_zeros_are_stored_as_zeros_and_channels_last_weights_as_any_other(tmp_path):
    module = build("plain").to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "c", Checkpoint(Header(Variant(NETWORKS["plain"])), module.state_dict()))
    for name, tensor in load_checkpoint(tmp_path / "c").state.items():
        assert torch.equal(tensor, build("plain").state_dict()[name])


def test_attached_mask_is_refused(tmp_path):
    module = build("plain")
    torch_prune.l1_unstructured(module[0][0], "weight", 0.5)
    with pytest.raises(UserError, match="a pruning mask is still attached"):
        save_checkpoint(tmp_path / "c", Checkpoint(Header(Variant(NETWORKS["plain"])), module.state_dict()))
    assert list(tmp_path.iterdir()) == []


def test_state_of_a_users_own_that_merely_ends_like_a_mask_is_stored(tmp_path):
    state = {"scale_orig": torch.ones(2), "attention_mask": torch.ones(2)}
    save_checkpoint(tmp_path / "c", Checkpoint(Header(Variant(NETWORKS["mlp"])), state))
    assert set(load_checkpoint(tmp_path / "c").state) == set(state)


def test_tied_weights_are_stored_as_two(tmp_path):
    weight = torch.ones(3)
    save_checkpoint(tmp_path / "c", Checkpoint(Header(Variant(NETWORKS["mlp"])), {"a": weight, "b": weight}))
    assert set(load_checkpoint(tmp_path / "c").state) == {"a", "b"}


def test_missing_file_and_folder_are_one_line(tmp_path):
    assert "No such file" in refused(tmp_path / "missing.safetensors")
    refused(tmp_path)


def test_safetensors_of_someone_else_is_one_line(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors", metadata={"format": "pt"})
    assert "no checkpoint of sparsemark" in refused(tmp_path / "foreign.safetensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "bare.safetensors")
    assert "no checkpoint of sparsemark" in refused(tmp_path / "bare.safetensors")


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_file_cut_anywhere_is_one_line(path, data):
    whole = path.read_bytes()
    cut = path.with_name("cut.safetensors")
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert "damaged, or not safetensors" in refused(cut)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a torch.save", b"\x80\x02}q\x00.", b"x" * 1000])
def test_another_kind_of_file_is_one_line(tmp_path, content):
    (tmp_path / "other.safetensors").write_bytes(content)
    assert "damaged, or not safetensors" in refused(tmp_path / "other.safetensors")


def header_of(path):
    text = path.read_bytes()
    return json.loads(json.loads(text[8 : 8 + int.from_bytes(text[:8], "little")])["__metadata__"]["sparsemark"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 3}, "header.schema is 3, this sparsemark reads 2"),
        ({"schema": None}, "header.schema is None"),
        ({"seed": ...}, "header.seed: missing"),
        ({"model": {}}, "header.name: missing"),
        ({"model": {"name": "a b", "reference": "r", "input_shape": [1]}}, "header: model name 'a b'"),
        ({"model": None}, "header: "),
        ({"pruning": "magnitude:7"}, "sparsity 7 of 'magnitude'"),
        ({"pruning": {"unknown": 1}}, "header: "),
        ({"pruning": ...}, "header.pruning: missing"),
        ({"fold": ...}, "header.fold: missing"),
        ({"provenance": 3}, "header: "),
        ({"channel_plan": [1]}, "header: "),
        ({"schema": 1, "prune": {"method": "magnitude", "sparsity": 7}}, "header: sparsity 7"),
        ({"schema": 1, "prune": {"unknown": 1}}, "header: "),
        ({"schema": 1}, "header.prune: missing"),
    ],
)
def test_header_that_is_not_understood_is_one_line(path, change, said):
    header = {name: value for name, value in (header_of(path) | change).items() if value is not ...}
    path.write_bytes(save({"w": torch.ones(1)}, metadata={"sparsemark": json.dumps(header)}))
    assert said in refused(path)


@pytest.mark.parametrize("header", ["", "[]", "3", "null", '"text"', "{"])
def test_header_that_is_no_object_is_one_line(path, header):
    path.write_bytes(save({"w": torch.ones(1)}, metadata={"sparsemark": header}))
    refused(path)


def test_factory_that_makes_another_network_is_one_line_that_names_both(tmp_path):
    model = dataclasses.replace(NETWORKS["mlp"], reference=NETWORKS["plain"].reference)
    checkpoint = Checkpoint(Header(Variant(model)), build("mlp").state_dict())
    with pytest.raises(UserError, match=r"networks\.py:plain: makes another network than mlp-dense-seed0") as caught:
        checkpoint.build()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_factory_that_is_gone_is_one_line(tmp_path):
    model = ModelSpec("gone", f"{tmp_path / 'gone.py'}:build", (1, 3))
    with pytest.raises(UserError, match=r"gone\.py: no such file"):
        Checkpoint(Header(Variant(model)), {}).build()


def test_nothing_in_the_package_unpickles():
    """No file from disk may run code: neither torch.load nor pickle, nor numpy with allow_pickle."""
    for file in Path(sparsemark.__file__).parent.rglob("*.py"):
        text = file.read_text()
        assert not re.search(
            r"torch\.load|^\s*(import|from) (pickle|joblib|dill)|allow_pickle=True", text, re.MULTILINE
        ), file


def test_checkpoint_with_code_in_it_does_not_run_it(tmp_path):
    """A pickle under our name is refused unread."""
    path = tmp_path / "evil.safetensors"
    torch.save({"weight": torch.ones(1)}, path)
    assert "damaged" in refused(path)
