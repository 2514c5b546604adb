"""Batch normalisation, with running averages for inference."""

from __future__ import annotations

from collections.abc import Callable

from ..initializers import Ones, Zeros
from ..ir.node import Tensor
from ..ir.op import find
from ..nn import batch_normalization as normalize
from ..nn import moments
from ..ops.arithmetic import maximum
from ..ops.convert import convert, known_axes, reject
from ..ops.logic import cast, where
from ..ops.movement import reshape
from ..ops.variables import Variable
from .base import Layer
from .core import known_flag

__all__ = ["BatchNormalization", "batch_normalization"]


class BatchNormalization(Layer):
    """gamma · (x - mean) / sqrt(variance + epsilon) + beta, for each index of `axis`.

    While training, mean and variance are the batch's, and the moving averages follow them:
    average = momentum · average + (1 - momentum) · batch. These updates are in UPDATE_OPS: make the
    training step depend on them. Otherwise the moving averages are used.

    axis: the axis, or axes, that keep their own statistics (the channels).
    center, scale: whether there is a beta, a gamma.
    fused: whether the moving variance follows the unbiased estimate n / (n - 1) · variance, as
        TensorFlow 1's fused kernel does; None: for images (rank 4, channels first or last).

    Called with `training`: a bool, or a bool scalar tensor, which may be a placeholder.
    Ioffe and Szegedy 2015, arXiv:1502.03167.
    """

    def __init__(
        self,
        axis=-1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer=None,
        gamma_initializer=None,
        moving_mean_initializer=None,
        moving_variance_initializer=None,
        beta_regularizer: Callable | None = None,
        gamma_regularizer: Callable | None = None,
        beta_constraint: Callable | None = None,
        gamma_constraint: Callable | None = None,
        fused: bool | None = None,
        trainable: bool = True,
        name: str | None = None,
        **arguments,
    ):
        super().__init__(trainable=trainable, name=name, **arguments)
        self.axis, self.momentum, self.epsilon = axis, momentum, epsilon
        self.center, self.scale, self.fused = center, scale, fused
        self.beta_initializer = beta_initializer or Zeros()
        self.gamma_initializer = gamma_initializer or Ones()
        self.moving_mean_initializer = moving_mean_initializer or Zeros()
        self.moving_variance_initializer = moving_variance_initializer or Ones()
        self.beta_regularizer, self.gamma_regularizer = beta_regularizer, gamma_regularizer
        self.beta_constraint, self.gamma_constraint = beta_constraint, gamma_constraint
        self.beta: Variable | None = None
        self.gamma: Variable | None = None

    def build(self, dims) -> None:
        if not dims:
            reject("batch_normalization", "the inputs must have a known rank of at least 1")
        self._kept = known_axes(self.axis, len(dims), "batch_normalization")
        for axis in self._kept:
            if not isinstance(dims[axis], int):
                reject("batch_normalization", f"dimension {axis} of the inputs must be known")
        self._unbiased = self.fused
        if self.fused is None:
            self._unbiased = len(dims) == 4 and self._kept in ((1,), (3,))
        if len(self._kept) == 1:
            shape = [dims[self._kept[0]]]
        else:
            shape = [dims[n] if n in self._kept else 1 for n in range(len(dims))]
        if self.scale:
            self.gamma = self.add_weight(
                "gamma",
                shape,
                initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self.beta = self.add_weight(
                "beta",
                shape,
                initializer=self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )
        self.moving_mean = self.add_weight(
            "moving_mean", shape, initializer=self.moving_mean_initializer, trainable=False
        )
        self.moving_variance = self.add_weight(
            "moving_variance", shape, initializer=self.moving_variance_initializer, trainable=False
        )

    def call(self, inputs: Tensor, training=False) -> Tensor:
        known = known_flag(training)
        dims = inputs.dims
        broadcast = [dims[n] if n in self._kept else 1 for n in range(len(dims))]
        mean, variance = self.moving_mean.value(), self.moving_variance.value()
        if known is not False:
            others = [n for n in range(len(dims)) if n not in self._kept]
            batch_mean, batch_variance = (
                reshape(t, self.moving_mean.dims) for t in moments(inputs, others, keepdims=True)
            )
            self._follow(inputs, batch_mean, batch_variance, training, known)
            if known:
                mean, variance = batch_mean, batch_variance
            else:
                mean = where(training, batch_mean, mean)
                variance = where(training, batch_variance, variance)

        def shaped(value):
            return None if value is None else reshape(value, broadcast)

        return normalize(
            inputs,
            shaped(mean),
            shaped(variance),
            shaped(self.beta),
            shaped(self.gamma),
            self.epsilon,
        )

    def _follow(self, inputs: Tensor, mean, variance, training, known: bool | None) -> None:
        """Adds the updates of the moving averages; without training they change nothing."""
        rate = convert(1 - self.momentum, self._dtype)
        if known is None:
            rate = cast(training, self._dtype) * rate
        if self._unbiased:
            others = tuple(n for n in range(len(inputs.dims)) if n not in self._kept)
            count = find("size")(inputs, axes=others, dtype=self._dtype)
            variance = variance * (count / maximum(count - 1, 1))
        for average, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            self.add_update(average.assign_sub((average.value() - batch) * rate).op)


def batch_normalization(
    inputs,
    axis=-1,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    beta_initializer=None,
    gamma_initializer=None,
    moving_mean_initializer=None,
    moving_variance_initializer=None,
    beta_regularizer: Callable | None = None,
    gamma_regularizer: Callable | None = None,
    beta_constraint: Callable | None = None,
    gamma_constraint: Callable | None = None,
    training=False,
    trainable: bool = True,
    name: str | None = None,
    reuse=None,
    fused: bool | None = None,
) -> Tensor:
    """A new `BatchNormalization` layer applied to `inputs`."""
    layer = BatchNormalization(
        axis=axis,
        momentum=momentum,
        epsilon=epsilon,
        center=center,
        scale=scale,
        beta_initializer=beta_initializer,
        gamma_initializer=gamma_initializer,
        moving_mean_initializer=moving_mean_initializer,
        moving_variance_initializer=moving_variance_initializer,
        beta_regularizer=beta_regularizer,
        gamma_regularizer=gamma_regularizer,
        beta_constraint=beta_constraint,
        gamma_constraint=gamma_constraint,
        trainable=trainable,
        name=name,
        fused=fused,
        _reuse=reuse,
    )
    return layer(inputs, training=training)
