"""`scan_over`: one body for each row of tensors. What maps, folds and recurrences are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import TypeRuleError
from .ir.body import Body, traced_with_writes
from .ir.graph import get_default_graph
from .ir.node import Attrs, Tensor
from .ir.types import TensorType
from .ops.control_flow import scan_op
from .ops.convert import reject
from .sizes import Dim
from .structures import Structure, TooNarrow, fitted, keeps_type
from .variable_store import Definitions


def scan_over(
    what: str,
    function: Callable[[Any, Any], tuple[Any, Any]],
    start: Any,
    sequences: Any,
    length: Dim,
    reverse: bool = False,
    bound: Tensor | None = None,
) -> tuple[Any, Any]:
    """(last carried value, outputs stacked) of `function(carried, rows) -> (carried, outputs)`.

    what: for messages
    start: a structure of tensors, which `function` gives back in the same dtypes and shapes
    sequences: a structure of tensors [length, ...], handed to `function` row by row
    reverse: from the last row to the first
    bound: an integer scalar: only so many rows, the first ones; the outputs of others are zeros
    """
    graph = get_default_graph()
    carried = Structure.of(start, what)
    moving = Structure.of(sequences, what)

    def trace(bodies: list[Body]) -> None:
        (body,) = bodies
        with body.open():
            parameters = [body.parameter(tensor.tensor_type) for tensor in carried.tensors]
            moved = [
                body.parameter(TensorType(tensor.dtype, _row_dims(tensor, path, what)))
                for tensor, path in zip(moving.tensors, moving.paths, strict=True)
            ]
            after, made = function(carried.rebuilt(parameters), moving.rebuilt(moved))
            found[:] = [
                [*parameters, *moved],
                carried.like(after, what, "the function").adopted(body),
                Structure.of(made, what).adopted(body),
            ]

    definitions = Definitions()

    def make(written: set) -> list[Body]:
        definitions.begin()
        return [Body(graph, f"the body of {what}", repeats=True, written=written)]

    found: list[Any] = []
    while True:
        try:
            (body,) = traced_with_writes(make, trace)
            break
        except TooNarrow as error:
            if error.structure is not carried:
                raise
            carried = Structure.of(fitted(start, error.layouts), what)
    definitions.end()
    own, handed_on, outputs = found
    for path, before, then in zip(carried.paths, carried.tensors, handed_on.tensors, strict=True):
        if not keeps_type(before, then):
            raise TypeRuleError(
                f"{what}: {path} ({before.name}) is {before.tensor_type} at first and "
                f"{then.tensor_type} after a step; it must keep its dtype and shape\n"
                f"  the value is {then.name}, at {graph.location(then.node)}"
            )
    region = body.region(own, [*handed_on.tensors, *outputs.tensors])
    attrs = {
        "carries": carried.count,
        "sequences": moving.count,
        "length": length,
        "reverse": reverse,
        "bounded": bound is not None,
    }
    inputs = [] if bound is None else [bound]
    inputs += [*carried.tensors, *moving.tensors, *body.captured]
    node = graph.create(scan_op, tuple(inputs), Attrs(attrs), (region,), what, list(body.controls))
    finals = carried.rebuilt(node.outputs[: carried.count])
    return finals, outputs.rebuilt(node.outputs[carried.count :])


def _row_dims(tensor: Tensor, path: str, what: str) -> tuple[Dim, ...]:
    if not tensor.dims:
        text = "a scalar" if tensor.dims == () else "of unknown rank"
        reject(what, f"{path} ({tensor.name}) is {text}; it has no rows to go through")
    return tensor.dims[1:]
