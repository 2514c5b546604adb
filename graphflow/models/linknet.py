"""LinkNet: Chaurasia and Culurciello, "LinkNet: Exploiting Encoder Representations for Efficient
Semantic Segmentation", 2017."""

from __future__ import annotations

from typing import Any

from ..ir.node import Tensor
from ..layers import Conv2DTranspose
from ..ops.convert import reject
from ..variable_scope import variable_scope
from .parts import CHANNELS_LAST, Block, he, images
from .resnet import WIDTHS

SHRINKS = 32  # sides, to the deepest layer


def linknet(
    inputs,
    classes: int,
    training: Any = False,
    data_format: str = CHANNELS_LAST,
    name: str = "linknet",
    reuse=None,
) -> Tensor:
    """Logits [batch, height, width, classes], one set for each pixel of the images.

    The encoder is that of ResNet-18; each block of the decoder adds what the encoder had at its
    size. Sides must be multiples of 32; unknown ones are taken to be.
    """
    inputs = images(name, inputs, data_format)
    sides = inputs.dims[1:3] if data_format == CHANNELS_LAST else inputs.dims[2:]
    for side in sides:
        if isinstance(side, int) and side % SHRINKS:
            reject(name, f"sides must be multiples of {SHRINKS}, got {inputs.tensor_type}")
    with variable_scope(name, reuse=reuse):
        block = Block(data_format, training)
        x = block.stem(inputs)
        encoded = []
        for stage, width in enumerate(WIDTHS):
            for number in range(2):
                stride = 2 if stage and not number else 1
                x = block.residual(x, width, stride, f"encode{stage + 1}/block{number + 1}")
            encoded.append(x)
        for stage in reversed(range(4)):
            narrow, outputs = WIDTHS[stage] // 4, WIDTHS[max(stage - 1, 0)]
            x = block.unit(x, narrow, 1, 1, f"decode{stage + 1}/narrow")
            x = block.grow(x, narrow, 3, 2 if stage else 1, f"decode{stage + 1}/grow")
            x = block.unit(x, outputs, 1, 1, f"decode{stage + 1}/widen")
            if stage:
                x = x + encoded[stage - 1]
        x = block.grow(x, 32, 3, 2, "head/grow")
        x = block.unit(x, 32, 3, 1, "head/conv")
        last = Conv2DTranspose(
            classes, 2, strides=2, data_format=data_format, kernel_initializer=he(), name="classes"
        )
        return last(x)
