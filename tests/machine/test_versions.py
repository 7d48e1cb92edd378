"""Versions of installed packages."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from sparsemark.machine.versions import installed_version


@pytest.mark.parametrize("name", ["numpy", "torch", "safetensors", "pytest-benchmark", "torch-pruning"])
def test_version_is_the_one_that_the_package_declares(name):
    assert installed_version(name) == importlib.metadata.version(name)


def test_package_that_is_not_installed_has_none(monkeypatch, tmp_path):
    assert installed_version("no-such-package") is None
    (tmp_path / "no_such_package_either-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert installed_version("no-such-package") is None
    assert installed_version("no-such.package_either") == "1.0"
