"""Recurrences over tensors of sequences: one loop inside the step, for any length."""

from __future__ import annotations

from typing import Any

from ..ir.node import Tensor
from ..nest import flatten, map_structure, pack_sequence_as
from ..ops.convert import convert, reject
from ..ops.creation import range as range_of
from ..ops.movement import transpose
from ..ops.reduction import reduce_max
from ..ops.sequences import checked_lengths, reverse_sequence
from ..ops.shapes import size_as_tensor
from ..scans import scan_over
from ..sizes import Dim
from ..variable_scope import variable_scope
from .rnn_cell.base import require_cell
from .sequence_steps import bounded_step

__all__ = ["bidirectional_dynamic_rnn", "dynamic_rnn"]


def dynamic_rnn(
    cell,
    inputs: Any,
    sequence_length=None,
    initial_state: Any = None,
    dtype=None,
    parallel_iterations=None,
    swap_memory=False,
    time_major=False,
    scope=None,
) -> tuple[Any, Any]:
    """(outputs, final state) of a cell applied to each step of a batch of sequences.

    inputs: [batch, time, ...], or [time, batch, ...] if `time_major`; or a nest of such. The
        outputs have the same order. Both sizes may be unknown: nothing depends on them.
    sequence_length: int32 or int64 [batch], each in [0, time]; all steps if None. After its end a
        sequence's outputs are zeros, its state is that of its last step, and what the inputs hold
        there changes nothing. Steps after the end of the longest one are not run, and products in
        steps after the end of a sequence leave it out.
    initial_state: as `cell.zero_state` gives it; zeros of `dtype` if None
    scope: the variable scope; "rnn" if None

    `parallel_iterations` and `swap_memory` are accepted and change nothing. Raises ValueError
    without a dtype where it is needed, TypeRuleError for inputs that are no sequences,
    OutOfRangeError for a length outside, at definition where lengths are constant and else in the
    run.
    """
    require_cell(cell, "dynamic_rnn")
    with variable_scope(scope or "rnn"):
        rows = map_structure(lambda x: _time_first(x, time_major, "dynamic_rnn"), inputs)
        first = flatten(rows)[0]
        time, batch = first.dims[:2]
        if initial_state is not None:
            state = map_structure(lambda x: convert(x, what="dynamic_rnn"), initial_state)
        elif dtype is None:
            raise ValueError("dynamic_rnn: without an initial_state, dtype must be given")
        else:
            state = cell.zero_state(batch, dtype)
        lengths = _lengths(sequence_length, time, batch)
        outputs, final = _recurrence(cell, rows, state, time, lengths)
        if not time_major:
            outputs = map_structure(_swapped, outputs)
    return outputs, final


def _recurrence(cell, rows: Any, state: Any, time: Dim, lengths: Tensor | None):
    def step(carried, moving):
        at, inputs = moving
        output, after = bounded_step(cell, inputs, carried, at, lengths)
        # The state keeps the containers it came in.
        return _like(state, after), output

    bound = None
    steps: Any = range_of(_size(time))
    if lengths is not None:
        bound = reduce_max(lengths)
        steps = range_of(_size(time), dtype=lengths.dtype)
    final, outputs = scan_over("dynamic_rnn", step, state, (steps, rows), time, bound=bound)
    return outputs, final


def _like(state: Any, after: Any) -> Any:
    return pack_sequence_as(state, flatten(after))


def _size(size: Dim):
    return size if isinstance(size, int) else size_as_tensor(size, "int32")


def _time_first(x, time_major: bool, what: str) -> Tensor:
    tensor = convert(x, what=what)
    if tensor.rank is None or tensor.rank < 2:
        order = "[time, batch, ...]" if time_major else "[batch, time, ...]"
        reject(what, f"the inputs {tensor.name} must be {order}, not {tensor.tensor_type}")
    return tensor if time_major else _swapped(tensor)


def _swapped(tensor: Tensor) -> Tensor:
    return transpose(tensor, [1, 0, *range(2, len(tensor.dims))])


def _lengths(sequence_length, time: Dim, batch: Dim) -> Tensor | None:
    if sequence_length is None:
        return None
    lengths = checked_lengths(sequence_length, time, "dynamic_rnn")
    count = lengths.dims[0]
    if isinstance(batch, int) and isinstance(count, int) and batch != count:
        reject(
            "dynamic_rnn",
            f"sequence_length {lengths.name} is {lengths.tensor_type}, but the batch is {batch}",
        )
    return lengths


def bidirectional_dynamic_rnn(
    cell_fw,
    cell_bw,
    inputs: Any,
    sequence_length=None,
    initial_state_fw: Any = None,
    initial_state_bw: Any = None,
    dtype=None,
    parallel_iterations=None,
    swap_memory=False,
    time_major=False,
    scope=None,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """((outputs forward, backward), (final state forward, backward)) of two cells, one going from
    the first step to the last, one from each sequence's last to its first.

    The arguments are those of `dynamic_rnn`; the scopes inside `scope` ("bidirectional_rnn" if
    None) are "fw" and "bw". Schuster and Paliwal 1997, "Bidirectional recurrent neural networks".
    """
    what = "bidirectional_dynamic_rnn"
    require_cell(cell_fw, what, "cell_fw")
    require_cell(cell_bw, what, "cell_bw")
    axis = 0 if time_major else 1

    def reversed_in_time(tensor):
        tensor = convert(tensor, what=what)
        if sequence_length is None:
            return tensor[::-1] if time_major else tensor[:, ::-1]
        return reverse_sequence(tensor, sequence_length, axis, 1 - axis)

    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as scope_fw:
            forward, state_fw = dynamic_rnn(
                cell_fw, inputs, sequence_length, initial_state_fw, dtype,
                time_major=time_major, scope=scope_fw,
            )  # fmt: skip
        with variable_scope("bw") as scope_bw:
            backward, state_bw = dynamic_rnn(
                cell_bw, map_structure(reversed_in_time, inputs), sequence_length,
                initial_state_bw, dtype, time_major=time_major, scope=scope_bw,
            )  # fmt: skip
        backward = map_structure(reversed_in_time, backward)
    return (forward, backward), (state_fw, state_bw)
