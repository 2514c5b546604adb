"""Blocks of pixels as channels or as examples, and back: reshapes around one transpose."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.node import Tensor
from ..sizes import Dim, exact_quotient, floordiv, multiply
from .convert import as_known_int, as_sizes, constant_value, convert, is_tensor_like, reject
from .indexing import reshaped, transposed
from .movement import ranked
from .padding import pad_op
from .slicing import slice_op

__all__ = [
    "batch_to_space",
    "batch_to_space_nd",
    "depth_to_space",
    "space_to_batch",
    "space_to_batch_nd",
    "space_to_depth",
]


def _parts(dim: Dim, block: int, x: Tensor, axis: int, what: str) -> Dim:
    """dim / block; a size that is not known is checked by the run."""
    exact = exact_quotient(dim, block)
    if exact is not None:
        return exact
    if isinstance(dim, int):
        reject(what, f"axis {axis} of {x.name} {x.tensor_type} has {dim} elements, which {block} "
                     "does not divide")  # fmt: skip
    return floordiv(dim, block)


def _images(value, block_size, data_format: str, what: str) -> tuple[Tensor, int, bool]:
    x = ranked(value, what)
    block = as_known_int(block_size, what)
    if len(x.dims) != 4:
        reject(what, f"images of rank 4 are needed, {x.name} is {x.tensor_type}")
    if block < 1:
        reject(what, f"block_size must be positive, got {block}")
    if data_format not in ("NHWC", "NCHW"):
        reject(what, f"data_format is NHWC or NCHW, not {data_format!r}")
    return x, block, data_format == "NCHW"


def space_to_depth(
    input,  # noqa: A002
    block_size: int,
    name: str | None = None,
    data_format: str = "NHWC",
) -> Tensor:
    """Images [batch, height, width, channels] with each block of block_size by block_size pixels as
    one pixel: its channels are those of the block's pixels, in row-major order, one after the
    other."""
    what = "space_to_depth"
    x, block, first = _images(input, block_size, data_format, what)
    row, column = (2, 3) if first else (1, 2)
    height = _parts(x.dims[row], block, x, row, what)
    width = _parts(x.dims[column], block, x, column, what)
    batch, channels = x.dims[0], x.dims[1 if first else 3]
    depth = multiply(channels, block * block)
    if first:
        y = reshaped(x, (batch, channels, height, block, width, block))
        return reshaped(transposed(y, (0, 3, 5, 1, 2, 4), name), (batch, depth, height, width))
    y = reshaped(x, (batch, height, block, width, block, channels))
    return reshaped(transposed(y, (0, 1, 3, 2, 4, 5), name), (batch, height, width, depth))


def depth_to_space(
    input,  # noqa: A002
    block_size: int,
    name: str | None = None,
    data_format: str = "NHWC",
) -> Tensor:
    """The inverse of `space_to_depth`: each pixel as a block of pixels."""
    what = "depth_to_space"
    x, block, first = _images(input, block_size, data_format, what)
    channel = 1 if first else 3
    depth = _parts(x.dims[channel], block * block, x, channel, what)
    batch: Dim = x.dims[0]
    height, width = x.dims[2:] if first else x.dims[1:3]
    tall, wide = multiply(height, block), multiply(width, block)
    if first:
        y = reshaped(x, (batch, block, block, depth, height, width))
        return reshaped(transposed(y, (0, 3, 4, 1, 5, 2), name), (batch, depth, tall, wide))
    y = reshaped(x, (batch, height, width, block, block, depth))
    return reshaped(transposed(y, (0, 1, 3, 2, 4, 5), name), (batch, tall, wide, depth))


def _blocks(value, what: str) -> list[int]:
    blocks = [as_known_int(size, what) for size in as_sizes(value, what)]
    if not blocks or any(block < 1 for block in blocks):
        reject(what, f"block_shape must be positive numbers, got {blocks}")
    return blocks


def _pairs(value, count: int, what: str, argument: str) -> list[tuple[Dim, Dim]]:
    if is_tensor_like(value):
        known = constant_value(convert(value, what=what))
        if known is None:
            reject(what, f"the {argument} must be known while the graph is defined")
        value = known.tolist()
    pairs = [as_sizes(pair, what) for pair in value]
    if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
        reject(what, f"{argument} have the shape [{count}, 2], got {value!r}")
    if any(isinstance(amount, int) and amount < 0 for pair in pairs for amount in pair):
        reject(what, f"{argument} must not be negative, got {value!r}")
    return [(pair[0], pair[1]) for pair in pairs]


def _blocked(value, block_shape, what: str) -> tuple[Tensor, list[int]]:
    x = ranked(value, what)
    blocks = _blocks(block_shape, what)
    if len(x.dims) < len(blocks) + 1:
        reject(
            what,
            f"{len(blocks)} block sizes need a batch and as many axes, {x.name} is {x.tensor_type}",
        )
    return x, blocks


def space_to_batch_nd(input, block_shape, paddings, name: str | None = None) -> Tensor:  # noqa: A002
    """Blocks of block_shape of the axes after the batch, once padded with zeros, each spread over
    as many examples: [prod(block_shape) · batch, padded sizes / block_shape, ...].

    paddings: (before, after) for each of these axes.
    """
    what = "space_to_batch_nd"
    x, blocks = _blocked(input, block_shape, what)
    count = len(blocks)
    pairs = _pairs(paddings, count, what, "paddings")
    rest = len(x.dims) - count - 1
    if any(pair != (0, 0) for pair in pairs):
        before, after = zip((0, 0), *pairs, *[(0, 0)] * rest, strict=True)
        x = pad_op(x, before=before, after=after, mode="constant", value=0)
    sizes = [_parts(x.dims[n + 1], block, x, n + 1, what) for n, block in enumerate(blocks)]
    split: list[Dim] = [x.dims[0]]
    for size, block in zip(sizes, blocks, strict=True):
        split += [size, block]
    y = reshaped(x, (*split, *x.dims[count + 1 :]))
    order = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2)]
    y = transposed(y, [*order, *range(2 * count + 1, 2 * count + 1 + rest)], name)
    batch: Dim = x.dims[0]
    for block in blocks:
        batch = multiply(batch, block)
    return reshaped(y, (batch, *sizes, *x.dims[count + 1 :]))


def batch_to_space_nd(input, block_shape, crops, name: str | None = None) -> Tensor:  # noqa: A002
    """The inverse of `space_to_batch_nd`: `crops` are left out at both ends of each axis."""
    what = "batch_to_space_nd"
    x, blocks = _blocked(input, block_shape, what)
    count = len(blocks)
    pairs = _pairs(crops, count, what, "crops")
    together = 1
    for block in blocks:
        together *= block
    batch = _parts(x.dims[0], together, x, 0, what)
    rest = x.dims[count + 1 :]
    y = reshaped(x, (*blocks, batch, *x.dims[1:]))
    order = [count]
    for n in range(count):
        order += [count + 1 + n, n]
    y = transposed(y, [*order, *range(2 * count + 1, 2 * count + 1 + len(rest))])
    whole = [multiply(x.dims[n + 1], block) for n, block in enumerate(blocks)]
    y = reshaped(y, (batch, *whole, *rest))
    if all(pair == (0, 0) for pair in pairs):
        return y
    sizes = [size - before - after for size, (before, after) in zip(whole, pairs, strict=True)]
    if any(isinstance(size, int) and size < 0 for size in sizes):
        reject(what, f"the crops {pairs} are more than the sizes {whole}")
    begin = (0, *(before for before, _ in pairs), *[0] * len(rest))
    ones = (1,) * len(y.dims)
    return slice_op(y, begin=begin, size=(batch, *sizes, *rest), strides=ones, name=name)


def _size_or_shape(block_size, block_shape, what: str) -> Sequence:
    if (block_size is None) == (block_shape is None):
        reject(what, "give either block_size or block_shape")
    return [block_size, block_size] if block_shape is None else block_shape


def space_to_batch(
    input,  # noqa: A002
    paddings,
    block_size=None,
    name: str | None = None,
    block_shape=None,
) -> Tensor:
    """`space_to_batch_nd` of images, with square blocks of block_size."""
    blocks = _size_or_shape(block_size, block_shape, "space_to_batch")
    return space_to_batch_nd(input, blocks, paddings, name)


def batch_to_space(
    input,  # noqa: A002
    crops,
    block_size=None,
    name: str | None = None,
    block_shape=None,
) -> Tensor:
    """`batch_to_space_nd` of images, with square blocks of block_size."""
    blocks = _size_or_shape(block_size, block_shape, "batch_to_space")
    return batch_to_space_nd(input, blocks, crops, name)
