"""Running sums, products and linear recurrences along an axis."""

from __future__ import annotations

import numpy as np

from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import NEST, Op, define
from ..ir.types import TensorType, same_shape
from ..loop import nodes as loop
from ..sizes import Shape
from .arithmetic import mul_op
from .convert import convert, known_axis, reject
from .nests import around, estimate

__all__ = ["cumprod", "cumsum"]

# -- cumulative ----------------------------------------------------------------------------------


def _infer(types, attrs, rules):
    x = types[0]
    if not x.dtype.is_numeric:
        raise TypeRuleError(f"a numeric tensor is needed, got {x.dtype}")
    for other in types[1:]:
        if other.dtype is not x.dtype:
            raise TypeRuleError(f"the inputs have different dtypes, {x.dtype} and {other.dtype}")
        same_shape(x.shape, other.shape, rules, f"the shapes of {x} and {other} differ")
    if not 0 <= attrs["axis"] < len(x.shape):
        raise TypeRuleError(f"axis {attrs['axis']} is out of range for {x}")
    return (TensorType(x.dtype, x.shape),)


def _cumulative_reference(arrays, attrs, node: Node):
    axis = attrs["axis"]
    x = np.flip(arrays[0], axis) if attrs["reverse"] else arrays[0]
    sums = attrs["kind"] == "sum"
    with np.errstate(all="ignore"):
        result = (np.cumsum if sums else np.cumprod)(x, axis=axis, dtype=x.dtype)
    if attrs["exclusive"] and x.shape[axis]:
        first = np.full_like(np.take(x, [0], axis), 0 if sums else 1)
        before = np.take(result, np.arange(x.shape[axis] - 1), axis)
        result = np.concatenate([first, before], axis)
    result = np.flip(result, axis) if attrs["reverse"] else result
    return (np.ascontiguousarray(result),)


def _scan(node: Node, context, start: loop.Const, step) -> list[loop.Stmt]:
    """Loops over every line along the axis. `step(held, read)` gives (stored, next held), where
    `read(position)` is the element of an input; vector over the last axis unless that is ours."""
    dims: Shape = node.outputs[0].dims
    axis, dtype = node.attrs["axis"], node.types[0].dtype
    indices = [context.var("i") for _ in dims]
    k = context.var("k")
    total = context.local(dtype, prefix="total")
    place: loop.Expr = k
    if node.attrs["reverse"]:
        place = loop.sub(loop.sub(loop.index(dims[axis]), loop.ONE), k)
    where = (*indices[:axis], place, *indices[axis + 1 :])
    held = context.var("held", dtype)
    stored, following = step(held, lambda position: context.read(position, where))
    kept = context.var("kept", dtype)
    inner: tuple[loop.Stmt, ...] = (
        loop.Let(held, loop.Load(total, loop.ZERO)),
        loop.Let(kept, following),
        loop.Store(
            context.output(0),
            loop.linear(where, dims),
            kept if stored is following else stored,
        ),
        loop.Store(total, loop.ZERO, kept),
    )
    body: list[loop.Stmt] = [
        total,
        loop.Store(total, loop.ZERO, start),
        loop.For(k, loop.index(dims[axis]), loop.SERIAL, inner),
    ]
    others = [position for position in range(len(dims)) if position != axis]
    return around(
        [indices[position] for position in others],
        [dims[position] for position in others],
        body,
        vector=axis < len(dims) - 1,
        cost=4.0 * estimate([dims[axis]]),
    )


def _lower_cumulative(node: Node, context):
    operator = "add" if node.attrs["kind"] == "sum" else "mul"

    def step(held, read):
        following = loop.apply(operator, held, read(0))
        return (held if node.attrs["exclusive"] else following), following

    return _scan(node, context, loop.neutral(operator, node.types[0].dtype), step)


def _cumulative_vjp(node: Node, gradients):
    (g,) = gradients
    (x,) = node.inputs
    attrs = node.attrs
    if g is None:
        return [None]
    if attrs["kind"] == "sum":
        return [cumulative_op(g, **{**attrs, "reverse": not attrs["reverse"]})]
    # d/dx_i of sum_j g_j prod_{k<=j} x_k  =  prod_{k<i} x_k * s_i,  s_i = g_i + x_{i+1} s_{i+1}:
    # no division, so zeros do no harm.
    before = cumulative_op(x, **{**attrs, "exclusive": True})
    axis, reverse = attrs["axis"], attrs["reverse"]
    factors = _shifted(x, axis, towards_start=not reverse)
    incoming = _shifted(g, axis, towards_start=not reverse) if attrs["exclusive"] else g
    after = recurrence_op(factors, incoming, axis=axis, reverse=not reverse)
    return [mul_op(before, after)]


def _shifted(x: Tensor, axis: int, towards_start: bool) -> Tensor:
    """x moved by one along the axis, with 0 where nothing moves in."""
    from .padding import pad_op
    from .slicing import slice_op

    rank = len(x.dims)
    one = tuple(int(i == axis) for i in range(rank))
    none = (0,) * rank
    before, after = (none, one) if towards_start else (one, none)
    wide = pad_op(x, before=before, after=after, mode="constant", value=0)
    return slice_op(wide, begin=after, size=x.dims, strides=(1,) * rank)


cumulative_op = define(
    Op(
        name="cumulative",
        kind=NEST,
        infer=_infer,
        reference=_cumulative_reference,
        vjp=_cumulative_vjp,
        lower=_lower_cumulative,
        flops=1,
    )
)

# -- recurrence: s[i] = a[i] * s[i - 1] + b[i], s[-1] = 0 ----------------------------------------


def _recurrence_reference(arrays, attrs, node: Node):
    a, b = (np.moveaxis(array, attrs["axis"], 0) for array in arrays)
    result = np.empty_like(b)
    held = np.zeros_like(b[0]) if len(b) else None
    order = range(len(b))
    with np.errstate(all="ignore"):
        for i in reversed(order) if attrs["reverse"] else order:
            held = a[i] * held + b[i]
            result[i] = held
    return (np.ascontiguousarray(np.moveaxis(result, 0, attrs["axis"])),)


def _lower_recurrence(node: Node, context):
    def step(held, read):
        following = loop.apply("add", loop.apply("mul", held, read(0)), read(1))
        return following, following

    dtype = node.types[0].dtype
    return _scan(node, context, loop.neutral("add", dtype), step)


def _recurrence_vjp(node: Node, gradients):
    (g,) = gradients
    a, _ = node.inputs
    if g is None:
        return [None, None]
    axis, reverse = node.attrs["axis"], node.attrs["reverse"]
    # The adjoint runs backwards: t[i] = g[i] + a[i + 1] t[i + 1].
    to_b = recurrence_op(
        _shifted(a, axis, towards_start=not reverse), g, axis=axis, reverse=not reverse
    )
    previous = _shifted(node.outputs[0], axis, towards_start=reverse)
    return [mul_op(to_b, previous), to_b]


recurrence_op = define(
    Op(
        name="recurrence",
        kind=NEST,
        infer=_infer,
        reference=_recurrence_reference,
        vjp=_recurrence_vjp,
        lower=_lower_recurrence,
        flops=2,
    )
)

# -- public functions ----------------------------------------------------------------------------


def _cumulative(x, kind: str, axis, exclusive, reverse, name: str) -> Tensor:
    tensor = convert(x, what=name)
    if not tensor.dims:
        reject(name, f"a tensor with axes is needed, got {tensor.tensor_type}")
    position = known_axis(axis, len(tensor.dims), name)
    return cumulative_op(
        tensor,
        kind=kind,
        axis=position,
        exclusive=bool(exclusive),
        reverse=bool(reverse),
        name=name,
    )


def cumsum(x, axis=0, exclusive=False, reverse=False, name=None) -> Tensor:
    """Running sums along `axis`; `exclusive` leaves each element's own out, `reverse` starts at
    the end."""
    return _cumulative(x, "sum", axis, exclusive, reverse, name or "cumsum")


def cumprod(x, axis=0, exclusive=False, reverse=False, name=None) -> Tensor:
    """Running products along `axis`; the gradient is exact beside zeros too."""
    return _cumulative(x, "prod", axis, exclusive, reverse, name or "cumprod")
