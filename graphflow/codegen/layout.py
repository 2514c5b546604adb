"""Where generated code finds what its host gives it: the fields of gf_frame and gf_table, which
native/include/graphflow/frame.h declares, for each size that pointers have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from .cpu_blocks import Function

_POINTER = "ptr"
_FRAME = (
    ("table", _POINTER), ("pointers", _POINTER), ("values", _POINTER), ("status", "i32"),
    ("profile", "i32"), ("site", "i32"), ("launch", "i32"), ("fail_value0", "i64"),
    ("fail_value1", "i64"), ("runtime", _POINTER), ("prepared", "i32"), ("reserved", "i32"),
)  # fmt: skip
_TABLE = (
    ("abi_version", "i32"), ("reserved", "i32"), ("parallel_for", _POINTER), ("fail", _POINTER),
    ("host_call", _POINTER), ("poll", _POINTER), ("launch_begin", _POINTER),
    ("launch_end", _POINTER), ("grow", _POINTER), ("bind", _POINTER),
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Offsets of fields, in bytes.

    pointer_bytes: of an address, which is aligned to as many
    """

    pointer_bytes: int
    frame: Mapping[str, int]
    table: Mapping[str, int]

    @staticmethod
    @cache
    def of(pointer_bytes: int) -> Layout:
        bytes_ = {_POINTER: pointer_bytes, "i32": 4, "i64": 8}
        return Layout(pointer_bytes, *(_offsets(fields, bytes_) for fields in (_FRAME, _TABLE)))

    def fetched(self, f: Function, function: str) -> tuple[list[str], str]:
        """Instructions that read a function's address from the frame's table, and what they call
        it. They are for the writer to place: some belong to seldom run blocks."""
        table, slot, address = f.fresh(), f.fresh(), f.fresh()
        lines = [
            f"{table} = load ptr, ptr %frame, align {self.pointer_bytes}",
            f"{slot} = getelementptr i8, ptr {table}, i64 {self.table[function]}",
            f"{address} = load ptr, ptr {slot}, align {self.pointer_bytes}",
        ]
        return lines, address


def _offsets(fields: Iterable[tuple[str, str]], bytes_: Mapping[str, int]) -> dict[str, int]:
    """Each field at the next multiple of its own size, as C lays structures out on every processor
    that we have code for."""
    found: dict[str, int] = {}
    end = 0
    for name, kind in fields:
        size = bytes_[kind]
        found[name] = -(-end // size) * size
        end = found[name] + size
    return found


__all__ = ["Layout"]
