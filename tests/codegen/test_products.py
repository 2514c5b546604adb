"""Products that one sum uses: fused multiply-adds, also where the product has a name."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow.codegen.target import level, named
from graphflow.dtypes import float32
from graphflow.loop import nodes as loop
from graphflow.loop.nodes import Accumulate, Buffer, Const, For, If, Let, Load, Local, Store, Var

from .run_kernel import Loaded

SIZE = 37


def kernel(body):
    """out = what `body` stores of the elements of x and y."""
    x, y = Buffer("x", float32, SIZE), Buffer("y", float32, SIZE)
    out = Buffer("out", float32, SIZE, "out")
    i = Var("i")
    a, b = Var("a", float32), Var("b", float32)
    lets = (Let(a, Load(x, i)), Let(b, Load(y, i)))
    stmts = (*lets, *body(a, b, lambda value: Store(out, i, value)))
    return loop.Kernel("k", (x, y, out), (For(i, Const(SIZE), loop.VECTOR, stmts),))


def once(a, b, store):
    p = Var("p", float32)
    return Let(p, loop.apply("mul", a, b)), store(loop.apply("add", p, a))


def subtracted(a, b, store):
    p = Var("p", float32)
    return Let(p, loop.apply("mul", a, b)), store(loop.apply("sub", a, p))


def twice(a, b, store):
    p = Var("p", float32)
    product = Let(p, loop.apply("mul", a, b))
    return product, store(loop.apply("sub", loop.apply("add", p, a), p))


def both(a, b, store):
    p, q = Var("p", float32), Var("q", float32)
    products = Let(p, loop.apply("mul", a, b)), Let(q, loop.apply("mul", b, b))
    return *products, store(loop.apply("add", p, q))


def conditional(a, b, store):
    """The product is used in another block, so it stays where it is."""
    p = Var("p", float32)
    test = loop.apply("gt", a, Const(0.0, float32))
    inner = store(loop.apply("add", p, a))
    return store(a), Let(p, loop.apply("mul", a, b)), If(test, (inner,))


def gathered(a, b, store):
    p, total = Var("p", float32), Local("total", float32)
    start = Store(total, loop.ZERO, a)
    added = Accumulate(total, loop.ZERO, "add", p)
    product = Let(p, loop.apply("mul", a, b))
    return total, start, product, added, store(Load(total, loop.ZERO))


def run(body, target):
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=SIZE).astype(np.float32) for _ in "xy")
    out = np.zeros(SIZE, np.float32)
    loaded = Loaded(kernel(body), target)
    loaded([x, y, out])
    return x, y, out, loaded.report.llvm


CASES = {
    once: (True, lambda x, y: x * y + x),
    subtracted: (True, lambda x, y: x - x * y),
    twice: (False, lambda x, y: x * y + x - x * y),
    both: (True, lambda x, y: x * y + y * y),
    conditional: (False, lambda x, y: np.where(x > 0, x * y + x, x)),
    gathered: (True, lambda x, y: x + x * y),
}


@pytest.mark.parametrize("body", CASES)
def test_contraction(body):
    fused, expected = CASES[body]
    x, y, out, text = run(body, level("avx2"))
    assert ("llvm.fma" in text) == fused
    np.testing.assert_allclose(out, expected(x, y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["scalar", "sse2", "host"])
@pytest.mark.parametrize("body", CASES)
def test_other_instruction_sets(body, target):
    x, y, out, _ = run(body, named(target))
    np.testing.assert_allclose(out, CASES[body][1](x, y), rtol=1e-5, atol=1e-6)


def test_a_sum_over_lanes_takes_named_products():
    x, out = Buffer("x", float32, SIZE), Buffer("out", float32, 1, "out")
    i, a, p, total = Var("i"), Var("a", float32), Var("p", float32), Local("total", float32)
    body = (
        Let(a, Load(x, i)),
        Let(p, loop.apply("mul", a, a)),
        Accumulate(total, loop.ZERO, "add", p),
    )
    statements = (
        total,
        Store(total, loop.ZERO, Const(0.0, float32)),
        For(i, Const(SIZE), loop.VECTOR, body),
        Store(out, loop.ZERO, Load(total, loop.ZERO)),
    )
    given, result = np.arange(SIZE, dtype=np.float32), np.zeros(1, np.float32)
    loaded = Loaded(loop.Kernel("squares", (x, out), statements), level("avx2"))
    loaded([given, result])
    assert "llvm.fma" in loaded.report.llvm
    assert result[0] == np.sum(given * given)
