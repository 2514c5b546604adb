"""Rewrite rules that carry "channels first" through a program, until it meets "channels last".

Convolutions and pooling work on channels-last tensors; in a program written with channels first
each of them stands between two transposes. Elementwise work, sums and paddings between two of them
can as well be done on channels-last tensors. So the transpose behind one operation moves on until
it meets the one before the next, and both vanish: what is left are transposes at the ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.node import Node, Tensor
from ...ir.op import find
from ...sizes import Dim
from .rules import BROADCASTING, UNARY, RuleTable, made_by

rule = RuleTable()


def _first(rank: int) -> tuple[int, ...]:
    """The transpose that puts the last of `rank` dimensions behind the batch."""
    return (0, rank - 1, *range(1, rank - 1))


def _source(tensor: Tensor) -> Tensor | None:
    """x where the tensor is x with its channels moved to the front."""
    node = made_by(tensor, "transpose")
    if node is None or len(tensor.dims) < 3 or node.attrs["perm"] != _first(len(tensor.dims)):
        return None
    return node.inputs[0]


def _turned(tensor: Tensor, rank: int) -> Tensor | None:
    """An operand beside channels-first tensors of `rank` as it has to be beside channels-last ones;
    None where its elements would have to move."""
    found = _source(tensor)
    if found is not None:
        return found if len(found.dims) == rank else None
    fill = made_by(tensor, "broadcast_to")
    if fill is not None:  # the others have the full shape
        tensor = fill.inputs[0]
    dims: Sequence[Dim] = (*[1] * (rank - len(tensor.dims)), *tensor.dims)
    inverse = np.argsort(_first(rank)).tolist()
    turned = [axis for axis in inverse if dims[axis] != 1]
    if turned != sorted(turned):
        return None
    shape = [dims[axis] for axis in inverse]
    while shape and shape[0] == 1:
        shape = shape[1:]
    return tensor if tuple(shape) == tensor.dims else find("reshape")(tensor, shape=tuple(shape))


@rule(*sorted(UNARY | BROADCASTING))
def elementwise_channels(node: Node):  # f(transpose(x), s) -> transpose(f(x, s))
    rank = len(node.outputs[0].dims)
    if not any(_source(tensor) is not None for tensor in node.inputs):
        return None
    inputs = [_turned(tensor, rank) for tensor in node.inputs]
    if any(tensor is None for tensor in inputs):
        return None
    return find("transpose")(node.op(*inputs, **node.attrs), perm=_first(rank))


@rule("reduce")
def reduce_channels(node: Node):  # sum(transpose(x), (0, 2)) -> sum(x, (0, 1))
    x = _source(node.inputs[0])
    if x is None:
        return None
    perm = _first(len(x.dims))
    kept = [perm[axis] for axis in range(len(perm)) if axis not in node.attrs["axes"]]
    axes = tuple(sorted(perm[axis] for axis in node.attrs["axes"]))
    result = find("reduce")(x, **{**node.attrs, "axes": axes})
    order = tuple(sorted(kept).index(axis) for axis in kept)
    return result if list(order) == sorted(order) else find("transpose")(result, perm=order)


@rule("concat")
def concat_channels(node: Node):  # concat(transpose(x), transpose(y)) -> transpose(concat(x, y))
    inputs = [_source(tensor) for tensor in node.inputs]
    if any(tensor is None for tensor in inputs):
        return None
    perm = _first(len(node.outputs[0].dims))
    axis = perm[node.attrs["axis"] % len(perm)]
    return find("transpose")(find("concat")(*inputs, **{**node.attrs, "axis": axis}), perm=perm)


@rule("pad", "slice")
def border_channels(node: Node):  # pad(transpose(x)) -> transpose(pad(x))
    x = _source(node.inputs[0])
    if x is None:
        return None
    perm = _first(len(x.dims))
    inverse = np.argsort(perm).tolist()
    attrs: dict[str, Any] = {
        name: tuple(value[axis] for axis in inverse) if isinstance(value, tuple) else value
        for name, value in node.attrs.items()
    }
    return find("transpose")(node.op(x, **attrs), perm=perm)
