"""Contractions of very few rows: B goes through the processor once, a few of its rows at a time."""

from __future__ import annotations

from ...loop import nodes as loop
from ...loop.nodes import Const, Expr, Local, Stmt, Var
from ...sizes import ceildiv, floordiv
from .spec import (
    Contraction,
    ContractionSpec,
    assumed,
    count_of,
    grain_of,
    named,
    product,
    repeat,
    split,
    within,
    zero,
)

MOST_ROWS = 3  # of A; from four on, sums in registers are as good
_PRODUCTS = 8  # multiply-adds between a load and a store of a vector of sums
_LEAST_COLUMNS = 128  # of a task: runs of memory long enough to be fetched ahead of their use
_MOST_SUMS = 4096  # of a task, so that they stay in the first cache
# Elements of B: what one thread does alone, and of a task that finds its part in the second cache
# again in the next run.
_ALONE, _TASK = 1 << 15, 1 << 17
_FEWEST_TASKS, _MOST_TASKS = 2, 8


def stream_cycles(spec: ContractionSpec, lanes: int) -> float:
    """An estimate for one core."""
    batch, m, n, k = (assumed(dim) for dim in (spec.batch, spec.m, spec.n, spec.k))
    vectors = count_of(n, lanes)
    gather = 0 if spec.b.contiguous == "column" else lanes / 2
    step = 1 + 0.3 * m + spec.b.cost + gather
    return batch * (k * vectors * step + m * k * (1 + spec.a.cost) + 10 * m * vectors + 100)


def build_stream(spec: ContractionSpec) -> Contraction:
    """For groups of columns in parallel, a few rows of B after the other, sums in the first cache.

    for t parallel:  sums = 0
        for k in steps of S:  for v vector columns:  sums[m, v] += a[m, k] * b[k, v] + …
        for v vector columns:  epilogue
    """
    assert isinstance(spec.m, int)
    rows = spec.m
    width = _columns(spec)
    steps = max(1, _PRODUCTS // max(1, rows))
    groups = ceildiv(spec.n, width)

    def task(t: Expr) -> list[Stmt]:
        b, group = split(t, (spec.batch, groups))
        at = loop.mul(group, Const(width))
        lets, (at, count) = named(("at", at), ("count", within(width, at, spec.n)))
        sums = [Local(f"sums{m}", spec.dtype, (width,), "stack") for m in range(rows)]

        def clear(v: Expr) -> list[Stmt]:
            return [loop.Store(line, v, zero(spec.dtype)) for line in sums]

        def add(first: Expr, number: int) -> list[Stmt]:
            """The products of `number` elements of k from `first` on."""
            named_steps = [spec.variable("p", spec.k) for _ in range(number)]
            body: list[Stmt] = [
                loop.Let(p, loop.add(first, Const(s))) for s, p in enumerate(named_steps)
            ]
            left: list[list[Var]] = []
            for m in range(rows):
                left.append([Var(f"left{m}_{s}", spec.dtype) for s in range(number)])
                body += [
                    loop.Let(x, spec.a.read(b, Const(m), p))
                    for x, p in zip(left[m], named_steps, strict=True)
                ]

            def element(v: Expr) -> list[Stmt]:
                right = [Var(f"right{s}", spec.dtype) for s in range(number)]
                inside: list[Stmt] = [
                    loop.Let(y, spec.b.read(b, p, loop.add(at, v)))
                    for y, p in zip(right, named_steps, strict=True)
                ]
                for line, xs in zip(sums, left, strict=True):
                    total: Expr = loop.Load(line, v)
                    for x, y in zip(xs, right, strict=True):
                        total = loop.apply("add", total, loop.apply("mul", x, y))
                    inside.append(loop.Store(line, v, total))
                return inside

            return body + repeat(spec, "v", count, loop.VECTOR, element)

        def finish(v: Expr) -> list[Stmt]:
            done: list[Stmt] = []
            for m, line in enumerate(sums):
                value = Var("value", spec.dtype)
                done.append(loop.Let(value, loop.Load(line, v)))
                done += spec.epilogue(b, Const(m), loop.add(at, v), value)
            return done

        whole = floordiv(spec.k, steps)
        rest = loop.sub(loop.index(spec.k), loop.mul(loop.index(whole), Const(steps)))
        begin = loop.mul(loop.index(whole), Const(steps))
        lets += [*sums, *repeat(spec, "v", count, loop.VECTOR, clear)]
        lets += repeat(
            spec, "s", whole, loop.SERIAL, lambda s: add(loop.mul(s, Const(steps)), steps)
        )  # fmt: skip
        lets += repeat(spec, "s", rest, loop.SERIAL, lambda s: add(loop.add(begin, s), 1))
        return lets + repeat(spec, "v", count, loop.VECTOR, finish)

    work = assumed(spec.k) * min(width, assumed(spec.n))
    nest = repeat(
        spec, "t", product(spec.batch, groups), loop.PARALLEL, task, grain_of(work, _ALONE)
    )
    return Contraction("stream", (), (), tuple(nest))


def _columns(spec: ContractionSpec) -> int:
    """Columns of a task."""
    n, elements = assumed(spec.n), assumed(product(spec.batch, spec.n, spec.k))
    tasks = 1
    if elements >= _ALONE:
        tasks = min(_MOST_TASKS, max(_FEWEST_TASKS, elements // _TASK))
    tasks = count_of(tasks, max(1, assumed(spec.batch)))
    wanted = count_of(count_of(n, tasks), _LEAST_COLUMNS) * _LEAST_COLUMNS
    most = _MOST_SUMS // max(1, assumed(spec.m)) // _LEAST_COLUMNS * _LEAST_COLUMNS
    return max(_LEAST_COLUMNS, min(most, wanted))
