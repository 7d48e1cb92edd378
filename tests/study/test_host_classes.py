"""Classes of hosts: whose latencies stand in one table."""

from __future__ import annotations

import pytest

from sparsemark.errors import UserError
from sparsemark.machine.control_group import Limits
from sparsemark.machine.host import Host
from sparsemark.study.file import load_study
from sparsemark.study.host_classes import HostEntry, HostTable, classes_of, tables_of
from tests.toy_study.place import HERE as TOY

CELLS = ["net-dense-seed0-onnxruntime", "net-dense-seed0-torch"]


def host(name, processor):
    return Host(
        name, {"cpu_model": processor, "cpu_count": 2, "cpu_flags": "avx2"}, None, None, Limits(None, None, None)
    )


EPYC, SECOND, XEON = host("a", "AMD EPYC"), host("b", "AMD EPYC"), host("c", "Intel Xeon")


def test_without_tables_hosts_that_are_alike_are_one_class():
    (found,) = classes_of((), [EPYC, SECOND])
    assert (found.name, found.folder) == ("", "amd-epyc-2cpu-avx2")
    assert found.holds(EPYC)
    assert not found.holds(XEON)


def test_without_tables_hosts_that_differ_are_refused():
    with pytest.raises(UserError, match=r"processors differ \(a: AMD EPYC; c: Intel Xeon\)"):
        classes_of((), [EPYC, XEON])


@pytest.mark.parametrize(
    ("table", "held"),
    [
        (HostTable("t"), [EPYC, SECOND, XEON]),
        (HostTable("t", processor="AMD*"), [EPYC, SECOND]),
        (HostTable("t", host="c"), [XEON]),
    ],
)
def test_a_table_holds_all_hosts_or_those_of_a_processor_or_one(table, held):
    classes = classes_of([table], [EPYC, SECOND, XEON])
    assert [one for one in (EPYC, SECOND, XEON) if any(where.holds(one) for where in classes)] == held


def test_a_table_of_several_processors_is_a_class_for_each():
    classes = classes_of([HostTable("all")], [EPYC, XEON])
    assert [where.name for where in classes] == ["all, amd-epyc-2cpu-avx2", "all, intel-xeon-2cpu-avx2"]
    assert len({where.folder for where in classes}) == 2


def test_hosts_that_nobody_has_are_named():
    with pytest.raises(UserError, match=r"host\[0\]: no worker has the processor 'ARM\*' \(there are: a: AMD EPYC\)"):
        classes_of([HostTable("t", processor="ARM*")], [EPYC])


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([HostEntry("a b")], "host[0].name: 'a b', expected letters"),
        ([HostEntry("a"), HostEntry("a")], "host[1].name: 'a' is there twice"),
        ([HostEntry("a", processor="x", host="y")], "host[0].host: 'y', expected none beside processor"),
        ([HostEntry("a", cells=("other-*",))], "host[0].cells: 'other-*' is the name of no cell"),
        ([HostEntry("a", cells=())], "host[0].cells: '' is the name of no cell"),
    ],
)
def test_tables_that_make_no_sense_are_refused(entries, said):
    with pytest.raises(UserError) as raised:
        tables_of(entries, CELLS)
    assert str(raised.value).startswith(said)


def test_a_study_file_names_classes_and_a_field_that_nobody_knows_is_refused(tmp_path):
    file = tmp_path / "toy.toml"
    text = (TOY / "toy.toml").read_text()
    file.write_text(text + '[[host]]\nname = "epyc"\nprocessor = "AMD*"\ncells = ["*-torch"]\n')
    study = load_study(file)
    assert study.hosts == (HostTable("epyc", ("*-torch",), "AMD*"),)
    (where,) = classes_of(study.hosts, [EPYC])
    assert {cell.engine for cell in study.cells if where.takes(cell)} == {"torch"}
    file.write_text(text + '[[host]]\nname = "epyc"\nprocesor = "AMD*"\n')
    with pytest.raises(UserError, match=r"host\[0\]\.procesor: unknown field"):
        load_study(file)
