"""Dot-product attention."""

from __future__ import annotations

import math

from ..dtypes import bool_
from ..framework import name_scope
from ..ir.node import Tensor
from ..ops.attention import attention
from ..ops.contraction import matmul
from ..ops.convert import convert, reject
from ..ops.creation import range as iota
from ..ops.logic import where
from .layers import dropout
from .losses import softmax

__all__ = ["scaled_dot_product_attention"]

WHAT = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    query,
    key,
    value,
    mask=None,
    is_causal: bool = False,
    scale: float | None = None,
    dropout_rate=0.0,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """softmax(scale query keyᵀ + mask) value, along the last two dimensions.

    query:   [..., Q, D], floating-point; the sizes D and E must be known
    key:     [..., K, D]
    value:   [..., K, E]
    mask:    broadcasts to [..., Q, K]: added to the scores where it has their dtype; where it is
             bool, True lets a query see a key
    is_causal: query i sees keys 0 to i only
    scale:   1 / sqrt(D) if None
    dropout_rate: of the weights; above 0 (or a tensor) the matrix of weights is held in memory

    Gives [..., Q, E]. A query that sees no key gives zeros. Scores are never all in memory: they
    are computed block by block, again for the gradients (see `ops/attention.py` for the sources).
    Vaswani et al., "Attention Is All You Need", 2017. TypeRuleError for shapes that do not fit.
    """
    with name_scope(name, WHAT) as scope:
        query = convert(query, what=WHAT)
        key, value = convert(key, query.dtype, what=WHAT), convert(value, query.dtype, what=WHAT)
        for tensor in (query, key, value):
            if tensor.rank is None or tensor.rank < 2:
                reject(WHAT, f"{tensor.name} is {tensor.tensor_type}; rank 2 or more is needed")
        if scale is None:
            if not isinstance(query.dims[-1], int):
                reject(WHAT, f"the last size of {query.name} {query.tensor_type} must be known")
            scale = 1 / math.sqrt(max(1, query.dims[-1]))
        bias = None if mask is None else _bias(mask, query)
        if isinstance(dropout_rate, Tensor) or dropout_rate:
            return _with_dropout(
                query, key, value, bias, is_causal, scale, dropout_rate, seed, scope
            )
        inputs = (query, key, value) if bias is None else (query, key, value, bias)
        return attention(*inputs, scale=float(scale), causal=bool(is_causal), name=scope)[0]


def _bias(mask, query: Tensor) -> Tensor:
    mask = convert(mask, what=WHAT)
    if mask.dtype is bool_:
        return where(mask, convert(0, query.dtype), convert(float("-inf"), query.dtype))
    if mask.dtype is not query.dtype:
        reject(WHAT, f"the mask {mask.name} is {mask.dtype}; it must be bool or {query.dtype}")
    return mask


def _with_dropout(query, key, value, bias, causal, scale, rate, seed, scope) -> Tensor:
    scores = matmul(query, key, transpose_b=True) * convert(scale, query.dtype)
    if bias is not None:
        scores = scores + bias
    if causal:
        queries, keys = (iota(tensor.dims[-2]) for tensor in (query, key))
        scores = where(keys <= queries[:, None], scores, convert(float("-inf"), query.dtype))
    return matmul(dropout(softmax(scores), rate=rate, seed=seed), value, name=scope)
