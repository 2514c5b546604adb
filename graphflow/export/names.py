"""Names of a graph as names of C and C++, and the texts around them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Words that are no names in C99 or C++17 or stand for something else there (what the standard
# headers and compilers define), and those that the generated headers use themselves.
_TAKEN = frozenset((
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else",
    "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register",
    "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef",
    "union", "unsigned", "void", "volatile", "while", "alignas", "alignof", "and", "and_eq",
    "asm", "bitand", "bitor", "bool", "catch", "char8_t", "char16_t", "char32_t", "class",
    "compl", "concept", "const_cast", "consteval", "constexpr", "constinit", "co_await",
    "co_return", "co_yield", "decltype", "delete", "dynamic_cast", "explicit", "export", "false",
    "friend", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr", "operator",
    "or", "or_eq", "private", "protected", "public", "reinterpret_cast", "requires",
    "static_assert", "static_cast", "template", "this", "thread_local", "throw", "true", "try",
    "typeid", "typename", "using", "virtual", "wchar_t", "xor", "xor_eq", "typeof", "linux",
    "unix", "i386", "near", "far", "assert", "errno", "stdin", "stdout", "stderr", "offsetof",
    "complex", "imaginary", "noreturn", "int8_t", "int16_t", "int32_t", "int64_t", "uint8_t",
    "uint16_t", "uint32_t", "uint64_t", "size_t", "std", "main", "printf", "fprintf", "NULL",
    "EOF", "I",
))  # fmt: skip
_OWN = ("model", "options")  # parameters of the generated functions
# Libraries and headers that every compiler looks for by these names: a model of the same name would
# stand in their way.
_SYSTEM = frozenset((
    "c", "m", "dl", "rt", "pthread", "gcc", "gcc_s", "stdc", "assert", "complex", "ctype",
    "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math", "setjmp",
    "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio", "stdlib",
    "stdnoreturn", "string", "strings", "tgmath", "threads", "time", "uchar", "wchar", "wctype",
    "unistd", "sched", "semaphore", "dlfcn", "fcntl", "features", "elf", "link", "main",
    "graphflow", "runtime",
))  # fmt: skip


def identifier(name: str) -> str:
    """The C identifier that stands for a name: "dense/kernel:0" is dense_kernel_0."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not clean or clean[0].isdigit():
        clean = f"_{clean}"
    if re.match(r"_[A-Z_]|_$", clean):  # such names belong to compilers
        clean = f"x{clean}"
    return f"{clean}_" if clean in _TAKEN or clean in _OWN else clean


def is_model_name(name: object) -> bool:
    """Whether a model may be called so: its library, its headers and its C functions are."""
    if not isinstance(name, str) or not name or name in _SYSTEM:
        return False
    return identifier(name) == name or name in _OWN


def identifiers(names: Iterable[str], what: str) -> dict[str, str]:
    """The identifier of each name; ValueError where two names have the same one."""
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        clean = identifier(name)
        if clean in owners and owners[clean] != name:
            raise ValueError(
                f"export: {what} {owners[clean]!r} and {name!r} are both called {clean} in C: "
                "rename one of them"
            )
        owners[clean] = name
        found[name] = clean
    return found


class Scope:
    """Names that differ from each other: one that is taken gets an underscore more."""

    def __init__(self, taken: Iterable[str] = ()):
        self.taken = set(taken)

    def name(self, wanted: str) -> str:
        while wanted in self.taken:
            wanted += "_"
        self.taken.add(wanted)
        return wanted


def distinct_identifiers(names: Iterable[str]) -> dict[str, str]:
    """An identifier for each name, none like another one even where case does not count: constants
    are written in capitals."""
    used: set[str] = set()
    found: dict[str, str] = {}
    for name in names:
        clean, number = identifier(name), 2
        while clean.lower() in used:
            clean, number = f"{identifier(name)}_{number}", number + 1
        used.add(clean.lower())
        found[name] = clean
    return found


def c_string(text: str) -> str:
    """A string literal of C and C++ with this content."""
    found = []
    for byte in text.encode():
        character = chr(byte)
        if character in '\\"?':  # of ??/ and its like compilers make something else
            found.append(f"\\{character}")
        elif 32 <= byte < 127:
            found.append(character)
        else:
            found.append(f"\\{byte:03o}")
    return f'"{"".join(found)}"'


def in_comment(text: str) -> str:
    """A name as it can stand in a comment of C: on one line, and neither ending nor opening one."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return shown.replace("*/", "*\\/").replace("/*", "/\\*")


__all__ = [
    "Scope", "c_string", "distinct_identifiers", "identifier", "identifiers", "in_comment",
    "is_model_name",
]  # fmt: skip
