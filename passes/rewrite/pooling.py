"""Rewrite rules of pooling's gradients: work on what went through windows done before it is spread.

`window_put` hands the gradient of each window to the element that was its maximum. There the input
is what the maximum is, so a mask made of the input (that of a relu before the pooling, say) can be
made of the maxima: a fraction of the elements, and the input itself need not be kept.
"""

from __future__ import annotations

from ...ir.node import Node, Tensor
from ...ir.op import find
from .rules import RuleTable, made_by, uniform

rule = RuleTable()

_COMPARISONS = ("greater_equal", "greater", "less_equal", "less", "equal", "not_equal")
_GEOMETRY = ("kernel", "strides", "padding", "dilation")


def _maximum_behind(put: Node) -> Node | None:
    """The `window_max` whose gradient `put` is; None where it is of other windows."""
    gradient, where = put.inputs
    node = where.node
    if node.op.name != "window_max" or where is not node.outputs[1]:
        return None
    if node.inputs[0].dims != put.outputs[0].dims:
        return None
    return node if all(node.attrs[name] == put.attrs[name] for name in _GEOMETRY) else None


def _of_maxima(condition: Tensor, node: Node) -> Tensor | None:
    """A comparison of the input of `node` with a number, made with its maxima instead."""
    if condition.node.op.name not in _COMPARISONS:
        return None
    x, maxima = node.inputs[0], node.outputs[0]
    a, b = condition.node.inputs
    for operand, other in ((a, b), (b, a)):
        if operand is x and uniform(other) is not None and other.dims == ():
            inputs = (maxima, other) if operand is a else (other, maxima)
            return condition.node.op(*inputs, **condition.node.attrs)
    return None


@rule("select")
def mask_of_maxima(node: Node):  # where(x > c, put(g), 0) -> put(where(max(x) > c, g, 0))
    condition, *branches = node.inputs
    for number, branch in enumerate(branches):
        put, other = made_by(branch, "window_put"), branches[1 - number]
        if put is None or uniform(other) != 0 or other.dims != ():
            continue
        source = _maximum_behind(put)
        mask = None if source is None else _of_maxima(condition, source)
        if mask is None:
            return None
        gradient, where = put.inputs
        chosen = (gradient, other) if number == 0 else (other, gradient)
        return put.op(node.op(mask, *chosen, **node.attrs), where, **put.attrs)
    return None


@rule("reduce")
def sum_of_put(node: Node):  # sum(put(g), spatial) -> sum(g, spatial): every window puts it once
    put = made_by(node.inputs[0], "window_put")
    if put is None or node.attrs["kind"] != "sum" or _maximum_behind(put) is None:
        return None
    if any(amount != 0 for pair in put.attrs["padding"] for amount in pair):
        return None  # a window might meet nothing
    rank = len(put.outputs[0].dims)
    if not set(range(1, rank - 1)) <= set(node.attrs["axes"]):
        return None
    return find("reduce")(put.inputs[0], **node.attrs)
