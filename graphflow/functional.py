"""Functions of functions, as in TensorFlow 1: `map_fn`, `vectorized_map`, folds and `scan`.

`parallel_iterations`, `back_prop`, `swap_memory` and `infer_shape` are accepted: gradients flow
unless `back_prop` is False, the rest changes nothing.
"""

from __future__ import annotations

from typing import Any

from . import nest
from .dtypes import as_dtype
from .framework import name_scope
from .ir.node import Tensor
from .ops.convert import reject
from .ops.joining import concat
from .ops.logic import stop_gradient
from .scans import scan_over
from .sizes import Dim
from .structures import Structure

__all__ = ["foldl", "foldr", "map_fn", "scan", "vectorized_map"]


def _length(elems: Structure, what: str) -> Dim:
    """The number of rows, which all tensors have."""
    if not elems.tensors:
        reject(what, "elems holds no tensor", ValueError)
    for leaf in elems.leaves:
        if hasattr(leaf, "_components"):  # rows of its parts are no rows of it
            kind = type(leaf).__name__
            reject(what, f"elems holds a {kind}; give it as a tensor (stack() or to_tensor())")
    for path, tensor in zip(elems.paths, elems.tensors, strict=True):
        if not tensor.dims:
            reject(what, f"elems {path} is {tensor.tensor_type}, it must have a first dimension")
    lengths = [tensor.dims[0] for tensor in elems.tensors]
    known = [length for length in lengths if isinstance(length, int)]
    if len(set(known)) > 1:
        shown = ", ".join(str(t.tensor_type) for t in elems.tensors)
        reject(what, f"the tensors of elems have different numbers of rows: {shown}", ValueError)
    return known[0] if known else lengths[0]


def _callable(function: Any, what: str) -> None:
    if not callable(function):
        reject(what, f"fn must be a function, not {function!r}", TypeError)


def _finish(value: Any, back_prop: bool) -> Any:
    if back_prop:
        return value
    return nest.map_structure(lambda t: stop_gradient(t) if isinstance(t, Tensor) else t, value)


def map_fn(
    fn,
    elems,
    dtype=None,
    parallel_iterations=None,
    back_prop=True,
    swap_memory=False,
    infer_shape=True,
    name=None,
):
    """`fn` of each row of `elems`, stacked.

    elems: a tensor [n, ...] or a structure of such; `fn` gets a structure of rows
    dtype: what `fn` returns, where that has another structure or other dtypes: checked

    Rows do not depend on each other, so what can be computed for all of them at once is.
    """
    _callable(fn, "map_fn")
    with name_scope(name, "map"):
        structure = Structure.of(elems, "map_fn")
        length = _length(structure, "map_fn")
        _, outputs = scan_over("map_fn", lambda _, row: ((), fn(row)), (), elems, length)
    if dtype is not None:
        wanted = nest.flatten(dtype)
        found = nest.flatten(outputs)
        if len(wanted) != len(found):
            reject(
                "map_fn", f"fn returns {len(found)} tensors, dtype has {len(wanted)}", ValueError
            )
        for want, tensor in zip(wanted, found, strict=True):
            if as_dtype(want) is not tensor.dtype:
                reject(
                    "map_fn", f"fn returns {tensor.dtype}, dtype says {as_dtype(want)}", TypeError
                )
    return _finish(outputs, back_prop)


def vectorized_map(fn, elems, fallback_to_while_loop=True):
    """As `map_fn`: what can be computed for all rows at once is, and the rest row by row."""
    return map_fn(fn, elems)


def _fold(what: str, fn, elems, initializer, reverse: bool, back_prop: bool, name):
    _callable(fn, what)
    with name_scope(name, what):
        structure = Structure.of(elems, what)
        length = _length(structure, what)
        elems = structure.rebuilt(structure.tensors)
        if initializer is None:
            initializer, elems, length = _first(structure, length, reverse, what)
        result, _ = scan_over(
            what, lambda a, row: (fn(a, row), ()), initializer, elems, length, reverse
        )
    return _finish(result, back_prop)


def _first(structure: Structure, length: Dim, reverse: bool, what: str) -> tuple[Any, Any, Dim]:
    """The row to begin with, and the others."""
    if length == 0:
        reject(what, "elems has no rows, so an initializer is needed", ValueError)
    first = [t[-1] if reverse else t[0] for t in structure.tensors]
    rest = [t[:-1] if reverse else t[1:] for t in structure.tensors]
    return structure.rebuilt(first), structure.rebuilt(rest), length - 1


def foldl(fn, elems, initializer=None, parallel_iterations=10, back_prop=True, swap_memory=False,
          name=None):  # fmt: skip
    """fn(… fn(fn(initializer, elems[0]), elems[1]) …): from the first row to the last.

    elems: a tensor [n, ...] or a structure of such. initializer: elems[0] if None, and the fold
    begins at elems[1].
    """
    return _fold("foldl", fn, elems, initializer, False, back_prop, name)


def foldr(fn, elems, initializer=None, parallel_iterations=10, back_prop=True, swap_memory=False,
          name=None):  # fmt: skip
    """As `foldl`, from the last row to the first."""
    return _fold("foldr", fn, elems, initializer, True, back_prop, name)


def scan(fn, elems, initializer=None, parallel_iterations=10, back_prop=True, swap_memory=False,
         infer_shape=True, reverse=False, name=None):  # fmt: skip
    """All the values that `foldl` (`foldr` if `reverse`) goes through, stacked.

    Without an initializer the first of them is the first row itself.
    """
    _callable(fn, "scan")
    with name_scope(name, "scan"):
        structure = Structure.of(elems, "scan")
        length = _length(structure, "scan")
        elems = structure.rebuilt(structure.tensors)
        begin = initializer
        if initializer is None:
            begin, elems, length = _first(structure, length, reverse, "scan")

        def step(value, row):
            after = fn(value, row)
            return after, after

        _, outputs = scan_over("scan", step, begin, elems, length, reverse)
        if initializer is None:

            def joined(first, rest):
                parts = [rest, first[None]] if reverse else [first[None], rest]
                return concat(parts, 0)

            outputs = nest.map_structure(joined, begin, outputs)
    return _finish(outputs, back_prop)
