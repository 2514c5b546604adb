"""Recurrences unrolled over a list of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.node import Tensor
from ..nest import assert_same_structure, flatten, map_structure, pack_sequence_as
from ..ops.convert import convert, reject
from ..ops.joining import concat, stack, unstack
from ..ops.sequences import checked_lengths, reverse_sequence
from ..variable_scope import variable_scope
from .rnn_cell.base import require_cell
from .sequence_steps import bounded_step

__all__ = ["static_bidirectional_rnn", "static_rnn"]


def static_rnn(
    cell,
    inputs: Sequence,
    initial_state: Any = None,
    dtype=None,
    sequence_length=None,
    scope=None,
) -> tuple[list, Any]:
    """(outputs, final state) of a cell applied to each of a list of inputs in turn.

    inputs: a tensor [batch, depth] for each step, or a nest of such.
    initial_state: as `cell.zero_state` gives it; zeros of `dtype` if None.
    sequence_length: int32 or int64 [batch], each in [0, number of inputs]; all steps if None. After
        its end a sequence's outputs are zeros, and its state is that of its last step; what the
        inputs hold there changes nothing.
    scope: the variable scope; "rnn" if None.

    Raises TypeError and ValueError for inputs that are no list or empty, or without a dtype where
    it is needed; OutOfRangeError for a length outside, at definition where lengths are constant
    and else in the run.
    """
    require_cell(cell, "static_rnn")
    inputs = _checked_inputs(inputs, "static_rnn")
    first = flatten(inputs[0])[0]
    with variable_scope(scope or "rnn") as opened:
        if initial_state is not None:
            state = map_structure(lambda x: convert(x, what="static_rnn"), initial_state)
        elif dtype is None:
            raise ValueError("static_rnn: without an initial_state, dtype must be given")
        else:
            state = cell.zero_state(first.dims[0], dtype)
        lengths = None
        if sequence_length is not None:
            lengths = _lengths(sequence_length, first, len(inputs), "static_rnn")
        outputs = []
        for time, step_inputs in enumerate(inputs):
            if time == 1:
                opened.reuse_variables()
            output, state = bounded_step(cell, step_inputs, state, time, lengths)
            outputs.append(output)
    return outputs, state


def _checked_inputs(inputs: Any, what: str) -> list:
    """The inputs of all steps as nests of tensors of one structure, each [batch, ...]."""
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"{what}: inputs must be a list with an entry a step, got {inputs!r}")
    if not inputs:
        raise ValueError(f"{what}: inputs is empty, at least one step is needed")
    steps = [map_structure(lambda x: convert(x, what=f"{what}: inputs"), step) for step in inputs]
    for step in steps[1:]:
        assert_same_structure(steps[0], step)
    for step in steps:
        for tensor in flatten(step):
            if not tensor.rank:
                reject(what, f"the inputs {tensor.name} are {tensor.tensor_type}, without a batch")
    return steps


def _lengths(sequence_length, first: Tensor, steps: int, what: str) -> Tensor:
    lengths = checked_lengths(sequence_length, steps, what)
    batch, count = first.dims[0], lengths.dims[0]
    if isinstance(batch, int) and isinstance(count, int) and batch != count:
        reject(
            what,
            f"sequence_length {lengths.name} is {lengths.tensor_type}, but the batch of "
            f"{first.name} is {batch}",
        )
    return lengths


def static_bidirectional_rnn(
    cell_fw,
    cell_bw,
    inputs: Sequence,
    initial_state_fw: Any = None,
    initial_state_bw: Any = None,
    dtype=None,
    sequence_length=None,
    scope=None,
) -> tuple[list, Any, Any]:
    """(outputs, final state forward, final state backward) of two cells over a list of inputs, one
    from the first to the last, one from each sequence's last to its first.

    Each output is both cells' outputs side by side, along the last axis. The rest is as in
    `static_rnn`; the scopes inside `scope` ("bidirectional_rnn" if None) are "fw" and "bw".
    Schuster and Paliwal 1997, "Bidirectional recurrent neural networks".
    """
    what = "static_bidirectional_rnn"
    require_cell(cell_fw, what, "cell_fw")
    require_cell(cell_bw, what, "cell_bw")
    inputs = _checked_inputs(inputs, what)
    with variable_scope(scope or "bidirectional_rnn"):
        lengths = None
        if sequence_length is not None:
            lengths = _lengths(sequence_length, flatten(inputs[0])[0], len(inputs), what)
        with variable_scope("fw") as scope_fw:
            forward, state_fw = static_rnn(
                cell_fw, inputs, initial_state_fw, dtype, lengths, scope_fw
            )
        with variable_scope("bw") as scope_bw:
            backward, state_bw = static_rnn(
                cell_bw, _reversed(inputs, lengths), initial_state_bw, dtype, lengths, scope_bw
            )
        backward = _reversed(backward, lengths)
        outputs = [
            map_structure(lambda x, y: concat([x, y], -1), x, y)
            for x, y in zip(forward, backward, strict=True)
        ]
    return outputs, state_fw, state_bw


def _reversed(steps: list, lengths: Tensor | None) -> list:
    """The steps of each sequence in reverse order; those after its end stay where they are."""
    if lengths is None:
        return steps[::-1]
    leaves = zip(*map(flatten, steps), strict=True)
    columns = [unstack(reverse_sequence(stack(leaf), lengths, 0, 1)) for leaf in leaves]
    return [pack_sequence_as(steps[0], step) for step in zip(*columns, strict=True)]
