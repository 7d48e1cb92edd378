"""A checkpoint whose weights are not what was written is refused; files from before there was a digest are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import (
    Checkpoint,
    Header,
    check_checkpoint,
    load_checkpoint,
    read_header,
    save_checkpoint,
    tensors_digest,
)
from sparsemark.specs import Variant
from tests.small_networks import NETWORKS, build

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mlp.safetensors"
    save_checkpoint(path, Checkpoint(Header(Variant(NETWORKS["mlp"])), build("mlp").state_dict()))
    return path


def rewritten(path, change):
    """Write the file again with another state or header, its digest as it was."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    header = json.loads(metadata["sparsemark"])
    state = change(state, header) or state
    save_file(state, path, metadata={"sparsemark": json.dumps(header)})


def test_whole_file_is_read_and_has_no_note(path):
    assert load_checkpoint(path).header.note is None
    assert check_checkpoint(path) == read_header(path)
    assert len(read_header(path).digest) == 64


def nudge(state, header):
    next(iter(state.values())).view(-1)[0] += 1e-3


def swap(state, header):
    first, *_ = state
    return {f"{first}x" if name == first else name: value for name, value in state.items()}


def reshape(state, header):
    return {name: value.reshape(-1) for name, value in state.items()}


def retype(state, header):
    return {name: value.view(torch.int32) if value.dtype == torch.float32 else value for name, value in state.items()}


def drop(state, header):
    state.popitem()


@pytest.mark.parametrize("change", [nudge, swap, reshape, retype, drop])
def test_other_weights_are_one_line_with_the_file_and_what_to_do(change, path):
    rewritten(path, change)
    for read in (load_checkpoint, check_checkpoint):
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(caught.value) == (
            f"{path}: damaged: its weights do not have the digest in its header; restore the file, or delete it to "
            "have it made again"
        )


def test_every_flipped_bit_of_the_weights_is_noticed(path):
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for index in range(start, len(content), 97):
        path.write_bytes(content[:index] + bytes([content[index] ^ 16]) + content[index + 1 :])
        with pytest.raises(UserError, match="damaged"):
            load_checkpoint(path)


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[: len(c) // 2], lambda c: b"\xff" * 500])
def test_file_that_is_none_says_what_to_do(damage, path):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"mlp.safetensors: damaged.*; restore the file, or delete it"):
        check_checkpoint(path)


def test_header_of_another_kind_is_one_line(path):
    for digest in (3, ["a"]):
        rewritten(path, lambda state, header, digest=digest: header.update(digest=digest))
        with pytest.raises(UserError, match="header: digest is"):
            load_checkpoint(path)


def test_file_without_a_digest_is_read_with_a_note(path):
    rewritten(path, lambda state, header: header.pop("digest") and None)
    header = load_checkpoint(path).header
    assert header.digest is None
    assert "before checkpoints had a digest" in header.note
    assert header == replace(header, digest="x"), "of no account where headers are compared"


def test_committed_checkpoints_are_read():
    committed = sorted(WEIGHTS.glob("*.safetensors"))[:5]
    assert committed
    for path in committed:
        assert load_checkpoint(path).state


@pytest.mark.parametrize(
    "content", [b"", b"12345678", (5).to_bytes(8, "little") + b"[1,2]", b"\x02" + bytes(7) + b"{}x"]
)
def test_digest_of_what_is_no_safetensors(content):
    try:
        tensors_digest(content)
    except ValueError:
        return
    assert content.endswith(b"{}x")
