"""What convolutions come down to: which have fast loops, and the phases of spread out inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from ...ir.node import Node, Tensor
from ...ops.windows import Window, windows
from ...sizes import Dim, ceildiv

_FEW_CHANNELS = 8  # of outputs: half a vector at most, of a processor with wide ones
_SHORTEST_LINE, _LONGEST_LINE = 8, 1024  # of outputs
_MOST_POOLED = 9  # elements of a window


def in_blocks(node: Node) -> bool:
    """Whether a convolution is lowered as a contraction, and not by its own direct loops."""
    if any(0 in (t.dims or ()) for t in (*node.inputs, *node.outputs)):
        return False
    along = windows(node)
    groups = node.attrs["groups"]
    each = node.inputs[0].dims[-1] if groups == 1 else node.inputs[0].dims[-1] // groups
    if each == 1 and groups > 1:
        return False  # depthwise: no sums over channels
    if node.op.name == "convolve_weights":
        return not any(w.padded for w in along)
    return all(phases_of(w) is not None for w in along)


def walked(node: Node) -> tuple[Tensor, ...]:
    """The inputs of a convolution that its loops read where they are in memory."""
    if node.op.name == "convolve_weights" or not in_blocks(node):
        return node.inputs
    return node.inputs[:1]


def in_lines(node: Node) -> bool:
    """Whether a convolution in blocks has the form that `planar.py` takes: the pixels of a line are
    neighbours for every tap, and all sizes but the batch are known."""
    if node.op.name != "convolve" or node.attrs["groups"] != 1 or not in_blocks(node):
        return False
    x, w = node.inputs
    along = windows(node)
    sizes = (*x.dims[1:], *w.dims, *node.outputs[0].dims[1:])
    if len(along) != 2 or not all(isinstance(size, int) for size in sizes):
        return False
    down, across = along
    plain = all(window.expansion == 1 and isinstance(window.low, int) for window in along)
    return plain and down.dilation == 1 and across.stride == 1


def takes_pooling(node: Node, pooling: Node) -> bool:
    """Whether maxima of windows of a convolution's outputs are found where these are computed:
    of few channels, windows that are next to each other and cover the lines."""
    if pooling.op.name != "window_max" or not in_lines(node):
        return False
    (_, high, wide, channels), attrs = node.outputs[0].dims, pooling.attrs
    if len(attrs["kernel"]) != 2 or attrs["kernel"] != attrs["strides"]:
        return False
    if attrs["dilation"] != (1, 1) or any(any(pair) for pair in attrs["padding"]):
        return False
    assert isinstance(high, int) and isinstance(wide, int) and isinstance(channels, int)
    down, across = attrs["kernel"]
    whole = high % down == 0 and wide % across == 0 and down * across <= _MOST_POOLED
    return whole and channels <= _FEW_CHANNELS and _SHORTEST_LINE <= wide <= _LONGEST_LINE


@dataclass(frozen=True)
class Phase:
    """Along one dimension, the outputs first, first + every, … (`count` of them). Output number i
    meets, by its tap number j (tap + j * taps_every of the kernel, `taps` of them), the input
    element start + i * step + j * tap_step."""

    first: int
    every: int
    count: Dim
    tap: int
    taps_every: int
    taps: int
    start: Dim
    step: int
    tap_step: int


def phases_of(window: Window) -> list[Phase] | None:
    """The phases of a window all of whose taps meet elements or zeros between them; None where
    they may meet padding."""
    low = window.low
    if window.expansion == 1:
        if window.padded:
            return None
        return [
            Phase(
                0, 1, window.steps, 0, 1, window.kernel, -low, window.stride, window.dilation
            )
        ]  # fmt: skip
    if not isinstance(low, int) or low > 0:
        return None
    if not isinstance(window.high, int) or window.high > 0:
        return None
    spread = window.expansion
    every = spread // gcd(window.stride, spread)
    taps_every = spread // gcd(window.dilation, spread)
    found = []
    for first in range(every):
        place = first * window.stride - low
        taps = [k for k in range(window.kernel) if (place + k * window.dilation) % spread == 0]
        count = ceildiv(window.steps - first, every)
        if isinstance(count, int) and count <= 0:
            continue
        tap = taps[0] if taps else 0
        found.append(
            Phase(
                first, every, count, tap, taps_every, len(taps),
                (place + tap * window.dilation) // spread,
                every * window.stride // spread, taps_every * window.dilation // spread,
            )
        )  # fmt: skip
    return found
