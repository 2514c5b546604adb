"""Cells on top of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...framework import name_scope
from ...nest import flatten, is_nested, structure_text
from ...ops.convert import as_known_int, convert, reject
from ...ops.joining import concat, split
from ...variable_scope import variable_scope
from .base import RNNCell, projected_by, require_cell

__all__ = ["MultiRNNCell"]


class MultiRNNCell(RNNCell):
    """Layers of cells, each of which gets the output of the one before it as inputs.

    cells: at least one. A cell that occurs twice shares its variables with itself, which needs
        inputs of the same depth. state_is_tuple: the state is a tuple with each cell's; if False,
        one tensor with all of them along the columns, and no cell may have a nested state.

    The variables of cell n are in the scope cell_n.
    """

    def __init__(self, cells: Sequence[RNNCell], state_is_tuple: bool = True):
        super().__init__()
        if not isinstance(cells, (list, tuple)):
            raise TypeError(f"multi_rnn_cell: cells must be a list or tuple, got {cells!r}")
        if not cells:
            raise ValueError("multi_rnn_cell: cells is empty, at least one is needed")
        for number, cell in enumerate(cells):
            require_cell(cell, "multi_rnn_cell", f"cells[{number}]")
        self._cells = list(cells)
        self._state_is_tuple = state_is_tuple
        if not state_is_tuple and any(is_nested(cell.state_size) for cell in cells):
            text = structure_text(tuple(cell.state_size for cell in cells))
            raise ValueError(f"multi_rnn_cell: states {text} are nested; use state_is_tuple=True")

    @property
    def state_size(self) -> Any:
        sizes = tuple(cell.state_size for cell in self._cells)
        return sizes if self._state_is_tuple else sum(self._widths())

    def _widths(self) -> list[int]:
        return [as_known_int(cell.state_size, "multi_rnn_cell") for cell in self._cells]

    @property
    def output_size(self) -> Any:
        return self._cells[-1].output_size

    def zero_state(self, batch_size, dtype) -> Any:
        if not self._state_is_tuple:
            return super().zero_state(batch_size, dtype)
        with name_scope(None, f"{type(self).__name__}ZeroState"):
            return tuple(cell.zero_state(batch_size, dtype) for cell in self._cells)

    def call(self, inputs, state):
        return self._through(self._cells[0], inputs, state)

    def project_inputs(self, inputs, scope=None) -> Any:
        own = type(self)
        if own.call is not MultiRNNCell.call or own.__call__ is not RNNCell.__call__:
            return None  # a subclass has a step of its own
        with self._entered(scope, custom_getter=self._counted), variable_scope("cell_0"):
            return projected_by(self._cells[0], inputs)

    def advance(self, projected, state, scope=None) -> Any:
        with self._entered(scope, custom_getter=self._counted):
            stepped = self._through(self._cells[0].advance, projected, state)
            self.built = True  # not before: the first step makes the other cells' variables
        return stepped

    def _through(self, first: Callable, inputs, state):
        """(output, new state) of one step, in which `first` is called for the first cell."""
        states = self._split(state, flatten(inputs)[0].dtype)
        steps = [first, *self._cells[1:]]
        new_states = []
        for number, (step, step_state) in enumerate(zip(steps, states, strict=True)):
            with variable_scope(f"cell_{number}"):
                inputs, new_state = step(inputs, step_state)
            new_states.append(new_state)
        return inputs, tuple(new_states) if self._state_is_tuple else concat(new_states, 1)

    def _split(self, state, dtype) -> Sequence[Any]:
        if not self._state_is_tuple:
            widths = self._widths()
            tensor = convert(state, dtype, what="multi_rnn_cell: the state")
            if tensor.rank != 2 or tensor.dims[1] != sum(widths):
                reject(
                    "multi_rnn_cell",
                    f"the state {tensor.name} is {tensor.tensor_type}; it must be "
                    f"[batch,{sum(widths)}]",
                )
            return split(tensor, widths, axis=1)
        if not isinstance(state, (list, tuple)) or len(state) != len(self._cells):
            reject(
                "multi_rnn_cell",
                f"the state must have a part for each of {len(self._cells)} cells, "
                f"got {structure_text(state)}",
            )
        return state
