"""Small convolutional networks, after LeCun et al., "Gradient-Based Learning Applied to Document
Recognition", 1998."""

from __future__ import annotations

from collections.abc import Callable

from ..ir.node import Tensor
from ..layers import Conv2D, MaxPooling2D, dense, flatten
from ..nn import relu
from ..ops.convert import reject
from ..variable_scope import variable_scope
from .parts import CHANNELS_LAST, images

SMALLEST = 16  # side


def simplecnn(
    inputs,
    classes: int = 10,
    activation: Callable = relu,
    data_format: str = CHANNELS_LAST,
    padding: str = "valid",
    name: str = "simplecnn",
    reuse=None,
) -> Tensor:
    """Logits of small images: 6 filters 5x5, pooling, 16 filters 5x5, pooling, dense layers of 120,
    84 and `classes` units. With images [32, 32, 3] and 10 classes 62,006 parameters."""
    inputs = images(name, inputs, data_format)
    channels_last = data_format == CHANNELS_LAST
    for side in inputs.dims[1:3] if channels_last else inputs.dims[2:]:
        if not isinstance(side, int) or side < SMALLEST:
            reject(name, f"known sides of {SMALLEST} or more are needed, got {inputs.tensor_type}")
    with variable_scope(name, reuse=reuse):
        x = inputs
        for number, filters in enumerate((6, 16)):
            conv = Conv2D(
                filters, 5, padding=padding if not number else "valid", activation=activation,
                data_format=data_format, name=f"conv{number + 1}",
            )  # fmt: skip
            x = MaxPooling2D(2, 2, data_format=data_format)(conv(x))
        x = flatten(x)
        for number, units in enumerate((120, 84)):
            x = dense(x, units, activation=activation, name=f"dense{number + 1}")
        return dense(x, classes, name="classes")


def lenet(inputs, classes: int = 10, name: str = "lenet", reuse=None, **more) -> Tensor:
    """`simplecnn` as it is used on digits [28, 28, 1]: the first convolution keeps the size, which
    gives 61,706 parameters."""
    return simplecnn(inputs, classes, padding="same", name=name, reuse=reuse, **more)
