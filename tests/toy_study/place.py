"""Put the toy study into an empty folder, and read what it leaves there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def place(folder: Path) -> Path:
    """Copy study, network and hook; the study's references are relative to that folder."""
    for name in ("toy.toml", "network.py", "hooks.py"):
        shutil.copy(HERE / name, folder / name)
    return folder


def trained(folder: Path) -> list[str]:
    """Return the names of what was trained and fine-tuned, in order: `train toy-dense-seed0`."""
    log = folder / "toy.log"
    return log.read_text().splitlines() if log.exists() else []


def journal_keys(journal: Path) -> list[str]:
    """Keys of the whole lines of a journal, in order."""
    if not journal.exists():
        return []
    keys = []
    for line in journal.read_bytes().splitlines():
        try:
            keys.append(json.loads(line)["key"])
        except ValueError:
            continue
    return keys


def benchmarks(path: Path) -> list[dict[str, Any]]:
    """The rows of a result file, those without a latency last."""
    document = json.loads(path.read_text())
    return [*document["benchmarks"], *document["sparsemark"]["unmeasured"]]
