"""Cases of attention, against its definition in float64."""

from __future__ import annotations

import numpy as np
from cases import Tolerance, case

from graphflow import nn
from graphflow.ops.attention import attention
from graphflow.ops.movement import reshape, transpose

F = "float32"
BLOCKS = Tolerance(3e-5, 1e-5, "exponentials and sums are taken block by block")


def attended(q, k, v, bias=None, scale=None, causal=False):
    wide = [x.astype(np.float64) for x in (q, k, v)]
    scores = np.matmul(wide[0], np.swapaxes(wide[1], -1, -2))
    scores = scores * (max(1, q.shape[-1]) ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    with np.errstate(all="ignore"):
        largest = scores.max(-1, keepdims=True, initial=-np.inf)
        p = np.exp(scores - np.where(np.isinf(largest), 0, largest))
        sums = p.sum(-1, keepdims=True)
        p = np.where(sums > 0, p / sums, 0)
    return np.matmul(p, wide[2]).astype(q.dtype)


def _case(name, q, k, v, *, bias=None, unknown=None, dtype=F, **more):
    inputs = [(dtype, shape) for shape in (q, k, v)]
    if bias is not None:
        inputs.append((dtype, bias))
    case(
        f"attention-{name}",
        lambda q, k, v, *b: nn.scaled_dot_product_attention(
            q, k, v, *b, scale=more.get("scale"), is_causal=more.get("causal", False)
        ),
        *inputs,
        expected=lambda q, k, v, *b: attended(q, k, v, *b, **more),
        tolerance=BLOCKS if dtype == F else Tolerance(1e-12, 1e-13, "sums in another order"),
        symbolic=False if unknown is None else unknown,
    )


LEAD = ((0, 1),) * 3  # batch and heads
LENGTHS = ((0, 2), (0, 2), (0, 2))
_case("small", (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), unknown=LEAD)
_case("matrices", (6, 4), (9, 4), (9, 4), unknown=((0,), (0,), (0,)))
_case("one", (1, 1, 1), (1, 1, 1), (1, 1, 1))
_case("blocks", (2, 1, 70, 16), (2, 1, 150, 16), (2, 1, 150, 40), unknown=LENGTHS)
_case("wide", (1, 40, 64), (1, 64, 64), (1, 64, 64), scale=0.5)
_case("causal", (2, 1, 40, 8), (2, 1, 40, 8), (2, 1, 40, 8), causal=True, unknown=LENGTHS)
_case("causal-more-keys", (1, 9, 4), (1, 30, 4), (1, 30, 4), causal=True)
_case("causal-more-queries", (1, 30, 4), (1, 9, 4), (1, 9, 4), causal=True)
_case("causal-blocks", (1, 140, 8), (1, 140, 8), (1, 140, 8), causal=True)
_case("bias", (2, 3, 6, 4), (2, 3, 8, 4), (2, 3, 8, 4), bias=(6, 8))
_case("bias-of-keys", (2, 3, 6, 4), (2, 3, 8, 4), (2, 3, 8, 4), bias=(2, 1, 1, 8))
_case("bias-causal", (2, 6, 4), (2, 6, 4), (2, 6, 4), bias=(2, 6, 6), causal=True)
_case("float64", (2, 20, 8), (2, 50, 8), (2, 50, 12), dtype="float64")
for _name, _shapes in (
    ("no-batch", ((0, 4, 8), (0, 4, 8), (0, 4, 8))),
    ("no-queries", ((2, 0, 8), (2, 4, 8), (2, 4, 8))),
    ("no-keys", ((2, 4, 8), (2, 0, 8), (2, 0, 8))),
    ("no-values", ((2, 4, 8), (2, 5, 8), (2, 5, 0))),
    ("no-size", ((2, 4, 0), (2, 5, 0), (2, 5, 3))),
):  # fmt: skip
    _case(_name, *_shapes)

# Scores far apart: the largest of a later block takes over from those before.
_rising = np.linspace(-300, 300, 200, dtype=F)[None, :, None] * np.ones((1, 1, 4), F)
case("attention-rising", nn.scaled_dot_product_attention, (F, (1, 5, 4)), _rising, (F, (1, 200, 4)),
     expected=attended, tolerance=BLOCKS, differentiable=False)  # fmt: skip

_seen = np.random.default_rng(5).random((2, 1, 7, 9)) < 0.5
_seen[:, :, 3] = False  # a query that sees no key
case("attention-mask", lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, mask=_seen),
     (F, (2, 2, 7, 4)), (F, (2, 2, 9, 4)), (F, (2, 2, 9, 4)),
     expected=lambda q, k, v: attended(q, k, v, np.where(_seen, 0, -np.inf)),
     tolerance=BLOCKS)  # fmt: skip
# Its other result, which gradients use; and that result's own gradient.
case("attention-totals", lambda q, k, v: attention(q, k, v, scale=1.0, causal=False)[1],
     (F, (2, 5, 4)), (F, (2, 7, 4)), (F, (2, 7, 4)),
     expected=lambda q, k, v: np.log(
         np.exp(np.matmul(q.astype(np.float64), np.swapaxes(k, -1, -2))).sum(-1)).astype(F),
     tolerance=BLOCKS)  # fmt: skip


def fused(x):
    """Queries, keys and values out of one projection, read where they lie."""
    parts = transpose(reshape(x, [-1, 10, 3, 2, 8]), [2, 0, 3, 1, 4])
    return nn.scaled_dot_product_attention(parts[0], parts[1], parts[2])


case("attention-of-one-projection", fused, (F, (2, 10, 48)),
     expected=lambda x: attended(*x.reshape(2, 10, 3, 2, 8).transpose(2, 0, 3, 1, 4)),
     tolerance=BLOCKS)  # fmt: skip
