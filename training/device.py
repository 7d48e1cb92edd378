"""Device that training runs on."""

from __future__ import annotations

import torch

from sparsemark.errors import UserError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> str:
    """Return `cuda` or `cpu` for `auto`, and check the device otherwise.

    Raises:
        UserError: an unknown name, or `cuda` on a machine without it.
    """
    if name not in DEVICES:
        raise UserError(f"--device {name!r}: expected one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch finds no CUDA device; expected one, or --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
