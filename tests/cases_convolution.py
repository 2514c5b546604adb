"""Cases of convolution: the two primitives. What is expected visits every position and tap."""

from __future__ import annotations

from itertools import product

import numpy as np
from cases import Tolerance, case

from graphflow.ops.convolution import convolve, convolve_weights

F, D = "float32", "float64"
SUM = Tolerance(3e-5, 3e-5, "up to a few hundred products of a size near 1 in another order")


def meetings(shape, kernel, a):
    """(output position, tap, input position) for all that meet an element of the input."""
    steps = []
    for size, taps, stride, (low, high), dilation, expansion in zip(
        shape, kernel, a["strides"], a["padding"], a["dilation"], a["expansion"], strict=True
    ):
        spread = (size - 1) * expansion + 1
        steps.append((spread + low + high - (taps - 1) * dilation - 1) // stride + 1)
    found = []
    for t in product(*map(range, steps)):
        for k in product(*map(range, kernel)):
            place = [
                i * stride + j * dilation - low
                for i, j, stride, dilation, (low, _) in zip(
                    t, k, a["strides"], a["dilation"], a["padding"], strict=True
                )
            ]
            if any(p % e for p, e in zip(place, a["expansion"], strict=True)):
                continue
            place = [p // e for p, e in zip(place, a["expansion"], strict=True)]
            if all(0 <= p < size for p, size in zip(place, shape, strict=True)):
                found.append((t, k, tuple(place)))
    return steps, found


def plain_convolve(x, w, a):
    groups = a["groups"]
    steps, found = meetings(x.shape[1:-1], w.shape[:-2], a)
    y = np.zeros((x.shape[0], *steps, w.shape[-1]), np.float64)
    ins, outs = w.shape[-2], w.shape[-1] // groups
    for t, k, place in found:
        for g in range(groups):
            part = slice(g * outs, (g + 1) * outs)
            element = x[(slice(None), *place, slice(g * ins, (g + 1) * ins))]
            y[(slice(None), *t, part)] += element.astype(np.float64) @ w[k][:, part]
    return y.astype(x.dtype)


def plain_weights(x, g, a):
    groups, kernel = a["groups"], a["kernel"]
    _, found = meetings(x.shape[1:-1], kernel, a)
    ins, outs = x.shape[-1] // groups, g.shape[-1] // groups
    w = np.zeros((*kernel, ins, g.shape[-1]), np.float64)
    for t, k, place in found:
        for n in range(groups):
            part = slice(n * outs, (n + 1) * outs)
            element = x[(slice(None), *place, slice(n * ins, (n + 1) * ins))]
            w[k][:, part] += element.astype(np.float64).T @ g[(slice(None), *t, part)]
    return w.astype(x.dtype)


def attributes(rank, **given):
    return {
        "strides": (1,) * rank,
        "padding": ((0, 0),) * rank,
        "dilation": (1,) * rank,
        "expansion": (1,) * rank,
        "groups": 1,
        **given,
    }


# name: (shape of x, shape of w, attributes other than the plain ones)
CONVOLUTIONS = {
    "1d": ((2, 7, 3), (3, 3, 4), {}),
    "2d": ((2, 6, 7, 3), (3, 2, 3, 5), {}),
    "3d": ((2, 4, 5, 3, 2), (2, 3, 2, 2, 3), {}),
    "one": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "pointwise": ((2, 4, 5, 6), (1, 1, 6, 7), {}),
    "many-channels": ((1, 5, 5, 33), (3, 3, 33, 40), {"padding": ((1, 1), (1, 1))}),
    "wide": ((1, 3, 29, 2), (3, 3, 2, 17), {"padding": ((1, 1), (1, 1))}),
    "padded": ((2, 5, 6, 2), (3, 3, 2, 3), {"padding": ((1, 1), (1, 1))}),
    "asymmetric": ((2, 5, 6, 2), (3, 4, 2, 3), {"padding": ((0, 2), (3, 1))}),
    "padding-beyond": ((1, 3, 3, 2), (2, 2, 2, 3), {"padding": ((4, 3), (0, 5))}),
    "cropped": ((2, 7, 8, 2), (2, 3, 2, 3), {"padding": ((-1, -2), (-2, 1))}),
    "strides": ((2, 8, 9, 2), (3, 3, 2, 3), {"strides": (2, 3)}),
    "strides-padded": ((2, 8, 7, 2), (3, 2, 2, 3),
                       {"strides": (3, 2), "padding": ((1, 2), (1, 0))}),
    "stride-beyond-kernel": ((2, 8, 11, 2), (1, 2, 2, 3), {"strides": (3, 4)}),
    "dilation": ((2, 9, 8, 2), (3, 2, 2, 3), {"dilation": (2, 3)}),
    "dilation-stride": ((2, 9, 9, 2), (3, 3, 2, 3),
                        {"dilation": (2, 3), "strides": (2, 2), "padding": ((2, 2), (3, 3))}),
    "expansion": ((2, 3, 4, 2), (3, 3, 2, 3), {"expansion": (2, 3)}),
    "expansion-stride": ((2, 4, 5, 2), (3, 4, 2, 3),
                         {"expansion": (2, 3), "strides": (3, 2), "padding": ((2, 1), (0, 3))}),
    "expansion-equal-stride": ((2, 4, 5, 2), (2, 3, 2, 3),
                               {"expansion": (2, 2), "strides": (2, 4),
                                "padding": ((1, 1), (1, 1))}),
    "expansion-dilation": ((1, 3, 4, 2), (3, 2, 2, 3),
                           {"expansion": (3, 2), "dilation": (2, 3), "padding": ((1, 0), (2, 2))}),
    "expansion-long": ((1, 2, 21, 2), (1, 4, 2, 3),
                       {"expansion": (1, 2), "padding": ((0, 0), (1, 2))}),
    "expansion-of-one": ((2, 1, 1, 2), (2, 2, 2, 3), {"expansion": (3, 3),
                         "padding": ((1, 1), (1, 1))}),
    "groups": ((2, 5, 4, 6), (3, 2, 2, 9), {"groups": 3, "padding": ((1, 1), (0, 1))}),
    "groups-stride": ((2, 6, 5, 4), (3, 3, 2, 4), {"groups": 2, "strides": (2, 2)}),
    "depthwise": ((2, 5, 13, 6), (3, 3, 1, 6), {"groups": 6, "padding": ((1, 1), (1, 1))}),
    "depthwise-lanes": ((1, 4, 11, 35), (3, 2, 1, 35), {"groups": 35}),
    "depthwise-multiplier": ((2, 4, 5, 3), (2, 3, 1, 6), {"groups": 3, "strides": (1, 2)}),
    "depthwise-expansion": ((2, 3, 4, 3), (3, 3, 1, 3),
                            {"groups": 3, "expansion": (2, 2), "padding": ((1, 1), (1, 1))}),
    "depthwise-long-kernel": ((1, 30, 3), (11, 1, 3), {"groups": 3, "padding": ((5, 5),)}),
    "depthwise-very-long-kernel": ((2, 33, 2), (19, 1, 2), {"groups": 2, "padding": ((3, 9),)}),
    "depthwise-many-channels": ((2, 5, 6, 70), (3, 3, 1, 70), {"groups": 70,
                                "padding": ((1, 0), (1, 2)), "strides": (2, 1)}),
    "depthwise-window": ((1, 7, 9, 3), (5, 5, 1, 3), {"groups": 3, "padding": ((2, 2), (2, 2))}),
    "depthwise-dilation": ((1, 9, 9, 3), (3, 3, 1, 6), {"groups": 3, "dilation": (2, 3),
                           "padding": ((2, 2), (3, 3))}),
    "depthwise-3d": ((1, 4, 4, 5, 3), (3, 3, 3, 1, 3), {"groups": 3, "padding": ((1, 1),) * 3}),
    "depthwise-cropped": ((1, 6, 8, 3), (2, 3, 1, 3), {"groups": 3, "padding": ((-1, 0), (-2, 1))}),
    "one-channel": ((2, 5, 6, 1), (3, 3, 1, 4), {"padding": ((1, 1), (1, 1))}),
    "1d-strided": ((3, 20, 2), (5, 2, 3), {"strides": (3,), "padding": ((2, 2),)}),
    "3d-padded": ((1, 3, 4, 5, 2), (3, 3, 3, 2, 2),
                  {"padding": ((1, 1),) * 3, "strides": (1, 2, 2)}),
    "no-batch": ((0, 5, 5, 2), (3, 3, 2, 3), {}),
    "no-width": ((2, 5, 0, 2), (3, 3, 2, 3), {"padding": ((1, 1), (1, 1))}),
    "no-channels": ((2, 5, 5, 0), (3, 3, 0, 3), {}),
    "no-outputs": ((2, 5, 5, 3), (3, 3, 3, 0), {}),
}  # fmt: skip
for _name, (_x, _w, _given) in CONVOLUTIONS.items():
    _attrs = attributes(len(_x) - 2, **_given)
    _empty = 0 in _x or 0 in _w
    _spatial = tuple(range(len(_x) - 1))
    case(
        f"convolve-{_name}",
        lambda x, w, a=_attrs: convolve(x, w, **a),
        (F, _x, -1, 1),
        (F, _w, -1, 1),
        expected=lambda x, w, a=_attrs: plain_convolve(x, w, a),
        tolerance=SUM,
        differentiable=not _empty and "many-channels" not in _name,
        # Batch and all spatial dimensions; the channels are what the kernel says.
        symbolic=(_spatial, ()),
    )
    _kernel = _w[:-2]
    _steps, _ = meetings(_x[1:-1], _kernel, _attrs)
    case(
        f"convolve_weights-{_name}",
        lambda x, g, a=_attrs, k=_kernel: convolve_weights(x, g, kernel=k, **a),
        (F, _x, -1, 1),
        (F, (_x[0], *_steps, _w[-1]), -1, 1),
        expected=lambda x, g, a=_attrs, k=_kernel: plain_weights(x, g, {**a, "kernel": k}),
        tolerance=SUM,
        differentiable=not _empty and "many-channels" not in _name,
        symbolic=(_spatial, _spatial),
    )
case(
    "convolve-float64",
    lambda x, w: convolve(x, w, **attributes(2, strides=(2, 1), padding=((1, 1), (2, 0)))),
    (D, (3, 6, 7, 5), -1, 1),
    (D, (3, 3, 5, 9), -1, 1),
    expected=lambda x, w: plain_convolve(
        x, w, attributes(2, strides=(2, 1), padding=((1, 1), (2, 0)))
    ),
    tolerance=Tolerance(1e-12, 1e-12, "another order"),
    symbolic=((0, 1, 2), ()),
)
