"""The run-time check of indices.

What an index may be is checked by a primitive of its own, `check_index`, which passes its input
on. So the operations that use the index cannot fail: they stay safe (clamped), can be fused, and
can update variables in place; and the check of a gather also serves the scatter of its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dtypes import int32, int64
from ..errors import OutOfRangeError, TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Dim, Size
from .convert import constant_value, reject

__all__: list[str] = []

OUTSIDE = "{0} is outside [0, {1})"


def require_index(type_: TensorType, what: str = "the indices are") -> None:
    if type_.dtype not in (int32, int64):
        raise TypeRuleError(f"{what} {type_.dtype}; they must be int32 or int64")


def require_index_tensor(indices: Tensor, what: str) -> None:
    if indices.dtype not in (int32, int64):
        reject(what, f"the indices {indices.name} are {indices.dtype}; they must be int32 or int64")


def in_range(position: loop.Expr, size: Dim) -> loop.Expr:
    """0 <= position < size."""
    low = loop.apply("ge", position, loop.ZERO)
    return loop.apply("and", low, loop.apply("lt", position, loop.index(size)))


def clamped(position: loop.Expr, size: Dim) -> loop.Expr:
    """The nearest position inside [0, size)."""
    last = loop.sub(loop.index(size), loop.ONE)
    return loop.apply("maximum", loop.apply("minimum", position, last), loop.ZERO)


def _infer_check(types, attrs, sizes):
    """Indices of any shape; `limits` has one size, or with `nd` one for each component."""
    (indices,) = types
    require_index(indices)
    if attrs["nd"] and (not indices.shape or indices.shape[-1] != len(attrs["limits"])):
        raise TypeRuleError(f"{len(attrs['limits'])} limits do not fit indices {indices}")
    return [indices]


def _reference_check(arrays, attrs, node):
    (indices,) = arrays
    limits = attrs["limits"] if attrs["nd"] else attrs["limits"][0]
    limits = np.broadcast_to(np.asarray(limits, np.int64), indices.shape)
    wrong = (indices < 0) | (indices >= limits)
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0])
        message = OUTSIDE.format(int(indices[first]), int(limits[first]))
        raise OutOfRangeError(f"{attrs['what']}: {attrs.get('noun', 'index')} {message}")
    return [indices]


def _lower_check(node: Node, index, context, output):
    limits = [loop.index(limit) for limit in node.attrs.limits]
    limit = limits[-1]
    for component in range(len(limits) - 2, -1, -1):
        here = loop.apply("eq", index[-1], loop.Const(component))
        limit = loop.select(here, limits[component], limit)
    raw = context.let(context.read(0, index))
    position = loop.cast(raw, int64)
    low = loop.apply("ge", position, loop.ZERO)
    inside = loop.apply("and", low, loop.apply("lt", position, limit))
    message = f"{node.attrs.what}: {node.attrs.get('noun', 'index')} {OUTSIDE}"
    context.check(inside, message, position, limit, error="OutOfRangeError")
    return raw


check_index = define(
    Op(
        name="check_index",
        infer=_infer_check,
        reference=_reference_check,
        vjp=lambda node, gradients: [None],
        lower=_lower_check,
        fallible=True,
    )
)


def is_checked(indices: Tensor, limits: Sequence[Dim], nd: bool = False) -> bool:
    """Whether `indices` were checked against these limits before."""
    node = indices.node
    while node.op.name == "reshape" and not nd:
        node = node.inputs[0].node
    return node.op is check_index and (node.attrs.limits, node.attrs.nd) == (tuple(limits), nd)


def checked(
    indices: Tensor, limits: Dim | Sequence[Dim], what: str, nd: bool = False, noun: str = "index"
) -> Tensor:
    """`indices`, which fail the run (or, if constant, the definition) where one is not inside.

    noun: what the message calls one of them. Indices that were checked against the same limits
    before are returned as they are.
    """
    sizes = (limits,) if isinstance(limits, (int, Size)) else tuple(limits)
    if is_checked(indices, sizes, nd):
        return indices
    known = constant_value(indices)
    if known is not None and not any(isinstance(limit, Size) for limit in sizes):
        known = np.asarray(known)
        bounds = np.asarray(sizes if nd else sizes[0], np.int64)
        bounds = np.broadcast_to(bounds, known.shape)
        wrong = (known < 0) | (known >= bounds)
        if wrong.any():
            first = tuple(np.argwhere(wrong)[0])
            message = OUTSIDE.format(int(known[first]), int(bounds[first]))
            reject(what, f"{noun} {message}", OutOfRangeError)
        return indices
    more = {} if noun == "index" else {"noun": noun}
    return check_index(indices, limits=sizes, what=what, nd=nd, **more)
