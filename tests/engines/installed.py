"""Engines that are installed, and networks loaded into them."""

from __future__ import annotations

import functools
import os
import shutil

import pytest

from sparsemark import engines
from sparsemark.engines import ENGINES, deep_sparse
from sparsemark.registry import missing
from tests.small_networks import artifact

ELSEWHERE = {
    "torch-compile": bool(shutil.which(os.environ.get("CXX", "g++"))),
    "deepsparse": not deep_sparse.not_opted_in(),
}
"""Whether there is what an engine needs beside its modules."""
INSTALLED = [name for name, engine in ENGINES.items() if not missing(engine.requires) and ELSEWHERE.get(name, True)]
COMPILED = [("unet", "none"), ("residual", "none")]
"""What torch-compile is tested on: it takes seconds for each network."""


def network_of(engine, usual):
    return usual if engine != "torch-compile" or (usual, "none") in COMPILED else COMPILED[0][0]


@functools.cache
def compiled(network, threads):
    return engines.load(artifact(network, "none", "dense"), "torch-compile", threads)


def load(engine, network, prune="none", threads=1):
    if engine == "torch-compile":
        return compiled(network_of(engine, network), threads)
    return engines.load(artifact(network, prune, ENGINES[engine].formats[0]), engine, threads)


def needs(engine):
    return pytest.mark.skipif(engine not in INSTALLED, reason=f"{engine} is not installed")
