"""What is known of a tensor's value while the graph is being defined.

`constant_value` gives the number where there is one; `symbolic_value` also follows sizes, so that
`reshape(x, [shape(x)[0], -1])` or `zeros([2 * shape(x)[0]])` have symbolic sizes and nothing
depends on data. Both look through the operations that people compute sizes with.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import sizes
from ..ir.node import Node, Tensor
from ..ir.op import LEAF, POINTWISE, REDUCE, VIEW
from ..sizes import Size

_LIMIT = 1024  # elements: larger tensors are data, not sizes
_VISITS = 10_000  # nodes looked at for one question
_PASSED_ON = ("identity", "stop_gradient", "cast")

# Arrays of dtype object hold the known elements: int, bool, float or Size.
Known = np.ndarray


def constant_value(tensor, partial: bool = False) -> np.ndarray | None:
    """The value of a tensor that does not depend on feeds, variables or unknown sizes, or None.

    A constant of any size gives its (read-only) array; computed values are followed through small
    integer and boolean tensors. `partial` is accepted for TensorFlow 1's signature.
    """
    if not isinstance(tensor, Tensor):
        return np.asarray(tensor)
    if tensor.node.op.name == "constant":
        return tensor.node.attrs["value"].array
    known = symbolic_value(tensor)
    if known is None or _has_sizes(known):
        return None
    return known.astype(tensor.dtype.numpy)


def symbolic_value(tensor: Tensor) -> Known | None:
    """The elements of a small integer or boolean tensor as an array of int and Size, or None."""
    memo = tensor.graph.values if tensor.graph is not None else {}
    stack = [tensor]
    visits = 0
    while stack:
        current = stack[-1]
        node = current.node
        if node in memo:
            stack.pop()
            continue
        visits += 1
        if visits > _VISITS:
            return None
        if not _followed(current):
            memo[node] = None
            continue
        waiting = [t for t in _needed(node) if t.node not in memo]
        if waiting:
            stack.extend(waiting)
            continue
        memo[node] = _evaluate(node, [memo[t.node] for t in _needed(node)])
    return memo[tensor.node]


def _followed(tensor: Tensor) -> bool:
    """Whether the node may have a known value. Feeds that replace it are the user's own affair."""
    node = tensor.node
    if len(node.outputs) != 1 or node.op.serial or node.op.name == "placeholder_with_default":
        return False
    if node.op.kind not in (LEAF, POINTWISE, REDUCE, VIEW) and node.op.name not in _SYMBOLIC:
        return False
    if not (tensor.dtype.is_integer or tensor.dtype.is_bool) or tensor.dims is None:
        return False
    total = sizes.product(tensor.dims)
    return isinstance(total, int) and total <= _LIMIT


def _needed(node: Node) -> list[Tensor]:
    return [t for i, t in enumerate(node.inputs) if i not in node.op.shape_only]


def _has_sizes(known: Known) -> bool:
    return any(isinstance(element, Size) for element in known.flat)


def _evaluate(node: Node, known: list[Known | None]) -> Known | None:
    if node.op.name == "constant":
        return node.attrs["value"].array.astype(object)
    if any(value is None for value in known):
        return None
    rule = _SYMBOLIC.get(node.op.name)
    symbolic = any(_has_sizes(value) for value in known)  # type: ignore[arg-type]
    if rule is not None and (symbolic or not known or node.op.reference is None):
        try:
            return rule(node, *known)
        except (TypeError, ZeroDivisionError, IndexError, ValueError):
            return None
    attrs_known = not any(sizes.symbols_of(tuple(node.attrs.values())))
    if symbolic or not attrs_known or node.op.reference is None or node.op.shape_only:
        return None
    arrays = [
        value.astype(t.dtype.numpy)  # type: ignore[union-attr]
        for value, t in zip(known, _needed(node), strict=True)
    ]
    try:
        return np.asarray(node.op.reference(arrays, node.attrs, node)[0]).astype(object)
    except Exception:  # noqa: BLE001  an undefined value (division by zero, …) is no known value
        return None


def _objects(elements, shape) -> Known:
    result = np.empty(len(elements), dtype=object)
    for position, element in enumerate(elements):
        result[position] = element
    return result.reshape(shape)


def _each(function: Callable) -> Callable:
    apply = np.frompyfunc(function, 2, 1)
    return lambda node, a, b: np.asarray(apply(a, b), dtype=object)


def _shape(node: Node) -> Known | None:
    dims = node.inputs[0].dims
    return None if dims is None else _objects(dims, (len(dims),))


def _size(node: Node) -> Known | None:
    dims = node.inputs[0].dims
    if dims is None:
        return None
    axes = node.attrs["axes"]
    chosen = dims if axes is None else [dims[axis] for axis in axes]
    return _objects([sizes.product(chosen)], ())


def _slice(node: Node, value: Known) -> Known:
    attrs = node.attrs
    for axis, (begin, size, stride) in enumerate(
        zip(attrs["begin"], attrs["size"], attrs["strides"], strict=True)
    ):
        value = np.take(value, [begin + i * stride for i in range(size)], axis=axis)
    return value


def _reduce(node: Node, value: Known) -> Known | None:
    function = {"sum": np.add, "prod": np.multiply}.get(node.attrs["kind"])
    if function is None:
        return None
    axes = node.attrs["axes"]
    axes = tuple(range(value.ndim)) if axes is None else axes
    return np.asarray(function.reduce(value, axis=axes), dtype=object)


def _gather(node: Node, value: Known, indices: Known) -> Known | None:
    if node.attrs.get("batch_dims", 0):
        return None
    return np.take(value, indices.astype(np.int64), axis=node.attrs["axis"])


def _truncatediv(a, b):
    if sizes.is_nonnegative(a) and sizes.is_nonnegative(b):
        return sizes.floordiv(a, b)
    raise TypeError("the sign is not known")


_SYMBOLIC: dict[str, Callable[..., Known | None]] = {
    **{name: lambda node, value: value for name in _PASSED_ON},
    "shape": _shape,
    "size": _size,
    "add": _each(lambda a, b: a + b),
    "sub": _each(lambda a, b: a - b),
    "mul": _each(lambda a, b: a * b),
    "floordiv": _each(lambda a, b: a // b),
    "truncatediv": _each(_truncatediv),
    "mod": _each(lambda a, b: a - (a // b) * b),
    "maximum": _each(sizes.maximum),
    "minimum": _each(sizes.minimum),
    "neg": lambda node, value: 0 - value,
    "reshape": lambda node, value: value.reshape(node.types[0].shape),
    "transpose": lambda node, value: value.transpose(node.attrs["perm"]),
    "broadcast_to": lambda node, value: np.broadcast_to(value, node.types[0].shape),
    "concat": lambda node, *values: np.concatenate(values, axis=node.attrs["axis"]),
    "reverse": lambda node, value: np.flip(value, node.attrs["axes"]),
    "slice": _slice,
    "reduce": _reduce,
    "gather": _gather,
}
