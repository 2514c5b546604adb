"""Nested structures: lists, tuples, named tuples and dicts around leaves, as TensorFlow 1's `nest`.

Whatever is not one of those is a leaf: tensors, variables, arrays, numbers, strings, None. The
items of a dict come in the order of its sorted keys, so that two dicts of the same keys have the
same leaves in the same order however they were made; a rebuilt dict keeps its own order of keys.

    flatten({"b": 1, "a": (2, [3])})  -->  [2, 3, 1]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from .errors import TypeRuleError
from .ir.graph import user_location

__all__ = [
    "assert_same_structure",
    "assert_shallow_structure",
    "flatten",
    "flatten_up_to",
    "flatten_with_joined_string_paths",
    "is_nested",
    "is_sequence",
    "map_structure",
    "map_structure_up_to",
    "pack_sequence_as",
]


def is_nested(structure: Any) -> bool:
    """Whether it is a list, a tuple (named or not) or a mapping, and so no leaf."""
    return isinstance(structure, (list, tuple, Mapping))


is_sequence = is_nested  # TensorFlow 1's name


def flatten(structure: Any) -> list:
    """The leaves of a structure, in order; `[leaf]` for a leaf."""
    return [leaf for _, leaf in _leaves(structure)]


def flatten_with_joined_string_paths(structure: Any, separator: str = "/") -> list[tuple[str, Any]]:
    """(path, leaf) of each leaf; the path joins keys, field names and positions."""
    return [(separator.join(path), leaf) for path, leaf in _leaves(structure)]


def pack_sequence_as(structure: Any, flat_sequence: Iterable) -> Any:
    """A structure like `structure`, whose leaves are the items of `flat_sequence` in order.

    Raises ValueError where there are more or fewer items than leaves.
    """
    values = list(flat_sequence)
    count = len(flatten(structure))
    if count != len(values):
        _reject(
            "pack_sequence_as",
            f"the structure {structure_text(structure)} has {count} leaves, "
            f"but the flat sequence has {len(values)} items",
        )
    remaining = iter(values)
    return _mapped(lambda _: next(remaining), structure, structure)


def map_structure(func: Callable, *structures: Any, check_types: bool = True) -> Any:
    """`func` of the corresponding leaves of all structures, in the form of the first.

    Raises as `assert_same_structure` where the structures differ.
    """
    if not callable(func):
        raise TypeError(f"map_structure: func must be callable, got {func!r}")
    if not structures:
        raise ValueError("map_structure: at least one structure is needed")
    for other in structures[1:]:
        _require_same(structures[0], other, check_types, "map_structure")
    return _mapped(func, structures[0], *structures)


def assert_same_structure(nest1: Any, nest2: Any, check_types: bool = True) -> None:
    """Raises an error, a ValueError and TypeError, that says where two structures differ.

    check_types: whether containers must be of the same type too, and dicts have the same keys.
        Mappings of different types count as the same, and so do named tuples of one name with
        the same fields.
    """
    _require_same(nest1, nest2, check_types, "assert_same_structure")


def assert_shallow_structure(shallow_tree: Any, input_tree: Any, check_types: bool = True) -> None:
    """Raises where `input_tree` has not the containers of `shallow_tree`; it may have more inside
    of what are leaves there."""
    problem = difference(shallow_tree, input_tree, check_types, shallow=True)
    if problem is not None:
        _reject("assert_shallow_structure", problem)


def flatten_up_to(shallow_tree: Any, input_tree: Any) -> list:
    """The parts of `input_tree` that stand where `shallow_tree` has leaves."""
    assert_shallow_structure(shallow_tree, input_tree)
    parts: list = []
    _mapped(parts.append, shallow_tree, input_tree)
    return parts


def map_structure_up_to(shallow_tree: Any, func: Callable, *inputs: Any) -> Any:
    """`func` of the parts of all `inputs` that stand where `shallow_tree` has leaves."""
    for tree in inputs:
        assert_shallow_structure(shallow_tree, tree)
    return _mapped(func, shallow_tree, *inputs)


def structure_text(structure: Any) -> str:
    """The containers of a structure with a dot for each leaf: `[., (., .)]`."""
    if not is_nested(structure):
        return "."
    items = [(key, structure_text(item)) for key, item in _items(structure)]
    if isinstance(structure, Mapping):
        return "{" + ", ".join(f"{key}: {text}" for key, text in items) + "}"
    if hasattr(structure, "_fields"):
        inside = ", ".join(f"{key}={text}" for key, text in items)
        return f"{type(structure).__name__}({inside})"
    inside = ", ".join(text for _, text in items)
    return f"[{inside}]" if isinstance(structure, list) else f"({inside})"


# -- walking ------------------------------------------------------------------------------------


def _items(structure: Any) -> list[tuple[str, Any]]:
    """(key as text, part) of each part of a container, in order."""
    if isinstance(structure, Mapping):
        return [(str(key), structure[key]) for key in _keys(structure)]
    names = getattr(structure, "_fields", None) or range(len(structure))
    return [(str(name), part) for name, part in zip(names, structure, strict=True)]


def _keys(mapping: Mapping) -> list:
    try:
        return sorted(mapping)
    except TypeError:
        _reject("nest", f"the keys {list(mapping)} of a dict cannot be sorted")


def _leaves(structure: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not is_nested(structure):
        yield path, structure
        return
    for key, part in _items(structure):
        yield from _leaves(part, (*path, key))


def _mapped(func: Callable, shape: Any, *structures: Any) -> Any:
    """`func` of the parts of `structures` at each leaf of `shape`, in the form of `shape`."""
    if not is_nested(shape):
        return func(*structures)
    columns = zip(*([part for _, part in _items(s)] for s in structures), strict=True)
    parts = [
        _mapped(func, inner, *column)
        for (_, inner), column in zip(_items(shape), columns, strict=True)
    ]
    if isinstance(shape, Mapping):
        values = dict(zip(_keys(shape), parts, strict=True))
        ordered = [(key, values[key]) for key in shape]
        return dict(ordered) if type(shape) is dict else type(shape)(ordered)  # type: ignore
    if hasattr(shape, "_fields"):
        return type(shape)(*parts)
    return type(shape)(parts)  # type: ignore[call-arg]


# -- comparing ----------------------------------------------------------------------------------


def _require_same(first: Any, second: Any, check_types: bool, what: str) -> None:
    problem = difference(first, second, check_types)
    if problem is not None:
        _reject(what, problem)


def difference(
    first: Any,
    second: Any,
    check_types: bool = True,
    shallow: bool = False,
    path: str = "",
) -> str | None:
    """How two structures differ, and where; None if they do not."""
    if shallow and not is_nested(first):
        return None
    if is_nested(first) != is_nested(second):
        return (
            f"the structures differ{_at(path)}: one has {_shown(first)}, the other {_shown(second)}"
        )
    if not is_nested(first):
        return None
    if check_types and not _same_type(first, second):
        one, other = type(first).__name__, type(second).__name__
        return f"the structures differ{_at(path)}: one has a {one}, the other a {other}"
    inside, other_inside = _items(first), _items(second)
    mappings = isinstance(first, Mapping) and isinstance(second, Mapping)
    if check_types and mappings and set(first) != set(second):
        return f"the structures differ{_at(path)}: the keys {list(first)} and {list(second)}"
    if len(inside) != len(other_inside):
        return (
            f"the structures differ{_at(path)}: {structure_text(first)} has {len(inside)} parts, "
            f"{structure_text(second)} has {len(other_inside)}"
        )
    for (key, part), (_, other_part) in zip(inside, other_inside, strict=True):
        below = f"{path}/{key}" if path else key
        problem = difference(part, other_part, check_types, shallow, below)
        if problem is not None:
            return problem
    return None


def _same_type(first: Any, second: Any) -> bool:
    if type(first) is type(second) or (isinstance(first, Mapping) and isinstance(second, Mapping)):
        return True
    fields = getattr(first, "_fields", None)
    return (
        fields is not None
        and fields == getattr(second, "_fields", None)
        and type(first).__name__ == type(second).__name__
    )


def _at(path: str) -> str:
    return f" at {path}" if path else ""


def _shown(part: Any) -> str:
    if is_nested(part):
        return structure_text(part)
    name = getattr(part, "name", None)
    text = name if isinstance(name, str) else " ".join(repr(part).split())[:60]
    return f"the leaf {text}"


def _reject(what: str, message: str) -> NoReturn:
    raise TypeRuleError(f"{what}: {message}\n  at {user_location()}")
