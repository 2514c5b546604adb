"""What several networks are made of."""

from __future__ import annotations

from typing import Any

from ..initializers import Ones, VarianceScaling
from ..ir.node import Tensor
from ..layers import BatchNormalization, Conv2D, Conv2DTranspose
from ..nn import max_pool2d, relu
from ..ops.convert import convert, reject
from ..ops.padding import pad

CHANNELS_LAST, CHANNELS_FIRST = "channels_last", "channels_first"


def he() -> VarianceScaling:
    """Normal with variance 2 / fan out (He et al. 2015, arXiv:1502.01852)."""
    return VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def images(what: str, inputs: Any, data_format: str) -> Tensor:
    """Inputs of a network for images, checked."""
    inputs = convert(inputs, what=what)
    if data_format not in (CHANNELS_LAST, CHANNELS_FIRST):
        reject(what, f"data_format is {CHANNELS_LAST!r} or {CHANNELS_FIRST!r}, not {data_format!r}")
    if inputs.rank != 4 or not inputs.dtype.is_floating:
        reject(
            what,
            f"images [batch, height, width, channels] of floats are needed (channels second with "
            f"{CHANNELS_FIRST!r}), got {inputs.name} {inputs.tensor_type}",
        )
    return inputs


class Block:
    """Convolutions with batch normalisation, for one format and one state of training."""

    def __init__(self, data_format: str, training: Any):
        self.data_format, self.training = data_format, training
        self.axis = -1 if data_format == CHANNELS_LAST else 1

    def _padding(self, low: int, high: int) -> list[list[int]]:
        around = [[low, high], [low, high]]
        if self.data_format == CHANNELS_LAST:
            return [[0, 0], *around, [0, 0]]
        return [[0, 0], [0, 0], *around]

    def conv(self, x: Tensor, filters: int, size: int, stride: int, name: str) -> Tensor:
        """Padding is (size - 1) / 2 on every side, whatever the stride and the image."""
        padding = "same"
        if stride > 1 and size > 1:
            x, padding = pad(x, self._padding((size - 1) // 2, (size - 1) // 2)), "valid"
        layer = Conv2D(
            filters, size, strides=stride, padding=padding, data_format=self.data_format,
            use_bias=False, kernel_initializer=he(), name=name,
        )  # fmt: skip
        return layer(x)

    def norm(self, x: Tensor, name: str, gamma=None) -> Tensor:
        layer = BatchNormalization(
            axis=self.axis, momentum=0.9, epsilon=1e-5, gamma_initializer=gamma or Ones(), name=name
        )
        return layer(x, training=self.training)

    def unit(self, x: Tensor, filters: int, size: int, stride: int, name: str) -> Tensor:
        """Convolution, normalisation, rectifier."""
        return relu(self.norm(self.conv(x, filters, size, stride, name), f"{name}_norm"))

    def grow(self, x: Tensor, filters: int, size: int, stride: int, name: str) -> Tensor:
        """Transposed convolution, normalisation, rectifier; sides grow by `stride`."""
        layer = Conv2DTranspose(
            filters, size, strides=stride, padding="same", data_format=self.data_format,
            use_bias=False, kernel_initializer=he(), name=name,
        )  # fmt: skip
        return relu(self.norm(layer(x), f"{name}_norm"))

    def stem(self, x: Tensor) -> Tensor:
        """The head of a ResNet: a quarter of the side, 64 channels."""
        x = self.unit(x, 64, 7, 2, "stem")
        form = "NHWC" if self.data_format == CHANNELS_LAST else "NCHW"
        return max_pool2d(x, 3, 2, self._padding(1, 1), data_format=form)

    def residual(self, x: Tensor, filters: int, stride: int, name: str, gamma=None) -> Tensor:
        """Two 3x3 convolutions beside a shortcut."""
        h = self.unit(x, filters, 3, stride, f"{name}/conv1")
        h = self.norm(self.conv(h, filters, 3, 1, f"{name}/conv2"), f"{name}/conv2_norm", gamma)
        return relu(h + self.shortcut(x, filters, stride, name))

    def bottleneck(self, x: Tensor, filters: int, stride: int, name: str, gamma=None) -> Tensor:
        """1x1, 3x3 and 1x1 convolutions beside a shortcut, the stride in the middle one."""
        h = self.unit(x, filters, 1, 1, f"{name}/conv1")
        h = self.unit(h, filters, 3, stride, f"{name}/conv2")
        h = self.norm(self.conv(h, 4 * filters, 1, 1, f"{name}/conv3"), f"{name}/conv3_norm", gamma)
        return relu(h + self.shortcut(x, 4 * filters, stride, name))

    def shortcut(self, x: Tensor, filters: int, stride: int, name: str) -> Tensor:
        if stride == 1 and x.dims[self.axis] == filters:
            return x
        return self.norm(self.conv(x, filters, 1, stride, f"{name}/short"), f"{name}/short_norm")
