"""Labels from the outputs of a network trained with the CTC loss: the best path, and the best
labels that a beam search finds. The blank is the last class, as in TensorFlow 1."""

from __future__ import annotations

from typing import NamedTuple

from ..dtypes import int32, int64
from ..framework import name_scope
from ..ir.node import Tensor
from ..ops.arg_reduction import argmax
from ..ops.arithmetic import maximum, minimum
from ..ops.convert import as_known_int, reject
from ..ops.creation import range as range_of
from ..ops.creation import sequence_mask, zeros, zeros_like
from ..ops.indexing import gather_op
from ..ops.joining import concat
from ..ops.logic import (
    cast,
    equal,
    logical_and,
    logical_not,
    not_equal,
    where,
    where_v2,
)
from ..ops.movement import expand_dims, reshape, transpose
from ..ops.reduction import reduce_max, reduce_sum
from ..ops.scatter import scatter_nd
from ..ops.shapes import size_as_tensor
from ..ops.sorting import top_k
from ..scans import scan_over
from ..sizes import Dim
from .ctc import (
    IMPOSSIBLE,
    collapsed,
    log_add,
    log_probabilities,
    packed,
    repeats,
    time_major_logits,
)
from .sequence_steps import choose_rows

__all__ = [
    "DecodedSequences",
    "ctc_beam_search_decoder",
    "ctc_beam_search_decoder_v2",
    "ctc_greedy_decoder",
]

PADDING = -1


class DecodedSequences(NamedTuple):
    """A batch of decoded sequences, where TensorFlow 1 has a SparseTensor.

    ids: int64 [batch, time], -1 past the lengths. lengths: int32 [batch]. `nn.ctc_loss` takes
    such a pair as labels.
    """

    ids: Tensor
    lengths: Tensor


def ctc_greedy_decoder(
    inputs, sequence_length, merge_repeated: bool = True
) -> tuple[list[DecodedSequences], Tensor]:
    """([decoded], negated sums of the largest logits [batch, 1]) of the best path: the most
    likely class of each step.

    inputs: floats [time, batch, classes]. sequence_length: int32 or int64 [batch]
    merge_repeated: equal classes at steps next to each other are one label

    Raises as `nn.ctc_loss_v2`.
    """
    what = "ctc_greedy_decoder"
    with name_scope(None, what):
        rows, lengths = time_major_logits(inputs, sequence_length, True, what, "sequence_length")
        time, _, classes = rows.dims
        inside = sequence_mask(lengths, time)
        best = transpose(argmax(rows, 2, output_type=int32), [1, 0])
        kept = logical_and(inside, not_equal(best, size_as_tensor(classes - 1, int32)))
        if merge_repeated:
            kept = logical_and(kept, logical_not(repeats(best)))
        decoded = _decoded(*packed(kept, best, PADDING))
        highest = transpose(reduce_max(rows, 2), [1, 0])
        total = reduce_sum(where(inside, highest, zeros_like(highest)), 1, keepdims=True)
        return [decoded], -total


def ctc_beam_search_decoder(
    inputs,
    sequence_length,
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
) -> tuple[list[DecodedSequences], Tensor]:
    """As `ctc_beam_search_decoder_v2`; with `merge_repeated`, equal labels next to each other in a
    result then become one, even those that paths have a blank between."""
    with name_scope(None, "ctc_beam_search_decoder"):
        decoded, scores = _beam_search(
            inputs, sequence_length, beam_width, top_paths, "ctc_beam_search_decoder"
        )
        if merge_repeated:
            decoded = [_decoded(*collapsed(d.ids, d.lengths, PADDING)) for d in decoded]
        return decoded, scores


def ctc_beam_search_decoder_v2(
    inputs, sequence_length, beam_width: int = 100, top_paths: int = 1
) -> tuple[list[DecodedSequences], Tensor]:
    """(the `top_paths` likeliest labellings found, best first; their log-probabilities, [batch,
    top_paths]).

    inputs: floats [time, batch, classes], unnormalised: they go through a softmax
    sequence_length: int32 or int64 [batch]
    beam_width: how many prefixes are kept at a step. top_paths: at most as many

    A labelling's probability is the sum over its paths that were never dropped; where fewer
    labellings are possible than asked for, the others are empty and have -inf. Prefix beam search
    without a dictionary: Graves 2012, "Supervised Sequence Labelling with Recurrent Neural
    Networks", section 7.5, in the form of Hannun et al. 2014, "First-pass large vocabulary
    continuous speech recognition using bi-directional recurrent DNNs".
    """
    with name_scope(None, "ctc_beam_search_decoder"):
        return _beam_search(
            inputs, sequence_length, beam_width, top_paths, "ctc_beam_search_decoder_v2"
        )


def _decoded(ids: Tensor, lengths: Tensor) -> DecodedSequences:
    return DecodedSequences(cast(ids, int64), lengths)


# -- the beam ------------------------------------------------------------------------------------


class _Beam(NamedTuple):
    """The prefixes of a batch, best first; those with an impossible score are none.

    ids: [batch, width, time]. lengths: [batch, width]
    last: the last label of each, [batch, width]; -1 of the empty prefix
    common: of each two prefixes, how many labels they begin with in common, [batch, width, width]
    blank, label: log-probabilities [batch, width] of the paths that end in a blank, in the label
    """

    ids: Tensor
    lengths: Tensor
    last: Tensor
    common: Tensor
    blank: Tensor
    label: Tensor


def _beam_search(inputs, sequence_length, beam_width, top_paths, what: str):
    width = as_known_int(beam_width, what)
    paths = as_known_int(top_paths, what)
    if not 1 <= paths <= width:
        reject(what, f"top_paths={paths} must be in [1, beam_width={width}]", ValueError)
    rows, lengths = time_major_logits(inputs, sequence_length, True, what, "sequence_length")
    time, batch, classes = rows.dims
    if classes == 1:
        reject(what, f"{rows.name} is {rows.tensor_type}: there is no class but the blank")
    emitted = log_probabilities(rows, lengths)

    def step(beam: _Beam, moving):
        at, on_blank, on_labels = moving
        return choose_rows(at < lengths, _advanced(beam, on_blank, on_labels), beam), ()

    steps = range_of(size_as_tensor(time, int32))
    moving = (steps, emitted[:, :, -1:], emitted[:, :, :-1])
    first = _first_beam(batch, width, time, rows.dtype)
    beam, _ = scan_over(what, step, first, moving, time, bound=reduce_max(lengths))
    scores = log_add(beam.blank, beam.label)[:, :paths]
    possible = scores > IMPOSSIBLE / 2
    found = where(possible, beam.lengths[:, :paths], zeros_like(beam.lengths[:, :paths]))
    inside = sequence_mask(found, time)
    ids = where_v2(inside, beam.ids[:, :paths], PADDING)
    decoded = [_decoded(ids[:, k], found[:, k]) for k in range(paths)]
    return decoded, where_v2(possible, scores, float("-inf"))


def _first_beam(batch: Dim, width: int, time: Dim, dtype) -> _Beam:
    """The empty prefix, and nothing else."""
    nothing = zeros((batch, width), int32)
    impossible = zeros((batch, width), dtype) + IMPOSSIBLE
    certain = concat([zeros((batch, 1), dtype), impossible[:, 1:]], 1)
    return _Beam(
        ids=zeros((batch, width, time), int32) + PADDING,
        lengths=nothing,
        last=nothing + PADDING,
        common=zeros((batch, width, width), int32),
        blank=certain,
        label=impossible,
    )


def _advanced(beam: _Beam, on_blank: Tensor, on_labels: Tensor) -> _Beam:
    """The best prefixes after one more step.

    on_blank: [batch, 1], log-probabilities of the blank. on_labels: [batch, classes - 1]
    """
    batch, width = beam.lengths.dims
    labels = on_labels.dims[1]
    count = size_as_tensor(labels, int32)
    total = log_add(beam.blank, beam.label)
    empty = equal(beam.lengths, 0)
    on_last = gather_op(on_labels, maximum(beam.last, 0), axis=1, batch_dims=1)

    # A longer prefix: a label like the last one needs a blank between.
    again = equal(expand_dims(beam.last, 2), range_of(count))
    longer = where_v2(again, expand_dims(beam.blank, 2), expand_dims(total, 2))
    longer = longer + expand_dims(on_labels, 1)

    # Where both are in the beam, a prefix made longer by a label may be the other one: it then
    # adds to that, and is no candidate by itself.
    parents, parent = _parents(beam, total)
    repeated = equal(expand_dims(beam.last, 2), expand_dims(beam.last, 1))
    arriving = where_v2(repeated, expand_dims(beam.blank, 2), expand_dims(total, 2))
    arriving = reduce_max(where_v2(parents, arriving, IMPOSSIBLE), 1) + on_last
    longer = _without(reshape(longer, (batch, width * labels)), beam, parent, labels)

    same_blank = total + on_blank
    same_label = log_add(where_v2(empty, IMPOSSIBLE, beam.label + on_last), arriving)
    candidates = concat([log_add(same_blank, same_label), longer], 1)
    scores, chosen = top_k(candidates, width)
    stays = chosen < width
    beyond = maximum(chosen - width, 0)
    source = where(stays, chosen, beyond // count)
    added = beyond % count

    def of(x: Tensor) -> Tensor:
        return gather_op(x, source, axis=1, batch_dims=1)

    before = of(beam.lengths)
    lengths = where(stays, before, before + 1)
    at = range_of(size_as_tensor(beam.ids.dims[2], int32))
    new = logical_and(logical_not(expand_dims(stays, 2)), equal(at, expand_dims(before, 2)))
    ids = where_v2(new, expand_dims(added, 2), of(beam.ids))
    return _Beam(
        ids=ids,
        lengths=lengths,
        last=where(stays, of(beam.last), added),
        common=_common(gather_op(of(beam.common), source, axis=2, batch_dims=1), ids, lengths),
        blank=where_v2(stays, of(same_blank), IMPOSSIBLE),
        label=where(stays, of(same_label), scores),
    )


def _parents(beam: _Beam, total: Tensor) -> tuple[Tensor, Tensor]:
    """(bool [batch, i, j]: whether prefix i is j without its last label; which one that is of j,
    or the width where none is, int32 [batch, width])."""
    width = beam.lengths.dims[1]
    exists = total > IMPOSSIBLE / 2
    shorter, longer = expand_dims(beam.lengths, 2), expand_dims(beam.lengths, 1)
    parents = logical_and(equal(beam.common, shorter), equal(shorter + 1, longer))
    parents = logical_and(parents, expand_dims(exists, 2))
    parents = logical_and(parents, expand_dims(exists, 1))
    numbers = expand_dims(expand_dims(range_of(width), 0), 2)
    parent = where_v2(parents, numbers, width)
    return parents, -reduce_max(-parent, 1)


def _without(longer: Tensor, beam: _Beam, parent: Tensor, labels: Dim) -> Tensor:
    """Scores [batch, width * labels] of longer prefixes, impossible where it is in the beam."""
    batch, every = longer.dims
    width = beam.lengths.dims[1]
    place = parent * size_as_tensor(labels, int32) + maximum(beam.last, 0)
    # Those without a parent are marked in a column of their own, which is then cut off.
    place = where_v2(parent < width, place, size_as_tensor(every, int32))
    row = zeros_like(place) + expand_dims(range_of(size_as_tensor(batch, int32)), 1)
    places = concat([expand_dims(row, 2), expand_dims(place, 2)], 2)
    marks = scatter_nd(places, zeros_like(place) + 1, (batch, every + 1))[:, :-1]
    return where_v2(marks > 0, IMPOSSIBLE, longer)


def _common(before: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """How many labels each two prefixes begin with in common, when none has grown by more than
    one since that was `before`: the label there, if both have one, is one more or differs."""
    last = size_as_tensor(ids.dims[2] - 1, int32)
    there = gather_op(ids, minimum(before, last), axis=2, batch_dims=2)
    within = before < minimum(expand_dims(lengths, 2), expand_dims(lengths, 1))
    more = logical_and(within, equal(there, transpose(there, [0, 2, 1])))
    return before + cast(more, int32)
