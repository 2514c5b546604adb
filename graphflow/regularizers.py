"""Regularisers: functions of a variable's value that give a loss to add to a model's."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

from .ir.node import Tensor
from .nn import l2_loss
from .ops.arithmetic import add_n
from .ops.math import abs as absolute
from .ops.reduction import reduce_sum

__all__ = ["l1_l2_regularizer", "l1_regularizer", "l2_regularizer", "sum_regularizer"]


def _scale(scale, what: str) -> float:
    if not isinstance(scale, Real) or isinstance(scale, bool) or scale < 0:
        raise ValueError(f"{what}: the scale must be a number that is not negative, got {scale!r}")
    return float(scale)


def l1_regularizer(scale) -> Callable[[Tensor], Tensor | None]:
    """scale · sum(|w|)"""
    scale = _scale(scale, "l1_regularizer")
    return lambda weights: scale * reduce_sum(absolute(weights)) if scale else None


def l2_regularizer(scale) -> Callable[[Tensor], Tensor | None]:
    """scale · sum(w²) / 2"""
    scale = _scale(scale, "l2_regularizer")
    return lambda weights: scale * l2_loss(weights) if scale else None


def l1_l2_regularizer(scale_l1=1.0, scale_l2=1.0) -> Callable[[Tensor], Tensor | None]:
    """scale_l1 · sum(|w|) + scale_l2 · sum(w²) / 2"""
    return sum_regularizer([l1_regularizer(scale_l1), l2_regularizer(scale_l2)])


def sum_regularizer(regularizer_list) -> Callable[[Tensor], Tensor | None]:
    """The sum of several regularisers; None among them, and in their results, are left out."""
    regularizers = [regularizer for regularizer in regularizer_list if regularizer is not None]

    def regularize(weights):
        losses = [loss for loss in (r(weights) for r in regularizers) if loss is not None]
        return add_n(losses) if losses else None

    return regularize
