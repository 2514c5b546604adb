"""Parts of tensors and tensors from parts: slice, indexing, pad, concat, split, stack, reverse.

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
    convert_all,
    is_tensor_like,
    known_axes,
    known_axis,
    reject,
    to_array,
)
from .movement import reshape_op, text
from .values import constant_value, symbolic_value

__all__ = [
    "concat",
    "pad",
    "parallel_stack",
    "reverse",
    "reverse_v2",
    "roll",
    "slice",
    "split",
    "stack",
    "strided_slice",
    "unstack",
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
    key = []
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
        g = reverse_op(g, axes=backwards)
        for axis in backwards:
            begin[axis] = begin[axis] + sizes.multiply(attrs["size"][axis] - 1, strides[axis])
    steps = [builtins.abs(stride) for stride in strides]
    if any(step != 1 for step in steps):
        g = _spread_out(g, steps)
    before, after, cut = [], [], False
    for dim, first, length in zip(x.dims, begin, g.dims, strict=True):
        rest = dim - first - length
        if not sizes.is_nonnegative(rest) and steps[len(before)] != 1:
            rest, cut = sizes.maximum(rest, 0), True
        before.append(first)
        after.append(rest)
    wide = pad_op(g, before=tuple(before), after=tuple(after), mode="constant", value=0)
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
    spread = pad_op(
        reshape_op(g, shape=tuple(apart)),
        before=(0,) * len(apart),
        after=tuple(after),
        mode="constant",
        value=0,
    )
    dims = tuple(sizes.multiply(dim, step) for dim, step in zip(g.dims, steps, strict=True))
    return reshape_op(spread, shape=dims)


slice_op = define(
    Op(
        name="slice",
        infer=_infer_slice,
        reference=_slice_reference,
        vjp=_slice_vjp,
        lower=_lower_slice,
    )
)


def _ranked(value, what: str) -> Tensor:
    tensor = convert(value, what=what)
    if tensor.dims is None:
        reject(what, f"the rank of {tensor.name} is unknown; give its placeholder a shape")
    return tensor


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
    x = _ranked(input_, "slice")
    wanted = list(as_sizes(size, "slice"))
    if len(wanted) != len(x.dims):
        reject("slice", f"{len(wanted)} sizes for {x.tensor_type}")
    if _depends_on_data(begin):
        if any(isinstance(count, int) and count < 0 for count in wanted):
            reject("slice", "a size of -1 needs a begin that does not depend on data")
        from .indexing import checked

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


def _negative(value: Dim) -> bool:
    return isinstance(value, int) and value < 0


def _span(key: builtins.slice, dim: Dim) -> tuple[Dim, Dim, int]:
    """(begin, number of elements, step) of a Python slice along a dimension, clamped by NumPy's
    rules."""
    start, stop = _bound(key.start, "slice"), _bound(key.stop, "slice")
    step = as_size(1 if key.step is None else key.step, "slice")
    if not isinstance(step, int) or step == 0:
        reject("slice", f"the step of a slice is a number other than 0, not {step}")
    if isinstance(dim, int) and not isinstance(start, Size) and not isinstance(stop, Size):
        begin, end, step = builtins.slice(start, stop, step).indices(dim)
        return begin, len(builtins.range(begin, end, step)), step
    if step > 0:
        begin: Dim = 0 if start is None else _from_start(start, dim)
        if stop is None and _negative(start):
            reach = sizes.minimum(dim - begin if isinstance(begin, int) else -start, dim)
        else:
            end = dim if stop is None else stop
            # A begin beyond the end gives no elements, and is then not read.
            reach = (dim + end if _negative(end) else _at_most(end, dim)) - begin
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
    if _negative(value):
        return sizes.maximum(dim + value, floor)
    return value if ceiling is None else _at_most(value, ceiling)


def get_item(x: Tensor, key) -> Tensor:
    """`x[key]` with NumPy's meaning: numbers, slices with steps, Ellipsis, newaxis (None), and
    scalar integer tensors. Arrays and masks are not taken: gather, gather_nd and where are.

    A number outside a known dimension is an error at once, outside a symbolic one when it runs.
    """
    x = _ranked(x, "indexing")
    keys = list(key) if isinstance(key, tuple) else [key]
    _check_keys(x, keys)
    used = sum(item is not None and item is not Ellipsis for item in keys)
    spots = [i for i, item in enumerate(keys) if item is Ellipsis]
    if not spots:
        keys.append(Ellipsis)
        spots = [len(keys) - 1]
    fill = [builtins.slice(None)] * (len(x.dims) - used)
    keys[spots[0] : spots[0] + 1] = fill

    begin, size, strides, result = [], [], [], []
    moving: list[tuple[int, Tensor]] = []  # axis of the result, index that depends on data
    for item in keys:
        if item is None:
            result.append(1)
            continue
        axis = len(begin)
        dim = x.dims[axis]
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
        x = reverse_op(x, axes=turned)
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
    return dim + position if _negative(position) else position


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
    result = get_item(_ranked(input_, "strided_slice"), tuple(key))
    return result if name is None else find("identity")(result, name=name)


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
    x = _ranked(tensor, "pad")
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
concat_op = define(
    Op(
        name="concat",
        infer=_infer_concat,
        reference=lambda arrays, attrs, node: (np.concatenate(arrays, axis=attrs["axis"]),),
        vjp=_concat_vjp,
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
        _ranked(tensor, "concat")
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
        return convert(np.stack(to_array(values, None, "stack"), axis=axis))
    if not values:
        reject("stack", "at least one tensor is needed")
    tensors = convert_all(values, "stack")
    for tensor in tensors:
        _ranked(tensor, "stack")
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
    x = _ranked(value, "unstack")
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
    x = _ranked(value, "split")
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
        rest = [i for i, length in enumerate(lengths) if _negative(length)]
        if len(rest) > 1 or any(lengths[i] != -1 for i in rest):
            reject("split", f"the sizes {text(lengths)} may hold one -1")
        known: Dim = sum((length for length in lengths if not _negative(length)), 0)
        if rest:
            lengths[rest[0]] = dim - known
        elif isinstance(known, int) and isinstance(dim, int) and known != dim:
            reject("split", f"the sizes {text(lengths)} sum to {known}, not to {dim}")
        if any(_negative(length) for length in lengths):
            reject("split", f"the sizes {text(lengths)} exceed the {dim} of axis {position}")
    parts, offset = [], 0
    for length in lengths:
        parts.append(_along(x, position, offset, length, name))
        offset = offset + length
    return parts


# -- reverse and roll ----------------------------------------------------------------------------


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


reverse_op = define(
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
    x = _ranked(tensor, "reverse")
    axes = known_axes(axis, len(x.dims), "reverse")
    return reverse_op(x, axes=axes, name=name or "Reverse")


reverse_v2 = reverse


def roll(input, shift, axis, name=None) -> Tensor:  # noqa: A002
    """The elements moved by `shift` along `axis`; what leaves at one end enters at the other."""
    x = _ranked(input, "roll")
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
