"""The micro-kernels of contractions: the inside of one tile, the same for all sizes.

They are called with the strides of their operands. Both write all elements of a tile, but read
only the first rows of A (and columns of B) that they are told of: the others repeat the last of
them, and what they give is not used. The sizes of their buffers say what surely is there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ...dtypes import DType, int64
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Kernel, Local, Stmt, Var
from .spec import minimum, zero

_PARTS = 4  # sums of every element in a tile of one row


def _starts(name: str, count: int, present: Expr, step: Expr) -> tuple[list[Stmt], list[Var]]:
    """Where each of `count` rows starts, those that are not present where the last one does."""
    lets: list[Stmt] = []
    found: list[Var] = []
    for number in range(count):
        var = Var(f"{name}{number}")
        which = minimum(Const(number), loop.sub(present, loop.ONE)) if number else loop.ZERO
        lets.append(loop.Let(var, loop.mul(which, step)))
        found.append(var)
    return lets, found


@cache
def outer_kernel(
    dtype: DType,
    rows: int,
    columns: int,
    runs: bool = False,
    listed: bool = False,
    c_row: int = 0,
) -> Kernel:
    """c = or += a[rows, depth] * b[depth, columns], c in registers: a sum of outer products.

    Element (r, p) of a is at r * a_row + p * a_step, (p, v) of b at p * b_step + v, (r, v) of c at
    r * c_row + v, or dense.
    `fresh` nonzero: c is overwritten. Each element is summed in the order of p; in a tile of one
    row, whose sums are too few to hide the latency of a multiply-add, in four sums over every
    fourth p, which are then added up.
    With `runs`, all this `count_runs` times, a and b further on by `a_run` and `b_run` each time.
    With `listed`, row r starts at starts[r], for all rows, and `a_row` and `count` are not used.
    """
    a, b = Buffer("a", dtype, 0), Buffer("b", dtype, 0)
    c_row = c_row or columns
    c = Buffer("c", dtype, (rows - 1) * c_row + columns, "inout")
    starts = Buffer("starts", int64, rows)
    depth, a_row, a_step, b_step, count, fresh, count_runs, a_run, b_run = (
        Var(name)
        for name in (
            "depth", "a_row", "a_step", "b_step", "count", "fresh", "runs", "a_run", "b_run",
        )
    )  # fmt: skip
    parts = _PARTS if rows == 1 else 1
    sums = Local("sums", dtype, (rows * parts, columns))
    line = Local("line", dtype, (columns,))

    def across(element: Callable[[Expr], Stmt]) -> Stmt:
        v = Var("v")
        return loop.For(v, Const(columns), loop.VECTOR, (element(v),))

    def part(number: int, v: Expr) -> Expr:
        return loop.add(Const(number * columns), v)

    def all_rows(element: Callable[[Expr, Expr], Stmt]) -> list[Stmt]:
        """With where an element of the tile is in registers, and where in c."""
        return [
            across(
                lambda v, r=r: element(  # type: ignore[misc]
                    loop.add(Const(r * columns), v), loop.add(Const(r * c_row), v)
                )
            )
            for r in range(rows)
        ]

    lets: list[Stmt]
    if listed:
        begins = [Var(f"row{r}") for r in range(rows)]
        lets = [loop.Let(v, loop.Load(starts, Const(r))) for r, v in enumerate(begins)]
    else:
        lets, begins = _starts("row", rows, count, a_row)
    begin = [
        across(lambda v, s=s: loop.Store(sums, part(s, v), zero(dtype)))  # type: ignore[misc]
        for s in range(1, parts)
    ]
    begin.append(loop.If(
        loop.apply("ne", fresh, loop.ZERO),
        tuple(all_rows(lambda at, _: loop.Store(sums, at, zero(dtype)))),
        tuple(all_rows(lambda at, place: loop.Store(sums, at, loop.Load(c, place)))),
    ))  # fmt: skip

    def in_parts(place: Var, first: Expr) -> list[Stmt]:
        """The sum over one run of a tile of one row."""

        def step(p: Var, s: int) -> list[Stmt]:
            x = Var(f"x{s}", dtype)
            at_b = loop.add(first, loop.mul(p, b_step))
            return [
                loop.Let(x, loop.Load(a, loop.add(place, loop.mul(p, a_step)))),
                across(
                    lambda v: loop.Accumulate(
                        sums, part(s, v), "add",
                        loop.apply("mul", x, loop.Load(b, loop.add(at_b, v))),
                    )
                ),
            ]  # fmt: skip

        q, rest, whole = Var("q"), Var("rest"), Var("whole")
        several: list[Stmt] = []
        for s in range(parts):
            p = Var(f"p{s}")
            several.append(loop.Let(p, loop.add(loop.mul(q, Const(parts)), Const(s))))
            several += step(p, s)
        p = Var("p")
        one = [loop.Let(p, loop.add(loop.mul(whole, Const(parts)), rest)), *step(p, 0)]
        return [
            loop.Let(whole, loop.floordiv(depth, Const(parts))),
            loop.For(q, whole, loop.SERIAL, tuple(several)),
            loop.For(rest, loop.mod(depth, Const(parts)), loop.SERIAL, tuple(one)),
        ]

    def multiply(places: list[Var], first: Expr) -> list[Stmt]:
        """The sum over one run: rows of a at `places`, b from `first`."""
        if parts > 1:
            return in_parts(places[0], first)
        p = Var("p")
        step: list[Stmt] = [line]
        step.append(
            across(
                lambda v: loop.Store(
                    line, v, loop.Load(b, loop.add(loop.add(first, loop.mul(p, b_step)), v))
                )
            )
        )
        for r, place in enumerate(places):
            x = Var(f"x{r}", dtype)
            step.append(loop.Let(x, loop.Load(a, loop.add(place, loop.mul(p, a_step)))))

            def add(v: Expr, r: int = r, x: Var = x) -> Stmt:
                value = loop.apply("mul", x, loop.Load(line, v))
                return loop.Accumulate(sums, loop.add(Const(r * columns), v), "add", value)

            step.append(across(add))
        return [loop.For(p, depth, loop.SERIAL, tuple(step))]

    body: list[Stmt] = [sums, *lets, *begin]
    if runs:
        t, first = Var("t"), Var("first")
        further, places = Var("further"), [Var(f"at{r}") for r in range(rows)]
        run: list[Stmt] = [
            loop.Let(further, loop.mul(t, a_run)),
            loop.Let(first, loop.mul(t, b_run)),
        ]
        run += [loop.Let(x, loop.add(y, further)) for x, y in zip(places, begins, strict=True)]
        body.append(loop.For(t, count_runs, loop.SERIAL, (*run, *multiply(places, first))))
    else:
        body += multiply(begins, loop.ZERO)
    for distance in (parts // 2, 1) if parts > 1 else ():
        for s in range(distance):
            body.append(
                across(
                    lambda v, s=s, far=s + distance: loop.Accumulate(  # type: ignore[misc]
                        sums, part(s, v), "add", loop.Load(sums, part(far, v))
                    )
                )
            )
    body += all_rows(lambda at, place: loop.Store(c, place, loop.Load(sums, at)))
    name = f"multiply_{dtype}_{rows}x{columns}{'_runs' * runs}{'_listed' * listed}"
    if c_row != columns:
        name += f"_in_{c_row}"
    scalars = [depth, a_row, a_step, b_step, count, fresh]
    if runs:
        scalars += [count_runs, a_run, b_run]
    return Kernel(name, (a, b, c, *([starts] if listed else [])), tuple(body), tuple(scalars))


@cache
def dot_kernel(dtype: DType, rows: int, columns: int, c_row: int) -> Kernel:
    """c = or += a[rows, depth] * b[columns, depth] transposed: dot products, lanes along depth.

    Element (r, p) of a is at r * a_row + p, (v, p) of b at v * b_row + p, (r, v) of c at
    r * c_row + v. `fresh` nonzero: c is overwritten. The tree of each sum depends on depth only.
    """
    a, b = Buffer("a", dtype, 0), Buffer("b", dtype, 0)
    c = Buffer("c", dtype, (rows - 1) * c_row + columns, "inout")
    depth, a_row, b_row, a_count, b_count, fresh = (
        Var(name) for name in ("depth", "a_row", "b_row", "a_count", "b_count", "fresh")
    )
    lets_a, starts_a = _starts("row", rows, a_count, a_row)
    lets_b, starts_b = _starts("column", columns, b_count, b_row)
    sums = {(r, v): Local(f"sum{r}_{v}", dtype) for r in range(rows) for v in range(columns)}
    body: list[Stmt] = [*lets_a, *lets_b, *sums.values()]
    body += [loop.Store(total, loop.ZERO, zero(dtype)) for total in sums.values()]
    p = Var("p")
    xs = [Var(f"x{r}", dtype) for r in range(rows)]
    ys = [Var(f"y{v}", dtype) for v in range(columns)]
    step: list[Stmt] = [
        loop.Let(x, loop.Load(a, loop.add(start, p))) for x, start in zip(xs, starts_a, strict=True)
    ]
    step += [
        loop.Let(y, loop.Load(b, loop.add(start, p))) for y, start in zip(ys, starts_b, strict=True)
    ]
    step += [
        loop.Accumulate(total, loop.ZERO, "add", loop.apply("mul", xs[r], ys[v]))
        for (r, v), total in sums.items()
    ]
    body.append(loop.For(p, depth, loop.VECTOR, tuple(step)))
    values = [(Const(r * c_row + v), loop.Load(s, loop.ZERO)) for (r, v), s in sums.items()]
    body.append(
        loop.If(
            loop.apply("ne", fresh, loop.ZERO),
            tuple(loop.Store(c, at, value) for at, value in values),
            tuple(loop.Accumulate(c, at, "add", value) for at, value in values),
        )
    )
    name = f"dots_{dtype}_{rows}x{columns}"
    return Kernel(name, (a, b, c), tuple(body), (depth, a_row, b_row, a_count, b_count, fresh))
