"""Files of the user's cache are that user's alone, and notes that were changed are not read."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time

import pytest

from sparsemark import files
from sparsemark.errors import UserError
from sparsemark.files import note_of, read_note, read_own, replacing, write_atomically, write_privately

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def kept(tmp_path):
    """A root and a file two folders below it."""
    root = tmp_path / "base" / "cache"
    path = root / "compiled" / "new" / "code.o"
    write_privately(path, b"code", root)
    return root, path


def test_folders_are_0700_and_files_0600_whatever_the_umask(umask, tmp_path):
    root = tmp_path / "base" / "cache"
    path = root / "compiled" / "new" / "code.o"
    for content in (b"one", b"another"):
        write_privately(path, content, root)
        assert path.read_bytes() == content
        assert read_own(path, root) == content
        assert [mode(one) for one in (root, path.parent.parent, path.parent, path)] == [0o700, 0o700, 0o700, 0o600]
    assert [one.name for one in path.parent.iterdir()] == ["code.o"]


@pytest.mark.parametrize("which", ["root", "between", "parent", "file"])
@pytest.mark.parametrize("added", [0o020, 0o002])
def test_what_others_can_write_is_not_read(which, added, kept):
    root, path = kept
    loose = {"root": root, "between": path.parent.parent, "parent": path.parent, "file": path}[which]
    loose.chmod(mode(loose) | added)
    with pytest.raises(PermissionError):
        read_own(path, root)
    write_privately(path, b"again", root)
    assert read_own(path, root) == b"again", "written anew, it is ours alone again"


def test_what_others_own_is_neither_read_nor_written_to(kept, monkeypatch):
    root, path = kept
    monkeypatch.setattr(files.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError):
        read_own(path, root)
    with pytest.raises(UserError, match=r"code.o: cannot be written: .*belongs to another user"):
        write_privately(path, b"again", root)
    assert path.read_bytes() == b"code"


def test_a_link_is_not_followed(kept, tmp_path):
    root, path = kept
    (tmp_path / "elsewhere").write_bytes(b"planted")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        read_own(path, root)
    write_privately(path, b"again", root)
    assert not path.is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"planted"


def test_what_is_absent_is_none(kept):
    root, path = kept
    assert read_own(path.with_name("nowhere"), root) is None


# --- notes


NOTE = {"sha256": "ab", "weights": {"total": 3, "share": 0.1}, "digest": [1, None, True, 1e-300]}


def test_note_comes_back(tmp_path):
    path = tmp_path / "note.json"
    path.write_bytes(note_of(NOTE))
    assert read_note(path) == NOTE
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=3, sort_keys=True))
    assert read_note(path) == NOTE, "how it is laid out does not matter"


def test_every_changed_byte_is_noticed_or_does_not_matter(tmp_path):
    path, content = tmp_path / "note.json", note_of(NOTE)
    for index in range(len(content)):
        path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        assert read_note(path) in (None, NOTE)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b'"check"', b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_note_is_none(content, tmp_path):
    path = tmp_path / "note.json"
    assert read_note(path) is None
    path.write_bytes(content)
    assert read_note(path) is None


# --- temporary files


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path):
    path = tmp_path / "out[1].json"
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = {
        "of a process that is gone": f".{path.name}.{ended.pid}.7.tmp",
        "young": f".{path.name}.{ended.pid}.8.tmp",
        "of a process that lives": f".{path.name}.{os.getpid()}.9.tmp",
        "of another file": f".other.json.{ended.pid}.7.tmp",
    }
    for kind, name in names.items():
        (tmp_path / name).touch()
        if kind != "young":
            os.utime(tmp_path / name, (time.time() - 1000,) * 2)
    write_atomically(path, b"content")
    left = {one.name for one in tmp_path.iterdir()} - {path.name}
    assert left == {name for kind, name in names.items() if kind != "of a process that is gone"}
    with replacing(path) as target:
        target.write_bytes(b"more")
    assert path.read_bytes() == b"more"


def test_a_temporary_file_of_the_same_process_id_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(files.threading, "get_ident", lambda: 7)
    (tmp_path / f".code.o.{os.getpid()}.7.tmp").touch()
    write_privately(tmp_path / "code.o", b"code", tmp_path)
    assert (tmp_path / "code.o").read_bytes() == b"code"
