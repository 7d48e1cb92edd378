"""The processor: LLVM is asked once for each kind of it, and what is kept is checked."""

from __future__ import annotations

import sys

import pytest

from sparsemark.direct import target
from sparsemark.direct.target import Processor, this_processor
from sparsemark.errors import UserError
from sparsemark.files import note_of

KNOWN = Processor("x86_64-unknown-linux-gnu", "some", "+avx2,-avx512f")
INFO = """processor : 0
vendor_id\t: Some
model name\t: One
CPU implementer\t: {maker}
cpu MHz\t\t: {mhz}
flags\t\t: {flags}

processor : 1
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A new cache, and a list with an entry for each time that LLVM is asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = []

    def ask():
        times.append(len(times))
        return KNOWN

    monkeypatch.setattr(target, "_ask", ask)
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    describe(monkeypatch)
    return times


def describe(monkeypatch, mhz="3000.1", flags="avx avx2", maker="0x41"):
    monkeypatch.setattr(target.proc, "read", lambda _: INFO.format(mhz=mhz, flags=flags, maker=maker))


def kept(tmp_path):
    (path,) = (tmp_path / "sparsemark" / "processor").iterdir()
    return path


def test_llvm_is_asked_once_whatever_the_clock_shows(asked, monkeypatch):
    assert this_processor() == KNOWN
    describe(monkeypatch, mhz="1200.7")
    assert this_processor() == KNOWN
    assert len(asked) == 1


def test_another_kind_or_another_llvm_is_asked_for_anew(asked, monkeypatch):
    this_processor()
    describe(monkeypatch, flags="avx avx2 avx512f")
    this_processor()
    describe(monkeypatch, maker="0x42")
    this_processor()
    monkeypatch.setattr(target, "installed_version", lambda _: "0.0")
    this_processor()
    assert len(asked) == 4


def flipped(text):
    """A feature that the processor does not have: its instructions would end the process."""
    return text.replace("-avx512f", "+avx512f")


@pytest.mark.parametrize(
    "damaged",
    [
        *(lambda _, content=content: content for content in ("", "[1]", "{}", "{", "[" * 100_000)),
        lambda _: note_of({"triple": "of another version"}).decode(),
        flipped,
        lambda text: text.replace("avx2", ""),
    ],
)
def test_what_is_damaged_is_asked_for_again_and_written_anew(asked, tmp_path, damaged):
    this_processor()
    before = kept(tmp_path).read_text()
    kept(tmp_path).write_text(damaged(before))
    assert kept(tmp_path).read_text() != before
    assert this_processor() == KNOWN
    assert len(asked) == 2
    assert kept(tmp_path).read_text() == before


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_what_others_can_write_is_not_believed(asked, tmp_path):
    this_processor()
    kept(tmp_path).write_bytes(note_of({"triple": "", "name": "planted", "features": ""}))
    kept(tmp_path).chmod(0o666)
    assert this_processor() == KNOWN


@pytest.mark.parametrize("info", ["", INFO.replace("flags", "Features"), INFO.replace("{flags}", "")])
def test_where_the_system_lists_no_instructions_llvm_is_asked_each_time(asked, tmp_path, monkeypatch, info):
    monkeypatch.setattr(target.proc, "read", lambda _: info)
    assert [this_processor(), this_processor()] == [KNOWN, KNOWN]
    assert len(asked) == 2
    assert not list(tmp_path.iterdir())


def test_without_a_folder_to_keep_it_in_llvm_is_asked_each_time(asked, monkeypatch):
    """A user of a container that its system does not know: no home, and this module is imported all the same."""

    def nowhere():
        raise UserError("no folder to keep things in")

    monkeypatch.setattr(target.paths, "user_cache", nowhere)
    assert [this_processor(), this_processor()] == [KNOWN, KNOWN]
    assert len(asked) == 2


def test_this_machine_is_what_llvm_says():
    assert target._ask() == target.PROCESSOR
