"""Boxes of a tensor that start where the run says: reading one, and replacing one.

As in XLA, a start is clamped so that the box fits; public functions that want an error instead
pass their starts through `check_index` first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dtypes import int64
from ..errors import TypeRuleError
from ..ir.node import Node
from ..ir.op import NEST, Op, define
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Dim, is_nonnegative
from .index_check import clamped, require_index
from .indexing import copy_input, nest, zeros

__all__: list[str] = []


def _check_starts(operand: TensorType, starts: Sequence[TensorType]) -> None:
    if len(starts) != operand.rank:
        raise TypeRuleError(f"{operand} needs {operand.rank} starts, there are {len(starts)}")
    for start in starts:
        require_index(start, "a start is")
        if start.rank != 0:
            raise TypeRuleError(f"each start must be a scalar, one is {start}")


def _infer_dynamic_slice(types, attrs, sizes):
    """operand, a scalar start for each dimension: a box of shape `size` from there. As a start
    is clamped so that the box fits, the box may not be larger than the operand."""
    operand, *starts = types
    _check_starts(operand, starts)
    size = attrs["size"]
    if len(size) != operand.rank:
        raise TypeRuleError(f"size {list(size)} does not have the rank of {operand}")
    _check_box(operand, size)
    return [TensorType(operand.dtype, tuple(size))]


def _check_box(operand: TensorType, size: Sequence[Dim]) -> None:
    for dim, part in zip(operand.shape or (), size, strict=True):
        difference = dim - part
        if isinstance(difference, int) and difference < 0:
            raise TypeRuleError(f"a box of shape {list(size)} does not fit into {operand}")


def _box(starts, shape, size):
    """The NumPy slices of the box, with starts clamped so that it fits."""
    begins = [
        max(min(int(start), dim - part), 0)
        for start, dim, part in zip(starts, shape, size, strict=True)
    ]
    return tuple(slice(b, b + part) for b, part in zip(begins, size, strict=True))


def _reference_dynamic_slice(arrays, attrs, node):
    operand, *starts = arrays
    return [np.array(operand[_box(starts, operand.shape, attrs["size"])], order="C")]


def _begins(node: Node, context, first: int, size: Sequence[Dim]):
    """Loop expressions of the clamped starts, which are the inputs from `first` on."""
    result = []
    for n, (dim, part) in enumerate(zip(node.inputs[0].dims, size, strict=True)):
        room = dim - part
        if room == 0:
            result.append(loop.ZERO)
            continue
        start = loop.cast(context.read(first + n, ()), int64)
        last = loop.index(room)
        if not is_nonnegative(room):
            last = loop.apply("maximum", last, loop.ZERO)
        start = loop.apply("maximum", loop.apply("minimum", start, last), loop.ZERO)
        result.append(context.let(start))
    return result


def _lower_dynamic_slice(node: Node, index, context, output):
    begins = _begins(node, context, 1, node.attrs.size)
    position = [loop.add(b, i) for b, i in zip(begins, index, strict=True)]
    for n, (dim, part) in enumerate(zip(node.inputs[0].dims, node.attrs.size, strict=True)):
        if not is_nonnegative(dim - part):  # a run may bring a box that does not fit
            position[n] = clamped(position[n], dim)
    return context.read(0, tuple(position))


def _vjp_dynamic_slice(node: Node, gradients):
    operand, *starts = node.inputs
    dense = zeros(operand.dtype, operand.dims)
    dense = dynamic_update_slice(dense, gradients[0], *starts)
    return [dense, *[None] * len(starts)]


dynamic_slice = define(
    Op(
        name="dynamic_slice",
        infer=_infer_dynamic_slice,
        reference=_reference_dynamic_slice,
        vjp=_vjp_dynamic_slice,
        lower=_lower_dynamic_slice,
    )
)


def _infer_dynamic_update_slice(types, attrs, sizes):
    """operand, update, a scalar start for each dimension: the operand with a box replaced."""
    operand, update, *starts = types
    if operand.dtype is not update.dtype:
        raise TypeRuleError(f"the update is {update.dtype}, the operand {operand.dtype}")
    if operand.rank != update.rank:
        raise TypeRuleError(f"the update {update} does not have the rank of {operand}")
    _check_starts(operand, starts)
    _check_box(operand, update.shape)
    return [operand]


def _reference_dynamic_update_slice(arrays, attrs, node):
    operand, update, *starts = arrays
    result = operand.copy()
    result[_box(starts, operand.shape, update.shape)] = update
    return [result]


def _lower_dynamic_update_slice(node: Node, context):
    operand, update, *_ = node.inputs
    result: list[loop.Stmt] = [copy_input(node, context)]
    begins = []
    for begin in _begins(node, context, 2, update.dims):
        if isinstance(begin, loop.Const):
            begins.append(begin)
            continue
        named = context.var("start")
        result.append(loop.Let(named, begin))
        begins.append(named)
    variables = [context.var("i") for _ in update.dims]
    position = [loop.add(b, i) for b, i in zip(begins, variables, strict=True)]
    value = context.read(1, tuple(variables))
    store = loop.Store(context.output(0), loop.linear(position, operand.dims), value)
    write = nest(variables, update.dims, [store], loop.VECTOR)
    for dim, part in zip(operand.dims, update.dims, strict=True):
        if not is_nonnegative(dim - part):  # a run may bring a box that does not fit
            fits = loop.apply("le", loop.index(part), loop.index(dim))
            write = (loop.If(fits, write),)
    return [*result, *write]


def _vjp_dynamic_update_slice(node: Node, gradients):
    operand, update, *starts = node.inputs
    cleared = dynamic_update_slice(gradients[0], zeros(update.dtype, update.dims), *starts)
    taken = dynamic_slice(gradients[0], *starts, size=update.dims)
    return [cleared, taken, *[None] * len(starts)]


dynamic_update_slice = define(
    Op(
        name="dynamic_update_slice",
        kind=NEST,
        infer=_infer_dynamic_update_slice,
        reference=_reference_dynamic_update_slice,
        vjp=_vjp_dynamic_update_slice,
        lower=_lower_dynamic_update_slice,
        in_place={0: 0},
    )
)
