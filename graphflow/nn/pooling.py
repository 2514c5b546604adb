"""Pooling with the names and arguments of TensorFlow 1.

Common to all of them:

ksize, strides: a number, a list of one, of one for each spatial dimension, or of one for each
    dimension in the data format, where those of batch and channels must be 1.
padding: "SAME" (an output for every `stride` inputs), "VALID" (none), or a list of pairs (before,
    after) smaller than the window, for each spatial dimension or for each in the data format.
data_format: "NHWC" ("NWC", "NDHWC"), the default, or "NCHW" ("NCW", "NCDHW"); also of the result.
ceil_mode: whether a last window that reaches beyond the padded input gives an output too, as long
    as it begins in the input or the padding before it.

Padding never is a maximum, and does not count in an average unless `count_include_pad`. A maximum
of anything with a NaN is NaN; its gradient goes to the first of equal maxima, in row-major order.
Pooling over everything ("global") is reduce_max or reduce_mean over the spatial axes.

TypeRuleError, with the user's line, is raised for windows and strides that are not positive, for a
window larger than the padded input, and for averages of integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..framework import name_scope
from ..ir.node import Tensor
from ..ir.op import find
from ..ops.convert import convert, index_dtype, reject
from ..ops.indexing import reshaped
from ..ops.pooling import window_max, window_sum
from ..ops.shapes import size_as_tensor
from ..ops.windows import Window, pooling_windows
from ..sizes import Dim, ceildiv, minimum, multiply
from .convolution import one_of
from .spatial import channels_first, channels_last, known_rank, moved_back, paddings, per_axis

__all__ = [
    "avg_pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool_with_argmax",
    "pool",
]


class _Pooling:
    """The arguments of one pooling, checked; the input with its channels last."""

    def __init__(
        self, what: str, value, rank: int, ksize, strides, padding, data_format, ceil_mode=False,
        dilations=None, whole=True,
    ):  # fmt: skip
        self.what = what
        x = convert(value, what=what)
        known_rank(x, rank, what)
        self.first = first = channels_first(data_format, rank, what)
        if not x.dtype.is_numeric:
            reject(what, f"{x.name} is {x.dtype}; it must be numeric")
        self.x = channels_last(x, first)
        kernel = per_axis(ksize, rank, what, "ksize", first, whole)
        pace = per_axis(strides, rank, what, "strides", first, whole)
        spacing = per_axis(dilations, rank, what, "dilations", first, whole)
        extents = [(size - 1) * d + 1 for size, d in zip(kernel, spacing, strict=True)]
        sizes = self.x.dims[1:-1]
        self.around = paddings(padding, sizes, extents, pace, what, first)
        self.attrs: dict[str, Any] = {
            "kernel": kernel,
            "strides": pace,
            "padding": self.around,
            "dilation": spacing,
        }
        if ceil_mode and not (isinstance(padding, str) and padding.upper() == "SAME"):
            windows = pooling_windows(sizes, self.attrs)
            self.attrs["padding"] = tuple((w.low, _reaching(w)) for w in windows)

    def maximum(self, name: str) -> Tensor:
        found, _ = window_max(self.x, name=self.named(name), **self.attrs)
        return moved_back(found, self.first, name)

    def average(self, count_include_pad: bool, name: str) -> Tensor:
        if not self.x.dtype.is_floating:
            reject(self.what, f"{self.x.name} is {self.x.dtype}; averages need floats, so cast it")
        counted = self.around if count_include_pad else ((0, 0),) * len(self.around)
        found = window_sum(self.x, counted=counted, name=self.named(name), **self.attrs)
        return moved_back(found, self.first, name)

    def named(self, name: str) -> str | None:
        """The name of the operation itself, where nothing is moved back after it."""
        return None if self.first else name


def _reaching(window: Window) -> Dim:
    """The padding after the input with which the last window fits that begins in it."""
    steps = ceildiv(window.size + window.low + window.high - window.extent, window.stride) + 1
    steps = minimum(steps, ceildiv(window.size + window.low, window.stride))
    return multiply(steps - 1, window.stride) + window.extent - window.size - window.low


def _max(what, value, rank, ksize, strides, padding, data_format, name, ceil_mode) -> Tensor:
    with name_scope(name, what) as scope:
        arguments = (ksize, strides, padding, data_format, ceil_mode)
        return _Pooling(what, value, rank, *arguments).maximum(scope)


def _average(
    what, value, rank, ksize, strides, padding, data_format, name, ceil_mode, count_include_pad
) -> Tensor:
    with name_scope(name, what) as scope:
        arguments = (ksize, strides, padding, data_format, ceil_mode)
        return _Pooling(what, value, rank, *arguments).average(count_include_pad, scope)


def max_pool(
    value=None, ksize=None, strides=None, padding=None, data_format="NHWC", name=None, input=None,  # noqa: A002
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The maximum of each window of images [batch, height, width, channels]; see the module."""
    value = one_of(value, input, "max_pool", "value (or input)")
    return _max("max_pool", value, 2, ksize, strides, padding, data_format, name, ceil_mode)


def avg_pool(
    value=None, ksize=None, strides=None, padding=None, data_format="NHWC", name=None, input=None,  # noqa: A002
    ceil_mode: bool = False, count_include_pad: bool = False,
) -> Tensor:  # fmt: skip
    """The average of each window of images [batch, height, width, channels]; see the module."""
    value = one_of(value, input, "avg_pool", "value (or input)")
    return _average(
        "avg_pool", value, 2, ksize, strides, padding, data_format, name, ceil_mode,
        count_include_pad,
    )  # fmt: skip


def max_pool1d(
    input, ksize, strides, padding, data_format="NWC", name=None, ceil_mode: bool = False  # noqa: A002
) -> Tensor:  # fmt: skip
    """The maximum of each window of [batch, width, channels]; see the module."""
    return _max("max_pool1d", input, 1, ksize, strides, padding, data_format, name, ceil_mode)


def max_pool2d(
    input, ksize, strides, padding, data_format="NHWC", name=None, ceil_mode: bool = False  # noqa: A002
) -> Tensor:  # fmt: skip
    """The maximum of each window of [batch, height, width, channels]; see the module."""
    return _max("max_pool2d", input, 2, ksize, strides, padding, data_format, name, ceil_mode)


def max_pool3d(
    input, ksize, strides, padding, data_format="NDHWC", name=None, ceil_mode: bool = False  # noqa: A002
) -> Tensor:  # fmt: skip
    """The maximum of each window of [batch, depth, height, width, channels]; see the module."""
    return _max("max_pool3d", input, 3, ksize, strides, padding, data_format, name, ceil_mode)


def avg_pool1d(
    input, ksize, strides, padding, data_format="NWC", name=None,  # noqa: A002
    ceil_mode: bool = False, count_include_pad: bool = False,
) -> Tensor:  # fmt: skip
    """The average of each window of [batch, width, channels]; see the module."""
    return _average(
        "avg_pool1d", input, 1, ksize, strides, padding, data_format, name, ceil_mode,
        count_include_pad,
    )  # fmt: skip


def avg_pool2d(
    input, ksize, strides, padding, data_format="NHWC", name=None,  # noqa: A002
    ceil_mode: bool = False, count_include_pad: bool = False,
) -> Tensor:  # fmt: skip
    """The average of each window of [batch, height, width, channels]; see the module."""
    return _average(
        "avg_pool2d", input, 2, ksize, strides, padding, data_format, name, ceil_mode,
        count_include_pad,
    )  # fmt: skip


def avg_pool3d(
    input, ksize, strides, padding, data_format="NDHWC", name=None,  # noqa: A002
    ceil_mode: bool = False, count_include_pad: bool = False,
) -> Tensor:  # fmt: skip
    """The average of each window of [batch, depth, height, width, channels]; see the module."""
    return _average(
        "avg_pool3d", input, 3, ksize, strides, padding, data_format, name, ceil_mode,
        count_include_pad,
    )  # fmt: skip


def pool(
    input,  # noqa: A002
    window_shape,
    pooling_type: str,
    padding,
    dilation_rate=None,
    strides=None,
    name: str | None = None,
    data_format: str | None = None,
    dilations=None,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """Pooling over the 1 to 3 spatial dimensions of `input`; see the module.

    window_shape, strides, dilation_rate (or dilations): a number for each spatial dimension.
    pooling_type: "MAX" or "AVG".
    """
    if dilation_rate is not None and dilations is not None:
        reject("pool", "give only one of dilation_rate and dilations")
    if pooling_type not in ("MAX", "AVG"):
        reject("pool", f"pooling_type is MAX or AVG, not {pooling_type!r}")
    with name_scope(name, "pool") as scope:
        x = convert(input, what="pool")
        if x.rank not in (3, 4, 5):
            reject(
                "pool",
                f"the input needs a batch, 1 to 3 spatial dimensions and channels, {x.name} is "
                f"{x.tensor_type}",
            )
        spacing = dilations if dilation_rate is None else dilation_rate
        made = _Pooling(
            "pool", x, x.rank - 2, window_shape, strides, padding, data_format, ceil_mode, spacing,
            whole=False,
        )  # fmt: skip
        if pooling_type == "MAX":
            return made.maximum(scope)
        return made.average(count_include_pad, scope)


def max_pool_with_argmax(
    input,  # noqa: A002
    ksize,
    strides,
    padding,
    data_format="NHWC",
    Targmax=None,  # noqa: N803 - TensorFlow's name
    name: str | None = None,
    output_dtype=None,
    include_batch_in_index: bool = False,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """(maxima, argmax) of the windows of images [batch, height, width, channels].

    argmax: int64, or int32 by `Targmax` (or `output_dtype`): where in the input the maximum is,
        (y * width + x) * channels + channel, and with `include_batch_in_index`
        ((batch * height + y) * width + x) * channels + channel.
    """
    what = "max_pool_with_argmax"
    if data_format != "NHWC":
        reject(what, f"data_format is NHWC, not {data_format!r}")
    wanted = output_dtype if Targmax is None else Targmax
    dtype = index_dtype("int64" if wanted is None else wanted)
    with name_scope(name, what):
        made = _Pooling(what, input, 2, ksize, strides, padding, data_format, ceil_mode)
        found, where = window_max(made.x, **made.attrs)
        rest = find("cast")(where, dtype=dtype)
        sizes = made.x.dims
        position = None
        if include_batch_in_index:
            position = _along(0, found.dims, dtype)
        kernel = made.attrs["kernel"]
        for axis, window in enumerate(pooling_windows(sizes[1:-1], made.attrs), 1):
            after = convert(_after(kernel, axis), dtype)
            place = find("floordiv")(rest, after)
            rest = find("mod")(rest, after)
            place = place * window.dilation + _along(axis, found.dims, dtype) * window.stride
            place = place - size_as_tensor(window.low, dtype)
            if position is None:
                position = place
            else:
                position = position * size_as_tensor(window.size, dtype) + place
        assert position is not None
        position = position * size_as_tensor(sizes[-1], dtype) + _along(3, found.dims, dtype)
        return found, find("identity")(position, name="argmax")


def _after(kernel: Sequence[int], axis: int) -> int:
    """How many taps a step along a spatial axis passes."""
    count = 1
    for size in kernel[axis:]:
        count *= size
    return count


def _along(axis: int, dims: Sequence[Dim], dtype) -> Tensor:
    """0, 1, … along an axis, shaped to broadcast."""
    numbers = find("iota")(dtype=dtype, size=dims[axis])
    return reshaped(numbers, [dim if a == axis else 1 for a, dim in enumerate(dims)])
