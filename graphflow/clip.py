"""Clipping by norms: tensors scaled down so that their Euclidean norm keeps a bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import TypeRuleError
from .framework import name_scope
from .ir.node import Tensor
from .ir.op import find
from .ops.arithmetic import add_n, maximum, minimum, square
from .ops.convert import convert
from .ops.creation import ones_like
from .ops.indexed_slices import IndexedSlices
from .ops.logic import identity, is_finite, where
from .ops.math import sqrt
from .ops.reduction import reduce_sum

__all__ = ["clip_by_average_norm", "clip_by_global_norm", "clip_by_norm", "global_norm"]


def _values(t) -> Tensor:
    return t.values if isinstance(t, IndexedSlices) else convert(t)


def _with(t, values: Tensor):
    """`values` in the form of `t`: rows stay rows."""
    return t.with_values(values) if isinstance(t, IndexedSlices) else values


def clip_by_norm(t, clip_norm, axes=None, name: str | None = None):
    """t · min(1, clip_norm / norm(t)), the norm over `axes` (all if None) of each slice.

    The gradient is finite at t = 0.
    """
    with name_scope(name, "clip_by_norm") as scope:
        values = _values(t)
        limit = convert(clip_norm, values.dtype, what="clip_by_norm")
        squares = reduce_sum(square(values), axis=axes, keepdims=True)
        # The square root of 1 is taken where the sum is 0, so that its gradient is no NaN.
        positive = squares > 0
        norm = where(positive, sqrt(where(positive, squares, ones_like(squares))), squares)
        clipped = values * limit / maximum(norm, limit)
        return _with(t, identity(clipped, name=scope))


def clip_by_average_norm(t, clip_norm, name: str | None = None) -> Tensor:
    """t · min(1, clip_norm / (norm(t) / number of elements))"""
    with name_scope(name, "clip_by_average_norm") as scope:
        t = convert(t, what="clip_by_average_norm")
        limit = convert(clip_norm, t.dtype, what="clip_by_average_norm")
        average = sqrt(reduce_sum(square(t))) / find("size")(t, axes=None, dtype=t.dtype)
        return identity(t * limit / maximum(average, limit), name=scope)


def _tensor_list(t_list, what: str) -> list[Any]:
    if isinstance(t_list, (Tensor, IndexedSlices)) or not isinstance(t_list, Sequence):
        raise TypeError(f"{what}: t_list must be a sequence of tensors, got {t_list!r}")
    return list(t_list)


def global_norm(t_list, name: str | None = None) -> Tensor | None:
    """sqrt(sum of all elements' squares) of a list of tensors, IndexedSlices and None."""
    given = [t for t in _tensor_list(t_list, "global_norm") if t is not None]
    if not given:
        return None
    with name_scope(name, "global_norm") as scope:
        squares = [reduce_sum(square(_values(t))) for t in given]
        if len({s.dtype for s in squares}) > 1:
            raise TypeRuleError("global_norm: the tensors must have one dtype")
        return identity(sqrt(add_n(squares)), name=scope)


def clip_by_global_norm(t_list, clip_norm, use_norm=None, name: str | None = None):
    """(each tensor · min(1, clip_norm / n), n), where n is the global norm of the list.

    t_list: tensors, IndexedSlices and None. use_norm: the global norm, if it is known already.
    Where n is not finite all results are NaN, so that the failure is seen (Pascanu et al. 2012,
    arXiv:1211.5063).
    """
    items = _tensor_list(t_list, "clip_by_global_norm")
    norm = global_norm(items) if use_norm is None else convert(use_norm)
    if norm is None:
        return items, convert(0.0)
    with name_scope(name, "clip_by_global_norm"):
        limit = convert(clip_norm, norm.dtype, what="clip_by_global_norm")
        scale = limit * minimum(1 / norm, 1 / limit)
        scale = where(is_finite(norm), scale, norm - norm)  # inf - inf and NaN - NaN are NaN
        clipped = [t if t is None else _with(t, _values(t) * scale) for t in items]
    return clipped, norm
