"""The gradient of a loop: a scan over its iterations in reverse."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...dtypes import int64
from ...ir.body import Body
from ...ir.graph import Graph
from ...ir.node import Attrs, Node, Region, Tensor
from ...ir.op import find
from ...ir.types import TensorType
from ...ops.control_flow import scan_op, split_scan, within
from ...ops.convert import convert
from ...ops.cumulative import cumsum
from ...ops.indexed_slices import IndexedSlices
from ...ops.movement import as_shape
from ...sizes import Dim, Size, multiply, symbol, symbols_of
from .changing_sizes import ChangingSizes
from .residuals import Residuals, Sweep, may_run_again, where_it_runs, zeros


def _reaching(region: Region) -> dict[Tensor, int]:
    """For each tensor of a body the bits of the parameters it depends on through floats."""
    bits = {p: 1 << k for k, p in enumerate(region.parameters) if p.dtype.is_floating}
    for node in sorted(region.nodes(), key=lambda node: node.serial):
        mask = 0
        for position, tensor in enumerate(node.inputs):
            if position not in node.op.shape_only:
                mask |= bits.get(tensor, 0)
        for tensor in node.outputs:
            if mask and tensor.dtype.is_floating:
                bits[tensor] = mask
    return bits


class LoopGradient:
    """The gradient of a `while` or a `scan`."""

    def __init__(self, graph: Graph, node: Node, sums, wanted, sweep: Sweep):
        self.graph, self.node, self.sums, self.wanted, self.sweep = graph, node, sums, wanted, sweep
        self.scan = node.op is scan_op
        self.region = node.regions[-1]
        attrs = node.attrs
        if self.scan:
            self.bounds, *parts = split_scan(node.inputs, attrs)
            self.count = attrs["carries"]
            self.length: Dim = attrs["length"]
        else:
            self.bounds = ()
            self.count = attrs["variables"]
            parts = [node.inputs[: self.count], (), node.inputs[self.count :]]
            self.length = _trips(graph, node)
        self.starts, self.sequences, self.captured = parts
        rows = self.count + len(self.sequences)
        parameters = self.region.parameters
        self.carried, self.rows = parameters[: self.count], parameters[self.count : rows]
        self.lasting = parameters[rows:]
        self.outside = dict(zip(self.lasting, self.captured, strict=True))
        self.residuals = Residuals(graph, self.region, lambda p: p not in self.carried)
        # In the body of the gradient: parameters for rows of what lies stacked outside.
        self.moving: dict[Tensor, Tensor] = {}
        self.sizes = ChangingSizes(graph, node, self.residuals.home)

    def run(self) -> list[Any]:
        graph, node, region = self.graph, self.node, self.region
        bits = _reaching(region)
        results = region.results
        seeds = [
            (result, total)
            for result, total in zip(results[self.count :], self.sums[self.count :], strict=True)
            if total is not None and result in bits
        ]
        active = self._active(bits, [result for result, _ in seeds])
        reached = 0
        for tensor in (*(results[k] for k in active), *(result for result, _ in seeds)):
            reached |= bits.get(tensor, 0)
        offset = len(self.bounds)
        asked = dict(zip(region.parameters, self.wanted[offset:], strict=True))

        def is_wanted(parameter: Tensor) -> bool:
            place = region.parameters.index(parameter)
            return asked[parameter] and bool(reached >> place & 1)

        rows = [p for p in self.rows if is_wanted(p)]
        lasting = [p for p in self.lasting if is_wanted(p)]
        name = f"the gradient of {region.name}"
        body = Body(graph, name, self._foreign, repeats=True)
        self.body = body
        if self.residuals.loops:
            body.tells = partial(self.residuals.loops_again, body)
        with body.open():
            varying = self.sizes.back(active)
            types = [results[k].tensor_type for k in active]
            down = [body.parameter(type_) for type_ in within(types, Attrs({"varying": varying}))]
            begins = [as_shape(d, results[k].dims) for k, d in zip(active, down, strict=True)]
            incoming = []
            for result, total in seeds:
                if self.sizes.differ(result):
                    begins.append(self.sizes.row(body, body.adopt(total), result))
                else:
                    incoming.append((body.parameter(result.tensor_type), total))
                    begins.append(incoming[-1][0])
            ys = [*(results[k] for k in active), *(result for result, _ in seeds)]
            xs = [*(self.carried[k] for k in active), *rows, *lasting]
            found = self.sweep(ys, begins, xs)
            carried = [
                zeros(x.dtype, x.dims) if g is None else convert(g)
                for x, g in zip(xs[: len(active)], found, strict=False)
            ]
            of_rows = [
                zeros(x.dtype, x.dims) if g is None else convert(g)
                for x, g in zip(rows, found[len(active) :], strict=False)
            ]
            sparse: list[tuple[Tensor, IndexedSlices]] = []
            sums: list[tuple[Tensor, Tensor, Tensor]] = []  # of what, so far, and then
            for x, g in zip(lasting, found[len(active) + len(rows) :], strict=True):
                if isinstance(g, IndexedSlices) and not self.sizes.differ(g.values):
                    sparse.append((x, g))
                elif g is not None:
                    so_far = body.parameter(x.tensor_type)
                    sums.append((x, so_far, find("add")(so_far, convert(g))))
            values = [g.values for _, g in sparse]
            indices = [g.indices for _, g in sparse]
            closed = [
                body.adopt(t)
                for t in (*carried, *(n for *_, n in sums), *of_rows, *values, *indices)
            ]
        stacks = self._stacks()
        sizes = self.sizes
        told = [*(stacks[t] for t in sizes.known()), *self.sequences[: sizes.given]]
        with body.open():
            moving = [body.parameter(TensorType(int64, ())) for _ in told]
        moving += [*(p for p, _ in incoming), *self.moving.values(), *sizes.at.values()]
        whole = [*told, *(total for _, total in incoming), *(stacks[t] for t in self.moving)]
        backwards = self.scan and node.attrs["reverse"]
        whole += [cumsum(stacks[c], exclusive=True, reverse=backwards) for c in sizes.at]
        flat = sizes.flat
        own = [*down, *(so_far for _, so_far, _ in sums), *moving, *flat.values()]
        backward = body.region(own, closed)
        starts = [
            zeros(x.dtype, x.dims) if total is None else total
            for k in active
            for x, total in [(node.outputs[k], self.sums[k])]
        ]
        starts += [zeros(x.dtype, x.dims) for x, _, _ in sums]
        attrs: dict[str, Any] = {
            "carries": len(starts),
            "sequences": len(whole),
            "length": self.length,
            "reverse": not (self.scan and node.attrs["reverse"]),
            "bounded": bool(self.bounds),
        }
        if sizes.symbols:
            attrs |= {"varying": varying, "sizes": sizes.symbols}
        outer = [*(stacks[t] for t in flat)]
        outer += [t for t, p in body.captured.items() if p not in own]
        made = graph.create(
            scan_op,
            (*self.bounds, *starts, *whole, *outer),
            Attrs(attrs),
            (backward,),
            "backward",
            list(body.controls),
        )
        for size in symbols_of(varying):
            graph.size_owners[size] = made
        outputs = iter(made.outputs)
        gradients: dict[Tensor, Any] = {}
        for k in active:
            gradients[self.carried[k]] = as_shape(next(outputs), self.starts[k].dims)
        for x, _, _ in sums:
            gradients[x] = next(outputs)
        for x in rows:
            gradients[x] = next(outputs)
        flat_values = [next(outputs) for _ in sparse]
        for (x, slices), found_values in zip(sparse, flat_values, strict=True):
            gradients[x] = _flat(found_values, next(outputs), slices)
        order = [gradients.get(p) for p in region.parameters]
        asked_for = [g if w else None for g, w in zip(order, self.wanted[offset:], strict=True)]
        return [*[None] * offset, *asked_for]

    def _active(self, bits, seeds: Sequence[Tensor]) -> list[int]:
        """The carried values that gradients come back through."""
        active = {
            k for k in range(self.count)
            if self.sums[k] is not None and self.carried[k].dtype.is_floating
        }  # fmt: skip
        while True:
            mask = 0
            for tensor in (*(self.region.results[k] for k in active), *seeds):
                mask |= bits.get(tensor, 0)
            more = {k for k in range(self.count) if mask >> k & 1} - active
            if not more:
                return sorted(active)
            active |= more

    def _foreign(self, tensor: Tensor) -> Tensor | None:
        """What stands in the gradient's body for a tensor of the loop's body."""
        body = self.body
        if not self.residuals.owns(tensor) and tensor not in self.residuals.parameters:
            return body.capture(tensor)
        if tensor in self.outside:
            return body.adopt(self.outside[tensor])
        found = self.moving.get(tensor, self.sizes.read.get(tensor))
        if found is not None:
            return found
        again = self.residuals.recomputed(tensor)
        if again is not None:
            return again
        if tensor not in self.rows:
            self.residuals.stored[tensor] = None
        if self.sizes.differ(tensor):
            return self.sizes.row_of_stack(body, tensor)
        found = self.moving[tensor] = body.parameter(tensor.tensor_type)
        return found

    def _stacks(self) -> dict[Tensor, Tensor]:
        """What is stacked outside: sequences, and the residuals of the loop made once more."""
        node, region = self.node, self.region
        stacks = dict(zip(self.rows, self.sequences, strict=True))
        stored = [*self.sizes.known(), *self.sizes.at, *self.residuals.stored]
        if not stored and self.scan:
            return stacks
        known = {result: k for k, result in enumerate(region.results) if k >= self.count}
        new = [tensor for tensor in stored if tensor not in known]
        if not new and self.scan:
            return stacks | {tensor: node.outputs[known[tensor]] for tensor in stored}
        whole = Region(region.parameters, (*region.results, *new), region.effects, name=region.name)
        attrs = node.attrs if self.scan else Attrs({**node.attrs, "trips": self.length})
        first = len(region.results) - self.count
        totals = self.sizes.totals({tensor: first + k for k, tensor in enumerate(new)})
        if totals:
            attrs = Attrs({**attrs, "totals": (*attrs.get("totals", ()), *totals)})
        regions = (*node.regions[:-1], whole)
        if not self.scan:
            may_run_again(self.graph, node)
        with where_it_runs(self.graph, node):
            made = self.graph.create(
                node.op, node.inputs, attrs, regions, f"{node.op.name}_residuals", node.controls
            )
        self.graph.remade[made] = self.graph.remade.get(node, node)
        for size in symbols_of((() if self.scan else (self.length,), totals)):
            self.graph.size_owners[size] = made
        outputs = dict(zip((*region.results[self.count :], *new), made.outputs[self.count :],
                           strict=True))  # fmt: skip
        return stacks | {tensor: outputs[tensor] for tensor in stored}


def _trips(graph: Graph, node: Node) -> Size:
    """The size that a loop's iterations are counted by: one for all that is made of the loop."""
    known = node.attrs["trips"]
    if known is not None:
        return known
    first = graph.remade.get(node, node)
    if first not in graph.trips:
        graph.trips[first] = symbol("trips")
    return graph.trips[first]


def _flat(values: Tensor, indices: Tensor, like: IndexedSlices) -> IndexedSlices:
    """Rows of all iterations as rows of one tensor."""
    length, *rest = values.dims
    rows = multiply(length, rest[0])
    flat = find("reshape")(values, shape=(rows, *rest[1:]))
    return IndexedSlices(flat, find("reshape")(indices, shape=(rows,)), like.dims)
