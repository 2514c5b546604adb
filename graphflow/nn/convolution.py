"""Convolutions with the names and arguments of TensorFlow 1.

Common to all of them:

strides, dilations: a number, a list of one, of one for each spatial dimension, or of one for each
    dimension in the data format; both may be larger than 1.
padding: "SAME" (an output for every `stride` inputs), "VALID" (none), or a list of pairs (before,
    after), for each spatial dimension or for each dimension in the data format.
data_format: "NHWC" ("NWC", "NDHWC"), the default, or "NCHW" ("NCW", "NCDHW"); also of the result.
groups: input and output channels fall into so many equal parts, convolved separately.

Inputs are float32 or float64. TypeRuleError, with the user's line, is raised where shapes do not
fit: the kernel's channels, channels that do not divide into groups, a window larger than the
padded input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..framework import name_scope
from ..ir.node import Tensor
from ..ops.convert import convert, convert_pair, reject
from ..ops.convolution import convolve
from ..ops.indexing import reshaped
from ..sizes import Dim, multiply
from .spatial import (
    channels_first,
    channels_last,
    known_rank,
    moved_back,
    paddings,
    per_axis,
)

__all__ = [
    "atrous_conv2d",
    "conv1d",
    "conv2d",
    "conv3d",
    "convolution",
    "depthwise_conv2d",
    "depthwise_conv2d_native",
    "separable_conv2d",
]


def one_of(first, second, what: str, names: str):
    """The value of an argument that has two names."""
    if (first is None) == (second is None):
        reject(what, f"give {names}" if first is None else f"give only one of {names}")
    return second if first is None else first


def attributes(
    dims: Sequence[Dim], kernel: Sequence[Dim], strides, padding, dilations, groups, what, first
) -> dict[str, Any]:
    """The attributes of a convolution of an input whose shape is `dims`, channels last."""
    rank = len(dims) - 2
    if any(not isinstance(size, int) for size in kernel):
        reject(what, f"the window of the kernel must be known, but is {list(kernel)}")
    pace = per_axis(strides, rank, what, "strides", first)
    spacing = per_axis(dilations, rank, what, "dilations", first)
    extents = [multiply(size - 1, d) + 1 for size, d in zip(kernel, spacing, strict=True)]
    return {
        "strides": pace,
        "padding": paddings(padding, dims[1:-1], extents, pace, what, first),
        "dilation": spacing,
        "expansion": (1,) * rank,
        "groups": per_axis(groups, 1, what, "groups")[0],
    }


def _convolve(
    value, kernel, rank, strides, padding, dilations, data_format, groups, what, name
) -> Tensor:
    x, w = convert_pair(value, kernel, what)
    known_rank(x, rank, what)
    known_rank(w, rank, what, "filter")
    first = channels_first(data_format, rank, what)
    x = channels_last(x, first)
    attrs = attributes(x.dims, w.dims[:-2], strides, padding, dilations, groups, what, first)
    return moved_back(convolve(x, w, **attrs, name=None if first else name), first, name)


def conv1d(
    value=None,
    filters=None,
    stride=None,
    padding=None,
    use_cudnn_on_gpu: bool | None = None,
    data_format: str | None = None,
    name: str | None = None,
    input=None,  # noqa: A002
    dilations=None,
    groups: int = 1,
) -> Tensor:
    """Slides a kernel [width, C / groups, O] over [N, W, C]; gives [N, W', O].

    use_cudnn_on_gpu: accepted and without effect.
    """
    value = one_of(value, input, "conv1d", "value or input")
    return _convolve(
        value, filters, 1, stride, padding, dilations, data_format, groups, "conv1d",
        name or "conv1d",
    )  # fmt: skip


def conv2d(
    input,  # noqa: A002
    filter=None,  # noqa: A002
    strides=None,
    padding=None,
    use_cudnn_on_gpu: bool = True,
    data_format: str | None = "NHWC",
    dilations=None,
    name: str | None = None,
    filters=None,
    groups: int = 1,
) -> Tensor:
    """Slides a kernel [height, width, C / groups, O] over [N, H, W, C]; gives [N, H', W', O].

    use_cudnn_on_gpu: accepted and without effect.
    """
    kernel = one_of(filter, filters, "conv2d", "filter or filters")
    return _convolve(
        input, kernel, 2, strides, padding, dilations, data_format, groups, "conv2d",
        name or "Conv2D",
    )  # fmt: skip


def conv3d(
    input,  # noqa: A002
    filter=None,  # noqa: A002
    strides=None,
    padding=None,
    data_format: str | None = "NDHWC",
    dilations=None,
    name: str | None = None,
    filters=None,
    groups: int = 1,
) -> Tensor:
    """Slides a kernel [depth, height, width, C / groups, O] over [N, D, H, W, C]."""
    kernel = one_of(filter, filters, "conv3d", "filter or filters")
    return _convolve(
        input, kernel, 3, strides, padding, dilations, data_format, groups, "conv3d",
        name or "Conv3D",
    )  # fmt: skip


def convolution(
    input,  # noqa: A002
    filter=None,  # noqa: A002
    padding=None,
    strides=None,
    dilation_rate=None,
    name: str | None = None,
    data_format: str | None = None,
    filters=None,
    dilations=None,
    groups: int = 1,
) -> Tensor:
    """A convolution along as many spatial dimensions as the input has, 1 to 3.

    dilation_rate: the older name of dilations.
    """
    what = "convolution"
    kernel = one_of(filter, filters, what, "filter or filters")
    if dilations is not None and dilation_rate is not None:
        reject(what, "give only one of dilations and dilation_rate")
    x, w = convert_pair(input, kernel, what)
    if x.rank not in (3, 4, 5):
        reject(what, f"the input must have rank 3, 4 or 5, {x.name} is {x.tensor_type}")
    return _convolve(
        x, w, x.rank - 2, strides, padding, dilation_rate if dilations is None else dilations,
        data_format, groups, what, name or "convolution",
    )  # fmt: skip


def atrous_conv2d(value, filters, rate, padding, name: str | None = None) -> Tensor:
    """conv2d whose kernel's taps are `rate` apart along both dimensions; no strides."""
    return _convolve(
        value, filters, 2, 1, padding, rate, None, 1, "atrous_conv2d", name or "convolution"
    )


# -- depthwise -----------------------------------------------------------------------------------


def by_channel(kernel, x: Tensor, what: str) -> tuple[Tensor, int]:
    """A depthwise kernel [height, width, C, M] as [height, width, 1, C * M], and C, its groups."""
    w = convert(kernel, x.dtype, what=what)
    known_rank(w, 2, what, "filter")
    channels = w.dims[-2]
    if not isinstance(channels, int):
        reject(what, f"the filter's channels must be known, {w.name} is {w.tensor_type}")
    return reshaped(w, [*w.dims[:-2], 1, multiply(channels, w.dims[-1])]), channels


def _require_channels(x: Tensor, channels: Dim, first: bool, what: str) -> None:
    found = x.dims[1 if first else -1]
    if isinstance(found, int) and found != channels:
        reject(
            what,
            f"the filter is for {channels} channels, but {x.name} {x.tensor_type} has {found}",
        )


def depthwise_conv2d(
    input,  # noqa: A002
    filter=None,  # noqa: A002
    strides=None,
    padding=None,
    rate=None,
    name: str | None = None,
    data_format: str | None = None,
    dilations=None,
) -> Tensor:
    """Convolves each channel of [N, H, W, C] with M kernels of its own; gives [N, H', W', C * M].

    filter: [height, width, C, M]. rate: the older name of dilations.
    """
    what = "depthwise_conv2d"
    if rate is not None and dilations is not None:
        reject(what, "give only one of rate and dilations")
    x = convert(input, what=what)
    known_rank(x, 2, what)
    first = channels_first(data_format, 2, what)
    kernel, channels = by_channel(filter, x, what)
    _require_channels(x, channels, first, what)
    return _convolve(
        x, kernel, 2, strides, padding, rate if dilations is None else dilations, data_format,
        channels, what, name or "depthwise",
    )  # fmt: skip


def depthwise_conv2d_native(
    input,  # noqa: A002
    filter,  # noqa: A002
    strides,
    padding,
    data_format: str | None = "NHWC",
    dilations=None,
    name: str | None = None,
) -> Tensor:
    """The same as `depthwise_conv2d`, with its arguments in another order."""
    return depthwise_conv2d(
        input, filter, strides, padding, dilations, name or "DepthwiseConv2dNative", data_format
    )


def separable_conv2d(
    input,  # noqa: A002
    depthwise_filter,
    pointwise_filter,
    strides,
    padding,
    rate=None,
    name: str | None = None,
    data_format: str | None = None,
    dilations=None,
) -> Tensor:
    """depthwise_conv2d with a filter [height, width, C, M], then conv2d with [1, 1, C * M, O].

    Strides and dilations belong to the first of them.
    """
    what = "separable_conv2d"
    with name_scope(name, what) as scope:
        x = convert(input, what=what)
        pointwise = convert(pointwise_filter, x.dtype, what=what)
        known_rank(pointwise, 2, what, "pointwise filter")
        if pointwise.dims[:2] != (1, 1):
            reject(
                what,
                f"the pointwise filter must be [1,1,C*M,O], {pointwise.name} is "
                f"{pointwise.tensor_type}",
            )
        between = depthwise_conv2d(
            x, depthwise_filter, strides, padding, rate, None, data_format, dilations
        )
        return _convolve(between, pointwise, 2, 1, "VALID", 1, data_format, 1, what, scope)
