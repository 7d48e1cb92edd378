"""Object code put in place by its own linker: the same bytes run, and what is damaged is refused, never half linked."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemark.direct.runtime import object_file
from sparsemark.direct.runtime.object_file import ObjectFileError, link
from sparsemark.direct.target import PROCESSOR

pytestmark = pytest.mark.skipif(not object_file.IS_KNOWN, reason="object code of another system")

TEXT = """
@table = internal constant [4 x i32] [i32 3, i32 5, i32 7, i32 11]
@places = internal constant [2 x ptr] [ptr @plain, ptr @expf]
declare float @expf(float)
define internal float @plain(float %x) noinline { ret float %x }
define i32 @looked(i32 %i) {
  %place = getelementptr [4 x i32], ptr @table, i32 0, i32 %i
  %found = load i32, ptr %place
  ret i32 %found
}
define float @called(float %x, i32 %which) {
  %place = getelementptr [2 x ptr], ptr @places, i32 0, i32 %which
  %function = load ptr, ptr %place
  %by_table = call float %function(float %x)
  %by_name = call float @expf(float %x)
  %sum = fadd float %by_table, %by_name
  ret float %sum
}
"""


def compiled(text):
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(PROCESSOR.triple)
    machine = target.create_target_machine(reloc="pic", codemodel="default")
    return machine.emit_object(llvm.parse_assembly(text))


@pytest.fixture(scope="module")
def code():
    """Constants, a table of addresses, and calls within the file and out of it."""
    return compiled(TEXT)


LEAF = """
@offset = internal constant [2 x i64] [i64 100, i64 200]
define internal i64 @own(i64 %x) noinline {
  %place = getelementptr [2 x i64], ptr @offset, i64 0, i64 1
  %number = load i64, ptr %place
  %sum = add i64 %x, %number
  ret i64 %sum
}
define i64 @leaf(i64 %x) {
  %sum = call i64 @own(i64 %x)
  ret i64 %sum
}
define i64 @abs(i64 %x) {
  ret i64 -1
}
"""

CALLER = """
@leaves = internal constant [1 x ptr] [ptr @leaf]
declare i64 @leaf(i64)
declare i64 @abs(i64)
declare i64 @labs(i64)
define internal i64 @own(i64 %x) noinline { ret i64 1000 }
define i64 @caller(i64 %x) {
  %by_name = call i64 @leaf(i64 %x)
  %leaf = load volatile ptr, ptr @leaves
  %by_table = call i64 %leaf(i64 %by_name)
  %own = call i64 @own(i64 %x)
  %sum = add i64 %own, %by_table
  ret i64 %sum
}
define i64 @of_libraries(i64 %x) {
  %before = call i64 @abs(i64 %x)
  %library = call i64 @labs(i64 %x)
  %sum = add i64 %before, %library
  ret i64 %sum
}
"""


@pytest.fixture(scope="module")
def objects():
    """A file, and one that calls it; both have a function of their own by one name."""
    return [compiled(LEAF), compiled(CALLER)]


def test_a_file_calls_those_before_it_by_name_and_by_table(objects):
    caller = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(link(objects, "caller"))
    assert caller(7) == 7 + 200 + 200 + 1000


def test_what_a_file_before_defines_comes_before_the_library_of_c(objects):
    called = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(link(objects, "of_libraries"))
    assert called(-5) == -1 + 5


def test_a_function_of_any_file_is_found_but_none_of_its_own(objects):
    leaf = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(link(objects, "leaf"))
    assert leaf(1) == 201
    with pytest.raises(ObjectFileError, match="no symbol own"):
        link(objects, "own")


def test_a_file_that_calls_one_behind_it_is_refused(objects):
    with pytest.raises(ObjectFileError, match="no function leaf"):
        link(objects[::-1], "caller")


def test_a_symbol_of_two_files_is_refused(objects):
    with pytest.raises(ObjectFileError, match="abs is defined twice"):
        link([objects[0], *objects], "caller")


@pytest.mark.parametrize("damaged", [0, 1])
def test_one_damaged_file_of_several_is_refused(objects, damaged):
    files = [code[:-1] if number == damaged else code for number, code in enumerate(objects)]
    with pytest.raises(ObjectFileError):
        link(files, "caller")


def test_no_files_have_no_symbol():
    with pytest.raises(ObjectFileError, match="no symbol looked"):
        link([], "looked")


def test_constants_are_found(code):
    looked = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(link([code], "looked"))
    assert [looked(i) for i in range(4)] == [3, 5, 7, 11]


def test_calls_reach_the_file_itself_and_the_library_of_c(code):
    called = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float, ctypes.c_int32)(link([code], "called"))
    expf = ctypes.CDLL("libm.so.6").expf
    expf.restype, expf.argtypes = ctypes.c_float, [ctypes.c_float]
    assert called(1.5, 0) == ctypes.c_float(1.5 + expf(1.5)).value
    assert called(1.5, 1) == ctypes.c_float(2 * expf(1.5)).value


def modes_at(address):
    """What may be done to memory: `r-xp` and so on."""
    lines = [line.split()[:2] for line in Path("/proc/self/maps").read_text().splitlines()]
    areas = {tuple(int(end, 16) for end in bounds.split("-")): modes for bounds, modes in lines}
    (modes,) = [modes for (first, end), modes in areas.items() if first <= address < end]
    return modes


def test_memory_that_runs_cannot_be_written(code):
    assert modes_at(link([code], "looked")).startswith("r-x")


COUNTED = """
@count = internal global i32 7
define i32 @counted() {
  %before = load i32, ptr @count
  %after = add i32 %before, 1
  store i32 %after, ptr @count
  ret i32 %after
}
define ptr @place() { ret ptr @count }
"""


def test_memory_that_is_written_cannot_be_run():
    code = compiled(COUNTED)
    place = ctypes.CFUNCTYPE(ctypes.c_void_p)(link([code], "place"))()
    assert modes_at(place).startswith("rw-")
    counted = ctypes.CFUNCTYPE(ctypes.c_int32)(link([code], "counted"))
    assert [counted(), counted()] == [8, 9]


SPIN = """
define void @spin(ptr %place) {
entry:
  br label %again
again:
  store atomic i64 1, ptr %place seq_cst, align 8
  br label %again
}
"""


def test_a_thread_may_run_until_the_process_has_ended(tmp_path):
    """A helper that works when the interpreter ends: what modules held is gone before the threads are."""
    (tmp_path / "spin.o").write_bytes(compiled(SPIN))
    program = (
        "import ctypes, pathlib, sys, threading\n"
        "from sparsemark.direct.runtime.object_file import link\n"
        "address = link([pathlib.Path(sys.argv[1]).read_bytes()], 'spin')\n"
        "place = ctypes.c_int64()\n"
        "ctypes.pythonapi.Py_IncRef(ctypes.py_object(place))\n"
        "spin = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)\n"
        "threading.Thread(target=spin, args=(ctypes.addressof(place),), daemon=True).start()\n"
        "while not place.value: pass\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "spin.o")]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("name", ["nowhere", "expf"])
def test_a_symbol_that_the_file_does_not_define_is_refused(code, name):
    with pytest.raises(ObjectFileError, match=f"no symbol {name}"):
        link([code], name)


def test_a_function_that_no_library_has_is_refused(code):
    with pytest.raises(ObjectFileError, match="no function exqf"):
        link([code.replace(b"expf\0", b"exqf\0")], "called")


@pytest.mark.parametrize("name", ["_name", "_handle", ""])
def test_a_name_of_pythons_own_is_no_function(name):
    text = f'declare void @"{name or "other"}"()\ndefine void @calls() {{ call void @"{name or "other"}"() ret void }}'
    code = compiled(text) if name else compiled(text).replace(b"other\0", b"\0ther\0")
    with pytest.raises(ObjectFileError, match=f"no function {name}"):
        link([code], "calls")


def test_another_kind_of_file_is_refused(code):
    for other in (b"", b"nonsense", b"\x7fELF\x01" + code[5:], code[:18] + b"\xb7\x00" + code[20:]):
        with pytest.raises(ObjectFileError):
            link([other], "looked")


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_ends_early_is_refused(code, share):
    with pytest.raises(ObjectFileError):
        link([code[: int(share * len(code))]], "looked")


@given(position=st.integers(0, 2**32), byte=st.integers(1, 255))
def test_a_byte_that_changed_is_refused_or_harmless_to_whoever_links(code, position, byte):
    damaged = bytearray(code)
    damaged[position % len(code)] ^= byte
    try:
        address = link([bytes(damaged)], "looked")
    except ObjectFileError:
        return
    assert address > 0  # not called: whoever has it run has checked the digest
