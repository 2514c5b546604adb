"""Learning rates that change with the step, as tensors; formulas and names of TensorFlow 1.

`global_step` is a variable, a tensor or a number; it is counted by `minimize(global_step=...)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..framework import name_scope
from ..ir.node import Tensor
from ..ops.arithmetic import minimum
from ..ops.arithmetic import pow as power
from ..ops.convert import convert
from ..ops.logic import cast, where
from ..ops.math import ceil, cos, exp, floor, log
from .optimizer import in_dtype

__all__ = [
    "cosine_decay",
    "cosine_decay_restarts",
    "exponential_decay",
    "inverse_time_decay",
    "linear_cosine_decay",
    "natural_exp_decay",
    "piecewise_constant",
    "piecewise_constant_decay",
    "polynomial_decay",
]


def _rate_and_step(learning_rate, global_step, what: str) -> tuple[Tensor, Tensor]:
    """Both as scalars of the rate's floating-point dtype."""
    if global_step is None:
        raise ValueError(f"{what}: global_step is required")
    rate = convert(learning_rate, what=what)
    return rate, in_dtype(global_step, rate.dtype)


def _fraction(step: Tensor, decay_steps, staircase: bool) -> Tensor:
    fraction = step / in_dtype(decay_steps, step.dtype)
    return floor(fraction) if staircase else fraction


def exponential_decay(
    learning_rate, global_step, decay_steps, decay_rate, staircase: bool = False, name=None
) -> Tensor:
    """learning_rate · decay_rate ^ (global_step / decay_steps); whole powers if `staircase`."""
    with name_scope(name, "ExponentialDecay"):
        rate, step = _rate_and_step(learning_rate, global_step, "exponential_decay")
        fraction = _fraction(step, decay_steps, staircase)
        return rate * power(in_dtype(decay_rate, rate.dtype), fraction)


def natural_exp_decay(
    learning_rate, global_step, decay_steps, decay_rate, staircase: bool = False, name=None
) -> Tensor:
    """learning_rate · exp(-decay_rate · global_step / decay_steps)"""
    with name_scope(name, "NaturalExpDecay"):
        rate, step = _rate_and_step(learning_rate, global_step, "natural_exp_decay")
        fraction = _fraction(step, decay_steps, staircase)
        return rate * exp(-in_dtype(decay_rate, rate.dtype) * fraction)


def inverse_time_decay(
    learning_rate, global_step, decay_steps, decay_rate, staircase: bool = False, name=None
) -> Tensor:
    """learning_rate / (1 + decay_rate · global_step / decay_steps)"""
    with name_scope(name, "InverseTimeDecay"):
        rate, step = _rate_and_step(learning_rate, global_step, "inverse_time_decay")
        fraction = _fraction(step, decay_steps, staircase)
        return rate / (1 + in_dtype(decay_rate, rate.dtype) * fraction)


def polynomial_decay(
    learning_rate,
    global_step,
    decay_steps,
    end_learning_rate=0.0001,
    power: float = 1.0,
    cycle: bool = False,
    name=None,
) -> Tensor:
    """(learning_rate - end) · (1 - global_step / decay_steps) ^ power + end

    The step stays at `decay_steps` after it, or with `cycle` starts again with decay_steps
    multiplied by the number of times it was reached.
    """
    with name_scope(name, "PolynomialDecay"):
        rate, step = _rate_and_step(learning_rate, global_step, "polynomial_decay")
        steps = in_dtype(decay_steps, rate.dtype)
        end = in_dtype(end_learning_rate, rate.dtype)
        if cycle:
            steps = steps * where(step <= 0, 0 * step + 1, ceil(step / steps))
        else:
            step = minimum(step, steps)
        return (rate - end) * _power(1 - step / steps, power) + end


_power = power  # polynomial_decay has an argument of that name


def cosine_decay(learning_rate, global_step, decay_steps, alpha=0.0, name=None) -> Tensor:
    """learning_rate · ((1 - alpha) · (1 + cos(pi · global_step / decay_steps)) / 2 + alpha)

    The step stays at `decay_steps` after it (Loshchilov and Hutter 2016, arXiv:1608.03983).
    """
    with name_scope(name, "CosineDecay"):
        rate, step = _rate_and_step(learning_rate, global_step, "cosine_decay")
        steps = in_dtype(decay_steps, rate.dtype)
        cosine = 0.5 * (1 + cos(math.pi * (minimum(step, steps) / steps)))
        return rate * ((1 - alpha) * cosine + alpha)


def cosine_decay_restarts(
    learning_rate, global_step, first_decay_steps, t_mul=2.0, m_mul=1.0, alpha=0.0, name=None
) -> Tensor:
    """Cosine decay that starts again: the i-th period is t_mul ^ i times as long as the first and
    begins at m_mul ^ i of the learning rate (Loshchilov and Hutter 2016, arXiv:1608.03983)."""
    with name_scope(name, "SGDRDecay"):
        rate, step = _rate_and_step(learning_rate, global_step, "cosine_decay_restarts")
        done = step / in_dtype(first_decay_steps, rate.dtype)
        if t_mul == 1.0:
            period = floor(done)
            fraction = done - period
        else:
            length = in_dtype(t_mul, rate.dtype)
            period = floor(log(1 - done * (1 - length)) / log(length))
            before = (1 - power(length, period)) / (1 - length)
            fraction = (done - before) / power(length, period)
        height = power(in_dtype(m_mul, rate.dtype), period)
        cosine = 0.5 * height * (1 + cos(math.pi * fraction))
        return rate * ((1 - alpha) * cosine + alpha)


def linear_cosine_decay(
    learning_rate, global_step, decay_steps, num_periods=0.5, alpha=0.0, beta=0.001, name=None
) -> Tensor:
    """learning_rate · ((alpha + 1 - f) · (1 + cos(2 · pi · num_periods · f)) / 2 + beta), where
    f = min(global_step, decay_steps) / decay_steps (Bello et al. 2017, arXiv:1709.07417)."""
    with name_scope(name, "LinearCosineDecay"):
        rate, step = _rate_and_step(learning_rate, global_step, "linear_cosine_decay")
        steps = in_dtype(decay_steps, rate.dtype)
        step = minimum(step, steps)
        cosine = 0.5 * (1 + cos(math.pi * (2.0 * num_periods * step / steps)))
        return rate * ((alpha + (steps - step) / steps) * cosine + beta)


def piecewise_constant(x, boundaries: Sequence, values: Sequence, name=None) -> Tensor:
    """values[i] where boundaries[i - 1] < x <= boundaries[i]; the last one beyond all boundaries.

    x: a scalar, usually the global step. There is one value more than boundaries.
    """
    if len(boundaries) != len(values) - 1:
        raise ValueError(
            "piecewise_constant: the boundaries must be one fewer than the values, got "
            f"{len(boundaries)} boundaries and {len(values)} values"
        )
    with name_scope(name, "PiecewiseConstant"):
        x = convert(x, what="piecewise_constant")
        limits = [
            cast(b, x.dtype) if isinstance(b, Tensor) else convert(b, x.dtype) for b in boundaries
        ]
        first = convert(values[0], what="piecewise_constant")
        choices = [first, *(convert(v, first.dtype, what="piecewise_constant") for v in values[1:])]
        result = choices[-1]
        for limit, choice in zip(reversed(limits), reversed(choices[:-1]), strict=True):
            result = where(x <= limit, choice, result)
        return result


piecewise_constant_decay = piecewise_constant
