"""Checked memory of the evaluator: what kernels read and store, one lane or many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import InternalError
from . import nodes as loop
from .operators import REDUCTIONS


class AccessError(InternalError):
    """A kernel touched memory it must not: it was lowered wrongly."""


class Memory:
    """Elements a kernel reads and writes. `defined` marks those that were stored; None: all."""

    __slots__ = ("kernel", "name", "data", "defined")

    def __init__(self, kernel: str, name: str, data: np.ndarray, defined: np.ndarray | None):
        self.kernel, self.name, self.data, self.defined = kernel, name, data, defined

    @staticmethod
    def local(kernel: str, name: str, dtype: np.dtype, size: int) -> Memory:
        return Memory(kernel, name, np.zeros(size, dtype), np.zeros(size, bool))

    def part(self, kernel: loop.Kernel, buffer: loop.Buffer, start: int) -> Memory:
        """This memory from `start` on, as a buffer of an invoked kernel."""
        size = buffer.size if isinstance(buffer.size, int) else 0
        if not 0 <= start <= start + size <= self.data.size:
            raise AccessError(
                f"kernel {self.kernel}: {kernel.name} is given {self.name}[{start}:{start + size}]"
                f" as {buffer.name}, but {self.name} has {self.data.size} elements"
            )
        if self.data.dtype != buffer.dtype.numpy:
            raise AccessError(
                f"kernel {self.kernel}: {self.name} ({self.data.dtype}) is given to {kernel.name}"
                f" as {buffer.name} ({buffer.dtype})"
            )
        defined = None if self.defined is None else self.defined[start:]
        return Memory(kernel.name, buffer.name, self.data[start:], defined)

    def refuse(self, index, what: str):
        size = self.data.size
        if not 0 <= index < size:
            problem = f"which has {size} elements"
        else:
            problem = "an element nothing was stored to"
        raise AccessError(f"kernel {self.kernel}: {what} {self.name}[{index}], {problem}")


# -- accesses of vector loops ----------------------------------------------------------------------


def _active(memory: Memory, index, mask, what: str):
    """The index with lanes outside the mask made harmless, every other one checked."""
    inside = (index >= 0) & (index < memory.data.size)
    wrong = ~inside if mask is None else mask & ~inside
    if wrong.any():
        memory.refuse(int(np.broadcast_to(index, wrong.shape)[wrong][0]), what)
    return index if mask is None else np.where(inside, index, 0)


def load(memory: Memory, index, mask):
    """The elements at an index for each lane, or at one for all of them."""
    if mask is not None and not mask.any():
        return memory.data.dtype.type(0)
    if np.ndim(index) == 0:
        if not 0 <= index < memory.data.size:
            memory.refuse(index, "reads")
        if memory.defined is not None and not memory.defined[index]:
            memory.refuse(index, "reads")
        return memory.data[index]
    safe = _active(memory, index, mask, "reads")
    if memory.defined is not None:
        missing = ~memory.defined[safe]
        if mask is not None:
            missing &= mask
        if missing.any():
            memory.refuse(int(safe[missing][0]), "reads")
    return memory.data[safe]


def store(memory: Memory, index, value, mask, lanes: int) -> None:
    index = np.broadcast_to(index, (lanes,))
    _active(memory, index, mask, "stores to")
    value = np.broadcast_to(value, (lanes,))
    if mask is not None:
        index, value = index[mask], value[mask]
    if index.size > 1 and not (np.diff(index) > 0).all() and np.unique(index).size != index.size:
        raise AccessError(
            f"kernel {memory.kernel}: lanes of a vector loop store to one element of {memory.name}"
        )
    memory.data[index] = value
    if memory.defined is not None:
        memory.defined[index] = True


def accumulate(memory: Memory, index, op: str, value, mask, lanes: int, combine) -> None:
    if np.ndim(index) == 0:
        value = np.broadcast_to(value, (lanes,))
        if mask is not None:
            value = value[mask]
        if value.size == 0:
            return
        value = REDUCTIONS[op](value, dtype=memory.data.dtype)
        memory.data[index] = combine(load(memory, index, None), value)
        return
    old = load(memory, index, mask)
    store(memory, index, combine(old, value), mask, lanes)


def masked(mask, condition, lanes: int) -> np.ndarray:
    condition = np.broadcast_to(condition, (lanes,))
    return condition if mask is None else mask & condition


def uniform(extent) -> int:
    """The extent of a loop inside a vector loop, which all lanes must share."""
    if np.ndim(extent) and np.size(extent) and (extent != extent[0]).any():
        raise AccessError("a serial loop inside a vector loop has an extent of its own per lane")
    return int(extent if np.ndim(extent) == 0 else extent[0])


def check(fail: Callable, condition, site: int, values: Sequence, mask, lanes: int) -> None:
    wrong = masked(mask, np.logical_not(condition), lanes)
    if wrong.any():
        first = int(np.argmax(wrong))
        fail(site, *(int(np.broadcast_to(value, (lanes,))[first]) for value in values))


def same(a: Memory, b: Memory) -> bool:
    return a.data.ctypes.data == b.data.ctypes.data and a.data.size == b.data.size
