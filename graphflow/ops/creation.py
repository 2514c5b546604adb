"""Tensors from nothing: leaves (constant, placeholder, feed, state), fills and ranges."""

from __future__ import annotations

import builtins
import re

import numpy as np

from .. import sizes
from ..dtypes import DType, as_dtype, bool_, float32, int64
from ..errors import TypeRuleError
from ..ir.node import FrozenArray, Tensor
from ..ir.op import LEAF, Op, define, find
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Dim, Size
from .convert import (
    as_size,
    as_sizes,
    convert,
    convert_all,
    is_tensor_like,
    reject,
    to_array,
)
from .values import constant_value

__all__ = [
    "constant",
    "eye",
    "fill",
    "linspace",
    "lin_space",
    "meshgrid",
    "ones",
    "ones_like",
    "placeholder",
    "placeholder_with_default",
    "range",
    "sequence_mask",
    "zeros",
    "zeros_like",
]

# -- leaves --------------------------------------------------------------------------------------


def _infer_constant(types, attrs, rules):
    array = attrs["value"].array
    return (TensorType(as_dtype(array.dtype), array.shape),)


constant_op = define(
    Op(
        name="constant",
        kind=LEAF,
        infer=_infer_constant,
        reference=lambda arrays, attrs, node: (attrs["value"].array,),
        vjp=lambda node, gradients: (),
    )
)

placeholder_op = define(
    Op(
        name="placeholder",
        kind=LEAF,
        infer=lambda types, attrs, rules: (TensorType(attrs["dtype"], attrs["shape"]),),
        vjp=lambda node, gradients: (),
    )
)

# Leaves of a Program: what a run hands in.
feed_op = define(
    Op(
        name="feed",
        kind=LEAF,
        infer=lambda types, attrs, rules: (attrs["type"],),
        vjp=lambda node, gradients: (),
    )
)

state_op = define(
    Op(
        name="state",
        kind=LEAF,
        infer=lambda types, attrs, rules: (attrs["variable"].tensor_type,),
        vjp=lambda node, gradients: (),
    )
)


def _infer_default(types, attrs, rules):
    (source,) = types
    shape = attrs["shape"]
    if shape is not None and source.shape is not None:
        message = f"the default has shape {source}, which the placeholder's shape does not allow"
        if len(shape) != len(source.shape):
            raise TypeRuleError(message)
        for given, dim in zip(shape, source.shape, strict=True):
            rules.equal(given, dim, message)
    return (TensorType(source.dtype, shape),)


# A tensor people feed; unfed it is its input. Its own symbols stand for the input's sizes then.
default_op = define(
    Op(
        name="placeholder_with_default",
        infer=_infer_default,
        reference=lambda arrays, attrs, node: (arrays[0],),
        vjp=lambda node, gradients: (gradients[0],),
        lower=lambda node, index, context, output: context.read(0, index),
        any_rank=True,
        in_place={0: 0},
    )
)


def constant(value, dtype=None, shape=None, name="Const", verify_shape=False) -> Tensor:
    """A tensor with these elements.

    Python floats are float32, ints int32; NumPy arrays keep their dtype unless `dtype` says
    otherwise. `shape`, static, reshapes the value; a value of fewer elements is filled up with its
    last one, as in TensorFlow 1, unless `verify_shape`. Raises TypeRuleError where the value does
    not convert or has too many elements.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if is_tensor_like(value):
        reject("constant", f"{value!r} is a tensor already; a constant is made of numbers")
    if isinstance(value, (list, tuple)) and any(map(is_tensor_like, value)):
        reject("constant", "a constant is made of numbers; graphflow.stack takes tensors")
    array = to_array(value, wanted, "constant", explicit=True)
    if shape is not None:
        dims = as_sizes(shape, "constant")
        if any(isinstance(dim, Size) or dim < 0 for dim in dims):
            reject("constant", f"a constant's shape is static, got {list(dims)}")
        if verify_shape and array.shape != dims:
            reject("constant", f"shape {list(dims)} was expected, not {list(array.shape)}")
        total = int(np.prod([int(dim) for dim in dims], dtype=np.int64))  # type: ignore[arg-type]
        if array.size > total or (array.size == 0 and total):
            reject("constant", f"{array.size} elements do not fit the shape {list(dims)} ({total})")
        flat = array.reshape(-1)
        if array.size < total:
            flat = np.concatenate([flat, np.full(total - flat.size, flat[-1], flat.dtype)])
        array = flat.reshape(dims)
    return constant_op(value=FrozenArray(array), name=name)


def symbols_for(shape, name: str) -> tuple[Dim, ...] | None:
    """The dimensions of a declared shape: every None (or -1) is a new symbol `name_axis`."""
    if shape is None:
        return None
    declared = getattr(shape, "_as_declared", None)
    items = declared() if declared is not None else shape
    if items is None:
        return None
    if isinstance(items, (int, np.integer)) or not hasattr(items, "__iter__"):
        items = (items,)
    stem = re.sub(r"\W", "_", name)
    stem = stem if stem[:1].isalpha() or stem[:1] == "_" else f"n{stem}"
    dims: list[Dim] = []
    for axis, item in enumerate(items):
        if item is None or (isinstance(item, (int, np.integer)) and item == -1):
            dims.append(sizes.symbol(f"{stem}_{axis}"))
            continue
        if getattr(item, "size", item) is None:  # an unknown Dimension
            dims.append(sizes.symbol(f"{stem}_{axis}"))
            continue
        size = as_size(item, "placeholder")
        if isinstance(size, int) and size < 0:
            reject("placeholder", f"dimension {axis} of the shape is {size}")
        dims.append(size)
    return tuple(dims)


def placeholder(dtype, shape=None, name=None) -> Tensor:
    """A tensor that every run using it must be fed.

    A None in `shape` is a size each run may choose; without a shape the rank is free too, which
    only elementwise operations and full reductions accept.
    """
    label = name or "Placeholder"
    return placeholder_op(
        dtype=as_dtype(dtype), shape=symbols_for(shape, label), label=label, name=label
    )


def placeholder_with_default(input, shape, name=None) -> Tensor:  # noqa: A002
    """A tensor that may be fed, and is `input` where it is not. `shape` may have None."""
    source = convert(input, what="placeholder_with_default")
    label = name or "PlaceholderWithDefault"
    dims = source.dims if shape is None else symbols_for(shape, label)
    return default_op(source, shape=dims, name=label)


# -- fills ---------------------------------------------------------------------------------------


def _filled(value, dims: tuple[Dim, ...], dtype: DType, name: str | None) -> Tensor:
    """A tensor of one value; nothing of its size is stored."""
    scalar = constant_op(value=FrozenArray(np.asarray(value, dtype.numpy)), name="value")
    return find("broadcast_to")(scalar, shape=_no_unknown(dims, "fill"), name=name)


def _no_unknown(dims: tuple[Dim, ...], what: str) -> tuple[Dim, ...]:
    for dim in dims:
        if isinstance(dim, int) and dim < 0:
            reject(what, f"the shape {list(dims)} has a negative dimension")
    return dims


def zeros(shape, dtype=float32, name=None) -> Tensor:
    """A tensor of zeros (False for bool). Dimensions may be symbolic: `zeros([shape(x)[0], 5])`."""
    return _filled(0, as_sizes(shape, "zeros"), as_dtype(dtype), name or "zeros")


def ones(shape, dtype=float32, name=None) -> Tensor:
    """A tensor of ones (True for bool)."""
    return _filled(1, as_sizes(shape, "ones"), as_dtype(dtype), name or "ones")


def fill(dims, value, name=None) -> Tensor:
    """A tensor of that shape with the scalar `value`, which may be a tensor, in every place."""
    scalar = convert(value, what="fill")
    if scalar.rank not in (0, None):
        reject("fill", f"the value is a scalar, but {scalar.name} is {scalar.tensor_type}")
    shape = _no_unknown(as_sizes(dims, "fill"), "fill")
    return find("broadcast_to")(scalar, shape=shape, name=name or "Fill")


def _like(tensor, value, dtype, name: str) -> Tensor:
    from .movement import broadcast_like

    like = convert(tensor, what=name)
    wanted = like.dtype if dtype is None else as_dtype(dtype)
    scalar = constant_op(value=FrozenArray(np.asarray(value, wanted.numpy)), name="value")
    return broadcast_like(scalar, like, name=name)


def zeros_like(tensor, dtype=None, name=None, optimize=True) -> Tensor:
    """Zeros in the shape (and, unless given, the dtype) of `tensor`."""
    return _like(tensor, 0, dtype, name or "zeros_like")


def ones_like(tensor, dtype=None, name=None, optimize=True) -> Tensor:
    """Ones in the shape (and, unless given, the dtype) of `tensor`."""
    return _like(tensor, 1, dtype, name or "ones_like")


# -- ranges --------------------------------------------------------------------------------------


def _infer_iota(types, attrs, rules):
    if isinstance(attrs["size"], int) and attrs["size"] < 0:
        raise TypeRuleError(f"the size {attrs['size']} is negative")
    return (TensorType(attrs["dtype"], (attrs["size"],)),)


def _lower_iota(node, index, context, output):
    return loop.cast(index[0], node.attrs["dtype"])


iota = define(
    Op(
        name="iota",
        infer=_infer_iota,
        reference=lambda arrays, attrs, node: (
            np.arange(attrs["size"]).astype(attrs["dtype"].numpy),
        ),
        vjp=lambda node, gradients: (),
        lower=_lower_iota,
    )
)


def range(start, limit=None, delta=1, dtype=None, name="range") -> Tensor:  # noqa: A001
    """start, start + delta, … up to but without `limit`; `range(n)` counts from 0.

    The number of elements must follow from numbers and shapes: integer arguments may be symbolic
    sizes such as `shape(x)[0]`. Raises TypeRuleError where it depends on data, or delta is 0.
    """
    if limit is None:
        start, limit = 0, start
    start, limit, delta = convert_all([start, limit, delta], "range", dtype)
    wanted = start.dtype if dtype is None else as_dtype(dtype)
    numbers = [constant_value(t) for t in (start, limit, delta)]
    if numbers[2] is not None and numbers[2] == 0:
        reject("range", "delta is 0")
    if all(n is not None for n in numbers):
        first, last, step = (n.item() for n in numbers)  # type: ignore[union-attr]
        count = builtins.max(0, int(np.ceil((last - first) / step)))
        if count <= 1024 or not wanted.is_integer:
            values = first + np.arange(count) * step
            return constant_op(value=FrozenArray(values.astype(wanted.numpy)), name=name)
        length: Dim = count
    elif wanted.is_integer:
        first, last, step = (as_size(t, "range") for t in (start, limit, delta))
        length = sizes.ceildiv(last - first, step)
        if not sizes.is_nonnegative(length):
            length = sizes.maximum(length, 0)
    else:
        reject("range", "its length depends on data; give it numbers or integer sizes")
    counted = iota(dtype=wanted, size=length, name=name)
    if numbers[2] is None or numbers[2] != 1:
        counted = find("mul")(counted, delta)
    if numbers[0] is None or numbers[0] != 0:
        counted = find("add")(counted, start)
    return counted


def linspace(start, stop, num, name=None) -> Tensor:
    """`num` values from start to stop, both included, evenly spaced; floats only."""
    count = as_size(num, "linspace")
    start, stop = convert_all([start, stop], "linspace")
    if not start.dtype.is_floating:
        reject("linspace", f"start and stop must be floats, got {start.dtype}")
    if isinstance(count, int) and count <= 0:
        reject("linspace", f"num must be positive, got {count}")
    if count == 1:
        return find("reshape")(start, shape=(1,), name=name or "linspace")
    steps = iota(dtype=start.dtype, size=count)
    if isinstance(count, int):
        intervals = convert(float(count - 1), start.dtype)
    else:
        intervals = find("sub")(
            find("size")(steps, axes=None, dtype=start.dtype), convert(1, start.dtype)
        )
    delta = find("div")(find("sub")(stop, start), intervals)
    return find("add")(start, find("mul")(delta, steps), name=name or "linspace")


lin_space = linspace


def eye(num_rows, num_columns=None, batch_shape=None, dtype=float32, name=None) -> Tensor:
    """The identity matrix [num_rows, num_columns], or a batch of them."""
    rows = as_size(num_rows, "eye")
    columns = rows if num_columns is None else as_size(num_columns, "eye")
    down = find("reshape")(iota(dtype=int64, size=rows), shape=(rows, 1))
    across = find("reshape")(iota(dtype=int64, size=columns), shape=(1, columns))
    batch = () if batch_shape is None else as_sizes(batch_shape, "eye")
    diagonal = find("equal")(down, across)
    if not batch:
        return find("cast")(diagonal, dtype=as_dtype(dtype), name=name or "eye")
    matrix = find("cast")(diagonal, dtype=as_dtype(dtype))
    return find("broadcast_to")(matrix, shape=(*batch, rows, columns), name=name or "eye")


def sequence_mask(lengths, maxlen=None, dtype=bool_, name=None) -> Tensor:
    """[..., maxlen]: whether position j is below lengths[...], as `dtype`.

    `maxlen` is a number or a symbolic size; it is needed unless the lengths are constant.
    """
    counts = convert(lengths, what="sequence_mask")
    if not counts.dtype.is_integer or counts.dims is None:
        reject("sequence_mask", f"lengths are integers of known rank, got {counts.tensor_type}")
    if maxlen is None:
        known = constant_value(counts)
        if known is None:
            reject("sequence_mask", "maxlen is needed: the longest length depends on data")
        maxlen = int(known.max()) if known.size else 0
    width = as_size(maxlen, "sequence_mask")
    if isinstance(width, int) and width < 0:
        reject("sequence_mask", f"maxlen must not be negative, got {width}")
    positions = iota(dtype=counts.dtype, size=width)
    column = find("reshape")(counts, shape=(*counts.dims, 1))
    wanted = as_dtype(dtype)
    if wanted is bool_:
        return find("less")(positions, column, name=name or "sequence_mask")
    return find("cast")(find("less")(positions, column), dtype=wanted, name=name or "sequence_mask")


def meshgrid(*args, indexing="xy", name="meshgrid") -> list[Tensor]:
    """Vectors spread over a grid, one result for each: with indexing "ij" vector k varies along
    axis k; with "xy" the first two are exchanged."""
    if indexing not in ("xy", "ij"):
        reject("meshgrid", f"indexing is 'xy' or 'ij', not {indexing!r}")
    vectors = [convert(vector, what="meshgrid") for vector in args]
    if any(vector.rank not in (0, 1) for vector in vectors):
        reject("meshgrid", "every argument is a vector")
    axes = list(builtins.range(len(vectors)))
    if indexing == "xy" and len(axes) > 1:
        axes[:2] = [1, 0]
    dims: list[Dim] = [1] * len(vectors)
    for vector, axis in zip(vectors, axes, strict=True):
        dims[axis] = sizes.product(vector.dims)
    result = []
    for vector, axis in zip(vectors, axes, strict=True):
        shape = tuple(dims[axis] if i == axis else 1 for i in builtins.range(len(dims)))
        lying = find("reshape")(vector, shape=shape)
        result.append(find("broadcast_to")(lying, shape=tuple(dims), name=name))
    return result
