"""One step of a recurrence over sequences of different lengths."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..ir.node import Tensor
from ..nest import assert_same_structure, map_structure
from ..ops.convert import convert
from ..ops.creation import zeros_like
from ..ops.logic import where

__all__ = ["bounded_step", "choose_rows", "step_where", "zeros_elsewhere"]


def choose_rows(rows: Tensor, new: Any, old: Any) -> Any:
    """For each leaf of two nests [batch, ...] the new value where `rows`, bool [batch], holds, and
    else the old one. A leaf without a batch (a scalar) is the new one."""

    def choose(x, y) -> Tensor:
        x = convert(x)
        return where(rows, x, y) if x.rank else x

    return map_structure(choose, new, old, check_types=False)


def bounded_step(cell, inputs: Any, state: Any, time, lengths: Tensor | None) -> tuple[Any, Any]:
    """(output, new state) of a cell at `time`, for sequences that may have ended.

    time: an int or an integer scalar. lengths: [batch], or None where no sequence ends.
    Where `time` is not below the length, the output is zeros and the state the one before.
    """
    if lengths is None:
        return _stepped(cell, inputs, state)
    within = convert(time, lengths.dtype) < lengths
    return step_where(within, partial(_stepped, cell), inputs, state)


def step_where(rows: Tensor, step: Callable, inputs: Any, state: Any) -> tuple[Any, Any]:
    """(output, new state) of step(inputs, state) where `rows`, bool [batch], holds; elsewhere
    zeros, and the state as it is.

    What is in the inputs of other rows is never looked at: `step` sees zeros in them, so that not
    even NaN or infinities of a padding reach a gradient. It sees zeros in their state, too, since
    products of rows that are zero are not computed (`passes/rewrite/dead_rows.py`).
    """
    output, new_state = step(zeros_elsewhere(rows, inputs), zeros_elsewhere(rows, state))
    return zeros_elsewhere(rows, output), choose_rows(rows, new_state, state)


def zeros_elsewhere(rows: Tensor, values: Any) -> Any:
    """For each leaf of a nest [batch, ...] its values where `rows`, bool [batch], holds, else
    zeros."""
    return choose_rows(rows, values, map_structure(zeros_like, values))


def _stepped(cell, inputs: Any, state: Any) -> tuple[Any, Any]:
    output, new_state = cell(inputs, state)
    assert_same_structure(state, new_state, check_types=False)
    return output, new_state
