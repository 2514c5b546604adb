"""Runs Loop kernels, and Plans of them, with NumPy: the oracle of lowering and of code generation.

A kernel becomes a Python function: serial, parallel and unrolled loops are Python loops, a vector
loop computes all its lanes at once with arrays. Every access is checked: an index outside its
buffer, an element of a Local (or of fresh memory) read before it is stored, and two lanes of a
vector loop that store to one element raise `AccessError`. Code generation may assume all of these
away, so they show here first.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..dtypes import int64
from ..errors import InternalError
from ..sizes import Dim, Size, Symbol, evaluate
from . import nodes as loop
from .memory import AccessError, Memory, accumulate, check, load, masked, same, store, uniform
from .operators import function, typed


class CheckFailed(InternalError):
    """A `Check` of a kernel that was run alone was false."""

    def __init__(self, kernel: str, site: int, values: tuple[int, int]):
        super().__init__(f"kernel {kernel}: the check of site {site} failed with {values}")
        self.site, self.values = site, values


# -- translation to Python ---------------------------------------------------------------------

_INLINE = {
    "add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
_DEEPEST = 12  # nesting of an expression's text before it is named


class _Translator:
    """One kernel as the text of a Python function; `lane` and `mask` are set in vector loops."""

    def __init__(self, kernel: loop.Kernel, vectorize: bool):
        self.kernel, self.vectorize = kernel, vectorize
        self.lines: list[str] = []
        self.names: dict[int, str] = {}
        self.keep: list = []  # objects whose id names something
        self.space: dict = {
            "np": np, "Memory": Memory, "load": load, "store": store, "masked": masked,
            "accumulate": accumulate, "uniform": uniform, "check": check, "same": same,
            "invoke": _invoke,
        }  # fmt: skip
        self.depth = 1
        self.lane: str | None = None
        self.lanes = ""
        self.mask = "None"
        self.lane_locals: set[int] = set()
        self.shared: dict[int, str | None] = {}

    def emit(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def name(self, thing, prefix: str) -> str:
        if id(thing) not in self.names:
            self.names[id(thing)] = f"{prefix}{len(self.names)}"
            self.keep.append(thing)
        return self.names[id(thing)]

    def constant(self, value, prefix: str = "c") -> str:
        name = f"{prefix}_{len(self.space)}"
        self.space[name] = value
        return name

    def function(self) -> Callable:
        for position, buffer in enumerate(self.kernel.buffers):
            self.declare(buffer, f"memories[{position}]")
        for size in self.kernel.sizes():
            self.space[self.size_name(size)] = size
            self.emit(f"{self.size_name(size)}_ = sizes({self.size_name(size)})")
        for position, var in enumerate(self.kernel.scalars):
            self.emit(f"{self.name(var, 'v')} = int(scalars[{position}])")
        self.block(self.kernel.body)
        text = "def run(memories, sizes, scalars, fail, backward):\n" + "\n".join(self.lines)
        exec(compile(text + "\n    return\n", f"<kernel {self.kernel.name}>", "exec"), self.space)
        return self.space["run"]

    def size_name(self, size: Size) -> str:
        for position, other in enumerate(self.kernel.sizes()):
            if other == size:
                return f"size{position}"
        raise AssertionError(size)

    def declare(self, target: loop.Target, text: str) -> None:
        name = self.name(target, "m")
        self.emit(f"{name} = {text}")
        self.emit(f"{name}d, {name}n, {name}u = {name}.data, {name}.data.size, {name}.defined")

    # Expressions: each use of one statement is evaluated once.

    def begin(self, roots: Sequence[loop.Expr]) -> None:
        uses: dict[int, int] = {}
        stack = list(roots)
        while stack:
            expr = stack.pop()
            uses[id(expr)] = uses.get(id(expr), 0) + 1
            if uses[id(expr)] == 1:
                stack.extend(_children(expr))
        self.shared = {key: None for key, count in uses.items() if count > 1}

    def expr(self, root: loop.Expr) -> str:
        """The text of an expression; operands are translated before their users, by a stack."""
        texts: dict[int, tuple[str, int]] = {}
        stack: list[tuple[loop.Expr, bool]] = [(root, False)]
        while stack:
            expr, ready = stack.pop()
            if id(expr) in texts:
                continue
            named = self.shared.get(id(expr))
            if named is not None:
                texts[id(expr)] = (named, 0)
                continue
            if not ready:
                stack.append((expr, True))
                stack.extend((child, False) for child in _children(expr))
                continue
            children = [texts[id(child)] for child in _children(expr)]
            text = self.text(expr, [child for child, _ in children])
            depth = 1 + max((depth for _, depth in children), default=-1)
            if depth > _DEEPEST or (id(expr) in self.shared and depth):
                temporary = f"t{len(self.lines)}"
                self.emit(f"{temporary} = {text}")
                if id(expr) in self.shared:
                    self.shared[id(expr)] = temporary
                text, depth = temporary, 0
            texts[id(expr)] = (text, depth)
        return texts[id(root)][0]

    def text(self, expr: loop.Expr, args: list[str]) -> str:
        if isinstance(expr, loop.Const):
            if expr.dtype is int64 and abs(expr.value) < 2**31:
                return f"({expr.value})"
            return self.constant(typed(expr.value, expr.dtype))
        if isinstance(expr, loop.Var):
            return self.names[id(expr)]
        if isinstance(expr, loop.SizeOf):
            return self.size_name(expr.size) + "_"
        if isinstance(expr, loop.Same):
            return f"same({self.names[id(expr.a)]}, {self.names[id(expr.b)]})"
        if isinstance(expr, loop.Load):
            return self.load(expr.target, args[0])
        operand = expr.args[1 if expr.op == "select" else 0].dtype
        if expr.op in _INLINE:
            return f"({args[0]} {_INLINE[expr.op]} {args[1]})"
        if expr.op in ("floordiv", "mod") and operand is int64:
            divisor = expr.args[1]
            if isinstance(divisor, loop.Const) and divisor.value:
                return f"({args[0]} {'//' if expr.op == 'floordiv' else '%'} {args[1]})"
        called = f"f_{expr.op}_{expr.dtype}_{operand}"
        if called not in self.space:
            self.space[called] = function(expr.op, expr.dtype, operand)
        return f"{called}({', '.join(args)})"

    def load(self, target: loop.Target, index: str) -> str:
        name = self.names[id(target)]
        if self.lane is not None:
            return f"load({name}, {self.place(target, index)}, {self.mask})"
        return (
            f"({name}d[q] if 0 <= (q := {index}) < {name}n and ({name}u is None or {name}u[q])"
            f" else {name}.refuse(q, 'reads'))"
        )

    def place(self, target: loop.Target, index: str) -> str:
        """Locals of a vector loop hold one row of lanes an element."""
        if id(target) in self.lane_locals:
            return f"({index} * {self.lanes} + {self.lane})"
        return index

    # Statements.

    def block(self, body: Sequence[loop.Stmt]) -> None:
        for stmt in body:
            self.begin(loop.operands(stmt))
            getattr(self, "do_" + type(stmt).__name__.lower())(stmt)
        if not body:
            self.emit("pass")

    def do_for(self, stmt: loop.For) -> None:
        extent = self.expr(stmt.extent)
        name = self.name(stmt.var, "v")
        if stmt.kind == loop.VECTOR and self.vectorize:
            self.vector_loop(stmt, name, extent)
            return
        if self.lane is not None:
            extent = f"uniform({extent})"
        count = f"range({extent})"
        if stmt.kind == loop.PARALLEL:
            count = f"(reversed({count}) if backward else {count})"
        self.emit(f"for {name} in {count}:")
        self.inside(stmt.body)

    def inside(self, body: Sequence[loop.Stmt]) -> None:
        self.depth += 1
        self.block(body)
        self.depth -= 1

    def vector_loop(self, stmt: loop.For, name: str, extent: str) -> None:
        if self.lane is not None:
            raise AccessError(f"kernel {self.kernel.name}: a vector loop inside a vector loop")
        self.lane, self.lanes = name, f"n_{name}"
        self.emit(f"{self.lanes} = int({extent})")
        self.emit(f"if {self.lanes} > 0:")
        self.depth += 1
        self.emit(f"{name} = np.arange({self.lanes})")
        self.block(stmt.body)
        self.depth -= 1
        self.lane = None

    def do_let(self, stmt: loop.Let) -> None:
        text = self.expr(stmt.value)
        self.emit(f"{self.name(stmt.var, 'v')} = {text}")

    def do_local(self, stmt: loop.Local) -> None:
        dtype = self.constant(stmt.dtype.numpy, "d")
        size = str(stmt.size)
        if self.lane is not None:
            self.lane_locals.add(id(stmt))
            size += f" * {self.lanes}"
        self.declare(stmt, f"Memory.local({self.kernel.name!r}, {stmt.name!r}, {dtype}, {size})")

    def do_store(self, stmt: loop.Store) -> None:
        name = self.names[id(stmt.target)]
        index, value = self.expr(stmt.index), self.expr(stmt.value)
        if self.lane is not None:
            place = self.place(stmt.target, index)
            self.emit(f"store({name}, {place}, {value}, {self.mask}, {self.lanes})")
            return
        self.emit(f"i, x = {index}, {value}")
        self.emit(f"if not 0 <= i < {name}n: {name}.refuse(i, 'stores to')")
        self.emit(f"{name}d[i] = x")
        self.emit(f"if {name}u is not None: {name}u[i] = True")

    def do_accumulate(self, stmt: loop.Accumulate) -> None:
        name = self.names[id(stmt.target)]
        dtype = stmt.target.dtype
        combine = f"f_{stmt.op}_{dtype}_{dtype}"
        self.space.setdefault(combine, function(stmt.op, dtype, dtype))
        index, value = self.expr(stmt.index), self.expr(stmt.value)
        if self.lane is not None:
            inner = id(stmt.target) in self.lane_locals
            if not inner and isinstance(stmt.target, loop.Buffer):
                # Only Locals may gather a value over lanes.
                index = f"np.broadcast_to({index}, ({self.lanes},))"
            self.emit(
                f"accumulate({name}, {self.place(stmt.target, index)}, {stmt.op!r}, {value},"
                f" {self.mask}, {self.lanes}, {combine})"
            )
            return
        self.emit(f"i, x = {index}, {value}")
        old = f"({name}d[i] if 0 <= i < {name}n and ({name}u is None or {name}u[i])"
        old += f" else {name}.refuse(i, 'accumulates into'))"
        if stmt.op in _INLINE:
            self.emit(f"{name}d[i] = {old} {_INLINE[stmt.op]} x")
        else:
            self.emit(f"{name}d[i] = {combine}({old}, x)")

    def do_if(self, stmt: loop.If) -> None:
        condition = self.expr(stmt.condition)
        if self.lane is None:
            self.emit(f"if {condition}:")
            self.inside(stmt.then)
            if stmt.otherwise:
                self.emit("else:")
                self.inside(stmt.otherwise)
            return
        outer = self.mask
        chosen = f"w{len(self.lines)}"
        self.emit(f"{chosen} = {condition}")
        for body, test in ((stmt.then, chosen), (stmt.otherwise, f"np.logical_not({chosen})")):
            if body:
                self.mask = f"k{len(self.lines)}"
                self.emit(f"{self.mask} = masked({outer}, {test}, {self.lanes})")
                self.emit(f"if {self.mask}.any():")
                self.inside(body)
                self.mask = outer

    def do_prefetch(self, stmt: loop.Prefetch) -> None:
        """Changes nothing."""

    def do_check(self, stmt: loop.Check) -> None:
        condition = self.expr(stmt.condition)
        values = [self.expr(value) for value in stmt.values]
        if self.lane is None:
            self.emit(f"if not {condition}: fail({stmt.site}, int({values[0]}), int({values[1]}))")
            return
        self.emit(
            f"check(fail, {condition}, {stmt.site}, ({', '.join(values)}), {self.mask},"
            f" {self.lanes})"
        )

    def do_invoke(self, stmt: loop.Invoke) -> None:
        if self.lane is not None:
            raise AccessError(f"kernel {self.kernel.name}: a call inside a vector loop")
        parts = [
            f"({self.names[id(target)]}, {self.expr(start)})" for target, start in stmt.arguments
        ]
        scalars = [self.expr(value) for value in stmt.scalars]
        self.emit(
            f"invoke({self.constant(stmt.kernel, 'kernel')}, [{', '.join(parts)}], sizes,"
            f" [{', '.join(scalars)}], fail, backward, {self.vectorize})"
        )


def _children(expr: loop.Expr) -> tuple[loop.Expr, ...]:
    if isinstance(expr, loop.Apply):
        return expr.args
    return (expr.index,) if isinstance(expr, loop.Load) else ()


_functions: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _function(kernel: loop.Kernel, vectorize: bool) -> Callable:
    known = _functions.setdefault(kernel, {})
    if vectorize not in known:
        known[vectorize] = _Translator(kernel, vectorize).function()
    return known[vectorize]


def _invoke(kernel, parts, sizes, scalars, fail, backward, vectorize) -> None:
    if len(parts) != len(kernel.buffers) or len(scalars) != len(kernel.scalars):
        raise AccessError(f"{kernel.name} is called with the wrong number of arguments")
    memories = [
        memory.part(kernel, buffer, int(start))
        for (memory, start), buffer in zip(parts, kernel.buffers, strict=True)
    ]
    _function(kernel, vectorize)(memories, sizes, scalars, fail, backward)


# -- kernels ---------------------------------------------------------------------------------------


class SizeValues:
    """Numbers for sizes: given for a Size itself, or worked out from those of its symbols."""

    def __init__(self, given: Mapping):
        self.known: dict[Size, int] = {}
        self.symbols: dict[Symbol, int] = {}
        for key, value in given.items():
            if isinstance(key, Symbol):
                key = Size.of(key)
            self.known[key] = int(value)
            if len(key.terms) == 1 and key.terms[0][1] == 1 and len(key.terms[0][0]) == 1:
                atom = key.terms[0][0][0]
                if isinstance(atom, Symbol):
                    self.symbols[atom] = int(value)

    def __call__(self, size: Dim) -> int:
        if isinstance(size, int):
            return size
        if size not in self.known:
            self.known[size] = evaluate(size, self.symbols)
        return self.known[size]


def run_memories(
    kernel: loop.Kernel,
    memories: Sequence[Memory],
    sizes: SizeValues,
    scalars: Sequence[int] = (),
    fail: Callable[[int, int, int], None] | None = None,
    *,
    vectorize: bool = True,
    backward: bool = False,
) -> None:
    """Runs a kernel on memory whose stored elements are tracked; checks go to `fail`."""
    failures: list[tuple[int, int, int]] = []

    def collect(site: int, first: int, second: int) -> None:
        failures.append((site, first, second))

    for buffer, memory in zip(kernel.buffers, memories, strict=True):
        if memory.data.dtype != buffer.dtype.numpy or memory.data.ndim != 1:
            raise AccessError(
                f"kernel {kernel.name}: {buffer.name} is {buffer.dtype}, flat, but was given"
                f" {memory.data.dtype} of rank {memory.data.ndim}"
            )
        if not kernel.scalars and memory.data.size != sizes(buffer.size):
            raise AccessError(
                f"kernel {kernel.name}: {buffer.name} has {sizes(buffer.size)} elements"
                f" ({buffer.size}), but was given {memory.data.size}"
            )
    with np.errstate(all="ignore"):
        run = _function(kernel, vectorize)
        run(memories, sizes, scalars, fail or collect, backward)
    if failures:
        site, first, second = failures[0]
        raise CheckFailed(kernel.name, site, (first, second))


def run_kernel(
    kernel: loop.Kernel,
    buffers: Sequence[np.ndarray],
    sizes: Mapping[Size, int] | None = None,
    scalars: Sequence[int] = (),
    *,
    failures: list[tuple[int, int, int]] | None = None,
    vectorize: bool = True,
    backward: bool = False,
) -> None:
    """Runs a kernel on flat arrays, one a buffer, in the order of its parameters, in place.

    `sizes` gives numbers for symbols (as Symbol or Size). Elements of workspaces, and of outputs
    that share no memory with another buffer, count as undefined until the kernel stores them.
    The first failed Check raises CheckFailed once the kernel is done, unless `failures` is given
    to collect them all as (site, value, value). `vectorize=False` runs vector loops lane after
    lane; `backward` runs parallel loops from their last iteration to their first, which shows
    iterations that depend on each other. Raises AccessError for a wrong access.
    """
    memories = []
    for position, (buffer, array) in enumerate(zip(kernel.buffers, buffers, strict=True)):
        others = (b for at, b in enumerate(buffers) if at != position)
        fresh = buffer.role == "workspace" or (
            buffer.role == "out" and not any(np.may_share_memory(array, b) for b in others)
        )
        defined = np.zeros(array.size, bool) if fresh else None
        memories.append(Memory(kernel.name, buffer.name, array, defined))
    fail = None if failures is None else lambda *failure: failures.append(failure)
    run_memories(
        kernel, memories, SizeValues(sizes or {}), scalars, fail,
        vectorize=vectorize, backward=backward,
    )  # fmt: skip
