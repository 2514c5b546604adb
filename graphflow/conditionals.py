"""Branches: `cond`, `case` and `switch_case`, as in TensorFlow 1.

Functions are called once, while the graph is being defined, and what they define becomes a body;
see `control_flow.py` for what they may use and do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from . import nest
from .dtypes import bool_, int32
from .ir.body import Body, captured_by
from .ir.graph import get_default_graph
from .ir.node import Attrs, Node, Tensor
from .ir.op import find
from .ops.control_flow import cond_op
from .ops.convert import convert, reject
from .ops.effects import Assert
from .structures import Structure, fitted

__all__ = ["case", "cond", "switch_case"]


def cond(pred, true_fn=None, false_fn=None, strict=False, name=None, fn1=None, fn2=None):
    """What `true_fn()` returns where `pred` is true, else what `false_fn()` returns.

    pred: a bool scalar tensor
    true_fn, false_fn: functions without arguments that return the same structure of tensors of
        equal dtypes and shapes, or operations, or nothing
    strict: a list or tuple of one tensor stays one

    Only the branch that is taken runs; what the functions merely use from outside runs anyway.
    Gives an operation where the functions return operations or None. Raises TypeError where
    `pred` is a Python bool, ValueError where the structures differ, TypeRuleError where types do.
    """
    true_fn, false_fn = true_fn or fn1, false_fn or fn2
    for function, what in ((true_fn, "true_fn"), (false_fn, "false_fn")):
        if not callable(function):
            reject("cond", f"{what} must be a function, not {function!r}", TypeError)
    if isinstance(pred, bool):
        reject("cond", "pred is a Python bool; use `if`, or a tensor", TypeError)
    predicate = convert(pred, what="cond")
    graph = get_default_graph()
    with graph.name_scope(name or "cond"):
        bodies, structures = [], []
        for function, what in ((true_fn, "true_fn"), (false_fn, "false_fn")):
            body = Body(graph, f"{what} of cond")
            bodies.append(body)
            structures.append(_branch(body, function))
        then, otherwise = structures
        then.require_same(otherwise, "cond", "true_fn and false_fn")
        layouts = then.joined(otherwise.leaves)
        then, otherwise = structures = [
            _fitted(body, each, layouts) for body, each in zip(bodies, structures, strict=True)
        ]
        operands = captured_by(bodies)
        regions = tuple(
            body.closed((), operands, structure.tensors)
            for body, structure in zip(bodies, structures, strict=True)
        )
        controls = [node for body in bodies for node in body.controls]
        with graph.control_dependencies(controls):
            made = graph.create(
                cond_op, (predicate, *operands), Attrs({}), regions, "cond", controls
            )
    result = then.rebuilt(made.outputs)
    if not made.outputs:
        return made
    if not strict and isinstance(result, (list, tuple)) and len(result) == 1:
        return result[0]
    return result


def _branch(body: Body, function) -> Structure:
    with body.open():
        returned = function()
        nodes = [leaf for leaf in nest.flatten(returned) if isinstance(leaf, Node)]
        with body.graph.control_dependencies(nodes):
            return Structure.of(returned, "cond").adopted(body)


def _fitted(body: Body, structure: Structure, layouts: Sequence) -> Structure:
    """What a branch returns, in layouts that can hold what the other one returns."""
    if not any(layout is not None for layout in layouts):
        return structure
    with body.open():
        whole = structure.rebuilt(structure.tensors)
        return Structure.of(fitted(whole, layouts), "cond").adopted(body)


def case(pred_fn_pairs, default=None, exclusive=False, strict=False, name="case"):
    """What the function of the first true predicate returns, else `default()`.

    pred_fn_pairs: a list of (bool scalar, function), or a dict of them
    default: where None, a run in which no predicate is true fails
    exclusive: a run in which more than one predicate is true fails
    """
    pairs = list(pred_fn_pairs.items() if hasattr(pred_fn_pairs, "items") else pred_fn_pairs)
    if not pairs:
        reject("case", "there is no pair of a predicate and a function", ValueError)
    graph = get_default_graph()
    with graph.name_scope(name or "case"):
        predicates = [convert(p, what="case") for p, _ in pairs]
        for predicate in predicates:
            if predicate.dtype is not bool_ or predicate.rank != 0:
                reject("case", f"a predicate is {predicate.tensor_type}, not a bool scalar")
        counts = [find("cast")(p, dtype=int32) for p in predicates]
        total = functools.reduce(find("add"), counts)
        checks: list[Node] = []
        if exclusive:
            message = ["case: more than one predicate is true; how many:", total]
            checks.append(Assert(find("less_equal")(total, convert(1)), message))
        if default is None:
            checks.append(Assert(find("greater")(total, convert(0)), ["case: none is true"]))
        with graph.control_dependencies(checks):
            rest = default if default is not None else pairs[-1][1]
            functions = pairs if default is not None else pairs[:-1]
            for (_, function), predicate in reversed(
                list(zip(functions, predicates, strict=False))
            ):
                rest = functools.partial(cond, predicate, function, rest, strict=strict)
            if not functions:
                rest = functools.partial(cond, predicates[0], rest, rest, strict=strict)
            return rest()


def switch_case(branch_index, branch_fns, default=None, name="switch_case"):
    """What `branch_fns[branch_index]()` returns; `default()`, or the last one, where there is none.

    branch_index: an int32 scalar
    branch_fns: a list of functions, of (int, function), or a dict of int to function
    """
    index = convert(branch_index, what="switch_case")
    if not index.dtype.is_integer or index.rank != 0:
        reject("switch_case", f"branch_index is {index.tensor_type}, not an integer scalar")
    if hasattr(branch_fns, "items"):
        pairs = sorted(branch_fns.items())
    else:
        items = list(branch_fns)
        numbered = all(isinstance(item, tuple) for item in items)
        pairs = sorted(items) if numbered else list(enumerate(items))
    if not pairs:
        reject("switch_case", "there is no branch", ValueError)
    if len({key for key, _ in pairs}) != len(pairs):
        reject("switch_case", "two branches have the same number", ValueError)
    *pairs, last = pairs if default is None else [*pairs, (None, default)]
    graph = get_default_graph()
    with graph.name_scope(name or "switch_case"):
        return _chosen(index, pairs, last[1])


def _chosen(index: Tensor, pairs: Sequence, rest: Callable):
    """The branch of a number among sorted ones, by halves: a run asks log2 of them questions."""
    if not pairs:
        return rest()
    equal = find("equal")
    if len(pairs) == 1:
        number, function = pairs[0]
        return cond(equal(index, convert(number, index.dtype)), function, rest, strict=True)
    middle = len(pairs) // 2
    below = find("less")(index, convert(pairs[middle][0], index.dtype))
    return cond(
        below,
        lambda: _chosen(index, pairs[:middle], rest),
        lambda: _chosen(index, pairs[middle:], rest),
        strict=True,
    )
