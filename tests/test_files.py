"""A file is whole or as it was, whatever goes wrong, and nothing is left beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sparsemark
from sparsemark.errors import UserError
from sparsemark.files import content_hash, key_of, replacing, write_atomically


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_arrives_whole_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_failure_in_the_block_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write():
        with replacing(path) as target:
            target.write_bytes(b"half of the n")
            assert path.read_bytes() == b"old"
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_full_disk_is_one_line_that_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"file: cannot be written: No space left on device$"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_device_is_written_to_and_not_replaced(tmp_path):
    link = tmp_path / "device"
    link.symlink_to("/dev/full")
    with pytest.raises(UserError, match="No space left on device"):
        write_atomically(link, b"x" * 100_000)
    write_atomically(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()
    assert names(tmp_path) == ["device"]


def test_folder_in_place_of_the_file_is_one_line(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="taken: cannot be written"):
        write_atomically(tmp_path / "taken", b"x")
    assert names(tmp_path) == ["taken"]


def test_file_in_place_of_the_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(UserError, match="below: cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"x")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_name_too_long_for_the_disk_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be written: File name too long"):
        write_atomically(tmp_path / ("n" * 300), b"x")


def test_key_is_the_same_in_every_process_and_depends_on_every_part():
    parts = [{"b": 1, "a": (1, 2)}, "text", None, 0.1]
    code = "from sparsemark.files import key_of; print(key_of({'a': (1, 2), 'b': 1}, 'text', None, 0.1))"
    environment = os.environ | {"PYTHONPATH": str(Path(sparsemark.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    other = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()
    assert key_of(*parts) == other
    assert len({key_of(*parts), key_of(*parts[:3]), key_of(*parts[:3], 0.2), key_of(*reversed(parts))}) == 4


def test_content_hash_is_of_the_content(tmp_path):
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b") != content_hash(tmp_path / "c")
