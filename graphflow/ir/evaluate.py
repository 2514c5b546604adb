"""The reference evaluator: runs a Program with NumPy, one operation at a time.

It is the oracle of the tests, the engine of constant folding, and `Session(backend="reference")`.
Sizes are bound from the feeds as in a compiled run, and the same checks apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import FailedPreconditionError, GraphError, InternalError, InvalidArgumentError
from ..sizes import Size, Symbol, as_symbol, evaluate, substitute, symbols_of
from .node import Attrs, Node, Region, Tensor
from .op import LEAF
from .program import Origin, Program
from .types import TensorType

Sizes = Mapping[Symbol, int]


class Result(NamedTuple):
    """What a run gives: fetched arrays in order, and the new values of variables."""

    fetches: list[np.ndarray]
    updates: dict[Any, np.ndarray]


def run_program(
    program: Program, feeds: Sequence[Any], states: Mapping[Any, Any] | None = None
) -> Result:
    """Runs `program` on the arrays `feeds`, of the fed dtypes, and the variables' values `states`.

    Raises InvalidArgumentError where the feeds' sizes do not fit, FailedPreconditionError where a
    variable has no value, and whatever a failing check of the program raises.
    """
    sizes = bind_sizes(program, feeds)
    values: dict[Tensor, np.ndarray] = {}
    states = {} if states is None else states

    def leaf(node: Node) -> np.ndarray:
        if node.op.name == "feed":
            return np.asarray(feeds[node.attrs["index"]])
        variable = node.attrs["variable"]
        value = states.get(variable)
        if value is None:
            if variable.initial is None:
                raise FailedPreconditionError(f"variable {variable} is not initialised")
            value = variable.initial.array
        return np.asarray(value)

    results = [*program.fetches, *program.updates.values()]
    nodes = program.nodes()
    # Effects run in their own order, whatever the order of the data around them.
    order = effects_in_order(nodes, program.effects)
    last = last_uses(order, results)
    for position, node in enumerate(order):
        if node.op.kind == LEAF and node.op.name != "constant":
            outputs: Sequence[np.ndarray] = [leaf(node)]
            _check(node, outputs, sizes)
        else:
            arrays = [values[t] for t in node.inputs]
            try:
                outputs = run_node(node, arrays, sizes)
            except (GraphError, IndexError, ZeroDivisionError) as error:
                raise located(error, program.origin(node)) from error
        values.update(zip(node.outputs, outputs, strict=True))
        for tensor in last.get(position, ()):
            values.pop(tensor, None)
    for feed in program.feeds:
        values.setdefault(feed, np.asarray(feeds[feed.node.attrs["index"]]))
    fetched = [values[t] for t in program.fetches]
    return Result(fetched, {v: values[t] for v, t in program.updates.items()})


def located(error: Exception, origins: Sequence[Origin]) -> Exception:
    """The same error with the names and lines of what it comes from."""
    kind = type(error) if isinstance(error, GraphError) else InvalidArgumentError
    lines = "".join(f"\n  {origin}" for origin in origins[:3])
    return kind(f"{error}{lines}")


def effects_in_order(nodes: list[Node], effects: Sequence[Node]) -> list[Node]:
    """`nodes` such that effects come in order, each as early as what it needs allows."""
    from .node import topological

    order: list[Node] = []
    done: set[Node] = set()
    for root in [*effects, *nodes]:
        for node in topological([root], done):
            done.add(node)
            order.append(node)
    return order


def last_uses(order: Sequence[Node], kept: Sequence[Tensor]) -> dict[int, list[Tensor]]:
    """Position of a node -> the tensors that nothing reads after it."""
    last: dict[Tensor, int] = {}
    for position, node in enumerate(order):
        for tensor in (*node.inputs, *node.outputs):
            last[tensor] = position
    for tensor in kept:
        last.pop(tensor, None)
    result: dict[int, list[Tensor]] = {}
    for tensor, position in last.items():
        result.setdefault(position, []).append(tensor)
    return result


def bind_sizes(program: Program, feeds: Sequence[Any]) -> dict[Symbol, int]:
    """The numbers that the feeds' shapes give the program's symbols, all checks made.

    Raises InvalidArgumentError for a shape that does not fit, or sizes that must be equal.
    """
    sizes: dict[Symbol, int] = {}
    types = program.bound_types()
    shapes = [np.shape(value) for value in feeds]
    if len(shapes) != len(types):
        raise InternalError(f"the program has {len(types)} feeds, not {len(shapes)}")
    for index, (type_, shape) in enumerate(zip(types, shapes, strict=True)):
        if type_.shape is None or len(shape) != len(type_.shape):
            raise InvalidArgumentError(f"feed {index} is {type_}, its value has shape {shape}")
        for dim, length in zip(type_.shape, shape, strict=True):
            symbol = as_symbol(dim)
            if symbol is not None:
                sizes.setdefault(symbol, length)
    for index, (type_, shape) in enumerate(zip(types, shapes, strict=True)):
        for dim, length in zip(type_.shape or (), shape, strict=True):
            if evaluate(dim, sizes) != length:
                raise InvalidArgumentError(
                    f"feed {index} is {type_} with {dim} = {evaluate(dim, sizes)}, "
                    f"its value has shape {list(shape)}"
                )
    for constraint, origins in program.constraints:
        a, b = evaluate(constraint.a, sizes), evaluate(constraint.b, sizes)
        if a != b:
            text = f"the sizes {constraint.a} and {constraint.b} must be equal but are {a} and {b}"
            raise located(InvalidArgumentError(text), origins)
    return sizes


def concrete(node: Node, sizes: Sizes) -> Node:
    """`node` with numbers for sizes in its attributes and types; itself where it has none."""
    attrs, types = node.attrs, node.types
    fixed = {k: _numbers(v, sizes) for k, v in attrs.items()}
    if any(fixed[k] is not v for k, v in attrs.items()):
        attrs = Attrs(fixed)
    shapes = [TensorType(t.dtype, _numbers(t.shape, sizes)) for t in types]
    if attrs is node.attrs and all(
        new.shape is old.shape for new, old in zip(shapes, types, strict=True)
    ):
        return node
    return Node(
        node.op, node.inputs, attrs, tuple(shapes), node.regions, node.controls, node.serial
    )


def _numbers(value, sizes: Sizes):
    return substitute(value, sizes) if isinstance(value, (tuple, Size)) else value


def run_node(
    node: Node, arrays: Sequence[np.ndarray], sizes: dict[Symbol, int]
) -> list[np.ndarray]:
    """The outputs of one operation. Effects take place. `sizes` binds every symbol but those that
    the operation itself binds: the number of iterations of a loop, which is added to it."""
    node = concrete(node, sizes)
    outputs: Sequence[Any]
    reference: Any = node.op.reference
    with np.errstate(all="ignore"):
        if node.regions and node.op.reference is None:
            if node.op.name != "call":
                raise InternalError(f"op {node.op.name} has no reference")
            outputs = run_region(node.regions[0], arrays, sizes)
        elif node.op.reference is None:
            raise InternalError(f"op {node.op.name} has no reference")
        elif node.regions:
            bodies = [_Body(region, sizes, node) for region in node.regions]
            outputs = reference(arrays, node.attrs, node, bodies)
            trips = as_symbol(node.attrs.get("trips"))
            if trips is not None:
                sizes[trips] = bodies[-1].calls
            for number, axis, _, outside in node.attrs.get("varying", ()):
                for symbol in symbols_of(outside):  # none where the same loop ran before
                    sizes[symbol] = np.shape(outputs[number])[axis]
            first = node.attrs.get("carries", node.attrs.get("variables", 0))
            for number, _, outside in node.attrs.get("totals", ()):
                for symbol in symbols_of(outside):
                    sizes[symbol] = np.size(outputs[first + number])
            node = concrete(node, sizes)
        else:
            outputs = reference(arrays, node.attrs, node)
    result = [
        np.zeros((), np.bool_) if type_.dtype.kind == "token" else np.asarray(value)
        for value, type_ in zip(outputs or [None] * len(node.types), node.types, strict=True)
    ]
    _check(node, result, sizes)
    return result


class _Body:
    """A body as a function of arrays."""

    def __init__(self, region: Region, sizes: Sizes, node: Node):
        self.region, self.sizes = region, sizes
        self.told = list(symbols_of(node.attrs.get("sizes", ())))
        self.first = node.attrs["carries"] if self.told else 0
        self.calls = 0

    def __call__(self, *arrays):
        self.calls += 1
        rows = arrays[self.first : self.first + len(self.told)]
        told = {symbol: int(row) for symbol, row in zip(self.told, rows, strict=True)}
        return run_region(self.region, arrays, {**self.sizes, **told})


def run_region(
    region: Region, arrays: Sequence[np.ndarray], sizes: Sizes | None = None
) -> list[np.ndarray]:
    """The results of a body for the values of its parameters, whose shapes also bind sizes."""
    known = dict(sizes or {})
    values: dict[Tensor, np.ndarray] = {}
    for parameter, array in zip(region.parameters, arrays, strict=True):
        values[parameter] = np.asarray(array)
        for dim, length in zip(parameter.dims or (), np.shape(array), strict=False):
            symbol = as_symbol(dim)
            if symbol is not None:
                known.setdefault(symbol, length)
    for node in effects_in_order(region.nodes(), region.effects):
        if node.outputs and node.outputs[0] in values:
            continue
        outputs = run_node(node, [values[t] for t in node.inputs], known)
        values.update(zip(node.outputs, outputs, strict=True))
    return [values[t] for t in region.results]


def _check(node: Node, outputs: Sequence[np.ndarray], sizes: Sizes) -> None:
    """That values are of their types: an op's reference and type rule agree."""
    for output, value in zip(node.outputs, outputs, strict=True):
        type_ = output.tensor_type
        if type_.dtype.kind == "token":
            continue
        shape = tuple(evaluate(dim, sizes) for dim in type_.shape or ())
        if value.dtype != type_.dtype.numpy or value.shape != shape:
            raise InternalError(
                f"op {node.op.name} gives {value.dtype}{list(value.shape)} for a {type_}"
                f"{list(shape) if shape != type_.shape else ''}"
            )
