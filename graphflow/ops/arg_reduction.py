"""The position of the largest or smallest element along an axis."""

from __future__ import annotations

import numpy as np

from ..dtypes import int32, int64
from ..errors import TypeRuleError
from ..ir.node import Node
from ..ir.op import NEST, Op, define
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Shape
from .convert import convert, index_dtype, known_axis, reject
from .nests import around, estimate
from .reduction import kept, one_of

__all__ = ["arg_max", "arg_min", "argmax", "argmin"]


def _infer_arg(types, attrs, rules):
    (x,) = types
    if not x.dtype.is_numeric:
        raise TypeRuleError(f"a numeric tensor is needed, got {x.dtype}")
    axis = attrs["axis"]
    if not 0 <= axis < len(x.shape):
        raise TypeRuleError(f"axis {axis} is out of range for {x}")
    if isinstance(x.shape[axis], int) and x.shape[axis] == 0:
        raise TypeRuleError(f"axis {axis} of {x} has no elements to choose from")
    return (TensorType(attrs["dtype"], kept(x.shape, (axis,))),)


def _arg_reference(arrays, attrs, node: Node):
    function = np.argmax if attrs["kind"] == "max" else np.argmin
    result = function(arrays[0], axis=attrs["axis"])
    return (np.asarray(result).astype(attrs["dtype"].numpy),)


# Rows of this length, or an unknown one, are searched by vectors along the row; shorter ones many
# at a time, a lane each.
_LONG_ROW = 64


def _lower_arg(node: Node, context):
    (x,) = node.inputs
    length = x.dims[-1] if node.attrs["axis"] == len(x.dims) - 1 else 0
    if not isinstance(length, int) or length >= _LONG_ROW:
        return _lower_rows(node, context)
    return _lower_lanes(node, context)


def _lower_rows(node: Node, context):
    """The best of a row, then the first place that holds it, or NaN."""
    (x,) = node.inputs
    dims, length = node.outputs[0].dims, x.dims[-1]
    op = "maximum" if node.attrs["kind"] == "max" else "minimum"
    indices = [context.var("i") for _ in dims]
    k, again = context.var("k"), context.var("k")
    number = int32 if isinstance(length, int) and length < 1 << 31 else int64
    best, place = context.local(x.dtype, prefix="best"), context.local(number, prefix="place")
    zero, nowhere = loop.ZERO, loop.neutral("minimum", number)
    candidate = context.var("candidate", x.dtype)
    found = loop.apply("eq", candidate, loop.Load(best, zero))
    if x.dtype.is_floating:
        found = loop.apply("or", found, loop.apply("isnan", candidate))
    here = loop.select(found, loop.cast(again, number), nowhere)
    first = loop.Load(place, zero)
    result = loop.select(loop.apply("lt", first, nowhere), first, loop.Const(0, number))
    body: list[loop.Stmt] = [
        best,
        place,
        loop.Store(best, zero, loop.neutral(op, x.dtype)),
        loop.Store(place, zero, nowhere),
        loop.For(
            k,
            loop.index(length),
            loop.VECTOR,
            (loop.Accumulate(best, zero, op, context.read(0, (*indices, k))),),
        ),
        loop.For(
            again,
            loop.index(length),
            loop.VECTOR,
            (
                loop.Let(candidate, context.read(0, (*indices, again))),
                loop.Accumulate(place, zero, "minimum", here),
            ),
        ),
        loop.Store(
            context.output(0), loop.linear(indices, dims), loop.cast(result, node.attrs["dtype"])
        ),
    ]
    return around(indices, dims, body, vector=False, cost=0.5 * estimate([length]))


def _lower_lanes(node: Node, context):
    """One pass along the axis for every output element: the first of the best, or the first NaN."""
    (x,) = node.inputs
    axis, kind = node.attrs["axis"], node.attrs["kind"]
    dims: Shape = node.outputs[0].dims
    indices = [context.var("i") for _ in dims]
    k = context.var("k")
    best = context.local(x.dtype, prefix="best")
    place = context.local(int64, prefix="place")
    zero = loop.ZERO

    def element(position: loop.Expr) -> loop.Expr:
        return context.read(0, (*indices[:axis], position, *indices[axis:]))

    candidate, held = context.var("candidate", x.dtype), loop.Load(best, zero)
    better = loop.apply("gt" if kind == "max" else "lt", candidate, held)
    if x.dtype.is_floating:
        first_nan = loop.apply(
            "and",
            loop.apply("isnan", candidate),
            loop.apply("not", loop.apply("isnan", held)),
        )
        better = loop.apply("or", better, first_nan)
    result = loop.cast(loop.Load(place, zero), node.attrs["dtype"])
    start = loop.neutral("maximum" if kind == "max" else "minimum", x.dtype)
    body: list[loop.Stmt] = [
        best,
        place,
        loop.Store(best, zero, start),
        loop.Store(place, zero, zero),
        loop.For(
            k,
            loop.index(x.dims[axis]),
            loop.SERIAL,
            (
                loop.Let(candidate, element(k)),
                loop.If(
                    better,
                    (loop.Store(best, zero, candidate), loop.Store(place, zero, k)),
                ),
            ),
        ),
        loop.Store(context.output(0), loop.linear(indices, dims), result),
    ]
    cost = 4.0 * estimate([x.dims[axis]])
    return around(indices, dims, body, vector=axis < len(dims), cost=cost)


arg_reduce_op = define(
    Op(
        name="arg_reduce",
        kind=NEST,
        infer=_infer_arg,
        reference=_arg_reference,
        vjp=lambda node, gradients: [None],
        lower=_lower_arg,
        flops=2,
    )
)


def _argument(name: str, kind: str, meaning: str):
    def function(input, axis=None, name=None, dimension=None, output_type=int64):  # noqa: A002
        what = function.__name__
        x = convert(input, what=what)
        chosen = one_of(what, axis=axis, dimension=dimension)
        if x.dims is None:
            reject(what, f"the rank of {x.name} is unknown; give its placeholder a shape")
        if not x.dims:
            reject(what, f"{x.name} is a scalar, which has no axis")
        position = known_axis(0 if chosen is None else chosen, len(x.dims), what)
        return arg_reduce_op(
            x, kind=kind, axis=position, dtype=index_dtype(output_type), name=name or what
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The index of the {meaning} element along `axis` (0 if not given), the first of equals;\n"
        "the first NaN where there is one. int64 unless output_type is int32."
    )
    return function


argmax = arg_max = _argument("argmax", "max", "largest")
argmin = arg_min = _argument("argmin", "min", "smallest")
