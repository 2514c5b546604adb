"""Dense layers, dropout, flattening and embeddings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..initializers import RandomUniform, Zeros
from ..ir.node import Tensor
from ..layer import Layer
from ..nn import bias_add
from ..nn import dropout as drop
from ..ops.contraction import matmul, tensordot
from ..ops.convert import constant_value, convert, reject
from ..ops.indexing import embedding_lookup
from ..ops.logic import identity, where
from ..ops.movement import reshape
from ..ops.variables import Variable
from ..sizes import product

__all__ = ["Dense", "Dropout", "Embedding", "Flatten", "dense", "dropout", "flatten"]


class Dense(Layer):
    """activation(inputs · kernel + bias), on the last dimension of inputs of rank 2 or more.

    units: the size of the output's last dimension.
    activation: a function of a tensor, or None. use_bias: whether there is a bias.
    *_initializer, *_regularizer, *_constraint: of the kernel [inputs, units] and the bias [units];
        the kernel's initializer is the scope's, or Glorot's uniform one, if None.
    """

    def __init__(
        self,
        units: int,
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
        **arguments,
    ):
        super().__init__(
            trainable=trainable, name=name, activity_regularizer=activity_regularizer, **arguments
        )
        if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units <= 0:
            reject("dense", f"units must be a positive integer, got {units!r}")
        self.units = int(units)
        self.activation = activation
        self.use_bias = use_bias
        self.kernel_initializer = kernel_initializer
        self.bias_initializer = Zeros() if bias_initializer is None else bias_initializer
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint
        self.kernel: Variable | None = None
        self.bias: Variable | None = None

    def build(self, dims) -> None:
        self.kernel = self.add_weight(
            "kernel",
            [dims[-1], self.units],
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                [self.units],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def __call__(self, inputs, *args, **kwargs):
        inputs = convert(inputs, what="dense")
        if inputs.rank is None or inputs.rank < 2:
            reject("dense", f"inputs need rank 2 or more, {inputs.name} is {inputs.tensor_type}")
        if not isinstance(inputs.dims[-1], int):
            reject(
                "dense",
                f"the last dimension of the inputs must be known, {inputs.name} is "
                f"{inputs.tensor_type}",
            )
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.dims) == 2:
            outputs = matmul(inputs, self.kernel)
        else:
            outputs = tensordot(inputs, self.kernel, [[len(inputs.dims) - 1], [0]])
        if self.use_bias:
            outputs = bias_add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


def dense(
    inputs,
    units: int,
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
) -> Tensor:
    """A new `Dense` layer applied to `inputs`; with `reuse` and a name, that layer's variables."""
    layer = Dense(
        units,
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer,
        bias_initializer=bias_initializer,
        kernel_regularizer=kernel_regularizer,
        bias_regularizer=bias_regularizer,
        activity_regularizer=activity_regularizer,
        kernel_constraint=kernel_constraint,
        bias_constraint=bias_constraint,
        trainable=trainable,
        name=name,
        _reuse=reuse,
    )
    return layer(inputs)


class Dropout(Layer):
    """While training, sets each element to 0 with probability `rate` and divides the others by
    1 - rate.

    noise_shape: see `nn.dropout`. Called with `training`: a bool, or a bool scalar tensor, which
    may be a placeholder.
    """

    def __init__(
        self, rate=0.5, noise_shape=None, seed: int | None = None, name: str | None = None, **more
    ):
        super().__init__(name=name, **more)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def call(self, inputs: Tensor, training=False) -> Tensor:
        known = known_flag(training)
        if known is False:
            return identity(inputs)
        dropped = drop(inputs, noise_shape=self.noise_shape, seed=self.seed, rate=self.rate)
        return dropped if known else where(training, dropped, inputs)


def known_flag(training) -> bool | None:
    """The value of a `training` argument where it is known while the graph is defined."""
    if not isinstance(training, Tensor):
        return bool(training)
    value = constant_value(training)
    return None if value is None else bool(value)


def dropout(
    inputs,
    rate=0.5,
    noise_shape=None,
    seed: int | None = None,
    training=False,
    name: str | None = None,
) -> Tensor:
    """Dropout of `inputs` where `training` (a bool or a bool tensor) holds; see `Dropout`."""
    return Dropout(rate, noise_shape=noise_shape, seed=seed, name=name)(inputs, training=training)


class Flatten(Layer):
    """Inputs [batch, ...] as [batch, n]."""

    def call(self, inputs: Tensor) -> Tensor:
        if not inputs.rank:
            reject("flatten", f"inputs need a batch dimension, got {inputs.tensor_type}")
        return reshape(inputs, [inputs.dims[0], product(inputs.dims[1:])])


def flatten(inputs, name: str | None = None) -> Tensor:
    """Inputs [batch, ...] as [batch, n]."""
    return Flatten(name=name)(inputs)


class Embedding(Layer):
    """Rows of a table [input_dim, output_dim] of variables, one for each integer of the inputs."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer=None,
        embeddings_regularizer: Callable | None = None,
        embeddings_constraint: Callable | None = None,
        name: str | None = None,
        **more,
    ):
        super().__init__(name=name, **more)
        self.input_dim, self.output_dim = input_dim, output_dim
        self.embeddings_initializer = embeddings_initializer or RandomUniform(-0.05, 0.05)
        self.embeddings_regularizer = embeddings_regularizer
        self.embeddings_constraint = embeddings_constraint
        self.embeddings: Variable | None = None

    def build(self, dims) -> None:
        self.embeddings = self.add_weight(
            "embeddings",
            [self.input_dim, self.output_dim],
            initializer=self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )

    def call(self, inputs: Tensor) -> Tensor:
        return embedding_lookup(self.embeddings, inputs)
