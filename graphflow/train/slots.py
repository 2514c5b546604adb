"""Variables that an optimizer or a moving average keeps beside another variable."""

from __future__ import annotations

from ..dtypes import DType
from ..initializers import Initializer, Zeros
from ..ir.graph import GraphKeys
from ..ops.variables import Variable
from ..variable_scope import variable_scope

__all__ = ["create_slot", "create_slot_with_initializer", "create_zeros_slot"]


def create_slot(primary: Variable, val, name: str) -> Variable:
    """A variable with the initial value `val`, named after `primary`: "w/Momentum".

    A second one of the same name is "w/Momentum_1". Not trainable; saved like any other.
    """
    graph = primary.graph
    with (
        graph.as_default(),
        graph.control_dependencies(None),
        variable_scope(None, default_name=f"{primary.op.name}/{name}") as scope,
    ):
        # The trailing / takes the name as it is: it is unique among variable scopes already.
        return Variable(
            val,
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES],
            name=f"{scope.name}/",
        )


def create_slot_with_initializer(
    primary: Variable, initializer: Initializer, shape, dtype: DType, name: str
) -> Variable:
    """A slot whose initial value an initializer makes."""
    return create_slot(primary, lambda: initializer(shape, dtype), name)


def create_zeros_slot(primary: Variable, name: str, dtype: DType | None = None) -> Variable:
    """A slot of zeros in `primary`'s shape, and its dtype unless one is given."""
    return create_slot_with_initializer(
        primary, Zeros(), primary.dims, dtype or primary.dtype, name
    )
