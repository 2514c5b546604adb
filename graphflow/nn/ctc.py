"""Connectionist temporal classification: the loss of labels whose places in time are unknown.

Graves, Fernández, Gomez and Schmidhuber 2006, "Connectionist temporal classification: labelling
unsegmented sequence data with recurrent neural networks". A path gives each step a label or the
blank; it spells the labels that remain when repetitions are merged and blanks are dropped. The
loss is -log of the probability of all paths that spell the labels.
"""

from __future__ import annotations

import operator

from ..dtypes import bool_, int32, int64
from ..framework import control_dependencies, name_scope
from ..ir.node import Tensor
from ..ops.arithmetic import maximum
from ..ops.convert import convert, reject
from ..ops.creation import ones_like, sequence_mask, zeros, zeros_like
from ..ops.creation import range as range_of
from ..ops.cumulative import cumsum
from ..ops.effects import asserted
from ..ops.index_check import checked
from ..ops.indexing import gather
from ..ops.joining import concat
from ..ops.logic import (
    cast,
    equal,
    identity,
    less_equal,
    logical_and,
    logical_not,
    stop_gradient,
    where,
    where_v2,
)
from ..ops.math import exp, log
from ..ops.movement import expand_dims, reshape, transpose
from ..ops.reduction import reduce_max, reduce_sum
from ..ops.scatter import scatter_nd
from ..ops.sequences import checked_lengths
from ..ops.shapes import size_as_tensor
from ..ragged import RaggedTensor
from ..scans import scan_over
from ..sizes import Dim
from .losses import log_softmax
from .sequence_steps import choose_rows

__all__ = ["ctc_loss", "ctc_loss_v2"]

# The logarithm of an impossible path. It is finite, so that no difference of two is NaN and the
# gradients of impossible paths are exact zeros; what is below half of it was impossible.
IMPOSSIBLE = -1e30


def ctc_loss_v2(
    labels,
    logits,
    label_length,
    logit_length,
    logits_time_major: bool = True,
    unique=None,
    blank_index: int | None = None,
    name: str | None = None,
) -> Tensor:
    """The CTC loss [batch] of each sequence, in the dtype of the logits.

    labels: int32 or int64 [batch, max_label_length]; what lies past a label length is ignored
    logits: floats [time, batch, classes], or [batch, time, classes] if not `logits_time_major`;
        unnormalised: they go through a softmax. What lies past a logit length is ignored, and is
        not worked on past the longest one.
    label_length, logit_length: int32 or int64 [batch]
    unique: accepted and changes nothing
    blank_index: the class that is the blank, 0 if None; negative ones count from the last

    The loss is infinite, and the gradient zero, where a sequence is too short for its labels:
    it needs a step for each and one more between two equal ones. Raises TypeRuleError for other
    dtypes and shapes; OutOfRangeError for lengths and labels outside, InvalidArgumentError for a
    label that is the blank, at definition where it is constant and else of the run.

    Computed in the log domain by the forward recursion (section 4.1) as one loop over the steps.
    """
    what = "ctc_loss_v2"
    with name_scope(name, "ctc_loss") as scope:
        rows, lengths = time_major_logits(logits, logit_length, logits_time_major, what)
        counts, kept = _labels(labels, label_length, rows, what)
        blank = _blank(blank_index, rows.dims[2], what)
        kept = _without_blank(kept, counts, blank, rows.dims[2], what)
        likelihood = _log_likelihood(kept, counts, rows, lengths, blank, merge_repeated=True)
        return identity(_loss(likelihood), name=scope)


def ctc_loss(
    labels,
    inputs=None,
    sequence_length=None,
    preprocess_collapse_repeated: bool = False,
    ctc_merge_repeated: bool = True,
    ignore_longer_outputs_than_inputs: bool = False,
    time_major: bool = True,
    logits=None,
) -> Tensor:
    """The CTC loss [batch] with TensorFlow 1's options; the blank is the last class.

    labels: a RaggedTensor, or a pair (labels [batch, max_label_length], label_length [batch]),
        such as the decoders give. TensorFlow takes a SparseTensor, and there are none here: the
        size of one depends on data.
    inputs (or logits): [time, batch, classes], or [batch, time, classes] if not `time_major`
    sequence_length: int32 or int64 [batch], the lengths of the inputs
    preprocess_collapse_repeated: equal labels next to each other count as one
    ctc_merge_repeated: False: repeated labels on a path are labels of their own, not merged
    ignore_longer_outputs_than_inputs: sequences too short for their labels have the loss zero;
        otherwise they fail the run, with InvalidArgumentError

    Raises as `ctc_loss_v2`, and TypeRuleError where `labels` is neither.
    """
    what = "ctc_loss"
    if isinstance(labels, RaggedTensor):
        labels = labels.to_tensor(), labels.row_lengths()
    if not isinstance(labels, (tuple, list)) or len(labels) != 2:
        reject(
            what,
            "labels must be a RaggedTensor or a pair (labels [batch, max_label_length], "
            f"label_length [batch]), not {labels!r}; nn.ctc_loss_v2 takes the two as arguments of "
            "their own (its blank is class 0 unless blank_index=-1)",
        )
    inputs = logits if inputs is None else inputs
    if inputs is None or sequence_length is None:
        reject(what, "inputs and sequence_length must be given", ValueError)
    with name_scope(None, what) as scope:
        rows, lengths = time_major_logits(
            inputs, sequence_length, time_major, what, "sequence_length"
        )
        counts, kept = _labels(labels[0], labels[1], rows, what)
        blank = _blank(-1, rows.dims[2], what)
        kept = _without_blank(kept, counts, blank, rows.dims[2], what)
        if preprocess_collapse_repeated:
            kept, counts = collapsed(kept, counts)
        fits = less_equal(_needed_steps(kept, counts, ctc_merge_repeated), lengths)
        if not ignore_longer_outputs_than_inputs:
            message = f"{what}: a sequence is too short for its labels; sequence and label lengths:"
            check = asserted(fits, [lengths, counts], message)
            with control_dependencies([check]):
                counts = identity(counts)
        likelihood = _log_likelihood(kept, counts, rows, lengths, blank, ctc_merge_repeated)
        loss = _loss(likelihood)
        if ignore_longer_outputs_than_inputs:
            loss = where(fits, loss, zeros_like(loss))
        return identity(loss, name=scope)


# -- arguments -----------------------------------------------------------------------------------


def time_major_logits(
    logits, lengths, time_major: bool, what: str, argument: str = "logit_length"
) -> tuple[Tensor, Tensor]:
    """Logits as [time, batch, classes] and the lengths of their sequences, int32."""
    rows = convert(logits, what=what)
    if not rows.dtype.is_floating or rows.rank != 3:
        order = "[time, batch, classes]" if time_major else "[batch, time, classes]"
        reject(what, f"the logits {rows.name} must be floats {order}, not {rows.tensor_type}")
    if not time_major:
        rows = transpose(rows, [1, 0, 2])
    found = checked_lengths(lengths, rows.dims[0], what, argument)
    _require_equal(found.dims[0], rows.dims[1], what, f"the {argument} {found.tensor_type}")
    return rows, cast(found, int32)


def _require_equal(a: Dim, b: Dim, what: str, who: str) -> None:
    if isinstance(a, int) and isinstance(b, int) and a != b:
        reject(what, f"{who} must have one entry for each of {b} sequences")


def _labels(labels, label_length, rows: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """(label lengths, int32; labels, int32, zeros past the lengths)."""
    labels = convert(labels, what=f"{what}: labels")
    if labels.dtype not in (int32, int64) or labels.rank != 2:
        reject(
            what,
            f"the labels {labels.name} must be int32 or int64 [batch, max_label_length], not "
            f"{labels.tensor_type}",
        )
    most = labels.dims[1]
    counts = cast(checked_lengths(label_length, most, what, "label_length"), int32)
    for tensor, who in ((counts, "the label_length"), (labels, "the labels")):
        _require_equal(tensor.dims[0], rows.dims[1], what, f"{who} {tensor.tensor_type}")
    labels = where(sequence_mask(counts, most), labels, zeros_like(labels))
    return counts, cast(checked(labels, rows.dims[2], what, noun="label"), int32)


def _blank(index: int | None, classes: Dim, what: str) -> int:
    try:
        blank = 0 if index is None else operator.index(index)
    except TypeError:
        reject(what, f"blank_index must be an integer or None, not {index!r}", TypeError)
    if isinstance(classes, int) and not -classes <= blank < classes:
        reject(what, f"blank_index={blank} is no class of {classes}", ValueError)
    return blank


def _without_blank(labels: Tensor, counts: Tensor, blank: int, classes: Dim, what: str) -> Tensor:
    """The labels, checked: none of them is the blank."""
    number = size_as_tensor(classes + blank if blank < 0 else blank, int32)
    inside = sequence_mask(counts, labels.dims[1])
    fine = logical_not(logical_and(inside, equal(labels, number)))
    with control_dependencies([asserted(fine, [number], f"{what}: a label is the blank, class")]):
        return identity(labels)


# -- labels --------------------------------------------------------------------------------------


def repeats(labels: Tensor) -> Tensor:
    """bool [batch, n]: whether a label is the one before it."""
    first = zeros((labels.dims[0], 1), labels.dtype) - 1
    return equal(labels, concat([first, labels], 1)[:, :-1])


def packed(kept: Tensor, values: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """(values of each row where `kept`, moved to its front, then `padding`; how many, int32).

    kept: bool [batch, n]; values: integers [batch, n]
    """
    batch, most = values.dims
    one = cast(kept, int32)
    # Those that are left out meet in a column of their own, which is then cut off.
    column = where(kept, cumsum(one, 1) - 1, zeros_like(one) + size_as_tensor(most, int32))
    row = zeros_like(one) + expand_dims(range_of(size_as_tensor(batch, int32)), 1)
    moved = where(kept, values - padding, zeros_like(values))
    front = scatter_nd(
        concat([expand_dims(row, 2), expand_dims(column, 2)], 2), moved, (batch, most + 1)
    )
    return front[:, :-1] + padding, reduce_sum(one, 1)


def collapsed(labels: Tensor, counts: Tensor, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Labels and their counts with equal neighbours merged to one."""
    inside = sequence_mask(counts, labels.dims[1])
    return packed(logical_and(inside, logical_not(repeats(labels))), labels, padding)


def _needed_steps(labels: Tensor, counts: Tensor, merge_repeated: bool) -> Tensor:
    """How many steps the shortest path that spells the labels has, int32 [batch]."""
    if not merge_repeated:
        return counts
    inside = sequence_mask(counts, labels.dims[1])
    return counts + reduce_sum(cast(logical_and(inside, repeats(labels)), int32), 1)


# -- the recursion -------------------------------------------------------------------------------


def _log_likelihood(
    labels: Tensor,
    counts: Tensor,
    rows: Tensor,
    lengths: Tensor,
    blank: int,
    merge_repeated: bool,
) -> Tensor:
    """log of the probability of all paths that spell the labels, [batch].

    Two forward variables [batch, most + 1]: of the paths so far that have spelled the first k
    labels, those that end in a blank and those that end in label k (slot 0 of which is never
    reached). A step stays, goes from label k to the blank behind it, from there to label k + 1,
    or straight to it where it is another label (equation 6 of the paper).
    """
    batch, most = labels.dims
    time = rows.dims[0]
    blanks, spelled = _emissions(labels, rows, lengths, blank)
    skips = ones_like(labels, bool_) if not merge_repeated else logical_not(repeats(labels))
    skips = concat([zeros((batch, 1), skips.dtype), skips], 1)
    column = zeros((batch, 1), rows.dtype) + IMPOSSIBLE

    def behind(x: Tensor) -> Tensor:
        """Slot k - 1 in slot k."""
        return concat([column, x[:, :-1]], 1)

    def step(carried, moving):
        after_blank, after_label = carried
        at, on_blank, on_label = moving
        straight = where_v2(skips, behind(after_label), IMPOSSIBLE)
        ways = [behind(after_blank), straight]
        if merge_repeated:
            ways.append(after_label)
        reached = (
            on_blank + log_add(after_blank, after_label),
            on_label + log_add(*ways),
        )
        return choose_rows(at < lengths, reached, carried), ()

    start = concat(
        [zeros((batch, 1), rows.dtype), zeros((batch, most), rows.dtype) + IMPOSSIBLE], 1
    )
    begin = (start, zeros_like(start) + IMPOSSIBLE)
    steps = range_of(size_as_tensor(time, int32))
    (after_blank, after_label), _ = scan_over(
        "ctc_loss", step, begin, (steps, blanks, spelled), time, bound=reduce_max(lengths)
    )
    last = expand_dims(counts, 1)
    ends = [gather(x, last, axis=1, batch_dims=1) for x in (after_blank, after_label)]
    return reshape(log_add(*ends), (batch,))


def log_probabilities(rows: Tensor, lengths: Tensor) -> Tensor:
    """Of the classes at each step, [time, batch, classes], anything past the lengths."""
    within = transpose(sequence_mask(lengths, rows.dims[0]), [1, 0])
    # Zeros in place of the padding: not even its NaN gets anywhere.
    rows = where(expand_dims(within, 2), rows, zeros_like(rows))
    return maximum(log_softmax(rows), IMPOSSIBLE)


def _emissions(labels: Tensor, rows: Tensor, lengths: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the blank, [time, batch, 1], and of label k, [time, batch, most + 1]."""
    time, batch, _ = rows.dims
    emitted = log_probabilities(rows, lengths)
    slots = concat([zeros((batch, 1), labels.dtype), labels], 1)
    everywhere = zeros((time, 1, 1), labels.dtype) + expand_dims(slots, 0)
    spelled = gather(emitted, everywhere, axis=2, batch_dims=2)
    return _column(emitted, blank), spelled


def _column(x: Tensor, number: int) -> Tensor:
    return x[:, :, -1:] if number == -1 else x[:, :, number : number + 1]


def log_add(*terms: Tensor) -> Tensor:
    """log of the sum of exponentials; the maximum, which is taken out, cancels in derivatives."""
    highest = terms[0]
    for term in terms[1:]:
        highest = maximum(highest, term)
    highest = stop_gradient(highest)
    total = exp(terms[0] - highest)
    for term in terms[1:]:
        total = total + exp(term - highest)
    return highest + log(total)


def _loss(likelihood: Tensor) -> Tensor:
    possible = likelihood > IMPOSSIBLE / 2
    return where(possible, -likelihood, zeros_like(likelihood) + float("inf"))
