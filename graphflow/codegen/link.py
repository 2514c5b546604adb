"""Several relocatable objects of one machine as one (what `ld -r` does), for 64-bit ELF.

Sections of one name are laid one after the other. Names that one object uses and another defines
meet; those with hidden visibility were meant for nothing else and become local. Only what LLVM
writes for our modules is understood: sections with bits, symbols, relocations with addends.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InternalError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = np.dtype([
    ("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("address", "<u8"), ("offset", "<u8"),
    ("size", "<u8"), ("link", "<u4"), ("info", "<u4"), ("alignment", "<u8"), ("entry", "<u8"),
])  # fmt: skip
_SYMBOL = np.dtype([
    ("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"),
    ("size", "<u8"),
])  # fmt: skip
_RELOCATION = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])

_BITS, _SYMBOLS, _STRINGS, _RELOCATIONS, _NO_BITS = 1, 2, 3, 4, 8  # types of sections
_INFO_LINK = 0x40  # the flag of a section whose info is a section
_MERGE = 0x30  # flags of constants that a linker may store once; they are copied as they are
_ALLOCATED = 2  # the flag of a section that is in memory when a program runs
_OBJECT_SYMBOL, _SECTION_SYMBOL = 1, 3  # types of symbols
_HIDDEN, _UNDEFINED = 2, 0
_LOCAL, _GLOBAL = 0, 1  # bindings of symbols


@dataclass
class _Section:
    """A section of the result: its parts one after the other."""

    name: str
    type: int
    flags: int
    number: int
    alignment: int = 1
    data: bytearray = field(default_factory=bytearray)
    size: int = 0
    relocations: list[np.ndarray] = field(default_factory=list)

    def append(self, data: bytes, size: int, alignment: int) -> int:
        """Where the part begins."""
        start = -(-self.size // alignment) * alignment
        self.alignment = max(self.alignment, alignment)
        self.size = start + size
        if self.type != _NO_BITS:
            self.data += bytes(start - len(self.data)) + data
        return start


@dataclass(frozen=True)
class _Part:
    """Where a section of an object went."""

    section: _Section
    start: int


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(1)

    def add(self, text: str) -> int:
        position = len(self.data)
        self.data += text.encode() + b"\0"
        return position if text else 0


class _Object:
    """An object that is read."""

    def __init__(self, data: bytes):
        if data[:6] != b"\x7fELF\x02\x01":
            raise InternalError("only 64-bit little-endian ELF objects can be linked")
        self.data, self.header = data, _HEADER.unpack_from(data)
        count, names = self.header[12], self.header[13]
        self.sections = np.frombuffer(data, _SECTION, count, self.header[6])
        self._section_names = self.bits(self.sections[names])
        table = next(s for s in self.sections if s["type"] == _SYMBOLS)
        self.symbols = np.frombuffer(self.bits(table), _SYMBOL)
        self._symbol_names = self.bits(self.sections[table["link"]])

    def bits(self, section: np.void) -> bytes:
        return self.data[section["offset"] : section["offset"] + section["size"]]

    def section_name(self, section: np.void) -> str:
        return _text(self._section_names, section["name"])

    def symbol_name(self, symbol: np.void) -> str:
        return _text(self._symbol_names, symbol["name"])


def _text(strings: bytes, position: int) -> str:
    return strings[position : strings.index(b"\0", position)].decode()


class _Linker:
    """Sections and symbols of the result. A symbol is known by a key: a section's number and name
    where it is local, its name alone where objects share it."""

    def __init__(self, exported: Collection[str] | None, needed: Collection[str]) -> None:
        self.exported, self.needed = exported, needed
        self.sections: dict[tuple, _Section] = {}
        self.strings = _Strings()
        self.local: dict[Hashable, tuple] = {}  # rows of the symbol table
        self.shared: dict[Hashable, tuple | None] = {}  # None: used, but not defined so far

    def place(self, read: _Object) -> dict[int, _Part]:
        """Takes the sections that have bits; says where each went."""
        parts = {}
        for number, section in enumerate(read.sections):
            if section["type"] not in (_BITS, _NO_BITS):
                continue
            key = read.section_name(section), int(section["type"]), int(section["flags"]) & ~_MERGE
            if key not in self.sections:
                self.sections[key] = _Section(*key, len(self.sections) + 1)
                row = (0, _SECTION_SYMBOL, 0, self.sections[key].number, 0, 0)
                self.local[self.sections[key].number] = row
            found = self.sections[key]
            alignment = max(1, int(section["alignment"]))
            start = found.append(read.bits(section), int(section["size"]), alignment)
            parts[number] = _Part(found, start)
        return parts

    def name(self, read: _Object, parts: dict[int, _Part]) -> list[tuple[Hashable, int]]:
        """For each symbol of an object its key, and what using it adds to an address."""
        return [self._symbol(read, parts, symbol) for symbol in read.symbols]

    def _symbol(self, read: _Object, parts: dict[int, _Part], symbol) -> tuple[Hashable, int]:
        info, other, place = int(symbol["info"]), int(symbol["other"]), int(symbol["section"])
        if info & 15 == _SECTION_SYMBOL and place in parts:
            return parts[place].section.number, parts[place].start
        name = read.symbol_name(symbol)
        if place == _UNDEFINED and name:
            self.shared.setdefault(name, None)
            return name, 0
        if place not in parts:
            return None, 0  # the name of a source file
        section, start = parts[place].section, parts[place].start
        hidden = other & 3 == _HIDDEN or (self.exported is not None and name not in self.exported)
        row = (
            self.strings.add(name), info & 15 if hidden else info, 0 if hidden else other,
            section.number, start + int(symbol["value"]), int(symbol["size"]),
        )  # fmt: skip
        if info >> 4 == _LOCAL:
            key = section.number, start, name, int(symbol["value"])
            self.local[key] = row
            return key, 0
        if self.shared.get(name) is not None:
            raise InternalError(f"two objects define {name}")
        self.shared[name] = row
        return name, 0

    def table(self) -> tuple[np.ndarray, dict[Hashable, int], int]:
        """All symbols, the number of each key, and how many are local."""
        for name in self.needed:
            if name in self.shared and self.shared[name] is None:
                self.shared[name] = (self.strings.add(name), _GLOBAL << 4, 0, _UNDEFINED, 0, 0)
        missing = [name for name, row in self.shared.items() if row is None]
        if missing:
            raise InternalError(f"no object defines {', '.join(map(str, missing))}")
        defined = {name: row for name, row in self.shared.items() if row is not None}
        local = {**self.local, **{n: row for n, row in defined.items() if row[1] >> 4 == _LOCAL}}
        rows = {None: (0, 0, 0, 0, 0, 0), **local, **defined}
        numbers = {key: number for number, key in enumerate(rows)}
        return np.array(list(rows.values()), _SYMBOL), numbers, len(local) + 1


def link(
    objects: Sequence[bytes],
    exported: Collection[str] | None = None,
    needed: Collection[str] = (),
) -> bytes:
    """One object that holds the code of several, where each shared name is defined once.

    exported: names that stay visible; None: all that are
    needed: names that none of the objects has to define
    """
    linker = _Linker(exported, needed)
    read = [_Object(data) for data in objects]
    placed = [linker.place(one) for one in read]
    named = [linker.name(one, parts) for one, parts in zip(read, placed, strict=True)]
    symbols, numbers, local = linker.table()
    for one, parts, keys in zip(read, placed, named, strict=True):
        number_of = np.array([numbers[key] for key, _ in keys], np.uint32)
        added = np.array([offset for _, offset in keys], np.int64)
        for section in one.sections:
            part = parts.get(int(section["info"]))
            if section["type"] != _RELOCATIONS or part is None:
                continue
            rows = np.frombuffer(one.bits(section), _RELOCATION).copy()
            rows["offset"] += np.uint64(part.start)
            rows["addend"] += added[rows["symbol"]]
            rows["symbol"] = number_of[rows["symbol"]]
            part.section.relocations.append(rows)
    return _written(read[0], list(linker.sections.values()), symbols, local, linker.strings)


def _written(
    first: _Object, sections: list[_Section], symbols: np.ndarray, local: int, strings: _Strings
) -> bytes:
    names = _Strings()
    rows: list[tuple] = [(0,) * 10]
    body = bytearray(_HEADER.size)

    def add(name: str, kind: int, flags: int, data, size: int, more: tuple) -> None:
        """`more`: link, info, alignment, entry."""
        body.extend(bytes(-len(body) % max(8, more[2])))
        rows.append((names.add(name), kind, flags, 0, len(body), size, *more))
        body.extend(data)

    for section in sections:
        more = (0, 0, section.alignment, 0)
        add(section.name, section.type, section.flags, section.data, section.size, more)
    relocated = [section for section in sections if section.relocations]
    table = len(sections) + len(relocated) + 1
    for section in relocated:
        data = np.concatenate(section.relocations).tobytes()
        more = (table, section.number, 8, _RELOCATION.itemsize)
        add(f".rela{section.name}", _RELOCATIONS, _INFO_LINK, data, len(data), more)
    data = symbols.tobytes()
    add(".symtab", _SYMBOLS, 0, data, len(data), (table + 1, local, 8, _SYMBOL.itemsize))
    add(".strtab", _STRINGS, 0, strings.data, len(strings.data), (0, 0, 1, 0))
    at = names.add(".shstrtab")
    body.extend(bytes(-len(body) % 8))
    rows.append((at, _STRINGS, 0, 0, len(body), len(names.data), 0, 0, 1, 0))
    body += names.data
    body.extend(bytes(-len(body) % 8))
    header = list(first.header)
    header[6], header[12], header[13] = len(body), len(rows), len(rows) - 1
    _HEADER.pack_into(body, 0, *header)
    return bytes(body) + np.array(rows, _SECTION).tobytes()


def data_object(like: bytes, named: Mapping[str, bytes], alignment: int = 64) -> bytes:
    """An object of read-only data, visible under these names, for the machine of the object `like`.

    LLVM would read data as text, several times as large.
    """
    strings = _Strings()
    section = _Section(".rodata", _BITS, _ALLOCATED, 1)
    rows: list[tuple] = [(0, 0, 0, 0, 0, 0)]
    for name, data in named.items():
        start = section.append(data, len(data), alignment)
        info = _GLOBAL << 4 | _OBJECT_SYMBOL
        rows.append((strings.add(name), info, _HIDDEN, section.number, start, len(data)))
    return _written(_Object(like), [section], np.array(rows, _SYMBOL), 1, strings)


__all__ = ["data_object", "link"]
