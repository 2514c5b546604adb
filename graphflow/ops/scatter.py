"""Writing by index: the scatter primitive and the functions and segment reductions made of it.

`scatter` updates rows of its first input in the order of the indices, so that floating-point sums
are the same in every run and for any number of threads. A row outside the input is left out; the
public functions make it an error with `check_index` first.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import int64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import NEST, Op, define, find
from ..ir.types import TensorType, same_shape
from ..loop import nodes as loop
from ..sizes import Dim, Size, product
from .convert import as_size, as_sizes, constant_value, convert, reject
from .index_check import checked, in_range, is_checked, require_index, require_index_tensor
from .indexing import (
    copy_input,
    gather_nd_op,
    gather_op,
    index_depth,
    known_depth,
    nest,
    require_ranks,
    reshaped,
    zeros,
)

__all__ = [
    "invert_permutation",
    "scatter_nd",
    "segment_max",
    "segment_mean",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "tensor_scatter_add",
    "tensor_scatter_nd_add",
    "tensor_scatter_nd_max",
    "tensor_scatter_nd_min",
    "tensor_scatter_nd_sub",
    "tensor_scatter_nd_update",
    "tensor_scatter_sub",
    "tensor_scatter_update",
    "unsorted_segment_max",
    "unsorted_segment_mean",
    "unsorted_segment_min",
    "unsorted_segment_prod",
    "unsorted_segment_sqrt_n",
    "unsorted_segment_sum",
]

MODES = ("set", "add", "sub", "mul", "max", "min")
_COMBINE = {"add": "add", "sub": "sub", "mul": "mul", "max": "maximum", "min": "minimum"}
_NUMPY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


# -- the primitive -------------------------------------------------------------------------------


def _depth(node: Node) -> int:
    """How many leading dimensions of the operand an index names."""
    return node.inputs[1].dims[-1] if node.attrs.get("nd", False) else 1


def _infer_scatter(types, attrs, sizes):
    """operand [n, ...], indices of any shape, updates of shape indices.shape + operand.shape[1:].

    With `nd`: indices [..., k], updates of shape indices.shape[:-1] + operand.shape[k:].
    """
    operand, indices, updates = types
    require_index(indices)
    if attrs["mode"] not in MODES:
        raise TypeRuleError(f"mode {attrs['mode']!r} is none of {', '.join(MODES)}")
    if operand.dtype is not updates.dtype:
        raise TypeRuleError(f"the updates are {updates.dtype}, what they update {operand.dtype}")
    if attrs["mode"] != "set" and not operand.dtype.is_numeric:
        raise TypeRuleError(f"{operand.dtype} elements can be set, not combined")
    if attrs.get("nd", False):
        depth = index_depth(indices, operand)
        outer = indices.shape[:-1]
    else:
        depth, outer = 1, indices.shape
        if not operand.shape:
            raise TypeRuleError("a scalar has no rows")
    wanted = TensorType(operand.dtype, (*outer, *operand.shape[depth:]))
    message = f"the updates are {updates}; for indices {indices} of {operand} they must be {wanted}"
    same_shape(wanted.shape or (), updates.shape, sizes, message)
    return [operand]


def _reference_scatter(arrays, attrs, node):
    operand, indices, updates = arrays
    depth = indices.shape[-1] if attrs.get("nd", False) else 1
    result = np.array(operand)
    outer = indices.shape[:-1] if attrs.get("nd", False) else indices.shape
    rows = indices.reshape(int(np.prod(outer, dtype=np.int64)), depth).astype(np.int64)
    limits = np.asarray(operand.shape[:depth], np.int64)
    inside = ((rows >= 0) & (rows < limits)).all(axis=1)
    values = updates.reshape(len(rows), *operand.shape[depth:])
    combine = _NUMPY.get(attrs["mode"])
    with np.errstate(all="ignore"):
        for row, value in zip(rows[inside], values[inside], strict=True):
            place = tuple(row)
            result[place] = value if combine is None else combine(result[place], value)
    return [result]


def _lower_scatter(node: Node, context):
    """Rows in index order, one after the other; the elements of a row side by side."""
    operand, indices, _ = node.inputs
    depth, nd = _depth(node), node.attrs.get("nd", False)
    outer = indices.dims[:-1] if nd else indices.dims
    tail = operand.dims[depth:]
    target, source = context.output(0), context.input(1)
    rows = [context.var("row") for _ in outer]
    columns = [context.var("column") for _ in tail]
    place = loop.linear(rows, outer)
    body: list[loop.Stmt] = []
    inside: loop.Expr | None = None
    components = []
    for component in range(depth):
        at = loop.add(loop.mul(place, loop.index(depth)), loop.Const(component)) if nd else place
        named = context.var("index")
        body.append(loop.Let(named, loop.cast(loop.Load(source, at), int64)))
        components.append(named)
        here = in_range(named, operand.dims[component])
        inside = here if inside is None else loop.apply("and", inside, here)
    start = context.var("start")
    first = loop.linear(components, operand.dims[:depth])
    body.append(loop.Let(start, loop.mul(first, loop.index(product(tail)))))
    position = loop.add(start, loop.linear(columns, tail))
    value = context.read(2, (*rows, *columns))
    if node.attrs.mode != "set":
        value = loop.apply(_COMBINE[node.attrs.mode], loop.Load(target, position), value)
    update = nest(columns, tail, [loop.Store(target, position, value)], loop.VECTOR)
    body += update if inside is None else [loop.If(inside, update)]
    return [copy_input(node, context), *nest(rows, outer, body, loop.SERIAL)]


def _rows_of(x: Tensor, node: Node) -> Tensor:
    """The rows of `x`, shaped as the operand, that the updates of `node` met; 0 for updates that
    were left out."""
    operand, indices, _ = node.inputs
    nd, depth = node.attrs.get("nd", False), _depth(node)
    rows = gather_nd_op(x, indices) if nd else gather_op(x, indices, axis=0)
    limits = operand.dims[:depth]
    if depth == 0 or is_checked(indices, limits, nd):
        return rows
    sizes = find("shape")(operand, dtype=indices.dtype)
    sizes = find("slice")(sizes, begin=(0,), size=(depth,), strides=(1,))
    inside = find("logical_and")(
        find("greater_equal")(indices, convert(0, indices.dtype)),
        find("less")(indices, sizes if nd else reshaped(sizes, ())),
    )
    outer = indices.dims
    if nd:
        inside, outer = find("reduce")(inside, kind="and", axes=(len(outer) - 1,)), outer[:-1]
    inside = reshaped(inside, (*outer, *[1] * (len(rows.dims) - len(outer))))
    return find("select")(inside, rows, convert(0, rows.dtype))


def _scatter_like(node: Node, operand: Tensor, updates: Tensor, mode: str) -> Tensor:
    attrs: dict = {"nd": True} if node.attrs.get("nd", False) else {}
    return scatter(operand, node.inputs[1], updates, mode=mode, **attrs)


def _vjp_scatter(node: Node, gradients):
    operand, _, updates = node.inputs
    g = gradients[0]
    mode = node.attrs.mode
    if mode in ("add", "sub"):
        rows = _rows_of(g, node)
        return [g, None, rows if mode == "add" else find("neg")(rows)]
    if mode == "set":
        return [*_vjp_set(node, g)]
    if mode == "mul":
        return [*_vjp_mul(node, g)]
    # max, min: shared equally among all that attain the result.
    result = node.outputs[0]
    chosen = find("cast")(find("equal")(updates, _rows_of(result, node)), dtype=g.dtype)
    kept = find("cast")(find("equal")(operand, result), dtype=g.dtype)
    share = find("div")(g, _scatter_like(node, kept, chosen, "add"))
    return [find("mul")(share, kept), None, find("mul")(_rows_of(share, node), chosen)]


def _vjp_set(node: Node, g: Tensor):
    """Of several updates of a row only the last one is in the result."""
    operand, indices, updates = node.inputs
    depth, nd = _depth(node), node.attrs.get("nd", False)
    outer = indices.dims[:-1] if nd else indices.dims
    cleared = _scatter_like(node, g, zeros(updates.dtype, updates.dims), "set")
    if product(outer) == 1:  # the only one
        return cleared, None, _rows_of(g, node)
    number = find("iota")(dtype=int64, size=product(outer))
    number = reshaped(number, outer)
    attrs: dict = {"nd": True} if nd else {}
    last = scatter(zeros(int64, operand.dims[:depth]), indices, number, mode="set", **attrs)
    survives = find("equal")(_rows_of(last, node), number)
    survives = reshaped(survives, (*outer, *[1] * (len(operand.dims) - depth)))
    rows = find("select")(survives, _rows_of(g, node), convert(0, g.dtype))
    return cleared, None, rows


def _vjp_mul(node: Node, g: Tensor):
    """The product of all the other factors, exact where factors are zero."""
    operand, _, updates = node.inputs
    one, zero = convert(1, g.dtype), convert(0, g.dtype)
    ones = find("broadcast_to")(one, shape=operand.dims)
    factors = _scatter_like(node, ones, updates, "mul")
    is_zero = find("equal")(updates, zero)
    count = _scatter_like(
        node,
        find("cast")(find("equal")(operand, zero), dtype=g.dtype),
        find("cast")(is_zero, dtype=g.dtype),
        "add",
    )
    nonzero_operand = find("select")(find("equal")(operand, zero), one, operand)
    nonzero_updates = find("select")(is_zero, one, updates)
    product_ = _scatter_like(node, nonzero_operand, nonzero_updates, "mul")
    others = find("div")(_rows_of(product_, node), nonzero_updates)
    zeros_elsewhere = find("sub")(_rows_of(count, node), find("cast")(is_zero, dtype=g.dtype))
    others = find("select")(find("equal")(zeros_elsewhere, zero), others, zero)
    return find("mul")(g, factors), None, find("mul")(_rows_of(g, node), others)


scatter = define(
    Op(
        name="scatter",
        kind=NEST,
        infer=_infer_scatter,
        reference=_reference_scatter,
        vjp=_vjp_scatter,
        lower=_lower_scatter,
        in_place={0: 0},
        flops=1.0,
    )
)


# -- public functions ---------------------------------------------------------------------------


def scatter_nd(indices, updates, shape, name: str | None = None) -> Tensor:
    """A tensor of `shape`, zero but for `updates` added at `indices`.

    indices: int32 or int64 [..., k]; each row names an element or slice, by its first k
        dimensions. updates: of shape indices.shape[:-1] + shape[k:]; repeated rows add up.
    An index outside is an OutOfRangeError of the run.
    """
    updates = convert(updates, what="scatter_nd")
    operand = zeros(updates.dtype, as_sizes(shape, "scatter_nd"))
    return _scatter_nd("add", "scatter_nd", operand, indices, updates, name)


def _scatter_nd(mode: str, what: str, tensor, indices, updates, name: str | None) -> Tensor:
    tensor, indices = convert(tensor, what=what), convert(indices, what=what)
    require_ranks(tensor, indices, what)
    updates = convert(updates, tensor.dtype, what=what)
    require_index_tensor(indices, what)
    depth = known_depth(indices, tensor, what)
    if depth:
        indices = checked(indices, tensor.dims[:depth], what, nd=True)
    return scatter(tensor, indices, updates, mode=mode, nd=True, name=name or what)


def tensor_scatter_nd_update(tensor, indices, updates, name: str | None = None) -> Tensor:
    """`tensor` with the elements or slices at `indices` [..., k] replaced by `updates`.

    Of several updates of one place the last stays. `tensor` itself does not change.
    """
    return _scatter_nd("set", "tensor_scatter_nd_update", tensor, indices, updates, name)


def tensor_scatter_nd_add(tensor, indices, updates, name: str | None = None) -> Tensor:
    """`tensor` with `updates` added at `indices`; repeated places add up."""
    return _scatter_nd("add", "tensor_scatter_nd_add", tensor, indices, updates, name)


def tensor_scatter_nd_sub(tensor, indices, updates, name: str | None = None) -> Tensor:
    """`tensor` with `updates` subtracted at `indices`; repeated places add up."""
    return _scatter_nd("sub", "tensor_scatter_nd_sub", tensor, indices, updates, name)


def tensor_scatter_nd_max(tensor, indices, updates, name: str | None = None) -> Tensor:
    """`tensor` raised to at least `updates` at `indices`."""
    return _scatter_nd("max", "tensor_scatter_nd_max", tensor, indices, updates, name)


def tensor_scatter_nd_min(tensor, indices, updates, name: str | None = None) -> Tensor:
    """`tensor` lowered to at most `updates` at `indices`."""
    return _scatter_nd("min", "tensor_scatter_nd_min", tensor, indices, updates, name)


tensor_scatter_update = tensor_scatter_nd_update
tensor_scatter_add = tensor_scatter_nd_add
tensor_scatter_sub = tensor_scatter_nd_sub


def invert_permutation(x, name: str | None = None) -> Tensor:
    """y with y[x[i]] = i, for a vector x that holds each of 0 … n-1 once.

    A value outside [0, n) is an OutOfRangeError of the run; a repeated one is not found out.
    """
    x = convert(x, what="invert_permutation")
    if x.rank != 1:
        reject("invert_permutation", f"{x.name} is {x.tensor_type}, not a vector")
    require_index_tensor(x, "invert_permutation")
    places = checked(x, x.dims[0], "invert_permutation")
    numbers = find("iota")(dtype=x.dtype, size=x.dims[0])
    start = zeros(x.dtype, x.dims)
    return scatter(start, places, numbers, mode="set", name=name or "invert_permutation")


# -- segments -----------------------------------------------------------------------------------


def _segments(mode: str, what: str, data, segment_ids, num_segments, name=None) -> Tensor:
    """Combines the slices of `data` that have the same id; empty segments are neutral."""
    data, ids = convert(data, what=what), convert(segment_ids, what=what)
    require_ranks(data, ids, what)
    require_index_tensor(ids, what)
    count: Dim = as_size(num_segments, what)
    # Negative ids are left out, as in TensorFlow; too large ones are an error.
    known = constant_value(ids)
    if known is not None and not isinstance(count, Size):
        if known.size and int(known.max()) >= count:
            reject(what, f"segment id {int(known.max())} is outside [0, {count})")
    else:
        low = find("maximum")(ids, convert(0, ids.dtype))
        ids = find("select")(
            find("less")(ids, convert(0, ids.dtype)), ids, checked(low, count, what)
        )
    if mode == "add":
        neutral: object = 0
    elif mode == "mul":
        neutral = 1
    else:  # the lowest or highest finite value, as in TensorFlow
        neutral = data.dtype.min if mode == "max" else data.dtype.max
    shape = (count, *data.dims[ids.rank :])
    start = find("broadcast_to")(convert(data.dtype.numpy.type(neutral), data.dtype), shape=shape)
    return scatter(start, ids, data, mode=mode, name=name or what)


def unsorted_segment_sum(data, segment_ids, num_segments, name: str | None = None) -> Tensor:
    """out[s] = sum of the slices of `data` whose id is s; [num_segments] + the slice's shape.

    segment_ids: int32 or int64, a leading part of data's shape; slices with negative ids are left
        out, an id of num_segments or more is an OutOfRangeError of the run.
    """
    return _segments("add", "unsorted_segment_sum", data, segment_ids, num_segments, name)


def unsorted_segment_prod(data, segment_ids, num_segments, name: str | None = None) -> Tensor:
    """As unsorted_segment_sum, with products; an empty segment gives 1."""
    return _segments("mul", "unsorted_segment_prod", data, segment_ids, num_segments, name)


def unsorted_segment_max(data, segment_ids, num_segments, name: str | None = None) -> Tensor:
    """As unsorted_segment_sum, with maxima; an empty segment gives the dtype's lowest value."""
    return _segments("max", "unsorted_segment_max", data, segment_ids, num_segments, name)


def unsorted_segment_min(data, segment_ids, num_segments, name: str | None = None) -> Tensor:
    """As unsorted_segment_sum, with minima; an empty segment gives the dtype's highest value."""
    return _segments("min", "unsorted_segment_min", data, segment_ids, num_segments, name)


def _segment_counts(what: str, data: Tensor, segment_ids, num_segments) -> Tensor:
    """How many slices each segment has, at least 1, shaped to divide the segments."""
    ids = convert(segment_ids, what=what)
    ones = find("broadcast_to")(convert(1, data.dtype), shape=ids.dims)
    count = _segments("add", what, ones, ids, num_segments)
    count = find("maximum")(count, convert(1, data.dtype))
    return reshaped(count, (count.dims[0], *[1] * (len(data.dims) - len(ids.dims))))


def unsorted_segment_mean(data, segment_ids, num_segments, name: str | None = None) -> Tensor:
    """As unsorted_segment_sum, with means; an empty segment gives 0."""
    what = "unsorted_segment_mean"
    data = convert(data, what=what)
    total = _segments("add", what, data, segment_ids, num_segments)
    return find("div")(total, _segment_counts(what, data, segment_ids, num_segments), name=name)


def unsorted_segment_sqrt_n(data, segment_ids, num_segments, name: str | None = None) -> Tensor:
    """As unsorted_segment_sum, each sum divided by the square root of how many it adds."""
    what = "unsorted_segment_sqrt_n"
    data = convert(data, what=what)
    total = _segments("add", what, data, segment_ids, num_segments)
    count = _segment_counts(what, data, segment_ids, num_segments)
    return find("div")(total, find("sqrt")(count), name=name)


def _sorted_segments(what: str, segment_ids) -> int:
    """The number of segments that sorted constant ids make: the last one and one more."""
    ids = convert(segment_ids, what=what)
    known = constant_value(ids)
    if known is None:
        reject(
            what,
            f"how many segments {ids.name} makes depends on data; use unsorted_{what} with "
            "num_segments",
        )
    if known.ndim != 1 or (np.diff(known) < 0).any() or (known < 0).any():
        reject(what, "the segment ids must be a vector of sorted, non-negative numbers")
    return int(known[-1]) + 1 if known.size else 0


def segment_sum(data, segment_ids, name: str | None = None) -> Tensor:
    """Sums of slices of `data` by segment; ids are constant, sorted, and name the output's rows.

    Raises TypeRuleError where the ids are not known at definition: unsorted_segment_sum takes the
    number of segments.
    """
    count = _sorted_segments("segment_sum", segment_ids)
    return _segments("add", "segment_sum", data, segment_ids, count, name)


def segment_prod(data, segment_ids, name: str | None = None) -> Tensor:
    """As segment_sum, with products; a segment without slices gives 1."""
    count = _sorted_segments("segment_prod", segment_ids)
    return _segments("mul", "segment_prod", data, segment_ids, count, name)


def segment_max(data, segment_ids, name: str | None = None) -> Tensor:
    """As segment_sum, with maxima; a segment without slices gives the dtype's lowest value."""
    count = _sorted_segments("segment_max", segment_ids)
    return _segments("max", "segment_max", data, segment_ids, count, name)


def segment_min(data, segment_ids, name: str | None = None) -> Tensor:
    """As segment_sum, with minima; a segment without slices gives the dtype's highest value."""
    count = _sorted_segments("segment_min", segment_ids)
    return _segments("min", "segment_min", data, segment_ids, count, name)


def segment_mean(data, segment_ids, name: str | None = None) -> Tensor:
    """As segment_sum, with means; a segment without slices gives 0."""
    count = _sorted_segments("segment_mean", segment_ids)
    return unsorted_segment_mean(data, segment_ids, count, name or "segment_mean")
