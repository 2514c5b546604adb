"""Takes out of scans what can be computed for all their iterations at once.

    scan(h, xs){ h' = tanh(h·U + x·W) }   -->   z = xs·W;  scan(h, z){ h' = tanh(h·U + z) }
    scan(d, xs){ d', d·W }                -->   ds = scan(d, xs){ d', d };  ds·W
    scan(s, xs){ s + aᵀ·b }               -->   as, bs = …;  s + asᵀ·bs, summed over iterations too
    map(xs){ f(x) }                       -->   F(xs)

A contraction over all iterations reads its weights once and has rows enough to run at the
machine's peak. Elementwise work stays where its operands are, unless nothing is left to iterate.
"""

from __future__ import annotations

from typing import Any

from ...ir.node import Node, Tensor, topological
from ...ir.op import CONTRACT, CONVOLVE, find
from ...ir.program import Program, Replaced
from ...ops.control_flow import scan_op
from ...ops.shapes import size_as_tensor
from ...sizes import product
from ..analysis.index_math import estimate
from ..rewrite.vectorize import Vectorizer
from .hoist import new_parameter, repeatable
from .loop_parts import Given, Loop, Stacked, changes_sizes

_HEAVY = (CONTRACT, CONVOLVE)
# Operands that are stacked for later may be so many times larger than what becomes of them: beyond
# that, writing and reading them again costs more than the work in the loop.
_WIDEST = 16


def batch_iterations(program: Program) -> Program:
    """`program` with what does not depend on earlier iterations outside of its scans."""

    def rule(node: Node) -> Replaced | list[Tensor] | None:
        if node.op is not scan_op or node.serial or changes_sizes(node):
            return None
        return _Batch(program, node).run()

    return program.rewrite(rule)


class _Batch:
    def __init__(self, program: Program, node: Node):
        self.program = program
        self.loop = Loop.of(node)
        self.changed = False

    def _vectorizer(self) -> Vectorizer:
        """For what depends on nothing but rows and captured values."""
        loop = self.loop
        known = {given.parameter: (given.outside, False) for given in loop.captured}
        known |= {given.parameter: (given.outside, True) for given in loop.rows}
        return Vectorizer(self.program.interner, loop.length, known, _movable)

    def run(self) -> Replaced | list[Tensor] | None:
        loop = self.loop
        if not loop.carried and not loop.control:
            whole = self._mapped()
            if whole is not None:
                return whole
        self._before()
        later = self._after()
        if not self.changed:
            return None
        made, outputs = loop.rebuilt(self.program)
        outputs.update(later.finish() if later is not None else {})
        return Replaced(made, [outputs[tensor] for tensor in loop.node.outputs])

    # -- everything ---------------------------------------------------------------------------

    def _mapped(self) -> list[Tensor] | None:
        """All results without a loop, where that is possible."""
        vectorizer = self._vectorizer()
        found = []
        for stack in self.loop.stacked:
            value = vectorizer.of(stack.row)
            if value is None:
                return None
            tensor, wide = value
            shape = (self.loop.length, *stack.row.dims)
            found.append(tensor if wide else find("broadcast_to")(tensor, shape=shape))
        return found

    # -- before the loop ----------------------------------------------------------------------

    def _before(self) -> None:
        """Contractions of rows alone, with the elementwise work that follows them."""
        loop, vectorizer = self.loop, self._vectorizer()
        backed: set[Tensor] = set()  # for all rows at once, and with a contraction behind it
        moved: dict[Tensor, None] = {}
        results = set(loop.results())
        for node in loop.nodes():
            heavy = node.op.kind in _HEAVY
            if heavy or any(tensor in backed for tensor in node.inputs):
                found = [vectorizer.of(tensor) for tensor in node.outputs]
                if found and all(value is not None and value[1] for value in found):
                    backed.update(node.outputs)
                    moved.update({t: None for t in node.outputs if t in results})
                    continue
            moved.update({t: None for t in node.inputs if t in backed})
        if not moved:
            return
        replaced: dict[Tensor, Tensor] = {}
        for tensor in moved:
            value = vectorizer.of(tensor)
            assert value is not None
            replaced[tensor] = new_parameter(tensor, len(replaced))
            loop.rows.append(Given(value[0], replaced[tensor]))
        loop.substitute(replaced)
        self.changed = True

    # -- after the loop -----------------------------------------------------------------------

    def _after(self) -> _Later | None:
        """Contractions that no later iteration needs: results, or terms of sums."""
        loop = self.loop
        needed = [*(each.result for each in loop.carried), *loop.go_on]
        core = topological([t.node for t in needed] + list(loop.effects))
        later = _Later(self)
        inside = set(core)
        for stack in list(loop.stacked):
            if stack.row.node.op.kind in _HEAVY and stack.row.node not in inside:
                later.take_stack(stack)
        sums = self._sums()
        for each, term in sums:
            if term.node.op.kind in _HEAVY:
                later.take_sum(each, term)
        for each, term in sums:
            if term.node.op.name == "reduce":
                later.take_sum(each, term)
        if not later.taken:
            return None
        self.changed = True
        return later

    def _sums(self):
        """Carried values that only add up terms, with the terms."""
        loop = self.loop
        users: dict[Tensor, list[Node]] = {}
        for node in loop.nodes():
            for tensor in node.inputs:
                users.setdefault(tensor, []).append(node)
        results = loop.results()
        found = []
        for each in loop.carried:
            node = each.result.node
            if node.op.name != "add" or each.parameter not in node.inputs:
                continue
            if users.get(each.parameter) != [node] or results.count(each.result) != 1:
                continue
            if users.get(each.result) or each.parameter in results:
                continue
            a, b = node.inputs
            term = b if a is each.parameter else a
            alone = users.get(term) == [node] and term not in results
            if term is not each.parameter and term.dims == each.parameter.dims and alone:
                found.append((each, term))
        return found


class _Later:
    """What is computed of stacks when the loop is over."""

    def __init__(self, batch: _Batch):
        self.loop = batch.loop
        self.program = batch.program
        self.vectorizer = batch._vectorizer()
        self.stacks: dict[Tensor, Stacked] = {stack.row: stack for stack in self.loop.stacked}
        self.taken: list[tuple] = []

    def _can_stack(self, node: Node) -> bool:
        """Whether a contraction's operands can be had for all iterations, at a bearable price."""
        extra = sum(
            estimate(product(tensor.dims))
            for tensor in dict.fromkeys(node.inputs)
            if not self._is_there(tensor)
        )
        return _movable(node) and extra <= _WIDEST * estimate(product(node.outputs[0].dims))

    def _is_there(self, tensor: Tensor) -> bool:
        return tensor in self.stacks or self.vectorizer.can(tensor)

    def _keep(self, tensor: Tensor) -> None:
        if not self._is_there(tensor):
            stack = Stacked(tensor, None)
            self.loop.stacked.append(stack)
            self.stacks[tensor] = stack

    def take_stack(self, stack: Stacked) -> None:
        node = stack.row.node
        wide = sum(
            estimate(product(t.dims)) for t in dict.fromkeys(node.inputs) if not self._is_there(t)
        )
        if not _movable(node) or wide > _WIDEST * estimate(product(stack.row.dims)):
            return
        for tensor in node.inputs:
            self._keep(tensor)
        self.loop.stacked.remove(stack)
        del self.stacks[stack.row]
        self.taken.append(("stack", stack))

    def take_sum(self, each, term: Tensor) -> None:
        node = term.node
        if node.op.name == "reduce":
            if node.attrs["kind"] != "sum" or not self._is_there(node.inputs[0]):
                return
        elif not self._can_stack(node):
            return
        for tensor in node.inputs:
            self._keep(tensor)
        self.loop.carried.remove(each)
        self.taken.append(("sum", each, term))

    def finish(self) -> dict[Tensor, Tensor]:
        """The tensors that take the place of outputs, once the loop is made."""
        vectorizer = self.vectorizer
        for row, stack in self.stacks.items():
            assert stack.whole is not None
            vectorizer.known[row] = stack.whole, True
        found: dict[Tensor, Tensor] = {}
        for kind, *what in self.taken:
            if kind == "stack":
                (stack,) = what
                tensor, wide = vectorizer.of(stack.row)  # type: ignore[misc]
                shape = (self.loop.length, *stack.row.dims)
                whole = tensor if wide else find("broadcast_to")(tensor, shape=shape)
                found[stack.whole] = whole
            else:
                each, term = what
                found[each.final] = find("add")(each.start, self._summed(term))
        return found

    def _summed(self, term: Tensor) -> Tensor:
        """The sum of a term over all iterations."""
        node = term.node
        operands = [self.vectorizer.of(tensor) for tensor in node.inputs]
        tensors = [tensor for tensor, _ in operands]  # type: ignore[misc]
        wide = [flag for _, flag in operands]  # type: ignore[misc]
        if node.op.name == "reduce":
            axes = (0, *(axis + 1 for axis in node.attrs["axes"]))
            return find("reduce")(tensors[0], kind="sum", axes=axes)
        if node.op.kind == CONTRACT and all(wide) and node.attrs.get("of") != "rows":
            moved: dict[str, Any] = {
                key: tuple(tuple(axis + 1 for axis in axes) for axes in node.attrs[key])
                for key in ("batch", "contracting")
                if key in node.attrs
            }
            left, right = moved["contracting"]
            moved["contracting"] = ((0, *left), (0, *right))
            if node.op.name == "contract_where":
                moved["of"] = node.attrs["of"]
            return node.op(*tensors, **moved)
        tensor, flag = self.vectorizer.of(term)  # type: ignore[misc]
        if flag:
            return find("reduce")(tensor, kind="sum", axes=(0,))
        length = find("cast")(_count(self.loop.length), dtype=term.dtype)
        return find("mul")(tensor, length)


def _count(length) -> Tensor:
    return size_as_tensor(length, "int32")


def _movable(node: Node) -> bool:
    return repeatable(node) and not node.regions
