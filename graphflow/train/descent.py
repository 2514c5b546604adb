"""Gradient descent, plain and with momentum, by TensorFlow 1's formulas."""

from __future__ import annotations

from ..ir.node import Node
from ..ops.indexing import gather
from ..ops.state import assign_sub, scatter_sub, scatter_update
from .optimizer import Optimizer, Rows, as_parameter, in_dtype

__all__ = ["GradientDescentOptimizer", "MomentumOptimizer"]


class GradientDescentOptimizer(Optimizer):
    """variable -= learning_rate · gradient

    learning_rate: a number, a scalar tensor, or a function that gives one.
    """

    def __init__(self, learning_rate, use_locking: bool = False, name: str = "GradientDescent"):
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate

    def _prepare(self):
        self._rate = as_parameter(self._learning_rate, "learning_rate")

    def _apply_dense(self, gradient, variable) -> Node:
        return assign_sub(variable, in_dtype(self._rate, variable.dtype) * gradient).op

    def _apply_sparse(self, rows: Rows, variable) -> Node:
        delta = in_dtype(self._rate, variable.dtype) * rows.values
        return scatter_sub(variable, rows.indices, delta).op


class MomentumOptimizer(Optimizer):
    """accumulation = momentum · accumulation + gradient
    variable -= learning_rate · accumulation

    With `use_nesterov` the variable moves by the accumulation after one more such step
    (Sutskever et al. 2013): variable -= learning_rate · (gradient + momentum · accumulation).
    Of a variable read by rows, only the rows used accumulate and move.
    """

    def __init__(
        self,
        learning_rate,
        momentum,
        use_locking: bool = False,
        name: str = "Momentum",
        use_nesterov: bool = False,
    ):
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._use_nesterov = use_nesterov

    def _create_slots(self, variables):
        for variable in variables:
            self._zeros_slot(variable, "momentum", self._name)

    def _prepare(self):
        self._rate = as_parameter(self._learning_rate, "learning_rate")
        self._decay = as_parameter(self._momentum, "momentum")

    def _step(self, accumulation, gradient, variable):
        """The new accumulation, and what is subtracted from the variable."""
        rate = in_dtype(self._rate, variable.dtype)
        decay = in_dtype(self._decay, variable.dtype)
        accumulation = decay * accumulation + gradient
        if self._use_nesterov:
            return accumulation, rate * (gradient + decay * accumulation)
        return accumulation, rate * accumulation

    def _apply_dense(self, gradient, variable) -> Node:
        slot = self._slot(variable, "momentum")
        accumulation, delta = self._step(slot.value(), gradient, variable)
        return self._together(slot.assign(accumulation), assign_sub(variable, delta))

    def _apply_sparse(self, rows: Rows, variable) -> Node:
        slot = self._slot(variable, "momentum")
        before = gather(slot.value(), rows.indices)
        accumulation, delta = self._step(before, rows.everywhere(), variable)
        moved = gather(variable.value(), rows.indices) - delta
        return self._together(
            scatter_update(slot, rows.indices, accumulation),
            scatter_update(variable, rows.indices, moved),
        )
