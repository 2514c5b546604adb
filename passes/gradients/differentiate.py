"""Derivatives, made of operations of the same graph while it is being defined.

    y = f(g(x))      -->      dx = vjp_g(vjp_f(1))

Reverse mode sweeps once from the results to what they depend on, in the order of creation, and asks
every operation for its own rule. Rules are written with public operations, so derivatives have
derivatives. Forward mode is reverse mode twice.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from ...errors import InternalError, NonDifferentiableError, TypeRuleError
from ...ir.graph import Graph, user_location
from ...ir.node import Node, Tensor, topological
from ...ir.op import find
from ...ir.variable import VariableHandle
from ...ops.convert import convert, reject
from ...ops.creation import ones_like, zeros_like
from ...ops.indexed_slices import IndexedSlices, sum_slices
from ...ops.region import inline_call
from ...sizes import product
from .differentiate_bodies import gradient_of_bodies

__all__ = [
    "AggregationMethod",
    "UnconnectedGradients",
    "forward_gradients",
    "gradients",
    "hessian_vector_product",
    "hessians",
]

Gradient = Any  # Tensor or IndexedSlices


class UnconnectedGradients(enum.Enum):
    """What `gradients` gives for an x on which no y depends: None, or zeros."""

    NONE = "none"
    ZERO = "zero"


class AggregationMethod:
    """Accepted for TensorFlow 1's signature; gradients are always added in one fixed order."""

    ADD_N = 0
    DEFAULT = ADD_N
    EXPERIMENTAL_TREE = 1
    EXPERIMENTAL_ACCUMULATE_N = 2


def gradients(
    ys,
    xs,
    grad_ys=None,
    name="gradients",
    colocate_gradients_with_ops=False,
    gate_gradients=False,
    aggregation_method=None,
    stop_gradients=None,
    unconnected_gradients=UnconnectedGradients.NONE,
) -> list:
    """The derivatives of the sum of all `ys` by each of `xs`, as a list.

    ys, xs: tensors or variables, one or a list. An x may be any tensor, between placeholders and
        results; a variable stands for every read of it.
    grad_ys: for each y a tensor of its dtype and shape to begin with, or None for ones
    stop_gradients: tensors that count as constants
    unconnected_gradients: "none" or "zero", for an x on which no y depends

    A derivative has the dtype and shape of its x; by what was only read by rows (`gather`) it is
    an IndexedSlices. It is None only where no y depends on the x through floats. The other
    arguments are accepted and without effect. Raises NonDifferentiableError where an operation
    between an x and a y has no derivative.
    """
    kind = UnconnectedGradients(unconnected_gradients)
    targets = [convert(y, what=name) for y in _as_list(ys)]
    sources = _as_list(xs)
    if not targets:
        reject("gradients", "there is no y")
    graph = targets[0].graph
    assert graph is not None
    with graph.as_default(), graph.name_scope(name or "gradients"):
        begins = _initial(targets, _as_list(grad_ys))
        stops = [convert(t, what="gradients") for t in _as_list(stop_gradients)]
        found = _Sweep(graph, sources, stops).run(targets, begins)
        if kind is UnconnectedGradients.ZERO:
            found = [zeros_like(x) if g is None else g for x, g in zip(sources, found, strict=True)]
    return found


def _as_list(values) -> list:
    if values is None:
        return []
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _initial(ys: Sequence[Tensor], given: Sequence) -> list[Gradient]:
    """What the sweep begins with at each y."""
    if given and len(given) != len(ys):
        reject("gradients", f"{len(given)} grad_ys for {len(ys)} ys", ValueError)
    result: list[Gradient] = []
    for y, start in zip(ys, given or [None] * len(ys), strict=True):
        if not (y.dtype.is_floating or y.dtype.is_integer):
            reject("gradients", f"{y.name} is {y.dtype}, so it has no gradient", TypeRuleError)
        if start is None:
            result.append(ones_like(y) if y.dtype.is_floating else None)
            continue
        if isinstance(start, IndexedSlices):
            result.append(start)
            continue
        tensor = convert(start, y.dtype, what="gradients")
        if y.rank is not None and tensor.rank is not None:
            pairs = list(zip(y.dims or (), tensor.dims or (), strict=False))
            if y.rank != tensor.rank or any(
                a != b for a, b in pairs if isinstance(a, int) and isinstance(b, int)
            ):
                reject(
                    "gradients",
                    f"{y.name} is {y.tensor_type}, its grad_ys {tensor.tensor_type}; "
                    "the shapes must be equal",
                )
        result.append(tensor)
    return result


class _Sweep:
    """One reverse sweep from some tensors to `sources`."""

    def __init__(self, graph: Graph, sources: Sequence, stops: Sequence[Tensor]):
        self.graph = graph
        self.sources = sources
        self.stops = set(stops)
        self.variables: dict[VariableHandle, list[Tensor]] = {}
        self.tensors: set[Tensor] = set()
        for source in sources:
            handle = getattr(source, "handle", None)
            if isinstance(handle, VariableHandle):
                self.variables.setdefault(handle, [])
            elif isinstance(source, Tensor):
                self.tensors.add(source)
            else:
                reject("gradients", f"{source!r} is neither a tensor nor a variable", TypeError)
        self.gradients: dict[Tensor, list[Gradient]] = {}

    def run(
        self,
        ys: Sequence[Tensor],
        begins: Sequence[Gradient],
        stop: frozenset[Node] = frozenset(),
    ) -> list[Gradient | None]:
        """A gradient for each source; the nodes of `stop` are where a body begins."""
        nodes = sorted(topological((y.node for y in ys), stop), key=lambda node: node.serial)
        reached = self._reached(nodes)
        for y, begin in zip(ys, begins, strict=True):
            if begin is not None and y in reached:
                self.gradients.setdefault(y, []).append(begin)
        kept: dict[Tensor, Gradient] = {}
        for node in reversed(nodes):
            parts = [self.gradients.pop(t, None) for t in node.outputs]
            if not any(parts):
                continue
            sums = [None if p is None else _sum(p) for p in parts]
            for tensor, total in zip(node.outputs, sums, strict=True):
                if tensor in self.tensors:
                    kept[tensor] = total
            sums = [None if t in self.stops else g for t, g in zip(node.outputs, sums, strict=True)]
            if any(g is not None for g in sums) and any(t in reached for t in node.inputs):
                self._through(node, sums, reached)
        for tensor in [t for t in self.gradients if t in self.tensors]:
            kept[tensor] = _sum(self.gradients[tensor])
        return [self._result(source, kept) for source in self.sources]

    def _result(self, source, kept: dict[Tensor, Gradient]) -> Gradient | None:
        if isinstance(source, Tensor):
            return kept.get(source)
        parts = [kept[read] for read in self.variables[source.handle] if read in kept]
        return _sum(parts) if parts else None

    def _reached(self, nodes: Sequence[Node]) -> set[Tensor]:
        """The float tensors that depend on a source through floats."""
        reached = {tensor for tensor in self.tensors if tensor.dtype.is_floating}
        for node in nodes:
            if node.op.name == "variable_read" and node.attrs["variable"] in self.variables:
                self.variables[node.attrs["variable"]].append(node.outputs[0])
                self.tensors.add(node.outputs[0])
            through = any(
                tensor in reached and tensor not in self.stops
                for position, tensor in enumerate(node.inputs)
                if position not in node.op.shape_only
            )
            for tensor in node.outputs:
                if tensor.dtype.is_floating and (through or tensor in self.tensors):
                    reached.add(tensor)
        return reached

    def _through(self, node: Node, sums: list[Gradient | None], reached: set[Tensor]) -> None:
        if node.op.name == "identity":
            results: Sequence[Gradient | None] = sums  # rows stay rows
        else:
            with self.graph.name_scope(f"{node.op.name}_grad"):
                dense = [None if g is None else convert(g) for g in sums]
                if node.regions and node.op.name != "call":
                    wanted = [t in reached and t not in self.stops for t in node.inputs]
                    results = gradient_of_bodies(self.graph, node, dense, wanted, self._between)
                else:
                    results = self._rule(node, dense)
        if len(results) != len(node.inputs):
            raise InternalError(
                f"the derivative of {node.op.name} gives {len(results)} gradients for "
                f"{len(node.inputs)} inputs"
            )
        for tensor, gradient in zip(node.inputs, results, strict=True):
            if gradient is None or tensor not in reached:
                continue
            if gradient.dtype is not tensor.dtype:
                raise TypeRuleError(
                    f"the gradient of {node.name} ({node.op.name}) by {tensor.name} is "
                    f"{gradient.dtype}, not {tensor.dtype}\n  at {self.graph.location(node)}"
                )
            self.gradients.setdefault(tensor, []).append(gradient)

    def _between(
        self, ys: Sequence[Tensor], begins: Sequence[Tensor], xs: Sequence[Tensor]
    ) -> list[Gradient | None]:
        """Gradients within a body."""
        return _Sweep(self.graph, xs, ()).run(ys, begins)

    def _rule(self, node: Node, sums: list[Tensor | None]) -> Sequence[Gradient | None]:
        if node.op.name == "call" and node.attrs["gradient"] is None:
            # No derivative of its own: that of its body, laid out here.
            outputs = inline_call(node)
            sweep = _Sweep(self.graph, list(dict.fromkeys(node.inputs)), ())
            stop = frozenset(tensor.node for tensor in node.inputs)
            found = dict(zip(sweep.sources, sweep.run(outputs, sums, stop), strict=True))
            first: set[Tensor] = set()
            # A tensor passed twice has one gradient, which counts once.
            return [
                None if t in first or first.add(t) else found[t]  # type: ignore[func-returns-value]
                for t in node.inputs
            ]
        if node.op.vjp is None:
            raise NonDifferentiableError(
                f"{node.name} ({node.op.name}) has no derivative, but a gradient was asked for "
                f"through it\n  defined at {self.graph.location(node)}\n"
                f"  asked for at {user_location()}\n"
                "graphflow.stop_gradient makes it count as a constant"
            )
        return node.op.vjp(node, sums)


def _sum(parts: Sequence[Gradient]) -> Gradient:
    """The sum, rows after whole tensors; rows of all where all are rows."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, IndexedSlices) for part in parts):
        return sum_slices(parts)
    joined = _side_by_side([part for part in parts if isinstance(part, Tensor)], len(parts))
    if joined is not None:
        return joined
    parts = sorted(parts, key=lambda part: isinstance(part, IndexedSlices))
    total = convert(parts[0])
    for part in parts[1:]:
        if isinstance(part, IndexedSlices):
            # Into the sum itself: in a loop, the rows of an iteration cost what they are.
            total = find("scatter")(total, part.indices, part.values, mode="add")
        else:
            total = find("add")(total, part)
    return total


def _side_by_side(parts: Sequence[Tensor], count: int) -> Tensor | None:
    """The sum of the gradients of slices that lie next to each other and make up the whole.

        pad(a; 0, 2) + pad(b; 1, 1) + pad(c; 2, 0)   -->   concat(a, b, c)

    Those that do not reach over all of another dimension are padded there as before. Not of
    transposed parts: each would be put into memory first.
    """
    for part in parts if len(parts) == count else ():
        node = part.node
        if node.op.name != "pad" or node.attrs["mode"] != "constant" or node.attrs["value"] != 0:
            return None
        if node.inputs[0].node.op.name == "transpose":
            return None
    if len(parts) != count or not parts:
        return None
    for axis in range(len(parts[0].dims)):
        rows = sorted(parts, key=lambda part: _place(part.node, axis))
        end = 0
        for part in rows:
            first, size = _place(part.node, axis), part.node.inputs[0].dims[axis]
            if first != end or not isinstance(size, int):
                break
            end += size
        else:
            if rows[-1].node.attrs["after"][axis] == 0:
                return find("concat")(*(_unpadded(part.node, axis) for part in rows), axis=axis)
    return None


def _place(pad: Node, axis: int) -> float:
    """Where along an axis what is padded begins; unknown places are behind all known ones."""
    before = pad.attrs["before"][axis]
    return before if isinstance(before, int) else float("inf")


def _unpadded(pad: Node, axis: int) -> Tensor:
    """`pad` without its paddings along an axis."""
    (source,), attrs = pad.inputs, dict(pad.attrs)
    for side in ("before", "after"):
        attrs[side] = tuple(0 if k == axis else n for k, n in enumerate(attrs[side]))
    if all(n == 0 for n in (*attrs["before"], *attrs["after"])):
        return source
    return find("pad")(source, **attrs)


# -- derivatives of derivatives ------------------------------------------------------------------


def hessian_vector_product(ys, xs, vectors, name="hessian_vector_product") -> list:
    """For each x the product of the Hessian of the sum of `ys` with `vectors`, one for each x.

    The gradient of the inner product of the gradient with the vectors (B. Pearlmutter, "Fast exact
    multiplication by the Hessian", 1994). None where the gradient does not depend on x.
    """
    sources, given = _as_list(xs), _as_list(vectors)
    if len(given) != len(sources):
        reject("hessian_vector_product", f"{len(given)} vectors for {len(sources)} xs", ValueError)
    first = gradients(ys, sources, name=name)
    products = []
    for gradient, vector in zip(first, given, strict=True):
        if gradient is not None:
            dense = convert(gradient)
            constant = find("stop_gradient")(convert(vector, dense.dtype, what=name))
            products.append(find("mul")(dense, constant))
    if not products:
        return [None] * len(sources)
    return gradients(products, sources, name=name)


def hessians(
    ys,
    xs,
    name="hessians",
    colocate_gradients_with_ops=False,
    gate_gradients=False,
    aggregation_method=None,
) -> list[Tensor]:
    """For each x the matrix of second derivatives of the sum of `ys`, of shape x.shape + x.shape.

    One gradient for each element of x, so its size must be known and should be small; for large
    ones `hessian_vector_product` gives what most methods need. The other arguments are accepted
    and without effect.
    """
    result = []
    for x in _as_list(xs):
        tensor = x if isinstance(x, Tensor) else convert(x)
        dims = tensor.dims
        count = None if dims is None else product(dims)
        if dims is None or not isinstance(count, int):
            reject("hessians", f"the size of {tensor.name} {tensor.tensor_type} must be known")
        (first,) = gradients(ys, x, name=name, unconnected_gradients="zero")
        flat = find("reshape")(convert(first), shape=(count,))
        rows = []
        for index in range(count):
            element = find("slice")(flat, begin=(index,), size=(1,), strides=(1,))
            (row,) = gradients(element, x, name=name, unconnected_gradients="zero")
            rows.append(find("reshape")(convert(row), shape=(1, *dims)))
        if rows:
            stacked = find("concat")(*rows, axis=0) if len(rows) > 1 else rows[0]
        else:
            stacked = find("broadcast_to")(convert(0, tensor.dtype), shape=(0, *dims))
        result.append(find("reshape")(stacked, shape=(*dims, *dims)))
    return result


def forward_gradients(ys, xs, grad_xs=None, name="forward_gradients") -> list:
    """For each y its derivative in the direction `grad_xs` (ones by default) of all `xs`.

    Reverse mode twice: the first sweep is linear in the gradients it begins with, and its own
    derivative by them is forward mode (J. Townsend, "A new trick for calculating Jacobian vector
    products", 2017). What the first sweep begins with is computed by no run. None where y depends
    on no x.
    """
    targets = [convert(y, what=name) for y in _as_list(ys)]
    sources = _as_list(xs)
    directions = _as_list(grad_xs)
    if directions and len(directions) != len(sources):
        reject("forward_gradients", f"{len(directions)} grad_xs for {len(sources)} xs", ValueError)
    if not targets:
        return []
    graph = targets[0].graph
    assert graph is not None
    result: list[Tensor | None] = []
    with graph.as_default():
        for y in targets:
            begin = find("identity")(zeros_like(y))
            swept = gradients(y, sources, grad_ys=begin, name=name)
            pairs = [
                (convert(g), None if not directions else directions[number])
                for number, g in enumerate(swept)
                if g is not None
            ]
            if not pairs:
                result.append(None)
                continue
            dense, starts = zip(*pairs, strict=True)
            given = [ones_like(g) if s is None else s for g, s in zip(dense, starts, strict=True)]
            (forward,) = gradients(list(dense), begin, grad_ys=given, name=name)
            result.append(None if forward is None else convert(forward))
    return result
