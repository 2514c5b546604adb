"""More elements around a tensor, and the order of its elements turned round."""

from __future__ import annotations

import builtins

import numpy as np

from .. import sizes
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define, find
from ..ir.types import TensorType
from ..loop import nodes as loop
from .convert import as_sizes, convert, is_tensor_like, known_axes, reject
from .movement import ranked
from .slicing import slice_op
from .values import constant_value

__all__ = ["pad", "reverse", "reverse_v2"]

# -- pad -----------------------------------------------------------------------------------------

_MODES = ("constant", "reflect", "symmetric")


def _infer_pad(types, attrs, rules):
    (x,) = types
    before, after, mode = attrs["before"], attrs["after"], attrs["mode"]
    if not len(before) == len(after) == len(x.shape):
        raise TypeRuleError(f"{len(before)} paddings for {x}")
    if mode not in _MODES:
        raise TypeRuleError(f"the mode is one of {', '.join(_MODES)}, not {mode!r}")
    dims = []
    for axis, dim in enumerate(x.shape):
        for amount in (before[axis], after[axis]):
            if isinstance(amount, int) and amount < 0:
                raise TypeRuleError(f"the padding {amount} of axis {axis} is negative")
            limit = dim - 1 if mode == "reflect" else dim
            if mode != "constant" and not (isinstance(amount, int) and amount == 0):
                message = f"{mode} padding of axis {axis} of {x} is at most {limit}, not {amount}"
                widest = sizes.maximum(amount, limit)
                if widest != limit:
                    rules.equal(widest, limit, message)
        dims.append(before[axis] + dim + after[axis])
    return (TensorType(x.dtype, tuple(dims)),)


def _pad_reference(arrays, attrs, node: Node):
    (array,) = arrays
    widths = list(zip(attrs["before"], attrs["after"], strict=True))
    if attrs["mode"] == "constant":
        # A slice that a run finds empty leaves paddings of which one is negative.
        shape = [
            before + dim + after for dim, (before, after) in zip(array.shape, widths, strict=True)
        ]
        result = np.full(shape, attrs["value"], array.dtype)
        source, target = [], []
        for dim, length, (before, _) in zip(array.shape, shape, widths, strict=True):
            first = builtins.max(before, 0)
            skipped = first - before
            count = builtins.max(builtins.min(dim - skipped, length - first), 0)
            source.append(builtins.slice(skipped, skipped + count))
            target.append(builtins.slice(first, first + count))
        result[tuple(target)] = array[tuple(source)]
        return (result,)
    return (np.pad(array, widths, mode=attrs["mode"]),)


def _lower_pad(node: Node, index, context, output):
    attrs, (x,) = node.attrs, node.inputs
    where, conditions = [], []
    for axis, position in enumerate(index):
        before, after, dim = attrs["before"][axis], attrs["after"][axis], x.dims[axis]
        if before == 0 and after == 0:
            where.append(position)
            continue
        place = loop.sub(position, loop.index(before))
        last = loop.index(dim - 1)
        if attrs["mode"] == "constant":
            if before != 0:
                conditions.append(loop.apply("ge", place, loop.ZERO))
            if after != 0:
                conditions.append(loop.apply("lt", place, loop.index(dim)))
        elif attrs["mode"] == "reflect":
            place = loop.apply("abs", place)
            place = loop.sub(last, loop.apply("abs", loop.sub(last, place)))
        else:
            mirrored = loop.sub(loop.Const(-1), place)
            place = loop.select(loop.apply("lt", place, loop.ZERO), mirrored, place)
            end = loop.sub(loop.index(sizes.multiply(dim, 2) - 1), place)
            place = loop.select(loop.apply("ge", place, loop.index(dim)), end, place)
        # What is not taken must still be safe to read.
        place = loop.apply("minimum", place, last)
        where.append(loop.apply("maximum", place, loop.ZERO))
    if attrs["mode"] == "constant":
        value = loop.Const(attrs["value"], x.dtype)
        if any(dim == 0 for dim in x.dims):
            return value
        if conditions:
            inside = conditions[0]
            for condition in conditions[1:]:
                inside = loop.apply("and", inside, condition)
            return loop.select(inside, context.read(0, tuple(where)), value)
    return context.read(0, tuple(where))


def _pad_vjp(node: Node, gradients):
    (g,) = gradients
    if g is None:
        return [None]
    (x,) = node.inputs
    attrs = node.attrs
    before, after = attrs["before"], attrs["after"]
    ones, none = (1,) * len(x.dims), (0,) * len(x.dims)
    if attrs["mode"] == "constant":
        return [slice_op(g, begin=before, size=x.dims, strides=ones)]
    # Axis by axis: the mirrored borders are turned round and added to what they mirror.
    edge = 1 if attrs["mode"] == "reflect" else 0
    for axis, dim in enumerate(x.dims):

        def along(values, base, axis=axis):
            return (*base[:axis], values, *base[axis + 1 :])

        middle = slice_op(g, begin=along(before[axis], none), size=along(dim, g.dims), strides=ones)
        borders = ((0, before[axis], edge), (before[axis] + dim, after[axis], None))
        for start, count, offset in borders:
            if isinstance(count, int) and count == 0:
                continue
            border = slice_op(g, begin=along(start, none), size=along(count, g.dims), strides=ones)
            border = reverse_op(border, axes=(axis,))
            first = offset if offset is not None else dim - count - edge
            middle = find("add")(
                middle,
                pad_op(
                    border,
                    before=along(first, none),
                    after=along(dim - count - first, none),
                    mode="constant",
                    value=0,
                ),
            )
        g = middle
    return [g]


pad_op = define(
    Op(
        name="pad",
        infer=_infer_pad,
        reference=_pad_reference,
        vjp=_pad_vjp,
        lower=_lower_pad,
    )
)


def pad(tensor, paddings, mode="CONSTANT", name=None, constant_values=0) -> Tensor:
    """`tensor` with paddings[i] = (before, after) elements more along axis i.

    mode CONSTANT fills with `constant_values`, REFLECT mirrors without repeating the edge,
    SYMMETRIC with it.
    """
    x = ranked(tensor, "pad")
    rows = paddings
    if is_tensor_like(rows):
        value = constant_value(convert(rows))
        if value is None:
            reject("pad", "the paddings must be known while the graph is defined")
        rows = value.tolist()
    pairs = [as_sizes(row, "pad") for row in rows]
    if len(pairs) != len(x.dims) or any(len(pair) != 2 for pair in pairs):
        reject("pad", f"paddings have the shape [{len(x.dims)}, 2] for {x.tensor_type}")
    kind = str(mode).lower()
    if kind not in _MODES:
        reject("pad", f"the mode is CONSTANT, REFLECT or SYMMETRIC, not {mode!r}")
    fill = 0
    if kind == "constant":
        number = constant_value(convert(constant_values, x.dtype, what="pad"))
        if number is None or number.size != 1:
            reject("pad", "constant_values is one number known while the graph is defined")
        fill = number.reshape(-1)[0].item()
    return pad_op(
        x,
        before=tuple(pair[0] for pair in pairs),
        after=tuple(pair[1] for pair in pairs),
        mode=kind,
        value=fill,
        name=name or "Pad",
    )


# -- reverse --------------------------------------------------------------------------------------


def _infer_reverse(types, attrs, rules):
    (x,) = types
    if any(not 0 <= axis < len(x.shape) for axis in attrs["axes"]):
        raise TypeRuleError(f"axes {list(attrs['axes'])} are out of range for {x}")
    return (x,)


def _lower_reverse(node: Node, index, context, output):
    where = list(index)
    for axis in node.attrs["axes"]:
        where[axis] = loop.sub(loop.index(node.inputs[0].dims[axis] - 1), index[axis])
    return context.read(0, tuple(where))


reverse_op: Op = define(
    Op(
        name="reverse",
        infer=_infer_reverse,
        reference=lambda arrays, attrs, node: (
            np.ascontiguousarray(np.flip(arrays[0], attrs["axes"])).reshape(arrays[0].shape),
        ),
        vjp=lambda node, gradients: [
            None if gradients[0] is None else reverse_op(gradients[0], axes=node.attrs["axes"])
        ],
        lower=_lower_reverse,
    )
)


def reverse(tensor, axis, name=None) -> Tensor:
    """The order of the elements turned round along the axes given."""
    x = ranked(tensor, "reverse")
    axes = known_axes(axis, len(x.dims), "reverse")
    return reverse_op(x, axes=axes, name=name or "Reverse")


reverse_v2 = reverse
