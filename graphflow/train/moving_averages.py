"""Averages of variables and tensors over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import TypeRuleError
from ..framework import name_scope
from ..initializers import Zeros, static_shape
from ..ir.graph import GraphKeys, get_default_graph
from ..ir.node import Node, Tensor
from ..ops.arithmetic import minimum
from ..ops.arithmetic import pow as power
from ..ops.convert import convert
from ..ops.effects import group
from ..ops.variables import (
    Variable,
    global_variables,
    moving_average_variables,
    trainable_variables,
)
from .optimizer import in_dtype
from .slots import create_slot

__all__ = ["ExponentialMovingAverage", "assign_moving_average"]


def assign_moving_average(
    variable: Variable, value, decay, zero_debias: bool = False, name=None
) -> Tensor:
    """variable -= (1 - decay) · (variable - value); gives the variable's new value.

    zero_debias: the variable starts at zero, which the average is corrected for: it is divided
        by 1 - decay^t (Kingma and Ba 2014, arXiv:1412.6980, section 3).
    """
    with name_scope(name, "AssignMovingAvg") as scope:
        value = convert(value, variable.dtype, what="assign_moving_average")
        rest = 1 - in_dtype(decay, variable.dtype)
        if not zero_debias:
            return variable.assign_sub((variable.value() - value) * rest, name=scope)
        biased = create_slot(variable, Zeros()(variable.dims, variable.dtype), "biased")
        steps = create_slot(variable, Zeros()((), variable.dtype), "local_step")
        average = biased.assign_sub((biased.value() - value) * rest)
        count = steps.assign_add(convert(1, variable.dtype))
        return variable.assign(average / (1 - power(1 - rest, count)), name=scope)


class ExponentialMovingAverage:
    """Keeps moving averages of variables: shadow = decay · shadow + (1 - decay) · variable.

    num_updates: a count of steps; the decay is then min(decay, (1 + n) / (10 + n)), so that early
        averages follow faster.
    zero_debias: corrects averages of tensors (not of variables) for starting at zero.
    """

    def __init__(
        self,
        decay,
        num_updates=None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ):
        self._decay = decay
        self._num_updates = num_updates
        self._zero_debias = zero_debias
        self._name = name
        self._averages: dict[Variable | Tensor, Variable] = {}

    @property
    def name(self) -> str:
        return self._name

    def apply(self, var_list: Iterable | None = None) -> Node:
        """The operation that updates the averages of `var_list` (None: all trainable variables).

        The average of a variable starts at its initial value, that of a tensor at zero. Averages
        are global variables, named "w/ExponentialMovingAverage".
        """
        items = trainable_variables() if var_list is None else list(var_list)
        for item in items:
            if not item.dtype.is_floating:
                raise TypeRuleError(f"{item.name} is {item.dtype}; only floats have averages")
            if item in self._averages:
                raise ValueError(f"moving average already computed for: {item.name}")
            self._averages[item] = self._shadow(item)
        graph = get_default_graph()
        with graph.name_scope(self._name) as scope:
            decay = convert(self._decay)
            if self._num_updates is not None:
                count = in_dtype(self._num_updates, decay.dtype)
                decay = minimum(decay, (1 + count) / (10 + count))
            updates = []
            for item in items:
                debias = self._zero_debias and isinstance(item, Tensor)
                updates.append(assign_moving_average(self._averages[item], item, decay, debias).op)
            return group(*updates, name=scope)

    def _shadow(self, item) -> Variable:
        if isinstance(item, Variable):
            shadow = create_slot(item, item.initialized_value(), self._name)
            get_default_graph().add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, item)
            return shadow
        dims = static_shape(item.dims, f"{item.name}: an average needs a known shape")
        return create_slot(item, Zeros()(dims, item.dtype), self._name)

    def average(self, var) -> Variable | None:
        """The variable that holds the average of `var`, or None."""
        return self._averages.get(var)

    def average_name(self, var) -> str:
        """The name of the average of `var`, which need not exist yet."""
        if var in self._averages:
            return self._averages[var].op.name
        return f"{var.op.name}/{self._name}"

    def variables_to_restore(self, moving_avg_variables: Iterable | None = None) -> dict:
        """{name in a checkpoint: variable} to restore variables from their saved averages."""
        if moving_avg_variables is None:
            moving_avg_variables = [*trainable_variables(), *moving_average_variables()]
        averaged = dict.fromkeys(moving_avg_variables)
        result = {self.average_name(v): v for v in averaged}
        for variable in global_variables():
            if variable not in averaged:
                result.setdefault(variable.op.name, variable)
        return result
