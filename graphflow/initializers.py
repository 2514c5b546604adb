"""Initial values of variables: callables (shape, dtype=None, partition_info=None) -> tensor.

`seed` makes a random initializer's values the same every time; without one they follow the
graph's seed, and without that they differ from session to session.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .dtypes import DType, as_dtype, float32
from .ir.graph import get_default_graph
from .ir.node import Tensor
from .ops import random
from .ops.convert import convert
from .ops.creation import fill

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "Identity",
    "Initializer",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "UniformUnitScaling",
    "VarianceScaling",
    "Zeros",
    "constant_initializer",
    "glorot_normal_initializer",
    "glorot_uniform_initializer",
    "he_normal",
    "he_uniform",
    "identity_initializer",
    "lecun_normal",
    "lecun_uniform",
    "ones_initializer",
    "orthogonal_initializer",
    "random_normal_initializer",
    "random_uniform_initializer",
    "truncated_normal_initializer",
    "uniform_unit_scaling_initializer",
    "variance_scaling_initializer",
    "zeros_initializer",
]


def static_shape(shape, what: str = "the shape must be known") -> tuple[int, ...]:
    """`shape` (an integer, a sequence of them, a TensorShape) as a tuple of integers.

    Raises ValueError with `what` where a dimension is not a number.
    """
    if isinstance(shape, (int, np.integer)):
        shape = [shape]
    as_dims = getattr(shape, "_as_dims", None)
    dims = as_dims() if as_dims is not None else shape
    result = []
    for dim in dims if dims is not None else [None]:
        value = getattr(dim, "value", dim)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise ValueError(f"{what}, got {shape!r}")
        result.append(int(value))
    return tuple(result)


class Initializer:
    """Base of initializers: `make(shape, dtype)` says what the values are."""

    dtype: DType | None = float32

    def __call__(self, shape, dtype=None, partition_info=None) -> Tensor:
        wanted = self.dtype if dtype is None else as_dtype(dtype)
        return self.make(static_shape(shape), wanted)  # type: ignore[arg-type]

    def make(self, shape: tuple[int, ...], dtype: DType) -> Tensor:
        raise NotImplementedError

    def get_config(self) -> dict:
        """The arguments that make an equal initializer."""
        return {
            key: value.name if isinstance(value, DType) else value
            for key, value in vars(self).items()
        }

    @classmethod
    def from_config(cls, config: dict) -> Initializer:
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def _floating(dtype, what: str) -> DType:
    result = as_dtype(dtype)
    if not result.is_floating:
        raise ValueError(f"{what}: expected a floating-point dtype, got {result}")
    return result


def _fill(shape: tuple[int, ...], value, dtype: DType) -> Tensor:
    return fill(shape, convert(value, dtype))


class Zeros(Initializer):
    def __init__(self, dtype=float32):
        self.dtype = as_dtype(dtype)

    def make(self, shape, dtype):
        return _fill(shape, False if dtype.is_bool else 0, dtype)


class Ones(Initializer):
    def __init__(self, dtype=float32):
        self.dtype = as_dtype(dtype)

    def make(self, shape, dtype):
        return _fill(shape, True if dtype.is_bool else 1, dtype)


class Constant(Initializer):
    """`value` everywhere, or its elements in order; the last one repeats where they are too few.

    verify_shape: raises TypeError instead where `value` does not have the variable's shape.
    """

    def __init__(self, value=0, dtype=float32, verify_shape: bool = False):
        if not (np.isscalar(value) or isinstance(value, (list, tuple, np.ndarray))):
            raise TypeError(f"constant_initializer: {value!r} is neither a number nor an array")
        self.value = value
        self.dtype = as_dtype(dtype)
        self.verify_shape = verify_shape

    def make(self, shape, dtype):
        values = np.asarray(self.value).astype(dtype.numpy)
        if self.verify_shape and values.shape != shape:
            raise TypeError(
                f"constant_initializer: expected shape {list(shape)}, got {list(values.shape)}"
            )
        if values.size == 1:
            return _fill(shape, values.reshape(()), dtype)
        count = math.prod(shape)
        if values.size > count:
            raise ValueError(
                f"constant_initializer: too many elements: {values.size} for shape {list(shape)}"
            )
        flat = values.reshape(-1)
        if values.size < count:
            rest = flat[-1] if values.size else 0
            flat = np.concatenate([flat, np.full(count - flat.size, rest, flat.dtype)])
        return convert(flat.reshape(shape), dtype)


class RandomUniform(Initializer):
    """Uniform on [minval, maxval); integers need a maxval."""

    def __init__(self, minval=0, maxval=None, seed=None, dtype=float32):
        self.minval, self.maxval, self.seed = minval, maxval, seed
        self.dtype = as_dtype(dtype)

    def make(self, shape, dtype):
        maxval = 1.0 if self.maxval is None and dtype.is_floating else self.maxval
        return random.random_uniform(shape, self.minval, maxval, dtype, seed=self.seed)


class RandomNormal(Initializer):
    """Normal with the mean and standard deviation given."""

    def __init__(self, mean=0.0, stddev=1.0, seed=None, dtype=float32):
        self.mean, self.stddev, self.seed = mean, stddev, seed
        self.dtype = _floating(dtype, "random_normal_initializer")

    def make(self, shape, dtype):
        return random.random_normal(shape, self.mean, self.stddev, dtype, seed=self.seed)


class TruncatedNormal(Initializer):
    """Normal, drawn again where it is more than two standard deviations from the mean."""

    def __init__(self, mean=0.0, stddev=1.0, seed=None, dtype=float32):
        self.mean, self.stddev, self.seed = mean, stddev, seed
        self.dtype = _floating(dtype, "truncated_normal_initializer")

    def make(self, shape, dtype):
        return random.truncated_normal(shape, self.mean, self.stddev, dtype, seed=self.seed)


class UniformUnitScaling(Initializer):
    """Uniform on ±factor·sqrt(3 / n), n the product of all dimensions but the last.

    Keeps the scale of a layer's input (Sussillo and Abbott 2014, arXiv:1412.6558).
    """

    def __init__(self, factor=1.0, seed=None, dtype=float32):
        self.factor, self.seed = factor, seed
        self.dtype = _floating(dtype, "uniform_unit_scaling_initializer")

    def make(self, shape, dtype):
        limit = math.sqrt(3 / max(1, math.prod(shape[:-1]))) * self.factor
        return random.random_uniform(shape, -limit, limit, dtype, seed=self.seed)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """How many inputs and outputs a unit of a layer with this kernel has.

    A matrix [inputs, outputs]; a convolution's kernel [*window, inputs, outputs].
    """
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


# The standard deviation of a unit normal truncated to [-2, 2].
_TRUNCATED_DEVIATION = 0.87962566103423978


class VarianceScaling(Initializer):
    """Mean 0, variance scale / n, n the fan_in, the fan_out or their average (fan_avg).

    distribution: "truncated_normal" (also "normal"), "untruncated_normal" or "uniform".
    """

    def __init__(
        self, scale=1.0, mode="fan_in", distribution="truncated_normal", seed=None, dtype=float32
    ):
        if scale <= 0:
            raise ValueError(f"variance_scaling: scale must be positive, got {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"variance_scaling: mode is fan_in, fan_out or fan_avg, got {mode!r}")
        distribution = distribution.lower()
        if distribution not in ("normal", "uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(f"variance_scaling: no such distribution: {distribution!r}")
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed
        self.dtype = _floating(dtype, "variance_scaling")

    def make(self, shape, dtype):
        fan_in, fan_out = fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return random.random_uniform(shape, -limit, limit, dtype, seed=self.seed)
        deviation = math.sqrt(variance)
        if self.distribution == "untruncated_normal":
            return random.random_normal(shape, 0.0, deviation, dtype, seed=self.seed)
        deviation /= _TRUNCATED_DEVIATION
        return random.truncated_normal(shape, 0.0, deviation, dtype, seed=self.seed)


class _Scaled(VarianceScaling):
    def get_config(self) -> dict:
        return {"seed": self.seed, "dtype": str(self.dtype)}


class GlorotUniform(_Scaled):
    """Uniform on ±sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""

    def __init__(self, seed=None, dtype=float32):
        super().__init__(1.0, "fan_avg", "uniform", seed, dtype)


class GlorotNormal(_Scaled):
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""

    def __init__(self, seed=None, dtype=float32):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed, dtype)


def he_normal(seed=None) -> VarianceScaling:
    """Truncated normal of variance 2 / fan_in (He et al. 2015, arXiv:1502.01852)."""
    return VarianceScaling(2.0, "fan_in", "truncated_normal", seed)


def he_uniform(seed=None) -> VarianceScaling:
    """Uniform on ±sqrt(6 / fan_in) (He et al. 2015, arXiv:1502.01852)."""
    return VarianceScaling(2.0, "fan_in", "uniform", seed)


def lecun_normal(seed=None) -> VarianceScaling:
    """Truncated normal of variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp")."""
    return VarianceScaling(1.0, "fan_in", "truncated_normal", seed)


def lecun_uniform(seed=None) -> VarianceScaling:
    """Uniform on ±sqrt(3 / fan_in) (LeCun et al. 1998, "Efficient BackProp")."""
    return VarianceScaling(1.0, "fan_in", "uniform", seed)


class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns, times `gain`; further dimensions than
    two are flattened into the rows (Saxe et al. 2014, arXiv:1312.6120).

    The matrix is drawn when the variable is defined, and is a constant of the graph: a QR
    decomposition is a loop over columns that no kernel should be made for. Running the
    initializer again gives the same values.
    """

    def __init__(self, gain=1.0, seed=None, dtype=float32):
        self.gain, self.seed = gain, seed
        self.dtype = _floating(dtype, "orthogonal_initializer")

    def make(self, shape, dtype):
        if len(shape) < 2:
            raise ValueError(
                f"orthogonal_initializer: needs at least two dimensions, got {list(shape)}"
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        generator = np.random.default_rng(self._entropy())
        normal = generator.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(normal)
        q = q * np.sign(np.diag(r))  # makes the distribution uniform (Mezzadri 2007, sec. 4)
        matrix = q if rows >= columns else q.T
        return convert((self.gain * matrix).reshape(shape).astype(dtype.numpy), dtype)

    def _entropy(self):
        graph = get_default_graph()
        if graph.seed is None and self.seed is None:
            return None
        if self.seed is None:
            return [graph.seed, len(graph.nodes)]
        return [0 if graph.seed is None else graph.seed, self.seed]


class Identity(Initializer):
    """The identity matrix, times `gain`; two dimensions only."""

    def __init__(self, gain=1.0, dtype=float32):
        self.gain = gain
        self.dtype = _floating(dtype, "identity_initializer")

    def make(self, shape, dtype):
        if len(shape) != 2:
            raise ValueError(f"identity_initializer: needs two dimensions, got {list(shape)}")
        return convert((self.gain * np.eye(*shape)).astype(dtype.numpy), dtype)


zeros_initializer = Zeros
ones_initializer = Ones
constant_initializer = Constant
random_uniform_initializer = RandomUniform
random_normal_initializer = RandomNormal
truncated_normal_initializer = TruncatedNormal
uniform_unit_scaling_initializer = UniformUnitScaling
variance_scaling_initializer = VarianceScaling
glorot_uniform_initializer = GlorotUniform
glorot_normal_initializer = GlorotNormal
orthogonal_initializer = Orthogonal
identity_initializer = Identity

# The names that `tf.initializers` has for them.
zeros = Zeros
ones = Ones
constant = Constant
random_uniform = RandomUniform
random_normal = RandomNormal
truncated_normal = TruncatedNormal
uniform_unit_scaling = UniformUnitScaling
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
orthogonal = Orthogonal
identity = Identity
