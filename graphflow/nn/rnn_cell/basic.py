"""The simple recurrent cell and the gated recurrent unit."""

from __future__ import annotations

from collections.abc import Callable

from ...initializers import Ones, Zeros
from ...ir.node import Tensor
from ...ops.joining import split
from ...ops.math import sigmoid
from ...variable_scope import variable_scope
from .base import as_activation, require_inputs, require_size
from .projecting import Linear, ProjectingCell

__all__ = ["BasicRNNCell", "GRUCell"]


class _OneState(ProjectingCell):
    """A cell of `num_units` whose output is its state."""

    def __init__(self, num_units: int, activation, reuse, name, dtype, arguments: dict):
        super().__init__(_reuse=reuse, name=name, dtype=dtype, **arguments)
        self._num_units = require_size(self._base_name, "num_units", num_units)
        self._activation = as_activation(activation, self._base_name)

    @property
    def state_size(self) -> int:
        return self._num_units

    @property
    def output_size(self) -> int:
        return self._num_units


class BasicRNNCell(_OneState):
    """h' = activation([x, h] · kernel + bias), which is the output too.

    Elman 1990, "Finding structure in time". Variables: kernel [depth + num_units, num_units],
    bias [num_units]. activation: tanh if None.
    """

    def __init__(
        self,
        num_units: int,
        activation: Callable | str | None = None,
        reuse=None,
        name: str | None = None,
        dtype=None,
        **arguments,
    ):
        super().__init__(num_units, activation, reuse, name, dtype, arguments)

    def build(self, dims) -> None:
        depth, units = require_inputs(self._base_name, dims), self._num_units
        kernel = self.add_weight("kernel", [depth + units, units])
        self._linear = Linear(kernel, self.add_weight("bias", [units], initializer=Zeros()), depth)

    def _project(self, inputs: Tensor, begin: int = 0) -> Tensor:
        return self._linear.of_inputs(inputs, begin)

    def _recur(self, projected: Tensor, state: list[Tensor]):
        output = self._activation(projected + self._linear.of_state(state[0]))
        return output, output


class GRUCell(_OneState):
    """[r, u] = sigmoid([x, h] · gates/kernel + gates/bias)
    c = activation([x, r · h] · candidate/kernel + candidate/bias)
    h' = u · h + (1 - u) · c, which is the output too.

    Cho et al. 2014, arXiv:1406.1078, equations 5 to 8, with u in the place of z. Kernels are
    [depth + num_units, 2 · num_units] and [depth + num_units, num_units]. Biases of the gates
    start at 1, so that a cell begins by keeping its state. activation: tanh if None.
    """

    def __init__(
        self,
        num_units: int,
        activation: Callable | str | None = None,
        reuse=None,
        kernel_initializer=None,
        bias_initializer=None,
        name: str | None = None,
        dtype=None,
        **arguments,
    ):
        super().__init__(num_units, activation, reuse, name, dtype, arguments)
        self._kernel_initializer, self._bias_initializer = kernel_initializer, bias_initializer

    def build(self, dims) -> None:
        depth, units = require_inputs(self._base_name, dims), self._num_units
        self._gates = self._part("gates", depth, 2 * units, Ones())
        self._candidate = self._part("candidate", depth, units, Zeros())

    def _part(self, name: str, depth: int, size: int, bias_initializer) -> Linear:
        with variable_scope(name, auxiliary_name_scope=False):
            kernel = self.add_weight(
                "kernel", [depth + self._num_units, size], initializer=self._kernel_initializer
            )
            bias = self.add_weight(
                "bias", [size], initializer=self._bias_initializer or bias_initializer
            )
        return Linear(kernel, bias, depth)

    def _project(self, inputs: Tensor, begin: int = 0) -> tuple[Tensor, Tensor]:
        return self._gates.of_inputs(inputs, begin), self._candidate.of_inputs(inputs, begin)

    def _recur(self, projected: tuple[Tensor, Tensor], state: list[Tensor]):
        gates, candidate = projected
        (hidden,) = state
        reset, update = split(sigmoid(gates + self._gates.of_state(hidden)), 2, axis=1)
        candidate = self._activation(candidate + self._candidate.of_state(reset * hidden))
        output = update * hidden + (1 - update) * candidate
        return output, output
