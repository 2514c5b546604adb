"""Ragged batches: rows of different lengths, one after the other in one tensor.

`RaggedTensor` and its functions have TensorFlow's names, with one ragged dimension, the second.
Sizes come from numbers and from shapes, never from data: so a padded tensor needs to know how long
the longest row may be, and what is made from a padded one how many values there are.

    words = tf.ragged.placeholder(tf.int32)
    embedded = tf.ragged.map_flat_values(lambda ids: tf.nn.embedding_lookup(table, ids), words)
    outputs, _ = tf.nn.dynamic_rnn(
        cell, embedded.to_tensor(), sequence_length=words.row_lengths(), dtype=tf.float32
    )
    session.run(outputs, words.feed([[3, 1, 4], [], [1, 5]]))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import nest
from .dtypes import DType, as_dtype, int32, int64, uint8
from .framework import control_dependencies, name_scope
from .ir.node import Tensor
from .ops.convert import as_size, convert, reject
from .ops.creation import placeholder as new_placeholder
from .ops.creation import range as range_of
from .ops.creation import zeros, zeros_like
from .ops.cumulative import cumsum
from .ops.effects import asserted
from .ops.indexing import gather_op, reshaped
from .ops.joining import concat
from .ops.logic import cast, equal, greater_equal, identity
from .ops.movement import broadcast_to, expand_dims
from .ops.reduction import reduce_sum
from .ops.scatter import (
    scatter_nd,
    tensor_scatter_nd_update,
    unsorted_segment_max,
    unsorted_segment_mean,
    unsorted_segment_min,
    unsorted_segment_prod,
    unsorted_segment_sum,
)
from .ops.sequences import checked_lengths
from .ops.shapes import size_as_tensor
from .ops.values import constant_value as known_value
from .sizes import Dim

__all__ = [
    "RaggedTensor",
    "RaggedTensorValue",
    "constant",
    "constant_value",
    "map_flat_values",
    "placeholder",
]


class RaggedTensorValue(NamedTuple):
    """The value of a ragged batch: values [total, ...] and row_lengths [batch], arrays."""

    values: Any
    row_lengths: Any

    def to_list(self) -> list:
        """The rows as nested lists."""
        limits = np.cumsum(self.row_lengths)
        rows = zip(limits - self.row_lengths, limits, strict=True)
        return [self.values[start:limit].tolist() for start, limit in rows]


class RaggedTensor:
    """A batch of rows of different lengths, made by one of the `from_` functions.

    values: [total, ...], all rows one after the other. row_lengths(): [batch], int32 or int64.
    It can be fetched (as a RaggedTensorValue), be a variable of `while_loop` and a result of
    `cond`; elementwise functions apply to it by `map_flat_values`.
    """

    _fetched_as = RaggedTensorValue

    def __init__(self, values: Tensor, row_lengths: Tensor, maximum: Dim | None):
        self._values, self._lengths, self._maximum = values, row_lengths, maximum
        self._fed: tuple[Tensor, Tensor, Tensor] | None = None

    # -- making ----------------------------------------------------------------------------------

    @classmethod
    def from_row_lengths(
        cls, values, row_lengths, maximum=None, name: str | None = None
    ) -> RaggedTensor:
        """The rows of `values` [total, ...] that have these lengths, int32 or int64 [batch].

        maximum: how long a row may be, where that is known: a number or a symbolic size

        Lengths that are negative, or do not add up to `total`, are an OutOfRangeError or
        InvalidArgumentError: of the run, or at definition where they are constant.
        """
        with name_scope(name, "ragged"):
            return cls._checked(values, row_lengths, maximum, "RaggedTensor.from_row_lengths")

    @classmethod
    def from_row_splits(
        cls, values, row_splits, maximum=None, name: str | None = None
    ) -> RaggedTensor:
        """As `from_row_lengths`: row b is values[row_splits[b]:row_splits[b + 1]], and the splits,
        [batch + 1], begin with 0."""
        what = "RaggedTensor.from_row_splits"
        with name_scope(name, "ragged"):
            splits = _vector(row_splits, what, "row_splits")
            begins = asserted(equal(splits[:1], 0), [splits], f"{what}: row_splits begin with 0")
            with control_dependencies([begins]):
                lengths = splits[1:] - splits[:-1]
            return cls._checked(values, lengths, maximum, what)

    @classmethod
    def from_value_rowids(
        cls, values, value_rowids, nrows=None, maximum=None, name: str | None = None
    ) -> RaggedTensor:
        """As `from_row_lengths`: value i belongs to row value_rowids[i], and these never decrease.

        nrows: a number or a symbolic size; needed unless the ids are constant
        """
        what = "RaggedTensor.from_value_rowids"
        with name_scope(name, "ragged"):
            ids = _vector(value_rowids, what, "value_rowids")
            if nrows is None:
                known = known_value(ids)
                if known is None:
                    reject(what, "nrows is needed: how many rows there are depends on data")
                nrows = int(known.max()) + 1 if known.size else 0
            count = as_size(nrows, what)
            order = greater_equal(ids[1:], ids[:-1])
            check = asserted(order, [ids], f"{what}: value_rowids must not decrease")
            with control_dependencies([check]):
                lengths = unsorted_segment_sum(zeros_like(ids) + 1, ids, count)
            return cls._checked(values, lengths, maximum, what)

    @classmethod
    def from_tensor(cls, tensor, lengths, total=None, name: str | None = None) -> RaggedTensor:
        """The first lengths[b] elements of each row of a padded tensor [batch, maximum, ...].

        total: the sum of the lengths, a number or a symbolic size (such as that of the values of
            another ragged batch); needed unless the lengths are constant
        """
        what = "RaggedTensor.from_tensor"
        with name_scope(name, "ragged"):
            padded = _padded(tensor, what)
            lengths = checked_lengths(lengths, padded.dims[1], what, "lengths")
            if total is None:
                known = known_value(lengths)
                if known is None:
                    reject(what, "total is needed: the sum of the lengths depends on data")
                total = int(known.sum())
            size = as_size(total, what)
            lengths = _adding_up(lengths, size, what)
            return cls(_taken(padded, lengths, size), lengths, padded.dims[1])

    @classmethod
    def _checked(cls, values, lengths, maximum, what: str) -> RaggedTensor:
        values = convert(values, what=f"{what}: values")
        if not values.rank:
            reject(what, f"values must be [total, ...], but {values.name} is {values.tensor_type}")
        longest = None if maximum is None else as_size(maximum, what)
        total = values.dims[0]
        lengths = checked_lengths(
            lengths, total if longest is None else longest, what, "row length"
        )
        return cls(values, _adding_up(lengths, total, what), longest)

    # -- its parts -------------------------------------------------------------------------------

    @property
    def values(self) -> Tensor:
        """[total, ...]."""
        return self._values

    flat_values = values

    @property
    def dtype(self) -> DType:
        return self._values.dtype

    @property
    def graph(self):
        return self._values.graph

    @property
    def ragged_rank(self) -> int:
        return 1

    @property
    def maximum(self) -> Dim | None:
        """How long a row may be; None where that is not known."""
        return self._maximum

    def nrows(self) -> Tensor:
        """How many rows there are, a scalar."""
        return size_as_tensor(self._lengths.dims[0], self._lengths.dtype)

    def row_lengths(self) -> Tensor:
        """[batch]."""
        return self._lengths

    @property
    def row_splits(self) -> Tensor:
        """[batch + 1]: row b is values[row_splits[b]:row_splits[b + 1]]."""
        return concat([zeros((1,), self._lengths.dtype), self.row_limits()], 0)

    def row_starts(self) -> Tensor:
        """[batch]: where each row begins."""
        return cumsum(self._lengths, exclusive=True)

    def row_limits(self) -> Tensor:
        """[batch]: where each row ends."""
        return cumsum(self._lengths)

    def value_rowids(self) -> Tensor:
        """[total]: the row of each value; `tf.gather(x, r.value_rowids())` gives each value what
        its row has in x."""
        return _row_ids(self._lengths, self._values.dims[0])

    # -- other ragged batches, and tensors -------------------------------------------------------

    def with_values(self, values) -> RaggedTensor:
        """Rows of the same lengths of other values, [total, ...]."""
        values = convert(values, what="RaggedTensor.with_values")
        mine, other = self._values.dims[0], values.dims[0] if values.rank else None
        if other is None or (isinstance(mine, int) and isinstance(other, int) and mine != other):
            reject(
                "RaggedTensor.with_values",
                f"the values {values.name} are {values.tensor_type}; there must be {mine} of them",
            )
        return RaggedTensor(values, self._lengths, self._maximum)

    def with_tensor(self, tensor) -> RaggedTensor:
        """Rows of the same lengths, taken from the beginnings of those of a padded tensor [batch,
        maximum, ...], such as a recurrence over `to_tensor()` gives."""
        what = "RaggedTensor.with_tensor"
        padded = _padded(tensor, what)
        lengths = checked_lengths(self._lengths, padded.dims[1], what, "row length")
        return self.with_values(_taken(padded, lengths, self._values.dims[0]))

    def to_tensor(self, default_value=None, maximum=None, name: str | None = None) -> Tensor:
        """[batch, maximum, ...]: each row, and `default_value` (zeros if None) behind it.

        maximum: a number or a symbolic size, such as a dimension of a placeholder. It may be left
            out where the batch was made with one or the lengths are constant. A longer row is an
            OutOfRangeError of the run.
        """
        what = "RaggedTensor.to_tensor"
        with name_scope(name, "to_tensor"):
            longest = self._longest(maximum, what)
            lengths = checked_lengths(self._lengths, longest, what, "row length")
            values, batch = self._values, self._lengths.dims[0]
            total, rest = values.dims[0], values.dims[1:]
            default = convert(
                0 if default_value is None else default_value, values.dtype, what=what
            )
            flat = broadcast_to(default, (batch * longest, *rest))
            places = expand_dims(_places(lengths, total, longest), 1)
            return reshaped(tensor_scatter_nd_update(flat, places, values), (batch, longest, *rest))

    def _longest(self, maximum, what: str) -> Dim:
        if maximum is not None:
            return as_size(maximum, what)
        if self._maximum is not None:
            return self._maximum
        known = known_value(self._lengths)
        if known is None:
            reject(what, "maximum is needed: the length of the longest row depends on data")
        return int(known.max()) if known.size else 0

    # -- reductions ------------------------------------------------------------------------------

    def reduce_sum(self) -> Tensor:
        """The sum of each row, [batch, ...]; zero of an empty one."""
        return self._reduced(unsorted_segment_sum)

    def reduce_mean(self) -> Tensor:
        """The mean of each row, [batch, ...]; zero of an empty one."""
        return self._reduced(unsorted_segment_mean)

    def reduce_prod(self) -> Tensor:
        """The product of each row, [batch, ...]; 1 of an empty one."""
        return self._reduced(unsorted_segment_prod)

    def reduce_max(self) -> Tensor:
        """The largest of each row, [batch, ...]; the dtype's lowest value of an empty one."""
        return self._reduced(unsorted_segment_max)

    def reduce_min(self) -> Tensor:
        """The smallest of each row, [batch, ...]; the dtype's highest value of an empty one."""
        return self._reduced(unsorted_segment_min)

    def _reduced(self, by: Callable) -> Tensor:
        return by(self._values, self.value_rowids(), self._lengths.dims[0])

    # -- feeds and fetches -----------------------------------------------------------------------

    def feed(self, rows) -> dict[Tensor, np.ndarray]:
        """The feed_dict of a placeholder for these rows: a list of rows, or a RaggedTensorValue."""
        if self._fed is None:
            raise ValueError("RaggedTensor.feed: only what ragged.placeholder made can be fed")
        values, lengths, extent = self._fed
        if not isinstance(rows, RaggedTensorValue):
            rows = constant_value(rows, values.dtype, values.shape.as_list()[1:])
        longest = max(np.asarray(rows.row_lengths).tolist(), default=0)
        return {
            values: np.asarray(rows.values),
            lengths: np.asarray(rows.row_lengths),
            extent: np.zeros(longest, np.uint8),
        }

    def _fetch_parts(self) -> tuple[Tensor, Tensor]:
        return self._values, self._lengths

    def _components(self) -> list[Tensor]:
        return [self._values, self._lengths]

    def _with_components(self, tensors: Sequence[Tensor]) -> RaggedTensor:
        values, lengths = tensors
        return RaggedTensor(values, lengths, self._maximum)

    def _as_tensor(self, dtype=None) -> Tensor:
        reject(
            "convert_to_tensor",
            f"{self!r} is a ragged batch and no tensor: ragged.map_flat_values applies functions "
            "to its values, to_tensor pads it",
        )

    def __repr__(self) -> str:
        return f"<ragged tensor values={self._values!r} row_lengths={self._lengths!r}>"


# -- functions -----------------------------------------------------------------------------------


def constant(rows, dtype=None, inner_shape=None, name: str | None = None) -> RaggedTensor:
    """The ragged batch of a list of rows; see `constant_value`."""
    value = constant_value(rows, dtype, inner_shape)
    return RaggedTensor.from_row_lengths(value.values, value.row_lengths, name=name)


def constant_value(rows, dtype=None, inner_shape=None) -> RaggedTensorValue:
    """The value of a ragged batch of a list of rows, each a list or an array [length, ...].

    dtype: as the rows have it if None, float32 and int32 for Python's numbers
    inner_shape: of one value, where no row says it; () if None
    """
    arrays = [np.asarray(row) for row in rows]
    for k, array in enumerate(arrays):
        if array.ndim == 0:
            raise ValueError(f"ragged: row {k} is {rows[k]!r}, not a list")
    full = [array for array in arrays if array.size]
    wanted = _dtype_of(rows, full) if dtype is None else np.dtype(as_dtype(dtype).numpy)
    inner = full[0].shape[1:] if full else tuple(inner_shape or ())
    for k, array in enumerate(arrays):
        if array.size and array.shape[1:] != inner:
            raise ValueError(
                f"ragged: values of row {k} have shape {array.shape[1:]}, others {inner}; only "
                "the second dimension may be ragged"
            )
    parts = [array.astype(wanted).reshape(len(array), *inner) for array in arrays]
    values = np.concatenate(parts) if parts else np.zeros((0, *inner), wanted)
    return RaggedTensorValue(values, np.array([len(array) for array in arrays], np.int32))


def _dtype_of(rows, full: list[np.ndarray]) -> np.dtype:
    """That of the rows; 32 bits of it where they are Python's numbers."""
    found = np.result_type(*full) if full else np.dtype(np.float32)
    if any(isinstance(row, np.ndarray) for row in rows):
        return found
    return np.dtype({"float64": "float32", "int64": "int32"}.get(found.name, found.name))


def placeholder(dtype, value_shape=(), name: str | None = None) -> RaggedTensor:
    """A ragged batch that is fed: `session.run(y, r.feed(rows))`, for any rows whose values have
    the shape `value_shape`. How long the longest one is need not be said: `to_tensor()` knows."""
    with name_scope(name, "ragged"):
        values = new_placeholder(dtype, [None, *value_shape], "values")
        lengths = new_placeholder(int32, [None], "row_lengths")
        # Its size is what matters, not what it holds.
        extent = new_placeholder(uint8, [None], "extent")
        made = RaggedTensor.from_row_lengths(values, lengths, extent.dims[0])
    made._fed = values, lengths, extent
    return made


def map_flat_values(op: Callable, *args, **kwargs) -> RaggedTensor:
    """`op` of the values of ragged batches, which must have rows of the same lengths.

    args, kwargs: what `op` takes, or nests of it; a RaggedTensor stands for its values
    op: gives [total, ...], whose rows the result has
    """
    what = "ragged.map_flat_values"
    ragged = [leaf for leaf in nest.flatten((args, kwargs)) if isinstance(leaf, RaggedTensor)]
    if not ragged:
        reject(what, "no argument is a RaggedTensor", ValueError)
    first, *others = ragged
    checks = []
    for other in others:
        if other.row_lengths() is not first.row_lengths():
            same = equal(*(cast(r.row_lengths(), int64) for r in (first, other)))
            message = f"{what}: the rows have different lengths"
            checks.append(asserted(same, [first.row_lengths(), other.row_lengths()], message))
    with control_dependencies(checks):
        flat = [
            identity(leaf.values) if isinstance(leaf, RaggedTensor) else leaf
            for leaf in nest.flatten((args, kwargs))
        ]
        args, kwargs = nest.pack_sequence_as((args, kwargs), flat)
        return first.with_values(op(*args, **kwargs))


# -- rows and places -----------------------------------------------------------------------------


def _vector(value, what: str, who: str) -> Tensor:
    x = convert(value, what=f"{what}: {who}")
    if x.dtype not in (int32, int64) or x.rank != 1:
        reject(what, f"{who} must be a vector of int32 or int64, not {x.tensor_type}")
    return x


def _padded(tensor, what: str) -> Tensor:
    x = convert(tensor, what=what)
    if x.rank is None or x.rank < 2:
        reject(what, f"{x.name} must be [batch, maximum, ...], not {x.tensor_type}")
    return x


def _adding_up(lengths: Tensor, total: Dim, what: str) -> Tensor:
    """The lengths, checked: they are those of all values."""
    size = size_as_tensor(total, int64)
    right = equal(reduce_sum(cast(lengths, int64)), size)
    message = f"{what}: the row lengths do not add up to the number of values; lengths, number:"
    check = asserted(right, [lengths, size], message)
    if check.op.name == "no_op":
        return lengths
    with control_dependencies([check]):
        return identity(lengths)


def _row_ids(lengths: Tensor, total: Dim) -> Tensor:
    """[total]: how many rows end at or before each value, which is the number of its own."""
    limits = expand_dims(cumsum(lengths), 1)
    ends = scatter_nd(limits, zeros_like(lengths) + 1, (total + 1,))
    return cumsum(ends)[:-1]


def _places(lengths: Tensor, total: Dim, longest: Dim) -> Tensor:
    """[total]: where each value is in a padded tensor whose rows lie one after the other."""
    rows = _row_ids(lengths, total)
    before = gather_op(cumsum(lengths, exclusive=True), rows, axis=0)
    within = range_of(size_as_tensor(total, lengths.dtype)) - before
    return rows * size_as_tensor(longest, lengths.dtype) + within


def _taken(padded: Tensor, lengths: Tensor, total: Dim) -> Tensor:
    """[total, ...]: the first lengths[b] elements of each row of a padded tensor."""
    batch, longest, *rest = padded.dims
    flat = reshaped(padded, (batch * longest, *rest))
    return gather_op(flat, _places(lengths, total, longest), axis=0)
