"""Source: a network on disk, from which everything else is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.files import key_of
from sparsemark.networks.user_code import code_key
from sparsemark.references import ONNX_SUFFIX

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.specs import ModelSpec


@dataclass(frozen=True)
class Source:
    """A network on disk.

    Args:
        model: factory reference and shape of one input.
        path: a checkpoint (`.safetensors`), or an ONNX file (`.onnx`), which has no module to go with it.
    """

    model: ModelSpec
    path: Path

    @property
    def is_onnx(self) -> bool:
        """Whether there is an ONNX file in place of a checkpoint."""
        return self.path.suffix == ONNX_SUFFIX


def source_key(model: ModelSpec, sha256: str) -> str:
    """Return the key of all that decides a network's artifacts: weights, and the code of the factory that rebuilds it.

    Args:
        model: the network.
        sha256: of the checkpoint or ONNX file.
    """
    code = model.reference if model.is_onnx else code_key(model.reference)
    return key_of(sha256, code, [one.text for one in model.inputs])
