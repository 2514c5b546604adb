"""Operators and indexing on tensors. `==` is not among them: it stays identity."""

from __future__ import annotations

from ..ir.node import Tensor
from . import arithmetic, logic, math
from .convert import convert
from .slicing import get_item


def _reflected(function):
    return lambda self, other: function(other, self)


def _logical(of_bools, of_bits):
    """&, | and ^: logic on bool tensors, bits on integers."""

    def operator(self, other):
        return (of_bools if self.dtype.is_bool else of_bits)(self, other)

    return operator


def _invert(self):
    return (logic.logical_not if self.dtype.is_bool else logic.invert)(self)


def _matmul(a, b):
    from .contraction import matmul

    return matmul(a, b)


_BINARY = {
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "mul": arithmetic.multiply,
    "truediv": arithmetic.truediv,
    "floordiv": arithmetic.floordiv,
    "mod": arithmetic.floormod,
    "pow": arithmetic.pow,
    "matmul": _matmul,
    "and": _logical(logic.logical_and, logic.bitwise_and),
    "or": _logical(logic.logical_or, logic.bitwise_or),
    "xor": _logical(logic.logical_xor, logic.bitwise_xor),
    "lshift": logic.left_shift,
    "rshift": logic.right_shift,
}
_COMPARISONS = {
    "lt": logic.less,
    "le": logic.less_equal,
    "gt": logic.greater,
    "ge": logic.greater_equal,
}
_UNARY = {
    "neg": math.negative,
    "pos": lambda self: self,
    "abs": math.abs,
    "invert": _invert,
}


def _method(name: str, function):
    def method(self, *others):
        return function(self, *others)

    method.__name__ = method.__qualname__ = f"__{name}__"
    return method


def install(cls: type = Tensor) -> None:
    """Gives a class the operators; `cls` is Tensor, or anything that converts to one."""

    def own(function):
        if cls is Tensor:
            return function
        return lambda self, *others: function(convert(self), *others)

    for name, function in _BINARY.items():
        setattr(cls, f"__{name}__", _method(name, own(function)))
        reflected = own(_reflected(function))
        setattr(cls, f"__r{name}__", _method(f"r{name}", reflected))
    for name, function in {**_COMPARISONS, **_UNARY}.items():
        setattr(cls, f"__{name}__", _method(name, own(function)))
    cls.__getitem__ = _method("getitem", own(get_item))  # type: ignore[attr-defined, index]
    # NumPy leaves `array + tensor` to the tensor instead of looping over its elements.
    cls.__array_priority__ = 100  # type: ignore[attr-defined]
    cls.__array_ufunc__ = None  # type: ignore[attr-defined]


install()
