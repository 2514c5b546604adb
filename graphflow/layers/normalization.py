"""Normalisation layers; batch normalisation has running averages for inference."""

from __future__ import annotations

from collections.abc import Callable

from ..initializers import Ones, Zeros
from ..ir.node import Tensor
from ..layer import Layer
from ..nn import batch_normalization as batch_norm
from ..nn.normalization import batch_normalized, unbiased
from ..nn.normalization import group_norm as normalize_groups
from ..nn.normalization import instance_norm as normalize_instances
from ..nn.normalization import layer_norm as normalize_layer
from ..ops.convert import convert, known_axes, reject
from ..ops.indexing import reshaped, transposed
from ..ops.logic import cast
from ..ops.movement import reshape
from ..ops.variables import Variable
from .core import known_flag

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "batch_normalization",
    "group_norm",
    "instance_norm",
    "layer_norm",
]


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
        rank = len(inputs.dims)
        if known is False:
            return self._by_averages(inputs)
        others = [axis for axis in range(rank) if axis not in self._kept]
        # Channels at the end: their moments are read in one pass, and convolutions want them there.
        order = (*others, *self._kept)
        x = transposed(inputs, order)
        kept = x.dims[len(others) :]
        averages = [reshaped(average.value(), kept) for average in self._averages]
        beta, gamma = (
            None if v is None else reshaped(v.value(), kept) for v in (self.beta, self.gamma)
        )
        y, mean, variance = batch_normalized(
            x, gamma, beta, self.epsilon, *(() if known else (convert(training), averages))
        )
        self._follow(x, range(len(others)), mean, variance, training, known)
        return transposed(y, [order.index(axis) for axis in range(rank)])

    @property
    def _averages(self) -> tuple[Variable, Variable]:
        return self.moving_mean, self.moving_variance

    def _by_averages(self, inputs: Tensor) -> Tensor:
        broadcast = [dim if n in self._kept else 1 for n, dim in enumerate(inputs.dims)]

        def shaped(variable: Variable | None) -> Tensor | None:
            return None if variable is None else reshape(variable, broadcast)

        mean, variance = map(shaped, self._averages)
        offset, scale = shaped(self.beta), shaped(self.gamma)
        return batch_norm(inputs, mean, variance, offset, scale, self.epsilon)

    def _follow(self, x: Tensor, axes, mean, variance, training, known: bool | None) -> None:
        """Adds the updates of the moving averages; without training they change nothing."""
        rate = convert(1 - self.momentum, self._dtype)
        if known is None:
            rate = cast(training, self._dtype) * rate
        if self._unbiased:
            variance = unbiased(variance, x, tuple(axes))
        for average, batch in zip(self._averages, (mean, variance), strict=True):
            batch = reshaped(batch, average.dims)
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


class _Scaled(Layer):
    """A normalisation of each example by itself, with a gamma and a beta along some axes."""

    def __init__(
        self,
        axis=-1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer=None,
        gamma_initializer=None,
        beta_regularizer: Callable | None = None,
        gamma_regularizer: Callable | None = None,
        beta_constraint: Callable | None = None,
        gamma_constraint: Callable | None = None,
        trainable: bool = True,
        name: str | None = None,
        **arguments,
    ):
        super().__init__(trainable=trainable, name=name, **arguments)
        self.axis, self.epsilon, self.center, self.scale = axis, epsilon, center, scale
        self.beta_initializer = beta_initializer or Zeros()
        self.gamma_initializer = gamma_initializer or Ones()
        self.beta_regularizer, self.gamma_regularizer = beta_regularizer, gamma_regularizer
        self.beta_constraint, self.gamma_constraint = beta_constraint, gamma_constraint
        self.beta: Variable | None = None
        self.gamma: Variable | None = None

    def build(self, dims) -> None:
        if not dims:
            reject(self._base_name, "the inputs must have a known rank of at least 1")
        self._kept = known_axes(self.axis, len(dims), self._base_name)
        for axis in self._kept:
            if not isinstance(dims[axis], int):
                reject(self._base_name, f"dimension {axis} of the inputs must be known")
        shape = [dims[axis] for axis in self._kept]
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


class LayerNormalization(_Scaled):
    """gamma · (x - mean) / sqrt(variance + epsilon) + beta, moments over `axis` of each example.

    axis: one or several; gamma and beta have a number for each index of them.
    Ba, Kiros and Hinton 2016, arXiv:1607.06450.
    """

    def call(self, inputs: Tensor) -> Tensor:
        shape = [dim if n in self._kept else 1 for n, dim in enumerate(inputs.dims)]
        gamma, beta = (None if v is None else reshape(v, shape) for v in (self.gamma, self.beta))
        return normalize_layer(inputs, gamma, beta, list(self._kept), self.epsilon)


class GroupNormalization(_Scaled):
    """As LayerNormalization, for each of `groups` equal parts of the channels, which are along
    `axis`; gamma and beta have a number for each channel.

    Wu and He 2018, arXiv:1803.08494.
    """

    def __init__(self, groups: int = 32, axis: int = -1, **arguments):
        super().__init__(axis=axis, **arguments)
        self.groups = groups

    def call(self, inputs: Tensor) -> Tensor:
        return normalize_groups(inputs, self.groups, self.gamma, self.beta, self.axis, self.epsilon)


class InstanceNormalization(_Scaled):
    """As LayerNormalization, for each channel, along `axis`, by itself.

    Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022.
    """

    def call(self, inputs: Tensor) -> Tensor:
        return normalize_instances(inputs, self.gamma, self.beta, self.axis, self.epsilon)


def layer_norm(inputs, axis=-1, epsilon: float = 1e-3, name=None, reuse=None, **more) -> Tensor:
    """A new `LayerNormalization` layer applied to `inputs`."""
    return LayerNormalization(axis, epsilon, name=name, _reuse=reuse, **more)(inputs)


def group_norm(
    inputs, groups: int = 32, axis: int = -1, epsilon: float = 1e-3, name=None, reuse=None, **more
) -> Tensor:
    """A new `GroupNormalization` layer applied to `inputs`."""
    return GroupNormalization(groups, axis, epsilon=epsilon, name=name, _reuse=reuse, **more)(
        inputs
    )


def instance_norm(
    inputs, axis: int = -1, epsilon: float = 1e-3, name=None, reuse=None, **more
) -> Tensor:
    """A new `InstanceNormalization` layer applied to `inputs`."""
    return InstanceNormalization(axis, epsilon, name=name, _reuse=reuse, **more)(inputs)
