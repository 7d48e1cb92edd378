"""A trained, pruned network as a file: spec, channel plan and state dict in safetensors. Nothing is unpickled.

Zeros need no mask beside them: a masked weight is stored as the zero it is, and counted again on load. Removed channels
are a plan (torch-pruning's own history of what it cut), replayed on a new module.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sparsemark.errors import UserError
from sparsemark.files import write_atomically
from sparsemark.networks.factory import build_model
from sparsemark.pruning.channels import replay
from sparsemark.specs import ModelSpec, PruneSpec, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from sparsemark.pruning.base import ChannelPlan

_HEADER = "sparsemark"
_SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds. `provenance` is the header: recipe, data hash, split, seed, metrics, versions."""

    variant: Variant
    state: Mapping[str, torch.Tensor] = field(repr=False)
    channel_plan: ChannelPlan = ()
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def build(self) -> torch.nn.Module:
        """Make the network from its factory and this state, in eval mode.

        Raises:
            UserError: the factory fails, or makes another network than the one that was stored.
        """
        module = build_model(self.variant.model)
        if self.channel_plan:
            module = replay(module, self.channel_plan, self.variant.model.input_shape)
        try:
            module.load_state_dict(dict(self.state))
        except RuntimeError as error:
            first = " ".join(str(error).split())
            raise UserError(
                f"{self.variant.model.reference}: makes another network than {self.variant.name}: {first}"
            ) from error
        return module.eval()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        ValueError: a mask is still attached, so that the state would hold `weight_orig` in place of the weight.
        UserError: the disk is full or the folder cannot be written.
    """
    masks = [name for name in checkpoint.state if name.endswith("_mask")]
    attached = [orig for name in masks if (orig := name.removesuffix("_mask") + "_orig") in checkpoint.state]
    if attached:
        raise ValueError(f"{attached[0]}: a pruning mask is still attached; make it permanent first")
    header = {
        "schema": _SCHEMA,
        "model": asdict(checkpoint.variant.model),
        "prune": asdict(checkpoint.variant.prune),
        "seed": checkpoint.variant.seed,
        "channel_plan": checkpoint.channel_plan,
        "provenance": checkpoint.provenance,
    }
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in checkpoint.state.items()}
    write_atomically(path, save(state, metadata={_HEADER: json.dumps(header)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UserError: the file is missing, damaged, or was not written by `save_checkpoint`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: damaged, or not safetensors: {error}") from error
    except KeyError:
        raise UserError(f"{path}: header.{_HEADER}: missing, so this is no checkpoint of sparsemark") from None
    schema = header.get("schema") if isinstance(header, dict) else None
    if schema != _SCHEMA:
        raise UserError(f"{path}: header.schema is {schema!r}, this sparsemark reads {_SCHEMA}")
    try:
        model = ModelSpec(header["model"]["name"], header["model"]["reference"], tuple(header["model"]["input_shape"]))
        plan = tuple((name, bool(is_out), tuple(indices)) for name, is_out, indices in header["channel_plan"])
        variant = Variant(model, PruneSpec(**header["prune"]), header["seed"])
        return Checkpoint(variant, state, plan, header["provenance"])
    except KeyError as error:
        raise UserError(f"{path}: header.{error.args[0]}: missing") from error
    except (TypeError, ValueError, UserError) as error:
        raise UserError(f"{path}: header: {error}") from error
