"""Multi-head attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..initializers import Zeros
from ..ir.node import Tensor
from ..layer import Layer
from ..nn.attention import scaled_dot_product_attention
from ..ops.contraction import tensordot
from ..ops.convert import convert, reject
from ..ops.logic import where
from ..ops.movement import reshape, transpose
from ..ops.variables import Variable
from .core import known_flag

__all__ = ["MultiHeadAttention", "multi_head_attention"]

WHAT = "multi_head_attention"


class MultiHeadAttention(Layer):
    """Attention in `num_heads` heads side by side, between projections.

    num_heads: how many. key_dim: size of a head's queries and keys. value_dim: of its values;
        key_dim if None. output_dim: of the result; the queries' last size if None.
    dropout: rate at which weights are dropped while training. use_bias: in all four projections.
    kernel_initializer: Glorot's uniform one, or the scope's, if None.

    Called with queries [batch, Q, features], values [batch, K, features] (the queries if None: self
    attention) and keys (the values if None), `mask` (see `nn.scaled_dot_product_attention`;
    [batch, Q, K] is the same for all heads), `is_causal`, `training` (a bool or a bool tensor).
    Gives [batch, Q, output_dim].

    Vaswani et al., "Attention Is All You Need", 2017. Variables: query/, key/, value/ and output/,
    each with a kernel and a bias.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        output_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        kernel_initializer=None,
        bias_initializer=None,
        kernel_regularizer: Callable | None = None,
        bias_regularizer: Callable | None = None,
        trainable: bool = True,
        name: str | None = None,
        **arguments,
    ):
        super().__init__(trainable=trainable, name=name, **arguments)
        value_dim = key_dim if value_dim is None else value_dim
        for what, size in (
            ("num_heads", num_heads),
            ("key_dim", key_dim),
            ("value_dim", value_dim),
        ):
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size <= 0:
                reject(WHAT, f"{what} must be a positive integer, got {size!r}")
        self.num_heads, self.key_dim, self.value_dim = int(num_heads), int(key_dim), int(value_dim)
        self.output_dim, self.dropout, self.use_bias = output_dim, dropout, use_bias
        self.kernel_initializer = kernel_initializer
        self.bias_initializer = Zeros() if bias_initializer is None else bias_initializer
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        # Made by the first call, which knows the features of keys and values.
        self._projections: dict[str, tuple[Variable, Variable | None]] = {}

    def call(
        self, inputs: Tensor, values=None, keys=None, mask=None, is_causal=False, training=False
    ) -> Tensor:
        values = inputs if values is None else convert(values, inputs.dtype, what=WHAT)
        keys = values if keys is None else convert(keys, inputs.dtype, what=WHAT)
        for tensor in (inputs, values, keys):
            if tensor.rank != 3 or not isinstance(tensor.dims[-1], int):
                reject(
                    WHAT,
                    f"{tensor.name} is {tensor.tensor_type}; it must be "
                    "[batch, sequence, features] with known features",
                )
        if mask is not None:
            mask = convert(mask, what=WHAT)
            if mask.rank == 3:
                batch, rows, columns = mask.dims
                mask = reshape(mask, [batch, 1, rows, columns])
        heads = [
            self._heads(tensor, name, size)
            for tensor, name, size in (
                (inputs, "query", self.key_dim), (keys, "key", self.key_dim),
                (values, "value", self.value_dim),
            )
        ]  # fmt: skip
        mixed = self._attend(heads, mask, is_causal, training)
        batch, _, rows, _ = mixed.dims
        flat = reshape(
            transpose(mixed, [0, 2, 1, 3]), [batch, rows, self.num_heads * self.value_dim]
        )
        return self._project(flat, "output", self.output_dim or inputs.dims[-1])

    def _attend(self, heads: list[Tensor], mask, is_causal: bool, training) -> Tensor:
        def attend(rate: float) -> Tensor:
            query, key, value = heads
            return scaled_dot_product_attention(
                query, key, value, mask=mask, is_causal=is_causal, dropout_rate=rate
            )

        known = known_flag(training)
        if not self.dropout or known is False:
            return attend(0.0)
        dropped = attend(self.dropout)
        return dropped if known else where(training, dropped, attend(0.0))

    def _heads(self, x: Tensor, name: str, size: int) -> Tensor:
        """[batch, sequence, features] as [batch, heads, sequence, size]."""
        y = self._project(x, name, self.num_heads * size)
        batch, rows, _ = y.dims
        return transpose(reshape(y, [batch, rows, self.num_heads, size]), [0, 2, 1, 3])

    def _project(self, x: Tensor, name: str, size: int) -> Tensor:
        if name not in self._projections:
            self._projections[name] = self._new_projection(name, x.dims[-1], size)
        kernel, bias = self._projections[name]
        y = tensordot(x, kernel, [[2], [0]])
        return y if bias is None else y + bias

    def _new_projection(self, name: str, features, size: int):
        kernel = self.add_weight(
            f"{name}/kernel", [features, size], initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )  # fmt: skip
        if not self.use_bias:
            return kernel, None
        bias = self.add_weight(
            f"{name}/bias", [size], initializer=self.bias_initializer,
            regularizer=self.bias_regularizer,
        )  # fmt: skip
        return kernel, bias


def multi_head_attention(
    inputs,
    num_heads: int,
    key_dim: int,
    values=None,
    keys=None,
    mask=None,
    is_causal: bool = False,
    training=False,
    reuse=None,
    **arguments,
) -> Tensor:
    """A new `MultiHeadAttention` layer applied to queries `inputs`; with `reuse` and a name, that
    layer's variables. `arguments` are the layer's own."""
    layer = MultiHeadAttention(num_heads, key_dim, _reuse=reuse, **arguments)
    return layer(
        inputs, values=values, keys=keys, mask=mask, is_causal=is_causal, training=training
    )
