"""Shapes and sizes as tensors."""

from __future__ import annotations

import builtins

import numpy as np

from .. import sizes
from ..dtypes import as_dtype, int32
from ..ir.node import Node, Tensor
from ..ir.op import Op, define, find
from ..ir.types import SizeRules, TensorType
from ..loop import nodes as loop
from ..sizes import Dim
from .convert import as_sizes, convert, index_dtype

__all__ = [
    "broadcast_dynamic_shape",
    "broadcast_static_shape",
    "rank",
    "shape",
    "shape_n",
    "size",
]


def _infer_shape(types, attrs, rules):
    (x,) = types
    # A shape of unknown length gets a symbol of its own; programs never see it.
    length = sizes.symbol("rank") if x.shape is None else len(x.shape)
    return (TensorType(attrs["dtype"], (length,)),)


def _lower_shape(node: Node, index, context, output):
    dtype = node.attrs["dtype"]
    values = [loop.cast(loop.index(dim), dtype) for dim in node.inputs[0].dims]
    if not values:
        return loop.Const(0, dtype)
    result = values[-1]
    for position in reversed(builtins.range(len(values) - 1)):
        here = loop.apply("eq", index[0], loop.Const(position))
        result = loop.select(here, values[position], result)
    return result


shape_op = define(
    Op(
        name="shape",
        infer=_infer_shape,
        reference=lambda arrays, attrs, node: (
            np.array(arrays[0].shape, dtype=attrs["dtype"].numpy),
        ),
        vjp=lambda node, gradients: [None],
        lower=_lower_shape,
        shape_only=(0,),
        any_rank=True,
    )
)


def _infer_size(types, attrs, rules):
    return (TensorType(attrs["dtype"], ()),)


def _chosen(shape_, axes):
    return shape_ if axes is None else [shape_[axis] for axis in axes]


def _lower_size(node: Node, index, context, output):
    total = sizes.product(_chosen(node.inputs[0].dims, node.attrs["axes"]))
    dtype = node.attrs["dtype"]
    if isinstance(total, int):
        return loop.Const(float(total) if dtype.is_floating else total, dtype)
    return loop.cast(loop.index(total), dtype)


# The number of elements along `axes` (None: all), as a scalar of any numeric dtype.
size_op = define(
    Op(
        name="size",
        infer=_infer_size,
        reference=lambda arrays, attrs, node: (
            np.asarray(np.prod(_chosen(arrays[0].shape, attrs["axes"]), dtype=np.int64)).astype(
                attrs["dtype"].numpy
            ),
        ),
        vjp=lambda node, gradients: [None],
        lower=_lower_size,
        shape_only=(0,),
        any_rank=True,
    )
)


def shape(input, name=None, out_type=int32) -> Tensor:  # noqa: A002
    """The shape of a tensor as an integer vector. `x.shape` is what is known of it already."""
    x = convert(input, what="shape")
    return shape_op(x, dtype=index_dtype(out_type), name=name or "Shape")


def shape_n(input, out_type=int32, name=None) -> list[Tensor]:  # noqa: A002
    """The shapes of several tensors."""
    return [shape(x, out_type=out_type) for x in input]


def size(input, name=None, out_type=int32) -> Tensor:  # noqa: A002
    """The number of elements of a tensor."""
    x = convert(input, what="size")
    return size_op(x, axes=None, dtype=as_dtype(out_type), name=name or "Size")


def size_as_tensor(value: Dim, dtype) -> Tensor:
    """A size as a scalar of a numeric dtype."""
    if isinstance(value, int):
        return convert(value, dtype)
    extent = find("broadcast_to")(convert(0, int32), shape=(value,))
    return size_op(extent, axes=(0,), dtype=as_dtype(dtype))


def rank(input, name=None) -> Tensor:  # noqa: A002
    """The number of axes of a tensor, as an int32 scalar."""
    x = convert(input, what="rank")
    if x.dims is not None:
        return convert(len(x.dims), int32, name=name or "Rank")
    return size_op(shape_op(x, dtype=int32), axes=None, dtype=int32, name=name or "Rank")


def broadcast_static_shape(shape_x, shape_y):
    """The TensorShape that two shapes broadcast to; raises where they do not."""
    from .tensor_shape import TensorShape, broadcast

    return broadcast(TensorShape(shape_x), TensorShape(shape_y))


def broadcast_dynamic_shape(shape_x, shape_y) -> Tensor:
    """The shape that two shapes, given as integer vectors, broadcast to, as an int32 vector."""
    from .joining import stack

    a, b = as_sizes(shape_x), as_sizes(shape_y)
    dims = SizeRules().broadcast([a, b])
    parts = []
    for axis in builtins.range(-len(dims), 0):
        parts.append(_dimension(shape_x, a, shape_y, b, axis, dims[axis]))
    return stack(parts) if parts else convert(np.zeros(0, np.int32))


def _dimension(shape_x, a, shape_y, b, axis: int, dim: Dim) -> Tensor:
    if isinstance(dim, int):
        return convert(dim, int32)
    source = shape_x if len(a) >= -axis and a[axis] == dim else shape_y
    return convert(source, int32)[len(a if source is shape_x else b) + axis]
