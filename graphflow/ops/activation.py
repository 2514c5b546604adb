"""Activation functions as compositions, with the gradients TensorFlow 1 gives at their kinks."""

from __future__ import annotations

import math

from ..ir.node import Tensor
from .arithmetic import add_op, div_op, maximum_op, minimum_op, mul_op
from .convert import convert
from .logic import greater, select_op
from .math import abs_op, erf_op, expm1_op, sigmoid_op, tanh_op

__all__ = ["elu", "gelu", "leaky_relu", "relu", "relu6", "selu", "softsign", "swish"]


def relu(features, name=None) -> Tensor:
    """max(x, 0), elementwise. NaN stays NaN; the gradient at 0 is 0."""
    x = convert(features, what="relu")
    # The constant stands first: maximum's gradient goes to its first operand where both are equal.
    return maximum_op(convert(0, x.dtype), x, name=name or "Relu")


def relu6(features, name=None) -> Tensor:
    """min(max(x, 0), 6), elementwise; the gradient at 0 and at 6 is 0."""
    x = convert(features, what="relu6")
    return minimum_op(convert(6, x.dtype), relu(x), name=name or "Relu6")


def _elu(x: Tensor, alpha: float, scale: float, name: str) -> Tensor:
    # expm1 sees min(x, 0) only, so that it cannot overflow on the side that is not taken.
    below = expm1_op(minimum_op(x, convert(0, x.dtype)))
    below = below if alpha * scale == 1 else mul_op(below, convert(alpha * scale, x.dtype))
    above = x if scale == 1 else mul_op(x, convert(scale, x.dtype))
    return select_op(greater(x, convert(0, x.dtype)), above, below, name=name)


def elu(features, name=None) -> Tensor:
    """x where positive, else exp(x) - 1 (Clevert et al. 2015, arXiv:1511.07289)."""
    return _elu(convert(features, what="elu"), 1.0, 1.0, name or "Elu")


def selu(features, name=None) -> Tensor:
    """The self-normalising elu (Klambauer et al. 2017, arXiv:1706.02515)."""
    x = convert(features, what="selu")
    return _elu(x, 1.6732632423543772, 1.0507009873554805, name or "Selu")


def leaky_relu(features, alpha=0.2, name=None) -> Tensor:
    """x where positive, else alpha * x; the gradient at 0 is alpha."""
    x = convert(features, what="leaky_relu")
    slope = mul_op(x, convert(alpha, x.dtype, what="leaky_relu"))
    return select_op(greater(x, convert(0, x.dtype)), x, slope, name=name or "LeakyRelu")


def softsign(features, name=None) -> Tensor:
    """x / (1 + |x|), elementwise."""
    x = convert(features, what="softsign")
    return div_op(x, add_op(abs_op(x), convert(1, x.dtype)), name=name or "Softsign")


def swish(features, name=None) -> Tensor:
    """x * sigmoid(x), elementwise (Ramachandran et al. 2017, arXiv:1710.05941)."""
    x = convert(features, what="swish")
    return mul_op(x, sigmoid_op(x), name=name or "swish")


def gelu(features, approximate=False, name=None) -> Tensor:
    """x * Phi(x) with the normal distribution function Phi (Hendrycks & Gimpel 2016,
    arXiv:1606.08415), or its tanh approximation."""
    x = convert(features, what="gelu")

    def number(value: float) -> Tensor:
        return convert(value, x.dtype)

    if approximate:
        cube = mul_op(mul_op(x, x), mul_op(x, number(0.044715)))
        inner = tanh_op(mul_op(number(math.sqrt(2 / math.pi)), add_op(x, cube)))
    else:
        inner = erf_op(mul_op(x, number(math.sqrt(0.5))))
    half = mul_op(x, number(0.5))
    return mul_op(half, add_op(number(1), inner), name=name or "Gelu")
