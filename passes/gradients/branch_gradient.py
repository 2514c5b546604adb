"""The gradient of a branch: a branch on the same predicate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...ir.body import Body
from ...ir.graph import Graph
from ...ir.node import Attrs, Node, Region, Tensor
from ...ops.control_flow import cond_op
from ...ops.convert import convert
from .residuals import Residuals, Sweep, home_of, where_it_runs, zeros


class BranchGradient:
    """The gradient of a `cond`."""

    def __init__(self, graph: Graph, node: Node, sums, wanted, sweep: Sweep):
        self.graph, self.node, self.sums, self.sweep = graph, node, sums, sweep
        self.asked = [k for k, w in enumerate(wanted[1:]) if w]

    def run(self) -> list[Any]:
        graph, node = self.graph, self.node
        predicate, *operands = node.inputs
        bodies: list[Body] = []
        closed: list[list[Tensor]] = []
        borrowed: list[dict[Tensor, Tensor]] = []
        for region in node.regions:
            outside = dict(zip(region.parameters, operands, strict=True))
            residuals = Residuals(graph, region, lambda p: True)
            own: dict[Tensor, Tensor] = {}

            def foreign(tensor: Tensor, residuals=residuals, own=own, outside=outside):
                body = graph.body
                assert body is not None
                if tensor in outside:
                    return body.adopt(outside[tensor])
                if not residuals.owns(tensor):
                    return body.capture(tensor)
                if tensor not in own:
                    again = residuals.recomputed(tensor)
                    if again is not None:
                        return again
                    residuals.stored[tensor] = None
                    own[tensor] = body.parameter(tensor.tensor_type)
                return own[tensor]

            body = Body(graph, f"the gradient of {region.name}", foreign)
            if residuals.loops:
                body.tells = partial(residuals.loops_again, body)
            with body.open():
                seeds = [
                    (result, body.adopt(total))
                    for result, total in zip(region.results, self.sums, strict=True)
                    if total is not None and result.dtype.is_floating
                ]
                xs = [region.parameters[k] for k in self.asked]
                found = self.sweep([y for y, _ in seeds], [b for _, b in seeds], xs)
                closed.append([
                    body.adopt(zeros(x.dtype, x.dims) if g is None else convert(g))
                    for x, g in zip(xs, found, strict=True)
                ])  # fmt: skip
            bodies.append(body)
            borrowed.append(own)
        values = self._values([list(own) for own in borrowed])
        outer = list(dict.fromkeys(t for body in bodies for t in body.captured))
        stacks = [value for branch in values for value in branch]
        regions = []
        for number, body in enumerate(bodies):
            with body.open():
                parameters = [
                    borrowed[branch][tensor] if branch == number
                    else body.parameter(tensor.tensor_type)
                    for branch, own in enumerate(borrowed)
                    for tensor in own
                ]  # fmt: skip
                captured = [body.capture(tensor) for tensor in outer]
            regions.append(body.region([*parameters, *captured], closed[number]))
        made = graph.create(
            cond_op, (predicate, *stacks, *outer), Attrs({}), tuple(regions), "backward"
        )
        result: list[Any] = [None] * len(node.inputs)
        for k, output in zip(self.asked, made.outputs, strict=True):
            result[1 + k] = output
        return result

    def _values(self, stored: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """What is stored of each branch, as results of the branch made once more: the other one
        gives zeros for them."""
        node, graph = self.node, self.graph
        if not any(stored):
            return [[], []]
        regions = []
        for number, region in enumerate(node.regions):
            more: list[Tensor] = []
            for branch, tensors in enumerate(stored):
                for tensor in tensors:
                    if branch == number:
                        more.append(tensor)
                        continue
                    with graph.inside(home_of(graph, region)):
                        more.append(zeros(tensor.dtype, tensor.dims))
            regions.append(
                Region(region.parameters, (*region.results, *more), region.effects, region.name)
            )
        with where_it_runs(graph, node):
            made = graph.create(
                cond_op, node.inputs, node.attrs, tuple(regions), "cond_residuals", node.controls
            )
        graph.remade[made] = graph.remade.get(node, node)
        outputs = iter(made.outputs[len(node.outputs) :])
        return [[next(outputs) for _ in tensors] for tensors in stored]
