"""What TensorFlow's arguments say about each spatial dimension: strides, paddings, data formats.

Operations work on channels-last tensors; what comes in another format is transposed around them,
and passes cancel the transposes between two operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.node import Tensor
from ..ops.convert import as_size, reject
from ..ops.indexing import transposed
from ..ops.windows import same_padding
from ..sizes import Dim

_LISTS = (list, tuple, np.ndarray)
_FORMATS = {
    1: ("NWC", "NCW", "NHWC", "NCHW"),  # the last two are older names
    2: ("NHWC", "NCHW"),
    3: ("NDHWC", "NCDHW"),
}


def channels_first(data_format: str | None, rank: int, what: str) -> bool:
    """Whether channels are dimension 1 rather than the last one; None: they are last."""
    if data_format is None:
        return False
    if data_format not in _FORMATS[rank]:
        names = " or ".join(_FORMATS[rank][:2])
        reject(what, f"data_format is {names}, not {data_format!r}")
    return data_format.startswith("NC")


def channels_last(x: Tensor, first: bool) -> Tensor:
    """x with its channels moved from dimension 1 to the end where they are `first`."""
    rank = len(x.dims)
    return transposed(x, [0, *range(2, rank), 1]) if first else x


def moved_back(x: Tensor, first: bool, name: str | None = None) -> Tensor:
    """The inverse of `channels_last`."""
    rank = len(x.dims)
    return transposed(x, [0, rank - 1, *range(1, rank - 1)], name) if first else x


def shape_last(dims: Sequence[Any], first: bool) -> list[Any]:
    """A shape, or a list with an entry for each dimension, in the order channels-last."""
    return [dims[0], *dims[2:], dims[1]] if first else list(dims)


def per_axis(
    value, rank: int, what: str, argument: str, first: bool = False, whole: bool = True
) -> tuple[int, ...]:
    """A positive number for each spatial dimension.

    value: a number, a list of one, of one for each spatial dimension, or, where `whole`, of one
        for each dimension in the data format, where those of batch and channels must be 1; None
        means 1.
    """
    items = [1] if value is None else value
    items = list(items) if isinstance(items, _LISTS) else [items]
    if any(isinstance(v, (bool, np.bool_)) or not isinstance(v, (int, np.integer)) for v in items):
        reject(what, f"{argument} must be numbers, got {value!r}")
    numbers = [int(v) for v in items]
    if any(number < 1 for number in numbers):
        reject(what, f"{argument} must be positive, got {value!r}")
    if len(numbers) == 1:
        return tuple(numbers * rank)
    if whole and len(numbers) == rank + 2:
        batch, *numbers, channels = shape_last(numbers, first)
        if batch != 1 or channels != 1:
            reject(what, f"{argument} of batch and channels must be 1, got {value!r}")
    if len(numbers) != rank:
        counts = f"1, {rank} or {rank + 2}" if whole else f"1 or {rank}"
        reject(what, f"{argument} has {counts} entries, got {value!r}")
    return tuple(numbers)


def paddings(
    padding,
    sizes: Sequence[Dim],
    extents: Sequence[Dim],
    strides: Sequence[int],
    what: str,
    first: bool = False,
) -> tuple[tuple[Dim, Dim], ...]:
    """(before, after) for each spatial dimension.

    padding: "SAME", "VALID", or a list of pairs for each spatial dimension, or for each dimension
        in the data format, where those of batch and channels must be (0, 0).
    """
    rank = len(sizes)
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return ((0, 0),) * rank
        if padding.upper() == "SAME":
            columns = zip(sizes, extents, strides, strict=True)
            return tuple(same_padding(*column) for column in columns)
    if not isinstance(padding, _LISTS):
        reject(what, f"padding is SAME, VALID or a list of pairs, not {padding!r}")
    pairs = [tuple(pair) if isinstance(pair, _LISTS) else (pair,) for pair in padding]
    if len(pairs) == rank + 2:
        batch, *pairs, channels = shape_last(pairs, first)
        if (batch, channels) != ((0, 0), (0, 0)):
            reject(what, f"batch and channels must have the padding (0, 0), got {padding!r}")
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        reject(what, f"padding has a pair for each of {rank} spatial dimensions, got {padding!r}")
    found = tuple((as_size(low, what), as_size(high, what)) for low, high in pairs)
    if any(isinstance(v, int) and v < 0 for pair in found for v in pair):
        reject(what, f"paddings must not be negative, got {padding!r}")
    return found


def known_rank(x: Tensor, rank: int, what: str, argument: str = "input") -> None:
    """Raises unless x has `rank` spatial dimensions beside batch and channels."""
    if x.dims is None:
        reject(what, f"the rank of {x.name} is unknown; give its placeholder a shape")
    if len(x.dims) != rank + 2:
        reject(what, f"the {argument} must have rank {rank + 2}, {x.name} is {x.tensor_type}")
