"""Parts of tensors: slices with steps, and NumPy's indexing.

Sizes that depend on a symbol are those NumPy gives: `x[1:]` of a dimension n has max(n-1, 0)
elements. An index or a slice that a run finds outside its dimension fails that run.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence

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
    is_tensor_like,
    reject,
)
from .movement import ranked, reshape_op
from .values import symbolic_value

__all__ = [
    "slice",
    "strided_slice",
]

# -- slice ---------------------------------------------------------------------------------------


def _clamped(dim: Dim) -> bool:
    """Whether a size was made by clamping, and so is inside its dimension by construction."""
    return isinstance(dim, Size) and ("max(" in str(dim) or "min(" in str(dim))


def _infer_slice(types, attrs, rules):
    (x,) = types
    begin, size, strides = attrs["begin"], attrs["size"], attrs["strides"]
    if not len(begin) == len(size) == len(strides) == len(x.shape):
        raise TypeRuleError(f"begin, size and strides need one entry for each axis of {x}")
    for axis, dim in enumerate(x.shape):
        first, count, stride = begin[axis], size[axis], strides[axis]
        if stride == 0:
            raise TypeRuleError("a stride is not 0")
        if isinstance(count, int) and count < 0:
            raise TypeRuleError(f"the size {count} of axis {axis} is negative")
        if count == 0 or _clamped(first) or _clamped(count):
            continue
        last = first + sizes.multiply(count - 1, stride)
        low, high = (first, last) if stride > 0 else (last, first)
        message = f"{low} to {high} is outside axis {axis} of {x}"
        for bound, inside in ((low, low), (high + 1, dim)):
            # low >= 0 and high < dim, as equalities of sizes.
            wanted = sizes.maximum(bound, 0 if bound is low else dim)
            if bound is low:
                if not sizes.is_nonnegative(low):
                    rules.equal(wanted, low, message)
            elif wanted != inside:
                rules.equal(wanted, inside, message)
    return (TensorType(x.dtype, tuple(size)),)


def _slice_reference(arrays, attrs, node: Node):
    (array,) = arrays
    key: list = []
    for begin, size, stride in zip(attrs["begin"], attrs["size"], attrs["strides"], strict=True):
        end = begin + size * stride
        key.append(builtins.slice(begin, None if end < 0 else end, stride) if size > 0 else [])
    for axis, part in enumerate(key):
        if isinstance(part, list):
            array = np.take(array, np.zeros(0, np.int64), axis=axis)
        else:
            array = array[(builtins.slice(None),) * axis + (part,)]
    return (np.ascontiguousarray(array).reshape(array.shape),)


def _lower_slice(node: Node, index, context, output):
    attrs = node.attrs
    where = tuple(
        loop.add(loop.index(begin), loop.mul(position, loop.index(stride)))
        for position, begin, stride in zip(index, attrs["begin"], attrs["strides"], strict=True)
    )
    return context.read(0, where)


def _slice_vjp(node: Node, gradients):
    """The gradient in its places among zeros."""
    (g,) = gradients
    if g is None:
        return [None]
    (x,) = node.inputs
    attrs = node.attrs
    begin, strides = list(attrs["begin"]), attrs["strides"]
    backwards = tuple(axis for axis, stride in enumerate(strides) if stride < 0)
    if backwards:
        g = find("reverse")(g, axes=backwards)
        for axis in backwards:
            begin[axis] = begin[axis] + sizes.multiply(attrs["size"][axis] - 1, strides[axis])
    steps = [builtins.abs(stride) for stride in strides]
    if any(step != 1 for step in steps):
        g = _spread_out(g, steps)
    before: list[Dim] = []
    after: list[Dim] = []
    cut = False
    for dim, first, length in zip(x.dims, begin, g.dims, strict=True):
        rest = dim - first - length
        if not sizes.is_nonnegative(rest) and steps[len(before)] != 1:
            rest, cut = sizes.maximum(rest, 0), True
        before.append(first)
        after.append(rest)
    wide = find("pad")(g, before=tuple(before), after=tuple(after), mode="constant", value=0)
    if cut:
        none = (0,) * len(x.dims)
        wide = slice_op(wide, begin=none, size=x.dims, strides=(1,) * len(x.dims))
    return [wide]


def _spread_out(g: Tensor, steps: Sequence[int]) -> Tensor:
    """step - 1 zeros after every element along each axis."""
    apart: list[Dim] = []
    after: list[int] = []
    for dim, step in zip(g.dims, steps, strict=True):
        apart += [dim, 1]
        after += [0, step - 1]
    spread = find("pad")(
        reshape_op(g, shape=tuple(apart)),
        before=(0,) * len(apart),
        after=tuple(after),
        mode="constant",
        value=0,
    )
    dims = tuple(sizes.multiply(dim, step) for dim, step in zip(g.dims, steps, strict=True))
    return reshape_op(spread, shape=dims)


def _slice_batch(node: Node, inputs, batched):
    (x,) = inputs
    attrs = node.attrs
    return [
        slice_op(
            x,
            begin=(0, *attrs["begin"]),
            size=(x.dims[0], *attrs["size"]),
            strides=(1, *attrs["strides"]),
        )
    ]


slice_op = define(
    Op(
        name="slice",
        infer=_infer_slice,
        reference=_slice_reference,
        vjp=_slice_vjp,
        batch=_slice_batch,
        lower=_lower_slice,
    )
)


def _whole(x: Tensor, begin, size, strides, name: str | None) -> Tensor:
    """The slice, or x itself where it is all of x."""
    ones = all(stride == 1 for stride in strides)
    if ones and all(b == 0 for b in begin) and tuple(size) == x.dims and name is None:
        return x
    return slice_op(x, begin=tuple(begin), size=tuple(size), strides=tuple(strides), name=name)


def slice(input_, begin, size, name=None) -> Tensor:  # noqa: A001
    """The part of `input_` that starts at `begin` and has that `size`; -1 means up to the end.

    `begin` may be a tensor that depends on data: then the sizes must be known, and a part that
    does not lie inside fails the run.
    """
    x = ranked(input_, "slice")
    wanted = list(as_sizes(size, "slice"))
    if len(wanted) != len(x.dims):
        reject("slice", f"{len(wanted)} sizes for {x.tensor_type}")
    if _depends_on_data(begin):
        if any(isinstance(count, int) and count < 0 for count in wanted):
            reject("slice", "a size of -1 needs a begin that does not depend on data")
        from .index_check import checked
        from .joining import unstack

        starts = convert(begin, what="slice")
        room = [dim - count + 1 for dim, count in zip(x.dims, wanted, strict=True)]
        parts = unstack(checked(starts, room, "slice begin", nd=True), num=len(wanted))
        return find("dynamic_slice")(x, *parts, size=tuple(wanted), name=name or "Slice")
    first = as_sizes(begin, "slice")
    if len(first) != len(x.dims):
        reject("slice", f"{len(first)} begins for {x.tensor_type}")
    for axis, count in enumerate(wanted):
        if isinstance(first[axis], int) and first[axis] < 0:
            reject("slice", f"begin of axis {axis} is {first[axis]}, which is negative")
        if isinstance(count, int) and count == -1:
            wanted[axis] = x.dims[axis] - first[axis]
    return slice_op(
        x, begin=first, size=tuple(wanted), strides=(1,) * len(first), name=name or "Slice"
    )


def _depends_on_data(value) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_depends_on_data(item) for item in value)
    if not is_tensor_like(value):
        return False
    tensor = convert(value)
    return tensor.dtype.is_integer and symbolic_value(tensor) is None


# -- indexing ------------------------------------------------------------------------------------


def _bound(value, what: str) -> Dim | None:
    if value is None:
        return None
    if _depends_on_data(value):
        reject(
            what,
            "a slice bound depends on data, so the size of the slice would; "
            "graphflow.slice(x, begin, size) takes such a begin",
        )
    return as_size(value, what)


def is_negative(value: Dim | None) -> bool:
    """Whether it is a number below 0."""
    return isinstance(value, int) and value < 0


def _span(key: builtins.slice, dim: Dim) -> tuple[Dim, Dim, int]:
    """(begin, number of elements, step) of a Python slice along a dimension, clamped by NumPy's
    rules."""
    start, stop = _bound(key.start, "slice"), _bound(key.stop, "slice")
    step = as_size(1 if key.step is None else key.step, "slice")
    if not isinstance(step, int) or step == 0:
        reject("slice", f"the step of a slice is a number other than 0, not {step}")
    if isinstance(dim, int) and not isinstance(start, Size) and not isinstance(stop, Size):
        known = builtins.range(*builtins.slice(start, stop, step).indices(dim))
        return known.start, len(known), step
    begin: Dim
    end: Dim
    if step > 0:
        begin = 0 if start is None else _from_start(start, dim)
        if stop is None and start is not None and is_negative(start):
            reach = sizes.minimum(dim - begin if isinstance(begin, int) else -start, dim)
        else:
            end = dim if stop is None else stop
            # A begin beyond the end gives no elements, and is then not read.
            reach = (dim + end if is_negative(end) else _at_most(end, dim)) - begin
    else:
        begin = dim - 1 if start is None else _from_start(start, dim, dim - 1)
        end = -1 if stop is None else _from_start(stop, dim, floor=-1)
        reach = begin - end
    count = sizes.ceildiv(reach, builtins.abs(step))
    if not sizes.is_nonnegative(count):
        count = sizes.maximum(count, 0)
    if step < 0 and not sizes.is_nonnegative(begin):
        begin = sizes.maximum(begin, 0)
    return begin, count, step


def _at_most(value: Dim, limit: Dim) -> Dim:
    return limit if value == limit else sizes.minimum(value, limit)


def _from_start(value: Dim, dim: Dim, ceiling: Dim | None = None, floor: int = 0) -> Dim:
    """A bound counted from the start: negative ones come from the end, and stop at `floor`."""
    if is_negative(value):
        return sizes.maximum(dim + value, floor)
    return value if ceiling is None else _at_most(value, ceiling)


def get_item(x: Tensor, key) -> Tensor:
    """`x[key]` with NumPy's meaning: numbers, slices with steps, Ellipsis, newaxis (None), and
    scalar integer tensors. Arrays and masks are not taken: gather, gather_nd and where are.

    A number outside a known dimension is an error at once, outside a symbolic one when it runs.
    """
    x = ranked(x, "indexing")
    keys = list(key) if isinstance(key, tuple) else [key]
    _check_keys(x, keys)
    used = sum(item is not None and item is not Ellipsis for item in keys)
    spots = [i for i, item in enumerate(keys) if item is Ellipsis]
    if not spots:
        keys.append(Ellipsis)
        spots = [len(keys) - 1]
    fill = [builtins.slice(None)] * (len(x.dims) - used)
    keys[spots[0] : spots[0] + 1] = fill

    begin: list[Dim] = []
    size: list[Dim] = []
    strides: list[int] = []
    result: list[Dim] = []
    moving: list[tuple[int, Tensor]] = []  # axis of the result, index that depends on data
    for item in keys:
        if item is None:
            result.append(1)
            continue
        axis = len(begin)
        dim = x.dims[axis]
        first: Dim
        count: Dim
        if isinstance(item, builtins.slice):
            first, count, step = _span(item, dim)
            result.append(count)
        elif _depends_on_data(item):
            first, count, step = 0, dim, 1
            moving.append((len(result), convert(item)))
            result.append(dim)
        else:
            first, count, step = _position(item, dim, axis, x), 1, 1
        begin.append(first)
        size.append(count)
        strides.append(step)
    part = _part(x, begin, size, strides)
    if tuple(result) != part.dims:
        part = reshape_op(part, shape=tuple(result))
    for axis, index in reversed(moving):
        part = _gathered(part, index, axis)
    return part


def _part(x: Tensor, begin, size, strides) -> Tensor:
    """The slice, as a reverse where it only turns axes round."""
    turned = tuple(
        axis
        for axis, step in enumerate(strides)
        if step == -1 and size[axis] == x.dims[axis] and _is_last(begin[axis], x.dims[axis])
    )
    if turned:
        x = find("reverse")(x, axes=turned)
        for axis in turned:
            begin[axis], strides[axis] = 0, 1
    return _whole(x, begin, size, strides, None)


def _is_last(begin: Dim, dim: Dim) -> bool:
    return begin in (dim - 1, sizes.maximum(dim - 1, 0))


def _check_keys(x: Tensor, keys: list) -> None:
    axes = 0
    for item in keys:
        if isinstance(item, (list, np.ndarray)) or (
            is_tensor_like(item) and (convert(item).rank != 0 or convert(item).dtype.is_bool)
        ):
            reject(
                "indexing",
                "an index is a number, a slice, Ellipsis, None or a scalar integer tensor; "
                "graphflow.gather takes arrays of indices",
            )
        if isinstance(item, (bool, np.bool_, float, str)):
            reject("indexing", f"{item!r} is not an index")
        axes += item is not None and item is not Ellipsis
    if sum(item is Ellipsis for item in keys) > 1:
        reject("indexing", "an index has at most one Ellipsis")
    if axes > len(x.dims):
        reject("indexing", f"{axes} indices for {x.name}, which is {x.tensor_type}")


def _position(item, dim: Dim, axis: int, x: Tensor) -> Dim:
    position = as_size(item, "indexing")
    if isinstance(position, int) and isinstance(dim, int) and not -dim <= position < dim:
        reject("indexing", f"index {position} is out of range for axis {axis} of {x.tensor_type}")
    return dim + position if is_negative(position) else position


def _gathered(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """The element at a scalar index that may count from the end."""
    from .indexing import gather

    zero = convert(0, index.dtype)
    length = find("size")(x, axes=(axis,), dtype=index.dtype)
    from_end = find("add")(index, length)
    place = find("select")(find("less")(index, zero), from_end, index)
    return gather(x, place, axis=axis)


def strided_slice(
    input_,
    begin,
    end,
    strides=None,
    begin_mask=0,
    end_mask=0,
    ellipsis_mask=0,
    new_axis_mask=0,
    shrink_axis_mask=0,
    var=None,
    name=None,
) -> Tensor:
    """TensorFlow 1's general slice, of which indexing is the readable form: bit i of a mask says
    that entry i of begin or end is left out, or is an Ellipsis, a new axis, or one index."""
    first = as_sizes(begin, "strided_slice")
    last = as_sizes(end, "strided_slice")
    steps = (1,) * len(first) if strides is None else as_sizes(strides, "strided_slice")
    if not len(first) == len(last) == len(steps):
        reject("strided_slice", "begin, end and strides have different lengths")
    key: list = []
    for i in builtins.range(len(first)):
        bit = 1 << i
        if ellipsis_mask & bit:
            key.append(Ellipsis)
        elif new_axis_mask & bit:
            key.append(None)
        elif shrink_axis_mask & bit:
            key.append(first[i])
        else:
            start = None if begin_mask & bit else first[i]
            stop = None if end_mask & bit else last[i]
            key.append(builtins.slice(start, stop, steps[i]))
    result = get_item(ranked(input_, "strided_slice"), tuple(key))
    return result if name is None else find("identity")(result, name=name)
