"""Rewrite rules of shape movement, reductions and contractions."""

from __future__ import annotations

import math
from collections import Counter, deque

from ...ir.node import Node, Tensor
from ...ir.op import find
from ...sizes import Dim, Size, product
from .rules import (
    BROADCASTING,
    UNARY,
    RuleTable,
    broadcast_type,
    is_float,
    made_by,
    number,
    uniform,
)

rule = RuleTable()

_MERGED = ("sum", "prod", "max", "min", "and", "or")


def _(name: str, *inputs: Tensor, **attrs) -> Tensor:
    return find(name)(*inputs, **attrs)


# -- one movement ---------------------------------------------------------------------------------


@rule("reshape", "broadcast_to")
def same_shape(node: Node):  # reshape(x[2,3], [2,3]) -> x
    return node.inputs[0] if node.inputs[0].dims == node.outputs[0].dims else None


@rule("transpose")
def transpose_nothing(node: Node):  # transpose(x, (0, 1)) -> x
    perm = node.attrs["perm"]
    return node.inputs[0] if perm == tuple(range(len(perm))) else None


@rule("transpose")
def transpose_ones(node: Node):  # transpose(x[1,n], (1, 0)) -> reshape(x, [n,1])
    x, perm = node.inputs[0], node.attrs["perm"]
    kept = [axis for axis in perm if x.dims[axis] != 1]
    if kept != sorted(kept) or perm == tuple(range(len(perm))):
        return None
    return _("reshape", x, shape=node.outputs[0].dims)


@rule("slice")
def slice_all(node: Node):  # slice(x, begin 0, its size) -> x
    attrs, x = node.attrs, node.inputs[0]
    whole = attrs["size"] == x.dims and all(stride == 1 for stride in attrs["strides"])
    return x if whole and all(b == 0 for b in attrs["begin"]) else None


@rule("pad")
def pad_nothing(node: Node):  # pad(x, 0, 0) -> x
    borders = (*node.attrs["before"], *node.attrs["after"])
    return node.inputs[0] if all(count == 0 for count in borders) else None


@rule("concat")
def concat_one(node: Node):  # concat(x) -> x
    return node.inputs[0] if len(node.inputs) == 1 else None


@rule("reverse")
def reverse_nothing(node: Node):  # reverse(x, axes of size 1) -> x
    x = node.inputs[0]
    return x if all(x.dims[axis] == 1 for axis in node.attrs["axes"]) else None


@rule("gather")
def gather_all(node: Node):  # gather(x[n], iota(n)) -> x
    x, indices = node.inputs
    counted = made_by(indices, "iota")
    if counted is None or node.attrs.get("batch_dims", 0):
        return None
    return x if counted.attrs["size"] == x.dims[node.attrs["axis"]] else None


# -- two movements --------------------------------------------------------------------------------


@rule("reshape")
def reshape_twice(node: Node):  # reshape(reshape(x)) -> reshape(x)
    inner = made_by(node.inputs[0], "reshape")
    return None if inner is None else _("reshape", inner.inputs[0], shape=node.outputs[0].dims)


@rule("transpose")
def transpose_twice(node: Node):  # transpose(transpose(x)) -> transpose(x)
    inner = made_by(node.inputs[0], "transpose")
    if inner is None:
        return None
    perm = tuple(inner.attrs["perm"][axis] for axis in node.attrs["perm"])
    return _("transpose", inner.inputs[0], perm=perm)


@rule("transpose")
def transpose_broadcast(node: Node):  # transpose(broadcast_to(x)) -> broadcast_to(transpose(x))
    fill, perm = made_by(node.inputs[0], "broadcast_to"), node.attrs["perm"]
    if fill is None:
        return None
    x = fill.inputs[0]
    x = _("reshape", x, shape=(*[1] * (len(perm) - len(x.dims)), *x.dims))
    return _("broadcast_to", _("transpose", x, perm=perm), shape=node.outputs[0].dims)


@rule("size")
def size_transposed(node: Node):  # size(transpose(x), (0,)) -> size(x, (1,))
    inner, axes = made_by(node.inputs[0], "transpose"), node.attrs["axes"]
    if inner is None:
        return None
    axes = None if axes is None else tuple(sorted(inner.attrs["perm"][axis] for axis in axes))
    return _("size", inner.inputs[0], **{**node.attrs, "axes": axes})


@rule("broadcast_to")
def broadcast_twice(node: Node):  # broadcast_to(broadcast_to(x)) -> broadcast_to(x)
    inner = made_by(node.inputs[0], "broadcast_to")
    return None if inner is None else _("broadcast_to", inner.inputs[0], shape=node.attrs["shape"])


@rule("reverse")
def reverse_twice(node: Node):  # reverse(reverse(x, a), a) -> x
    inner = made_by(node.inputs[0], "reverse")
    if inner is None or set(inner.attrs["axes"]) != set(node.attrs["axes"]):
        return None
    return inner.inputs[0]


@rule("slice")
def slice_twice(node: Node):  # slice(slice(x)) -> slice(x)
    inner = made_by(node.inputs[0], "slice")
    if inner is None:
        return None
    begin = tuple(
        first + step * offset
        for first, step, offset in zip(
            inner.attrs["begin"], inner.attrs["strides"], node.attrs["begin"], strict=True
        )
    )
    strides = tuple(
        a * b for a, b in zip(inner.attrs["strides"], node.attrs["strides"], strict=True)
    )
    return _("slice", inner.inputs[0], begin=begin, size=node.attrs["size"], strides=strides)


@rule("reshape", "transpose", "slice", "reverse")
def move_fill(node: Node):  # reshape(broadcast_to(scalar)) -> broadcast_to(scalar)
    fill = made_by(node.inputs[0], "broadcast_to")
    if fill is None or fill.inputs[0].dims != ():
        return None
    return _("broadcast_to", fill.inputs[0], shape=node.outputs[0].dims)


# -- broadcasting that operations do themselves ---------------------------------------------------


@rule(*sorted(BROADCASTING))
def broadcast_operand(node: Node):  # broadcast_to(x) + y -> x + y
    inputs = list(node.inputs)
    for position, tensor in enumerate(inputs):
        inner = made_by(tensor, "broadcast_to")
        if inner is None:
            continue
        kept = inputs[position]
        inputs[position] = inner.inputs[0]
        if broadcast_type(node, tuple(inputs)) != node.types[0]:
            inputs[position] = kept
    return None if tuple(inputs) == node.inputs else _(node.op.name, *inputs, **node.attrs)


@rule(*sorted(UNARY))
def unary_of_fill(node: Node):  # exp(broadcast_to(x)) -> broadcast_to(exp(x))
    inner = made_by(node.inputs[0], "broadcast_to")
    if inner is None:
        return None
    small = _(node.op.name, inner.inputs[0], **node.attrs)
    return _("broadcast_to", small, shape=node.outputs[0].dims)


@rule("broadcast_to")
def broadcast_reshaped(node: Node):  # broadcast_to(reshape(x[n], [1,n])) -> broadcast_to(x)
    inner = made_by(node.inputs[0], "reshape")
    if inner is None:
        return None
    x, shape = inner.inputs[0], inner.outputs[0].dims
    ones = len(shape) - len(x.dims)
    if ones <= 0 or shape[ones:] != x.dims or any(dim != 1 for dim in shape[:ones]):
        return None
    return _("broadcast_to", x, shape=node.attrs["shape"])


# -- sizes as values ------------------------------------------------------------------------------


@rule("size")
def size_known(node: Node):  # size(x[2,3]) -> 6
    axes, dims = node.attrs["axes"], node.inputs[0].dims
    total = product(dims if axes is None else [dims[axis] for axis in axes])
    return None if isinstance(total, Size) else number(total, node.attrs["dtype"])


@rule("size")
def size_of_feed(node: Node):  # size(exp(feed)) -> size(feed)
    x, axes = node.inputs[0], node.attrs["axes"]
    dims = x.dims if axes is None else tuple(x.dims[axis] for axis in axes)
    feed = _feed_with(x, dims)
    if feed is None or feed is x:
        return None
    free = list(range(len(feed.dims)))
    found = []
    for dim in dims:
        found.append(next(axis for axis in free if feed.dims[axis] == dim))
        free.remove(found[-1])
    return _("size", feed, axes=tuple(sorted(found)), dtype=node.attrs["dtype"])


def _feed_with(x: Tensor, dims: tuple[Dim, ...]) -> Tensor | None:
    """A feed among the nearest ancestors that has these dimensions."""
    waiting, seen = deque([x]), {x}
    while waiting and len(seen) < 64:
        tensor = waiting.popleft()
        if tensor.node.op.name == "feed" and not Counter(dims) - Counter(tensor.dims):
            return tensor
        for other in tensor.node.inputs:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return None


@rule("shape")
def shape_known(node: Node):  # shape(x[2,3]) -> [2, 3]
    dims = node.inputs[0].dims
    return None if any(isinstance(d, Size) for d in dims) else number(dims, node.attrs["dtype"])


# -- reductions -----------------------------------------------------------------------------------


@rule("reduce")
def reduce_nothing(node: Node):  # reduce(x, no axes) -> x
    return node.inputs[0] if node.attrs["axes"] == () else None


@rule("reduce")
def reduce_ones(node: Node):  # reduce(x[n,1], axis 1) -> reshape(x, [n])
    x = node.inputs[0]
    if not node.attrs["axes"] or any(x.dims[axis] != 1 for axis in node.attrs["axes"]):
        return None
    return _("reshape", x, shape=node.outputs[0].dims)


@rule("reduce")
def reduce_twice(node: Node):  # sum(sum(x, a), b) -> sum(x, a and b)
    inner = made_by(node.inputs[0], "reduce")
    kind = node.attrs["kind"]
    if inner is None or inner.attrs["kind"] != kind or kind not in _MERGED:
        return None
    done = inner.attrs["axes"]
    left = [axis for axis in range(len(inner.inputs[0].dims)) if axis not in done]
    axes = tuple(sorted((*done, *(left[axis] for axis in node.attrs["axes"]))))
    return _("reduce", inner.inputs[0], kind=kind, axes=axes)


@rule("reduce")
def reduce_reshaped(node: Node):  # sum(reshape(x)) -> sum(x), over everything
    inner = made_by(node.inputs[0], "reshape")
    if inner is None or node.outputs[0].dims != ():
        return None
    x = inner.inputs[0]
    return _("reduce", x, kind=node.attrs["kind"], axes=tuple(range(len(x.dims))))


@rule("reduce")
def sum_of_fill(node: Node):  # sum(broadcast_to(x), axes that x is broadcast along) -> x * n
    inner = made_by(node.inputs[0], "broadcast_to")
    if inner is None or node.attrs["kind"] != "sum":
        return None
    x, shape, axes = inner.inputs[0], inner.outputs[0].dims, node.attrs["axes"]
    missing = len(shape) - len(x.dims)
    if any(axis >= missing and x.dims[axis - missing] != 1 for axis in axes):
        return None
    total, value = product(shape[axis] for axis in axes), uniform(x)
    if isinstance(total, int) and total > 0:
        count = number(total, x.dtype)
    elif value is not None and math.isfinite(value):
        count = _("size", node.inputs[0], axes=axes, dtype=x.dtype)
    else:
        return None  # the sum of nothing is 0, and infinity times 0 is not
    kept = tuple(dim for axis, dim in enumerate(x.dims, missing) if axis not in axes)
    small = x if kept == x.dims else _("reshape", x, shape=kept)
    small = _("mul", small, count)
    if small.dims == node.outputs[0].dims:
        return small
    return _("broadcast_to", small, shape=node.outputs[0].dims)


@rule("reduce")
def sum_of_scaled(node: Node):  # sum(x * c) -> sum(x) * c
    inner = made_by(node.inputs[0], "mul")
    if inner is None or node.attrs["kind"] != "sum" or not is_float(node):
        return None
    for x, scale in (inner.inputs, inner.inputs[::-1]):
        value = uniform(scale)
        if value is not None and x.dims == inner.outputs[0].dims:
            total = _("reduce", x, kind="sum", axes=node.attrs["axes"])
            return _("mul", total, number(value, x.dtype))
    return None


@rule("reduce")
def sum_of_neg(node: Node):  # sum(-x) -> -sum(x)
    inner = made_by(node.inputs[0], "neg")
    if inner is None or node.attrs["kind"] != "sum":
        return None
    return _("neg", _("reduce", inner.inputs[0], kind="sum", axes=node.attrs["axes"]))


# -- contractions ---------------------------------------------------------------------------------


@rule("contract")
def contract_transposed(node: Node):  # contract(transpose(a), b) -> contract(a, b)
    inputs = list(node.inputs)
    batch, contracting = list(node.attrs["batch"]), list(node.attrs["contracting"])
    for side in (0, 1):
        inner = made_by(inputs[side], "transpose")
        if inner is None:
            continue
        perm = inner.attrs["perm"]
        taken = (*batch[side], *contracting[side])
        free = [perm[axis] for axis in range(len(perm)) if axis not in taken]
        if free != sorted(free):
            continue  # the order of the free dimensions is that of the operand
        inputs[side] = inner.inputs[0]
        batch[side] = tuple(perm[axis] for axis in batch[side])
        contracting[side] = tuple(perm[axis] for axis in contracting[side])
    if tuple(inputs) == node.inputs:
        return None
    return _("contract", *inputs, batch=tuple(batch), contracting=tuple(contracting))


@rule("transpose")
def transpose_contract(node: Node):  # transpose(contract(a, b)) -> contract(b, a)
    inner = made_by(node.inputs[0], "contract")
    if inner is None:
        return None
    a, b = inner.inputs
    (batch_a, batch_b), (sum_a, sum_b) = inner.attrs["batch"], inner.attrs["contracting"]
    count = len(batch_a)
    left, right = len(a.dims) - count - len(sum_a), len(b.dims) - count - len(sum_b)
    swapped = (
        *range(count),
        *range(count + left, count + left + right),
        *range(count, count + left),
    )
    if node.attrs["perm"] != swapped or not left or not right:
        return None
    return _("contract", b, a, batch=(batch_b, batch_a), contracting=(sum_b, sum_a))
