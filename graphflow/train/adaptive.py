"""Optimizers that adapt the step of every element, by TensorFlow 1's formulas.

Of a variable read by rows, the rows used change, and no others. Adam is in adam.py.
"""

from __future__ import annotations

from ..initializers import Constant, Ones
from ..ir.node import Node, Tensor
from ..ops.arithmetic import pow as power
from ..ops.arithmetic import square
from ..ops.creation import zeros_like
from ..ops.indexing import gather
from ..ops.logic import where
from ..ops.math import abs as absolute
from ..ops.math import rsqrt, sign, sqrt
from ..ops.state import assign_sub, scatter_update
from .optimizer import Optimizer, Rows, as_parameter, in_dtype

__all__ = [
    "AdadeltaOptimizer",
    "AdagradOptimizer",
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
