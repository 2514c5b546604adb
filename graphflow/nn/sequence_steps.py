"""One step of a recurrence over sequences of different lengths."""

from __future__ import annotations

from typing import Any

from ..ir.node import Tensor
from ..nest import assert_same_structure, map_structure
from ..ops.convert import convert
from ..ops.creation import zeros_like
from ..ops.logic import where

__all__ = ["bounded_step", "choose_rows"]


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
    Where `time` is not below the length, the output is zeros and the state the one before. What
    the inputs hold there is never looked at: the cell sees zeros, so that not even NaN or
    infinities of a padding reach a gradient. It sees zeros in the place of the state, too: products
    of rows that are zero are not computed.
    """
    if lengths is None:
        return _stepped(cell, inputs, state)
    within = convert(time, lengths.dtype) < lengths
    inputs, seen = (
        choose_rows(within, given, map_structure(zeros_like, given)) for given in (inputs, state)
    )
    output, new_state = _stepped(cell, inputs, seen)
    output = choose_rows(within, output, map_structure(zeros_like, output))
    return output, choose_rows(within, new_state, state)


def _stepped(cell, inputs: Any, state: Any) -> tuple[Any, Any]:
    output, new_state = cell(inputs, state)
    assert_same_structure(state, new_state, check_types=False)
    return output, new_state
