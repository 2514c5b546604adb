"""Transposed convolutions and the gradients of convolutions, by the names of TensorFlow 1.

See `convolution.py` for what strides, padding, data_format, dilations and groups are.
"""

from __future__ import annotations

from ..ir.node import Tensor
from ..ops.convert import as_sizes, convert, convert_pair, reject
from ..ops.convolution import convolve_inputs, convolve_weights
from ..ops.indexing import reshaped
from ..ops.tensor_shape import require_equal
from ..ops.windows import windows_of
from ..sizes import multiply
from .convolution import attributes, by_channel, one_of
from .spatial import channels_first, channels_last, known_rank, moved_back, shape_last

__all__ = [
    "atrous_conv2d_transpose",
    "conv1d_transpose",
    "conv2d_backprop_filter",
    "conv2d_backprop_input",
    "conv2d_transpose",
    "conv3d_backprop_filter",
    "conv3d_backprop_filter_v2",
    "conv3d_transpose",
    "depthwise_conv2d_native_backprop_filter",
    "depthwise_conv2d_native_backprop_input",
]


def _transposed(
    value, kernel, output_shape, rank, strides, padding, dilations, data_format, groups, what, name
) -> Tensor:
    """What a convolution with result `value` says about its input of shape `output_shape`."""
    g, w = convert_pair(value, kernel, what)
    known_rank(g, rank, what)
    known_rank(w, rank, what, "filter")
    first = channels_first(data_format, rank, what)
    if output_shape is None:
        reject(what, "the output's shape is needed")
    dims = shape_last(as_sizes(output_shape, what), first)
    g = channels_last(g, first)
    if len(dims) != rank + 2:
        reject(what, f"the output has rank {rank + 2}, but its shape is {dims}")
    if isinstance(dims[0], int) and isinstance(g.dims[0], int) and dims[0] != g.dims[0]:
        reject(what, f"the batch of {g.name} is {g.dims[0]}, that of the output's shape {dims[0]}")
    attrs = attributes(dims, w.dims[:-2], strides, padding, dilations, groups, what, first)
    channels = multiply(w.dims[-2], attrs["groups"])
    if dims[-1] != channels or w.dims[-1] != g.dims[-1]:
        reject(
            what,
            f"a filter {w.tensor_type} is for {w.dims[-1]} channels in and {channels} out, but the "
            f"input has {g.dims[-1]}, and the output's shape {dims[-1]}",
        )
    steps = [window.steps for window in windows_of(dims, w.dims[:-2], attrs)]
    for axis, (wanted, found) in enumerate(zip(steps, g.dims[1:-1], strict=True)):
        if isinstance(wanted - found, int) and wanted != found:
            reject(
                what,
                f"a convolution of the output's shape gives {wanted} along spatial dimension "
                f"{axis}, but the input {g.tensor_type} has {found}",
            )
    plain = None if first else name
    y = convolve_inputs(g, w, [g.dims[0], *dims[1:]], attrs, plain)
    require_equal(y, [(g.dims[0], dims[0]), *zip(g.dims[1:-1], steps, strict=True)])
    return moved_back(y, first, name)


def conv1d_transpose(
    input,  # noqa: A002
    filters,
    output_shape,
    strides,
    padding="SAME",
    data_format: str | None = "NWC",
    dilations=None,
    name: str | None = None,
    groups: int = 1,
) -> Tensor:
    """The transpose of conv1d: [N, W', C] to `output_shape` [N, W, O]; filters [width, O, C]."""
    return _transposed(
        input, filters, output_shape, 1, strides, padding, dilations, data_format, groups,
        "conv1d_transpose", name or "conv1d_transpose",
    )  # fmt: skip


def conv2d_transpose(
    value=None,
    filter=None,  # noqa: A002
    output_shape=None,
    strides=None,
    padding="SAME",
    data_format: str | None = "NHWC",
    name: str | None = None,
    input=None,  # noqa: A002
    filters=None,
    dilations=None,
    groups: int = 1,
) -> Tensor:
    """The transpose of conv2d (Zeiler et al. 2010, "Deconvolutional networks"): [N, H', W', C] to
    `output_shape` [N, H, W, O], such that conv2d of the output has the shape of the input.

    filter: [height, width, O / groups, C]. output_shape: numbers, or sizes from `shape(x)`.
    """
    what = "conv2d_transpose"
    value = one_of(value, input, what, "value or input")
    kernel = one_of(filter, filters, what, "filter or filters")
    return _transposed(
        value, kernel, output_shape, 2, strides, padding, dilations, data_format, groups, what,
        name or what,
    )  # fmt: skip


def conv3d_transpose(
    value=None,
    filter=None,  # noqa: A002
    output_shape=None,
    strides=None,
    padding="SAME",
    data_format: str | None = "NDHWC",
    name: str | None = None,
    input=None,  # noqa: A002
    filters=None,
    dilations=None,
    groups: int = 1,
) -> Tensor:
    """The transpose of conv3d: [N, D', H', W', C] to `output_shape` [N, D, H, W, O]; filter
    [depth, height, width, O / groups, C]."""
    what = "conv3d_transpose"
    value = one_of(value, input, what, "value or input")
    kernel = one_of(filter, filters, what, "filter or filters")
    return _transposed(
        value, kernel, output_shape, 3, strides, padding, dilations, data_format, groups, what,
        name or what,
    )  # fmt: skip


def atrous_conv2d_transpose(
    value, filters, output_shape, rate, padding, name: str | None = None
) -> Tensor:
    """The transpose of atrous_conv2d; filters [height, width, O, C]."""
    return _transposed(
        value, filters, output_shape, 2, 1, padding, rate, None, 1, "atrous_conv2d_transpose",
        name or "atrous_conv2d_transpose",
    )  # fmt: skip


# -- gradients by name ---------------------------------------------------------------------------


def conv2d_backprop_input(
    input_sizes,
    filter=None,  # noqa: A002
    out_backprop=None,
    strides=None,
    padding=None,
    use_cudnn_on_gpu: bool = True,
    data_format: str | None = "NHWC",
    dilations=None,
    name: str | None = None,
    filters=None,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv2d with respect to an input of shape `input_sizes`."""
    what = "conv2d_backprop_input"
    kernel = one_of(filter, filters, what, "filter or filters")
    return _transposed(
        out_backprop, kernel, input_sizes, 2, strides, padding, dilations, data_format, groups,
        what, name or "Conv2DBackpropInput",
    )  # fmt: skip


def depthwise_conv2d_native_backprop_input(
    input_sizes,
    filter,  # noqa: A002
    out_backprop,
    strides,
    padding,
    data_format: str | None = "NHWC",
    dilations=None,
    name: str | None = None,
) -> Tensor:
    """The gradient of depthwise_conv2d with respect to an input of shape `input_sizes`."""
    what = "depthwise_conv2d_native_backprop_input"
    g = convert(out_backprop, what=what)
    kernel, channels = by_channel(filter, g, what)
    return _transposed(
        g, kernel, input_sizes, 2, strides, padding, dilations, data_format, channels, what,
        name or "DepthwiseConv2dNativeBackpropInput",
    )  # fmt: skip


def _weights(
    value, sizes, gradient, rank, strides, padding, dilations, data_format, groups, what, name
) -> Tensor:
    x, g = convert_pair(value, gradient, what)
    known_rank(x, rank, what)
    known_rank(g, rank, what, "gradient")
    first = channels_first(data_format, rank, what)
    dims = as_sizes(sizes, what)
    if len(dims) != rank + 2:
        reject(what, f"the filter has rank {rank + 2}, but its shape is {list(dims)}")
    x, g = channels_last(x, first), channels_last(g, first)
    attrs = attributes(x.dims, dims[:-2], strides, padding, dilations, groups, what, first)
    w = convolve_weights(x, g, kernel=tuple(dims[:-2]), **attrs, name=name)
    if w.dims != tuple(dims):
        reject(what, f"the filter's shape is {list(w.dims)}, not {list(dims)}")
    return w


def conv2d_backprop_filter(
    input,  # noqa: A002
    filter_sizes,
    out_backprop,
    strides,
    padding,
    use_cudnn_on_gpu: bool = True,
    data_format: str | None = "NHWC",
    dilations=None,
    name: str | None = None,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv2d with respect to a filter of shape `filter_sizes`."""
    return _weights(
        input, filter_sizes, out_backprop, 2, strides, padding, dilations, data_format, groups,
        "conv2d_backprop_filter", name or "Conv2DBackpropFilter",
    )  # fmt: skip


def conv3d_backprop_filter_v2(
    input,  # noqa: A002
    filter_sizes,
    out_backprop,
    strides,
    padding,
    data_format: str | None = "NDHWC",
    dilations=None,
    name: str | None = None,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv3d with respect to a filter of shape `filter_sizes`."""
    return _weights(
        input, filter_sizes, out_backprop, 3, strides, padding, dilations, data_format, groups,
        "conv3d_backprop_filter", name or "Conv3DBackpropFilterV2",
    )  # fmt: skip


conv3d_backprop_filter = conv3d_backprop_filter_v2


def depthwise_conv2d_native_backprop_filter(
    input,  # noqa: A002
    filter_sizes,
    out_backprop,
    strides,
    padding,
    data_format: str | None = "NHWC",
    dilations=None,
    name: str | None = None,
) -> Tensor:
    """The gradient of depthwise_conv2d with respect to a filter of shape `filter_sizes`."""
    what = "depthwise_conv2d_native_backprop_filter"
    dims = as_sizes(filter_sizes, what)
    if len(dims) != 4 or not isinstance(dims[2], int):
        reject(what, f"the filter has rank 4 and known channels, but its shape is {list(dims)}")
    wanted = [*dims[:2], 1, multiply(dims[2], dims[3])]
    w = _weights(
        input, wanted, out_backprop, 2, strides, padding, dilations, data_format, dims[2], what,
        name or "DepthwiseConv2dNativeBackpropFilter",
    )  # fmt: skip
    return reshaped(w, dims)
