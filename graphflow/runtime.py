"""The one Python door to the native runtime.

A compiler describes what it made as a `Description`: machine code, and rows that say what each
entry of the step's pointer table is. `Description.load()` gives an executable; a `Session` runs it
through `Call`s, which its `_prepare` makes the first time it meets a pair of fetches and feed keys.

Throughout, a *size* is an integer that stands for itself if it is >= 0 and for the value slot
`~size` of `gf_sizes` if it is negative. A *pointer* is an index into the step's pointer table. The
contract with generated code is native/include/graphflow/frame.h.

What a subclass of `Session` provides (error hooks raise; those on feeds and sizes may instead
return another Call, which is then run in place of the one that does not fit):

    _prepare(fetches, feed_keys, feed_dict) -> Call        feed_dict is None for a callable
    _feed_error(call, feed, value, error)      conversion failed (error is the exception or None),
                                               or rank or a static size is wrong
    _feed_size_error(call, feed, axis, actual, expected)   a symbolic size is wrong
    _size_error(call, message, a, b, shapes)   a Check does not hold (`shapes` are those fed);
                                               message -1: a size came out negative or too large;
                                               OVER_BUDGET: a bytes are needed, b are allowed
    _uninitialized(call, slots)                variables that are read have no value
    _run_error(call, status, site, (value0, value1), launch, evidence)
                                               FAILED (site is valid; evidence: copies of its
                                               arrays), NO_MEMORY, REENTERED, or another status
    _profiled(call, records, options, run_metadata)   records: (launch, thread, begin_ns, end_ns)

Errors raised by host calls and KeyboardInterrupt reach the caller of `run` as they are.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from graphflow import _native
from graphflow._native import (  # noqa: F401 - what the rooms above use
    Call,
    Executable,
    Session,
    ThreadPool,
    plan_arena,
    processor_count,
)
from graphflow.dtypes import as_dtype

# Statuses that `_run_error` is given.
FAILED: int = _native.FAILED
INTERRUPTED: int = _native.INTERRUPTED
NO_MEMORY: int = _native.NO_MEMORY
HOST_ERROR: int = _native.HOST_ERROR
REENTERED: int = _native.REENTERED
BAD_DESCRIPTION: int = _native.BAD_DESCRIPTION

OVER_BUDGET = -2  # the message of `_size_error` for a run that needs too much memory

ABI_VERSION: int = _native.ABI_VERSION


Size = int
Sizes = tuple[Size, ...]


@dataclass(frozen=True)
class Feed:
    """An array the caller gives.

    `binds` names for each dimension the symbol that takes its value, or -1; dimensions that bind
    nothing are checked against `dims`. Without binds (None) all are checked.
    """

    pointer: int
    dtype: str
    dims: Sizes
    binds: tuple[int, ...] | None = None
    name: str = ""


@dataclass(frozen=True)
class ValueBind:
    """A symbol that takes its value from an element of a fed int32 or int64 array."""

    symbol: int
    feed: int
    element: int


@dataclass(frozen=True)
class Constant:
    """An array the step reads, such as a folded table. Its memory is used as it is."""

    pointer: int
    value: np.ndarray


@dataclass(frozen=True)
class State:
    """What the step does with the variable in `slot`; each slot once.

    It reads the version at `pointer_in` and writes the one at `pointer_out` (-1: it does not). With
    `in_place`, both may be the same memory when nobody else holds the version. `dims` are those of
    the new version; `binds` takes symbols from the dimensions of the old one.
    """

    slot: int
    dtype: str
    dims: Sizes
    pointer_in: int = -1
    pointer_out: int = -1
    in_place: bool = False
    binds: tuple[int, ...] | None = None


OUTPUT_SOURCES = ("buffer", "state_in", "state_out", "feed", "constant")


@dataclass(frozen=True)
class Output:
    """An array the caller gets.

    From "buffer": memory of its own that the step writes through `pointer`. From "state_in" or
    "state_out": the version of state `index` before or after the step, shared and read-only. From
    "feed" or "constant": a copy of feed or constant `index`. Rank 0 gives a NumPy scalar.
    """

    dtype: str
    dims: Sizes
    pointer: int = -1
    source: str = "buffer"
    index: int = -1
    late: bool = False  # its shape is known only when the step has bound a symbol


@dataclass(frozen=True)
class Buffer:
    """A block of the arena, alive from moment `first` to moment `last`, both inclusive.

    A launch takes one moment or several: what a kernel needs at different times may overlap.

    With `alias_of` it shares the memory of another buffer of the list. Offsets are given for all
    buffers (multiples of 64) or for none (-1); then they are planned when sizes bind.
    """

    pointer: int
    bytes: Size
    first: int
    last: int
    alias_of: int = -1
    offset: int = -1


@dataclass(frozen=True)
class Kept:
    """A block that keeps its contents from run to run.

    The step fills all of them where `frame->prepared` is 0; it is 1 in the next runs until one of
    the states changes that `prepares_from` names by position.
    """

    pointer: int
    bytes: int


@dataclass(frozen=True)
class Late:
    """A block whose bytes are known only when the step has bound a symbol itself."""

    pointer: int
    bytes: Size


@dataclass(frozen=True)
class Stack:
    """Rows of so many bytes each, which the step adds one by one."""

    pointer: int
    row_bytes: Size


@dataclass(frozen=True)
class Check:
    """The sizes `a` and `b` must be equal; `message` is for `_size_error`."""

    a: Size
    b: Size
    message: int


@dataclass(frozen=True)
class Operand:
    """An array that goes to or comes from a host call."""

    pointer: int
    dtype: str
    dims: Sizes


@dataclass(frozen=True)
class HostCall:
    """A Python function the step calls by its position in the list.

    It gets copies of the inputs and returns one array, or a sequence of as many as there are
    outputs; what it raises is what `run` raises. The function is not part of the stored form.
    """

    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    function: Callable[..., Any] | None = None


_MAGIC = b"GFEX"
_FORMAT = 3
_HEADER = struct.Struct("<4sIIIQQ")  # magic, format, ABI, CRC of the rest, bytes of JSON and object
_ALIGNMENT = 64


@dataclass(frozen=True)
class Description:
    """A compiled step: everything the native runtime needs to run it, and nothing else.

    `small` promises that a run takes some 20 microseconds at most, starts no parallel loop and
    makes no host call: it then keeps the interpreter's lock. `notes` is any JSON value that the
    compiler wants to find again beside it.
    """

    object: bytes
    symbol_count: int = 0
    late_count: int = 0  # of symbols, the last ones: which the step binds itself
    value_count: int = 0
    moments: int = 0
    feeds: Sequence[Feed] = ()
    value_binds: Sequence[ValueBind] = ()
    constants: Sequence[Constant] = ()
    states: Sequence[State] = ()
    outputs: Sequence[Output] = ()
    buffers: Sequence[Buffer] = ()
    late: Sequence[Late] = ()
    stacks: Sequence[Stack] = ()
    rows: Sequence[int] = ()  # pointers that only the step itself sets
    kept: Sequence[Kept] = ()
    prepares_from: Sequence[int] = ()
    checks: Sequence[Check] = ()
    calls: Sequence[HostCall] = ()
    # Of each run-time check, by its site: the arrays that belong to its message.
    evidence: Sequence[tuple[Operand, ...]] = ()
    # Bytes a run needs beside its arena, and what it may need in all (0: no limit).
    outside_bytes: Size = 0
    budget: int = 0
    small: bool = False
    notes: Any = field(default=None)

    def load(self) -> Executable:
        """Maps the code. ValueError when the object or a row is not sound."""
        return _native.Executable(
            self.object,
            symbol_count=self.symbol_count,
            late_count=self.late_count,
            value_count=self.value_count,
            launch_count=self.moments,
            feeds=[(f.pointer, _numpy(f.dtype), f.dims, f.binds) for f in self.feeds],
            value_binds=[(b.symbol, b.feed, b.element) for b in self.value_binds],
            constants=[(c.pointer, c.value) for c in self.constants],
            states=[
                (s.slot, s.pointer_in, s.pointer_out, s.in_place, _numpy(s.dtype), s.dims, s.binds)
                for s in self.states
            ],
            outputs=[
                (
                    o.pointer,
                    OUTPUT_SOURCES.index(o.source),
                    o.index,
                    _numpy(o.dtype),
                    o.dims,
                    o.late,
                )  # fmt: skip
                for o in self.outputs
            ],
            buffers=[
                (b.pointer, b.bytes, b.first, b.last, b.alias_of, b.offset) for b in self.buffers
            ],
            late=[(b.pointer, b.bytes) for b in self.late],
            stacks=[(b.pointer, b.row_bytes) for b in self.stacks],
            rows=list(self.rows),
            kept=[(k.pointer, k.bytes) for k in self.kept],
            prepares_from=list(self.prepares_from),
            checks=[(c.a, c.b, c.message) for c in self.checks],
            calls=[(c.function, _rows(c.inputs), _rows(c.outputs)) for c in self.calls],
            evidence=[_rows(operands) for operands in self.evidence],
            outside_bytes=self.outside_bytes,
            budget=self.budget,
            small=self.small,
        )

    def to_bytes(self) -> bytes:
        """The stored form, for a cache on disk. Functions of host calls are left out."""
        record = {
            "symbol_count": self.symbol_count,
            "late_count": self.late_count,
            "value_count": self.value_count,
            "moments": self.moments,
            "feeds": [asdict(feed) for feed in self.feeds],
            "value_binds": [asdict(bind) for bind in self.value_binds],
            "constants": [
                {
                    "pointer": constant.pointer,
                    "dtype": as_dtype(constant.value.dtype).name,
                    "dims": constant.value.shape,
                }
                for constant in self.constants
            ],
            "states": [asdict(state) for state in self.states],
            "outputs": [asdict(output) for output in self.outputs],
            "buffers": [asdict(buffer) for buffer in self.buffers],
            "late": [asdict(late) for late in self.late],
            "stacks": [asdict(stack) for stack in self.stacks],
            "rows": list(self.rows),
            "kept": [asdict(kept) for kept in self.kept],
            "prepares_from": list(self.prepares_from),
            "checks": [asdict(check) for check in self.checks],
            "calls": [
                {
                    "inputs": [asdict(operand) for operand in call.inputs],
                    "outputs": [asdict(operand) for operand in call.outputs],
                }
                for call in self.calls
            ],
            "evidence": [[asdict(operand) for operand in row] for row in self.evidence],
            "outside_bytes": self.outside_bytes,
            "small": self.small,
            "notes": self.notes,
        }
        text = json.dumps(record, separators=(",", ":")).encode()
        parts = [_padded(text), _padded(self.object)]
        parts += [_padded(np.ascontiguousarray(c.value).tobytes()) for c in self.constants]
        body = b"".join(parts)
        sums = (zlib.crc32(body), len(text), len(self.object))
        header = _HEADER.pack(_MAGIC, _FORMAT, ABI_VERSION, *sums)
        return header.ljust(_ALIGNMENT, b"\0") + body

    @classmethod
    def from_bytes(
        cls, data: bytes, functions: Sequence[Callable[..., Any] | None] = ()
    ) -> Description:
        """What `to_bytes` stored; ValueError if it is damaged or of another version.

        `functions` are those of its host calls, in order.
        """
        if len(data) < _ALIGNMENT:
            raise ValueError("a stored executable is truncated")
        magic, version, abi, checksum, text_bytes, object_bytes = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != _FORMAT or abi != ABI_VERSION:
            raise ValueError("not an executable stored by this version")
        body = memoryview(data)[_ALIGNMENT:]
        if zlib.crc32(body) != checksum:
            raise ValueError("a stored executable is damaged")
        record = json.loads(bytes(body[:text_bytes]))
        position = _round_up(text_bytes)
        code = bytes(body[position : position + object_bytes])
        position += _round_up(object_bytes)
        constants = []
        for row in record["constants"]:
            dtype = _numpy(row["dtype"])
            count = int(np.prod(row["dims"], dtype=np.int64))
            value = np.frombuffer(body, dtype, count, position).reshape(row["dims"])
            constants.append(Constant(row["pointer"], value))
            position += _round_up(count * dtype.itemsize)
        rows = record["calls"]
        functions = functions or [None] * len(rows)
        return cls(
            object=code,
            symbol_count=record["symbol_count"],
            late_count=record["late_count"],
            value_count=record["value_count"],
            moments=record["moments"],
            feeds=_read(Feed, record["feeds"]),
            value_binds=_read(ValueBind, record["value_binds"]),
            constants=tuple(constants),
            states=_read(State, record["states"]),
            outputs=_read(Output, record["outputs"]),
            buffers=_read(Buffer, record["buffers"]),
            late=_read(Late, record["late"]),
            stacks=_read(Stack, record["stacks"]),
            rows=tuple(record["rows"]),
            kept=_read(Kept, record["kept"]),
            prepares_from=tuple(record["prepares_from"]),
            checks=_read(Check, record["checks"]),
            calls=tuple(
                HostCall(_read(Operand, row["inputs"]), _read(Operand, row["outputs"]), function)
                for row, function in zip(rows, functions, strict=True)
            ),
            evidence=tuple(_read(Operand, row) for row in record["evidence"]),
            outside_bytes=record["outside_bytes"],
            small=record["small"],
            notes=record["notes"],
        )


def _numpy(dtype: str) -> np.dtype:
    return as_dtype(dtype).numpy


def _rows(operands: Sequence[Operand]) -> list[tuple]:
    return [(operand.pointer, _numpy(operand.dtype), operand.dims) for operand in operands]


def _read(kind, rows) -> tuple:
    return tuple(
        kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in row.items()})
        for row in rows
    )


def _round_up(count: int) -> int:
    return -(-count // _ALIGNMENT) * _ALIGNMENT


def _padded(data: bytes) -> bytes:
    return data.ljust(_round_up(len(data)), b"\0")
