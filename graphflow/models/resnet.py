"""Residual networks: He et al., "Deep Residual Learning for Image Recognition", 2015."""

from __future__ import annotations

from typing import Any

from ..initializers import Zeros
from ..ir.node import Tensor
from ..layers import dense
from ..ops.reduction import reduce_mean
from ..variable_scope import variable_scope
from .parts import CHANNELS_LAST, Block, images

WIDTHS = (64, 128, 256, 512)


def resnet18(
    inputs,
    classes: int = 1000,
    training: Any = False,
    data_format: str = CHANNELS_LAST,
    zero_last_gamma: bool = False,
    name: str = "resnet18",
    reuse=None,
) -> Tensor:
    """Logits [batch, classes] of images [batch, height, width, channels] of any size.

    With 1,000 classes and 3 channels 11,689,512 parameters are trained. Convolutions pad by half
    their size on every side, so that results equal those of the published weights.

    zero_last_gamma: begin with every residual block as its shortcut (Goyal et al. 2017)
    """
    return _resnet(inputs, (2, 2, 2, 2), False, classes, training, data_format, zero_last_gamma,
                   name, reuse)  # fmt: skip


def resnet34(
    inputs,
    classes: int = 1000,
    training: Any = False,
    data_format: str = CHANNELS_LAST,
    zero_last_gamma: bool = False,
    name: str = "resnet34",
    reuse=None,
) -> Tensor:
    """As `resnet18`, of 34 layers: 21,797,672 parameters."""
    return _resnet(inputs, (3, 4, 6, 3), False, classes, training, data_format, zero_last_gamma,
                   name, reuse)  # fmt: skip


def resnet50(
    inputs,
    classes: int = 1000,
    training: Any = False,
    data_format: str = CHANNELS_LAST,
    zero_last_gamma: bool = False,
    name: str = "resnet50",
    reuse=None,
) -> Tensor:
    """As `resnet18`, of 50 layers in bottlenecks: 25,557,032 parameters.

    Strides are in the 3x3 convolutions ("version 1.5"), not in the 1x1 ones before them.
    """
    return _resnet(inputs, (3, 4, 6, 3), True, classes, training, data_format, zero_last_gamma,
                   name, reuse)  # fmt: skip


def _resnet(inputs, blocks, narrow, classes, training, data_format, zero_gamma, name, reuse):
    inputs = images(name, inputs, data_format)
    with variable_scope(name, reuse=reuse):
        block = Block(data_format, training)
        make = block.bottleneck if narrow else block.residual
        x = block.stem(inputs)
        for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True)):
            for number in range(count):
                stride = 2 if stage and not number else 1
                gamma = Zeros() if zero_gamma else None
                x = make(x, width, stride, f"stage{stage + 1}/block{number + 1}", gamma)
        axes = [1, 2] if data_format == CHANNELS_LAST else [2, 3]
        return dense(reduce_mean(x, axis=axes), classes, name="classes")
