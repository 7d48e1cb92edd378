"""A file is whole or as it was, whatever goes wrong, and nothing is left beside it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

import sparsemark
from sparsemark.errors import UserError
from sparsemark.files import content_hash, convert_document, key_of, replacing, write_atomically


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


def test_a_link_stays_a_link_and_its_file_keeps_its_mode(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to("elsewhere/real")
    for path in (link, real):
        write_atomically(path, b"new")
        assert (real.read_bytes(), stat.S_IMODE(real.stat().st_mode)) == (b"new", 0o640)
        assert link.is_symlink()
    assert names(tmp_path / "elsewhere") == ["real"]
    assert names(tmp_path) == ["elsewhere", "link"]


def test_a_link_to_nothing_yet_makes_the_file_it_points_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new" / "file")
    write_atomically(tmp_path / "link", b"content")
    assert (tmp_path / "new" / "file").read_bytes() == b"content"
    assert (tmp_path / "link").is_symlink()


def test_links_in_a_circle_are_one_line(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / one).symlink_to(tmp_path / other)
    with pytest.raises(UserError, match="a: cannot be written: "):
        write_atomically(tmp_path / "a", b"x")
    assert names(tmp_path) == ["a", "b"]


WRITER = "import sys, pathlib\nfrom sparsemark.files import write_atomically\n"
WRITER += "print('before', flush=True)\nwrite_atomically(pathlib.Path(sys.argv[1]), b'content\\n')\nprint('after')\n"


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_stdout_by_its_name_is_written_where_the_output_stands(tmp_path, name):
    (tmp_path / "link").symlink_to("/dev/stdout")
    environment = os.environ | {"PYTHONPATH": str(Path(sparsemark.__file__).parents[1])}
    command = [sys.executable, "-c", WRITER, name]
    out = tmp_path / "out"
    out.write_text("first\n")
    with out.open("ab") as file:
        subprocess.run(command, check=True, stdout=file, cwd=tmp_path, env=environment)
    assert out.read_text() == "first\nbefore\ncontent\nafter\n"
    piped = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert piped.stdout == "before\ncontent\nafter\n"
    assert Path("/dev/stdout").is_symlink()
    assert names(tmp_path) == ["link", "out"]


def test_a_pipe_that_nobody_reads_is_not_a_full_disk():
    read, write = os.pipe()
    os.close(read)
    try:
        with pytest.raises(BrokenPipeError):
            write_atomically(Path(f"/dev/fd/{write}"), b"x")
    finally:
        os.close(write)


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


# Documents.


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    sparsity: tuple[float, ...] | None = None
    seeds: tuple[int, ...] = (0,)


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    prune: tuple[Inner, ...]
    only: Inner | None = None
    nested: tuple[tuple[Inner, ...], ...] | None = None
    tables: dict[str, Inner] = {}
    numbers: dict[str, float] = {}
    pair: tuple[int, str] = (1, "a")
    flag: bool = False
    least: Annotated[int, msgspec.Meta(ge=1)] = 1


WHOLE = {"name": "study", "prune": [{"method": "magnitude"}]}


def test_document_is_converted_to_its_type():
    found = convert_document({**WHOLE, "only": {"method": "random", "sparsity": [1, 0.5]}}, Outer, "f.toml")
    assert found == Outer("study", (Inner("magnitude"),), Inner("random", (1.0, 0.5)))
    assert convert_document([1, 2], tuple[int, ...], "f.json") == (1, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nam": "x"}, "nam: unknown field 'nam'; did you mean 'name'?"),
        ({"prune": [{"method": "a"}, {"metod": "b"}]}, "prune[1].metod: unknown field 'metod'; did you mean 'method'?"),
        ({"only": {"sparsty": []}}, "only.sparsty: unknown field 'sparsty'; did you mean 'sparsity'?"),
        ({"nested": [[], [{"method": "a", "sedes": []}]]}, "nested[1][0].sedes: unknown field 'sedes'; did you mean"),
        ({"tables": {"x": {"method": "a"}, "y": {"methd": "b"}}}, "tables.y.methd: unknown field 'methd'; did you"),
        ({"name": ...}, "name: missing, expected text"),
        ({"prune": ...}, "prune: missing, expected a list"),
        ({"prune": [{"method": "a"}, {}]}, "prune[1].method: missing, expected text"),
        ({"only": {}}, "only.method: missing, expected text"),
        ({"tables": {"x": {}}}, "tables.x.method: missing, expected text"),
        ({"name": 3}, "name: 3, expected text"),
        ({"flag": 1}, "flag: 1, expected true or false"),
        ({"prune": {}}, "prune: {}, expected a list"),
        ({"prune": [3]}, "prune[0]: 3, expected a table"),
        ({"only": [1]}, "only: [1], expected a table"),
        ({"prune": [{"method": "a", "sparsity": 0.3}]}, "prune[0].sparsity: 0.3, expected a list"),
        ({"prune": [{"method": "a", "sparsity": [0.3, "x"]}]}, "prune[0].sparsity[1]: 'x', expected a number"),
        ({"prune": [{"method": "a", "seeds": [0, 1.5]}]}, "prune[0].seeds[1]: 1.5, expected a whole number"),
        ({"prune": [{"method": "a", "seeds": [True]}]}, "prune[0].seeds[0]: True, expected a whole number"),
        ({"nested": [[{"method": 3}]]}, "nested[0][0].method: 3, expected text"),
        ({"tables": {"x": {"method": "a"}, "y": {"method": 3}}}, "tables.y.method: 3, expected text"),
        ({"numbers": {"a": 1.0, "b": "x"}}, "numbers.b: 'x', expected a number"),
        ({"pair": [1, 2]}, "pair[1]: 2, expected text"),
        ({"pair": [1]}, "pair: expected a list of length 2, got 1"),
        ({"least": 0}, "least: expected a whole number >= 1"),
    ],
)
def test_document_that_does_not_fit_is_one_line_that_names_file_field_and_what_was_expected(change, said):
    document = {name: value for name, value in (WHOLE | change).items() if value is not ...}
    with pytest.raises(UserError) as caught:
        convert_document(document, Outer, "folder/f.toml")
    line = str(caught.value)
    assert line.startswith(f"folder/f.toml: {said}")
    assert "did you" in said or line == f"folder/f.toml: {said}"
    assert "\n" not in line
    assert "`" not in line


@pytest.mark.parametrize("document", [3, [], None, "text"])
def test_document_that_is_no_table_is_one_line(document):
    with pytest.raises(UserError, match=f"^f.toml: {re.escape(repr(document))}, expected a table$"):
        convert_document(document, Outer, "f.toml")
