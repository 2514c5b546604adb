"""Adam and its relatives, by TensorFlow 1's formulas."""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.graph import get_default_graph
from ..ir.node import Node
from ..ops.arithmetic import square
from ..ops.effects import group
from ..ops.indexing import gather
from ..ops.math import sqrt
from ..ops.state import assign_sub, scatter_update
from .optimizer import Optimizer, Rows, as_parameter, in_dtype

__all__ = ["AdamOptimizer", "AdamWOptimizer", "LazyAdamOptimizer"]


class AdamOptimizer(Optimizer):
    """rate = learning_rate · sqrt(1 - beta2^t) / (1 - beta1^t)
    m = beta1 · m + (1 - beta1) · gradient
    v = beta2 · v + (1 - beta2) · gradient²
    variable -= rate · m / (sqrt(v) + epsilon)

    Kingma and Ba 2014, arXiv:1412.6980, as reformulated before section 2.1: epsilon there is
    "epsilon hat". Of a variable read by rows, m and v of all rows decay and all rows move, as in
    TensorFlow 1: a row that is not used still follows its momentum.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        use_locking: bool = False,
        name: str = "Adam",
    ):
        super().__init__(use_locking, name)
        self._learning_rate, self._epsilon = learning_rate, epsilon
        self._beta1, self._beta2 = beta1, beta2

    def _get_beta_accumulators(self):
        """The variables that hold beta1^t and beta2^t."""
        return (
            self._get_non_slot_variable("beta1_power"),
            self._get_non_slot_variable("beta2_power"),
        )

    def _create_slots(self, variables):
        first = min(variables, key=lambda v: v.name)
        for beta, name in ((self._beta1, "beta1_power"), (self._beta2, "beta2_power")):
            value = as_parameter(beta, name)
            self._create_non_slot_variable(in_dtype(value, first.dtype), name)
        for v in variables:
            self._zeros_slot(v, "m", self._name)
            self._zeros_slot(v, "v", self._name)

    def _prepare(self):
        self._now = [
            as_parameter(self._beta1, "beta1"),
            as_parameter(self._beta2, "beta2"),
            as_parameter(self._epsilon, "epsilon"),
        ]
        rate = as_parameter(self._learning_rate, "learning_rate")
        power1, power2 = (p.value() for p in self._get_beta_accumulators())
        self._rate = in_dtype(rate, power1.dtype) * sqrt(1 - power2) / (1 - power1)

    def _parameters(self, variable):
        return [in_dtype(x, variable.dtype) for x in (self._rate, *self._now)]

    def _apply_dense(self, gradient, variable) -> Node:
        rate, beta1, beta2, epsilon = self._parameters(variable)
        m, v = self._slot(variable, "m"), self._slot(variable, "v")
        m_before, v_before = m.value(), v.value()
        m_now = m_before + (gradient - m_before) * (1 - beta1)
        v_now = v_before + (square(gradient) - v_before) * (1 - beta2)
        delta = rate * m_now / (sqrt(v_now) + epsilon)
        return self._together(m.assign(m_now), v.assign(v_now), assign_sub(variable, delta))

    def _apply_sparse(self, rows: Rows, variable) -> Node:
        return self._apply_dense(rows.dense(), variable)

    def _finish(self, updates, name) -> Node:
        with get_default_graph().control_dependencies(updates):
            power1, power2 = self._get_beta_accumulators()
            beta1, beta2 = self._now[:2]
            next1 = power1.assign(power1.value() * in_dtype(beta1, power1.dtype))
            next2 = power2.assign(power2.value() * in_dtype(beta2, power2.dtype))
        return group(*updates, next1, next2, name=name)


class LazyAdamOptimizer(AdamOptimizer):
    """Adam whose rows that are not used stay as they are, with their m and v: of a large table a
    step touches the rows used alone. Dense gradients follow `AdamOptimizer`.

    TensorFlow 1's contrib.opt.LazyAdamOptimizer. What it computes differs from Adam, where a row
    that is not used moves on and forgets: here its m and v keep what they were when it last was.
    """

    def _apply_sparse(self, rows: Rows, variable) -> Node:
        rate, beta1, beta2, epsilon = self._parameters(variable)
        m, v = self._slot(variable, "m"), self._slot(variable, "v")
        gradient = rows.everywhere()
        m_before, v_before = gather(m.value(), rows.indices), gather(v.value(), rows.indices)
        m_now = m_before + (gradient - m_before) * (1 - beta1)
        v_now = v_before + (square(gradient) - v_before) * (1 - beta2)
        delta = rate * m_now / (sqrt(v_now) + epsilon)
        value = gather(variable.value(), rows.indices)
        return self._together(
            scatter_update(m, rows.indices, m_now),
            scatter_update(v, rows.indices, v_now),
            scatter_update(variable, rows.indices, value - delta),
        )


class AdamWOptimizer(AdamOptimizer):
    """Adam with decoupled weight decay: variable -= weight_decay · variable, then Adam's step.

    Loshchilov and Hutter 2017, arXiv:1711.05101, as TensorFlow 1's contrib.opt.AdamWOptimizer: the
    decay is not multiplied by the learning rate.

    weight_decay: a number, a scalar tensor, or a function that gives one.
    `minimize` and `apply_gradients` take `decay_var_list`: the variables to decay; all if None.
    """

    def __init__(
        self,
        weight_decay,
        learning_rate=0.001,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        use_locking: bool = False,
        name: str = "AdamW",
    ):
        super().__init__(learning_rate, beta1, beta2, epsilon, use_locking, name)
        self._weight_decay = weight_decay
        self._decayed: set | None = None

    def minimize(self, loss, *args, decay_var_list: Iterable | None = None, **arguments) -> Node:
        self._decayed = set(decay_var_list) if decay_var_list is not None else None
        return super().minimize(loss, *args, **arguments)

    def apply_gradients(
        self, grads_and_vars, global_step=None, name=None, decay_var_list: Iterable | None = None
    ) -> Node:
        if decay_var_list is not None:
            self._decayed = set(decay_var_list)
        return super().apply_gradients(grads_and_vars, global_step, name)

    def _update(self, gradient, variable) -> Node:
        if self._decayed is not None and variable not in self._decayed:
            return super()._update(gradient, variable)
        decay = in_dtype(as_parameter(self._weight_decay, "weight_decay"), variable.dtype)
        decayed = assign_sub(variable, decay * variable.value())
        with get_default_graph().control_dependencies([decayed]):
            return super()._update(gradient, variable)
