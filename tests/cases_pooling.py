"""Cases of pooling, against loops over windows that look at one element at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
from cases import EXACT, REDUCTION, ROUNDING, case

from graphflow import nn

F = "float32"


def same(size: int, extent: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def steps(size, kernel, stride, low, high, dilation, ceil_mode) -> int:
    extent = (kernel - 1) * dilation + 1
    rest = size + low + high - extent
    if not ceil_mode:
        return rest // stride + 1
    count = -(-rest // stride) + 1
    # The last window must begin in the input or in the padding before it.
    return count - 1 if (count - 1) * stride >= size + low else count


def pooled(x, kernel, strides, padding, kind, dilation=None, ceil_mode=False, include=False):
    """Pooling of channels-last x: the definition, element by element."""
    rank = x.ndim - 2
    dilation = dilation or (1,) * rank
    if padding == "SAME":
        padding = [
            same(n, (k - 1) * d + 1, s)
            for n, k, s, d in zip(x.shape[1:-1], kernel, strides, dilation, strict=True)
        ]
    elif padding == "VALID":
        padding = [(0, 0)] * rank
    counts = [
        steps(n, k, s, low, high, d, ceil_mode)
        for n, k, s, (low, high), d in zip(
            x.shape[1:-1], kernel, strides, padding, dilation, strict=True
        )
    ]
    result = np.zeros((len(x), *counts, x.shape[-1]), x.dtype)
    for n, c in product(range(len(x)), range(x.shape[-1])):
        for place in product(*map(range, counts)):
            values, counted = [], 0
            for tap in product(*map(range, kernel)):
                at = [
                    t * s - low + k * d
                    for t, s, (low, _), k, d in zip(
                        place, strides, padding, tap, dilation, strict=True
                    )
                ]
                if all(0 <= i < size for i, size in zip(at, x.shape[1:-1], strict=True)):
                    values.append(x[(n, *at, c)])
                counted += all(
                    i < size + high
                    for i, size, (_, high) in zip(at, x.shape[1:-1], padding, strict=True)
                )
            if kind == "MAX":
                result[(n, *place, c)] = np.max(values)
            else:
                total = np.sum(np.array(values, np.float64))
                result[(n, *place, c)] = total / (counted if include else len(values))
    return result


GEOMETRIES = {
    # name: (shape, kernel, strides, padding, dilation, ceil_mode)
    "halves": ((2, 6, 8, 5), (2, 2), (2, 2), "VALID", None, False),
    "halves-odd": ((2, 7, 9, 3), (2, 2), (2, 2), "VALID", None, False),
    "halves-ceil": ((2, 7, 9, 3), (2, 2), (2, 2), "VALID", None, True),
    "resnet": ((2, 9, 10, 4), (3, 3), (2, 2), ((1, 1), (1, 1)), None, False),
    "resnet-ceil": ((2, 8, 9, 4), (3, 3), (2, 2), ((1, 1), (0, 1)), None, True),
    "same": ((2, 7, 8, 17), (3, 2), (2, 2), "SAME", None, False),
    "same-dense": ((2, 6, 5, 20), (3, 3), (1, 1), "SAME", None, False),
    "apart": ((2, 8, 9, 3), (2, 2), (3, 4), "VALID", None, False),
    "one-channel": ((2, 8, 37, 1), (2, 2), (2, 2), "VALID", None, False),
    "one-channel-same": ((2, 5, 40, 1), (3, 3), (1, 1), "SAME", None, False),
    "dilated": ((2, 9, 8, 3), (3, 2), (1, 1), "SAME", (2, 3), False),
    "dilated-apart": ((2, 11, 9, 2), (3, 2), (2, 2), "VALID", (3, 2), False),
    "dilated-even": ((1, 11, 9, 2), (3, 2), (4, 2), ((2, 1), (1, 1)), (2, 2), False),
    "wide": ((1, 9, 10, 3), (7, 8), (1, 1), "SAME", None, False),
    "wide-apart": ((1, 12, 10, 3), (7, 8), (3, 2), "VALID", None, False),
    "whole": ((2, 4, 3, 6), (4, 3), (1, 1), "VALID", None, False),
    "tiny": ((2, 1, 1, 3), (3, 3), (2, 2), "SAME", None, False),
    "pixels": ((2, 4, 5, 3), (1, 1), (2, 1), "VALID", None, False),
    "none": ((0, 4, 6, 3), (2, 2), (2, 2), "SAME", None, False),
    "no-channels": ((2, 4, 6, 0), (2, 2), (2, 2), "SAME", None, False),
    "line": ((3, 11, 4), (3,), (2,), "SAME", None, False),
    "line-one-channel": ((3, 50, 1), (3,), (2,), ((1, 1),), None, False),
    "volume": ((2, 4, 5, 6, 3), (2, 3, 2), (2, 1, 2), "SAME", None, False),
    "volume-ceil": ((1, 5, 5, 3, 2), (2, 2, 2), (2, 2, 2), "VALID", None, True),
}


def distinct(shape) -> np.ndarray:
    """Values far enough from each other for finite differences not to exchange maxima."""
    count = int(np.prod(shape))
    order = np.random.default_rng(count).permutation(count)
    return (order.reshape(shape) / max(1, count) * 4 - 2).astype(F)


for _name, (_shape, _kernel, _strides, _padding, _dilation, _ceil) in GEOMETRIES.items():
    # Sizes unknown: those of the batch, and all but the channels.
    for _label, _unknown in (("", (0,)), ("-sizes", tuple(range(len(_shape) - 1)))):
        if _label and 0 in _shape:
            continue
        _common = {"ceil_mode": _ceil, "dilations": _dilation, "strides": _strides}
        case(f"max_pool-{_name}{_label}",
             lambda x, k=_kernel, p=_padding, a=_common: nn.pool(x, k, "MAX", p, **a),
             distinct(_shape), symbolic=[_unknown],
             expected=lambda x, k=_kernel, s=_strides, p=_padding, d=_dilation, c=_ceil:
             pooled(x, k, s, p, "MAX", d, c))  # fmt: skip
        for _include in (False, True):
            if _include and _label:
                continue
            case(f"avg_pool-{_name}{_label}{'-include' if _include else ''}",
                 lambda x, k=_kernel, p=_padding, a=_common, i=_include:
                 nn.pool(x, k, "AVG", p, count_include_pad=i, **a),
                 (F, _shape), symbolic=[_unknown], tolerance=REDUCTION,
                 expected=lambda x, k=_kernel, s=_strides, p=_padding, d=_dilation, c=_ceil,
                 i=_include: pooled(x, k, s, p, "AVG", d, c, i))  # fmt: skip

for _dtype in ("float64", "int8", "uint8", "int32", "int64"):
    case(f"max_pool-{_dtype}", lambda x: nn.max_pool(x, 3, 2, "SAME"),
         (_dtype, (2, 7, 6, 9), 0, 99), expected=lambda x: pooled(x, (3, 3), (2, 2), "SAME", "MAX"),
         differentiable=False)  # fmt: skip
case("avg_pool-float64", lambda x: nn.avg_pool(x, 3, 2, "SAME"), ("float64", (2, 7, 6, 9)),
     expected=lambda x: pooled(x, (3, 3), (2, 2), "SAME", "AVG"), tolerance=ROUNDING)  # fmt: skip

# -- NaN, infinities and ties --------------------------------------------------------------------

_ODD = np.array([[1, np.nan, 2, 3], [4, 5, -np.inf, -np.inf], [np.inf, 0, -np.inf, -np.inf],
                 [1, np.inf, np.nan, np.nan]], F)[None, :, :, None]  # fmt: skip
for _name, _size, _stride in (("halves", 2, 2), ("dense", 2, 1), ("wide", 7, 1)):
    case(f"max_pool-nan-{_name}",
         lambda x, k=_size, s=_stride: nn.max_pool(x, k, s, "SAME"), _ODD,
         expected=lambda x, k=_size, s=_stride: pooled(x, (k, k), (s, s), "SAME", "MAX"),
         differentiable=False)  # fmt: skip


def argmax(x, k, s, padding, batch):
    """The flat places of the first maxima of images, as max_pool_with_argmax numbers them."""
    numbers = np.arange(x.size).reshape(x.shape) % (x.size if batch else x[0].size)
    (top, _), (left, _) = (same(n, k, s) if padding == "SAME" else (0, 0) for n in x.shape[1:3])
    count = [len(range(0, n if padding == "SAME" else n - k + 1, s)) for n in x.shape[1:3]]
    result = np.zeros((len(x), *count, x.shape[-1]), np.int64)
    for n, i, j, c in product(*map(range, result.shape)):
        rows = slice(max(i * s - top, 0), i * s - top + k)
        columns = slice(max(j * s - left, 0), j * s - left + k)
        values = x[n, rows, columns, c].reshape(-1)
        first = np.flatnonzero(np.isnan(values))
        best = first[0] if len(first) else np.argmax(values)
        result[n, i, j, c] = numbers[n, rows, columns, c].reshape(-1)[best]
    return result


for _name, _x, _size, _stride, _padding in (
    ("halves", np.round(distinct((2, 6, 8, 3))), 2, 2, "VALID"),
    ("same", np.round(distinct((2, 7, 5, 3))), 3, 2, "SAME"),
    ("wide", np.round(distinct((2, 9, 10, 3))), 17, 1, "SAME"),
    ("odd", _ODD, 2, 1, "VALID"),
):
    for _batch in (False, True):
        case(f"max_pool_with_argmax-{_name}{'-batch' if _batch else ''}",
             lambda x, k=_size, s=_stride, p=_padding, b=_batch:
             nn.max_pool_with_argmax(x, k, s, p, include_batch_in_index=b)[1],
             _x, tolerance=EXACT, differentiable=False, symbolic=[(0, 1, 2)],
             expected=lambda x, k=_size, s=_stride, p=_padding, b=_batch:
             argmax(x, k, s, p, b))  # fmt: skip
