"""Order: sort, argsort, top_k and in_top_k, from one primitive that finds the places of the best.

`sort_order` gives, along the last dimension, the indices of the k first elements in order. Equal
elements keep their order; NaN counts as larger than everything, as in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..dtypes import int32, int64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import NEST, Op, define, find
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Size, is_nonnegative
from .convert import as_size, convert, known_axis, reject
from .index_check import checked, clamped
from .indexing import gather_op, require_ranks, reshaped, transposed

__all__ = ["argsort", "in_top_k", "sort", "top_k"]


# -- the primitive -------------------------------------------------------------------------------


def _infer_order(types, attrs, sizes):
    """x [..., n]: int32 [..., k], the places of the first k elements in order."""
    (x,) = types
    if not x.dtype.is_numeric:
        raise TypeRuleError(f"{x.dtype} elements have no order")
    if not x.shape:
        raise TypeRuleError("a scalar has no dimension to sort along")
    k, n = attrs["k"], x.shape[-1]
    if isinstance(k, int) and (k < 0 or (isinstance(n, int) and k > n)):
        raise TypeRuleError(f"k={k} must be in [0, {n}], the size of the last dimension of {x}")
    return [TensorType(int32, (*x.shape[:-1], k))]


def _reference_order(arrays, attrs, node):
    (x,) = arrays
    if attrs["k"] > x.shape[-1]:
        order = np.broadcast_to(np.arange(attrs["k"]), (*x.shape[:-1], attrs["k"]))
        return [order.astype(np.int32)]  # the places that are missing fail their check
    if attrs["descending"]:
        # Reversed twice, so that equal elements still keep their order.
        order = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
        order = x.shape[-1] - 1 - order
    else:
        order = np.argsort(x, axis=-1, kind="stable")
    return [np.array(order[..., : attrs["k"]], order="C").astype(np.int32)]


def _before(a: loop.Expr, a_place: loop.Expr, b: loop.Expr, b_place: loop.Expr, descending: bool):
    """Whether element a comes before element b: a total order, so nothing depends on chance."""
    less, greater = loop.apply("lt", a, b), loop.apply("gt", a, b)
    if a.dtype.is_floating:
        a_nan, b_nan = loop.apply("isnan", a), loop.apply("isnan", b)
        only_a = loop.apply("and", a_nan, loop.apply("not", b_nan))
        only_b = loop.apply("and", b_nan, loop.apply("not", a_nan))
        less, greater = loop.apply("or", less, only_b), loop.apply("or", greater, only_a)
    if descending:
        less, greater = greater, less
    tie = loop.apply("and", loop.apply("not", greater), loop.apply("lt", a_place, b_place))
    return loop.apply("or", less, tie)


class _Heap:
    """Loop statements on a heap of places whose root is the last in order.

    The heap lies in the output itself; an element of it is a place in the row of x.
    """

    def __init__(self, node: Node, context, row: loop.Expr):
        self.context = context
        self.source, self.target = context.input(0), context.output(0)
        self.descending = node.attrs.descending
        self.dim = node.inputs[0].dims[-1]
        self.enough = is_nonnegative(self.dim - node.attrs.k)
        self.n = loop.index(self.dim)
        self.k = loop.index(node.attrs.k)
        self.x_start = loop.mul(row, self.n)
        self.start = loop.mul(row, self.k)
        # A heap of k elements is at most bit_length(k) deep.
        known = node.attrs.k
        self.depth = 31 if isinstance(known, Size) else max(known, 1).bit_length()

    def let(self, body: list[loop.Stmt], value: loop.Expr, prefix: str) -> loop.Var:
        variable = loop.Var(self.context.var(prefix).name, value.dtype)
        body.append(loop.Let(variable, value))
        return variable

    def place(self, position: loop.Expr) -> loop.Expr:
        return loop.Load(self.target, loop.add(self.start, position))

    def key(self, place: loop.Expr) -> loop.Expr:
        position = loop.cast(place, int64)
        if not self.enough:  # a run may bring fewer than k elements
            position = clamped(position, self.dim)
        return loop.Load(self.source, loop.add(self.x_start, position))

    def put(self, position: loop.Expr, place: loop.Expr) -> loop.Stmt:
        return loop.Store(self.target, loop.add(self.start, position), loop.cast(place, int32))

    def before(self, a: loop.Expr, b: loop.Expr) -> loop.Expr:
        """Whether the element at place a comes before the one at place b."""
        return _before(self.key(a), a, self.key(b), b, self.descending)

    def sift_down(self, position: loop.Expr, size: loop.Expr) -> list[loop.Stmt]:
        """Moves the element at `position` down until none below it comes after it."""
        here = loop.Local(self.context.var("here").name, int64)
        at = loop.Load(here, loop.ZERO)
        body: list[loop.Stmt] = []
        parent = self.let(body, at, "parent")
        left = self.let(body, loop.add(loop.mul(parent, loop.Const(2)), loop.ONE), "left")
        inner: list[loop.Stmt] = []
        last = loop.sub(size, loop.ONE)
        right = self.let(inner, loop.apply("minimum", loop.add(left, loop.ONE), last), "right")
        left_place = self.let(inner, self.place(left), "place")
        right_place = self.let(inner, self.place(right), "place")
        use_right = self.let(inner, self.before(left_place, right_place), "use_right")
        child = self.let(inner, loop.select(use_right, right, left), "child")
        child_place = self.let(inner, loop.select(use_right, right_place, left_place), "place")
        own_place = self.let(inner, self.place(parent), "place")
        swap = (
            self.put(parent, child_place),
            self.put(child, own_place),
            loop.Store(here, loop.ZERO, child),
        )
        stop = (loop.Store(here, loop.ZERO, size),)
        inner.append(loop.If(self.before(own_place, child_place), swap, stop))
        body.append(loop.If(loop.apply("lt", left, size), tuple(inner)))
        level = self.context.var("level")
        return [
            here,
            loop.Store(here, loop.ZERO, position),
            loop.For(level, loop.Const(self.depth), loop.SERIAL, tuple(body)),
        ]


def _count(context, extent: loop.Expr, body: Callable[[loop.Var], list[loop.Stmt]]) -> loop.For:
    variable = context.var("i")
    return loop.For(variable, extent, loop.SERIAL, tuple(body(variable)))


def _nonnegative(extent: loop.Expr) -> loop.Expr:
    return extent if isinstance(extent, loop.Const) else loop.apply("maximum", extent, loop.ZERO)


def _lower_order(node: Node, context):
    """Heap selection, then heap sort of what was selected: O(n log k) in the output's own memory.

    A heap of the k first elements seen so far has the last of them at its root. Popping roots into
    the end of the memory leaves them in order (Williams, Algorithm 232 Heapsort, CACM 1964).
    """
    if node.attrs.k == 0:
        return []
    outer = node.inputs[0].dims[:-1]
    rows = [context.var("row") for _ in outer]
    heap = _Heap(node, context, loop.linear(rows, outer))
    k, n = heap.k, heap.n
    half = loop.floordiv(k, loop.Const(2))

    def fill(i):
        return [heap.put(i, i)]

    def build(i):
        return heap.sift_down(loop.sub(loop.sub(half, loop.ONE), i), k)

    def take(i):
        body: list[loop.Stmt] = []
        candidate = heap.let(body, loop.cast(loop.add(k, i), int32), "candidate")
        root = heap.let(body, heap.place(loop.ZERO), "root")
        better = (heap.put(loop.ZERO, candidate), *heap.sift_down(loop.ZERO, k))
        body.append(loop.If(heap.before(candidate, root), better))
        return body

    def pop(i):
        body: list[loop.Stmt] = []
        end = heap.let(body, loop.sub(loop.sub(k, loop.ONE), i), "end")
        root = heap.let(body, heap.place(loop.ZERO), "root")
        last = heap.let(body, heap.place(end), "last")
        body += [heap.put(end, root), heap.put(loop.ZERO, last)]
        return [*body, *heap.sift_down(loop.ZERO, end)]

    body: tuple[loop.Stmt, ...] = (
        _count(context, k, fill),
        _count(context, half, build),
        _count(context, _nonnegative(loop.sub(n, k)), take),
        _count(context, _nonnegative(loop.sub(k, loop.ONE)), pop),
    )
    # Rows are independent; a chunk of them is worth some ten microseconds.
    dim = node.inputs[0].dims[-1]
    grain = 8 if isinstance(dim, Size) else max(1, 4096 // max(dim, 1))
    for variable, dim in zip(reversed(rows[1:]), reversed(outer[1:]), strict=True):
        body = (loop.For(variable, loop.index(dim), loop.SERIAL, body),)
    if rows:
        body = (loop.For(rows[0], loop.index(outer[0]), loop.PARALLEL, body, grain),)
    return list(body)


sort_order = define(
    Op(
        name="sort_order",
        kind=NEST,
        infer=_infer_order,
        reference=_reference_order,
        vjp=lambda node, gradients: [None],  # places do not move with small changes
        lower=_lower_order,
        flops=16.0,
    )
)


# -- public functions ---------------------------------------------------------------------------


def _taken(x: Tensor, order: Tensor, name: str | None = None) -> Tensor:
    """The elements of x at `order`, along the last dimension."""
    last = len(x.dims) - 1
    attrs = {"batch_dims": last} if last else {}
    return gather_op(x, order, axis=last, name=name, **attrs)


def _direction(direction: str, what: str) -> bool:
    if direction not in ("ASCENDING", "DESCENDING"):
        reject(what, f"direction is {direction!r}; it is 'ASCENDING' or 'DESCENDING'")
    return direction == "DESCENDING"


def _last(x: Tensor, axis: int) -> list[int]:
    """The permutation (its own inverse) that exchanges `axis` and the last dimension."""
    permutation = list(range(len(x.dims)))
    permutation[axis], permutation[-1] = permutation[-1], permutation[axis]
    return permutation


def sort(values, axis=-1, direction: str = "ASCENDING", name: str | None = None) -> Tensor:
    """`values` sorted along `axis`; equal elements keep their order, NaN counts as largest."""
    x = convert(values, what="sort")
    require_ranks(x, x, "sort")
    descending = _direction(direction, "sort")
    permutation = _last(x, known_axis(axis, len(x.dims), "sort"))
    x = transposed(x, permutation)
    ordered = _taken(x, sort_order(x, k=x.dims[-1], descending=descending), name or "sort")
    return transposed(ordered, permutation)


def argsort(
    values, axis=-1, direction: str = "ASCENDING", stable: bool = False, name: str | None = None
) -> Tensor:
    """int32 places of the elements of `values` in sorted order along `axis`; always stable."""
    x = convert(values, what="argsort")
    require_ranks(x, x, "argsort")
    descending = _direction(direction, "argsort")
    permutation = _last(x, known_axis(axis, len(x.dims), "argsort"))
    x = transposed(x, permutation)
    order = sort_order(x, k=x.dims[-1], descending=descending, name=name or "argsort")
    return transposed(order, permutation)


class TopKV2(NamedTuple):
    """What `top_k` gives, named as in TensorFlow 1."""

    values: Tensor
    indices: Tensor


def top_k(input, k=1, sorted: bool = True, name: str | None = None) -> TopKV2:  # noqa: A002
    """The k largest elements along the last dimension, largest first, and where they were.

    Gives a TopKV2(values, indices); indices are int32. Of equal elements the one at the lower
    index comes first. The result is sorted whatever `sorted` says.
    """
    x = convert(input, what="top_k")
    require_ranks(x, x, "top_k")
    count = as_size(k, "top_k")
    order = sort_order(x, k=count, descending=True, name=name or "top_k")
    if x.rank and not is_nonnegative(x.dims[-1] - count):  # a run may bring fewer elements
        order = checked(order, x.dims[-1], "top_k")
    return TopKV2(_taken(x, order), order)


def in_top_k(predictions, targets, k, name: str | None = None) -> Tensor:
    """bool [batch]: whether the target class is among the k largest predictions of its row.

    predictions: floats [batch, classes]; targets: int32 or int64 [batch]. Classes with equal
    predictions at the boundary all count as in. False where the target's prediction is not finite
    or the target is not a class.
    """
    predictions = convert(predictions, what="in_top_k")
    targets = convert(targets, what="in_top_k")
    if predictions.rank != 2 or targets.rank != 1 or not targets.dtype.is_integer:
        reject(
            "in_top_k",
            "predictions are [batch, classes] and targets integers [batch], not "
            f"{predictions.tensor_type} and {targets.tensor_type}",
        )
    batch, classes = predictions.dims
    zero = convert(0, predictions.dtype)
    positions = find("iota")(dtype=targets.dtype, size=classes)
    hit = find("equal")(reshaped(targets, (batch, 1)), positions)
    own = find("reduce")(find("select")(hit, predictions, zero), kind="sum", axes=(1,))
    known = find("reduce")(hit, kind="or", axes=(1,))
    larger = find("greater")(predictions, reshaped(own, (batch, 1)))
    count = find("reduce")(find("cast")(larger, dtype=int32), kind="sum", axes=(1,))
    limit = convert(k, what="in_top_k")
    if limit.dtype is not int32:
        limit = find("cast")(limit, dtype=int32)
    valid = find("logical_and")(known, find("is_finite")(own))
    return find("logical_and")(find("less")(count, limit), valid, name=name or "in_top_k")
