"""Transformer encoders: Vaswani et al., "Attention Is All You Need", 2017, with the normalisation
before each part (Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.node import Tensor
from ..layers import LayerNormalization, dense, dropout, multi_head_attention
from ..nn import gelu
from ..ops.convert import convert, reject
from ..ops.creation import constant
from ..variable_scope import variable_scope


def transformer_encoder(
    inputs,
    layers: int = 4,
    heads: int = 4,
    hidden: int | None = None,
    activation: Callable = gelu,
    mask=None,
    is_causal: bool = False,
    dropout_rate: float = 0.0,
    training: Any = False,
    name: str = "transformer",
    reuse=None,
) -> Tensor:
    """Vectors [batch, tokens, features] to vectors of the same shape.

    heads:  of attention, each of features / heads. hidden: units between the two dense layers of a
        block; 4 · features if None. mask, is_causal: see `nn.scaled_dot_product_attention`.
    dropout_rate: after every part of a block while training.
    """
    x = convert(inputs, what=name)
    if x.rank != 3 or not isinstance(x.dims[-1], int):
        reject(name, f"inputs [batch, tokens, features] are needed, got {x.name} {x.tensor_type}")
    features = x.dims[-1]
    if heads < 1 or features % heads:
        reject(name, f"{features} features do not divide into {heads} heads")

    def drop(y: Tensor) -> Tensor:
        return dropout(y, dropout_rate, training=training) if dropout_rate else y

    with variable_scope(name, reuse=reuse):
        for number in range(layers):
            with variable_scope(f"layer{number + 1}"):
                h = LayerNormalization(name="norm1")(x)
                h = multi_head_attention(
                    h, heads, features // heads, mask=mask, is_causal=is_causal, name="attention"
                )
                x = x + drop(h)
                h = LayerNormalization(name="norm2")(x)
                h = dense(h, hidden or 4 * features, activation=activation, name="dense1")
                x = x + drop(dense(h, features, name="dense2"))
        return LayerNormalization(name="norm")(x)


def positional_encoding(tokens: int, features: int, dtype: str = "float32") -> Tensor:
    """Sines and cosines [tokens, features] of wavelengths from 2π to 20,000π, to be added to the
    vectors of tokens (Vaswani et al. 2017, section 3.5)."""
    place = np.arange(tokens)[:, None]
    rates = 10000.0 ** (-2 * (np.arange(features) // 2) / features)
    angles = place * rates
    values = np.where(np.arange(features) % 2 == 0, np.sin(angles), np.cos(angles))
    return constant(values.astype(dtype), name="positional_encoding")
