"""Structures whose leaves are tensors, as control flow takes and gives them.

A leaf is a tensor or what can be converted to one, None or an operation (no tensor at all), or an
object that consists of tensors: it has `_components()`, a list of them, and
`_with_components(tensors)`, the object of the same kind that others make.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import nest
from .ir.body import Body
from .ir.node import Node, Tensor
from .ops.convert import convert, reject


class Structure:
    """A structure and its tensors, flat.

    paths: of each tensor, its name or position in the structure
    """

    def __init__(self, shape: Any, leaves: list, tensors: list[Tensor], paths: list[str]):
        self.shape = shape
        self.leaves = leaves
        self.tensors = tensors
        self.paths = paths

    @classmethod
    def of(cls, value: Any, what: str, like: Structure | None = None) -> Structure:
        """The structure of a value; its leaves take the dtypes of the tensors of `like`."""
        rows = nest.flatten_with_joined_string_paths(value)
        leaves = [leaf for _, leaf in rows]
        tensors: list[Tensor] = []
        paths: list[str] = []
        for path, leaf in rows:
            found: Sequence[Tensor]
            if _is_nothing(leaf):
                found = []
            elif hasattr(leaf, "_components"):
                found = leaf._components()
            else:
                dtype = None
                if like is not None and not isinstance(leaf, Tensor):
                    dtype = like.tensors[len(tensors)].dtype
                found = [convert(leaf, dtype, what=what)]
            tensors += found
            paths += [path or "0"] * len(found)
        return cls(value, leaves, tensors, paths)

    @property
    def count(self) -> int:
        return len(self.tensors)

    def like(self, value: Any, what: str, who: str) -> Structure:
        """The structure of a value that must be as this one. ValueError where it is not."""
        problem = nest.difference(self.shape, value)
        if problem is not None:
            reject(what, f"{who} must return the structure it is given: {problem}", ValueError)
        for path, a, b in zip(self.paths, self.leaves, nest.flatten(value), strict=False):
            if _kind(a) != _kind(b):
                reject(what, f"{who}: {path} is {_kind(a)}, but {_kind(b)} comes back", ValueError)
        return Structure.of(value, what, self)

    def require_same(self, other: Structure, what: str, who: str) -> None:
        """Raises ValueError where two structures differ."""
        problem = nest.difference(self.shape, other.shape)
        if problem is None and list(map(_kind, self.leaves)) != list(map(_kind, other.leaves)):
            problem = "a tensor on one side, nothing on the other"
        if problem is not None:
            reject(what, f"{who} must return the same structure: {problem}", ValueError)

    def adopted(self, body: Body) -> Structure:
        """The same, of tensors that belong to an open body."""
        tensors = [body.adopt(tensor) for tensor in self.tensors]
        return Structure(self.shape, self.leaves, tensors, self.paths)

    def rebuilt(self, tensors: Iterable[Tensor]) -> Any:
        """The same structure of other tensors; more of them than it has are left over."""
        rest = iter(tensors)
        leaves: list[Any] = []
        for leaf in self.leaves:
            if _is_nothing(leaf):
                leaves.append(None)
            elif hasattr(leaf, "_components"):
                parts = [next(rest) for _ in leaf._components()]
                leaves.append(leaf._with_components(parts))
            else:
                leaves.append(next(rest))
        return nest.pack_sequence_as(self.shape, leaves)


def keeps_type(before: Tensor, after: Tensor, free: Sequence[int] = ()) -> bool:
    """Whether a value may take the place of another one: of its dtype and shape, as far as sizes
    can be compared before a run does, but for the dimensions that are `free`."""
    if before.dtype is not after.dtype or before.rank != after.rank or before.dims is None:
        return False
    for axis, (a, b) in enumerate(zip(before.dims, after.dims, strict=True)):
        if axis in free:
            continue
        difference = a - b
        if isinstance(difference, int) and difference != 0:
            return False
    return True


def _is_nothing(leaf: Any) -> bool:
    return leaf is None or isinstance(leaf, Node)


def _kind(leaf: Any) -> str:
    if _is_nothing(leaf):
        return "no tensor"
    return f"a {type(leaf).__name__}" if hasattr(leaf, "_components") else "a tensor"
