"""The identity of a variable, shared by every operation on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..dtypes import DType
from ..sizes import Shape
from .types import TensorType

if TYPE_CHECKING:
    from .graph import Location
    from .node import FrozenArray


@dataclass(frozen=True, eq=False)
class VariableHandle:
    """A variable of a graph: what state operations carry as their attribute `variable`.

    `initial` is the value a session gives it by itself (draw counters of random operations);
    ordinary variables have None there and are initialised by running `initializer`.
    """

    name: str
    dtype: DType
    shape: Shape
    location: Location
    initial: FrozenArray | None = None

    @property
    def tensor_type(self) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def __str__(self) -> str:
        return self.name
