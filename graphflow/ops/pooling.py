"""Pooling: maxima, sums and means of windows that slide along the spatial dimensions.

Layout is channels-last. With r spatial dimensions, 1 to 3, and windows as in windows.py,

    window_max(x[N, S.., C])             -> y[N, T.., C], where[N, T.., C]
    window_take(x[N, S.., C], where)     -> y[N, T.., C]    the element that `where` names
    window_put(g[N, T.., C], where)      -> x[N, S.., C]    its transpose
    window_sum(x[N, S.., C])             -> y[N, T.., C]
    window_spread(g[N, T.., C])          -> x[N, S.., C]    its transpose

Padding never takes part. `where` is the number of the tap, in row-major order of the window, that
holds the first maximum; a NaN counts as larger than any number, and the first one stays. It is a
byte for windows of up to 256 taps. That is what the gradient of a maximum needs, and the cheapest
to keep: for windows of 2 by 2 apart from each other, with x of 4 units of memory, a gradient that
finds the maxima again reads x, y and g and writes x's gradient, 10 units; with `where` it moves
5¼, at ¼ unit more for the forward pass, and x need not be kept. Where nothing is differentiated
`where` is not computed.

`counted` of a sum is None, or the padding (before, after) that counts in the number which each sum
is divided by: ((0, 0), ...) divides by the elements of the window that are in the input, the
padding itself by all taps.

`take` and `put`, and `sum` and `spread`, are linear and each other's gradient, so the family is
closed under differentiation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product as indices
from math import prod
from typing import Any

import numpy as np

from ..dtypes import DType, int32, uint8
from ..errors import TypeRuleError
from ..ir.node import Node
from ..ir.op import NEST, Op, define
from ..ir.types import TensorType, same_shape
from ..sizes import Dim
from .pooling_kinds import (
    lower_window_max,
    lower_window_put,
    lower_window_spread,
    lower_window_sum,
    lower_window_take,
)
from .windows import Window, check_positive, pooling_windows

# -- types ---------------------------------------------------------------------------------------


def tap_dtype(kernel: Sequence[int]) -> DType:
    """The dtype that numbers the taps of a window."""
    return uint8 if prod(kernel) <= 256 else int32


def _check_attributes(attrs, rank: int) -> None:
    check_positive("window sizes", attrs["kernel"], rank)
    check_positive("strides", attrs["strides"], rank)
    check_positive("dilation", attrs["dilation"], rank)
    if len(attrs["padding"]) != rank or any(len(pair) != 2 for pair in attrs["padding"]):
        raise TypeRuleError(f"padding {attrs['padding']} must be a pair for each of {rank} axes")


def _check_window(window: Window, axis: int) -> None:
    for amount in (window.low, window.high):
        if isinstance(amount, int) and amount >= window.extent:
            raise TypeRuleError(
                f"the padding {amount} of axis {axis} is not smaller than the window, whose extent "
                f"is {window.extent}"
            )
    if isinstance(window.low, int) and window.low < 0:
        raise TypeRuleError(f"the padding {window.low} of axis {axis} is negative")


def _check_input(x: TensorType, attrs, floating: bool) -> None:
    if x.shape is None or x.rank not in (3, 4, 5):
        raise TypeRuleError(
            f"the input {x} must have a batch, 1 to 3 spatial dimensions and channels"
        )
    if floating and not x.dtype.is_floating:
        raise TypeRuleError(f"averages need floating-point tensors, got {x.dtype}; cast it")
    if not x.dtype.is_numeric:
        raise TypeRuleError(f"a numeric tensor is needed, got {x.dtype}")
    _check_attributes(attrs, len(x.shape) - 2)


def _pooled(x: TensorType, attrs, rules) -> tuple[Dim, ...]:
    """The shape that windows over `x` give."""
    steps = []
    assert x.shape is not None
    for axis, window in enumerate(pooling_windows(x.shape[1:-1], attrs)):
        _check_window(window, axis + 1)
        steps.append(window.check(rules, f"axis {axis + 1} of the input {x}"))
    return (x.shape[0], *steps, x.shape[-1])


def _infer_max(types, attrs, rules):
    (x,) = types
    _check_input(x, attrs, floating=False)
    shape = _pooled(x, attrs, rules)
    return TensorType(x.dtype, shape), TensorType(tap_dtype(attrs["kernel"]), shape)


def _infer_sum(types, attrs, rules):
    (x,) = types
    _check_input(x, attrs, floating=True)
    return (TensorType(x.dtype, _pooled(x, attrs, rules)),)


def _infer_take(types, attrs, rules):
    x, where = types
    _check_input(x, attrs, floating=True)
    shape = _pooled(x, attrs, rules)
    message = f"the places {where} must have the shape {TensorType(x.dtype, shape)} of the windows"
    same_shape(shape, where.shape, rules, message)
    return (TensorType(x.dtype, shape),)


def _spread(g: TensorType, attrs, rules) -> TensorType:
    """The type of the tensor that the windows of `g` slide over."""
    _check_input(g, attrs, floating=True)
    assert g.shape is not None
    if len(attrs["sizes"]) != len(g.shape) - 2:
        raise TypeRuleError(f"the sizes {attrs['sizes']} are not one for each axis of {g}")
    x = TensorType(g.dtype, (g.shape[0], *attrs["sizes"], g.shape[-1]))
    shape = _pooled(x, attrs, rules)
    same_shape(shape, g.shape, rules, f"the windows of {x} give {shape}, not {g}")
    return x


def _infer_put(types, attrs, rules):
    g, where = types
    same_shape(g.shape, where.shape, rules, f"{g} and its places {where} differ in shape")
    return (_spread(g, attrs, rules),)


# -- reference -----------------------------------------------------------------------------------

_Taps = Iterator[tuple[int, tuple, tuple]]


def _taps(windows: Sequence[Window]) -> _Taps:
    """(number, elements of the input, elements of the output) that each tap pairs, as slices."""
    everything = slice(None)
    for number, taps in enumerate(indices(*(range(w.kernel) for w in windows))):
        source, target = [everything], [everything]
        for window, k in zip(windows, taps, strict=True):
            start = k * window.dilation - window.low
            first = max(0, -(start // window.stride))
            last = min(window.steps - 1, (window.size - 1 - start) // window.stride)
            count = max(0, last - first + 1)
            begin = start + first * window.stride if count else 0
            source.append(slice(begin, begin + count * window.stride, window.stride))
            target.append(slice(first, first + count))
        yield number, tuple(source), tuple(target)


def _windows(node: Node, attrs, shape: Sequence[int]) -> tuple[Window, ...]:
    return pooling_windows(tuple(shape[1:-1]), attrs)


def _shape(windows: Sequence[Window], like: Sequence[int]) -> tuple:
    return (like[0], *(w.steps for w in windows), like[-1])


def _reference_max(arrays, attrs, node: Node):
    (x,) = arrays
    windows = _windows(node, attrs, x.shape)
    shape = _shape(windows, x.shape)
    best = np.full(shape, node.types[0].dtype.min if x.dtype.kind != "f" else -np.inf, x.dtype)
    where = np.zeros(shape, tap_dtype(attrs["kernel"]).numpy)
    seen = np.zeros(shape, bool)
    for number, source, target in _taps(windows):
        value, held = x[source], best[target]
        better = ~seen[target] | (~(value <= held) & (held == held))
        best[target] = np.where(better, value, held)
        where[target] = np.where(better, number, where[target])
        seen[target] = True
    return best, where


def _reference_take(arrays, attrs, node: Node):
    x, where = arrays
    windows = _windows(node, attrs, x.shape)
    result = np.zeros(where.shape, x.dtype)
    for number, source, target in _taps(windows):
        result[target] = np.where(where[target] == number, x[source], result[target])
    return (result,)


def _reference_put(arrays, attrs, node: Node):
    g, where = arrays
    shape = (g.shape[0], *attrs["sizes"], g.shape[-1])
    result = np.zeros(shape, g.dtype)
    for number, source, target in _taps(_windows(node, attrs, shape)):
        result[source] += np.where(where[target] == number, g[target], 0)
    return (result,)


def _counts(windows: Sequence[Window], counted, dtype) -> np.ndarray | int:
    """What each sum is divided by, broadcast over batch and channels."""
    if counted is None:
        return 1
    rank = len(windows)
    result = np.ones((1,) * (rank + 1))
    for axis, (window, (before, after)) in enumerate(zip(windows, counted, strict=True)):
        places: Any = np.arange(window.steps)[:, None] * window.stride - window.low  # type: ignore[operator, arg-type]
        places = places + np.arange(window.kernel) * window.dilation
        inside = (places >= -before) & (places < window.size + after)
        count = inside.sum(1).reshape([-1 if a == axis else 1 for a in range(rank)] + [1])
        result = result * count
    return np.maximum(result, 1).astype(dtype)


def _reference_sum(arrays, attrs, node: Node):
    (x,) = arrays
    windows = _windows(node, attrs, x.shape)
    result = np.zeros(_shape(windows, x.shape), x.dtype)
    for _, source, target in _taps(windows):
        result[target] += x[source]
    return ((result / _counts(windows, attrs["counted"], x.dtype)).astype(x.dtype),)


def _reference_spread(arrays, attrs, node: Node):
    (g,) = arrays
    shape = (g.shape[0], *attrs["sizes"], g.shape[-1])
    windows = _windows(node, attrs, shape)
    share = (g / _counts(windows, attrs["counted"], g.dtype)).astype(g.dtype)
    result = np.zeros(shape, g.dtype)
    for _, source, target in _taps(windows):
        result[source] += share[target]
    return (result,)


# -- derivatives ---------------------------------------------------------------------------------


def _geometry(node: Node) -> dict:
    return {name: node.attrs[name] for name in ("kernel", "strides", "padding", "dilation")}


def _vjp_max(node: Node, gradients):
    (x,) = node.inputs
    g = gradients[0]
    if g is None:
        return [None]
    return [window_put(g, node.outputs[1], sizes=x.dims[1:-1], **_geometry(node))]


def _vjp_take(node: Node, gradients):
    x, where = node.inputs
    return [window_put(gradients[0], where, sizes=x.dims[1:-1], **_geometry(node)), None]


def _vjp_put(node: Node, gradients):
    return [window_take(gradients[0], node.inputs[1], **_geometry(node)), None]


def _vjp_sum(node: Node, gradients):
    (x,) = node.inputs
    attrs = _geometry(node)
    counted = node.attrs["counted"]
    return [window_spread(gradients[0], counted=counted, sizes=x.dims[1:-1], **attrs)]


def _vjp_spread(node: Node, gradients):
    return [window_sum(gradients[0], counted=node.attrs["counted"], **_geometry(node))]


# -- the primitives ------------------------------------------------------------------------------

window_max = define(
    Op(
        name="window_max",
        kind=NEST,
        infer=_infer_max,
        reference=_reference_max,
        vjp=_vjp_max,
        lower=lower_window_max,
        optional=(0, 1),
        flops=9.0,
    )
)
window_take = define(
    Op(
        name="window_take",
        kind=NEST,
        infer=_infer_take,
        reference=_reference_take,
        vjp=_vjp_take,
        lower=lower_window_take,
        flops=9.0,
    )
)
window_put = define(
    Op(
        name="window_put",
        kind=NEST,
        infer=_infer_put,
        reference=_reference_put,
        vjp=_vjp_put,
        lower=lower_window_put,
        flops=3.0,
    )
)
window_sum = define(
    Op(
        name="window_sum",
        kind=NEST,
        infer=_infer_sum,
        reference=_reference_sum,
        vjp=_vjp_sum,
        lower=lower_window_sum,
        flops=9.0,
    )
)
window_spread = define(
    Op(
        name="window_spread",
        kind=NEST,
        infer=lambda types, attrs, rules: (_spread(types[0], attrs, rules),),
        reference=_reference_spread,
        vjp=_vjp_spread,
        lower=lower_window_spread,
        flops=3.0,
    )
)
