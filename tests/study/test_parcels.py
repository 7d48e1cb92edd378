"""Files that travel between folders: as bytes and through a store, checked by digest, and never to anywhere else."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fsspec")

from sparsemark.errors import UserError
from sparsemark.files import content_hash
from sparsemark.study.sweep import parcels
from sparsemark.study.sweep.parcels import Folder, walked


@pytest.fixture
def here(tmp_path):
    (tmp_path / "here" / "work").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "network.py").write_text("code")
    (tmp_path / "here" / "work" / "net.csr").write_bytes(b"weights")
    return tmp_path


@pytest.fixture(params=["messages", "memory", "file"])
def store(request, tmp_path):
    name = uuid.uuid4().hex
    return {"messages": None, "memory": f"memory://{name}", "file": f"file://{tmp_path}/store/{name}"}[request.param]


def test_files_arrive_as_they_were(here, store):
    sender, receiver = Folder(here / "here", store), Folder(here / "there", store)
    parcel = sender.pack([Path("network.py"), here / "here" / "work" / "net.csr", here / "elsewhere"])
    assert [item.path for item in parcel] == ["network.py", "work/net.csr"]
    assert [item.content is None for item in parcel] == [store is not None] * 2
    receiver.unpack(parcel)
    assert (here / "there" / "network.py").read_text() == "code"
    assert (here / "there" / "work" / "net.csr").read_bytes() == b"weights"


def test_a_file_that_is_there_is_not_written_again_and_another_one_is_replaced(here, store):
    sender, receiver = Folder(here / "here", store), Folder(here / "there", store)
    receiver.unpack(sender.pack([Path("network.py")]))
    arrived = here / "there" / "network.py"
    before = arrived.stat().st_ino
    receiver.unpack(sender.pack([Path("network.py")]))
    assert arrived.stat().st_ino == before
    (here / "here" / "network.py").write_text("other code")
    receiver.unpack(sender.pack([Path("network.py")]))
    assert arrived.read_text() == "other code"


def test_what_is_not_what_its_digest_says_is_refused_and_not_left_behind(here):
    parcel = Folder(here / "here", None).pack([Path("network.py")])
    with pytest.raises(UserError, match=r"network\.py: what came is not what its digest says"):
        Folder(here / "there", None).unpack((replace(parcel[0], content=b"evil"),))
    assert not list((here / "there").iterdir())


def test_a_store_that_somebody_changed_is_refused(here):
    store = here / "store"
    parcel = Folder(here / "here", f"file://{store}").pack([Path("network.py")])
    (kept,) = store.iterdir()
    assert kept.name == content_hash(here / "here" / "network.py")
    kept.write_text("evil")
    receiver = Folder(here / "there", f"file://{store}")
    with pytest.raises(UserError, match=rf"--files file://\S+: {kept.name} holds something else; delete it"):
        receiver.unpack(parcel)
    kept.unlink()
    with pytest.raises(UserError, match=rf"--files file://\S+: {kept.name} cannot be read: "):
        receiver.unpack(parcel)
    assert not list((here / "there").iterdir())


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "work/../../outside", "network.py", "link/outside"])
def test_nothing_is_written_outside_of_the_folders_that_are_made(here, name):
    (here / "there" / "work").mkdir()
    (here / "there" / "link").symlink_to(here)
    item = replace(Folder(here / "here", None).pack([Path("network.py")])[0], path=name)
    with pytest.raises(UserError, match="expected a file below work"):
        Folder(here / "there", None, (Path("work"),)).unpack((item,))
    assert not (here / "outside").exists()


def test_too_much_for_messages_names_what_to_do(here, monkeypatch):
    monkeypatch.setattr(parcels, "MOST", 10)
    with pytest.raises(UserError, match=r"work/net\.csr: more than .* or name a store that they see: --files URL"):
        Folder(here / "here", None).pack([Path("network.py"), Path("work/net.csr")])
    assert len(Folder(here / "here", f"file://{here}/store").pack([Path("network.py"), Path("work/net.csr")])) == 2


def test_an_unknown_protocol_is_one_line(here):
    with pytest.raises(UserError, match=r"--files nowhere://x: "):
        Folder(here / "here", "nowhere://x")


def test_hidden_files_environments_and_what_lies_outside_are_not_sent(here):
    root = here / "here"
    for name in (".git/config", "venv/pyvenv.cfg", "venv/lib.py", "results/table.md", "pkg/code.py", ".secret"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (here / "outside").write_text("x")
    (root / "link").symlink_to(here / "outside")
    assert [path.relative_to(root).as_posix() for path in walked(root)] == ["network.py", "pkg/code.py", "work/net.csr"]


def test_what_was_made_is_what_is_new_or_changed(here):
    folder = Folder(here / "here", None)
    (here / "here" / "work" / "old").write_text("old")
    with folder.made(Path("work")) as made:
        (here / "here" / "work" / "net.csr").write_bytes(b"others")
        (here / "here" / "work" / "new").write_text("new")
        (here / "here" / "beside").write_text("not below")
        (here / "here" / "work" / "training").mkdir()
        (here / "here" / "work" / "training" / "state").write_text("large")
    assert sorted(path.name for path in made) == ["net.csr", "new"]
