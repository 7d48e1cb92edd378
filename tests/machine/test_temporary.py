"""Temporary folders go with their process, or with a later one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time

import pytest

from sparsemark.machine import temporary
from sparsemark.machine.temporary import PREFIX, remove_abandoned, temporary_folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    remove_abandoned.cache_clear()
    yield tmp_path
    remove_abandoned.cache_clear()


def old(path):
    os.utime(path, (time.time() - 1000,) * 2)


def test_folder_is_removed_after_the_block_and_after_an_error(place):
    for error in (None, KeyboardInterrupt()):
        with contextlib.suppress(KeyboardInterrupt), temporary_folder() as folder:
            (folder / "file").touch()
            assert folder.parent == place
            if error:
                raise error
        assert list(place.iterdir()) == []


def test_an_interrupt_within_the_removal_does_not_stop_it(place, monkeypatch):
    plain, interrupted = shutil.rmtree, []

    def rmtree(*arguments, **more):
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        plain(*arguments, **more)

    monkeypatch.setattr(tempfile._shutil, "rmtree", rmtree)
    with pytest.raises(KeyboardInterrupt), temporary_folder() as folder:
        (folder / "file").touch()
    assert interrupted
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(place, tmp_path_factory):
    abandoned, young, other = (place / name for name in (f"{PREFIX}a", f"{PREFIX}b", "sparsemark-c"))
    for folder in (abandoned, young, other):
        folder.mkdir()
        (folder / "file").touch()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    link = place / f"{PREFIX}link"
    link.symlink_to(elsewhere)
    with temporary_folder() as held:
        for folder in (abandoned, other, held, link):
            old(folder)
        remove_abandoned.cache_clear()
        remove_abandoned(place)
        assert held.is_dir(), "its process lives"
    assert {path.name for path in place.iterdir()} == {young.name, other.name, link.name}
    assert elsewhere.is_dir()


def test_another_users_folder_is_left_alone(place, monkeypatch):
    folder = place / f"{PREFIX}a"
    folder.mkdir()
    old(folder)
    monkeypatch.setattr(temporary.os, "geteuid", lambda: os.getuid() + 1)
    remove_abandoned(place)
    assert folder.is_dir()
