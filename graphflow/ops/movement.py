"""Same elements, other shape or order: reshape, transpose, broadcast, tile.

`broadcast_like(x, like)` and `reshape_like(x, like)` take their shape from a second input of which
nothing else is used. Gradients need them where sizes, or even the rank, are known only when a run
is cut; `resolve_like` then turns them into the plain operation.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import sizes
from ..errors import InternalError, TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import VIEW, Op, define
from ..ir.types import TensorType, is_static
from ..loop import nodes as loop
from ..sizes import Dim, Size
from .convert import (
    as_sizes,
    convert,
    known_axes,
    known_axis,
    reject,
)

__all__ = [
    "broadcast_to",
    "expand_dims",
    "matrix_transpose",
    "reshape",
    "squeeze",
    "tile",
    "transpose",
]


def text(dims) -> str:
    return f"[{','.join(map(str, dims))}]"


# -- reshape -------------------------------------------------------------------------------------


def _infer_reshape(types, attrs, rules):
    (source,) = types
    total = sizes.product(source.shape)
    dims = list(attrs["shape"])
    if -1 in dims:
        others = sizes.product(d for d in dims if not (isinstance(d, int) and d == -1))
        if isinstance(others, int) and others == 0:
            raise TypeRuleError(f"the dimension -1 of {text(dims)} beside one of 0 is not defined")
        quotient = sizes.floordiv(total, others)
        dims[dims.index(-1)] = quotient
    message = f"{source} has {total} elements, which do not fill the shape {text(attrs['shape'])}"
    rules.equal(total, sizes.product(dims), message)
    return (TensorType(source.dtype, tuple(dims)),)


def _reshape_reference(arrays, attrs, node: Node):
    (array,) = arrays
    dims = list(attrs["shape"])
    if -1 in dims and array.size == 0:
        # The type says what -1 stands for where the other dimensions, being 0, cannot.
        declared = node.outputs[0].dims[dims.index(-1)]
        known: dict[Any, int] = {
            dim.terms[0][0][0]: length
            for dim, length in zip(node.inputs[0].dims, array.shape, strict=True)
            if isinstance(dim, Size) and dim == sizes.substitute(dim, {}) and _is_symbol(dim)
        }
        try:
            dims[dims.index(-1)] = sizes.evaluate(declared, known)
        except KeyError:
            dims[dims.index(-1)] = 0
    return (np.ascontiguousarray(array).reshape(dims),)


def _is_symbol(dim: Size) -> bool:
    return len(dim.terms) == 1 and dim.terms[0][1] == 1 and len(dim.terms[0][0]) == 1


def _reshape_vjp(node: Node, gradients):
    (g,) = gradients
    return [None if g is None else reshape_like(g, node.inputs[0])]


# `shape` may hold one -1, which the type rule resolves: read the node's type for the result.
def _reshape_batch(node: Node, inputs, batched):
    (x,) = inputs
    return [reshape_op(x, shape=(x.dims[0], *node.outputs[0].dims))]


reshape_op = define(
    Op(
        name="reshape",
        kind=VIEW,
        infer=_infer_reshape,
        reference=_reshape_reference,
        vjp=_reshape_vjp,
        batch=_reshape_batch,
    )
)


def reshape(tensor, shape, name=None) -> Tensor:
    """The same elements in row-major order under another shape; one dimension may be -1.

    `shape` is a list of numbers, dimensions and scalar tensors, or an integer tensor, whose value
    follows from numbers and `shape(x)`. Raises TypeRuleError where the number of elements differs.
    """
    source = convert(tensor, what="reshape")
    dims = as_sizes(shape, "reshape")
    numbers = [dim for dim in dims if isinstance(dim, int) and dim < 0]
    if any(number != -1 for number in numbers) or len(numbers) > 1:
        reject("reshape", f"a shape has at most one -1 and no other negative size: {text(dims)}")
    if -1 in numbers and source.dims is not None and 0 in dims:
        dims = _beside_zero(source.dims, dims)
    return reshape_op(source, shape=dims, name=name or "Reshape")


def _beside_zero(source: tuple[Dim, ...], dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """-1 beside a dimension of 0, where the others are those of the source: what is left of it."""
    place = dims.index(-1)
    after = len(dims) - place - 1
    if source[:place] != dims[:place] or source[len(source) - after :] != dims[place + 1 :]:
        return dims
    middle = sizes.product(source[place : len(source) - after])
    return (*dims[:place], middle, *dims[place + 1 :])


def _infer_like(types, attrs, rules):
    x, like = types
    if x.shape is not None and like.shape is not None:
        total, wanted = sizes.product(x.shape), sizes.product(like.shape)
        rules.equal(total, wanted, f"{x} does not have the {wanted} elements of {like}")
    return (TensorType(x.dtype, like.shape),)


reshape_like_op = define(
    Op(
        name="reshape_like",
        kind=VIEW,
        infer=_infer_like,
        reference=lambda arrays, attrs, node: (
            np.ascontiguousarray(arrays[0]).reshape(arrays[1].shape),
        ),
        vjp=lambda node, gradients: [
            None if gradients[0] is None else reshape_like(gradients[0], node.inputs[0]),
            None,
        ],
        shape_only=(1,),
        any_rank=True,
    )
)


# -- as_shape ------------------------------------------------------------------------------------


def _infer_as_shape(types, attrs, rules):
    """Of a known rank: x, whose sizes a run is known to find equal to those of `shape`, although
    nothing says so. Sizes that change from iteration to iteration have one name before an
    iteration and another one after it."""
    (x,) = types
    shape = attrs["shape"]
    pairs = list(zip(x.shape, shape, strict=False))
    if len(x.shape) != len(shape) or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs
    ):
        raise TypeRuleError(f"{x} cannot have the shape {text(shape)}")
    return (TensorType(x.dtype, tuple(shape)),)


def _reference_as_shape(arrays, attrs, node: Node):
    (array,) = arrays
    if array.shape != tuple(attrs["shape"]):
        raise InternalError(f"as_shape: {list(array.shape)} is not {text(attrs['shape'])}")
    return (array,)


as_shape_op = define(
    Op(
        name="as_shape",
        kind=VIEW,
        infer=_infer_as_shape,
        reference=_reference_as_shape,
        vjp=lambda node, gradients: [
            None if gradients[0] is None else as_shape(gradients[0], node.inputs[0].dims)
        ],
    )
)


def as_shape(x: Tensor, dims: Sequence[Dim]) -> Tensor:
    """x, of which a run is known to find these sizes."""
    return x if x.dims == tuple(dims) else as_shape_op(x, shape=tuple(dims))


def reshape_like(x: Tensor, like: Tensor, name: str | None = None) -> Tensor:
    """x in the shape of `like`, which has as many elements."""
    if is_static(like.dims) and x.dims is not None:
        return x if x.dims == like.dims else reshape_op(x, shape=like.dims, name=name)
    return reshape_like_op(x, like, name=name)


# -- broadcast -----------------------------------------------------------------------------------


def _broadcast_to(dims, target, rules):
    message = f"the shape {text(dims)} does not broadcast to {text(target)}"
    if len(dims) > len(target):
        raise TypeRuleError(message)
    for dim, wanted in zip(reversed(dims), reversed(target), strict=False):
        if dim == 1 or dim == wanted:
            continue
        if isinstance(dim, int) or (isinstance(wanted, int) and wanted == 1):
            rules.equal(dim, wanted, message)
        else:
            rules.broadcast([(dim,), (wanted,)], message)  # a symbol may also be 1


def _infer_broadcast(types, attrs, rules):
    (x,) = types
    if any(isinstance(dim, int) and dim < 0 for dim in attrs["shape"]):
        raise TypeRuleError(f"the shape {text(attrs['shape'])} has a negative dimension")
    _broadcast_to(x.shape, attrs["shape"], rules)
    return (TensorType(x.dtype, attrs["shape"]),)


def _lower_broadcast(node: Node, index, context, output):
    return context.read_broadcast(0, index)


def _broadcast_vjp(node: Node, gradients):
    from .reduction import sum_to

    (g,) = gradients
    return [None if g is None else sum_to(g, node.inputs[0])] + [None] * (len(node.inputs) - 1)


def _broadcast_batch(node: Node, inputs, batched):
    (x,) = inputs
    shape = node.outputs[0].dims
    ones = [1] * (len(shape) - len(node.inputs[0].dims))
    if ones:
        x = reshape_op(x, shape=(x.dims[0], *ones, *x.dims[1:]))
    return [broadcast_op(x, shape=(x.dims[0], *shape))]


broadcast_op = define(
    Op(
        name="broadcast_to",
        infer=_infer_broadcast,
        reference=lambda arrays, attrs, node: (
            np.array(np.broadcast_to(arrays[0], attrs["shape"]), order="C"),
        ),
        vjp=_broadcast_vjp,
        batch=_broadcast_batch,
        lower=_lower_broadcast,
    )
)


def broadcast_to(input, shape, name=None) -> Tensor:  # noqa: A002
    """`input` repeated along its dimensions of size 1, and along new leading ones."""
    x = convert(input, what="broadcast_to")
    dims = as_sizes(shape, "broadcast_to")
    return broadcast_op(x, shape=dims, name=name or "BroadcastTo")


def _infer_broadcast_like(types, attrs, rules):
    x, like = types
    if x.shape is not None and like.shape is not None:
        _broadcast_to(x.shape, like.shape, rules)
    return (TensorType(x.dtype, like.shape),)


broadcast_like_op = define(
    Op(
        name="broadcast_like",
        infer=_infer_broadcast_like,
        reference=lambda arrays, attrs, node: (
            np.array(np.broadcast_to(arrays[0], arrays[1].shape), order="C"),
        ),
        vjp=_broadcast_vjp,
        lower=_lower_broadcast,
        shape_only=(1,),
        any_rank=True,
    )
)


def broadcast_like(x: Tensor, like: Tensor, name: str | None = None) -> Tensor:
    """x broadcast to the shape of `like`."""
    if is_static(like.dims) and x.dims is not None:
        return broadcast_op(x, shape=like.dims, name=name)
    return broadcast_like_op(x, like, name=name)


def resolve_like(node: Node) -> Tensor | None:
    """The plain operation for a `broadcast_like` or `reshape_like` whose ranks are known.

    broadcast_like(x, like)  -->  broadcast_to(x)  or x
    reshape_like(x, like)    -->  reshape(x)       or x
    """
    x, like = node.inputs
    if x.dims is None or like.dims is None:
        return None
    if x.dims == like.dims:
        return x
    op = broadcast_op if node.op is broadcast_like_op else reshape_op
    return op(x, shape=like.dims)


# -- transpose -----------------------------------------------------------------------------------


def _infer_transpose(types, attrs, rules):
    (x,) = types
    perm = attrs["perm"]
    if sorted(perm) != list(builtins.range(len(x.shape))):
        raise TypeRuleError(f"perm {list(perm)} is not an order of the {len(x.shape)} axes of {x}")
    return (TensorType(x.dtype, tuple(x.shape[axis] for axis in perm)),)


def _lower_transpose(node: Node, index, context, output):
    source: list[loop.Expr] = [loop.ZERO] * len(index)
    for position, axis in enumerate(node.attrs["perm"]):
        source[axis] = index[position]
    return context.read(0, tuple(source))


def _transpose_vjp(node: Node, gradients):
    (g,) = gradients
    inverse = tuple(int(axis) for axis in np.argsort(node.attrs["perm"]))
    return [None if g is None else transpose_op(g, perm=inverse)]


def _transpose_batch(node: Node, inputs, batched):
    return [transpose_op(inputs[0], perm=(0, *(axis + 1 for axis in node.attrs["perm"])))]


transpose_op = define(
    Op(
        name="transpose",
        infer=_infer_transpose,
        reference=lambda arrays, attrs, node: (
            np.ascontiguousarray(np.transpose(arrays[0], attrs["perm"])).reshape(
                tuple(arrays[0].shape[axis] for axis in attrs["perm"])
            ),
        ),
        vjp=_transpose_vjp,
        batch=_transpose_batch,
        lower=_lower_transpose,
    )
)


def ranked(value, what: str) -> Tensor:
    tensor = convert(value, what=what)
    if tensor.dims is None:
        reject(what, f"the rank of {tensor.name} is unknown; give its placeholder a shape")
    return tensor


def transpose(a, perm=None, name="transpose", conjugate=False) -> Tensor:
    """The axes in the order `perm`; reversed by default. `conjugate` means nothing for reals."""
    x = ranked(a, "transpose")
    if perm is None:
        order = tuple(reversed(builtins.range(len(x.dims))))
    else:
        order = tuple(known_axis(axis, len(x.dims), "transpose") for axis in as_sizes(perm))
    return transpose_op(x, perm=order, name=name)


def matrix_transpose(a, name="matrix_transpose", conjugate=False) -> Tensor:
    """The last two axes exchanged."""
    x = ranked(a, "matrix_transpose")
    count = len(x.dims)
    if count < 2:
        reject("matrix_transpose", f"a matrix is needed, got {x.tensor_type}")
    return transpose_op(x, perm=(*builtins.range(count - 2), count - 1, count - 2), name=name)


# -- axes of size 1 ------------------------------------------------------------------------------


def expand_dims(input, axis=None, name=None, dim=None) -> Tensor:  # noqa: A002
    """A new axis of size 1 at `axis`, counted from the end where negative."""
    x = ranked(input, "expand_dims")
    axis = dim if axis is None else axis
    if axis is None:
        reject("expand_dims", "an axis is needed")
    position = known_axis(axis, len(x.dims) + 1, "expand_dims")
    dims = (*x.dims[:position], 1, *x.dims[position:])
    return reshape_op(x, shape=dims, name=name or "ExpandDims")


def squeeze(input, axis=None, name=None, squeeze_dims=None) -> Tensor:  # noqa: A002
    """Without the axes given, which must have size 1; by default without all that have.

    An axis whose size is a symbol is taken out only where it is named, and every run checks it.
    """
    x = ranked(input, "squeeze")
    axis = squeeze_dims if axis is None else axis
    if axis is None or (isinstance(axis, (list, tuple)) and not axis):
        axes = tuple(i for i, d in enumerate(x.dims) if isinstance(d, int) and d == 1)
    else:
        axes = known_axes(axis, len(x.dims), "squeeze")
    for position in axes:
        dim = x.dims[position]
        if isinstance(dim, int) and dim != 1:
            reject("squeeze", f"axis {position} of {x.tensor_type} has size {dim}, not 1")
    dims = tuple(dim for position, dim in enumerate(x.dims) if position not in axes)
    return reshape_op(x, shape=dims, name=name or "Squeeze")


def tile(input, multiples, name=None) -> Tensor:  # noqa: A002
    """`input` repeated multiples[i] times along axis i."""
    x = ranked(input, "tile")
    times = as_sizes(multiples, "tile")
    if len(times) != len(x.dims):
        reject("tile", f"{len(times)} multiples for {x.tensor_type}")
    if any(isinstance(t, int) and t < 0 for t in times):
        reject("tile", f"the multiples {text(times)} must not be negative")
    apart: list[Dim] = []
    spread: list[Dim] = []
    for dim, count in zip(x.dims, times, strict=True):
        apart += [1, dim]
        spread += [count, dim]
    result = tuple(sizes.multiply(d, t) for d, t in zip(x.dims, times, strict=True))
    wide = broadcast_op(reshape_op(x, shape=tuple(apart)), shape=tuple(spread))
    return reshape_op(wide, shape=result, name=name or "Tile")
