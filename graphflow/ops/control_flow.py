"""Operations that run bodies: `cond`, `while`, `repeat` and `scan`.

    cond    one of two bodies, on the same operands
    while   a body, for as long as a condition holds
    repeat  the same, where the body itself says whether to go on (what `while` becomes)
    scan    a body for each row of some tensors

What a body uses from outside is passed to it as an operand: `captured`. The loops also stack what
their bodies give in each iteration: the values that their gradients go back over. A stack of a loop
whose number of iterations only the run finds out has a size of its own, `trips`.

Sizes may change from iteration to iteration. These attributes of loops list the symbols for them:

    varying  dimensions of values that iterations hand on: (number of the value, axis, its size in
             the bodies, its size after the loop)
    totals   stacks whose rows are of different sizes, one after the other in one dimension: (number
             of the stack, elements of all rows before, elements at last)
    sizes    of a scan: what its first sequences, of int64 scalars, give a value in each iteration
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import bool_, int64
from ..errors import TypeRuleError
from ..ir.node import Attrs, Region
from ..ir.op import REGION, Op, define
from ..ir.types import SizeRules, TensorType
from ..sizes import Dim
from .region import accepts, equal_types

__all__: list[str] = []

_FLAG = TensorType(bool_, ())


def body_types(op: Op, types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    """The types of the parameters of an operation's bodies, given those of its inputs."""
    if op is cond_op:
        return list(types[1:])
    if op is repeat_op:
        return within(types[1:], attrs)
    if op is scan_op:
        _, carried, inputs, captured = split_scan(types, attrs)
        rows = [TensorType(t.dtype, (t.shape or ())[1:]) for t in inputs]
        return [*within(carried, attrs), *rows, *captured]
    return within(types, attrs)


def within(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    """The types that loop variables have in the bodies: what changes its size from iteration to
    iteration has a symbol for it there."""
    found = list(types)
    for number, axis, inside, _ in attrs.get("varying", ()):
        found[number] = _with_size(found[number], axis, inside)
    return found


def _with_size(type_: TensorType, axis: int, size: Dim) -> TensorType:
    dims = type_.shape or ()
    return TensorType(type_.dtype, (*dims[:axis], size, *dims[axis + 1 :]))


def _handed_on(before, after, attrs, sizes: SizeRules) -> list[TensorType]:
    """The types of loop variables after the loop."""
    if len(after) < len(before):
        raise TypeRuleError(f"the body gives {len(after)} values for {len(before)} loop variables")
    result = list(after[: len(before)])
    last = list(before)
    for number, axis, inside, outside in attrs.get("varying", ()):
        result[number] = _with_size(result[number], axis, inside)
        last[number] = _with_size(last[number], axis, outside)
    _next_values(within(before, attrs), result, sizes, "loop variable")
    return last


def _one_flag(types: Sequence[TensorType], what: str) -> None:
    if list(types) != [_FLAG]:
        raise TypeRuleError(f"{what} must give one bool scalar, not {', '.join(map(str, types))}")


def _results(region: Region) -> list[TensorType]:
    return [result.tensor_type for result in region.results]


def _next_values(
    before: Sequence[TensorType], after: Sequence[TensorType], sizes: SizeRules, what: str
) -> list[TensorType]:
    """The types of values that iterations hand on, which stay what they are."""
    if len(after) < len(before):
        raise TypeRuleError(f"the body gives {len(after)} values, {len(before)} {what}s go in")
    return [
        equal_types(a, b, sizes, f"{what} {number}")
        for number, (a, b) in enumerate(zip(before, after, strict=False))
    ]


def _stacks(rows: Sequence[TensorType], length: Dim, attrs: Attrs) -> list[TensorType]:
    flat = {number: (total,) for number, _, total in attrs.get("totals", ())}
    return [
        TensorType(row.dtype, flat.get(number, (length, *(row.shape or ()))))
        for number, row in enumerate(rows)
    ]


def _stacked(
    rows: list[list[np.ndarray]], types: Sequence[TensorType], attrs: Attrs
) -> list[np.ndarray]:
    """For each stack its rows in one array; of known row shape even where there are none."""
    flat = {number for number, *_ in attrs.get("totals", ())}
    arrays = []
    for number, type_ in enumerate(types):
        if number in flat:
            none = np.zeros(0, type_.dtype.numpy)
            arrays.append(np.concatenate([none, *(np.ravel(row[number]) for row in rows)]))
            continue
        shape: Any = (len(rows), *(type_.shape or ())[1:])
        array = np.zeros(shape, type_.dtype.numpy)
        for position, row in enumerate(rows):
            array[position] = row[number]
        arrays.append(array)
    return arrays


# -- cond ----------------------------------------------------------------------------------------


def _infer_cond(types, attrs, sizes, regions):
    """predicate: a bool scalar; then the operands of both branches, which give equal types."""
    predicate, *operands = types
    if predicate != _FLAG:
        raise TypeRuleError(f"the predicate must be a bool scalar, not {predicate}")
    then, otherwise = regions
    accepts(then, operands, sizes, "the branch for true")
    accepts(otherwise, operands, sizes, "the branch for false")
    if len(then.results) != len(otherwise.results):
        raise TypeRuleError(
            f"the branches give {len(then.results)} and {len(otherwise.results)} tensors"
        )
    return [
        equal_types(a, b, sizes, f"result {number} of the branches")
        for number, (a, b) in enumerate(zip(_results(then), _results(otherwise), strict=True))
    ]


def _reference_cond(arrays, attrs, node, bodies):
    predicate, *operands = arrays
    return bodies[0 if predicate else 1](*operands)


cond_op = define(Op(name="cond", kind=REGION, infer=_infer_cond, reference=_reference_cond))


# -- while ---------------------------------------------------------------------------------------


def _infer_while(types, attrs, sizes, regions):
    """`variables` loop variables, then what is captured. Both bodies read all of them; the
    condition gives a bool scalar (then new values for the last variables: what it writes, whatever
    it says), the body the next values of the variables, then rows to stack:
    one an iteration, `trips` in all."""
    condition, body = regions
    variables = types[: attrs["variables"]]
    accepts(condition, within(types, attrs), sizes, "the condition")
    accepts(body, within(types, attrs), sizes, "the body")
    flag, *written = _results(condition)
    _one_flag([flag], "the condition")
    last = variables[len(variables) - len(written) :]
    _next_values(last, written, sizes, "loop variable that the condition writes,")
    results = _results(body)
    found = _handed_on(variables, results, attrs, sizes)
    return [*found, *_stacks(results[len(found) :], attrs["trips"], attrs)]


def _reference_while(arrays, attrs, node, bodies):
    condition, body = bodies
    count = attrs["variables"]
    values, captured = list(arrays[:count]), arrays[count:]
    rows = []
    while True:
        go_on, *written = condition(*values, *captured)
        values[count - len(written) :] = written
        if not go_on:
            break
        results = body(*values, *captured)
        values = list(results[:count])
        rows.append(results[count:])
    return [*values, *_stacked(rows, node.types[count:], attrs)]


while_op = define(Op(name="while", kind=REGION, infer=_infer_while, reference=_reference_while))


# -- repeat --------------------------------------------------------------------------------------


def _infer_repeat(types, attrs, sizes, regions):
    """Whether to begin: a bool scalar; `variables` loop variables; what is captured. The body
    gives whether to go on, the next values of the variables, then rows to stack."""
    (body,) = regions
    begin, *rest = types
    _one_flag([begin], "what says whether to begin")
    accepts(body, within(rest, attrs), sizes, "the body")
    go_on, *results = _results(body)
    _one_flag([go_on], "the first result of the body")
    found = _handed_on(rest[: attrs["variables"]], results, attrs, sizes)
    return [*found, *_stacks(results[len(found) :], attrs["trips"], attrs)]


def _reference_repeat(arrays, attrs, node, bodies):
    count = attrs["variables"]
    go_on, values, captured = arrays[0], list(arrays[1 : 1 + count]), arrays[1 + count :]
    rows = []
    while go_on:
        go_on, *results = bodies[0](*values, *captured)
        values = list(results[:count])
        rows.append(results[count:])
    return [*values, *_stacked(rows, node.types[count:], attrs)]


repeat_op = define(Op(name="repeat", kind=REGION, infer=_infer_repeat, reference=_reference_repeat))


# -- scan ----------------------------------------------------------------------------------------


def split_scan(values: Sequence, attrs) -> tuple[Sequence, Sequence, Sequence, Sequence]:
    """The inputs of a scan, or what belongs to them: the bound (none or one), carried values,
    sequences, captured ones."""
    bounds = 1 if attrs["bounded"] else 0
    carried = bounds + attrs["carries"]
    rows = carried + attrs["sequences"]
    return values[:bounds], values[bounds:carried], values[carried:rows], values[rows:]


def _infer_scan(types, attrs, sizes, regions):
    """With `bounded` first the number of rows to go through, an integer scalar; `carries` carried
    values, `sequences` tensors [length, ...], captured ones. The body maps (carried, rows,
    captured) to (carried, rows of results), from the first row on or, with `reverse`, from the
    last one back. Rows that are not gone through are zeros in the results; rows of `totals` are in
    the order in which they are computed."""
    (body,) = regions
    bounds, carried, inputs, _ = split_scan(types, attrs)
    length = attrs["length"]
    for bound in bounds:
        if not bound.dtype.is_integer or bound.shape != ():
            raise TypeRuleError(f"the number of rows must be an integer scalar, not {bound}")
    for type_ in inputs[: len(attrs.get("sizes", ()))]:
        if type_.dtype is not int64 or type_.rank != 1:
            raise TypeRuleError(f"sizes of iterations are a vector of int64, not {type_}")
    for number, type_ in enumerate(inputs):
        if not type_.shape:
            raise TypeRuleError(f"sequence {number} is a scalar")
        message = f"sequence {number} has length {type_.shape[0]}, the scan {length}"
        sizes.equal(length, type_.shape[0], message)
    accepts(body, body_types(scan_op, types, attrs), sizes, "the body")
    results = _results(body)
    found = _handed_on(carried, results, attrs, sizes)
    return [*found, *_stacks(results[len(found) :], length, attrs)]


def _reference_scan(arrays, attrs, node, bodies):
    bounds, carried, inputs, captured = split_scan(arrays, attrs)
    length, carries = attrs["length"], attrs["carries"]
    rows = max(0, min(length, int(bounds[0]))) if bounds else length
    found = []
    for step in range(rows - 1, -1, -1) if attrs["reverse"] else range(rows):
        results = bodies[0](*carried, *(x[step] for x in inputs), *captured)
        carried = list(results[:carries])
        found.append(results[carries:])
    flat = {number for number, *_ in attrs.get("totals", ())}
    stacked = _stacked(found, node.types[carries:], attrs)
    for number, (array, type_) in enumerate(zip(stacked, node.types[carries:], strict=True)):
        if number not in flat:
            stacked[number] = np.zeros(type_.shape, type_.dtype.numpy)
            stacked[number][:rows] = array[::-1] if attrs["reverse"] else array
    return [*carried, *stacked]


scan_op = define(Op(name="scan", kind=REGION, infer=_infer_scan, reference=_reference_scan))
