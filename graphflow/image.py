"""Images at other sizes: graphflow.image.

Images are [batch, height, width, channels]; `size` is (height, width), numbers or sizes of shapes.
An output pixel i lies in the input at

    i * scale                   scale = in / out
    i * scale                   scale = (in - 1) / (out - 1)   with align_corners, where out > 1
    (i + 1/2) * scale - 1/2     scale = in / out               with half_pixel_centers

which are TensorFlow 1's three conventions. Positions are computed in float32, as there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .dtypes import float32, int32
from .framework import name_scope
from .ir.node import Tensor
from .ir.op import find
from .ops.arithmetic import maximum, minimum
from .ops.convert import as_sizes, convert, reject
from .ops.indexing import gather_op, reshaped
from .ops.joining import stack
from .ops.logic import cast, logical_and, where
from .ops.math import floor
from .ops.resample import resample
from .ops.shapes import size_as_tensor
from .sizes import Dim, Size, exact_quotient

__all__ = [
    "ResizeMethod",
    "resize_area",
    "resize_bicubic",
    "resize_bilinear",
    "resize_images",
    "resize_nearest_neighbor",
]


class ResizeMethod:
    """What `resize_images` takes for `method`."""

    BILINEAR = 0
    NEAREST_NEIGHBOR = 1
    BICUBIC = 2
    AREA = 3


# -- arguments -----------------------------------------------------------------------------------


class _Resize:
    """The arguments of one resizing, checked."""

    def __init__(self, what: str, images, size, align_corners, half_pixel_centers):
        self.what = what
        x = convert(images, what=what)
        if x.rank != 4:
            reject(what, f"images must have rank 4, {x.name} is {x.tensor_type}")
        if not x.dtype.is_numeric:
            reject(what, f"{x.name} is {x.dtype}; it must be numeric")
        sizes = as_sizes(size, what)
        if len(sizes) != 2:
            reject(what, f"size is (height, width), got {size!r}")
        for dim in (*sizes, *x.dims[1:3]):
            if isinstance(dim, int) and dim < 1:
                reject(what, f"sizes must be positive: {x.name} {x.tensor_type} to {list(sizes)}")
        if align_corners and half_pixel_centers:
            reject(what, "align_corners and half_pixel_centers exclude each other")
        self.x = x
        self.axes = [
            _Axis(before, after, bool(align_corners), bool(half_pixel_centers))
            for before, after in zip(x.dims[1:3], sizes, strict=True)
        ]

    def floats(self) -> Tensor:
        return self.x if self.x.dtype.is_floating else cast(self.x, float32)

    def by(self, weights: Callable[[_Axis], tuple[Tensor, list[Tensor]]], name: str) -> Tensor:
        """Each output pixel the sum of pixels side by side, for each axis from `weights(axis)`:
        the first of them, which may lie outside, and what each is weighed with."""
        x = self.floats()
        tables = []
        for axis in self.axes:
            first, shares = axis.inside(*weights(axis))
            tables += [first, cast(stack(shares, axis=1), x.dtype)]
        return resample(x, *tables, name=name)


class _Axis:
    """One axis of `before` pixels that become `after`."""

    def __init__(self, before: Dim, after: Dim, align_corners: bool, half_pixel_centers: bool):
        self.before, self.after = before, after
        self.align_corners, self.half_pixel_centers = align_corners, half_pixel_centers

    def number(self, size: Dim) -> Tensor:
        return size_as_tensor(size, float32)

    def scale(self) -> Tensor:
        before, after = self.number(self.before), self.number(self.after)
        plain = before / after
        if not self.align_corners:
            return plain
        corners = (before - 1.0) / maximum(after - 1.0, 1.0)
        return where(after > 1.0, corners, plain)

    def steps(self) -> Tensor:
        """0, 1, … for every output pixel."""
        return cast(find("iota")(dtype=int32, size=self.after), float32)

    def positions(self) -> Tensor:
        """Where output pixels lie in the input."""
        steps = self.steps()
        if self.half_pixel_centers:
            return (steps + 0.5) * self.scale() - 0.5
        return steps * self.scale()

    def inside(self, first: Tensor, shares: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The same sums with all pixels inside: one outside counts as the nearest inside."""
        count = len(shares)
        if isinstance(self.before, int):
            count = min(count, self.before)
        last = size_as_tensor(self.before, int32) - 1
        start = maximum(minimum(first, last - (count - 1)), 0)
        moved: list[Tensor] = []
        places = [maximum(minimum(first + tap, last), 0) for tap in range(len(shares))]
        for offset in range(count):
            parts = [
                where(find("equal")(place, start + offset), share, 0.0 * share)
                for place, share in zip(places, shares, strict=True)
            ]
            moved.append(sum(parts[1:], parts[0]))
        return start, moved


# -- methods -------------------------------------------------------------------------------------


def _bilinear(axis: _Axis) -> tuple[Tensor, list[Tensor]]:
    at = axis.positions()
    base = floor(at)
    return cast(base, int32), [1.0 - (at - base), at - base]


def resize_bilinear(
    images,
    size,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """Images whose pixels are interpolated between the four nearest; integers become float32."""
    with name_scope(name, "ResizeBilinear") as scope:
        made = _Resize("resize_bilinear", images, size, align_corners, half_pixel_centers)
        return made.by(_bilinear, scope)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """The kernel for distances up to 1 (Keys, "Cubic convolution interpolation for digital image
    processing", 1981, equation 15 with a = -1/2)."""
    return ((a + 2) * distance - (a + 3)) * distance * distance + 1.0


def _cubic_far(distance: Tensor, a: float) -> Tensor:
    """The kernel for distances from 1 to 2."""
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a


def _bicubic(axis: _Axis) -> tuple[Tensor, list[Tensor]]:
    a = -0.5 if axis.half_pixel_centers else -0.75
    at = axis.positions()
    base = floor(at)
    away = at - base
    shares = [
        _cubic_far(away + 1.0, a), _cubic(away, a), _cubic(1.0 - away, a),
        _cubic_far(2.0 - away, a),
    ]  # fmt: skip
    first = cast(base, int32) - 1
    if not axis.half_pixel_centers:
        return first, shares
    # Pixels outside do not count, and the others make up for them.
    last = size_as_tensor(axis.before, int32) - 1
    for tap, share in enumerate(shares):
        place = first + tap
        known = logical_and(place >= 0, place <= last)
        shares[tap] = where(known, share, 0.0 * share)
    total = shares[0] + shares[1] + shares[2] + shares[3]
    return first, [share / total for share in shares]


def resize_bicubic(
    images,
    size,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """Images by cubic convolution over four by four pixels; integers become float32.

    The kernel's parameter is -3/4, and pixels outside are the nearest inside; -1/2 with
    half_pixel_centers, where pixels outside do not count. That is TensorFlow 1's, which rounds the
    distance between pixels to 1/1024; here it is not rounded.
    """
    with name_scope(name, "ResizeBicubic") as scope:
        made = _Resize("resize_bicubic", images, size, align_corners, half_pixel_centers)
        return made.by(_bicubic, scope)


def resize_area(images, size, align_corners: bool = False, name: str | None = None) -> Tensor:
    """Images whose pixels are averages of the area that they cover; integers become float32.

    The heights and widths must be known.
    """
    with name_scope(name, "ResizeArea") as scope:
        made = _Resize("resize_area", images, size, align_corners, False)
        for axis in made.axes:
            if isinstance(axis.before, Size) or isinstance(axis.after, Size):
                reject(
                    "resize_area",
                    f"height and width must be known, {made.x.name} is {made.x.tensor_type}",
                )
        return made.by(_area, scope)


def _area(axis: _Axis) -> tuple[Tensor, list[Tensor]]:
    before, after = axis.before, axis.after
    assert isinstance(before, int) and isinstance(after, int)
    scale = before / after
    if axis.align_corners and after > 1:
        scale = (before - 1) / (after - 1)
    starts = np.arange(after) * scale
    first = np.floor(starts).astype(np.int32)
    count = int(np.max(np.ceil(starts + scale) - first)) if scale else 1
    shares = []
    for tap in range(count):
        place = first + tap
        covered = np.minimum(place + 1, starts + scale) - np.maximum(place, starts)
        share = np.maximum(covered, 0) / scale if scale else np.ones(after)
        shares.append(convert(share.astype(np.float32)))
    return convert(first), shares


def _nearest(axis: _Axis) -> Tensor:
    """The pixel that each output pixel is, which may lie behind the last."""
    steps = axis.steps()
    if axis.half_pixel_centers:
        at = (steps + 0.5) * axis.scale()
    else:
        at = steps * axis.scale()
        if axis.align_corners:
            at = at + 0.5
    return cast(floor(at), int32)


def resize_nearest_neighbor(
    images,
    size,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """Images of the nearest pixels, of any numeric dtype.

    By whole factors, unless align_corners, it is a movement: pixels repeated, or left out.
    """
    with name_scope(name, "ResizeNearestNeighbor") as scope:
        made = _Resize("resize_nearest_neighbor", images, size, align_corners, half_pixel_centers)
        moved = None if align_corners else _moved(made.x, made.axes)
        if moved is not None:
            return find("identity")(moved, name=scope)
        if made.x.dtype.is_floating:
            one = convert(1.0, float32)

            def share(axis: _Axis) -> tuple[Tensor, list[Tensor]]:
                return _nearest(axis), [find("broadcast_to")(one, shape=(axis.after,))]

            return made.by(share, scope)
        x = made.x
        for number, axis in enumerate(made.axes, 1):
            last = size_as_tensor(axis.before, int32) - 1
            x = gather_op(x, minimum(_nearest(axis), last), axis=number)
        return find("identity")(x, name=scope)


def _moved(x: Tensor, axes: list[_Axis]) -> Tensor | None:
    """Pixels repeated or left out, by whole factors along both axes; None for others."""
    repeats = [exact_quotient(axis.after, axis.before) for axis in axes]
    strides = [exact_quotient(axis.before, axis.after) for axis in axes]
    if all(isinstance(count, int) for count in repeats):
        batch, height, width, channels = x.dims
        down, across = repeats
        spread = reshaped(x, (batch, height, 1, width, 1, channels))
        whole = (batch, height, down, width, across, channels)
        spread = find("broadcast_to")(spread, shape=whole)
        return reshaped(spread, (batch, axes[0].after, axes[1].after, channels))
    if all(isinstance(stride, int) for stride in strides):
        steps = [int(stride) for stride in strides]  # type: ignore[arg-type]
        begin = [step // 2 if axes[0].half_pixel_centers else 0 for step in steps]
        return x[:, begin[0] :: steps[0], begin[1] :: steps[1]]
    return None


_METHODS = {
    ResizeMethod.BILINEAR: resize_bilinear,
    ResizeMethod.NEAREST_NEIGHBOR: resize_nearest_neighbor,
    ResizeMethod.BICUBIC: resize_bicubic,
    ResizeMethod.AREA: resize_area,
}


def resize_images(
    images,
    size,
    method: int = ResizeMethod.BILINEAR,
    align_corners: bool = False,
    preserve_aspect_ratio: bool = False,
    name: str | None = None,
) -> Tensor:
    """Images, or one [height, width, channels], resized by a ResizeMethod.

    preserve_aspect_ratio: whether `size` is the largest that may become; sizes must be known then.
    Images that have that size already are returned as they are.
    """
    what = "resize_images"
    if method not in _METHODS:
        reject(what, f"method is one of ResizeMethod, not {method!r}")
    with name_scope(name, "resize_images"):
        x = convert(images, what=what)
        if x.rank not in (3, 4):
            reject(what, f"images have rank 4, or one has rank 3; {x.name} is {x.tensor_type}")
        single = x.rank == 3
        if single:
            x = reshaped(x, (1, *x.dims))
        wanted = as_sizes(size, what)
        if len(wanted) != 2:
            reject(what, f"size is (height, width), got {size!r}")
        if preserve_aspect_ratio:
            known = [dim for dim in (*wanted, *x.dims[1:3]) if isinstance(dim, int) and dim > 0]
            if len(known) != 4:
                reject(what, f"preserve_aspect_ratio needs known sizes, {x.name} is "
                             f"{x.tensor_type}")  # fmt: skip
            ratio = min(known[0] / known[2], known[1] / known[3])
            wanted = tuple(max(1, round(dim * ratio)) for dim in known[2:])
        if wanted != x.dims[1:3]:
            x = _METHODS[method](x, wanted, align_corners)
        return reshaped(x, x.dims[1:]) if single else x
