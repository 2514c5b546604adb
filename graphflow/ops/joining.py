"""Tensors from parts and parts of tensors: concat, stack, split, unstack, roll."""

from __future__ import annotations

import builtins

import numpy as np

from .. import sizes
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define, find
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Dim, Size
from .convert import (
    as_size,
    as_sizes,
    convert,
    convert_all,
    is_tensor_like,
    known_axis,
    reject,
    to_array,
)
from .movement import ranked, reshape_op, text
from .slicing import is_negative, slice_op

__all__ = ["concat", "parallel_stack", "roll", "split", "stack", "unstack"]

# -- concat --------------------------------------------------------------------------------------


def _infer_concat(types, attrs, rules):
    axis = attrs["axis"]
    first = types[0]
    if not 0 <= axis < len(first.shape):
        raise TypeRuleError(f"axis {axis} is out of range for {first}")
    dims = list(first.shape)
    for other in types[1:]:
        if other.dtype is not first.dtype:
            raise TypeRuleError(
                f"the inputs have different dtypes, {first.dtype} and {other.dtype}"
            )
        if len(other.shape) != len(dims):
            raise TypeRuleError(f"the inputs have different ranks, {first} and {other}")
        for position, dim in enumerate(other.shape):
            if position == axis:
                dims[axis] = dims[axis] + dim
            else:
                message = f"{first} and {other} differ in axis {position}; only {axis} may"
                dims[position] = rules.equal(dims[position], dim, message)
    return (TensorType(first.dtype, tuple(dims)),)


def _lower_concat(node: Node, index, context, output):
    """The element of the input whose part the index is in; the others are read where it is safe."""
    axis = node.attrs["axis"]
    result: loop.Expr | None = None
    offset: Dim = 0
    for position, x in enumerate(node.inputs):
        dim = x.dims[axis]
        if isinstance(dim, int) and dim == 0:
            continue
        place = loop.sub(index[axis], loop.index(offset))
        last = loop.index(dim - 1)
        place = loop.apply("maximum", loop.apply("minimum", place, last), loop.ZERO)
        value = context.read(position, (*index[:axis], place, *index[axis + 1 :]))
        here = loop.apply("ge", index[axis], loop.index(offset))
        result = value if result is None else loop.select(here, value, result)
        offset = offset + dim
    return loop.Const(0, node.types[0].dtype) if result is None else result


def _concat_vjp(node: Node, gradients):
    (g,) = gradients
    if g is None:
        return [None] * len(node.inputs)
    axis = node.attrs["axis"]
    parts, offset = [], 0
    for x in node.inputs:
        begin = tuple(offset if i == axis else 0 for i in builtins.range(len(x.dims)))
        parts.append(slice_op(g, begin=begin, size=x.dims, strides=(1,) * len(x.dims)))
        offset = offset + x.dims[axis]
    return parts


# Passes lower it as one loop for each input instead, where it is not part of a larger expression.
def _concat_batch(node: Node, inputs, batched):
    (length,) = {x.dims[0] for x, wide in zip(inputs, batched, strict=True) if wide}
    parts = [
        x if wide else find("broadcast_to")(x, shape=(length, *x.dims))
        for x, wide in zip(inputs, batched, strict=True)
    ]
    return [concat_op(*parts, axis=node.attrs["axis"] + 1)]


concat_op = define(
    Op(
        name="concat",
        infer=_infer_concat,
        reference=lambda arrays, attrs, node: (np.concatenate(arrays, axis=attrs["axis"]),),
        vjp=_concat_vjp,
        batch=_concat_batch,
        lower=_lower_concat,
    )
)


def concat(values, axis, name="concat") -> Tensor:
    """Tensors one after the other along `axis`; all other dimensions are equal."""
    if not isinstance(values, (list, tuple)):
        values = [values]
    if isinstance(axis, (list, tuple)) or (is_tensor_like(axis) and not is_tensor_like(values[0])):
        reject("concat", f"the tensors come first, then the axis; the axis given is {axis!r}")
    if not values:
        reject("concat", "at least one tensor is needed")
    tensors = convert_all(values, "concat")
    for tensor in tensors:
        ranked(tensor, "concat")
        if not tensor.dims:
            reject("concat", f"{tensor.name} is a scalar; graphflow.stack joins scalars")
    position = known_axis(axis, len(tensors[0].dims), "concat")
    if len(tensors) == 1:
        return find("identity")(tensors[0], name=name)
    return concat_op(*tensors, axis=position, name=name)


def stack(values, axis=0, name="stack") -> Tensor:
    """Tensors of one shape along a new axis."""
    if is_tensor_like(values):
        values = unstack(values)
    if not isinstance(values, (list, tuple)):
        return convert(np.stack(list(to_array(values, None, "stack")), axis=axis))
    if not values:
        reject("stack", "at least one tensor is needed")
    tensors = convert_all(values, "stack")
    for tensor in tensors:
        ranked(tensor, "stack")
        differs = any(
            isinstance(a, int) and isinstance(b, int) and a != b
            for a, b in zip(tensor.dims, tensors[0].dims, strict=False)
        )
        if len(tensor.dims) != len(tensors[0].dims) or differs:
            reject(
                "stack",
                f"all tensors have one shape, got {tensors[0].tensor_type} "
                f"and {tensor.tensor_type}",
            )
    rank = len(tensors[0].dims)
    position = known_axis(axis, rank + 1, "stack")
    rows = [reshape_op(t, shape=(*t.dims[:position], 1, *t.dims[position:])) for t in tensors]
    if len(rows) == 1:
        return find("identity")(rows[0], name=name)
    return concat_op(*rows, axis=position, name=name)


parallel_stack = stack


def unstack(value, num=None, axis=0, name="unstack") -> list[Tensor]:
    """The slices along `axis`, without it. Its size is known, or given as `num`."""
    x = ranked(value, "unstack")
    position = known_axis(axis, len(x.dims), "unstack")
    dim = x.dims[position]
    count = dim if num is None else int(num)
    if not isinstance(count, int):
        reject("unstack", f"axis {position} of {x.tensor_type} is not known; give num")
    if isinstance(dim, int) and dim != count:
        reject("unstack", f"num is {count}, but axis {position} of {x.tensor_type} has {dim}")
    result = []
    for i in builtins.range(count):
        part = _along(x, position, i, 1)
        dims = (*x.dims[:position], *x.dims[position + 1 :])
        result.append(reshape_op(part, shape=dims, name=name))
    return result


def _along(x: Tensor, axis: int, begin: Dim, size: Dim, name: str | None = None) -> Tensor:
    first = tuple(begin if i == axis else 0 for i in builtins.range(len(x.dims)))
    wanted = tuple(size if i == axis else dim for i, dim in enumerate(x.dims))
    return slice_op(x, begin=first, size=wanted, strides=(1,) * len(first), name=name)


def split(value, num_or_size_splits, axis=0, num=None, name="split") -> list[Tensor]:
    """Parts along `axis`: that many equal ones, or parts of the sizes in a list, one of which may
    be -1 for the rest."""
    x = ranked(value, "split")
    position = known_axis(axis, len(x.dims), "split")
    dim = x.dims[position]
    scalar = (
        not isinstance(num_or_size_splits, (list, tuple, np.ndarray))
        and not (is_tensor_like(num_or_size_splits) and convert(num_or_size_splits).rank != 0)
    ) or (isinstance(num_or_size_splits, np.ndarray) and num_or_size_splits.ndim == 0)
    if scalar:
        count = as_size(num_or_size_splits, "split")
        if not isinstance(count, int) or count < 1:
            reject("split", f"the number of parts is {count}")
        part = sizes.exact_quotient(dim, count)
        if part is None and isinstance(dim, int):
            reject("split", f"axis {position} of {x.tensor_type} has {dim}: no {count} equal parts")
        # Every run checks that a symbolic size divides.
        part = sizes.floordiv(dim, count) if part is None else part
        if isinstance(dim, Size):
            dims = (*x.dims[:position], count, part, *x.dims[position + 1 :])
            x = reshape_op(reshape_op(x, shape=dims), shape=x.dims)
        lengths: list[Dim] = [part] * count
    else:
        lengths = list(as_sizes(num_or_size_splits, "split"))
        rest = [i for i, length in enumerate(lengths) if is_negative(length)]
        if len(rest) > 1 or any(lengths[i] != -1 for i in rest):
            reject("split", f"the sizes {text(lengths)} may hold one -1")
        known: Dim = sum((length for length in lengths if not is_negative(length)), 0)
        if rest:
            lengths[rest[0]] = dim - known
        elif isinstance(known, int) and isinstance(dim, int) and known != dim:
            reject("split", f"the sizes {text(lengths)} sum to {known}, not to {dim}")
        if any(is_negative(length) for length in lengths):
            reject("split", f"the sizes {text(lengths)} exceed the {dim} of axis {position}")
    parts: list[Tensor] = []
    offset: Dim = 0
    for length in lengths:
        parts.append(_along(x, position, offset, length, name))
        offset = offset + length
    return parts


# -- roll ------------------------------------------------------------------------------------------


def roll(input, shift, axis, name=None) -> Tensor:  # noqa: A002
    """The elements moved by `shift` along `axis`; what leaves at one end enters at the other."""
    x = ranked(input, "roll")
    shifts = as_sizes(shift, "roll")
    axes = [known_axis(a, len(x.dims), "roll") for a in as_sizes(axis, "roll")]
    if len(shifts) != len(axes):
        reject("roll", f"{len(shifts)} shifts for {len(axes)} axes")
    for amount, position in zip(shifts, axes, strict=True):
        dim = x.dims[position]
        if isinstance(dim, int) and dim == 0:
            continue
        by = amount % dim
        x = concat([_along(x, position, dim - by, by), _along(x, position, 0, dim - by)], position)
    return x if name is None else find("identity")(x, name=name)
