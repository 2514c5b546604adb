"""Which functions and data an object takes from others, and which it shows them."""

from __future__ import annotations

from dataclasses import dataclass

from graphflow.codegen.link import _Object

_IMPORT_SECTION, _CUSTOM_SECTION = 2, 0
_FUNCTION, _DATA, _SECTION = 0, 1, 3  # kinds of WebAssembly symbols
_LOCAL, _UNDEFINED, _NAMED = 2, 0x10, 0x40  # their flags


@dataclass(frozen=True)
class Symbols:
    needed: frozenset[str]
    shown: frozenset[str]


def symbols(code: bytes) -> Symbols:
    return _of_wasm(code) if code[:4] == b"\0asm" else _of_elf(code)


def _of_elf(code: bytes) -> Symbols:
    found = _Object(code)
    needed, shown = set(), set()
    for symbol in found.symbols[1:]:
        name = found.symbol_name(symbol)
        if symbol["section"] == 0:
            needed.add(name)
        elif symbol["info"] >> 4:
            shown.add(name)
    return Symbols(frozenset(needed), frozenset(shown))


class _Reader:
    """Numbers and names of WebAssembly's binary format."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def bytes(self) -> bytes:
        length = self.number()
        self.at += length
        return self.data[self.at - length : self.at]

    def name(self) -> str:
        return self.bytes().decode()

    def limits(self) -> None:
        if self.number() & 1:
            self.number()
        self.number()


def _of_wasm(code: bytes) -> Symbols:
    needed: set[str] = set()
    shown: set[str] = set()
    module = _Reader(code)
    module.at = 8
    while module.at < len(code):
        kind = module.number()
        section = _Reader(module.bytes())
        if kind == _IMPORT_SECTION:
            needed = _imported_functions(section)
        elif kind == _CUSTOM_SECTION and section.name() == "linking":
            shown = _shown(section)
    return Symbols(frozenset(needed), frozenset(shown))


def _imported_functions(section: _Reader) -> set[str]:
    found = set()
    for _ in range(section.number()):
        section.name()
        name, kind = section.name(), section.number()
        if kind == 0:  # a function, by the number of its type
            section.number()
            found.add(name)
        elif kind == 1:  # a table: the type of its elements, and how many
            section.number()
            section.limits()
        elif kind == 2:  # memory
            section.limits()
        else:  # a global variable: its type, and whether it changes
            section.number()
            section.number()
    return found


def _shown(section: _Reader) -> set[str]:
    found = set()
    assert section.number() == 2  # the version of the format
    while section.at < len(section.data):
        kind, part = section.number(), _Reader(section.bytes())
        for _ in range(part.number() if kind == 8 else 0):  # the table of symbols
            symbol, flags = part.number(), part.number()
            defined = not flags & _UNDEFINED
            name = ""
            if symbol == _DATA:
                name = part.name()
                for _ in range(3 if defined else 0):
                    part.number()
            else:
                part.number()
                if symbol != _SECTION and (defined or flags & _NAMED):
                    name = part.name()
            if name and defined and not flags & _LOCAL:
                found.add(name)
    return found
