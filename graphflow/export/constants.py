"""Constant data as LLVM IR: the structures of native/include/graphflow, filled in.

LLVM lays them out as the C compiler of the target does, so nothing here knows how large an address
is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Struct:
    """The fields of a C structure, in order: i32, i64, ptr, or another Struct."""

    name: str
    fields: tuple[str | Struct, ...]

    @property
    def type(self) -> str:
        return "{" + ", ".join(map(_type, self.fields)) + "}"


def _type(field_: str | Struct) -> str:
    return field_.type if isinstance(field_, Struct) else field_


SHAPE = Struct("gf_shape", ("i32", "i32", "ptr", "ptr"))
FEED = Struct("gf_feed_spec", ("i32", SHAPE))
CONSTANT = Struct("gf_constant_spec", ("i32", "ptr"))
STATE = Struct("gf_state_spec", ("i32", "i32", "i32", "i32", SHAPE))
OUTPUT = Struct("gf_output_spec", ("i32", "i32", "i32", SHAPE, "i32"))
BUFFER = Struct("gf_buffer_spec", ("i32", "i32", "i64", "i32", "i32", "i64"))
KEPT = Struct("gf_kept_spec", ("i32", "i64"))
LATE = Struct("gf_late_spec", ("i32", "i64"))
STACK = Struct("gf_stack_spec", ("i32", "i64"))
CHECK = Struct("gf_check_spec", ("i64", "i64", "i32"))
DESCRIPTION = Struct("gf_description", ("i32",) * 16 + ("ptr",) * 12 + ("i64", "i64"))
TENSOR = Struct("gf_tensor_spec", ("ptr", "ptr", "ptr", "i32", "i32"))
VARIABLE = Struct("gf_variable_spec", (TENSOR, "ptr", "i32", "i32"))
SIGNATURE = Struct("gf_signature_spec", ("ptr",) * 5 + ("i32",) * 4)
STEP = Struct("gf_step_spec", ("ptr", "ptr", "ptr", "ptr", "ptr", "i32", "i32"))
VARIANT = Struct("gf_variant_spec", ("ptr", "i64", "ptr"))
MODEL = Struct(
    "gf_model_spec",
    ("i32", "i32", *("ptr",) * 7, "i32", "i32", "i32", "i32", "i64"),
)

NULL = "null"


@dataclass
class Constants:
    """Collects constants; each is written once, and known by its name from then on."""

    lines: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)

    def _add(self, initializer: str, align: int | None = None) -> str:
        """The name of a private constant of this type and value."""
        key = f"{initializer} {align}"
        name = self.known.get(key)
        if name is None:
            name = self.known[key] = f"@.c{len(self.known)}"
            aligned = f", align {align}" if align else ""
            self.lines.append(f"{name} = private unnamed_addr constant {initializer}{aligned}")
        return name

    def text(self, text: str) -> str:
        data = text.encode()
        return self._add(f'[{len(data) + 1} x i8] c"{_escaped(data)}\\00"')

    def data(self, data: bytes, align: int = 64) -> str:
        return self._add(f'[{len(data)} x i8] c"{_escaped(data)}"', align)

    def array(self, kind: str | Struct, rows: Sequence) -> str:
        """An array, or null for none. Rows are values, or of a Struct its fields' values."""
        if not rows:
            return NULL
        type_ = _type(kind)
        items = ", ".join(value(kind, row) for row in rows)
        return self._add(f"[{len(rows)} x {type_}] [{items}]")

    def texts(self, texts: Sequence[str]) -> str:
        return self.array("ptr", [self.text(text) for text in texts])

    def one(self, kind: Struct, row: Sequence) -> str:
        return self._add(value(kind, row))

    def public(self, name: str, kind: Struct, row: Sequence) -> None:
        """A constant that others see."""
        self.lines.append(f"@{name} = constant {value(kind, row)}")


def value(kind: str | Struct, given) -> str:
    """A value with its type."""
    if isinstance(kind, str):
        return f"{kind} {given}"
    parts = ", ".join(value(f, v) for f, v in zip(kind.fields, given, strict=True))
    return f"{kind.type} {{{parts}}}"


_PLAIN = frozenset(range(32, 127)) - {34, 92}
_ESCAPES = [chr(b) if b in _PLAIN else f"\\{b:02X}" for b in range(256)]


def _escaped(data: bytes) -> str:
    return "".join(map(_ESCAPES.__getitem__, data))


def data_text(data: bytes) -> str:
    """Bytes as an initializer."""
    return f'c"\\{data.hex(chr(92)).upper()}"' if data else 'c""'
