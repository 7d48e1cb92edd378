"""Object code put in place by its own linker: the same bytes run, and what is damaged is refused, never half linked."""

from __future__ import annotations

import ctypes
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


@pytest.fixture(scope="module")
def code():
    """Constants, a table of addresses, and calls within the file and out of it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(TEXT)
    target = llvm.Target.from_triple(PROCESSOR.triple)
    return target.create_target_machine(reloc="pic", codemodel="default").emit_object(module)


def test_constants_are_found(code):
    looked = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(link(code, "looked"))
    assert [looked(i) for i in range(4)] == [3, 5, 7, 11]


def test_calls_reach_the_file_itself_and_the_library_of_c(code):
    called = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float, ctypes.c_int32)(link(code, "called"))
    expf = ctypes.CDLL("libm.so.6").expf
    expf.restype, expf.argtypes = ctypes.c_float, [ctypes.c_float]
    assert called(1.5, 0) == ctypes.c_float(1.5 + expf(1.5)).value
    assert called(1.5, 1) == ctypes.c_float(2 * expf(1.5)).value


def test_memory_that_runs_cannot_be_written(code):
    address = link(code, "looked")
    lines = [line.split()[:2] for line in Path("/proc/self/maps").read_text().splitlines()]
    areas = {tuple(int(end, 16) for end in bounds.split("-")): modes for bounds, modes in lines}
    (modes,) = [modes for (first, end), modes in areas.items() if first <= address < end]
    assert modes.startswith("r-x")


@pytest.mark.parametrize("name", ["nowhere", "expf"])
def test_a_symbol_that_the_file_does_not_define_is_refused(code, name):
    with pytest.raises(ObjectFileError, match=f"no symbol {name}"):
        link(code, name)


def test_a_function_that_no_library_has_is_refused(code):
    with pytest.raises(ObjectFileError, match="no function exqf"):
        link(code.replace(b"expf\0", b"exqf\0"), "called")


def test_another_kind_of_file_is_refused(code):
    for other in (b"", b"nonsense", b"\x7fELF\x01" + code[5:], code[:18] + b"\xb7\x00" + code[20:]):
        with pytest.raises(ObjectFileError):
            link(other, "looked")


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_ends_early_is_refused(code, share):
    with pytest.raises(ObjectFileError):
        link(code[: int(share * len(code))], "looked")


@given(position=st.integers(0, 2**32), byte=st.integers(1, 255))
def test_a_byte_that_changed_is_refused_or_harmless_to_whoever_links(code, position, byte):
    damaged = bytearray(code)
    damaged[position % len(code)] ^= byte
    try:
        address = link(bytes(damaged), "looked")
    except ObjectFileError:
        return
    assert address > 0  # not called: whoever has it run has checked the digest
