"""Loop IR: one kernel as loops, loads, stores and expressions. Everything here is frozen.

    Kernel := kernel NAME(Buffer*) Stmt*
    Stmt   := For(var, extent, kind, body)   kind: serial | parallel(grain) | vector | unrolled |
                                                    block | thread
            | Let(var, value)                  names a value; visible until the end of its block
            | Local(dtype, shape, space)       register tile, or stack memory of this iteration
            | Store(target, index, value)
            | Accumulate(target, index, op, value)   target[index] = op(target[index], value)
            | If(condition, then, otherwise)
            | Prefetch(target, index)          a hint that the element is read soon
            | Check(condition, site, values)   a run-time check; fails the step, not the kernel
            | Invoke(kernel, arguments)        calls another kernel on parts of buffers
    Expr   := Const | Var | SizeOf(Size) | Load(target, index) | Apply(op, args) | Same(a, b)
    target := Buffer | Local

Every index is one int64 expression, in elements, from the start of its target: layouts are
arithmetic. Loops count from 0. Meaning of the kinds:

* parallel: iterations are independent and may run on any thread, in chunks of at most `grain`,
  which do not depend on the number of threads. Only at the top of a kernel, or under other
  parallel loops.
* vector: iterations are independent (apart from Accumulate into Locals declared outside, which
  is a reduction over a fixed tree); run W at a time, with a masked tail. A vector loop contains
  no other vector loop. Serial loops inside run once for all lanes.
* unrolled: constant extent, expanded; makes indices into register tiles constant.

Locals in `register` space are scalars or tiles whose every index is constant after unrolling (and
after splitting vector loops of constant extent); one declared inside a vector loop has a lane each.
Locals in `stack` space are memory. An element of a Local is undefined until stored.

Booleans are dtype bool (i1 in registers, a byte in memory). Integer arithmetic wraps. Floating
`Accumulate(add, mul(a, b))` and `add(mul(a, b), c)` may be contracted to a fused multiply-add;
nothing else is reassociated or approximated except by the kernel's explicit structure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Union

from ..dtypes import DType, bool_, int64
from ..sizes import Dim, Size

SERIAL, PARALLEL, VECTOR, UNROLLED = "serial", "parallel", "vector", "unrolled"
BLOCK, THREAD = "block", "thread"
LOOP_KINDS = (SERIAL, PARALLEL, VECTOR, UNROLLED, BLOCK, THREAD)

# Expression operators by what they give. Comparisons and logic give bool.
ARITHMETIC = (
    # two operands of the result's type; div is true division (float) or truncation (int)
    "add", "sub", "mul", "div", "floordiv", "mod", "truncmod", "maximum", "minimum", "pow",
    "atan2", "and", "or", "xor", "shl", "shr", "sar",
)  # fmt: skip
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
UNARY = (
    "neg", "abs", "sign", "not", "floor", "ceil", "round", "trunc", "sqrt", "rsqrt", "reciprocal",
    "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid", "softplus", "erf", "erfc",
    "lgamma", "digamma",
)  # fmt: skip
PREDICATES = ("isnan", "isinf", "isfinite")
# cast: value conversion; bitcast: same bits; select(c, a, b); fma(a, b, c); ldexp(a, n): a * 2**n,
# rounded once, for an integral number n of a's type; mulhi: high half of an unsigned product
OTHERS = ("cast", "bitcast", "select", "fma", "ldexp", "mulhi")
OPERATORS = frozenset((*ARITHMETIC, *COMPARISONS, *UNARY, *PREDICATES, *OTHERS))
# maximum and minimum return NaN when either operand is NaN, as NumPy does.
ACCUMULATORS = ("add", "mul", "maximum", "minimum", "and", "or")


@dataclass(frozen=True, eq=False)
class Buffer:
    """A kernel parameter: `size` elements in memory. `role`: in, out, inout, or workspace
    (scratch memory of the launch, given by the Plan; contents undefined at entry)."""

    name: str
    dtype: DType
    size: Dim
    role: str = "in"


@dataclass(frozen=True, eq=False)
class Local:
    """Memory of one iteration; also the statement that declares it. `shape` is constant."""

    name: str
    dtype: DType
    shape: tuple[int, ...] = ()
    space: str = "register"

    @property
    def size(self) -> int:
        total = 1
        for dim in self.shape:
            total *= dim
        return total


Target = Union[Buffer, Local]


@dataclass(frozen=True)
class Const:
    value: int | float | bool
    dtype: DType = int64


@dataclass(frozen=True, eq=False)
class Var:
    """A loop variable (int64) or the name a Let gives to a value."""

    name: str
    dtype: DType = int64


@dataclass(frozen=True)
class SizeOf:
    """The value of a symbolic size; becomes a parameter of the kernel."""

    size: Size
    dtype: DType = int64


@dataclass(frozen=True, eq=False)
class Load:
    target: Target
    index: Expr

    @property
    def dtype(self) -> DType:
        return self.target.dtype


@dataclass(frozen=True, eq=False)
class Apply:
    op: str
    args: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, eq=False)
class Same:
    """Whether two buffers of the launch are the same memory (an update in place)."""

    a: Buffer
    b: Buffer
    dtype: DType = bool_


Expr = Union[Const, Var, SizeOf, Load, Apply, Same]


@dataclass(frozen=True, eq=False)
class For:
    var: Var
    extent: Expr
    kind: str
    body: tuple[Stmt, ...]
    grain: int = 1  # of a parallel loop


@dataclass(frozen=True, eq=False)
class Let:
    var: Var
    value: Expr


@dataclass(frozen=True, eq=False)
class Store:
    target: Target
    index: Expr
    value: Expr


@dataclass(frozen=True, eq=False)
class Accumulate:
    target: Target
    index: Expr
    op: str
    value: Expr


@dataclass(frozen=True, eq=False)
class If:
    """Under a vector loop the branches run masked."""

    condition: Expr
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...] = ()


@dataclass(frozen=True, eq=False)
class Prefetch:
    """Has an element brought near before it is read; in a vector loop, those of all lanes, which
    are neighbours. It changes no result, and may lie beyond the end of the buffer."""

    target: Buffer
    index: Expr


@dataclass(frozen=True, eq=False)
class Check:
    """Reports `site` with two integer values when the condition is false (in any lane: those of
    the first such lane). The kernel runs on, so later accesses must be safe all the same."""

    condition: Expr
    site: int
    values: tuple[Expr, Expr]


@dataclass(frozen=True, eq=False)
class Invoke:
    """Calls `kernel`, each of its buffers bound to a part of one of ours that starts at an index.
    Used to share one compiled micro-kernel. `kernel` has no parallel loops."""

    kernel: Kernel
    arguments: tuple[tuple[Target, Expr], ...]
    # Values of the kernel's own scalar parameters, in the order of `kernel.scalars`.
    scalars: tuple[Expr, ...] = ()


Stmt = Union[For, Let, Local, Store, Accumulate, If, Prefetch, Check, Invoke]


@dataclass(frozen=True, eq=False)
class Kernel:
    """One launch. `scalars` are int64 parameters of kernels that are only invoked by others."""

    name: str
    buffers: tuple[Buffer, ...]
    body: tuple[Stmt, ...]
    scalars: tuple[Var, ...] = ()

    def sizes(self) -> tuple[Size, ...]:
        """The symbolic sizes it and the kernels it invokes take as parameters, in order."""
        return self._sizes

    @cached_property
    def _sizes(self) -> tuple[Size, ...]:
        seen: dict[Size, None] = {}
        for expr in expressions(self.body):
            if isinstance(expr, SizeOf):
                seen[expr.size] = None
        for stmt in statements(self.body):
            if isinstance(stmt, Invoke):
                seen.update(dict.fromkeys(stmt.kernel.sizes()))
        return tuple(seen)


# -- construction: constants fold, neutral elements vanish ---------------------------------------

ZERO, ONE = Const(0), Const(1)


def index(value: int | Dim | Expr) -> Expr:
    """An int64 expression for a number, a size, or an expression."""
    if isinstance(value, int):
        return Const(value)
    if isinstance(value, Size):
        return SizeOf(value)
    return value


def add(a: Expr, b: Expr) -> Expr:
    """a + b on int64 indices."""
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(a.value + b.value)
    if isinstance(a, Const) and a.value == 0:
        return b
    if isinstance(b, Const) and b.value == 0:
        return a
    return Apply("add", (a, b), int64)


def sub(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(a.value - b.value)
    if isinstance(b, Const) and b.value == 0:
        return a
    return Apply("sub", (a, b), int64)


def mul(a: Expr, b: Expr) -> Expr:
    """a * b on int64 indices."""
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(a.value * b.value)
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Const):
            if one.value == 1:
                return other
            if one.value == 0:
                return ZERO
    return Apply("mul", (a, b), int64)


def floordiv(a: Expr, b: Expr) -> Expr:
    """a // b on non-negative int64 indices."""
    if isinstance(b, Const):
        if b.value == 1:
            return a
        if isinstance(a, Const):
            return Const(a.value // b.value)
    return Apply("floordiv", (a, b), int64)


def mod(a: Expr, b: Expr) -> Expr:
    """a % b on non-negative int64 indices."""
    if isinstance(b, Const):
        if b.value == 1:
            return ZERO
        if isinstance(a, Const):
            return Const(a.value % b.value)
    return Apply("mod", (a, b), int64)


def apply(op: str, *args: Expr, dtype: DType | None = None) -> Expr:
    """op(args); the dtype is the first operand's, bool for comparisons, unless given."""
    if dtype is None:
        dtype = bool_ if op in COMPARISONS or op in PREDICATES else args[0].dtype
        if op == "select":
            dtype = args[1].dtype
    return Apply(op, args, dtype)


def cast(value: Expr, dtype: DType) -> Expr:
    return value if value.dtype is dtype else Apply("cast", (value,), dtype)


def select(condition: Expr, a: Expr, b: Expr) -> Expr:
    return Apply("select", (condition, a, b), a.dtype)


def linear(indices: Sequence[Expr], shape: Sequence[Dim]) -> Expr:
    """The row-major position of an index tuple."""
    result: Expr = ZERO
    for position, dim in zip(indices, shape, strict=True):
        result = add(mul(result, index(dim)), position)
    return result


def neutral(op: str, dtype: DType) -> Const:
    """The value that `op` leaves every other value as it is with."""
    if op == "add":
        value: int | float | bool = 0.0 if dtype.is_floating else 0
    elif op == "mul":
        value = 1.0 if dtype.is_floating else 1
    elif op == "and":
        value = True if dtype.is_bool else -1
    elif op == "or":
        value = False if dtype.is_bool else 0
    elif op == "maximum":
        value = float("-inf") if dtype.is_floating else False if dtype.is_bool else int(dtype.min)
    else:
        value = float("inf") if dtype.is_floating else True if dtype.is_bool else int(dtype.max)
    return Const(value, dtype)


# -- traversal -----------------------------------------------------------------------------------


def statements(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """Every statement, outer before inner, in order."""
    for stmt in body:
        yield stmt
        if isinstance(stmt, For):
            yield from statements(stmt.body)
        elif isinstance(stmt, If):
            yield from statements(stmt.then)
            yield from statements(stmt.otherwise)


def targets(body: Sequence[Stmt]) -> set[Target]:
    """All memory that statements read or write."""
    found: set[Target] = set()
    for stmt in statements(body):
        if isinstance(stmt, (Store, Accumulate, Prefetch)):
            found.add(stmt.target)
        elif isinstance(stmt, Invoke):
            found.update(target for target, _ in stmt.arguments)
    for expr in expressions(body):
        if isinstance(expr, Load):
            found.add(expr.target)
        elif isinstance(expr, Same):
            found.update((expr.a, expr.b))
    return found


def operands(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions a statement holds itself."""
    if isinstance(stmt, For):
        return (stmt.extent,)
    if isinstance(stmt, Let):
        return (stmt.value,)
    if isinstance(stmt, (Store, Accumulate)):
        return (stmt.index, stmt.value)
    if isinstance(stmt, If):
        return (stmt.condition,)
    if isinstance(stmt, Prefetch):
        return (stmt.index,)
    if isinstance(stmt, Check):
        return (stmt.condition, *stmt.values)
    if isinstance(stmt, Invoke):
        return (*(i for _, i in stmt.arguments), *stmt.scalars)
    return ()


def expressions(body: Sequence[Stmt]) -> Iterator[Expr]:
    """Every expression of every statement, shared ones once, operands before users."""
    seen: set[int] = set()
    for stmt in statements(body):
        for root in operands(stmt):
            stack: list[Expr] = [root]
            while stack:
                expr = stack[-1]
                if id(expr) in seen:
                    stack.pop()
                    continue
                if type(expr) is Apply:
                    missing = [arg for arg in expr.args if id(arg) not in seen]
                    if missing:
                        missing.reverse()
                        stack += missing
                        continue
                elif type(expr) is Load and id(expr.index) not in seen:
                    stack.append(expr.index)
                    continue
                stack.pop()
                seen.add(id(expr))
                yield expr
