"""Operations on batches of sequences of different lengths."""

from __future__ import annotations

import numpy as np

from ..dtypes import int32, int64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Dim
from .convert import convert, known_axis, reject
from .index_check import checked, clamped, require_index
from .indexing import require_ranks

__all__ = ["reverse_sequence"]


def checked_lengths(lengths, steps: Dim, what: str, argument: str = "sequence_length") -> Tensor:
    """Lengths of sequences as a vector of int32 or int64, each in [0, steps].

    Raises TypeRuleError for another rank or dtype. A length outside is an OutOfRangeError, at
    definition where the lengths are constant and else of the run.
    """
    lengths = convert(lengths, what=f"{what}: {argument}")
    if lengths.dtype not in (int32, int64) or lengths.rank != 1:
        reject(
            what,
            f"{argument} must be int32 or int64 [batch], but {lengths.name} is "
            f"{lengths.tensor_type}",
        )
    return checked(lengths, steps + 1, what, noun=argument)


def _infer(types, attrs, sizes):
    """x and lengths, which has one entry for each of x along batch_axis."""
    x, lengths = types
    require_index(lengths, "the lengths are")
    seq, batch = attrs["seq_axis"], attrs["batch_axis"]
    if seq == batch or not (0 <= seq < x.rank and 0 <= batch < x.rank):
        raise TypeRuleError(f"seq_axis={seq} and batch_axis={batch} must be two axes of {x}")
    if lengths.rank != 1:
        raise TypeRuleError(f"the lengths must be a vector, not {lengths}")
    sizes.equal(
        x.shape[batch],
        lengths.shape[0],
        f"the lengths {lengths} must have one entry for each along axis {batch} of {x}",
    )
    return [TensorType(x.dtype, x.shape)]


def _along(axis: int, rank: int) -> tuple:
    return tuple(slice(None) if n == axis else None for n in range(rank))


def _reference(arrays, attrs, node):
    x, lengths = arrays
    seq, batch = attrs["seq_axis"], attrs["batch_axis"]
    if x.size == 0:
        return [x]
    position = np.arange(x.shape[seq])[_along(seq, x.ndim)]
    length = lengths[_along(batch, x.ndim)]
    source = np.where(position < length, length - 1 - position, position)
    source = np.clip(source, 0, x.shape[seq] - 1)
    return [np.take_along_axis(x, np.broadcast_to(source, x.shape), axis=seq)]


def _lower(node: Node, index, context, output):
    seq, batch = node.attrs.seq_axis, node.attrs.batch_axis
    position = index[seq]
    length = context.let(loop.cast(context.read(1, (index[batch],)), int64))
    mirrored = loop.sub(loop.sub(length, loop.ONE), position)
    source = loop.select(loop.apply("lt", position, length), mirrored, position)
    source = context.let(clamped(source, node.inputs[0].dims[seq]))
    return context.read(0, (*index[:seq], source, *index[seq + 1 :]))


def _vjp(node: Node, gradients):
    """Reversing is its own inverse, and a permutation, so it is its own derivative's transpose."""
    attrs = {"seq_axis": node.attrs.seq_axis, "batch_axis": node.attrs.batch_axis}
    return [reverse_sequence_op(gradients[0], node.inputs[1], **attrs), None]


reverse_sequence_op = define(
    Op(name="reverse_sequence", infer=_infer, reference=_reference, vjp=_vjp, lower=_lower)
)


def reverse_sequence(
    input,  # noqa: A002
    seq_lengths,
    seq_axis=None,
    batch_axis=None,
    name: str | None = None,
    seq_dim=None,
    batch_dim=None,
) -> Tensor:
    """`input` with the first seq_lengths[b] elements along `seq_axis` in reverse order, for each b
    along `batch_axis`; what follows them stays where it is.

    seq_lengths: int32 or int64, a vector of the size of `batch_axis` (0 if None). A length outside
    [0, size of seq_axis] is an OutOfRangeError, at definition where the lengths are constant.
    """
    x = convert(input, what="reverse_sequence")
    require_ranks(x, x, "reverse_sequence")
    seq_axis = seq_dim if seq_axis is None else seq_axis
    batch_axis = batch_dim if batch_axis is None else batch_axis
    if seq_axis is None:
        reject("reverse_sequence", "seq_axis is needed")
    sequence = known_axis(seq_axis, len(x.dims), "reverse_sequence")
    batch = known_axis(0 if batch_axis is None else batch_axis, len(x.dims), "reverse_sequence")
    if sequence == batch:
        reject("reverse_sequence", f"seq_axis and batch_axis are both axis {batch} of {x.name}")
    lengths = checked_lengths(seq_lengths, x.dims[sequence], "reverse_sequence", "seq_lengths")
    attrs = {"seq_axis": sequence, "batch_axis": batch}
    return reverse_sequence_op(x, lengths, name=name or "ReverseSequence", **attrs)
