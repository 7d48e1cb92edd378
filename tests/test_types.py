"""Types are strict: here and not before the tests, so that the checker's minute and they share the processors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_every_type_is_right_by_the_strict_checker():
    pytest.importorskip("mypy")
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
