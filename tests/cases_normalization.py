"""Cases of normalisation, against its definitions in float64."""

from __future__ import annotations

import numpy as np
from cases import FUNCTION, REDUCTION, Tolerance, case

from graphflow import nn
from graphflow.ops import reduction

F = "float32"
# Moments are within 1e-6 of those in float64; what is near the mean keeps that absolutely.
NORMALIZED = Tolerance(3e-5, 1e-5, "mean and variance are sums")
EPSILON = 1e-3


def moments(x, axes, keepdims=False):
    wide = x.astype(np.float64)
    found = wide.mean(axes, keepdims=keepdims), wide.var(axes, keepdims=keepdims)
    return [m.astype(x.dtype) for m in found]


def normalized(x, axes, scale=1.0, offset=0.0, epsilon=EPSILON):
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axes, keepdims=True)
    factor = 1 / np.sqrt(wide.var(axes, keepdims=True) + epsilon)
    return (centred * factor * scale + offset).astype(x.dtype)


# -- moments -------------------------------------------------------------------------------------

for _name, _shape, _axes, _unknown in (
    ("columns", (37, 5), (0,), (0,)), ("images", (3, 6, 7, 20), (0, 1, 2), (0, 1, 2)),
    ("wide", (150, 130), (0,), (0,)), ("tile", (40, 64), (0,), (0, 1)),
    ("one", (300, 1), (0,), (0,)),
    ("many", (3000, 3), (0,), (0,)), ("instances", (3, 7, 9, 5), (1, 2), (0, 1)),
    ("pairs", (2, 60, 3, 2), (1,), (0, 1, 2, 3)), ("rows", (4, 9), (1,), (0, 1)),
    ("all", (4, 9), (0, 1), (0,)), ("apart", (4, 5, 6), (0, 2), (0,)), ("single", (1, 5), (0,), ()),
    ("channels-first", (4, 3, 5, 6), (0, 2, 3), (0,)),
):  # fmt: skip
    case(f"moments-{_name}", lambda x, a=_axes: nn.moments(x, list(a)), (F, _shape),
         expected=lambda x, a=_axes: moments(x, a), tolerance=REDUCTION,
         symbolic=[_unknown] if _unknown else False)  # fmt: skip
case("moments-keepdims", lambda x: nn.moments(x, [0, 1], keep_dims=True), (F, (5, 6, 7)),
     expected=lambda x: moments(x, (0, 1), True), tolerance=REDUCTION)  # fmt: skip
case("moments-float64", lambda x: nn.moments(x, [0]), ("float64", (500, 7), 1e6, 1e6 + 1),
     expected=lambda x: moments(x, 0),
     tolerance=Tolerance(1e-9, 0, "the spread is a millionth of the mean"))  # fmt: skip
case("moments-no-channels", lambda x: nn.moments(x, [0]), (F, (5, 0)),
     expected=lambda x: moments(x, 0), differentiable=False)  # fmt: skip
case("moments-of-none", lambda x: nn.moments(x, [0]), (F, (0, 5)),
     expected=lambda x: [np.full(5, np.nan, x.dtype)] * 2, differentiable=False)  # fmt: skip
# A sum of squares would keep no digit of the variance here.
for _name, _shape in (("columns", (4000, 5)), ("wide", (300, 70)), ("drift", (4096, 16))):
    _x = np.random.default_rng(1).normal(3000, 1, _shape).astype(F)
    if _name == "drift":
        _x += np.linspace(-50, 50, len(_x), dtype=F)[:, None]
    case(f"moments-far-{_name}", lambda x: nn.moments(x, [0]), _x,
         expected=lambda x: moments(x, 0), differentiable=False,
         tolerance=Tolerance(1e-5, 0, "the spread is a thousandth of the mean"))  # fmt: skip
case("weighted_moments", lambda x, w: nn.weighted_moments(x, [0, 1], w), (F, (4, 5, 3)),
     (F, (4, 1, 3), 0.5, 2),
     expected=lambda x, w: [
         np.average(x, (0, 1), np.broadcast_to(w, x.shape)),
         np.average(x**2, (0, 1), np.broadcast_to(w, x.shape))
         - np.average(x, (0, 1), np.broadcast_to(w, x.shape)) ** 2],
     tolerance=NORMALIZED)  # fmt: skip
case("sufficient_statistics",
     lambda x: nn.normalize_moments(*nn.sufficient_statistics(x, [0], shift=x[0])), (F, (9, 4)),
     expected=lambda x: moments(x, 0), tolerance=NORMALIZED)  # fmt: skip
case("sufficient_statistics-unshifted",
     lambda x: nn.normalize_moments(*nn.sufficient_statistics(x, [0, 1], keepdims=True)),
     (F, (9, 4)), expected=lambda x: moments(x, (0, 1), True), tolerance=NORMALIZED)  # fmt: skip

# -- batches -------------------------------------------------------------------------------------


def unbiased(x, axes):
    count = np.prod([x.shape[a] for a in axes])
    mean, variance = moments(x, axes)
    return [mean, variance * (count / max(count - 1, 1)).astype(x.dtype)]


case("fused_batch_norm", lambda x, s, o: nn.fused_batch_norm(x, s, o), (F, (3, 4, 5, 6)), (F, (6,)),
     (F, (6,)), symbolic=[(0, 1, 2), (), ()], tolerance=NORMALIZED,
     expected=lambda x, s, o: [
         normalized(x, (0, 1, 2), s, o), *unbiased(x, (0, 1, 2))])  # fmt: skip
case("fused_batch_norm-channels-first",
     lambda x, s, o: nn.fused_batch_norm(x, s, o, data_format="NCHW"), (F, (3, 6, 4, 5)), (F, (6,)),
     (F, (6,)), symbolic=[(0, 2, 3), (), ()], tolerance=NORMALIZED,
     expected=lambda x, s, o: [
         normalized(x, (0, 2, 3), s[:, None, None], o[:, None, None]),
         *unbiased(x, (0, 2, 3))])  # fmt: skip
case("fused_batch_norm-one-example", lambda x, s, o: nn.fused_batch_norm(x, s, o),
     (F, (1, 1, 1, 6)), (F, (6,)), (F, (6,)), tolerance=NORMALIZED,
     expected=lambda x, s, o: [
         normalized(x, (0, 1, 2), s, o), *unbiased(x, (0, 1, 2))])  # fmt: skip
case("fused_batch_norm-inference",
     lambda x, s, o, m, v: nn.fused_batch_norm(x, s, o, m, v, is_training=False)[0],
     (F, (3, 4, 5, 6)), (F, (6,)), (F, (6,)), (F, (6,)), (F, (6,), 0.5, 2),
     symbolic=[(0, 1, 2), (), (), (), ()], tolerance=FUNCTION,
     expected=lambda x, s, o, m, v:
     (x - m) / np.sqrt(v + x.dtype.type(EPSILON)) * s + o)  # fmt: skip
case("batch_normalization", lambda x, m, v, o, s: nn.batch_normalization(x, m, v, o, s, EPSILON),
     (F, (7, 5)), (F, (5,)), (F, (5,), 0.5, 2), (F, (5,)), (F, (5,)), symbolic=[(0,), *[()] * 4],
     expected=lambda x, m, v, o, s: (x - m) / np.sqrt(v + x.dtype.type(EPSILON)) * s + o,
     tolerance=FUNCTION)  # fmt: skip

# -- parts of examples ---------------------------------------------------------------------------

case("layer_norm", lambda x, s, o: nn.layer_norm(x, s, o, epsilon=EPSILON), (F, (6, 33)),
     (F, (33,)), (F, (33,)), symbolic=[(0,), (), ()], tolerance=NORMALIZED,
     expected=lambda x, s, o: normalized(x, (1,), s, o))  # fmt: skip
case("layer_norm-axes", lambda x: nn.layer_norm(x, axes=[1, 2], epsilon=EPSILON), (F, (3, 4, 5)),
     tolerance=NORMALIZED, expected=lambda x: normalized(x, (1, 2)))  # fmt: skip
case("instance_norm", lambda x, s, o: nn.instance_norm(x, s, o, epsilon=EPSILON), (F, (3, 4, 5, 6)),
     (F, (6,)), (F, (6,)), symbolic=[(0, 1, 2), (), ()], tolerance=NORMALIZED,
     expected=lambda x, s, o: normalized(x, (1, 2), s, o))  # fmt: skip
case("instance_norm-channels-first", lambda x: nn.instance_norm(x, axis=1, epsilon=EPSILON),
     (F, (3, 4, 5, 6)), tolerance=NORMALIZED,
     expected=lambda x: normalized(x, (2, 3)))  # fmt: skip


def group_normalized(x, groups, scale, offset):
    batch, height, width, channels = x.shape
    parts = x.reshape(batch, height, width, groups, channels // groups)
    return normalized(parts, (1, 2, 4)).reshape(x.shape) * scale + offset


for _groups in (1, 2, 6):
    case(f"group_norm-{_groups}",
         lambda x, s, o, g=_groups: nn.group_norm(x, g, s, o, epsilon=EPSILON), (F, (3, 4, 5, 6)),
         (F, (6,)), (F, (6,)), symbolic=[(0, 1, 2), (), ()], tolerance=NORMALIZED,
         expected=lambda x, s, o, g=_groups: group_normalized(x, g, s, o))  # fmt: skip
case("group_norm-channels-first", lambda x: nn.group_norm(x, 3, axis=1, epsilon=EPSILON),
     (F, (2, 6, 4, 5)), tolerance=NORMALIZED,
     expected=lambda x:
     normalized(x.reshape(2, 3, 2, 4, 5), (2, 3, 4)).reshape(x.shape))  # fmt: skip


def local_response(x, radius, bias, alpha, beta):
    result = np.zeros_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(0, c - radius) : c + radius + 1]
        result[..., c] = x[..., c] / (bias + alpha * (near**2).sum(-1)) ** beta
    return result


for _name, _shape, _radius in (("", (2, 3, 4, 20), 5), ("-narrow", (2, 3, 2, 3), 4),
                               ("-none", (2, 3, 2, 3), 0)):  # fmt: skip
    case(f"local_response_normalization{_name}",
         lambda x, r=_radius: nn.local_response_normalization(x, r, 2.0, 0.3, 0.75), (F, _shape),
         expected=lambda x, r=_radius: local_response(x, r, 2.0, 0.3, 0.75),
         tolerance=NORMALIZED)  # fmt: skip
case("l2_normalize-rows", lambda x: reduction.l2_normalize(x, 1), (F, (5, 17)),
     tolerance=NORMALIZED,
     expected=lambda x: x / np.sqrt((x**2).sum(1, keepdims=True)))  # fmt: skip
