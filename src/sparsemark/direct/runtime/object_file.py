"""Object code put in place in this process: ELF files for x86-64, as LLVM writes them, read by the ELF specification.

LLVM's own linker does the same, but its library takes 43 MB and a tenth of a second. What this one does not know it
refuses, so that LLVM can be asked.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from dataclasses import dataclass
from platform import machine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")

_IDENTITY = b"\x7fELF\x02\x01\x01"
"""Of 64 bits, little-endian, version 1."""

_RELOCATABLE, _X86_64 = 1, 62
_TABLE_OF_SYMBOLS, _RELOCATIONS, _EMPTY = 2, 4, 8
"""Types of sections: symbols, relocations with addends, memory that the file holds no bytes of."""

_WRITTEN, _IN_MEMORY = 1, 2
"""Flags of sections that the program writes to, and of those that it needs."""

_UNDEFINED = 0
"""Section of a symbol that another file defines."""

_GLOBAL = 1
"""Binding of a symbol that other files see."""

_ABSOLUTE_64, _RELATIVE_32, _CALL_32 = 1, 2, 4
"""Relocations: an address, a distance to data, a distance to a function."""

_LINE, _PAGE = 64, mmap.PAGESIZE
_MOST = 1 << 26
"""Bytes of a file's sections that are not damaged: ours have 90 kB at most."""

_JUMP = b"\xff\x25\x00\x00\x00\x00"
"""`jmp [rip + 0]`: to the address behind it. A function of another library may be further away than 32 bits reach."""
_JUMP_BYTES = len(_JUMP) + 8

IS_KNOWN = sys.platform == "linux" and machine() == "x86_64"
"""Whether object code of this system is what is read here."""


class ObjectFileError(Exception):
    """An object file that is damaged, or holds what is not known here."""


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    start: int
    size: int
    link: int
    info: int
    align: int


@dataclass(frozen=True)
class _Symbol:
    name: str
    binding: int
    section: int
    offset: int


@dataclass(frozen=True)
class _Relocation:
    section: int
    offset: int
    kind: int
    symbol: int
    addend: int


class _Reader:
    """Tables of an object file.

    Args:
        code: the file.

    Raises:
        ObjectFileError: it is none, or a table lies outside of it.
    """

    def __init__(self, code: bytes) -> None:
        self.code = code
        identity, kind, processor, *_, sections, _, _, _, _, size, count, _ = self._at(_HEADER, 0)
        if not identity.startswith(_IDENTITY) or (kind, processor, size) != (_RELOCATABLE, _X86_64, _SECTION.size):
            raise ObjectFileError("no relocatable ELF file for x86-64")
        self.sections = []
        for number in range(count):
            _, kind, flags, _, start, length, link, info, align, _ = self._at(_SECTION, sections + number * size)
            self.sections.append(_Section(kind, flags, start, length, link, info, align))

    def _at(self, what: struct.Struct, position: int) -> tuple[Any, ...]:
        try:
            return what.unpack_from(self.code, position)
        except (struct.error, OverflowError) as error:
            raise ObjectFileError("ends early") from error

    def bytes_of(self, section: _Section) -> bytes:
        """Return the content of a section."""
        found = self.code[section.start : section.start + section.size]
        if len(found) != section.size:
            raise ObjectFileError("ends early")
        return found

    def symbols(self) -> list[_Symbol]:
        """Return all symbols; those that stand for sections have no names."""
        tables = [one for one in self.sections if one.kind == _TABLE_OF_SYMBOLS]
        if len(tables) != 1 or tables[0].link >= len(self.sections) or tables[0].size % _SYMBOL.size:
            raise ObjectFileError("no table of symbols")
        (table,) = tables
        names = self.bytes_of(self.sections[table.link])
        found = []
        for name, info, _, section, offset, _ in _SYMBOL.iter_unpack(self.bytes_of(table)):
            text = names[name : names.find(b"\0", name)].decode("ascii", "replace")
            found.append(_Symbol(text, info >> 4, section, offset))
        return found

    def relocations(self) -> list[_Relocation]:
        """Return the relocations in sections that are needed."""
        found: list[_Relocation] = []
        for one in self.sections:
            if one.kind != _RELOCATIONS or one.info >= len(self.sections):
                continue
            if one.size % _RELOCATION.size:
                raise ObjectFileError("a table of relocations is cut")
            if self.sections[one.info].flags & _IN_MEMORY:
                found += [
                    _Relocation(one.info, offset, info & 0xFFFFFFFF, info >> 32, addend)
                    for offset, info, addend in _RELOCATION.iter_unpack(self.bytes_of(one))
                ]
        return found


def link(objects: Sequence[bytes], symbol: str) -> int:
    """Put object files into memory that can be run, for as long as the process lives; return a symbol's address.

    Args:
        objects: ELF files for x86-64, trusted: they are run as they are. What one calls, one before it defines, or else
            C's library does.
        symbol: name of a function in one of them.

    Raises:
        ObjectFileError: one is damaged, calls what neither those before it nor this process have, defines what one
            before it does, or holds what is not known here.
    """
    images: list[_Image] = []
    known: dict[str, int] = {}
    for code in objects:
        image = _Image(_Reader(code), known)
        defined = image.defined()
        if twice := known.keys() & defined:
            raise ObjectFileError(f"{min(twice)} is defined twice")
        image.relocate()
        image.make_runnable()
        known |= defined
        images.append(image)
    if symbol not in known:
        raise ObjectFileError(f"no symbol {symbol}")
    for image in images:
        # At exit the interpreter drops what modules hold, while a thread may still be running in it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(image.memory))
    return known[symbol]


class _Image:
    """Sections in memory, in two parts of whole pages.

    The first runs and is constant, and ends in a jump to each function outside of the file that it calls. The program
    writes to the second.

    Args:
        reader: of the file.
        known: addresses of functions of other files, by name.

    Raises:
        ObjectFileError: as in `link`.
    """

    def __init__(self, reader: _Reader, known: Mapping[str, int]) -> None:
        self._sections, self._symbols, self._relocations = reader.sections, reader.symbols(), reader.relocations()
        called = sorted({one.symbol for one in self._relocations})
        if called and called[-1] >= len(self._symbols):
            raise ObjectFileError("a relocation to no symbol")
        outside = [number for number in called if self._symbols[number].section == _UNDEFINED]
        names = {number: self._symbols[number].name for number in outside}
        self._functions = {number: known.get(name) or _function(name) for number, name in names.items()}
        constant, size = _placed(self._sections, 0, written=False)
        self._jumps = {number: size + index * _JUMP_BYTES for index, number in enumerate(outside)}
        self._runnable = max(_PAGE, _rounded(size + len(outside) * _JUMP_BYTES, _PAGE))
        written, length = _placed(self._sections, self._runnable, written=True)
        self._offsets = constant | written
        self.memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for number, offset in self._offsets.items():
            if self._sections[number].kind != _EMPTY:
                self._write(offset, reader.bytes_of(self._sections[number]))
        for number, offset in self._jumps.items():
            self._write(offset, _JUMP + struct.pack("<Q", self._functions[number]))

    def _write(self, offset: int, content: bytes) -> None:
        self.memory[offset : offset + len(content)] = content

    def defined(self) -> dict[str, int]:
        """Return the addresses of the symbols that other files see, by name."""
        return {
            one.name: self._start + self._position(number)
            for number, one in enumerate(self._symbols)
            if one.binding == _GLOBAL and one.section != _UNDEFINED
        }

    def _position(self, number: int) -> int:
        """Return where a symbol lies, or the jump to it, from the start of the memory."""
        if number in self._jumps:
            return self._jumps[number]
        symbol = self._symbols[number]
        if symbol.section not in self._offsets or symbol.offset > self._sections[symbol.section].size:
            raise ObjectFileError(f"a symbol in section {symbol.section}")
        return self._offsets[symbol.section] + symbol.offset

    def relocate(self) -> None:
        """Write addresses and distances where the code has room for them."""
        for one in self._relocations:
            width = 8 if one.kind == _ABSOLUTE_64 else 4
            if one.offset + width > self._sections[one.section].size:
                raise ObjectFileError("a relocation outside of its section")
            place = self._offsets[one.section] + one.offset
            self._write(place, self._value(one, place).to_bytes(width, "little"))

    def _value(self, one: _Relocation, place: int) -> int:
        outside = one.symbol in self._functions
        if one.kind == _ABSOLUTE_64:
            target = self._functions[one.symbol] if outside else self._start + self._position(one.symbol)
            return (target + one.addend) % 2**64
        if one.kind != _CALL_32 and (one.kind != _RELATIVE_32 or outside):
            raise ObjectFileError(f"a relocation of type {one.kind}")
        distance = self._position(one.symbol) + one.addend - place
        if not -(2**31) <= distance < 2**31:
            raise ObjectFileError("a distance of more than 32 bits")
        return distance % 2**32

    def make_runnable(self) -> None:
        """Have code run, and no longer be written."""
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        if protect(self._start, self._runnable, mmap.PROT_READ | mmap.PROT_EXEC):
            raise ObjectFileError(f"memory cannot be run: error {ctypes.get_errno()}")


def _placed(sections: list[_Section], start: int, *, written: bool) -> tuple[dict[int, int], int]:
    """Return where each section begins that is needed, by number, and where the last one ends.

    Args:
        sections: of the file.
        start: of the first one.
        written: whether those that the program writes to, or the others.

    Raises:
        ObjectFileError: they are too large, or need more than a page begins at.
    """
    offsets, end = {}, start
    for number, one in enumerate(sections):
        if not one.flags & _IN_MEMORY or bool(one.flags & _WRITTEN) != written:
            continue
        step = max(_LINE, one.align)
        if step & (step - 1) or step > _PAGE:
            raise ObjectFileError(f"a section at multiples of {step}")
        offsets[number] = _rounded(end, step)
        end = offsets[number] + one.size
        if end > _MOST:
            raise ObjectFileError(f"a program of {end} bytes")
    return offsets, end


def _rounded(size: int, step: int) -> int:
    """Round up."""
    return -(-size // step) * step


def _function(name: str) -> int:
    """Return the address of a function of C's library."""
    for library in (None, "libm.so.6", "libc.so.6"):
        try:
            found = ctypes.CDLL(library)[name]  # by name: an attribute may be one of Python's
        except (OSError, AttributeError):
            continue
        return ctypes.cast(found, ctypes.c_void_p).value or 0
    raise ObjectFileError(f"no function {name}")
