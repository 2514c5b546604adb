"""Facts about Loop statements that decide how they become code: what a loop writes, how many lanes
a vector loop has, where a register tile is split, what a parallel loop captures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..dtypes import DType, int64
from ..loop import nodes as loop
from ..sizes import Size
from .target import Target

_LONG = frozenset(
    ("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
     "tanh", "asinh", "acosh", "atanh", "sigmoid", "softplus", "erf", "erfc", "lgamma", "digamma",
     "pow", "atan2")
)  # fmt: skip
_DIVISIONS = frozenset(("div", "floordiv", "mod", "truncmod"))
_LONG_COST = 16
_MOST_LANES = 64


@dataclass
class Writes:
    """What statements store to; `declared`: the Locals among them that live inside."""

    locals: dict[int, loop.Local] = field(default_factory=dict)
    declared: set[int] = field(default_factory=set)
    buffers: bool = False


@dataclass
class VectorFacts:
    """One vector loop. `tiles`: register Locals from outside whose index has the loop's variable;
    `reductions`: those that gather a value over all lanes, by operator."""

    lanes: int
    unroll: int
    extent: int | None
    tiles: dict[int, loop.Local]
    reductions: dict[int, tuple[loop.Local, str]]


def packs(extent: int, lanes: int, masks: bool) -> list[tuple[int, int, int]]:
    """How a constant extent is covered: (start, lanes, lanes in use); lanes 0 is a scalar."""
    result = [(start, lanes, lanes) for start in range(0, extent - lanes + 1, lanes)]
    start = extent - extent % lanes
    if masks and start < extent:
        result.append((start, lanes, extent - start))
        return result
    while start < extent:
        lanes //= 2
        if extent - start >= lanes:
            result.append((start, lanes if lanes > 1 else 0, lanes))
            start += lanes
    return result


def children(expr: loop.Expr) -> tuple[loop.Expr, ...]:
    if type(expr) is loop.Apply:
        return expr.args
    return (expr.index,) if type(expr) is loop.Load else ()


class Analysis:
    """Facts of one kernel, found when asked for and kept. `demoted`: Locals that turned out to need
    memory, by id."""

    def __init__(self, kernel: loop.Kernel, target: Target, demoted: set[int]):
        self.kernel, self.target, self.demoted = kernel, target, demoted
        self._writes: dict[int, tuple[object, Writes]] = {}  # with what keeps the id
        self._vectors: dict[int, VectorFacts] = {}
        self.layouts: dict[int, list[tuple[int, int, int]]] = {}
        self._lay_out()
        self.products = _products(kernel.body)

    def in_register(self, target: loop.Target) -> bool:
        return (
            isinstance(target, loop.Local)
            and target.space == "register"
            and id(target) not in self.demoted
        )

    # -- writes

    def writes(self, body: Sequence[loop.Stmt]) -> Writes:
        return self._find_writes(body, body)

    def writes_of(self, stmt: loop.If) -> Writes:
        """What either branch stores to."""
        return self._find_writes(stmt, (stmt,))

    def _find_writes(self, key, body: Sequence[loop.Stmt]) -> Writes:
        kept = self._writes.get(id(key))
        if kept is not None:
            return kept[1]
        found = Writes()
        self._writes[id(key)] = (key, found)
        for stmt in loop.statements(body):
            if isinstance(stmt, (loop.Store, loop.Accumulate)):
                if isinstance(stmt.target, loop.Local):
                    found.locals[id(stmt.target)] = stmt.target
                else:
                    found.buffers = True
            elif isinstance(stmt, loop.Invoke):
                found.buffers = True
                for target, _ in stmt.arguments:
                    if isinstance(target, loop.Local):
                        found.locals[id(target)] = target
            elif isinstance(stmt, loop.Local):
                found.declared.add(id(stmt))
        return found

    # -- vector loops

    def vector(self, stmt: loop.For) -> VectorFacts:
        found = self._vectors.get(id(stmt))
        if found is None:
            found = self._vectors[id(stmt)] = self._find_vector(stmt)
        return found

    def _find_vector(self, stmt: loop.For) -> VectorFacts:
        varying: set[int] = {id(stmt.var)}
        inner = {id(s) for s in loop.statements(stmt.body) if isinstance(s, loop.Local)}
        tiles: dict[int, loop.Local] = {}
        reductions: dict[int, tuple[loop.Local, str]] = {}
        widest, cost = 0, 0.0

        def depends(root: loop.Expr) -> bool:
            nonlocal widest, cost
            answers: dict[int, bool] = {}
            stack: list[loop.Expr] = [root]
            while stack:
                expr = stack[-1]
                if id(expr) in answers:
                    stack.pop()
                    continue
                below = children(expr)
                missing = [child for child in below if id(child) not in answers]
                if missing:
                    stack += missing
                    continue
                stack.pop()
                answer = id(expr) in varying
                for child in below:
                    answer = answer or answers[id(child)]
                if type(expr) is loop.Load:
                    if answers[id(expr.index)]:
                        touch(expr.target)
                        widest = max(widest, expr.dtype.bits)
                    answer = answer or id(expr.target) in inner
                    cost += 0.5
                elif type(expr) is loop.Apply:
                    if answer and expr.dtype is not int64:
                        widest = max(widest, expr.dtype.bits)
                    if expr.dtype is not int64 or not answer:
                        cost += self._cost(expr)
                answers[id(expr)] = answer
            return answers[id(root)]

        def touch(target: loop.Target) -> None:
            if (
                isinstance(target, loop.Local)
                and self.in_register(target)
                and id(target) not in inner
            ):
                tiles[id(target)] = target

        for inside in loop.statements(stmt.body):
            dependent = [depends(expr) for expr in loop.operands(inside)]
            if isinstance(inside, loop.Let):
                if dependent[0]:
                    varying.add(id(inside.var))
            elif isinstance(inside, loop.Store):
                if dependent[0]:
                    touch(inside.target)
                widest = max(widest, inside.target.dtype.bits)
            elif isinstance(inside, loop.Accumulate):
                cost += 1
                widest = max(widest, inside.target.dtype.bits)
                if dependent[0]:
                    touch(inside.target)
                elif id(inside.target) not in inner and self.in_register(inside.target):
                    assert isinstance(inside.target, loop.Local)
                    reductions[id(inside.target)] = (inside.target, inside.op)
        lanes = self.target.vector_bits // max(8, widest or 32) or 1
        extent = int(stmt.extent.value) if isinstance(stmt.extent, loop.Const) else None
        unroll = 4 if cost <= 6 else 2 if cost <= 14 else 1
        unroll = max(1, min(unroll, _MOST_LANES // lanes))
        accumulators = sum(local.size for local, _ in reductions.values())
        if accumulators:
            unroll = max(1, min(unroll, 8 // accumulators))
            unroll = 1 << (unroll.bit_length() - 1)
        return VectorFacts(lanes, unroll, extent, tiles, reductions)

    def _cost(self, expr: loop.Apply) -> float:
        if expr.op in _LONG or expr.op in _DIVISIONS:
            return _LONG_COST
        return 1

    def _lay_out(self) -> None:
        """Splits each register tile as the first vector loop over it does: (start, lanes, used)."""
        for stmt in loop.statements(self.kernel.body):
            if not isinstance(stmt, loop.For) or stmt.kind != loop.VECTOR:
                continue
            facts = self.vector(stmt)
            for key, tile in facts.tiles.items():
                extent = facts.extent
                if extent is None:
                    self.demoted.add(key)
                elif key not in self.layouts and extent and tile.size % extent == 0:
                    row = packs(extent, facts.lanes, self.target.has_masks)
                    if facts.lanes > 1:
                        self.layouts[key] = [
                            (base + start, lanes, used)
                            for base in range(0, tile.size, extent)
                            for start, lanes, used in row
                        ]


def is_product(expr: loop.Expr) -> bool:
    return isinstance(expr, loop.Apply) and expr.op == "mul" and expr.dtype.is_floating


def _products(body: Sequence[loop.Stmt]) -> dict[int, loop.Expr]:
    """Names of floating products that one sum of the same block uses, and nothing else: these may
    be fused multiply-adds."""
    uses: dict[int, int] = {}
    found: dict[int, loop.Expr] = {}

    def count(root: loop.Expr, summed: set[int]) -> None:
        stack, seen = [root], set()
        while stack:
            expr = stack.pop()
            if isinstance(expr, loop.Var):
                uses[id(expr)] = uses.get(id(expr), 0) + 1
                continue
            if id(expr) in seen:
                continue
            seen.add(id(expr))
            stack.extend(children(expr))
            if isinstance(expr, loop.Apply) and expr.op in ("add", "sub"):
                summed.update(map(id, expr.args))

    def block(stmts: Sequence[loop.Stmt]) -> None:
        named: dict[int, loop.Expr] = {}
        summed: set[int] = set()
        for stmt in stmts:
            for expr in loop.operands(stmt):
                count(expr, summed)
            if isinstance(stmt, loop.Let):
                value = stmt.value
                leaves = (loop.Var, loop.Const)
                if is_product(value) and all(isinstance(c, leaves) for c in children(value)):
                    named[id(stmt.var)] = value
            elif isinstance(stmt, loop.Accumulate) and stmt.op == "add":
                summed.add(id(stmt.value))
            elif isinstance(stmt, loop.For):
                block(stmt.body)
            elif isinstance(stmt, loop.If):
                block(stmt.then)
                block(stmt.otherwise)
        found.update((key, value) for key, value in named.items() if key in summed)

    block(body)
    return {key: value for key, value in found.items() if uses.get(key) == 1}


@dataclass
class Captures:
    """What a parallel body takes from outside."""

    vars: dict[int, loop.Var] = field(default_factory=dict)
    buffers: dict[int, loop.Buffer] = field(default_factory=dict)
    locals: dict[int, loop.Local] = field(default_factory=dict)
    sizes: dict[Size, None] = field(default_factory=dict)


def captures(body: Sequence[loop.Stmt]) -> Captures:
    """Everything `body` uses and does not declare."""
    found = Captures()
    declared: set[int] = set()

    def target(value: loop.Target) -> None:
        if isinstance(value, loop.Buffer):
            found.buffers[id(value)] = value
        else:
            found.locals[id(value)] = value

    for stmt in loop.statements(body):
        if isinstance(stmt, (loop.For, loop.Let)):
            declared.add(id(stmt.var))
        elif isinstance(stmt, loop.Local):
            declared.add(id(stmt))
        elif isinstance(stmt, (loop.Store, loop.Accumulate, loop.Prefetch)):
            target(stmt.target)
        elif isinstance(stmt, loop.Invoke):
            for argument, _ in stmt.arguments:
                target(argument)
            found.sizes.update(dict.fromkeys(stmt.kernel.sizes()))
    for expr in loop.expressions(body):
        if isinstance(expr, loop.Var):
            found.vars[id(expr)] = expr
        elif isinstance(expr, loop.SizeOf):
            found.sizes[expr.size] = None
        elif isinstance(expr, loop.Load):
            target(expr.target)
        elif isinstance(expr, loop.Same):
            target(expr.a)
            target(expr.b)
    for table in (found.vars, found.locals):
        for key in declared & table.keys():
            del table[key]
    return found


def lanes_dtype(target: Target, lanes: int) -> DType:
    """The integer type to number `lanes` lanes in: as wide as makes one vector register."""
    from ..dtypes import int8, int32

    bits = (target.vector_bits or 64) // max(1, lanes)
    return int8 if bits <= 8 else int32 if bits <= 32 else int64
