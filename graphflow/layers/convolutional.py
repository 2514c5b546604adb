"""Convolution layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..initializers import Zeros
from ..ir.node import Tensor
from ..layer import Layer
from ..nn import bias_add, conv2d_transpose, conv3d_transpose, convolution
from ..nn.spatial import per_axis
from ..ops.convert import convert, reject
from ..ops.indexing import reshaped
from ..ops.variables import Variable
from ..sizes import Dim, maximum, multiply

__all__ = [
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "Convolution1D",
    "Convolution2D",
    "Convolution2DTranspose",
    "Convolution3D",
    "Convolution3DTranspose",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
]

_FORMATS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {2: conv2d_transpose, 3: conv3d_transpose}


class _Convolution(Layer):
    """What all of them share: arguments that are checked, the bias, the activation."""

    rank: int
    paddings: tuple[str, ...] = ("valid", "same")

    def __init__(
        self,
        filters: int,
        kernel_size,
        strides,
        padding: str,
        data_format: str,
        dilation_rate,
        activation: Callable | None,
        use_bias: bool,
        bias_initializer,
        bias_regularizer: Callable | None,
        bias_constraint: Callable | None,
        **arguments,
    ):
        super().__init__(**arguments)
        what = self.what = self._base_name
        if isinstance(filters, bool) or not isinstance(filters, (int, np.integer)) or filters < 1:
            reject(what, f"filters must be a positive integer, got {filters!r}")
        if str(padding).lower() not in self.paddings:
            reject(what, f"padding is {' or '.join(self.paddings)}, not {padding!r}")
        if data_format not in ("channels_last", "channels_first"):
            reject(what, f"data_format is channels_last or channels_first, not {data_format!r}")
        self.filters = int(filters)
        self.kernel_size = self.per_axis(kernel_size, "kernel_size")
        self.strides = self.per_axis(strides, "strides")
        self.dilation_rate = self.per_axis(dilation_rate, "dilation_rate")
        self.padding = str(padding).lower()
        self.data_format = data_format
        self.activation = activation
        self.use_bias = use_bias
        self.bias_initializer = Zeros() if bias_initializer is None else bias_initializer
        self.bias_regularizer, self.bias_constraint = bias_regularizer, bias_constraint
        self.bias: Variable | None = None

    def per_axis(self, value, argument: str) -> tuple[int, ...]:
        """A number, or one for each spatial dimension."""
        return per_axis(value, self.rank, self.what, argument, whole=False)

    @property
    def first(self) -> bool:
        return self.data_format == "channels_first"

    @property
    def tensor_format(self) -> str:
        """The name that operations have for the data format."""
        return _FORMATS[self.rank][self.first]

    def channels(self, dims) -> int:
        return dims[1 if self.first else -1]

    def __call__(self, inputs, *args, **kwargs) -> Tensor:
        inputs = convert(inputs, what=self.what)
        if inputs.rank != self.rank + 2:
            reject(
                self.what,
                f"inputs need rank {self.rank + 2}, {inputs.name} is {inputs.tensor_type}",
            )
        if not isinstance(self.channels(inputs.dims), int):
            reject(
                self.what,
                f"the channels of the inputs must be known, {inputs.name} is {inputs.tensor_type}",
            )
        return super().__call__(inputs, *args, **kwargs)

    def add_bias(self) -> None:
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                [self.filters],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def finished(self, outputs: Tensor) -> Tensor:
        """The outputs with bias and activation."""
        if self.use_bias:
            outputs = bias_add(outputs, self.bias, data_format=self.tensor_format)
        return outputs if self.activation is None else self.activation(outputs)


class _Conv(_Convolution):
    """activation(convolution(inputs, kernel) + bias)

    filters: the number of output channels. kernel_size, strides, dilation_rate: a number, or one
        for each spatial dimension.
    padding: "valid" or "same"; of one dimension also "causal": outputs see no later inputs.
    data_format: "channels_last" ([batch, space.., channels]) or "channels_first".
    activation: a function of a tensor, or None. use_bias: whether there is a bias.
    *_initializer, *_regularizer, *_constraint: of the variables `kernel` [window.., channels /
        groups, filters] and `bias` [filters]; the kernel's initializer is the scope's, or Glorot's
        uniform one, if None.
    groups: input and output channels fall into so many parts, convolved separately.
    """

    def __init__(
        self,
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
        groups: int = 1,
        **arguments,
    ):
        super().__init__(
            filters, kernel_size, strides, padding, data_format, dilation_rate, activation,
            use_bias, bias_initializer, bias_regularizer, bias_constraint, trainable=trainable,
            name=name, activity_regularizer=activity_regularizer, **arguments,
        )  # fmt: skip
        self.groups = per_axis(groups, 1, self.what, "groups")[0]
        self.kernel_initializer = kernel_initializer
        self.kernel_regularizer, self.kernel_constraint = kernel_regularizer, kernel_constraint
        self.kernel: Variable | None = None

    def kernel_shape(self, channels: int) -> list[int]:
        if channels % self.groups or self.filters % self.groups:
            reject(
                self.what,
                f"{channels} input channels and {self.filters} filters do not divide into "
                f"{self.groups} groups",
            )
        return [*self.kernel_size, channels // self.groups, self.filters]

    def build(self, dims) -> None:
        self.kernel = self.add_weight(
            "kernel",
            self.kernel_shape(self.channels(dims)),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.add_bias()

    def call(self, inputs: Tensor) -> Tensor:
        padding: object = self.padding.upper()
        if self.padding == "causal":
            padding = [((self.kernel_size[0] - 1) * self.dilation_rate[0], 0)]
        outputs = convolution(
            inputs,
            self.kernel,
            padding,
            self.strides,
            self.dilation_rate,
            name=f"Conv{self.rank}D" if self.rank > 1 else "conv1d",
            data_format=self.tensor_format,
            groups=self.groups,
        )
        return self.finished(outputs)


class Conv1D(_Conv):
    __doc__ = f"{_Conv.__doc__}\n    Inputs are [batch, width, channels]."
    rank = 1
    paddings = ("valid", "same", "causal")


class Conv2D(_Conv):
    __doc__ = f"{_Conv.__doc__}\n    Inputs are [batch, height, width, channels]."
    rank = 2


class Conv3D(_Conv):
    __doc__ = f"{_Conv.__doc__}\n    Inputs are [batch, depth, height, width, channels]."
    rank = 3


# -- transposed ----------------------------------------------------------------------------------


class _ConvTranspose(_Conv):
    """activation(transposed convolution of the inputs + bias): sizes grow by the strides.

    Along each dimension a size n becomes n * stride with padding "same", and
    n * stride + max(kernel_size - stride, 0) with "valid". The variable `kernel` is [window..,
    filters / groups, channels]; the other arguments are those of the convolution.
    """

    def __init__(
        self,
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
        groups: int = 1,
        **arguments,
    ):
        super().__init__(
            filters, kernel_size, strides, padding, data_format, 1, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint, trainable, name, groups,
            **arguments,
        )  # fmt: skip

    def kernel_shape(self, channels: int) -> list[int]:
        *window, each, filters = super().kernel_shape(channels)
        return [*window, filters // self.groups, each * self.groups]

    def call(self, inputs: Tensor) -> Tensor:
        space = inputs.dims[2:] if self.first else inputs.dims[1:-1]
        sizes: list[Dim] = []
        for size, taps, stride in zip(space, self.kernel_size, self.strides, strict=True):
            rest = 0 if self.padding == "same" else maximum(taps - stride, 0)
            sizes.append(multiply(size, stride) + rest)
        shape = [*sizes, self.filters] if not self.first else [self.filters, *sizes]
        outputs = _TRANSPOSED[self.rank](
            inputs,
            self.kernel,
            [inputs.dims[0], *shape],
            self.strides,
            padding=self.padding.upper(),
            data_format=self.tensor_format,
            groups=self.groups,
        )
        return self.finished(outputs)


class Conv2DTranspose(_ConvTranspose):
    __doc__ = f"{_ConvTranspose.__doc__}\n    Inputs are [batch, height, width, channels]."
    rank = 2


class Conv3DTranspose(_ConvTranspose):
    __doc__ = f"{_ConvTranspose.__doc__}\n    Inputs are [batch, depth, height, width, channels]."
    rank = 3


# -- separable -----------------------------------------------------------------------------------


class _SeparableConv(_Convolution):
    """Each channel convolved with kernels of its own, then all of them mixed at every point
    (Chollet 2017, arXiv:1610.02357).

    depth_multiplier: the number of kernels of each channel.
    depthwise_*, pointwise_*: of the variables `depthwise_kernel` [window.., channels,
        depth_multiplier] and `pointwise_kernel` [1.., channels * depth_multiplier, filters]; the
        other arguments are those of the convolution.
    """

    def __init__(
        self,
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
        **arguments,
    ):
        super().__init__(
            filters, kernel_size, strides, padding, data_format, dilation_rate, activation,
            use_bias, bias_initializer, bias_regularizer, bias_constraint, trainable=trainable,
            name=name, activity_regularizer=activity_regularizer, **arguments,
        )  # fmt: skip
        self.depth_multiplier = per_axis(depth_multiplier, 1, self.what, "depth_multiplier")[0]
        self.depthwise = depthwise_initializer, depthwise_regularizer, depthwise_constraint
        self.pointwise = pointwise_initializer, pointwise_regularizer, pointwise_constraint
        self.depthwise_kernel: Variable | None = None
        self.pointwise_kernel: Variable | None = None

    def build(self, dims) -> None:
        channels = self.channels(dims)
        shapes = {
            "depthwise": [*self.kernel_size, channels, self.depth_multiplier],
            "pointwise": [*(1 for _ in range(self.rank)), channels * self.depth_multiplier,
                          self.filters],
        }  # fmt: skip
        for name, shape in shapes.items():
            initializer, regularizer, constraint = getattr(self, name)
            kernel = self.add_weight(
                f"{name}_kernel",
                shape,
                initializer=initializer,
                regularizer=regularizer,
                constraint=constraint,
            )
            setattr(self, f"{name}_kernel", kernel)
        self.add_bias()

    def call(self, inputs: Tensor) -> Tensor:
        kernel = convert(self.depthwise_kernel)
        *window, channels, multiplier = kernel.dims
        between = convolution(
            inputs,
            reshaped(kernel, [*window, 1, multiply(channels, multiplier)]),
            self.padding.upper(),
            self.strides,
            self.dilation_rate,
            name="depthwise",
            data_format=self.tensor_format,
            groups=self.channels(inputs.dims),
        )
        outputs = convolution(
            between,
            self.pointwise_kernel,
            "VALID",
            name=f"separable_conv{self.rank}d",
            data_format=self.tensor_format,
        )
        return self.finished(outputs)


class SeparableConv1D(_SeparableConv):
    __doc__ = f"{_SeparableConv.__doc__}\n    Inputs are [batch, width, channels]."
    rank = 1


class SeparableConv2D(_SeparableConv):
    __doc__ = f"{_SeparableConv.__doc__}\n    Inputs are [batch, height, width, channels]."
    rank = 2


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
Convolution2DTranspose, Convolution3DTranspose = Conv2DTranspose, Conv3DTranspose
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
