"""Element types of tensors: one row a type, everything about it beside it.

A new element type is one more row in the table at the end of this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class DType:
    """An element type.

    `kind` is one of "float", "int", "uint", "bool", "token"; `bits` is the size of an element in
    memory (8 for bool). Types are singletons: equality is identity, except that a name or a NumPy
    dtype compares equal to its type, as in TensorFlow 1.
    """

    name: str
    kind: str
    bits: int
    as_numpy_dtype: type | None = field(repr=False, default=None)

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.as_numpy_dtype)

    @property
    def bytes(self) -> int:
        return self.bits // 8

    size = bytes

    @property
    def is_floating(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def is_unsigned(self) -> bool:
        return self.kind == "uint"

    @property
    def is_bool(self) -> bool:
        return self.kind == "bool"

    @property
    def is_numeric(self) -> bool:
        return self.is_floating or self.is_integer

    @property
    def base_dtype(self) -> DType:
        return self

    @property
    def min(self):
        """The smallest finite value, as a NumPy scalar."""
        limits = np.finfo(self.numpy) if self.is_floating else np.iinfo(self.numpy)
        return self.numpy.type(limits.min)

    @property
    def max(self):
        """The largest finite value, as a NumPy scalar."""
        limits = np.finfo(self.numpy) if self.is_floating else np.iinfo(self.numpy)
        return self.numpy.type(limits.max)

    def __eq__(self, other) -> bool:
        if self is other:
            return True
        if isinstance(other, DType) or other is None:
            return False
        try:
            return as_dtype(other) is self
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"graphflow.{self.name}"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self):
        return as_dtype, (self.name,)


float32 = DType("float32", "float", 32, np.float32)
float64 = DType("float64", "float", 64, np.float64)
int8 = DType("int8", "int", 8, np.int8)
int32 = DType("int32", "int", 32, np.int32)
int64 = DType("int64", "int", 64, np.int64)
uint8 = DType("uint8", "uint", 8, np.uint8)
uint32 = DType("uint32", "uint", 32, np.uint32)  # random bits
bool_ = DType("bool", "bool", 8, np.bool_)
token = DType("token", "token", 0)  # the result of an operation run for its effect

ALL = (float32, float64, int8, int32, int64, uint8, uint32, bool_)
_BY_NAME = {dtype.name: dtype for dtype in (*ALL, token)}
_BY_NUMPY = {np.dtype(dtype.as_numpy_dtype): dtype for dtype in ALL}
_ALIASES = {"float": float32, "double": float64, "int": int32, "half": None}


def as_dtype(value) -> DType:
    """The `DType` for a type, its name, a NumPy dtype or a Python type.

    Python's float, int and bool stand for float32, int32 and bool, as in TensorFlow 1.
    Raises TypeError for anything graphflow has no element type for.
    """
    if isinstance(value, DType):
        return value
    if value is float:
        return float32
    if value is int:
        return int32
    if value is bool:
        return bool_
    if isinstance(value, str):
        found = _BY_NAME.get(value) or _ALIASES.get(value)
        if found is not None:
            return found
    try:
        found = _BY_NUMPY.get(np.dtype(value))
    except TypeError:
        found = None
    if found is None:
        names = ", ".join(dtype.name for dtype in ALL)
        raise TypeError(f"graphflow has no element type for {value!r}; it has {names}")
    return found
