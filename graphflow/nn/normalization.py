"""Normalisation by the moments of a tensor, and what leads to moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..framework import name_scope
from ..ir.node import Tensor
from ..ir.op import find
from ..ir.types import is_static
from ..ops.arithmetic import maximum
from ..ops.convert import convert, known_axes, known_axis, reject
from ..ops.custom_gradient import GradientRule, gradient_rule, with_rule
from ..ops.indexing import reshaped, transposed
from ..ops.math import rsqrt
from ..ops.moments import moments_over, normalize_op
from ..ops.padding import pad_op
from ..ops.pooling import window_sum
from ..ops.reduction import moments, reduce_mean, reduce_sum
from ..sizes import Dim, exact_quotient, product
from .spatial import channels_first

__all__ = [
    "batch_norm_with_global_normalization",
    "batch_normalization",
    "fused_batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_normalization",
    "lrn",
    "normalize_moments",
    "sufficient_statistics",
    "weighted_moments",
]


# -- by given moments ----------------------------------------------------------------------------


def batch_normalization(
    x, mean, variance, offset, scale, variance_epsilon, name: str | None = None
) -> Tensor:
    """scale · (x - mean) / sqrt(variance + variance_epsilon) + offset

    offset, scale: tensors that broadcast against x, or None (Ioffe and Szegedy 2015,
    arXiv:1502.03167).
    """
    with name_scope(name, "batchnorm") as scope:
        x = convert(x, what="batch_normalization")
        factor = rsqrt(convert(variance, x.dtype) + variance_epsilon)
        if scale is not None:
            factor = factor * scale
        shift = -convert(mean, x.dtype) * factor
        if offset is not None:
            shift = convert(offset, x.dtype) + shift
        return find("add")(x * factor, shift, name=scope)


def batch_norm_with_global_normalization(
    t=None,
    m=None,
    v=None,
    beta=None,
    gamma=None,
    variance_epsilon=None,
    scale_after_normalization: bool | None = None,
    name: str | None = None,
    input=None,  # noqa: A002
    mean=None,
    variance=None,
) -> Tensor:
    """TensorFlow 1's older name of `batch_normalization`: of t by m and v, with beta, and with
    gamma if scale_after_normalization."""
    x = t if input is None else input
    scale = gamma if scale_after_normalization else None
    mean, variance = (m if mean is None else mean), (v if variance is None else variance)
    return batch_normalization(x, mean, variance, beta, scale, variance_epsilon, name)


def batch_normalized(
    x: Tensor, scale, offset, epsilon: float, training=None, averages: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, mean, variance): x normalised by its moments over all but its last axes.

    scale, offset: of the shape of the last axes, or None (1 and 0).
    training: a bool scalar, and `averages` the (mean, variance) to use where it is false; the
        moments that are returned are those of x all the same.

    The gradient is stated, so that it is two readings of x and of the gradient of y: one for their
    two sums, and one for the gradient of x.
    """
    dims = next((t.dims for t in (scale, offset, *averages) if t is not None), x.dims[-1:])
    axes = tuple(range(len(x.dims) - len(dims)))
    if scale is None:
        scale = find("broadcast_to")(convert(1, x.dtype), shape=dims)
    if offset is None:
        offset = find("broadcast_to")(convert(0, x.dtype), shape=dims)
    others = () if training is None else (training, *averages)
    x, scale, offset, *given = (find("identity")(convert(t)) for t in (x, scale, offset, *others))
    batch_mean, batch_variance = moments_over(x, axes, keepdims=False)
    mean, variance = batch_mean, batch_variance
    if given:
        mean, variance = (
            find("select")(given[0], own, average)
            for own, average in zip((mean, variance), given[1:], strict=True)
        )
    inverse = rsqrt(variance + convert(epsilon, x.dtype))
    factor = inverse * scale
    y = normalize_op(x, mean, factor, offset)
    return with_rule(  # type: ignore[return-value]
        GradientRule("batch_norm", axes),
        (y, batch_mean, batch_variance),
        (x, scale, offset, *given),
        (mean, factor, inverse, batch_mean),
    )


@gradient_rule("batch_norm")
def _batch_norm_gradient(gradients, inputs, kept, axes):
    g, to_batch_mean, to_batch_variance = gradients
    x, _, _, *given = inputs
    mean, factor, inverse, batch_mean = kept
    one, two, half = (convert(value, x.dtype) for value in (1, 2, -0.5))
    to_offset = reduce_sum(g, list(axes))
    to_inverse = reduce_sum(g * (x - mean), list(axes))
    to_mean = -(to_offset * factor)
    to_variance = to_inverse * factor * inverse * inverse * half
    to_averages: list[Tensor | None] = []
    if given:
        share = find("cast")(given[0], dtype=x.dtype)
        rest = one - share
        to_averages = [None, to_mean * rest, to_variance * rest]
        to_mean, to_variance = to_mean * share, to_variance * share
    count = find("size")(x, axes=axes, dtype=x.dtype)
    slope = (to_variance + to_batch_variance) * two / count
    shift = (to_mean + to_batch_mean) / count
    if given:
        # Away from the moments of x the slope belongs to x - batch_mean.
        shift = shift + slope * (mean - batch_mean)
    to_x = normalize_op(x, mean, slope, shift, g, factor)
    return [to_x, to_inverse * inverse, to_offset, *to_averages]


def fused_batch_norm(
    x,
    scale,
    offset,
    mean=None,
    variance=None,
    epsilon: float = 0.001,
    data_format: str = "NHWC",
    is_training: bool = True,
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, mean, variance): images [batch, height, width, channels] normalised for each channel.

    scale, offset: [channels]. While training, mean and variance are those of x, of which the one
    that is returned is the unbiased estimate (n / (n - 1) times the one that x is divided by), as
    moving averages follow it; otherwise `mean` and `variance` are given and returned.
    """
    what = "fused_batch_norm"
    with name_scope(name, "FusedBatchNorm"):
        x = convert(x, what=what)
        if x.rank != 4 or not x.dtype.is_floating:
            reject(what, f"floating-point images of rank 4 are needed, {x.name} is {x.tensor_type}")
        first = channels_first(data_format, 2, what)
        scale, offset = (_vector(t, x, 1 if first else 3, what) for t in (scale, offset))
        last = transposed(x, (0, 2, 3, 1)) if first else x
        if is_training:
            if mean is not None or variance is not None:
                reject(what, "mean and variance are computed while training, not given")
            y, mean, variance = batch_normalized(last, scale, offset, epsilon)
            variance = unbiased(variance, last, (0, 1, 2))
        else:
            if mean is None or variance is None:
                reject(what, "mean and variance must be given when not training")
            mean, variance = convert(mean, x.dtype), convert(variance, x.dtype)
            y = batch_normalization(last, mean, variance, offset, scale, epsilon)
        return (transposed(y, (0, 3, 1, 2)) if first else y), mean, variance


def unbiased(variance: Tensor, x: Tensor, axes: Sequence[int]) -> Tensor:
    """n / (n - 1) times a variance over `axes` of x; of one element it is 0."""
    count = find("size")(x, axes=tuple(axes), dtype=x.dtype)
    return variance * (count / maximum(count - 1, 1))


# -- by moments of a part of each example --------------------------------------------------------


def _floats(x, what: str, rank: int) -> Tensor:
    x = convert(x, what=what)
    if x.rank is None or x.rank < rank:
        reject(what, f"a tensor of rank {rank} or more is needed, {x.name} is {x.tensor_type}")
    if not x.dtype.is_floating:
        reject(what, f"{x.name} is {x.dtype}; it must be floating-point")
    return x


def _scaled(x: Tensor, factor: Tensor, mean: Tensor, scale, offset) -> Tensor:
    y = (x - mean) * factor
    if scale is not None:
        y = y * scale
    return y if offset is None else y + offset


def layer_norm(
    x, scale=None, offset=None, axes=-1, epsilon: float = 1e-5, name: str | None = None
) -> Tensor:
    """scale · (x - mean) / sqrt(variance + epsilon) + offset, moments over `axes` of each example.

    axes: one axis or several; the last one by default. scale, offset: broadcast against x, or None.
    Ba, Kiros and Hinton 2016, arXiv:1607.06450.
    """
    with name_scope(name, "layer_norm"):
        x = _floats(x, "layer_norm", 1)
        chosen = known_axes(axes, len(x.dims), "layer_norm")
        mean, variance = moments(x, list(chosen), keepdims=True)
        return _scaled(x, rsqrt(variance + epsilon), mean, scale, offset)


def _per_channel(value, x: Tensor, axis: int, what: str) -> Tensor | None:
    """A vector of a number for each channel, shaped to broadcast against x."""
    if value is None:
        return None
    vector = _vector(value, x, axis, what)
    return reshaped(vector, [vector.dims[0] if a == axis else 1 for a in range(len(x.dims))])


def _vector(value, x: Tensor, axis: int, what: str) -> Tensor:
    vector = convert(value, x.dtype, what=what)
    # Sizes that are not known yet are compared by a run.
    if vector.rank != 1 or (
        vector.dims[0] != x.dims[axis] and is_static((vector.dims[0], x.dims[axis]))
    ):
        reject(
            what,
            f"{vector.name} {vector.tensor_type} must be a vector of the {x.dims[axis]} channels "
            f"of {x.name} {x.tensor_type}",
        )
    return vector


def group_norm(
    x,
    groups: int,
    scale=None,
    offset=None,
    axis: int = -1,
    epsilon: float = 1e-5,
    name: str | None = None,
) -> Tensor:
    """x normalised for each example and each of `groups` equal parts of its channels.

    x: [batch, ...] with channels along `axis`. scale, offset: [channels], or None.
    Wu and He 2018, arXiv:1803.08494.
    """
    with name_scope(name, "group_norm"):
        return _group_norm("group_norm", x, groups, scale, offset, axis, epsilon)


def instance_norm(
    x, scale=None, offset=None, axis: int = -1, epsilon: float = 1e-5, name: str | None = None
) -> Tensor:
    """x [batch, ...] normalised for each example and each channel, which are along `axis`.

    scale, offset: [channels], or None. Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022.
    """
    with name_scope(name, "instance_norm"):
        return _group_norm("instance_norm", x, None, scale, offset, axis, epsilon)


def _group_norm(what: str, x, groups: int | None, scale, offset, axis: int, epsilon) -> Tensor:
    x = _floats(x, what, 3)
    rank = len(x.dims)
    channel = known_axis(axis, rank, what)
    if channel == 0:
        reject(what, "axis 0 is the batch, not the channels")
    channels = x.dims[channel]
    if groups is not None:
        if isinstance(groups, bool) or not isinstance(groups, (int, np.integer)) or groups < 1:
            reject(what, f"groups must be a positive number, got {groups!r}")
        size = exact_quotient(channels, int(groups))
        if size is None:
            reject(what, f"{channels} channels of {x.name} do not divide into {groups} groups")
    others = [a for a in range(1, rank) if a != channel]
    # Of each channel first; channels of one group have the same number of elements, so theirs are
    # the mean of the means, and the mean variance and the variance of the means together.
    mean, variance = moments(x, others, keepdims=True)
    if groups is not None:
        assert size is not None
        batch = x.dims[0]
        whole = (batch, int(groups), size)
        mean, variance = (reshaped(t, whole) for t in (mean, variance))
        middle = reduce_mean(mean, 2, keepdims=True)
        away = mean - middle
        variance = reduce_mean(variance + away * away, 2, keepdims=True)
        shape: list[Dim] = [batch if a == 0 else 1 for a in range(rank)]
        shape[channel] = channels
        mean = reshaped(find("broadcast_to")(middle, shape=whole), shape)
        variance = reshaped(find("broadcast_to")(variance, shape=whole), shape)
    factor = rsqrt(variance + epsilon)
    scale = _per_channel(scale, x, channel, what)
    return _scaled(x, factor, mean, scale, _per_channel(offset, x, channel, what))


def local_response_normalization(
    input,  # noqa: A002
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    name: str | None = None,
) -> Tensor:
    """input / (bias + alpha · s) ** beta, s the sum of squares of the channels at most
    `depth_radius` away.

    input: floats [batch, height, width, channels]. Krizhevsky, Sutskever and Hinton 2012, section
    3.3.
    """
    what = "local_response_normalization"
    with name_scope(name, "LRN") as scope:
        x = _floats(input, what, 4)
        if x.rank != 4:
            reject(what, f"images of rank 4 are needed, {x.name} is {x.tensor_type}")
        if isinstance(depth_radius, bool) or not isinstance(depth_radius, (int, np.integer)):
            reject(what, f"depth_radius must be a number, got {depth_radius!r}")
        radius = int(depth_radius)
        if radius < 0:
            reject(what, f"depth_radius must not be negative, got {radius}")
        channels = x.dims[-1]
        squares = reshaped(x * x, (product(x.dims[:-1]), channels, 1))
        # Zeros outside, so that every window is whole.
        around = (0, radius, 0)
        squares = pad_op(squares, before=around, after=around, mode="constant", value=0)
        total = window_sum(
            squares, kernel=(2 * radius + 1,), strides=(1,), padding=((0, 0),), dilation=(1,),
            counted=None,
        )  # fmt: skip
        total = reshaped(total, x.dims)
        return find("mul")(x, (total * alpha + bias) ** -beta, name=scope)


lrn = local_response_normalization


# -- moments in steps ----------------------------------------------------------------------------


def sufficient_statistics(
    x, axes, shift=None, keep_dims=None, name: str | None = None, keepdims=None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """(count, sum, sum of squares, shift) over `axes`, of x - shift where there is a shift.

    count: a scalar of x's dtype. A shift near the mean keeps the digits of the variance.
    """
    with name_scope(name, "sufficient_statistics"):
        x = convert(x, what="sufficient_statistics")
        chosen = known_axes(axes, len(x.dims), "sufficient_statistics")
        keep = bool(keep_dims or keepdims)
        count = find("size")(x, axes=chosen, dtype=x.dtype)
        if shift is not None:
            shift = convert(shift, x.dtype)
            x = x - shift
        total = reduce_sum(x, list(chosen), keepdims=keep, name="mean_ss")
        squares = reduce_sum(x * x, list(chosen), keepdims=keep, name="var_ss")
        return count, total, squares, shift


def normalize_moments(
    counts, mean_ss, variance_ss, shift, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """(mean, variance) of what `sufficient_statistics` gave."""
    with name_scope(name, "normalize"):
        mean_ss = convert(mean_ss, what="normalize_moments")
        share = find("reciprocal")(convert(counts, mean_ss.dtype))
        mean = shifted = mean_ss * share
        if shift is not None:
            mean = shifted + convert(shift, mean_ss.dtype)
        return mean, convert(variance_ss, mean_ss.dtype) * share - shifted * shifted


def weighted_moments(
    x, axes, frequency_weights, name: str | None = None, keep_dims=None, keepdims=None
) -> tuple[Tensor, Tensor]:
    """(mean, variance) over `axes`, each element counting as often as its weight says.

    frequency_weights: broadcasts against x; it may be of another number type.
    """
    with name_scope(name, "weighted_moments"):
        x = convert(x, what="weighted_moments")
        weights = convert(frequency_weights, what="weighted_moments")
        if weights.dtype is not x.dtype:
            weights = find("cast")(weights, dtype=x.dtype)
        chosen = list(known_axes(axes, len(x.dims), "weighted_moments"))
        weights = find("broadcast_to")(weights, shape=x.dims)
        total = reduce_sum(weights, chosen, keepdims=True)
        mean = reduce_sum(weights * x, chosen, keepdims=True) / total
        centred = x - mean
        variance = reduce_sum(weights * centred * centred, chosen, keepdims=True) / total
        if keep_dims or keepdims:
            return mean, variance
        dims = [dim for axis, dim in enumerate(x.dims) if axis not in chosen]
        return reshaped(mean, dims), reshaped(variance, dims)
