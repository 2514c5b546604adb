"""Cells whose step begins with a linear map of the inputs."""

from __future__ import annotations

from typing import Any

from ...ir.node import Tensor
from ...nest import flatten
from ...ops.contraction import matmul, tensordot
from ...ops.convert import convert, reject
from ...ops.variables import Variable
from .base import RNNCell, require_inputs, require_state

__all__ = ["Linear", "ProjectingCell"]


class ProjectingCell(RNNCell):
    """A cell whose `call` is `_recur` of what `_project` makes of its inputs."""

    def _project(self, inputs: Tensor, begin: int = 0) -> Any:
        """What a step needs of inputs [..., depth]; or of some that stand at `begin` of those."""
        raise NotImplementedError

    def _recur(self, projected: Any, state: list[Tensor]) -> Any:
        """(output, new state) from that part of one step, and the tensors of a state."""
        raise NotImplementedError

    def call(self, inputs: Tensor, state):
        require_inputs(self._base_name, inputs.dims)
        parts = require_state(self._base_name, state, self.state_size, inputs)
        return self._recur(self._project(inputs), parts)

    def project_inputs(self, inputs, scope=None) -> Any:
        if self._steps_otherwise():
            return None
        inputs = convert(inputs, what=self._base_name)
        if inputs.rank is None or inputs.rank < 2:
            reject(
                self._base_name, f"the inputs {inputs.name} are {inputs.tensor_type}, not [..., d]"
            )
        with self._used(inputs.dims[-2:], inputs.dtype, scope):
            return self._project(inputs)

    def project_part(self, part, begin: int, depth: int, scope=None) -> Any:
        """What steps need of `part` [..., n], which stands at `begin` of inputs [..., depth]. The
        sum over parts beside each other is `project_inputs` of them all; the bias comes with the
        first one. None where the cell's steps have no such part."""
        if self._steps_otherwise():
            return None
        part = convert(part, what=self._base_name)
        if part.rank is None or part.rank < 2 or not isinstance(part.dims[-1], int):
            reject(self._base_name, f"a part of the inputs is [..., n] with a known n, {part.name} "
                                    f"is {part.tensor_type}")  # fmt: skip
        if not 0 <= begin <= depth - part.dims[-1]:
            reject(self._base_name, f"{part.dims[-1]} values from {begin} on are no part of inputs "
                                    f"[..., {depth}]")  # fmt: skip
        with self._used((*part.dims[-2:-1], depth), part.dtype, scope):
            return self._project(part, begin)

    def _steps_otherwise(self) -> bool:
        """Whether a subclass has a step of its own."""
        own = type(self)
        return own.call is not ProjectingCell.call or own.__call__ is not RNNCell.__call__

    def advance(self, projected, state, scope=None) -> Any:
        first = flatten(projected)[0]
        with self._entered(scope):
            parts = require_state(self._base_name, state, self.state_size, first)
            return self._recur(projected, parts)


class Linear:
    """bias + [inputs, state] · kernel, without putting inputs and state side by side.

    kernel: [depth + units, n], whose first `depth` rows belong to the inputs. The two products
    stand apart so that what the inputs give can be computed for all steps at once.
    """

    def __init__(self, kernel: Variable, bias: Variable | None, depth: int):
        self.kernel, self.bias, self.depth = kernel, bias, depth

    def of_inputs(self, inputs: Tensor, begin: int = 0) -> Tensor:
        """The part of inputs [..., depth], with the bias; or of some of them, [..., n] from
        `begin` on, with the bias where those are the first."""
        kernel = self.kernel[begin : begin + inputs.dims[-1]]
        product = tensordot(inputs, kernel, [[len(inputs.dims) - 1], [0]])
        return product if self.bias is None or begin else product + self.bias

    def of_state(self, state: Tensor) -> Tensor:
        """The part of a state [batch, units]."""
        return matmul(state, self.kernel[self.depth :])
