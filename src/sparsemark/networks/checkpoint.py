"""Checkpoint: a trained, pruned network as a file. Spec, channel plan and state dict in safetensors; no pickle.

Zeros need no mask beside them: a masked weight is stored as the zero it is, and counted again on load. Removed channels
are a plan (torch-pruning's own history of what it cut), replayed on a new module.

History of `schema`:
1. One pruning step as a table; scores and data of the training in separate fields.
2. `pruning` as text, with steps and schedule; `fold`; provenance as tasks describe it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.files import write_atomically
from sparsemark.networks.checkpoint_v1 import upgrade
from sparsemark.specs import InputSpec, ModelSpec, Pruning, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch

    from sparsemark.networks.channel_plan import ChannelPlan

_LOG = logging.getLogger(__name__)

_HEADER = "sparsemark"
EXTRA_STATE = "_extra_state"
"""End of the names under which state dicts hold what is no parameter or buffer."""

_SCHEMA = 2
_REMEDY = "restore the file, or delete it to have it made again"


@dataclass(frozen=True)
class Header:
    """Header of a checkpoint.

    Args:
        variant: the stored network.
        channel_plan: channels that were cut, in the order of cutting.
        provenance: origin of the weights, as JSON values: the task's description, scores, history, digests.
        digest: of the tensors in the file; `save_checkpoint` computes it. None in files from before there was one.
    """

    variant: Variant
    channel_plan: ChannelPlan = ()
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    digest: str | None = field(default=None, repr=False, compare=False)

    @property
    def note(self) -> str | None:
        """Caveat on the file in words, or None."""
        if self.digest is None:
            return "written before checkpoints had a digest, so damage to its weights would not be noticed"
        return None


@dataclass(frozen=True)
class Checkpoint:
    """A header and the network's state."""

    header: Header
    state: Mapping[str, torch.Tensor] = field(repr=False)

    @property
    def variant(self) -> Variant:
        """Variant that is stored."""
        return self.header.variant

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Origin of the weights, from the header."""
        return self.header.provenance

    def build(self) -> torch.nn.Module:
        """Build the network from its factory and this state, in eval mode.

        Raises:
            UserError: the factory fails, or builds another network than the stored one.
        """
        from sparsemark.networks.channel_plan import replay
        from sparsemark.networks.factory import build_model, build_whole, example_inputs

        variant = self.variant
        if self.header.channel_plan:
            module, _ = build_whole(variant.model, variant.seed)  # channels of lazy layers can be cut once they are
            module = replay(module, self.header.channel_plan, example_inputs(variant.model))
        else:
            module = build_model(variant.model, variant.seed)
        try:
            # What a module keeps beside its tensors (extra state) is what its factory gave it.
            found = module.load_state_dict(dict(self.state), strict=False)
            absent = [name for name in found.missing_keys if not name.endswith(EXTRA_STATE)]
        except RuntimeError as error:
            first = " ".join(str(error).split())
            raise UserError(f"{variant.model.reference}: makes another network than {variant.name}: {first}") from error
        if absent or found.unexpected_keys:
            raise UserError(
                f"{variant.model.reference}: makes another network than {variant.name}: missing {absent[:3]}, "
                f"unexpected {found.unexpected_keys[:3]}"
            )
        return module.eval()


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a state dict's names, shapes and bytes, masks among them."""
    from safetensors.torch import save

    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in _tensors(state)}
    return hashlib.sha256(save(copies)).hexdigest()


def _tensors(state: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a state dict, without what modules keep beside them."""
    import torch

    for name, value in state.items():
        if isinstance(value, torch.Tensor) and not name.endswith(EXTRA_STATE):
            yield name, value


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        UserError: a mask is still attached, so that the state would hold `weight_orig` in place of the weight; or the
            disk is full or the folder cannot be written.
    """
    from safetensors.torch import save

    masks = [name for name in checkpoint.state if name.endswith("_mask")]
    attached = [orig for name in masks if (orig := name.removesuffix("_mask") + "_orig") in checkpoint.state]
    if attached:
        raise UserError(f"{attached[0]}: a pruning mask is still attached; expected it to be made permanent")
    variant = checkpoint.variant
    header = {
        "schema": _SCHEMA,
        "model": _described(variant.model),
        "pruning": variant.pruning.text,
        "seed": variant.seed,
        "fold": variant.fold,
        "channel_plan": checkpoint.header.channel_plan,
        "provenance": checkpoint.provenance,
    }
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in _tensors(checkpoint.state)}
    header["digest"] = tensors_digest(save(state))
    write_atomically(path, save(state, metadata={_HEADER: json.dumps(header)}))


def read_header(path: Path) -> Header:
    """Read a checkpoint's header, without its weights and without torch; errors as in `load_checkpoint`."""
    return _open(path, framework="np", with_state=False)[0]


def check_checkpoint(path: Path) -> Header:
    """Read a checkpoint's header and compare the weights with its digest, without torch.

    Raises:
        UserError: as `load_checkpoint`.
    """
    header = read_header(path)
    _check_digest(path, header)
    return header


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and compare its weights with the digest in its header.

    Files without a digest, written before there was one, are accepted, and `Header.note` says so.

    Raises:
        UserError: the file is missing, damaged, or was not written by `save_checkpoint`.
    """
    header, state = _open(path, framework="pt", with_state=True)
    _check_digest(path, header)
    return Checkpoint(header, state)


def tensors_digest(content: bytes) -> str:
    """Return the SHA-256 of the names, types, shapes and bytes of the tensors in a safetensors file, by name.

    Raises:
        ValueError: it is no such file.
    """
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        tensors = json.loads(content[8:start])
        tensors.pop("__metadata__", None)
        sha = hashlib.sha256()
        for name, tensor in sorted(tensors.items()):
            first, last = tensor["data_offsets"]
            sha.update(json.dumps([name, tensor["dtype"], tensor["shape"], last - first]).encode())
            sha.update(memoryview(content)[start + first : start + last])
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"no safetensors: {error}") from error
    return sha.hexdigest()


def _check_digest(path: Path, header: Header) -> None:
    if header.note is not None:
        _LOG.debug("%s: %s", path, header.note)
        return
    try:
        found = tensors_digest(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if found != header.digest:
        raise UserError(f"{path}: damaged: its weights do not have the digest in its header; {_REMEDY}")


def _open(path: Path, *, framework: str, with_state: bool) -> tuple[Header, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            names = file.keys() if with_state else ()
            state = {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, or not safetensors: {error}; {_REMEDY}") from error
    except KeyError:
        raise UserError(f"{path}: header.{_HEADER}: missing, so this is no checkpoint of sparsemark") from None
    return _parse(path, header), state


def _described(model: ModelSpec) -> dict[str, Any]:
    """Return a model as the header holds it: `inputs` only where they are not one float32 tensor."""
    described = {"name": model.name, "reference": model.reference, "input_shape": model.input_shape}
    return described if model.takes_one_image else described | {"inputs": [asdict(one) for one in model.inputs]}


def _parse(path: Path, header: Any) -> Header:
    schema = header.get("schema") if isinstance(header, dict) else None
    if schema not in (1, _SCHEMA):
        raise UserError(f"{path}: header.schema is {schema!r}, this sparsemark reads {_SCHEMA}")
    try:
        if schema == 1:
            header = upgrade(header)
        stored = header["model"]
        inputs = [InputSpec(tuple(one["shape"]), one["dtype"], one["name"]) for one in stored.get("inputs", ())]
        model = ModelSpec(stored["name"], stored["reference"], tuple(inputs) or tuple(stored["input_shape"]))
        plan = tuple((name, bool(is_out), tuple(indices)) for name, is_out, indices in header["channel_plan"])
        variant = Variant(model, Pruning.parse(header["pruning"]), header["seed"], header["fold"])
        digest = header.get("digest")
        if not isinstance(digest, str | None):
            raise TypeError(f"digest is {digest!r}, expected text")  # noqa: TRY301 - worded below
        return Header(variant, plan, dict(header["provenance"]), digest)
    except KeyError as error:
        raise UserError(f"{path}: header.{error.args[0]}: missing") from error
    except (AttributeError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path}: header: {error}") from error
