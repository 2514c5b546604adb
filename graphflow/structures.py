"""Structures whose leaves are tensors, as control flow takes and gives them.

A leaf is a tensor or what can be converted to one, None or an operation (no tensor at all), or an
object that consists of tensors: it has `_components()`, a list of them, and
`_with_components(tensors)`, the object of the same kind that others make. How many there are may
depend on what it holds: then it has `_layout()`, what decides that; `_joined(other)`, the layout
that can hold both; and `_fitted(layout)`, the same object in a layout that can hold it.
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
    counts: of each leaf, how many tensors it consists of
    """

    def __init__(
        self, shape: Any, leaves: list, tensors: list[Tensor], paths: list[str], counts: list[int]
    ):
        self.shape = shape
        self.leaves = leaves
        self.tensors = tensors
        self.paths = paths
        self.counts = counts

    @classmethod
    def of(cls, value: Any, what: str, like: Structure | None = None) -> Structure:
        """The structure of a value; its leaves take the dtypes of the tensors of `like`."""
        rows = nest.flatten_with_joined_string_paths(value)
        leaves = [leaf for _, leaf in rows]
        tensors: list[Tensor] = []
        paths: list[str] = []
        counts: list[int] = []
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
            counts.append(len(found))
        return cls(value, leaves, tensors, paths, counts)

    @property
    def count(self) -> int:
        return len(self.tensors)

    def like(self, value: Any, what: str, who: str) -> Structure:
        """The structure of a value that must be as this one. ValueError where it is not; raises
        TooNarrow where a leaf's layout cannot hold it."""
        problem = nest.difference(self.shape, value)
        if problem is not None:
            reject(what, f"{who} must return the structure it is given: {problem}", ValueError)
        paths = [path or "0" for path, _ in nest.flatten_with_joined_string_paths(self.shape)]
        for path, a, b in zip(paths, self.leaves, nest.flatten(value), strict=True):
            if _kind(a) != _kind(b):
                reject(what, f"{who}: {path} is {_kind(a)}, but {_kind(b)} comes back", ValueError)
        layouts = self.joined(nest.flatten(value))
        if layouts != list(map(_layout, self.leaves)):
            raise TooNarrow(self, layouts)
        return Structure.of(fitted(value, layouts), what, self)

    def joined(self, leaves: Sequence) -> list:
        """The layouts that can hold the leaves of this structure and others; None for tensors."""
        return [
            a._joined(b) if hasattr(a, "_joined") else None
            for a, b in zip(self.leaves, leaves, strict=True)
        ]

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
        return Structure(self.shape, self.leaves, tensors, self.paths, self.counts)

    def rebuilt(self, tensors: Iterable[Tensor]) -> Any:
        """The same structure of other tensors; more of them than it has are left over."""
        rest = iter(tensors)
        leaves: list[Any] = []
        for leaf, count in zip(self.leaves, self.counts, strict=True):
            if _is_nothing(leaf):
                leaves.append(None)
            elif hasattr(leaf, "_components"):
                parts = [next(rest) for _ in range(count)]
                leaves.append(leaf._with_components(parts))
            else:
                leaves.append(next(rest))
        return nest.pack_sequence_as(self.shape, leaves)


class TooNarrow(Exception):
    """Raised while a body is defined: leaves of `structure` need these layouts to begin with."""

    def __init__(self, structure: Structure, layouts: list):
        super().__init__("the layouts of a structure change")
        self.structure = structure
        self.layouts = layouts


def fitted(value: Any, layouts: Sequence) -> Any:
    """A structure with its leaves in other layouts; None: as they are."""
    if not any(layout is not None for layout in layouts):
        return value
    leaves = [
        leaf if layout is None else leaf._fitted(layout)
        for leaf, layout in zip(nest.flatten(value), layouts, strict=True)
    ]
    return nest.pack_sequence_as(value, leaves)


def _layout(leaf: Any) -> Any:
    return leaf._layout() if hasattr(leaf, "_layout") else None


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
    name = getattr(leaf, "_stands_for", type(leaf)).__name__
    return f"a {name}" if hasattr(leaf, "_components") else "a tensor"
