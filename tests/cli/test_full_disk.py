"""Full disks: finished measurements stay, and no file is left in part."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsemark.cli import main
from sparsemark.records.measurement import MEASURED
from sparsemark.records.run import Run
from tests.cli.small_bench import MASKED, NETWORKS, bench, needs_full_disk, statuses
from tests.synthetic import cell
from tests.toy_study.place import benchmarks, journal_keys


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_results_are_there_before_artifacts_and_no_file_is_left_in_part(here, quick, refused):
    """A limit on the size of files: the result is smaller than an artifact."""
    Path("networks.py").write_text(NETWORKS.replace("nn.LazyLinear(2)", "nn.LazyLinear(3000)"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    plain = shutil.copyfile

    def full(source, target):
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
        try:
            return plain(source, target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.copyfile", lambda a, b: full(a, b) if "kept" in str(b) else plain(a, b))
        line = refused(*MASKED, "--artifacts", "kept")
    assert line == ("sparsemark bench: kept/build-dense-seed0.safetensors: cannot be written: File too large")
    assert set(statuses().values()) == {MEASURED}
    assert list(Path("kept").iterdir()) == []
    assert main([*MASKED, "--artifacts", "kept"]) == 0
    assert len(list(Path("kept").iterdir())) == 2
    assert not Path("out.json.unfinished.jsonl").exists()


@needs_full_disk
def test_the_disk_is_full_where_a_report_should_go(run_file, refused):
    line = refused("report", run_file, "--format", "markdown", "--output", "/dev/full")
    assert "/dev/full: cannot be written: No space left on device" in line
    assert Path("/dev/full").is_char_device()


CELLS = ["build-dense-seed0-torch", "build-magnitude50-seed0-torch", "build-magnitude90-seed0-torch"]
TWO_MASKS = ("--prune", "magnitude:0.5", "--prune", "magnitude:0.9")
THREE_CELLS = bench("networks.py:build", "--input", "1,3,8,8", "--engine", "torch", *TWO_MASKS)


def test_the_disk_is_full_for_the_journal_and_what_was_measured_stays(here, refused, quick, measured, monkeypatch):
    """The third line is torn; the next run takes the first two and measures the third cell alone."""
    journal = Path("out.json.unfinished.jsonl")

    def no_space(descriptor):
        if len(journal_keys(journal)) == 3:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - 20)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("sparsemark.records.checked_lines.os", SimpleNamespace(write=os.write, fsync=no_space))
        line = refused(*THREE_CELLS)
    assert f"{journal}: cannot be written: No space left on device" in line
    assert measured == CELLS
    assert not Path("out.json").exists()
    assert len(journal_keys(journal)) == 2

    measured.clear()
    assert main(THREE_CELLS) == 0
    assert measured == CELLS[2:]
    assert [row["name"] for row in benchmarks(Path("out.json"))] == CELLS
    assert not journal.exists()


def test_the_disk_is_full_for_the_result_and_what_was_measured_stays(here, refused, quick, measured, monkeypatch):
    plain = Path.replace

    def no_space(self, target):
        if Path(target).name == "out.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_space)
        assert "out.json: cannot be written: No space left on device" in refused(*THREE_CELLS)
    assert sorted(path.name for path in Path.cwd().glob("*out.json*")) == ["out.json.unfinished.jsonl"]

    measured.clear()
    assert main(THREE_CELLS) == 0
    assert measured == []
    assert [row["name"] for row in benchmarks(Path("out.json"))] == CELLS


def test_an_older_result_survives_a_failed_write(here, refused, monkeypatch):
    Run((cell(),)).save(Path("out.json"))
    before = Path("out.json").read_bytes()

    def no_space(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", no_space)
    assert "cannot be written" in refused("report", "out.json", "--format", "csv", "--output", "out.json")
    assert Path("out.json").read_bytes() == before
