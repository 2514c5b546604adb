"""SPINN, the stack-augmented parser-interpreter neural network: Bowman et al., "A Fast Unified
Model for Parsing and Sentence Understanding", 2016, arXiv:1603.06021."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..dtypes import int32
from ..framework import control_dependencies
from ..ir.node import Tensor
from ..layers import Dense, dense
from ..nn.losses import sparse_softmax_cross_entropy_with_logits
from ..nn.rnn_cell import LSTMCell
from ..nn.sequence_steps import step_where, zeros_elsewhere
from ..nn.trees import ThinStack, TreeLSTM
from ..ops.arithmetic import maximum
from ..ops.convert import convert, reject
from ..ops.creation import range as range_of
from ..ops.creation import zeros
from ..ops.cumulative import cumsum
from ..ops.effects import Assert
from ..ops.index_check import checked
from ..ops.indexing import gather_op
from ..ops.joining import concat, split
from ..ops.logic import cast, equal, identity, logical_and, logical_not, logical_or, where
from ..ops.movement import reshape, transpose
from ..ops.reduction import reduce_all, reduce_max, reduce_sum
from ..ops.sequences import checked_lengths
from ..ops.shapes import size_as_tensor
from ..scans import scan_over
from ..sizes import Dim
from ..variable_scope import variable_scope

SHIFT, REDUCE, SKIP = 0, 1, 2


class Spinn(NamedTuple):
    """What `spinn` makes of a batch of sentences.

    phrases:     [batch, 2 · units], the (h, c) that lies on top of each stack in the end
    transitions: int32 [batch, steps], those taken
    logits:      [batch, steps, 2], what the tracker says of SHIFT and REDUCE; None without tracker
    """

    phrases: Tensor
    transitions: Tensor
    logits: Tensor | None


def spinn(
    words,
    lengths,
    units: int,
    tracker: int = 64,
    transitions=None,
    forget_bias: float = 1.0,
    name: str = "spinn",
    reuse=None,
) -> Spinn:
    """Sentences read by shifting words onto a stack and reducing two phrases to one.

    In every step the tracker, an LSTM, reads h of the next word, of the top of the stack and of the
    row below it (zeros where there is none). SHIFT puts the next word on the stack; REDUCE puts the
    Tree-LSTM of the upper two and of the tracker's new state in their place; SKIP does nothing, and
    the tracker stays as it is.

    words: vectors [batch, room, depth], made (h, c) of rows by a dense layer; lengths: int32
        [batch], each in [0, room]. All sizes but the depth may be unknown: nothing depends on them.
    tracker: its units; 0 for none
    transitions: int32 [batch, steps] of SHIFT, REDUCE and SKIP, as the sentences' parses have them.
        If None the tracker predicts them, in 2 · room - 1 steps: the likelier of what is possible,
        which gives every sentence one phrase in the end. No gradient goes through that choice.
    forget_bias: of the Tree-LSTM

    The rows are in one buffer (`nn.ThinStack`), the steps are one loop. A program that cannot be
    run (a REDUCE of fewer than two rows, a SHIFT behind the last word) is an InvalidArgumentError
    of the run; a number that is no transition, or a length outside, an OutOfRangeError.
    """
    words = convert(words, what=name)
    if words.rank != 3 or not isinstance(words.dims[2], int):
        reject(name, f"words [batch, room, depth] with a known depth are needed, got {words.name} "
                     f"{words.tensor_type}")  # fmt: skip
    batch, room = words.dims[:2]
    lengths = cast(checked_lengths(lengths, room, name, "lengths"), int32)
    given = transitions is not None
    if not given and not tracker:
        reject(name, "transitions must be given where there is no tracker to predict them")
    with variable_scope(name, reuse=reuse):
        rows = dense(words, 2 * units, name="words")
        compose = TreeLSTM(units, forget_bias, name="reduce")
        cell = LSTMCell(tracker, name="tracker") if tracker else None
        of_words = _of_words(cell, rows[:, :, :units]) if cell else None
        predict = Dense(2, name="transitions")
        steps: Dim = _steps(room)
        programs: Any = None
        bound = 2 * reduce_max(lengths) - 1
        if given:
            transitions = _checked(name, transitions, lengths)
            steps = transitions.dims[1]
            programs = transpose(transitions)
            bound = _last_step(programs)
        numbers = range_of(size_as_tensor(steps, int32))
        state = cell.zero_state(batch, words.dtype) if cell else None

        def step(carried, moving):
            stack, state = carried
            number, now = moving
            rows = stack.seen()
            right, left = split(rows[:, :units], 2, axis=0)
            memory_right, memory_left = split(rows[:, units:], 2, axis=0)
            seen, logits = None, None
            # Some sentences are at their end, and few stacks are reduced in a step: `step_where`.
            if cell:
                words = gather_op(of_words, stack.next_words(), axis=0)

                def track(phrases, state, words=words):
                    of_phrases = cell.project_part(phrases, units, 3 * units)
                    return cell.advance(of_phrases + words, state)

                goes_on = now < SKIP if given else logical_or(stack.can_shift(), stack.can_reduce())
                seen, state = step_where(goes_on, track, concat([right, left], 1), state)
                if not given:
                    logits = predict(seen)
                    now = _chosen(stack, logits)
            reduces = equal(now, REDUCE)
            left, right, inputs = zeros_elsewhere(reduces, (left, right, [seen] if cell else []))
            c, h = compose([(memory_left, left), (memory_right, right)], *inputs)
            phrases = zeros_elsewhere(reduces, concat([h, c], 1))
            stack = stack.pushed(number, equal(now, SHIFT), reduces, phrases)
            return (stack, state), (seen if given else logits, now)

        start = ThinStack.of_words(rows, lengths, steps)
        (stack, _), (told, taken) = scan_over(
            name, step, (start, state), (numbers, programs), steps, bound=bound
        )
        logits = None
        if cell:
            logits = transpose(predict(told) if given else told, [1, 0, 2])
        if not given:
            # Steps that no sentence came to are not in the loop's output.
            transitions = where(numbers[:, None] < bound, taken, SKIP)
            transitions = transpose(transitions)
    return Spinn(stack.top(), transitions, logits)


def transition_loss(logits, transitions) -> Tensor:
    """The mean cross entropy of the tracker's predictions, over the steps that are no SKIP.

    logits: [batch, steps, 2]; transitions: int32 [batch, steps]
    """
    transitions = convert(transitions, what="transition_loss")
    counts = transitions < SKIP
    labels = where(counts, transitions, SHIFT)
    losses = sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    total = reduce_sum(where(counts, losses, 0.0))
    return total / cast(maximum(reduce_sum(cast(counts, int32)), 1), losses.dtype)


def _of_words(cell: LSTMCell, words: Tensor) -> Tensor:
    """[1 + batch * room, n]: what the tracker needs of zeros, then of words [batch, room, units],
    by one contraction for all steps."""
    batch, room, units = words.dims
    words = reshape(words, [batch * room, units])
    words = concat([zeros([1, units], words.dtype), words], 0)
    return cell.project_part(words, 0, 3 * units)


def _steps(room: Dim) -> Dim:
    """The steps that a sentence of so many words takes at most."""
    return 2 * room - 1


def _checked(name: str, transitions: Any, lengths: Tensor) -> Tensor:
    """Programs that can be run."""
    transitions = convert(transitions, what=f"{name}: transitions")
    if transitions.dtype is not int32 or transitions.rank != 2:
        reject(name, f"transitions must be int32 [batch, steps], {transitions.name} is "
                     f"{transitions.tensor_type}")  # fmt: skip
    transitions = checked(transitions, SKIP + 1, name, noun="transition")
    shifts = cast(equal(transitions, SHIFT), int32)
    reduces = equal(transitions, REDUCE)
    depth = cumsum(shifts - cast(reduces, int32), axis=1)
    two = reduce_all(logical_or(logical_not(reduces), depth > 0))
    enough = reduce_all(reduce_sum(shifts, axis=1) <= lengths)
    possible = [
        Assert(two, [f"{name}: a REDUCE of fewer than two rows of the stack"]),
        Assert(enough, [f"{name}: a SHIFT behind the last word of a sentence"]),
    ]
    with control_dependencies(possible):
        return identity(transitions)


def _last_step(programs: Tensor) -> Tensor:
    """How many steps [steps, batch] there are until all that follow are SKIPs."""
    numbers = range_of(size_as_tensor(programs.dims[0], int32)) + 1
    return reduce_max(where(programs < SKIP, numbers[:, None], 0))


def _chosen(stack: ThinStack, logits: Tensor) -> Tensor:
    """The likelier transition of those that are possible."""
    can_shift, can_reduce = stack.can_shift(), stack.can_reduce()
    rather = logical_or(logits[:, REDUCE] > logits[:, SHIFT], logical_not(can_shift))
    shift = where(can_shift, convert(SHIFT), convert(SKIP))
    return where(logical_and(can_reduce, rather), convert(REDUCE), shift)
