"""Pieces of layers without variables of their own: biases, dropout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..framework import name_scope
from ..ir.node import Tensor
from ..ir.op import find
from ..ops.activation import relu
from ..ops.contraction import matmul
from ..ops.convert import convert, convert_pair, reject
from ..ops.creation import zeros, zeros_like
from ..ops.joining import concat
from ..ops.logic import cast
from ..ops.movement import reshape, reshape_like
from ..ops.random import random_uniform
from ..ops.reduction import reduce_mean
from ..sizes import Dim

__all__ = [
    "bias_add",
    "crelu",
    "dropout",
    "relu_layer",
    "xw_plus_b",
    "zero_fraction",
]


def bias_add(value, bias, data_format: str | None = None, name: str | None = None) -> Tensor:
    """value + bias, a vector along the channels.

    data_format: "NHWC" (or any that ends in C) or None: the last dimension; "NCHW" (or any that
        begins with NC): dimension 1.
    """
    value, bias = convert_pair(value, bias, "bias_add")
    if bias.rank not in (1, None):
        reject("bias_add", f"the bias must be a vector, but {bias.name} is {bias.tensor_type}")
    if data_format is not None and not (data_format[:2] == "NC" or data_format[-1:] == "C"):
        raise ValueError(f"bias_add: data_format is NHWC or NCHW, got {data_format!r}")
    if value.rank is not None:
        if value.rank < 2:
            reject(
                "bias_add", f"the value needs two dimensions, {value.name} is {value.tensor_type}"
            )
        channel = 1 if (data_format or "")[:2] == "NC" else value.rank - 1
        _require_channels(value, bias, channel)
        if channel != value.rank - 1:
            bias = reshape(bias, [bias.dims[0], *[1] * (value.rank - channel - 1)])
    return find("add")(value, bias, name=name or "BiasAdd")


def _require_channels(value: Tensor, bias: Tensor, channel: int) -> None:
    here, there = value.dims[channel], bias.dims[0]
    if isinstance(here, int) and isinstance(there, int) and here != there:
        reject(
            "bias_add",
            f"the bias {bias.name} is {bias.tensor_type}, but dimension {channel} of {value.name} "
            f"{value.tensor_type} has {here} channels",
        )


def xw_plus_b(x, weights, biases, name: str | None = None) -> Tensor:
    """matmul(x, weights) + biases"""
    with name_scope(name, "xw_plus_b") as scope:
        return bias_add(matmul(x, weights), biases, name=scope)


def relu_layer(x, weights, biases, name: str | None = None) -> Tensor:
    """relu(matmul(x, weights) + biases)"""
    with name_scope(name, "relu_layer") as scope:
        return relu(bias_add(matmul(x, weights), biases), name=scope)


def crelu(features, name: str | None = None, axis: int = -1) -> Tensor:
    """relu(x) and relu(-x), one after the other along `axis` (Shang et al. 2016,
    arXiv:1603.05201)."""
    with name_scope(name, "CRelu") as scope:
        x = convert(features, what="crelu")
        return relu(concat([x, -x], axis), name=scope)


def dropout(
    x,
    keep_prob=None,
    noise_shape=None,
    seed: int | None = None,
    name: str | None = None,
    rate=None,
) -> Tensor:
    """Sets each element to 0 with probability `rate`, and divides the others by 1 - rate.

    rate: a number in [0, 1) or a scalar tensor; `keep_prob` is 1 - rate. One of them is needed.
    noise_shape: the shape of what is decided, broadcast against x: None, or a list in which None
        means x's size.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
    """
    if (rate is None) == (keep_prob is None):
        raise ValueError("dropout: give either rate or keep_prob (which is 1 - rate)")
    with name_scope(name, "dropout") as scope:
        x = convert(x, what="dropout")
        if not x.dtype.is_floating:
            reject("dropout", f"{x.name} is {x.dtype}; it must be floating-point")
        rate = _dropout_rate(rate, keep_prob, x)
        if isinstance(rate, float):
            if rate == 0.0:
                return x
            rate = convert(rate, x.dtype)
        keep = random_uniform(_noise_shape(x, noise_shape), seed=seed, dtype=x.dtype) >= rate
        scaled = x / (1 - rate)
        return find("mul")(scaled, cast(keep, x.dtype), name=scope)


def _dropout_rate(rate, keep_prob, x: Tensor):
    """The rate as a float where it is known, else as a scalar tensor."""
    given = rate if rate is not None else keep_prob
    if isinstance(given, (int, float, np.number)) and not isinstance(given, bool):
        number = float(given) if rate is not None else 1.0 - float(given)
        if not 0 <= number < 1:
            what = "rate must be in [0, 1)" if rate is not None else "keep_prob must be in (0, 1]"
            reject("dropout", f"{what}, got {given}", ValueError)
        return number
    tensor = convert(given, x.dtype, what="dropout")
    if tensor.rank not in (0, None):
        reject("dropout", f"the rate must be a scalar, but {tensor.name} is {tensor.tensor_type}")
    if tensor.rank is None:
        # A placeholder without a shape: it has to be a scalar, so that x's shape stays known.
        tensor = reshape_like(tensor, zeros([], tensor.dtype))
    return tensor if rate is not None else 1 - tensor


def _noise_shape(x: Tensor, noise_shape) -> Sequence[Dim]:
    if x.dims is None:
        reject("dropout", f"the rank of {x.name} is unknown; give its placeholder a shape")
    if noise_shape is None:
        return x.dims
    if isinstance(noise_shape, (list, tuple)):
        if len(noise_shape) != len(x.dims):
            return noise_shape
        return [d if n is None else n for n, d in zip(noise_shape, x.dims, strict=True)]
    return noise_shape


def zero_fraction(value, name: str | None = None) -> Tensor:
    """The share of elements that are zero, a float32 scalar."""
    with name_scope(name, "zero_fraction"):
        value = convert(value, what="zero_fraction")
        return reduce_mean(cast(find("equal")(value, zeros_like(value)), "float32"))
