"""One Loop kernel as LLVM functions, by running the kernel over SSA values.

The environment says what every element of every Local is at this point of the program. Register
Locals are nothing but that: straight code renames them, loops carry the ones they write as phis,
branches join them. Unrolled loops and vector loops over register tiles run here once for every
iteration, so indices into tiles are numbers.

A vector loop sets `lanes`, and `mask` where not all lanes run. Its wide main loop does several
vectors at once by having that many times the lanes: LLVM splits them into registers, which
interleaves independent work also through serial loops inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..dtypes import bool_, int64
from ..loop import nodes as loop
from ..sizes import Size
from . import cpu_memory as memory
from . import cpu_operators as operators
from .cpu_analysis import Analysis, children, is_product, lanes_dtype
from .cpu_blocks import Function
from .cpu_flow import first_lane, run_check, run_if
from .cpu_loops import run_for
from .cpu_memory import Place
from .cpu_registers import NeedsMemory, read_register, write_register
from .cpu_values import Linear, Operand, Value, constant, memory_type, poison
from .target import Target


class Emitter:
    """The state of one kernel's translation. `module` gives templates and other kernels their
    names and collects finished functions."""

    def __init__(self, module, kernel: loop.Kernel, name: str, target: Target, analysis: Analysis):
        self.module, self.kernel, self.name = module, kernel, name
        self.target, self.analysis = target, analysis
        self.vars: dict[int, Operand] = {}
        self.places: dict[int, Place] = {}
        self.sizes: dict[Size, Value] = {}
        self.env: dict[int, list[Value]] = {}
        self.layouts: dict[int, list[tuple[int, int, int]]] = {}
        self.lane_locals: set[int] = set()
        self.redirect: dict[int, loop.Local] = {}
        self.lanes = 0
        self.used = 0  # lanes in use of a tile's last pack
        self.mask: Value | None = None
        self.tail: Value | None = None  # the part of the mask that is the loop's end
        self.version = 0
        self.versions: dict[int, int] = {}
        self.programs: dict[int, list] = {}
        self.kept: list = []
        self.in_parallel = False
        self.f: Function

    # -- the kernel

    def run(self, linkage: str) -> None:
        parameters = ["ptr %frame"]
        for position, buffer in enumerate(self.kernel.buffers):
            parameters.append(f"ptr %p{position}")
            self.places[id(buffer)] = Place(Value(f"%p{position}", int64), buffer.dtype, None)
        for position, size in enumerate(self.kernel.sizes()):
            parameters.append(f"i64 %s{position}")
            self.sizes[size] = Value(f"%s{position}", int64, nonnegative=True)
        for position, var in enumerate(self.kernel.scalars):
            parameters.append(f"i64 %k{position}")
            self.vars[id(var)] = Value(f"%k{position}", int64, nonnegative=True)
        self.f = Function(self.name, "void", parameters, linkage)
        self.block(self.kernel.body)
        self.f.do("ret void")
        self.module.add(self.f)

    def block(self, body: Sequence[loop.Stmt]) -> None:
        for stmt in body:
            _STATEMENTS[type(stmt)](self, stmt)

    # -- expressions

    def program(self, root: loop.Expr) -> list:
        """An expression's steps, operands before users; a product that only a sum uses is left
        out, the sum being a fused multiply-add."""
        steps = self.programs.get(id(root))
        if steps is not None:
            return steps
        uses: dict[int, int] = {}
        order: list[loop.Expr] = []
        stack: list[tuple[loop.Expr, bool]] = [(root, False)]
        while stack:
            expr, ready = stack.pop()
            if ready:
                order.append(expr)
                continue
            uses[id(expr)] = uses.get(id(expr), 0) + 1
            if uses[id(expr)] == 1:
                stack.append((expr, True))
                stack.extend((self.resolved(c), False) for c in reversed(children(expr)))
        fused: dict[int, tuple[int, loop.Expr]] = {}
        for expr in order:
            if isinstance(expr, loop.Apply) and expr.op in ("add", "sub"):
                for position in (0, 1):
                    part = self.resolved(expr.args[position])
                    if is_product(part) and uses[id(part)] == 1:
                        fused[id(expr)] = (position, part)
                        break
        absent = {id(part) for _, part in fused.values()}
        steps = [(expr, fused.get(id(expr))) for expr in order if id(expr) not in absent]
        self.programs[id(root)] = steps
        self.kept.append(root)
        return steps

    def eval(self, root: loop.Expr) -> Operand:
        if type(root) is loop.Var:
            return self.vars[id(root)]
        values: dict[int, Operand] = {}
        for expr, fused in self.program(root):
            kind = type(expr)
            if kind is loop.Const:
                value = (
                    Linear(expr.value, {})
                    if expr.dtype is int64
                    else constant(expr.value, expr.dtype)
                )
            elif kind is loop.Var:
                value = self.vars[id(expr)]
            elif kind is loop.Apply:
                if fused is not None:
                    value = self.fused(expr, fused, values)
                else:
                    args = [values[id(self.resolved(a))] for a in expr.args]
                    value = self.apply(expr.op, args, expr.dtype)
            elif kind is loop.Load:
                value = self.load(expr.target, values[id(expr.index)])
            elif kind is loop.SizeOf:
                value = self.sizes[expr.size]
            else:
                value = self.same(expr)
            values[id(expr)] = value
        return values[id(root)]

    def resolved(self, expr: loop.Expr) -> loop.Expr:
        """The product that a name stands for, where nothing but one sum uses it."""
        return self.analysis.products.get(id(expr), expr)

    def same(self, expr: loop.Same) -> Value:
        a, b = self.places[id(expr.a)].base, self.places[id(expr.b)].base
        return self.f.pure(f"icmp eq ptr {a.text}, {b.text}", bool_, 0, max(a.level, b.level))

    def fused(self, expr: loop.Apply, found, values) -> Value:
        position, product = found
        other = values[id(self.resolved(expr.args[1 - position]))]
        a, b, c = self.unify([*(values[id(factor)] for factor in children(product)), other])
        if expr.op == "sub":
            if position == 0:
                c = operators.apply(self.f, self.target, "neg", [c], c.dtype)
            else:
                a = operators.apply(self.f, self.target, "neg", [a], a.dtype)
        return operators.fma(self.f, self.target, a, b, c)

    def unify(self, args: Sequence[Operand]) -> list[Value]:
        """Operands as values of one shape: all scalars, or all with a value per lane."""
        if any(a.lanes if isinstance(a, Value) else a.stride for a in args):
            return [self.f.vector(a, self.lanes) for a in args]
        return [self.f.scalar(a) for a in args]

    def apply(self, op: str, args: list[Operand], dtype) -> Operand:
        first = args[1 if op == "select" else 0].dtype
        if first is int64:
            if dtype is int64:
                form = operators.linear(self.f, op, args)
                if form is not None:
                    return form
            elif op in ("eq", "ne", "lt", "le", "gt", "ge"):
                number_type = lanes_dtype(self.target, self.lanes)
                found = operators.compare_linear(
                    self.f, op, args[0], args[1], self.lanes, number_type
                )
                if found is not None:
                    return found
            elif op == "cast" and dtype.is_integer and getattr(args[0], "stride", 0):
                # Lane numbers are made in the narrow type.
                return self.f.vector(args[0], self.lanes, dtype)
        if op == "select" and args[0].number is not None:
            return args[1] if args[0].number else args[2]
        values = self.unify(args)
        if operators.is_direct(op, first):
            return operators.apply(self.f, self.target, op, values, dtype)
        return self.module.template(self, op, values, dtype)

    def load(self, target: loop.Target, index: Operand) -> Value:
        place = self.places.get(id(target))
        if place is None:
            assert isinstance(target, loop.Local)
            return read_register(self, target, index)
        if place.lanes:
            index = self.lane_index(index)
        version = self.versions.get(place.key, self.version) if place.key else self.version
        return memory.load(self.f, place, index, self.lanes, self.mask, version)

    def lane_index(self, index: Operand) -> Operand:
        """The index of this lane's element where each element of a Local has a row of lanes."""
        scaled = self.apply("mul", [index, Linear(self.lanes, {})], int64)
        return self.apply("add", [scaled, Linear(0, {}, 1)], int64)

    # -- statements

    def do_let(self, stmt: loop.Let) -> None:
        if id(stmt.var) in self.analysis.products:
            return
        self.vars[id(stmt.var)] = self.eval(stmt.value)

    def do_local(self, stmt: loop.Local) -> None:
        if self.analysis.in_register(stmt):
            layout = self.analysis.layouts.get(id(stmt)) if not self.lanes else None
            if layout is not None:
                self.layouts[id(stmt)] = layout
                self.env[id(stmt)] = [poison(stmt.dtype, lanes) for _, lanes, _ in layout]
                return
            self.layouts.pop(id(stmt), None)
            if self.lanes:
                self.lane_locals.add(id(stmt))
            else:
                self.lane_locals.discard(id(stmt))
            self.env[id(stmt)] = [poison(stmt.dtype, self.lanes)] * stmt.size
            return
        count = max(1, stmt.size) * max(1, self.lanes)
        base = self.f.allocate(memory_type(stmt.dtype), count)
        self.places[id(stmt)] = Place(base, stmt.dtype, id(stmt), self.lanes)
        self.bump(id(stmt))

    def bump(self, key: int | None) -> None:
        """Memory changed: what was loaded from there before may not stand for it any more."""
        self.module.versions += 1
        if key is None:
            self.version = self.module.versions
        else:
            self.versions[key] = self.module.versions

    def do_store(self, stmt: loop.Store) -> None:
        index, value = self.eval(stmt.index), self.eval(stmt.value)
        self.store(stmt.target, index, value)

    def store(self, target: loop.Target, index: Operand, value: Operand) -> None:
        place = self.places.get(id(target))
        if isinstance(value, Linear):
            value = self.f.vector(value, self.lanes) if value.stride else self.f.scalar(value)
        if place is None:
            assert isinstance(target, loop.Local)
            write_register(self, target, index, value)
            return
        if place.lanes:
            index = self.lane_index(index)
        varying = index.lanes if isinstance(index, Value) else index.stride
        if self.lanes and not varying:
            self.store_once(place, index, value)
        else:
            memory.store(self.f, place, index, value, self.lanes, self.mask)
        self.bump(place.key)

    def store_once(self, place: Place, index: Operand, value: Value) -> None:
        """All lanes store to one element, which is right where those that run agree: a scalar
        store of what the first of them has."""
        f, mask = self.f, self.mask
        if mask is None or mask is self.tail or not value.lanes:
            value = f.extract(value, 0)
        else:
            value = f.extract_at(value, first_lane(self, mask))
        memory.store(f, place, index, value, 0, None)

    def do_accumulate(self, stmt: loop.Accumulate) -> None:
        target, value = stmt.target, self.resolved(stmt.value)
        index = self.eval(stmt.index)
        if self.lanes and self.is_reduction(target, index):
            shadow = self.redirect.get(id(target))
            if shadow is None or self.env[id(shadow)][0].lanes != self.lanes:
                self.reduce_into(stmt, index)
                return
            target = shadow
        factors = None
        if stmt.op == "add" and is_product(value):
            assert isinstance(value, loop.Apply)
            factors = [self.eval(factor) for factor in value.args]
        else:
            operand = self.eval(value)
        old = self.load(target, index)
        if factors is not None:
            a, b, c = self.unify([*factors, old])
            new: Operand = operators.fma(self.f, self.target, a, b, c)
        else:
            new = self.apply(stmt.op, [old, operand], target.dtype)
        if target is not stmt.target and self.mask is not None and self.mask is self.tail:
            new, old = self.unify([new, old])
            new = self.f.select(self.mask, new, old)
        self.store(target, index, new)

    def is_reduction(self, target: loop.Target, index: Operand) -> bool:
        """Whether all lanes gather into one element from outside the vector loop."""
        if not isinstance(target, loop.Local) or id(target) in self.lane_locals:
            return False
        place = self.places.get(id(target))
        if place is not None and place.lanes:
            return False
        return not (index.lanes if isinstance(index, Value) else index.stride)

    def reduce_into(self, stmt: loop.Accumulate, index: Operand) -> None:
        """Adds the lanes up by halves, then to the element."""
        value = self.f.vector(self.eval(self.resolved(stmt.value)), self.lanes)
        if self.mask is not None:
            rest = loop.neutral(stmt.op, value.dtype)
            value = self.f.select(self.mask, value, constant(rest.value, value.dtype, self.lanes))
        lanes, mask, tail = self.lanes, self.mask, self.tail
        total = self.halve(stmt.op, value, 0)
        self.lanes, self.mask, self.tail = 0, None, None
        old = self.load(stmt.target, index)
        self.store(stmt.target, index, self.apply(stmt.op, [old, total], value.dtype))
        self.lanes, self.mask, self.tail = lanes, mask, tail

    def halve(self, op: str, value: Value, until: int) -> Value:
        """Combines the upper half of the lanes with the lower until `until` are left (0: one)."""
        while value.lanes > max(until, 1):
            half = value.lanes // 2
            low, high = (self.f.shuffle(value, range(start, start + half)) for start in (0, half))
            value = operators.apply(self.f, self.target, op, [low, high], value.dtype)
        return self.f.extract(value, 0) if until == 0 else value

    def do_prefetch(self, stmt: loop.Prefetch) -> None:
        memory.prefetch(self.f, self.places[id(stmt.target)], self.eval(stmt.index), self.lanes)

    def do_invoke(self, stmt: loop.Invoke) -> None:
        f = self.f
        name = self.module.invoked(stmt.kernel)
        arguments = ["ptr %frame"]
        for target, start in stmt.arguments:
            place = self.places.get(id(target))
            if place is None:
                assert isinstance(target, loop.Local)
                raise NeedsMemory(target)
            address = f.address(place.base, memory_type(place.dtype), Linear.of(self.eval(start)))
            arguments.append(f"ptr {address.text}")
        for size in stmt.kernel.sizes():
            arguments.append(f"i64 {self.sizes[size].text}")
        for scalar in stmt.scalars:
            arguments.append(f"i64 {f.scalar(self.eval(scalar)).text}")
        f.do(f"call fastcc void @{name}({', '.join(arguments)})")
        self.bump(None)
        for target, _ in stmt.arguments:
            if isinstance(target, loop.Local):
                self.bump(id(target))


_STATEMENTS: dict[type, Callable] = {
    loop.For: run_for, loop.Let: Emitter.do_let, loop.Local: Emitter.do_local,
    loop.Store: Emitter.do_store, loop.Accumulate: Emitter.do_accumulate, loop.If: run_if,
    loop.Prefetch: Emitter.do_prefetch, loop.Check: run_check, loop.Invoke: Emitter.do_invoke,
}  # fmt: skip
