"""Address of a scheduler, as the command line gives it."""

from __future__ import annotations

import re

from sparsemark.errors import UserError

_LOCAL = re.compile(r"local:(\d+)")
_REMOTE = re.compile(r"(tcp|tls|ws|wss)://[^/\s]+:\d+")


def local_workers(text: str) -> int | None:
    """Return N of `local:N`, None for another address."""
    found = _LOCAL.fullmatch(text)
    return int(found[1]) if found else None


def check_address(text: str) -> None:
    """Raise UserError unless a text is `local:N` or the address of a scheduler."""
    if not local_workers(text) and not _REMOTE.fullmatch(text):
        raise UserError(
            f"--scheduler {text}: expected local:N with N from 1, or the address of a scheduler such as "
            "tcp://192.0.2.1:8786"
        )
