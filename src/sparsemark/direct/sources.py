"""What this engine's code is: what was compiled, chosen or timed with other code is not taken for its own."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parent


@functools.cache
def digest(folder: Path = _FOLDER) -> str:
    """SHA-256 of all Python files in a folder, in hex."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        sha.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()
