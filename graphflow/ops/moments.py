"""Mean and variance in one reading, and what normalisation does with them.

    moments(x; axes a .. b)                      -> mean, variance over these neighbouring axes
    normalize(x, mean, factor, offset)           -> (x - mean) * factor + offset
    normalize(x, mean, factor, offset, y, gain)  -> (x - mean) * factor + offset + y * gain

`moments` sees x as [batch, rows, columns]. Sums are of x - k and (x - k)^2, which a sum of squares
would lose to cancellation where the mean is large beside the spread: each chunk of rows takes for
k the mean of its first rows, a sixteenth of them at least. A fraction f of the rows has a mean
that differs from the chunk's by at most sqrt((1 - f) / f) standard deviations of the chunk, so at
most about 1 / f = 16 units of rounding are lost, whatever the data. Chunks, with means m_j and
sums of squared distances M_j, are combined as

    mean = sum n_j m_j / n,      n variance = sum M_j + n_j (m_j - mean)^2

T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance: analysis and
recommendations", The American Statistician 37 (1983).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import NEST, Op, define, find
from ..ir.types import SizeRules, TensorType, same_shape
from ..loop import nodes as loop
from ..sizes import Dim
from .convert import convert
from .indexing import reshaped
from .moments_loops import lower_moments
from .reduction import sum_to

# -- moments -------------------------------------------------------------------------------------


def _infer_moments(types, attrs, rules):
    (x,) = types
    if not x.dtype.is_floating:
        raise TypeRuleError(f"a floating-point tensor is needed, got {x.dtype}; cast it")
    if not 0 <= attrs["begin"] < attrs["end"] <= len(x.shape):
        raise TypeRuleError(f"axes {attrs['begin']} to {attrs['end']} are out of range for {x}")
    result = TensorType(x.dtype, (*x.shape[: attrs["begin"]], *x.shape[attrs["end"] :]))
    return result, result


def _reference_moments(arrays, attrs, node: Node):
    (x,) = arrays
    axes = tuple(range(attrs["begin"], attrs["end"]))
    count = x.dtype.type(np.prod([x.shape[axis] for axis in axes]))
    with np.errstate(all="ignore"):
        mean = x.sum(axes, keepdims=True) / count
        variance = np.square(x - mean).sum(axes) / count
    return np.asarray(mean.reshape(variance.shape), x.dtype), np.asarray(variance, x.dtype)


def _vjp_moments(node: Node, gradients):
    """x - mean is computed anew: reading it back from memory would take longer."""
    (x,) = node.inputs
    begin, end = node.attrs["begin"], node.attrs["end"]
    dims = tuple(1 if begin <= axis < end else dim for axis, dim in enumerate(x.dims))
    count = find("size")(x, axes=tuple(range(begin, end)), dtype=x.dtype)
    to_mean, to_variance = gradients
    share = None if to_mean is None else reshaped(find("div")(to_mean, count), dims)
    if to_variance is None:
        return [find("broadcast_to")(share, shape=x.dims)]
    slope = find("div")(find("mul")(to_variance, convert(2, x.dtype)), count)
    if share is None:
        share = find("broadcast_to")(convert(0, x.dtype), shape=dims)
    return [normalize_op(x, reshaped(node.outputs[0], dims), reshaped(slope, dims), share)]


moments_op = define(
    Op(
        name="moments",
        kind=NEST,
        infer=_infer_moments,
        reference=_reference_moments,
        vjp=_vjp_moments,
        lower=lower_moments,
        flops=4.0,
    )
)

# -- normalize -----------------------------------------------------------------------------------


def _infer_normalize(types, attrs, rules: SizeRules):
    x, mean, *_ = types
    if len(types) not in (4, 6):
        raise TypeRuleError(f"4 or 6 tensors are needed, got {len(types)}")
    if any(t.dtype is not x.dtype for t in types) or not x.dtype.is_floating:
        raise TypeRuleError("tensors of one floating-point dtype are needed")
    for other in (types[2], types[3], *types[5:]):
        same_shape(mean.shape, other.shape, rules, f"{mean} and {other} must have one shape")
    for other in types[4:5]:
        same_shape(x.shape, other.shape, rules, f"{x} and {other} must have one shape")
    if len(mean.shape) > len(x.shape):
        raise TypeRuleError(f"{mean} must broadcast to {x}")
    for own, dim in zip(reversed(mean.shape), reversed(x.shape), strict=False):
        if own != 1:
            rules.equal(own, dim, f"{mean} must broadcast to {x}")
    return (x,)


def _reference_normalize(arrays, attrs, node: Node):
    x, mean, factor, offset, *more = arrays
    with np.errstate(all="ignore"):
        result = (x - mean) * factor + offset
        if more:
            result = result + more[0] * more[1]
    return (np.asarray(result, x.dtype),)


def _lower_normalize(node: Node, index, context, output):
    mean, factor, offset = (context.read_broadcast(n, index) for n in (1, 2, 3))
    centred = loop.apply("sub", context.read(0, index), mean)
    result = loop.apply("add", loop.apply("mul", centred, factor), offset)
    if len(node.inputs) == 6:
        other = loop.apply("mul", context.read(4, index), context.read_broadcast(5, index))
        result = loop.apply("add", other, result)
    return result


def _vjp_normalize(node: Node, gradients):
    """The mean's gradient is the offset's times the factor, which needs no sum of its own."""
    (g,) = gradients
    x, mean, factor, offset, *more = node.inputs
    to_offset = sum_to(g, offset)
    to_factor = sum_to(find("mul")(g, find("sub")(x, mean)), factor)
    to_mean = find("neg")(find("mul")(to_offset, factor))
    result = [find("mul")(g, factor), to_mean, to_factor, to_offset]
    if more:
        y, gain = more
        result += [find("mul")(g, gain), sum_to(find("mul")(g, y), gain)]
    return result


# x, mean, factor, offset -> (x - mean) * factor + offset, and with y and gain + y * gain. All but
# x and y have one shape, which broadcasts to x.
normalize_op = define(
    Op(
        name="normalize",
        infer=_infer_normalize,
        reference=_reference_normalize,
        vjp=_vjp_normalize,
        lower=_lower_normalize,
        flops=3.0,
    )
)


def over_columns(x: Tensor, axes: Sequence[int]) -> bool:
    """Whether axes are neighbours with others behind them, where `moments` reads x once. Over the
    last axes, rows are short enough to be read twice from the cache."""
    if x.dims is None or not axes or not x.dtype.is_floating:
        return False
    return axes[-1] - axes[0] + 1 == len(axes) and axes[-1] < len(x.dims) - 1


def moments_over(x: Tensor, axes: Sequence[int], keepdims: bool) -> tuple[Tensor, Tensor]:
    """The primitive for sorted neighbouring axes."""
    mean, variance = moments_op(x, begin=axes[0], end=axes[-1] + 1)
    if keepdims:
        dims: list[Dim] = [1 if axis in axes else dim for axis, dim in enumerate(x.dims)]
        return reshaped(mean, dims), reshaped(variance, dims)
    return mean, variance
