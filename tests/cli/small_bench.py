"""A bench of two cells and a study, for tests of how commands end."""

from __future__ import annotations

from pathlib import Path

import pytest

import sparsemark
from tests.toy_study.place import benchmarks, place

SOURCE = Path(sparsemark.__file__).parents[1]
NETWORKS = """
from torch import nn
def build(): return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.LazyLinear(2))
def fits_eight(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
def needs_width(width): return nn.Linear(width, 1)
def fails(): raise RuntimeError("out of\\nluck")
def leaves(): raise SystemExit(7)
def makes_a_list(): return [1, 2]
NUMBER = 3
"""
BENCH = ("bench", "networks.py:build", "--input", "1,3,8,8", "--engine", "torch", "--json", "out.json")
MASKED = (*BENCH, "--prune", "magnitude:0.5")
needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
NAMES = ["build-dense-seed0-torch", "build-magnitude50-seed0-torch"]


def statuses(path="out.json"):
    return {row["name"]: row["extra_info"]["status"] for row in benchmarks(Path(path))}


def study(text: str = "", **replaced: str) -> Path:
    """A study file in the working directory: the toy study, with lines replaced and text added."""
    path = place(Path.cwd()) / "toy.toml"
    content = path.read_text()
    for old, new in replaced.items():
        line = next(line for line in content.splitlines() if line.startswith(f"{old} = "))
        content = content.replace(line, new, 1)
    path.write_text(content + text)
    return path


def bench(reference, *more):
    return ("bench", reference, "--json", "out.json", *more)
