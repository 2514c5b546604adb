"""Optimizers that adapt the step of every element, by TensorFlow 1's formulas.

Of a variable read by rows, the rows used change, and no others; Adam is the exception, see there.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..initializers import Constant, Ones
from ..ir.graph import get_default_graph
from ..ir.node import Node, Tensor
from ..ops.arithmetic import pow as power
from ..ops.arithmetic import square
from ..ops.creation import zeros_like
from ..ops.effects import group
from ..ops.indexing import gather
from ..ops.logic import where
from ..ops.math import abs as absolute
from ..ops.math import rsqrt, sign, sqrt
from ..ops.state import assign_sub, scatter_add, scatter_update
from .optimizer import Optimizer, Rows, as_parameter, in_dtype

__all__ = [
    "AdadeltaOptimizer",
    "AdagradOptimizer",
    "AdamOptimizer",
    "AdamWOptimizer",
    "FtrlOptimizer",
    "RMSPropOptimizer",
]


class _ByElement(Optimizer):
    """An optimizer whose rule is one function of an element, its slots and its gradient."""

    slot_names: tuple[str, ...]

    def _step(self, variable, gradient: Tensor, value: Tensor, slots: list[Tensor]):
        """The variable's change (to be subtracted) and the new values of the slots."""
        raise NotImplementedError

    def _apply_dense(self, gradient, variable) -> Node:
        slots = [self._slot(variable, name) for name in self.slot_names]
        delta, news = self._step(variable, gradient, variable.value(), [s.value() for s in slots])
        writes = [slot.assign(new) for slot, new in zip(slots, news, strict=True)]
        return self._together(*writes, assign_sub(variable, delta))

    def _apply_sparse(self, rows: Rows, variable) -> Node:
        slots = [self._slot(variable, name) for name in self.slot_names]
        value = gather(variable.value(), rows.indices)
        before = [gather(slot.value(), rows.indices) for slot in slots]
        delta, news = self._step(variable, rows.everywhere(), value, before)
        writes = [
            scatter_update(slot, rows.indices, new) for slot, new in zip(slots, news, strict=True)
        ]
        return self._together(*writes, scatter_update(variable, rows.indices, value - delta))


class AdagradOptimizer(_ByElement):
    """accumulator += gradient²
    variable -= learning_rate · gradient / sqrt(accumulator)

    Duchi et al. 2011. The accumulator starts at `initial_accumulator_value`, which is positive.
    """

    slot_names = ("accumulator",)

    def __init__(
        self,
        learning_rate,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
    ):
        if initial_accumulator_value <= 0:
            raise ValueError(
                f"initial_accumulator_value must be positive: {initial_accumulator_value}"
            )
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial = initial_accumulator_value

    def _create_slots(self, variables):
        for v in variables:
            self._get_or_make_slot_with_initializer(
                v, Constant(self._initial), v.dims, v.dtype, "accumulator", self._name
            )

    def _prepare(self):
        self._rate = as_parameter(self._learning_rate, "learning_rate")

    def _step(self, variable, gradient, value, slots):
        accumulator = slots[0] + square(gradient)
        rate = in_dtype(self._rate, variable.dtype)
        return rate * gradient * rsqrt(accumulator), [accumulator]


class AdadeltaOptimizer(_ByElement):
    """accum = rho · accum + (1 - rho) · gradient²
    update = sqrt(accum_update + epsilon) / sqrt(accum + epsilon) · gradient
    accum_update = rho · accum_update + (1 - rho) · update²
    variable -= learning_rate · update

    Zeiler 2012, arXiv:1212.5701.
    """

    slot_names = ("accum", "accum_update")

    def __init__(
        self,
        learning_rate=0.001,
        rho=0.95,
        epsilon=1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
    ):
        super().__init__(use_locking, name)
        self._learning_rate, self._rho, self._epsilon = learning_rate, rho, epsilon

    def _create_slots(self, variables):
        for v in variables:
            for name in self.slot_names:
                self._zeros_slot(v, name, self._name)

    def _prepare(self):
        self._rate = as_parameter(self._learning_rate, "learning_rate")
        self._rho_now = as_parameter(self._rho, "rho")
        self._epsilon_now = as_parameter(self._epsilon, "epsilon")

    def _step(self, variable, gradient, value, slots):
        rate, rho, epsilon = (
            in_dtype(x, variable.dtype) for x in (self._rate, self._rho_now, self._epsilon_now)
        )
        accum = rho * slots[0] + (1 - rho) * square(gradient)
        update = sqrt(slots[1] + epsilon) * rsqrt(accum + epsilon) * gradient
        accum_update = rho * slots[1] + (1 - rho) * square(update)
        return rate * update, [accum, accum_update]


class RMSPropOptimizer(_ByElement):
    """mean_square = decay · mean_square + (1 - decay) · gradient²
    step = momentum · step + learning_rate · gradient / sqrt(mean_square + epsilon)
    variable -= step

    `centered` subtracts the squared mean of the gradient from mean_square under the root: the
    estimated variance (Graves 2013, arXiv:1308.0850, eq. 38-45). mean_square starts at 1.
    """

    def __init__(
        self,
        learning_rate,
        decay=0.9,
        momentum=0.0,
        epsilon=1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ):
        super().__init__(use_locking, name)
        self._learning_rate, self._decay = learning_rate, decay
        self._momentum, self._epsilon = momentum, epsilon
        self._centered = centered
        self.slot_names = ("rms", "momentum", "mg") if centered else ("rms", "momentum")

    def _create_slots(self, variables):
        for v in variables:
            self._get_or_make_slot_with_initializer(
                v, Ones(v.dtype), v.dims, v.dtype, "rms", f"{self._name}"
            )
            if self._centered:
                self._zeros_slot(v, "mg", self._name)
            self._zeros_slot(v, "momentum", self._name)

    def _prepare(self):
        self._now = [
            as_parameter(self._learning_rate, "learning_rate"),
            as_parameter(self._decay, "decay"),
            as_parameter(self._momentum, "momentum"),
            as_parameter(self._epsilon, "epsilon"),
        ]

    def _step(self, variable, gradient, value, slots):
        rate, decay, momentum, epsilon = (in_dtype(x, variable.dtype) for x in self._now)
        rms = slots[0] + (square(gradient) - slots[0]) * (1 - decay)
        news, spread = [rms], rms
        if self._centered:
            mean = slots[2] + (gradient - slots[2]) * (1 - decay)
            spread = rms - square(mean)
        step = momentum * slots[1] + rate * gradient * rsqrt(spread + epsilon)
        news.append(step)
        if self._centered:
            news.append(mean)
        return step, news


class FtrlOptimizer(_ByElement):
    """Follow the regularised leader (McMahan et al. 2013, "Ad click prediction", algorithm 1).

    accum' = accum + gradient²
    linear += gradient - (accum'^-p - accum^-p) / learning_rate · variable    (p: the power, <= 0)
    variable = (sign(linear) · l1 - linear) / (accum'^-p / learning_rate + 2 · l2)
               where |linear| > l1, else 0

    A shrinkage of `l2_shrinkage_regularization_strength` s adds 2 · s · variable to the gradient
    that enters `linear`.
    """

    slot_names = ("accum", "linear")

    def __init__(
        self,
        learning_rate,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "Ftrl",
        accum_name: str | None = None,
        linear_name: str | None = None,
        l2_shrinkage_regularization_strength: float = 0.0,
    ):
        super().__init__(use_locking, name)
        for what, number in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("-learning_rate_power", -learning_rate_power),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if number < 0:
                raise ValueError(f"FtrlOptimizer: {what} must not be negative, got {number}")
        self._learning_rate = learning_rate
        self._power = learning_rate_power
        self._initial = initial_accumulator_value
        self._l1, self._l2 = l1_regularization_strength, l2_regularization_strength
        self._shrinkage = l2_shrinkage_regularization_strength
        self._names = (accum_name or name, linear_name or f"{name}_1")

    def _create_slots(self, variables):
        for v in variables:
            self._get_or_make_slot_with_initializer(
                v, Constant(self._initial), v.dims, v.dtype, "accum", self._names[0]
            )
            self._zeros_slot(v, "linear", self._names[1])

    def _prepare(self):
        self._rate = as_parameter(self._learning_rate, "learning_rate")

    def _step(self, variable, gradient, value, slots):
        accum, linear = slots
        rate = in_dtype(self._rate, variable.dtype)
        accum_new = accum + square(gradient)

        def raised(x):
            return sqrt(x) if self._power == -0.5 else power(x, -self._power)

        shrunk = gradient + 2 * self._shrinkage * value if self._shrinkage else gradient
        linear_new = linear + shrunk - (raised(accum_new) - raised(accum)) / rate * value
        quadratic = raised(accum_new) / rate + 2 * self._l2
        moved = (sign(linear_new) * self._l1 - linear_new) / quadratic
        new = where(absolute(linear_new) > self._l1, moved, zeros_like(moved))
        return value - new, [accum_new, linear_new]


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
        rate, beta1, beta2, epsilon = self._parameters(variable)
        m, v = self._slot(variable, "m"), self._slot(variable, "v")
        total = rows.once()
        with get_default_graph().control_dependencies([m.assign(m.value() * beta1)]):
            m_now = scatter_add(m, rows.indices, total * (1 - beta1))
        with get_default_graph().control_dependencies([v.assign(v.value() * beta2)]):
            v_now = scatter_add(v, rows.indices, square(total) * (1 - beta2))
        delta = rate * m_now / (sqrt(v_now) + epsilon)
        return self._together(m_now, v_now, assign_sub(variable, delta))

    def _finish(self, updates, name) -> Node:
        with get_default_graph().control_dependencies(updates):
            power1, power2 = self._get_beta_accumulators()
            beta1, beta2 = self._now[:2]
            next1 = power1.assign(power1.value() * in_dtype(beta1, power1.dtype))
            next2 = power2.assign(power2.value() * in_dtype(beta2, power2.dtype))
        return group(*updates, next1, next2, name=name)


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
