"""IndexedSlices: some rows of a tensor, the form that gradients of gathers have."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import find
from ..sizes import Shape
from .convert import as_sizes, convert

__all__ = ["IndexedSlices"]


class IndexedSlices:
    """Rows `values` of a tensor at positions `indices` of its first dimension; zero elsewhere.

    values: a tensor [n, ...]
    indices: int32 or int64 [n]; where an index repeats, its rows add up
    dense_shape: the shape of the whole tensor, as a tensor or a sequence of sizes

    Where a tensor is expected it becomes one, by adding its rows into zeros.
    """

    def __init__(self, values, indices, dense_shape=None):
        self._values: Tensor = convert(values)
        self._indices: Tensor = convert(indices)
        self._dense_shape = dense_shape
        self._dims = None if dense_shape is None else tuple(as_sizes(dense_shape))
        if not self._indices.dtype.is_integer or self._indices.rank != 1:
            raise TypeRuleError(
                f"IndexedSlices: indices must be a vector of integers, not {self._indices!r}"
            )

    @property
    def values(self) -> Tensor:
        return self._values

    @property
    def indices(self) -> Tensor:
        return self._indices

    @property
    def dense_shape(self) -> Tensor | None:
        """The shape of the whole tensor as an integer vector; None where it was not given."""
        return None if self._dense_shape is None else convert(self._dense_shape)

    @property
    def dims(self) -> Shape | None:
        """The shape of the whole tensor as sizes; None where it was not given."""
        return self._dims

    @property
    def dtype(self):
        return self._values.dtype

    @property
    def graph(self):
        return self._values.graph

    @property
    def op(self) -> Node:
        return self._values.op

    @property
    def name(self) -> str:
        return self._values.name

    @property
    def device(self) -> str:
        return ""

    def _as_tensor(self, dtype=None) -> Tensor:
        """The whole tensor. Raises TypeRuleError where `dense_shape` was not given."""
        if self._dims is None:
            raise TypeRuleError(
                "IndexedSlices without a dense_shape cannot become a tensor; give it one"
            )
        zeros = find("broadcast_to")(convert(0, self.dtype), shape=self._dims)
        return find("scatter")(zeros, self._indices, self._values, mode="add")

    def _fetch_parts(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """What a fetch of it gives, as an IndexedSlicesValue."""
        return self._values, self._indices, self.dense_shape

    def with_values(self, values: Tensor) -> IndexedSlices:
        """The same rows of the same shape with other values (a scaled or clipped gradient)."""
        return IndexedSlices(values, self._indices, self._dense_shape)

    def __neg__(self) -> IndexedSlices:
        return self.with_values(find("neg")(self._values))

    def __repr__(self) -> str:
        return f"<indexed slices values={self._values!r} indices={self._indices!r}>"


def sum_slices(slices: Sequence[IndexedSlices]) -> IndexedSlices:
    """The sum of several IndexedSlices of one tensor: all their rows, one after the other."""
    if len(slices) == 1:
        return slices[0]
    dtype = slices[0].indices.dtype
    indices = [
        s.indices if s.indices.dtype is dtype else find("cast")(s.indices, dtype=dtype)
        for s in slices
    ]
    return IndexedSlices(
        find("concat")(*(s.values for s in slices), axis=0),
        find("concat")(*indices, axis=0),
        slices[0]._dense_shape,
    )
