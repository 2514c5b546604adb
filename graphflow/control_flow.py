"""Loops: `while_loop`, as in TensorFlow 1.

Functions are called once, while the graph is being defined, and what they define becomes a body.
They may use any tensor and variable from outside. Checks, prints and writes of variables that they
make run whenever the body does, in the order in which they were made, whether or not a result
needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import nest
from .array_rows import LoopArrays, NotStacked
from .dtypes import bool_
from .errors import TypeRuleError
from .ir.body import Body, captured_by, has_effect, traced_with_writes
from .ir.graph import get_default_graph
from .ir.node import Attrs, Node, Tensor
from .ir.op import find
from .ops.control_flow import scan_op, while_op, within
from .ops.convert import convert, reject
from .ops.creation import range as range_of
from .ops.effects import asserted
from .ops.shapes import size_as_tensor
from .ops.tensor_shape import TensorShape
from .ops.values import constant_value, symbolic_value
from .sizes import Dim, is_nonnegative, maximum, symbol, symbols_of
from .structures import Structure, TooNarrow, fitted, keeps_type
from .variable_store import Definitions

__all__ = ["while_loop"]


def while_loop(
    cond,
    body,
    loop_vars,
    shape_invariants=None,
    parallel_iterations=10,
    back_prop=True,
    swap_memory=False,
    name=None,
    maximum_iterations=None,
    return_same_structure=False,
    must_end=False,
):
    """The loop variables when `cond(*loop_vars)` is false for the first time, after
    `body(*loop_vars)` has given their next values as often as it was true.

    loop_vars: a structure of tensors, TensorArrays and what can be converted to tensors; a list
        or tuple of them are the arguments of `cond` and `body`
    shape_invariants: a structure of shapes, lists or None (as it is) for the loop variables: a
        dimension that is None there may change from iteration to iteration, in a way that follows
        from sizes: what is concatenated, sliced or padded has such a size. Gradients go back
        through the same sizes.
    back_prop: False: no gradient flows through the loop
    maximum_iterations: an integer, or a scalar tensor: the loop ends after so many
    return_same_structure: a single loop variable comes back in a list, too
    must_end: a run fails with InvalidArgumentError where `cond` still holds after
        `maximum_iterations`

    `parallel_iterations` and `swap_memory` are accepted and change nothing: what can run together
    does, and memory is planned. Raises ValueError where `body` returns another structure, and
    TypeRuleError where a variable does not keep its dtype and shape, `shape_invariants` aside.
    """
    for function, what in ((cond, "cond"), (body, "body")):
        if not callable(function):
            reject("while_loop", f"{what} must be a function, not {function!r}", TypeError)
    many = isinstance(loop_vars, (list, tuple)) and not hasattr(loop_vars, "_fields")
    variables = list(loop_vars) if many else [loop_vars]
    if not variables:
        reject("while_loop", "there are no loop variables", ValueError)
    graph = get_default_graph()
    with graph.name_scope(name or "while"):
        loop = _Loop(variables, cond, body, maximum_iterations, shape_invariants, many)
        finals = loop.finals()
        if not back_prop:
            finals = [find("stop_gradient")(t) if t.dtype.is_floating else t for t in finals]
        result = loop.result(finals)
        if must_end:
            result = _ended(result, cond, maximum_iterations)
    if many and type(loop_vars) is tuple:
        result = tuple(result)
    return result if many and (len(result) > 1 or return_same_structure) else result[0]


def _ended(result: list, condition: Callable, limit) -> list:
    """The loop variables, in a run in which the loop came to its end."""
    if limit is None:
        reject("while_loop", "must_end=True needs maximum_iterations", ValueError)
    goes_on = convert(condition(*result), what="while_loop")
    message = f"while_loop: its condition still holds after maximum_iterations = {limit}"
    check = asserted(find("logical_not")(goes_on), [], message)
    last = Structure.of(result, "while_loop")
    with get_default_graph().control_dependencies([check]):
        return last.rebuilt([find("identity")(tensor) for tensor in last.tensors])


Axis = tuple[int, int]  # the number of a loop variable, and one of its dimensions


def _free_axes(start: Structure, invariants, many: bool) -> list[Axis]:
    """The dimensions that `shape_invariants` allow to change."""
    if invariants is None:
        return []
    given = list(invariants) if many else [invariants]
    of_leaves = _shape_leaves(start.shape, given)
    if len(of_leaves) != len(start.leaves):
        reject(
            "while_loop",
            f"shape_invariants has {len(of_leaves)} shapes for {len(start.leaves)} loop variables",
            ValueError,
        )
    shapes: list[Any] = []
    for leaf, shape, count in zip(start.leaves, of_leaves, start.counts, strict=True):
        shapes += [None if hasattr(leaf, "_components") else shape] * count
    free = []
    rows = zip(start.tensors, start.paths, shapes, strict=True)
    for number, (tensor, path, shape) in enumerate(rows):
        dims = None if shape is None else TensorShape(shape).dims
        if dims is None:
            continue
        own = tensor.dims
        if own is None or len(own) != len(dims):
            reject(
                "while_loop",
                f"the invariant {shape} does not have the rank of loop variable {path}, "
                f"{tensor.tensor_type}",
                ValueError,
            )
        for axis, (dim, size) in enumerate(zip(dims, own, strict=True)):
            known = getattr(dim, "value", dim)
            if known is None:
                free.append((number, axis))
            elif isinstance(known, int) and isinstance(size, int) and known != size:
                reject(
                    "while_loop",
                    f"loop variable {path} is {tensor.tensor_type}, which is not of the shape "
                    f"{shape} that shape_invariants says",
                    ValueError,
                )
    return free


def _shape_leaves(structure, shapes) -> list:
    """The shapes in a structure, one for each leaf, where a list of numbers is a shape."""
    if not nest.is_nested(structure):
        return [shapes]
    return nest.flatten_up_to(structure, shapes) if shapes is not None else [None]


class _Loop:
    """A loop under definition."""

    def __init__(
        self, variables: Any, condition: Callable, body: Callable, limit, invariants, many: bool
    ):
        self.graph = get_default_graph()
        self.limit = limit
        scope = self.graph.current_scope[:-1]

        definitions = Definitions()

        def make(written: set) -> list[Body]:
            definitions.begin()
            return [
                Body(self.graph, f"the {what} of {scope}", repeats=True, written=written)
                for what in ("condition", "body")
            ]

        refused: dict[int, NotStacked] = {}
        free: list[Axis] | None = None
        while True:
            self.arrays = LoopArrays(variables, refused)
            self.start = Structure.of(self.arrays.variables, "while_loop")
            self.free = _free_axes(self.start, invariants, many) if free is None else free
            free = None
            try:
                self.condition, self.body = traced_with_writes(
                    make, lambda bodies: self._trace(bodies, condition, body)
                )
            except TooNarrow as error:
                if error.structure is not self.start:
                    raise
                variables = fitted(variables, error.layouts)
                continue
            except NotStacked as error:
                if error.growth not in self.arrays.growths:
                    raise
                refused[error.growth.place] = error
                continue
            # What may change and does not keeps the size that it has.
            changing = [
                (number, axis)
                for number, axis in self.free
                if self.next[number].dims[axis] != self.own[1][number].dims[axis]
            ]
            if changing == self.free:
                break
            free = changing
        definitions.end()

    def _trace(self, bodies: Sequence[Body], condition, body) -> None:
        own_condition, own_body = bodies
        self.condition, self.body = own_condition, own_body
        self.variables = list(self.start.tensors)  # with those that the loop adds
        self.varying = [(*place, symbol("size"), symbol("size")) for place in self.free]
        types = within(
            [tensor.tensor_type for tensor in self.variables],
            Attrs({"varying": tuple(self.varying)}),
        )
        self.own: list[list[Tensor]] = []
        for each in (own_condition, own_body):
            with each.open():
                self.own.append([each.parameter(type_) for type_ in types])
        with own_condition.open():
            found = condition(*self.start.rebuilt(self.own[0]))
            self.test = own_condition.adopt(convert(found, what="while_loop"))
        if self.test.dtype is not bool_ or self.test.rank != 0:
            reject(
                "while_loop",
                f"cond must return a bool scalar, it returned {self.test.tensor_type}",
            )
        with own_body.open():
            self.next = self._next(body)
        self.arrays.require_counters(self._begin_of)

    def _next(self, function: Callable) -> list[Tensor]:
        """What the body returns: the next values of the variables, of their types."""
        start = self.start
        returned = function(*start.rebuilt(self.own[1]))
        if isinstance(returned, (list, tuple)) and not hasattr(returned, "_fields"):
            returned = list(returned)
        else:
            returned = [returned]
        returned = self.arrays.taken(returned)
        nodes = [leaf for leaf in nest.flatten(returned) if isinstance(leaf, Node)]
        if nodes:
            reject("while_loop", f"body returned the operation {nodes[0].name}", TypeError)
        after = start.like(returned, "while_loop", "body")
        after = after.adopted(self.body)
        rows = zip(start.paths, start.tensors, self.own[1], after.tensors, strict=True)
        for number, (path, before, inside, tensor) in enumerate(rows):
            free = [axis for k, axis in self.free if k == number]
            if not keeps_type(inside, tensor, free):
                raise TypeRuleError(
                    f"while_loop: loop variable {path} ({before.name}) is {before.tensor_type} "
                    f"when the loop begins and {tensor.tensor_type} after its body; it must keep "
                    f"its dtype and shape\n  the value is {tensor.name}, at "
                    f"{self.graph.location(tensor.node)}"
                )
        return after.tensors

    def finals(self) -> list[Tensor]:
        """The loop as operations, and its variables after it, then the rows that it stacks."""
        if self.limit is not None:
            self._count_iterations()
        counted = self._counted()
        length = None if counted is None else counted[2]
        rows = self.arrays.rows(self.body, length, set(symbols_of(tuple(self.varying))))
        controls = [*self.condition.controls, *self.body.controls]
        if counted is not None:
            number, first, length = counted
            return self._as_scan(number, first, length, rows, controls)
        operands = captured_by([self.condition, self.body])
        regions = (
            self.condition.closed(self.own[0], operands, [self.test]),
            self.body.closed(self.own[1], operands, [*self.next, *rows]),
        )
        trips = symbol("trips") if rows else None
        made = self.graph.create(
            while_op,
            (*self.variables, *operands),
            Attrs({"variables": len(self.next), "trips": trips, "varying": tuple(self.varying)}),
            regions,
            "while",
            controls,
        )
        for size in symbols_of((trips, *self.varying) if rows else tuple(self.varying)):
            self.graph.size_owners[size] = made
        return [*made.outputs[: self.start.count], *made.outputs[len(self.next) :]]

    def result(self, finals: Sequence[Tensor]) -> Any:
        """The structure of the variables after the loop."""
        self.arrays.finish(finals[self.start.count :])
        return self.start.rebuilt(finals)

    def _count_iterations(self) -> None:
        """Adds a variable that counts, and ends the loop when it is at the limit."""
        limit = convert(self.limit, what="while_loop")
        if not limit.dtype.is_integer or limit.rank != 0:
            reject("while_loop", f"maximum_iterations is {limit.tensor_type}, not an integer")
        zero = convert(0, limit.dtype)
        self.variables.append(zero)
        with self.condition.open():
            self.own[0].append(self.condition.parameter(zero.tensor_type))
            below = find("less")(self.own[0][-1], self.condition.adopt(limit))
            known = constant_value(self.test)
            always = known is not None and bool(known)
            self.test = below if always else find("logical_and")(below, self.test)
        with self.body.open():
            self.own[1].append(self.body.parameter(zero.tensor_type))
            self.next = [*self.next, find("add")(self.own[1][-1], convert(1, limit.dtype))]

    def _counted(self) -> tuple[int, Tensor, Dim] | None:
        """The variable that counts, its first value, and how many iterations there are: where that
        is all that ends the loop, and known when a run binds its sizes."""
        if self.varying or any(node.op.serial for node in self.condition.nodes):
            return None
        test = self.test.node
        if test.op.name not in ("less", "greater"):
            return None
        counter, bound = test.inputs if test.op.name == "less" else reversed(test.inputs)
        if counter not in self.own[0]:
            return None
        number = self.own[0].index(counter)
        if not self._grows_by_one(number):
            return None
        outside = {p: t for t, p in self.condition.captured.items()}
        first = self.variables[number]
        limits = [symbolic_value(first), symbolic_value(outside.get(bound, bound))]
        if any(value is None for value in limits):
            return None
        begin, end = (value.item() for value in limits)  # type: ignore[union-attr]
        length = end - begin
        if isinstance(length, int):
            return number, first, max(length, 0)
        return number, first, length if is_nonnegative(length) else maximum(length, 0)

    def _grows_by_one(self, number: int) -> bool:
        step = self.next[number].node
        if step.op.name != "add" or self.own[1][number] not in step.inputs:
            return False
        others = [t for t in step.inputs if t is not self.own[1][number]]
        by = constant_value(others[0]) if len(others) == 1 else None
        return by is not None and int(by) == 1

    def _begin_of(self, counter: Tensor) -> Any:
        """The number at which a variable that counts the iterations begins, None for others."""
        if counter not in self.own[1] or not counter.dtype.is_integer:
            return None
        number = self.own[1].index(counter)
        begin = symbolic_value(self.variables[number])
        return begin.item() if begin is not None and self._grows_by_one(number) else None

    def _as_scan(
        self, number: int, first: Tensor, length: Dim, rows: Sequence[Tensor], controls
    ) -> list[Tensor]:
        def others(values: Sequence) -> list:
            return [value for k, value in enumerate(values) if k != number]

        end = find("add")(first, size_as_tensor(length, first.dtype))
        counts = range_of(first, end, dtype=first.dtype)
        if counts.dims != (length,):
            counts = find("reshape")(counts, shape=(length,))
        operands = captured_by([self.body])
        own = [*others(self.own[1]), self.own[1][number]]
        region = self.body.closed(own, operands, [*others(self.next), *rows])
        attrs = {
            "carries": len(self.next) - 1,
            "sequences": 1,
            "length": length,
            "reverse": False,
            "bounded": False,
        }
        inputs = (*others(self.variables), counts, *operands)
        made = self.graph.create(scan_op, inputs, Attrs(attrs), (region,), "while", controls)
        carried = len(self.next) - 1
        finals, stacks = list(made.outputs[:carried]), made.outputs[carried:]
        if any(map(has_effect, self.body.nodes)):
            # Who asks for the count asks for what the loop does, too.
            with self.graph.control_dependencies([made]):
                end = find("identity")(end)
        finals.insert(number, end)
        return [*finals[: self.start.count], *stacks]
