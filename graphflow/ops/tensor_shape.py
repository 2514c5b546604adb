"""What is known of a tensor's shape while the graph is defined, as TensorFlow 1 presents it.

`x.shape[0].value` is an int or None, `x.shape.as_list()` a list of those. A dimension that is not
known keeps its symbolic size, so `zeros([x.shape[0], 5])` works where `x.shape[0]` is None too.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterable, Iterator

import numpy as np

from .. import sizes
from ..errors import TypeRuleError
from ..ir.node import Tensor
from ..ir.types import Constraint
from ..sizes import Dim, Size
from .convert import reject

__all__ = ["Dimension", "TensorShape", "dimension_value"]


class Dimension:
    """One dimension: `value` is its number, or None; `size` also a symbolic size, or None."""

    __slots__ = ("size",)

    def __init__(self, value):
        if isinstance(value, Dimension):
            value = value.size
        elif value is not None and not isinstance(value, Size):
            value = int(value)
            if value < 0:
                raise ValueError(f"a dimension is not negative, got {value}")
        self.size: Dim | None = value

    @property
    def value(self) -> int | None:
        return self.size if isinstance(self.size, int) else None

    def is_compatible_with(self, other) -> bool:
        """Whether the two may be equal: they are, or one is not known."""
        other = Dimension(other)
        return self.value is None or other.value is None or self.value == other.value

    def assert_is_compatible_with(self, other) -> None:
        if not self.is_compatible_with(other):
            raise ValueError(f"dimensions {self} and {other} are not compatible")

    def merge_with(self, other) -> Dimension:
        """The one that is known; raises ValueError where both are and differ."""
        other = Dimension(other)
        self.assert_is_compatible_with(other)
        return other if self.value is None and other.size is not None else self

    def _as_dimension_array(self):
        return None if self.value is None else np.int32(self.value)

    def __int__(self) -> int:
        if self.value is None:
            raise ValueError(
                f"the dimension {self} is not known while the graph is defined; "
                "graphflow.shape(x) gives it as a tensor"
            )
        return self.value

    __index__ = __int__

    def __eq__(self, other) -> bool:
        if not isinstance(other, Dimension):
            if other is None:
                return self.value is None
            if not isinstance(other, (int, np.integer, Size)):
                return NotImplemented
            other = Dimension(other)
        return self.size == other.size

    def __hash__(self) -> int:
        return hash(self.size)

    def __bool__(self) -> bool:
        return self.value is not None and self.value != 0

    def _with(self, other, function, swapped: bool = False):
        try:
            size = Dimension(other).size
        except (TypeError, ValueError):
            return NotImplemented
        if self.size is None or size is None:
            return Dimension(None)
        a, b = (size, self.size) if swapped else (self.size, size)
        result = Dimension(None)
        result.size = function(a, b)
        return result

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b)

    __radd__ = __add__

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other):
        return self._with(other, lambda a, b: a - b, swapped=True)

    def __mul__(self, other):
        return self._with(other, sizes.multiply)

    __rmul__ = __mul__

    def __floordiv__(self, other):
        return self._with(other, sizes.floordiv)

    def __rfloordiv__(self, other):
        return self._with(other, sizes.floordiv, swapped=True)

    __truediv__ = __floordiv__  # as TensorFlow 1's Dimension divides

    def __mod__(self, other):
        return self._with(other, lambda a, b: a % b)

    def _compare(self, other, function):
        other = Dimension(other)
        if self.value is None or other.value is None:
            return None
        return function(self.value, other.value)

    def __lt__(self, other):
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other):
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other):
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other):
        return self._compare(other, lambda a, b: a >= b)

    def __str__(self) -> str:
        return "?" if self.size is None else str(self.size)

    def __repr__(self) -> str:
        return f"Dimension({self.value})"


class TensorShape:
    """A shape that may be known in full, in part, or (rank None) not at all."""

    __slots__ = ("_dims",)

    def __init__(self, dims):
        self._dims: tuple[Dimension, ...] | None
        if isinstance(dims, TensorShape):
            self._dims = dims._dims
        elif dims is None:
            self._dims = None
        elif isinstance(dims, (int, np.integer, Dimension)):
            self._dims = (Dimension(dims),)
        else:
            self._dims = tuple(Dimension(dim) for dim in dims)

    @property
    def dims(self) -> list[Dimension] | None:
        return None if self._dims is None else list(self._dims)

    @property
    def ndims(self) -> int | None:
        return None if self._dims is None else len(self._dims)

    rank = ndims

    def as_list(self) -> list[int | None]:
        """The dimensions as numbers, None where not known; raises ValueError for no rank."""
        if self._dims is None:
            raise ValueError("as_list() of a shape whose rank is unknown")
        return [dim.value for dim in self._dims]

    def is_fully_defined(self) -> bool:
        return self._dims is not None and all(dim.value is not None for dim in self._dims)

    def assert_is_fully_defined(self) -> None:
        if not self.is_fully_defined():
            raise ValueError(f"the shape {self} is not fully defined")

    def num_elements(self) -> int | None:
        """The number of elements, or None where it is not known."""
        if not self.is_fully_defined():
            return None
        return math.prod(dim for dim in self.as_list() if dim is not None)

    def is_compatible_with(self, other) -> bool:
        """Whether some shape fits both."""
        other = TensorShape(other)
        if self._dims is None or other._dims is None:
            return True
        return len(self._dims) == len(other._dims) and all(
            a.is_compatible_with(b) for a, b in zip(self._dims, other._dims, strict=True)
        )

    def assert_is_compatible_with(self, other) -> None:
        if not self.is_compatible_with(other):
            raise ValueError(f"shapes {self} and {TensorShape(other)} are not compatible")

    def merge_with(self, other) -> TensorShape:
        """Everything known of either; raises ValueError where they contradict."""
        other = TensorShape(other)
        self.assert_is_compatible_with(other)
        if self._dims is None or other._dims is None:
            return self if other._dims is None else other
        return TensorShape([a.merge_with(b) for a, b in zip(self._dims, other._dims, strict=True)])

    def concatenate(self, other) -> TensorShape:
        other = TensorShape(other)
        if self._dims is None or other._dims is None:
            return TensorShape(None)
        return TensorShape(self._dims + other._dims)

    def with_rank(self, rank: int) -> TensorShape:
        """This shape, which must have that rank; raises ValueError where it has not."""
        if self._dims is None:
            return TensorShape([None] * rank)
        if len(self._dims) != rank:
            raise ValueError(f"the shape {self} must have rank {rank}")
        return self

    def with_rank_at_least(self, rank: int) -> TensorShape:
        if self._dims is not None and len(self._dims) < rank:
            raise ValueError(f"the shape {self} must have at least rank {rank}")
        return self

    def with_rank_at_most(self, rank: int) -> TensorShape:
        if self._dims is not None and len(self._dims) > rank:
            raise ValueError(f"the shape {self} must have at most rank {rank}")
        return self

    # -- what conversions ask ------------------------------------------------------------------

    def _as_dims(self) -> tuple[Dim, ...] | None:
        """All sizes, symbolic ones too; raises where a dimension has none."""
        if self._dims is None:
            return None
        if any(dim.size is None for dim in self._dims):
            raise TypeRuleError(f"the shape {self} is not fully known")
        return tuple(dim.size for dim in self._dims)  # type: ignore[misc]

    def _as_declared(self) -> list[Dimension] | None:
        return self.dims

    def _as_dimension_array(self):
        return np.array(self.as_list(), np.int32) if self.is_fully_defined() else None

    # -- a sequence of dimensions --------------------------------------------------------------

    def __len__(self) -> int:
        if self._dims is None:
            raise ValueError("len() of a shape whose rank is unknown")
        return len(self._dims)

    def __iter__(self) -> Iterator[Dimension]:
        if self._dims is None:
            raise ValueError("cannot iterate over a shape whose rank is unknown")
        return iter(self._dims)

    def __getitem__(self, key):
        if self._dims is None:
            return TensorShape(None) if isinstance(key, builtins.slice) else Dimension(None)
        found = self._dims[key]
        return TensorShape(found) if isinstance(key, builtins.slice) else found

    def __bool__(self) -> bool:
        return self._dims is not None

    def __eq__(self, other) -> bool:
        try:
            other = TensorShape(other)
        except (TypeError, ValueError):
            return NotImplemented
        return self._dims == other._dims

    def __hash__(self) -> int:
        return hash(self._dims)

    def __add__(self, other) -> TensorShape:
        return self.concatenate(other)

    def __str__(self) -> str:
        if self._dims is None:
            return "<unknown>"
        texts = ["?" if dim.value is None else str(dim.value) for dim in self._dims]
        return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"

    def __repr__(self) -> str:
        return f"TensorShape({self.dims})"


def dimension_value(dimension) -> int | None:
    """The number of a Dimension, int or None."""
    return Dimension(dimension).value


def broadcast(a: TensorShape, b: TensorShape) -> TensorShape:
    """The shape two shapes broadcast to; raises ValueError where they do not."""
    if a.dims is None or b.dims is None:
        return TensorShape(None)
    result = []
    for axis in range(-max(len(a), len(b)), 0):
        dims = [s[axis] for s in (a, b) if len(s) >= -axis]
        known = [dim for dim in dims if dim.value != 1]
        if len(known) == 2:
            known = [known[0].merge_with(known[1])]
        result.append(known[0] if known else Dimension(1))
    return TensorShape(result)


# -- on tensors ----------------------------------------------------------------------------------


def _shape(self: Tensor) -> TensorShape:
    """What is known of the shape now; `graphflow.shape(x)` is the tensor of it."""
    return TensorShape(self.dims)


def _get_shape(self: Tensor) -> TensorShape:
    """The same as `x.shape`."""
    return TensorShape(self.dims)


def _set_shape(self: Tensor, shape) -> None:
    """States that the tensor has this shape. Raises ValueError at once where it cannot have; a
    dimension that is a symbol is checked by every run."""
    wanted = TensorShape(shape)
    if not TensorShape(self.dims).is_compatible_with(wanted):
        reject("set_shape", f"{self.name} is {self.tensor_type}, which cannot be {wanted}")
    if wanted.dims is None or self.dims is None:
        return
    pairs = zip(self.dims, wanted.dims, strict=True)
    require_equal(self, [(dim, given.size) for dim, given in pairs if isinstance(dim, Size)])


def require_equal(x: Tensor, pairs: Iterable[tuple[Dim, Dim | None]]) -> None:
    """Has every run that needs `x` check that these sizes are equal; None is any size."""
    found = [Constraint(a, b, broadcast=False) for a, b in pairs if b is not None and a != b]
    if found and x.graph is not None:
        constraints = x.graph.constraints
        constraints[x.node] = (*constraints.get(x.node, ()), *found)


def install() -> None:
    """Gives tensors their shape properties."""
    Tensor.shape = property(_shape)  # type: ignore[assignment]
    Tensor.get_shape = _get_shape  # type: ignore[method-assign]
    Tensor.set_shape = _set_shape  # type: ignore[method-assign]


install()
