"""Networks whose factory reads a file that changed: made anew in the next process, with all that was made of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

NETWORK = """
import json
from torch import nn
from options import STRIDE
def build(): return nn.Conv2d(3, 4, 3, stride=STRIDE)
def configured(): return nn.Conv2d(3, 4, 3, stride=json.load(open("stride.json")))
"""

COUNT = """
import sys
from pathlib import Path
from sparsemark.specs import ModelSpec, Protocol, Pruning, Variant
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from sparsemark.study.task import always
variant = Variant(ModelSpec("net", f"net.py:{sys.argv[1]}", (1, 3, 9, 9)), Pruning.parse("magnitude:0.5"))
pipeline = Pipeline(always(None), Protocol(), Places(None, Path("work")), 0)
print(pipeline.count(variant).macs)
"""


@pytest.mark.parametrize(("factory", "file"), [("build", "options.py"), ("configured", "stride.json")])
def test_network_of_changed_options_is_made_anew(factory, file, tmp_path):
    def multiply_adds():
        command = [sys.executable, "-c", COUNT, factory]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert not ended.returncode, ended.stderr
        return int(ended.stdout)

    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "options.py").write_text("STRIDE = 1\n")
    (tmp_path / "stride.json").write_text("1\n")
    assert multiply_adds() == 4 * 27 * 7 * 7
    path = tmp_path / file
    path.write_text(path.read_text().replace("1", "2"))
    assert multiply_adds() == 4 * 27 * 4 * 4
