"""Derivatives of operations with bodies.

    c', ys = scan(c, xs){ body }   -->   dc, dxs, dk = scan(dc', dys, residuals, xs; backwards)

The gradient of a loop is a scan over its iterations in reverse. What its body needs of the values
that the loop computed comes from *residuals*: the loop is made once more with those values among
its results, one row an iteration, and takes the place of the first one when a run is cut
(`merge_loops`). Values that cost next to nothing are computed again instead. Since the gradient is
itself a scan, it can be differentiated like any other.

Of a branch, the gradient is a branch on the same predicate.

A loop or branch in the body of a loop runs again in the gradient's body. Where it draws random
numbers or uses variables that would be something else: then it is made once more where it is, and
what the gradient needs of it is stored with the other values of that body.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from ...dtypes import DType, int64
from ...errors import NonDifferentiableError
from ...ir.body import Body
from ...ir.graph import Graph
from ...ir.loop_sizes import found_out
from ...ir.node import Attrs, Node, Region, Tensor, all_nodes
from ...ir.op import POINTWISE, STATE, VIEW, find
from ...ir.types import TensorType
from ...ops.control_flow import cond_op, scan_op, split_scan, while_op, within
from ...ops.convert import convert
from ...ops.cumulative import cumsum
from ...ops.indexed_slices import IndexedSlices
from ...ops.movement import as_shape
from ...sizes import Dim, Size, Symbol, multiply, symbol, symbols_of
from .changing_sizes import ChangingSizes

Sweep = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], list]
CHEAP_FLOPS = 2.0  # of an element that is computed again rather than stored
_DEEPEST = 8


def gradient_of_bodies(
    graph: Graph, node: Node, sums: Sequence[Tensor | None], wanted: Sequence[bool], sweep: Sweep
) -> list[Any]:
    """The gradients of a node's inputs, where they are `wanted`.

    sweep(ys, begins, xs): gradients of each x, of nodes that lie between, as operations here
    """
    if node.op is cond_op:
        return _Branches(graph, node, sums, wanted, sweep).run()
    if node.op in (while_op, scan_op):
        return _Loop(graph, node, sums, wanted, sweep).run()
    raise NonDifferentiableError(f"{node.name} ({node.op.name}) has no derivative")


def zeros(dtype: DType, dims: Sequence[Dim]) -> Tensor:
    zero = convert(False) if dtype.is_bool else convert(0, dtype)
    return find("broadcast_to")(zero, shape=tuple(dims))


class _Residuals:
    """What a body of a gradient reads of the values of a body: stored, or computed again.

    Values whose size a loop inside the body finds out differ from iteration to iteration and cannot
    be stacked: that loop runs again.
    """

    def __init__(self, graph: Graph, forward: Region, free: Callable[[Tensor], bool]):
        self.graph = graph
        self._nodes = set(forward.nodes())
        self.home = _home(graph, forward)
        self.parameters = set(forward.parameters)
        self.free = free
        self.stored: dict[Tensor, None] = {}
        self.again: dict[Tensor, Tensor] = {}
        self.loops: dict[Any, Node] = {}  # inside, by the size they find out
        for node in forward.nodes():
            for size in found_out(node.attrs):
                self.loops.setdefault(size, node)

    def owns(self, tensor: Tensor) -> bool:
        """Whether a value is computed in the body; also by what was made there since."""
        if tensor.node in self._nodes:
            return True
        return self.home is not None and self.graph.body_of.get(tensor.node) is self.home

    def _inner_sizes(self, value: Any) -> list:
        return [s for s in symbols_of(value) if s in self.loops] if self.loops else []

    def is_free(self, tensor: Tensor, depth: int = 0) -> bool:
        """Whether a value can be had without storing anything for it."""
        node = tensor.node
        if node.op.name == "constant" or tensor in self.stored:
            return True
        if tensor in self.parameters:
            return self.free(tensor)
        if not self.owns(tensor):
            return True
        cheap = node.op.kind == VIEW or (
            node.op.kind == POINTWISE and node.op.flops <= CHEAP_FLOPS and not node.op.fallible
        )
        if not cheap or node.op.serial or depth > _DEEPEST:
            return False
        if self._inner_sizes(tuple(node.attrs.values())):
            return False
        return all(
            p in node.op.shape_only or self.is_free(t, depth + 1) for p, t in enumerate(node.inputs)
        )

    def recomputed(self, tensor: Tensor) -> Tensor | None:
        """The value computed again in the body that is open, or None where it is to be stored."""
        if tensor in self.parameters or tensor in self.stored:
            return None
        if not self._inner_sizes(tensor.dims or ()) and not self.is_free(tensor):
            return None
        if tensor not in self.again:
            node = tensor.node
            self._copy(node)
        return self.again[tensor]

    def loops_again(self, body: Body, sizes: Collection[Symbol]) -> list[Node]:
        """The loops that find out these sizes, as they run again in a gradient's body."""
        loops = [self.loops[size] for size in sizes if size in self.loops]
        for loop in loops:
            with self.graph.inside(body):
                self._copy(loop)
        return [self.again[loop.outputs[0]].node for loop in loops]

    def _copy(self, node: Node) -> None:
        if node.outputs[0] not in self.again:
            _may_run_again(self.graph, node)
            copy = self.graph.create(node.op, node.inputs, node.attrs, node.regions)
            self.again.update(zip(node.outputs, copy.outputs, strict=True))
            if node in self.loops.values():
                self.graph.remade[copy] = self.graph.remade.get(node, node)


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


class _Loop:
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
        self.residuals = _Residuals(graph, self.region, lambda p: p not in self.carried)
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
            _may_run_again(self.graph, node)
        with _where_it_runs(self.graph, node):
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


class _Branches:
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
            residuals = _Residuals(graph, region, lambda p: True)
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
                    with graph.inside(_home(graph, region)):
                        more.append(zeros(tensor.dtype, tensor.dims))
            regions.append(
                Region(region.parameters, (*region.results, *more), region.effects, region.name)
            )
        with _where_it_runs(graph, node):
            made = graph.create(
                cond_op, node.inputs, node.attrs, tuple(regions), "cond_residuals", node.controls
            )
        graph.remade[made] = graph.remade.get(node, node)
        outputs = iter(made.outputs[len(node.outputs) :])
        return [[next(outputs) for _ in tensors] for tensors in stored]


def _only_once(node: Node) -> bool:
    """Whether running a node again may give something else, or do something twice."""
    inner = all_nodes(n for region in node.regions for n in region.nodes())
    return any(n.op.kind == STATE for n in inner)


def _where_it_runs(graph: Graph, node: Node):
    """Makes operations where the node is, if it must not run again elsewhere."""
    return graph.inside(graph.body_of.get(node)) if _only_once(node) else nullcontext()


def _may_run_again(graph: Graph, node: Node) -> None:
    """Raises where a loop of unknown length would have to run again in a gradient and must not."""
    home, body = graph.body_of.get(node), graph.body
    while body is not None and body is not home:
        body = body.parent
    if body is home or not _only_once(node):
        return
    raise NonDifferentiableError(
        f"{node.name}: a gradient goes back over this loop inside of a loop, whose number of "
        "iterations differs from one to the next: it would run again, and it draws random numbers "
        f"or uses variables that change\n  defined at {graph.location(node)}\n"
        "draw and read them outside of the inner loop, or give it a number of iterations that is "
        "known when a run begins"
    )


def _home(graph: Graph, region: Region) -> Body | None:
    for node in region.nodes():
        if node in graph.body_of and node.op.name != "constant":
            return graph.body_of[node]
    return None
