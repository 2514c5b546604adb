"""Attention without its matrix of scores: softmax(scale q kᵀ + bias) v, and its gradients.

    attention(q[B.., Q, D], k[B.., K, D], v[B.., K, E] (, bias))      -> y[B.., Q, E], total[B.., Q]
    attention_gradients(q, k, v, g, total, share (, bias))            -> dq, dk, dv

`bias` broadcasts to [B.., Q, K]; with `causal`, query i sees keys 0 to i only. `total` is the
logarithm of the sum of each row's exponentials, from which the gradients make the weights again;
`share` is the sum of g * y along each row, less the gradient of `total`:

    p = exp(scale q kᵀ + bias - total)     dp = g vᵀ        ds = p (dp - share)
    dq = scale ds k                        dk = scale dsᵀ q  dv = pᵀ g

A query that sees no key (all its scores are -infinity) gives zeros, and has no gradient.
Source: T. Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention", 2022; the
running maximum is that of M. Milakov and N. Gimelshein, "Online normalizer calculation for
softmax", 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import int64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import ATTEND, Op, define, find
from ..ir.types import SizeRules, TensorType
from ..sizes import Dim, multiply, product
from .convert import convert
from .reduction import sum_to

# -- types ---------------------------------------------------------------------------------------


def _check(q: Any, k: Any, v: Any, bias: Any, rules: SizeRules) -> None:
    for name, t in (("keys", k), ("values", v), ("bias", bias)):
        if t is not None and t.dtype is not q.dtype:
            raise TypeRuleError(f"the queries are {q.dtype}, the {name} {t.dtype}; cast one")
    if not q.dtype.is_floating:
        raise TypeRuleError(f"attention needs floating-point tensors, got {q.dtype}; cast them")
    if q.rank < 2 or k.rank != q.rank or v.rank != q.rank:
        raise TypeRuleError(f"queries {q}, keys {k} and values {v} must be [..., sequence, size]")
    for axis in range(q.rank - 2):
        for t, name in ((k, "keys"), (v, "values")):
            rules.equal(
                q.shape[axis], t.shape[axis], f"axis {axis} of queries {q} and {name} {t} differs"
            )
    rules.equal(q.shape[-1], k.shape[-1], f"queries {q} and keys {k} have different sizes")
    rules.equal(k.shape[-2], v.shape[-2], f"there are other numbers of keys {k} and values {v}")
    for t in (q, v):
        if not isinstance(t.shape[-1], int):
            raise TypeRuleError(f"the last size of {t} must be known")
    if bias is not None:
        if bias.rank > q.rank:
            raise TypeRuleError(f"the bias {bias} has more dimensions than the queries {q}")
        scores = (*q.shape[:-1], k.shape[-2])
        for own, dim in zip(reversed(bias.shape), reversed(scores), strict=False):
            if own != 1:
                rules.equal(own, dim, f"the bias {bias} does not broadcast to {list(scores)}")


def _infer(types, attrs, rules):
    q, k, v, *more = types
    _check(q, k, v, more[0] if more else None, rules)
    return (
        TensorType(q.dtype, (*q.shape[:-1], v.shape[-1])),
        TensorType(q.dtype, tuple(q.shape[:-1])),
    )


def _infer_gradients(types, attrs, rules):
    q, k, v, g, total, share, *more = types
    _check(q, k, v, more[0] if more else None, rules)
    for own, expected in ((g, (*q.shape[:-1], v.shape[-1])), (total, q.shape[:-1]),
                          (share, q.shape[:-1])):  # fmt: skip
        if own.rank != len(expected) or own.dtype is not q.dtype:
            raise TypeRuleError(f"{own} must be {q.dtype} {list(expected)}")
        for a, b in zip(own.shape, expected, strict=True):
            rules.equal(a, b, f"{own} must be {q.dtype} {list(expected)}")
    return q, k, v


# -- meaning in NumPy ----------------------------------------------------------------------------


def _scores(q, k, bias, attrs):
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * q.dtype.type(attrs["scale"])
    if bias is not None:
        scores = scores + bias
    if attrs["causal"]:
        seen = np.arange(k.shape[-2]) <= np.arange(q.shape[-2])[:, None]
        scores = np.where(seen, scores, q.dtype.type(-np.inf))
    return scores


def _reference(arrays, attrs, node: Node):
    q, k, v, *more = arrays
    with np.errstate(all="ignore"):
        scores = _scores(q, k, more[0] if more else None, attrs)
        largest = scores.max(-1, keepdims=True, initial=-np.inf)
        weights = np.exp(scores - np.where(largest == -np.inf, 0, largest).astype(q.dtype))
        sums = weights.sum(-1, keepdims=True)
        y = np.matmul(weights, v) * np.where(sums == 0, 0, 1 / sums)
        total = (largest + np.log(sums))[..., 0]
    return y.astype(q.dtype), total.astype(q.dtype)


def _reference_gradients(arrays, attrs, node: Node):
    q, k, v, g, total, share, *more = arrays
    scale = q.dtype.type(attrs["scale"])
    with np.errstate(all="ignore"):
        base = np.where(total == -np.inf, 0, total).astype(q.dtype)
        p = np.exp(_scores(q, k, more[0] if more else None, attrs) - base[..., None])
        ds = p * (np.matmul(g, np.swapaxes(v, -1, -2)) - share[..., None])
        back = np.swapaxes(ds, -1, -2)
        return (
            (scale * np.matmul(ds, k)).astype(q.dtype),
            (scale * np.matmul(back, q)).astype(q.dtype),
            np.matmul(np.swapaxes(p, -1, -2), g).astype(q.dtype),
        )


# -- derivatives ---------------------------------------------------------------------------------


def _product(a: Tensor, b: Tensor, sum_a: int, sum_b: int) -> Tensor:
    """Matrix products over one of the last two axes of each (-1 or -2), batches side by side."""
    rank = len(a.dims)
    batch = tuple(range(rank - 2))
    pairs = ((rank + sum_a,), (rank + sum_b,))
    return find("contract")(a, b, batch=(batch, batch), contracting=pairs)


def _column(x: Tensor) -> Tensor:
    return find("reshape")(x, shape=(*x.dims, 1))


def _row_sums(x: Tensor) -> Tensor:
    return find("reduce")(x, kind="sum", axes=(len(x.dims) - 1,))


class _Composed:
    """Weights and their gradients by ordinary operations, with the matrices in memory."""

    def __init__(self, node: Node):
        self.q, self.k, self.v, self.g, self.total, self.share, *more = node.inputs
        self.bias = more[0] if more else None
        self.scale = convert(node.attrs["scale"], self.q.dtype)
        mul, add, sub = find("mul"), find("add"), find("sub")
        scores = mul(_product(self.q, self.k, -1, -1), self.scale)
        if self.bias is not None:
            scores = add(scores, self.bias)
        low = convert(-np.inf, self.q.dtype)
        if node.attrs["causal"]:
            queries, keys = (find("iota")(size=dim, dtype=int64) for dim in scores.dims[-2:])
            scores = find("select")(find("less_equal")(keys, _column(queries)), scores, low)
        none = find("equal")(self.total, low)
        base = find("select")(none, convert(0, self.q.dtype), self.total)
        self.p = find("exp")(sub(scores, _column(base)))
        self.dp = _product(self.g, self.v, -1, -1)
        self.rest = sub(self.dp, _column(self.share))
        self.ds = mul(self.p, self.rest)


def _vjp(node: Node, gradients):
    g, to_total = gradients
    q, k, v, *more = node.inputs
    y, total = node.outputs
    if g is None:
        g = find("broadcast_to")(convert(0, q.dtype), shape=y.dims)
    share = _row_sums(find("mul")(g, y))
    if to_total is not None:
        share = find("sub")(share, to_total)
    made = attention_gradients(q, k, v, g, total, share, *more, **node.attrs)
    result = list(made)
    if more:
        result.append(sum_to(_Composed(made[0].node).ds, more[0]))
    return result


def _vjp_gradients(node: Node, gradients):
    """Of the formulas at the head of this file, with matrices of scores in memory."""
    mul, add, neg = find("mul"), find("add"), find("neg")
    it = _Composed(node)
    scale = it.scale
    zero = convert(0, it.q.dtype)
    to_q, to_k, to_v = (
        find("broadcast_to")(zero, shape=t.dims) if found is None else found
        for found, t in zip(gradients, (it.q, it.k, it.v), strict=True)
    )
    to_ds = mul(add(_product(to_q, it.k, -1, -1), _product(it.q, to_k, -1, -1)), scale)
    to_p = add(mul(to_ds, it.rest), _product(it.g, to_v, -1, -1))
    to_dp = mul(to_ds, it.p)
    to_scores = mul(to_p, it.p)
    result = [
        mul(add(_product(to_scores, it.k, -1, -2), _product(it.ds, to_k, -1, -2)), scale),
        mul(add(_product(to_scores, it.q, -2, -2), _product(it.ds, to_q, -2, -2)), scale),
        _product(to_dp, it.g, -2, -2),
        add(_product(to_dp, it.v, -1, -2), _product(it.p, to_v, -1, -2)),
        neg(_row_sums(to_scores)),
        neg(_row_sums(to_dp)),
    ]
    if it.bias is not None:
        result.append(sum_to(to_scores, it.bias))
    return result


# -- the operations ------------------------------------------------------------------------------


def _flops(with_keys: int, with_values: int):
    """Two for each multiplication of products of so many scores with keys, and with values."""

    def count(node: Node) -> Dim:
        q, k, v = node.inputs[:3]
        pairs = multiply(product(q.dims[:-1]), k.dims[-2])
        return multiply(pairs, 2 * (with_keys * q.dims[-1] + with_values * v.dims[-1]))

    return count


attention: Op = define(
    Op(
        name="attention",
        kind=ATTEND,
        infer=_infer,
        reference=_reference,
        vjp=_vjp,
        flops=2.0,
        count_flops=_flops(1, 1),
        optional=(1,),
    )
)

attention_gradients: Op = define(
    Op(
        name="attention_gradients",
        kind=ATTEND,
        infer=_infer_gradients,
        reference=_reference_gradients,
        vjp=_vjp_gradients,
        flops=2.0,
        count_flops=_flops(3, 2),
    )
)
