"""Types of tensors, and the size rules that type rules are written with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dtypes import DType, token
from ..errors import TypeRuleError
from ..sizes import Dim, Shape, Size


@dataclass(frozen=True)
class TensorType:
    """Element type and shape; `shape` is None while the rank is unknown.

    Text form: float32[n,784], float32[] for a scalar, float32[?] for an unknown rank.
    """

    dtype: DType
    shape: Shape | None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[?]"
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


TOKEN = TensorType(token, ())


@dataclass(frozen=True)
class Constraint:
    """Two sizes a type rule needs equal, where they could not be compared at definition.

    `broadcast` says that one of them may also be 1, which asks for a specialised variant.
    """

    a: Dim
    b: Dim
    broadcast: bool


class SizeRules:
    """What a type rule may ask of sizes. Questions without an answer yet become constraints."""

    def __init__(self) -> None:
        self.constraints: list[Constraint] = []

    def equal(self, a: Dim, b: Dim, message: str) -> Dim:
        """The common value of two sizes that must be equal; raises where they cannot be."""
        if a == b:
            return a
        if isinstance(a, int) and isinstance(b, int):
            raise TypeRuleError(message)
        difference = a - b
        if isinstance(difference, int):
            raise TypeRuleError(message)
        self.constraints.append(Constraint(a, b, broadcast=False))
        return a if isinstance(a, int) else b if isinstance(b, int) else a

    def broadcast(self, shapes: Sequence[Shape], message: str = "") -> Shape:
        """The shape that NumPy's broadcasting gives; unequal unknown sizes are assumed equal.

        Raises TypeRuleError where the shapes cannot be broadcast together.
        """
        rank = max((len(shape) for shape in shapes), default=0)
        result: list[Dim] = []
        for axis in range(-rank, 0):
            dims = [shape[axis] for shape in shapes if len(shape) >= -axis]
            dim: Dim = 1
            for other in dims:
                if dim == other or other == 1:
                    continue
                if dim == 1:
                    dim = other
                    continue
                difference = dim - other
                if isinstance(dim, int) and isinstance(other, int):
                    texts = " and ".join(f"[{','.join(map(str, s))}]" for s in shapes)
                    raise TypeRuleError(
                        message or f"the shapes {texts} cannot be broadcast together"
                    )
                if not isinstance(difference, int):
                    self.constraints.append(Constraint(dim, other, broadcast=True))
                else:
                    # n and n + 1: never equal, so one of them would have to be 1.
                    self.constraints.append(Constraint(dim, other, broadcast=True))
                if isinstance(other, int):
                    dim = other
            result.append(dim)
        return tuple(result)


def same_shape(a: Shape, b: Shape, rules: SizeRules, message: str) -> Shape:
    """The common shape of two shapes that must be equal."""
    if len(a) != len(b):
        raise TypeRuleError(message)
    return tuple(rules.equal(x, y, message) for x, y in zip(a, b, strict=True))


def is_static(shape: Shape | None) -> bool:
    return shape is not None and not any(isinstance(dim, Size) for dim in shape)
