"""The processor: LLVM is asked once for each kind of it, and what is kept is checked."""

from __future__ import annotations

import json
import sys

import pytest

from sparsemark.direct import target
from sparsemark.direct.target import Processor, this_processor

KNOWN = Processor("x86_64-unknown-linux-gnu", "some", "+avx2,-avx512f")
INFO = "processor : 0\nvendor_id\t: Some\nmodel name\t: One\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n\nprocessor : 1\n"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A new cache, and a list with an entry for each time that LLVM is asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = []

    def ask():
        times.append(len(times))
        return KNOWN

    monkeypatch.setattr(target, "_ask", ask)
    describe(monkeypatch)
    return times


def describe(monkeypatch, mhz="3000.1", flags="avx avx2"):
    monkeypatch.setattr(target.proc, "read", lambda _: INFO.format(mhz=mhz, flags=flags))


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
    monkeypatch.setattr(target, "installed_version", lambda _: "0.0")
    this_processor()
    assert len(asked) == 3


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"triple": 1, "name": "a", "features": "b"}', "{"])
def test_what_is_damaged_is_asked_for_again_and_written_anew(asked, tmp_path, content):
    this_processor()
    before = kept(tmp_path).read_text()
    kept(tmp_path).write_text(content)
    assert this_processor() == KNOWN
    assert len(asked) == 2
    assert kept(tmp_path).read_text() == before


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_what_others_can_write_is_not_believed(asked, tmp_path):
    this_processor()
    kept(tmp_path).write_text(json.dumps({"triple": "", "name": "planted", "features": ""}))
    kept(tmp_path).chmod(0o666)
    assert this_processor() == KNOWN


def test_where_the_system_says_nothing_llvm_is_asked_each_time(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(target.proc, "read", lambda _: "")
    assert [this_processor(), this_processor()] == [KNOWN, KNOWN]
    assert len(asked) == 2
    assert not list(tmp_path.iterdir())


def test_this_machine_is_what_llvm_says():
    assert target._ask() == target.PROCESSOR
