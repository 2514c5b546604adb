"""What a contraction is asked for with, and what it is given as: see `contraction`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ...dtypes import DType
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Stmt, Var
from ...sizes import Dim, Size, evaluate, multiply, symbols_of

# What an unknown size is taken to be where only the choice of a structure depends on it.
ASSUMED_SIZE = 128


class Target(Protocol):
    """What the structure depends on of a processor; `codegen.target.Target` is one."""

    @property
    def vector_bits(self) -> int:
        """Of the widest vectors used; 0 without vectors."""

    @property
    def registers(self) -> int:
        """How many vector registers there are."""

    @property
    def l2(self) -> int:
        """Bytes of a core's second-level cache."""


@dataclass(frozen=True)
class Strided:
    """An operand that lies in a buffer: element [b, row, column] is
    buffer[base(b) + row * row_step + column * column_step].

    The windows of a convolution are such an operand A too: `row` gives the offset of any row in
    place of `row_step`, and `runs` cut the columns into nested runs, (count, step) from the
    outermost to the innermost: column (i, j, …) is at i * step_i + j * step_j + ….
    """

    buffer: Buffer
    base: Callable[[Expr], Expr]
    row_step: Dim = 0
    column_step: Dim = 1
    row: Callable[[Expr], Expr] | None = None
    runs: tuple[tuple[Dim, Dim], ...] = ()

    @property
    def is_matrix(self) -> bool:
        """Whether two steps say it all."""
        return self.row is None and not self.runs


@dataclass(frozen=True)
class Operand:
    """A side of the product: A with rows m and columns k, or B with rows k and columns n.

    read(b, row, column) gives an element in the contraction's dtype, with whatever produces it;
    it may be called in and outside vector loops, with any of the three as lanes.
    strided: set where the elements lie in a buffer as they are, so that they need no packing.
    contiguous: the index along which neighbouring elements are neighbours in memory, "row" or
    "column" (a transposed operand), or "" for neither. cost: arithmetic operations of one read.
    """

    read: Callable[[Expr, Expr, Expr], Expr]
    strided: Strided | None = None
    contiguous: str = "column"
    cost: int = 0


@dataclass(frozen=True)
class Live:
    """Which rows of A, or with `summed` which k, count; for others the product is zero.

    read(i) says so. order: once `live.listed` has set it, a list of all of them, those that count
    in their order and then the others, with the number of those that count behind it.
    """

    read: Callable[[Expr], Expr]
    summed: bool
    order: Buffer | None = None


@dataclass(frozen=True)
class ContractionSpec:
    """What to compute. `batch` is the product of the batch dimensions; all indices handed to
    `read` and `epilogue` are int64, linear where several dimensions are collapsed into one.

    epilogue(b, m, n, value) gives the statements to run once for every finished element; value is
    a variable of `dtype`. It runs inside a vector loop over n, except in the "dot" structure, where
    it runs outside of vector loops, and in `planar.py`, where that loop goes over m; and never
    under a condition that masks single lanes.
    """

    name: str
    dtype: DType
    batch: Dim
    m: Dim
    n: Dim
    k: Dim
    a: Operand
    b: Operand
    epilogue: Callable[[Expr, Expr, Expr, Expr], list[Stmt]]
    streams: int = 1  # arrays of m by n elements that the epilogue reads and writes
    # Makes a variable (loop variable or named index) known to be below an extent, where the caller
    # keeps account of that to simplify index arithmetic.
    variable: Callable[[str, Dim], Var] = lambda prefix, extent: Var(prefix)
    # Where B is the same in every run, and so is packed for many: its `read` and `variable` for
    # the loops that do so, which belong to another kernel.
    once: tuple[Callable[[Expr, Expr, Expr], Expr], Callable[[str, Dim], Var]] | None = None
    live: Live | None = None

    @property
    def order_of_rows(self) -> Buffer | None:
        """The list of live rows, where not all of them are."""
        return self.live.order if self.live is not None and not self.live.summed else None

    @property
    def order_of_k(self) -> Buffer | None:
        return self.live.order if self.live is not None and self.live.summed else None

    def packing_b(self) -> ContractionSpec:
        """The spec for loops that pack B."""
        if self.once is None:
            return self
        read, variable = self.once
        return replace(self, b=replace(self.b, read=read), variable=variable)


@dataclass(frozen=True)
class Contraction:
    """The loops, in order: nests that pack operands, then the product. Every nest is fit for the
    top of a kernel. `workspaces` are buffers that the kernel must also take, after its own;
    `packed` is the one among them that packing B fills."""

    structure: str
    pack_a: tuple[Stmt, ...]
    pack_b: tuple[Stmt, ...]
    product: tuple[Stmt, ...]
    workspaces: tuple[Buffer, ...] = ()
    packed: Buffer | None = None

    @property
    def body(self) -> tuple[Stmt, ...]:
        return (*self.pack_a, *self.pack_b, *self.product)


# -- small tools of the structures -----------------------------------------------------------------


def assumed(dim: Dim) -> int:
    """A size, or what it would be if every unknown size in it were ASSUMED_SIZE."""
    if isinstance(dim, int):
        return dim
    return max(0, evaluate(dim, dict.fromkeys(symbols_of(dim), ASSUMED_SIZE)))


def count_of(size: int, part: int) -> int:
    """How many parts cover a size."""
    return -(-size // part)


def divides(divisor: int, dim: Dim) -> bool:
    """Whether the size is known to be a multiple of `divisor`."""
    if isinstance(dim, int):
        return dim % divisor == 0
    return all(coefficient % divisor == 0 for _, coefficient in dim.terms)


def minimum(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(min(a.value, b.value))
    return loop.apply("minimum", a, b)


def product(*dims: Dim) -> Dim:
    result: Dim = 1
    for dim in dims:
        result = multiply(result, dim)
    return result


def repeat(
    spec: ContractionSpec,
    prefix: str,
    extent: Dim | Expr,
    kind: str,
    body: Callable[[Expr], list[Stmt]],
    grain: int = 1,
) -> list[Stmt]:
    """A loop, or its body alone where there is one iteration."""
    count = loop.index(extent) if isinstance(extent, (int, Size)) else extent
    bound: Dim | None = extent if isinstance(extent, (int, Size)) else None
    if isinstance(count, Const):
        bound = int(count.value)
    if isinstance(count, Const) and count.value == 1 and kind != loop.VECTOR:
        return body(loop.ZERO)
    var = Var(prefix) if bound is None else spec.variable(prefix, bound)
    return [loop.For(var, count, kind, tuple(body(var)), grain)]


def split(position: Expr, extents: tuple[Dim, ...]) -> list[Expr]:
    """The indices over `extents`, the last one fastest, of a linear position."""
    result: list[Expr] = []
    for number in range(len(extents) - 1, -1, -1):
        extent = extents[number]
        if extent == 1:
            result.append(loop.ZERO)
        elif all(outer == 1 for outer in extents[:number]):
            result.append(position)
            position = loop.ZERO
        else:
            result.append(loop.mod(position, loop.index(extent)))
            position = loop.floordiv(position, loop.index(extent))
    return result[::-1]


def within(count: int, start: Expr, extent: Dim) -> Expr:
    """`count`, or what is left from `start` to `extent` where that is less."""
    if divides(count, extent):
        return Const(count)
    return minimum(Const(count), loop.sub(loop.index(extent), start))


def named(*values: tuple[str, Expr]) -> tuple[list[Stmt], list[Expr]]:
    """Names for what is not a constant, so that it is computed once."""
    lets: list[Stmt] = []
    result: list[Expr] = []
    for name, value in values:
        if isinstance(value, (Const, Var)):
            result.append(value)
        else:
            var = Var(name)
            lets.append(loop.Let(var, value))
            result.append(var)
    return lets, result


def grain_of(work: int, wanted: int) -> int:
    """Iterations of `work` operations each that together do about `wanted`."""
    return max(1, wanted // max(1, work))


def zero(dtype: DType) -> Const:
    return Const(0.0 if dtype.is_floating else 0, dtype)


def clamped(value: Expr, most: Expr) -> Expr:
    """A count that may come out as negative, or too large."""
    return loop.apply("maximum", minimum(most, value), loop.ZERO)
