"""Digest of this engine's source: invalidates compiled code, tuning and timings."""

from __future__ import annotations

from pathlib import Path

from sparsemark.files import code_digest

_FOLDER = Path(__file__).parent


def fingerprint(folder: Path = _FOLDER) -> str:
    """SHA-256 of all Python files in a folder, in hex."""
    return code_digest(folder)
