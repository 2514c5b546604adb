"""Long short-term memory, with and without peepholes, clipping and projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...initializers import Zeros
from ...ir.node import Tensor
from ...ops.contraction import matmul
from ...ops.convert import reject
from ...ops.joining import concat, split
from ...ops.math import clip_by_value, sigmoid
from ...ops.variables import Variable
from ...variable_scope import variable_scope
from .base import as_activation, require_inputs, require_size
from .projecting import Linear, ProjectingCell

__all__ = ["BasicLSTMCell", "LSTMCell", "LSTMStateTuple"]


class LSTMStateTuple(NamedTuple):
    """The state of an LSTM cell: the memory c and the output h of the step before."""

    c: Any
    h: Any

    @property
    def dtype(self):
        if self.c.dtype is not self.h.dtype:
            reject("LSTMStateTuple", f"c is {self.c.dtype} and h is {self.h.dtype}")
        return self.c.dtype


class LSTMCell(ProjectingCell):
    """[i, j, f, o] = [x, h] · kernel + bias
    c' = sigmoid(f + forget_bias + w_f_diag · c) · c + sigmoid(i + w_i_diag · c) · activation(j)
    h' = sigmoid(o + w_o_diag · c') · activation(c') · projection/kernel, which is the output too.

    Hochreiter and Schmidhuber 1997; forget gates: Gers et al. 2000, "Learning to forget"; the w
    (`use_peepholes`): Gers and Schmidhuber 2000, "Recurrent nets that time and count"; projection
    (`num_proj`) and the whole: Sak et al. 2014, arXiv:1402.1128, equations 1 to 6.

    kernel: [depth + size of h, 4 · num_units]; bias: [4 · num_units], zeros at first;
    w_f_diag, w_i_diag, w_o_diag: [num_units]; projection/kernel: [num_units, num_proj].
    cell_clip, proj_clip: c' and the projected h' are limited to [-clip, clip].
    forget_bias: added to f, so that a cell begins by keeping what it has (Jozefowicz et al. 2015).
    initializer: of all but the bias; the scope's, or Glorot's uniform one, if None.
    activation: tanh if None. num_unit_shards, num_proj_shards: accepted, and mean nothing.
    state_is_tuple: the state is an LSTMStateTuple; if False, [batch, size of c + size of h].
    """

    def __init__(
        self,
        num_units: int,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        initializer=None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        num_unit_shards=None,
        num_proj_shards=None,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Callable | str | None = None,
        reuse=None,
        name: str | None = None,
        dtype=None,
        **arguments,
    ):
        super().__init__(_reuse=reuse, name=name, dtype=dtype, **arguments)
        what = self._base_name
        self._num_units = require_size(what, "num_units", num_units)
        self._num_proj = None if num_proj is None else require_size(what, "num_proj", num_proj)
        self._use_peepholes = use_peepholes
        self._cell_clip = _limit(what, "cell_clip", cell_clip)
        self._proj_clip = _limit(what, "proj_clip", proj_clip)
        self._initializer, self._forget_bias = initializer, forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = as_activation(activation, what)
        self._peepholes: dict[str, Variable] = {}
        self._projection: Variable | None = None

    @property
    def state_size(self) -> LSTMStateTuple | int:
        size = LSTMStateTuple(self._num_units, self.output_size)
        return size if self._state_is_tuple else sum(size)

    @property
    def output_size(self) -> int:
        return self._num_proj or self._num_units

    def build(self, dims) -> None:
        depth, units = require_inputs(self._base_name, dims), self._num_units
        kernel = self.add_weight(
            "kernel", [depth + self.output_size, 4 * units], initializer=self._initializer
        )
        bias = self.add_weight("bias", [4 * units], initializer=Zeros())
        self._linear = Linear(kernel, bias, depth)
        for gate in "fio" if self._use_peepholes else "":
            self._peepholes[gate] = self.add_weight(
                f"w_{gate}_diag", [units], initializer=self._initializer
            )
        if self._num_proj is not None:
            with variable_scope("projection", auxiliary_name_scope=False):
                self._projection = self.add_weight(
                    "kernel", [units, self._num_proj], initializer=self._initializer
                )

    def _project(self, inputs: Tensor, begin: int = 0) -> Tensor:
        return self._linear.of_inputs(inputs, begin)

    def _recur(self, projected: Tensor, state: list[Tensor]):
        if not self._state_is_tuple:
            state = split(state[0], [self._num_units, self.output_size], axis=1)
        memory, hidden = state
        i, j, f, o = split(projected + self._linear.of_state(hidden), 4, axis=1)
        forget = sigmoid(self._seen("f", f + self._forget_bias, memory))
        new = sigmoid(self._seen("i", i, memory)) * self._activation(j)
        memory = _clipped(forget * memory + new, self._cell_clip)
        hidden = sigmoid(self._seen("o", o, memory)) * self._activation(memory)
        if self._projection is not None:
            hidden = _clipped(matmul(hidden, self._projection), self._proj_clip)
        if self._state_is_tuple:
            return hidden, LSTMStateTuple(memory, hidden)
        return hidden, concat([memory, hidden], 1)

    def _seen(self, gate: str, value: Tensor, memory: Tensor) -> Tensor:
        """A gate's value before the sigmoid, with what it sees of the memory."""
        weights = self._peepholes.get(gate)
        return value if weights is None else value + weights * memory


class BasicLSTMCell(LSTMCell):
    """`LSTMCell` without peepholes, clipping and projection."""

    def __init__(
        self,
        num_units: int,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Callable | str | None = None,
        reuse=None,
        name: str | None = None,
        dtype=None,
        **arguments,
    ):
        super().__init__(
            num_units, forget_bias=forget_bias, state_is_tuple=state_is_tuple,
            activation=activation, reuse=reuse, name=name, dtype=dtype, **arguments,
        )  # fmt: skip


def _limit(what: str, argument: str, value) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or value < 0:
        reject(what, f"{argument} must be a number that is not negative, got {value!r}")
    return float(value)


def _clipped(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else clip_by_value(x, -limit, limit)
