"""Convolution layers as functions: a new layer applied to its inputs.

With `reuse` and a name, the variables are that layer's. The arguments are those of the classes in
`convolutional.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir.node import Tensor
from ..layer import Layer
from .convolutional import (
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
    SeparableConv1D,
    SeparableConv2D,
)

__all__ = [
    "conv1d",
    "conv2d",
    "conv2d_transpose",
    "conv3d",
    "conv3d_transpose",
    "separable_conv1d",
    "separable_conv2d",
]


def _applied(layer: type[Layer], inputs, reuse, **arguments) -> Tensor:
    return layer(**arguments, _reuse=reuse)(inputs)


def conv1d(
    inputs,
    filters: int,
    kernel_size,
    strides=1,
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate=1,
    activation: Callable | None = None,
    use_bias: bool = True,
    kernel_initializer=None,
    bias_initializer=None,
    kernel_regularizer: Callable | None = None,
    bias_regularizer: Callable | None = None,
    activity_regularizer: Callable | None = None,
    kernel_constraint: Callable | None = None,
    bias_constraint: Callable | None = None,
    trainable: bool = True,
    name: str | None = None,
    reuse=None,
    groups: int = 1,
) -> Tensor:
    """A new `Conv1D` layer applied to `inputs`."""
    return _applied(Conv1D, **locals())


def conv2d(
    inputs,
    filters: int,
    kernel_size,
    strides=1,
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate=1,
    activation: Callable | None = None,
    use_bias: bool = True,
    kernel_initializer=None,
    bias_initializer=None,
    kernel_regularizer: Callable | None = None,
    bias_regularizer: Callable | None = None,
    activity_regularizer: Callable | None = None,
    kernel_constraint: Callable | None = None,
    bias_constraint: Callable | None = None,
    trainable: bool = True,
    name: str | None = None,
    reuse=None,
    groups: int = 1,
) -> Tensor:
    """A new `Conv2D` layer applied to `inputs`."""
    return _applied(Conv2D, **locals())


def conv3d(
    inputs,
    filters: int,
    kernel_size,
    strides=1,
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate=1,
    activation: Callable | None = None,
    use_bias: bool = True,
    kernel_initializer=None,
    bias_initializer=None,
    kernel_regularizer: Callable | None = None,
    bias_regularizer: Callable | None = None,
    activity_regularizer: Callable | None = None,
    kernel_constraint: Callable | None = None,
    bias_constraint: Callable | None = None,
    trainable: bool = True,
    name: str | None = None,
    reuse=None,
    groups: int = 1,
) -> Tensor:
    """A new `Conv3D` layer applied to `inputs`."""
    return _applied(Conv3D, **locals())


def conv2d_transpose(
    inputs,
    filters: int,
    kernel_size,
    strides=1,
    padding: str = "valid",
    data_format: str = "channels_last",
    activation: Callable | None = None,
    use_bias: bool = True,
    kernel_initializer=None,
    bias_initializer=None,
    kernel_regularizer: Callable | None = None,
    bias_regularizer: Callable | None = None,
    activity_regularizer: Callable | None = None,
    kernel_constraint: Callable | None = None,
    bias_constraint: Callable | None = None,
    trainable: bool = True,
    name: str | None = None,
    reuse=None,
    groups: int = 1,
) -> Tensor:
    """A new `Conv2DTranspose` layer applied to `inputs`."""
    return _applied(Conv2DTranspose, **locals())


def conv3d_transpose(
    inputs,
    filters: int,
    kernel_size,
    strides=1,
    padding: str = "valid",
    data_format: str = "channels_last",
    activation: Callable | None = None,
    use_bias: bool = True,
    kernel_initializer=None,
    bias_initializer=None,
    kernel_regularizer: Callable | None = None,
    bias_regularizer: Callable | None = None,
    activity_regularizer: Callable | None = None,
    kernel_constraint: Callable | None = None,
    bias_constraint: Callable | None = None,
    trainable: bool = True,
    name: str | None = None,
    reuse=None,
    groups: int = 1,
) -> Tensor:
    """A new `Conv3DTranspose` layer applied to `inputs`."""
    return _applied(Conv3DTranspose, **locals())


def separable_conv1d(
    inputs,
    filters: int,
    kernel_size,
    strides=1,
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate=1,
    depth_multiplier: int = 1,
    activation: Callable | None = None,
    use_bias: bool = True,
    depthwise_initializer=None,
    pointwise_initializer=None,
    bias_initializer=None,
    depthwise_regularizer: Callable | None = None,
    pointwise_regularizer: Callable | None = None,
    bias_regularizer: Callable | None = None,
    activity_regularizer: Callable | None = None,
    depthwise_constraint: Callable | None = None,
    pointwise_constraint: Callable | None = None,
    bias_constraint: Callable | None = None,
    trainable: bool = True,
    name: str | None = None,
    reuse=None,
) -> Tensor:
    """A new `SeparableConv1D` layer applied to `inputs`."""
    return _applied(SeparableConv1D, **locals())


def separable_conv2d(
    inputs,
    filters: int,
    kernel_size,
    strides=1,
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate=1,
    depth_multiplier: int = 1,
    activation: Callable | None = None,
    use_bias: bool = True,
    depthwise_initializer=None,
    pointwise_initializer=None,
    bias_initializer=None,
    depthwise_regularizer: Callable | None = None,
    pointwise_regularizer: Callable | None = None,
    bias_regularizer: Callable | None = None,
    activity_regularizer: Callable | None = None,
    depthwise_constraint: Callable | None = None,
    pointwise_constraint: Callable | None = None,
    bias_constraint: Callable | None = None,
    trainable: bool = True,
    name: str | None = None,
    reuse=None,
) -> Tensor:
    """A new `SeparableConv2D` layer applied to `inputs`."""
    return _applied(SeparableConv2D, **locals())
