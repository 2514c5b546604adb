"""`Session(backend="reference")`: the same graph, evaluated with NumPy, one operation at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .config import RunMetadata
from .interpreted import Array, InterpretedSession, Request
from .ir.evaluate import run_program
from .ir.program import Program
from .ir.variable import VariableHandle


class ReferenceSession(InterpretedSession):
    """A session without a compiler: slow, and every value can be looked at in a debugger.

    Runs have no kernels, so their `run_metadata` stays empty.
    """

    def _task(self, request: Request, arrays: Sequence[Array]) -> _Evaluation:
        program, _ = self._program(request, arrays)
        return _Evaluation(program)


class _Evaluation:
    """The reference evaluator on one program."""

    def __init__(self, program: Program):
        self.program = program
        variables = (state.node.attrs["variable"] for state in program.states())
        self.states: tuple[VariableHandle, ...] = tuple(dict.fromkeys(variables))
        self.writes = bool(program.updates)

    def run(
        self, feeds: Sequence[Array], states: Sequence[Array], metadata: RunMetadata | None
    ) -> tuple[list[Array], dict[VariableHandle, Array]]:
        result = run_program(self.program, feeds, dict(zip(self.states, states, strict=True)))
        updates: dict[VariableHandle, Array] = {
            variable: np.array(value) for variable, value in result.updates.items()
        }
        return [np.array(value) for value in result.fetches], updates
