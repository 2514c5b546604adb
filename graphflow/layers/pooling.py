"""Pooling layers."""

from __future__ import annotations

from ..ir.node import Tensor
from ..layer import Layer
from ..nn.pooling import pool
from ..nn.spatial import per_axis
from ..ops.convert import convert, reject

__all__ = [
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "average_pooling1d",
    "average_pooling2d",
    "average_pooling3d",
    "max_pooling1d",
    "max_pooling2d",
    "max_pooling3d",
]

_FORMATS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


class _Pooling(Layer):
    """The arguments of all of them.

    pool_size, strides: a number, or one for each spatial dimension; the pool_size is the
        stride where that is None.
    padding: "valid" or "same".
    data_format: "channels_last" or "channels_first".
    ceil_mode, count_include_pad: see `nn.pool`.
    """

    rank: int
    pooling_type: str

    def __init__(
        self,
        pool_size,
        strides=None,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: str | None = None,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
        **arguments,
    ):
        super().__init__(name=name, **arguments)
        what = self._base_name
        if str(padding).lower() not in ("valid", "same"):
            reject(what, f"padding is valid or same, not {padding!r}")
        if data_format not in ("channels_last", "channels_first"):
            reject(what, f"data_format is channels_last or channels_first, not {data_format!r}")
        self.pool_size = per_axis(pool_size, self.rank, what, "pool_size", whole=False)
        given = self.pool_size if strides is None else strides
        self.strides = per_axis(given, self.rank, what, "strides", whole=False)
        self.padding, self.data_format = str(padding).lower(), data_format
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def __call__(self, inputs, *args, **kwargs) -> Tensor:
        inputs = convert(inputs, what=self._base_name)
        if inputs.rank != self.rank + 2:
            reject(
                self._base_name,
                f"inputs need rank {self.rank + 2}, {inputs.name} is {inputs.tensor_type}",
            )
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        return pool(
            inputs,
            self.pool_size,
            self.pooling_type,
            self.padding.upper(),
            strides=self.strides,
            data_format=_FORMATS[self.rank][self.data_format == "channels_first"],
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
        )


class MaxPooling1D(_Pooling):
    """Maxima of windows of [batch, width, channels]."""

    rank, pooling_type = 1, "MAX"


class MaxPooling2D(_Pooling):
    """Maxima of windows of [batch, height, width, channels]."""

    rank, pooling_type = 2, "MAX"


class MaxPooling3D(_Pooling):
    """Maxima of windows of [batch, depth, height, width, channels]."""

    rank, pooling_type = 3, "MAX"


class AveragePooling1D(_Pooling):
    """Averages of windows of [batch, width, channels]."""

    rank, pooling_type = 1, "AVG"


class AveragePooling2D(_Pooling):
    """Averages of windows of [batch, height, width, channels]."""

    rank, pooling_type = 2, "AVG"


class AveragePooling3D(_Pooling):
    """Averages of windows of [batch, depth, height, width, channels]."""

    rank, pooling_type = 3, "AVG"


def max_pooling1d(
    inputs, pool_size, strides, padding="valid", data_format="channels_last", name=None, **more
) -> Tensor:
    """Maxima of windows of [batch, width, channels]; see `MaxPooling1D`."""
    return MaxPooling1D(pool_size, strides, padding, data_format, name, **more)(inputs)


def max_pooling2d(
    inputs, pool_size, strides, padding="valid", data_format="channels_last", name=None, **more
) -> Tensor:
    """Maxima of windows of [batch, height, width, channels]; see `MaxPooling2D`."""
    return MaxPooling2D(pool_size, strides, padding, data_format, name, **more)(inputs)


def max_pooling3d(
    inputs, pool_size, strides, padding="valid", data_format="channels_last", name=None, **more
) -> Tensor:
    """Maxima of windows of [batch, depth, height, width, channels]; see `MaxPooling3D`."""
    return MaxPooling3D(pool_size, strides, padding, data_format, name, **more)(inputs)


def average_pooling1d(
    inputs, pool_size, strides, padding="valid", data_format="channels_last", name=None, **more
) -> Tensor:
    """Averages of windows of [batch, width, channels]; see `AveragePooling1D`."""
    return AveragePooling1D(pool_size, strides, padding, data_format, name, **more)(inputs)


def average_pooling2d(
    inputs, pool_size, strides, padding="valid", data_format="channels_last", name=None, **more
) -> Tensor:
    """Averages of windows of [batch, height, width, channels]; see `AveragePooling2D`."""
    return AveragePooling2D(pool_size, strides, padding, data_format, name, **more)(inputs)


def average_pooling3d(
    inputs, pool_size, strides, padding="valid", data_format="channels_last", name=None, **more
) -> Tensor:
    """Averages of windows of [batch, depth, height, width, channels]; see `AveragePooling3D`."""
    return AveragePooling3D(pool_size, strides, padding, data_format, name, **more)(inputs)
