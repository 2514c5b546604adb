"""Cases of resizing images and of moving blocks of pixels, against their definitions."""

from __future__ import annotations

from itertools import product

import numpy as np
from cases import EXACT, Tolerance, case

from graphflow import image
from graphflow.ops import shapes, space_depth

F, F32 = "float32", np.float32
WEIGHTED = Tolerance(2e-5, 2e-5, "positions are float32, and sums are taken in another order")

# -- resizing: pixel by pixel, with positions in float32 as TensorFlow 1 has them ----------------


def scale(before, after, align):
    if align and after > 1:
        return F32(before - 1) / F32(after - 1)
    return F32(before) / F32(after)


def position(i, before, after, align, half):
    if half:
        return (F32(i) + F32(0.5)) * scale(before, after, align) - F32(0.5)
    return F32(i) * scale(before, after, align)


def bilinear(i, before, after, align, half):
    at = position(i, before, after, align, half)
    low = int(np.floor(at))
    return [(low, 1 - (at - low)), (low + 1, at - low)]


def keys(x, a):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def bicubic(i, before, after, align, half):
    at = position(i, before, after, align, half)
    low = int(np.floor(at))
    taps = [(low + t, keys(at - (low + t), -0.5 if half else -0.75)) for t in (-1, 0, 1, 2)]
    if half:
        taps = [(p, w) for p, w in taps if 0 <= p < before]
        total = sum(w for _, w in taps)
        taps = [(p, w / total) for p, w in taps]
    return taps


def nearest(i, before, after, align, half):
    if half:
        return [(int(np.floor((F32(i) + F32(0.5)) * scale(before, after, align))), 1.0)]
    at = position(i, before, after, align, half)
    return [(int(np.floor(at + F32(0.5)) if align else np.floor(at)), 1.0)]


def area(i, before, after, align, half):
    step = (before - 1) / (after - 1) if align and after > 1 else before / after
    if step == 0:  # the corner of a single pixel
        return [(0, 1.0)]
    start, stop = i * step, (i + 1) * step
    pixels = range(int(np.floor(start)), int(np.ceil(stop)))
    return [(p, (min(p + 1, stop) - max(p, start)) / step) for p in pixels]


def resized(x, size, taps, align=False, half=False):
    batch, height, width, channels = x.shape
    result = np.zeros((batch, *size, channels))
    for i, j in product(*map(range, size)):
        for a, u in taps(i, height, size[0], align, half):
            for b, v in taps(j, width, size[1], align, half):
                pixel = x[:, np.clip(a, 0, height - 1), np.clip(b, 0, width - 1)]
                result[:, i, j] += u * v * pixel
    return result.astype(x.dtype if x.dtype.kind == "f" else F)


SIZES = {
    "larger": ((2, 4, 5, 3), (9, 7)), "smaller": ((2, 9, 8, 20), (4, 5)),
    "mixed": ((1, 3, 10, 2), (7, 4)), "one-channel": ((2, 6, 7, 1), (9, 21)),
    "from-one": ((2, 1, 1, 3), (3, 4)), "to-one": ((2, 5, 4, 3), (1, 1)),
    "twice": ((2, 3, 4, 17), (6, 8)), "half": ((2, 6, 8, 5), (3, 4)),
    "same": ((2, 4, 5, 3), (4, 5)),
    "few": ((2, 2, 3, 4), (5, 7)), "none": ((0, 4, 5, 3), (7, 9)),
}  # fmt: skip
METHODS = {
    "bilinear": (image.resize_bilinear, bilinear), "bicubic": (image.resize_bicubic, bicubic),
    "nearest": (image.resize_nearest_neighbor, nearest),
}  # fmt: skip

for _method, (_function, _taps) in METHODS.items():
    for _name, (_shape, _size) in SIZES.items():
        for _label, _align, _half in (("", False, False), ("-corners", True, False),
                                      ("-centers", False, True)):  # fmt: skip
            case(f"resize_{_method}-{_name}{_label}",
                 lambda x, f=_function, s=_size, a=_align, h=_half:
                 f(x, s, align_corners=a, half_pixel_centers=h), (F, _shape), tolerance=WEIGHTED,
                 symbolic=[(0, 1, 2)],
                 expected=lambda x, t=_taps, s=_size, a=_align, h=_half:
                 resized(x, s, t, a, h))  # fmt: skip
    # Output sizes that depend on those of the input.
    case(f"resize_{_method}-by-shape",
         lambda x, f=_function: f(x, [shapes.shape(x)[1] * 2, shapes.shape(x)[2] * 3]),
         (F, (2, 3, 4, 5)), symbolic=[(0, 1, 2)], tolerance=WEIGHTED,
         expected=lambda x, t=_taps: resized(x, (6, 12), t))  # fmt: skip
for _name, (_shape, _size) in SIZES.items():
    for _align in (False, True):
        case(f"resize_area-{_name}{'-corners' if _align else ''}",
             lambda x, s=_size, a=_align: image.resize_area(x, s, a), (F, _shape),
             tolerance=WEIGHTED,
             expected=lambda x, s=_size, a=_align: resized(x, s, area, a))  # fmt: skip
for _dtype in ("uint8", "int32"):
    for _size in ((6, 8), (5, 3), (1, 2)):
        case(f"resize_nearest-{_dtype}-{_size[0]}",
             lambda x, s=_size: image.resize_nearest_neighbor(x, s), (_dtype, (2, 3, 4, 5), 0, 99),
             tolerance=EXACT, symbolic=[(0, 1, 2)],
             expected=lambda x, s=_size: resized(x, s, nearest).astype(x.dtype))  # fmt: skip
case("resize_bilinear-uint8", lambda x: image.resize_bilinear(x, (5, 6)),
     ("uint8", (2, 3, 4, 5), 0, 99), tolerance=WEIGHTED,
     expected=lambda x: resized(x, (5, 6), bilinear))  # fmt: skip
case("resize_bilinear-float64", lambda x: image.resize_bilinear(x, (5, 6)),
     ("float64", (2, 3, 4, 5)), tolerance=WEIGHTED,
     expected=lambda x: resized(x, (5, 6), bilinear))  # fmt: skip

# -- space, depth, batch -------------------------------------------------------------------------


def to_depth(x, b):
    n, h, w, c = x.shape
    result = np.zeros((n, h // b, w // b, b * b * c), x.dtype)
    for i, j in product(range(h), range(w)):
        at = ((i % b) * b + j % b) * c
        result[:, i // b, j // b, at : at + c] = x[:, i, j]
    return result


def from_depth(x, b):
    n, h, w, d = x.shape
    c = d // (b * b)
    result = np.zeros((n, h * b, w * b, c), x.dtype)
    for i, j in product(range(h * b), range(w * b)):
        at = ((i % b) * b + j % b) * c
        result[:, i, j] = x[:, i // b, j // b, at : at + c]
    return result


def first(function):
    """`function` for channels at dimension 1."""
    return lambda x, b: np.moveaxis(function(np.moveaxis(x, 1, -1), b), -1, 1)


for _label, _wrap, _format in (("", lambda f: f, "NHWC"), ("-channels-first", first, "NCHW")):
    for _block in (1, 2, 3):
        _shape = (2, 6, 12, 3) if _format == "NHWC" else (2, 3, 6, 12)
        case(f"space_to_depth-{_block}{_label}",
             lambda x, b=_block, f=_format: space_depth.space_to_depth(x, b, data_format=f),
             (F, _shape), symbolic=[(0, 1, 2) if _format == "NHWC" else (0, 2, 3)],
             expected=lambda x, b=_block, w=_wrap: w(to_depth)(x, b))  # fmt: skip
        _shape = (2, 3, 4, 36) if _format == "NHWC" else (2, 36, 3, 4)
        case(f"depth_to_space-{_block}{_label}",
             lambda x, b=_block, f=_format: space_depth.depth_to_space(x, b, data_format=f),
             (F, _shape), symbolic=[(0, 1, 2) if _format == "NHWC" else (0, 2, 3)],
             expected=lambda x, b=_block, w=_wrap: w(from_depth)(x, b))  # fmt: skip


def to_batch(x, blocks, pads):
    rank = len(blocks)
    x = np.pad(x, [(0, 0), *pads, *[(0, 0)] * (x.ndim - rank - 1)])
    parts = [
        x[(slice(None), *(slice(o, None, b) for o, b in zip(offsets, blocks, strict=True)))]
        for offsets in product(*map(range, blocks))
    ]
    return np.concatenate(parts)


def from_batch(x, blocks, crops):
    rank, batch = len(blocks), len(x) // int(np.prod(blocks))
    sizes = [n * b for n, b in zip(x.shape[1:], blocks, strict=False)]
    result = np.zeros((batch, *sizes, *x.shape[rank + 1 :]), x.dtype)
    for number, offsets in enumerate(product(*map(range, blocks))):
        where = (slice(None), *(slice(o, None, b) for o, b in zip(offsets, blocks, strict=True)))
        result[where] = x[number * batch : (number + 1) * batch]
    keep = [slice(a, n - b) for n, (a, b) in zip(sizes, crops, strict=True)]
    return result[(slice(None), *keep)]


for _name, _shape, _block, _pads in (
    ("images", (2, 4, 6, 3), (2, 3), ((0, 0), (0, 0))),
    ("padded", (2, 5, 7, 3), (3, 2), ((1, 0), (2, 3))),
    ("line", (3, 8, 5), (4,), ((0, 0),)), ("flat", (3, 7), (2,), ((0, 1),)),
    ("volume", (1, 2, 4, 6, 2), (2, 2, 3), ((0, 0),) * 3),
):  # fmt: skip
    case(f"space_to_batch_nd-{_name}",
         lambda x, b=_block, p=_pads: space_depth.space_to_batch_nd(x, b, p), (F, _shape),
         symbolic=[tuple(range(1 + len(_block)))],
         expected=lambda x, b=_block, p=_pads: to_batch(x, b, p))  # fmt: skip
for _name, _shape, _block, _crops in (
    ("images", (12, 2, 3, 3), (2, 3), ((0, 0), (0, 0))),
    ("cropped", (12, 2, 3, 3), (3, 2), ((1, 0), (2, 1))), ("line", (8, 3, 5), (4,), ((0, 2),)),
):  # fmt: skip
    case(f"batch_to_space_nd-{_name}",
         lambda x, b=_block, c=_crops: space_depth.batch_to_space_nd(x, b, c), (F, _shape),
         symbolic=[tuple(range(1 + len(_block)))],
         expected=lambda x, b=_block, c=_crops: from_batch(x, b, c))  # fmt: skip
case("space_to_batch", lambda x: space_depth.space_to_batch(x, [[1, 1], [0, 0]], 2),
     (F, (2, 4, 6, 3)), expected=lambda x: to_batch(x, (2, 2), ((1, 1), (0, 0))))  # fmt: skip
case("batch_to_space", lambda x: space_depth.batch_to_space(x, [[1, 0], [0, 0]], 2),
     (F, (4, 4, 6, 3)), expected=lambda x: from_batch(x, (2, 2), ((1, 0), (0, 0))))  # fmt: skip
