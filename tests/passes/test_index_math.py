"""Splitting a position over dimensions and joining it again are inverse, and vanish."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphflow.loop import nodes as loop
from graphflow.loop.nodes import Apply, Const, SizeOf, Var
from graphflow.passes.analysis.index_math import IndexMath
from graphflow.sizes import evaluate, product, symbol


def value(expr, variables, sizes):
    """What an index expression stands for."""
    if isinstance(expr, Const):
        return expr.value
    if isinstance(expr, SizeOf):
        return evaluate(expr.size, sizes)
    if isinstance(expr, Var):
        return variables[expr]
    assert isinstance(expr, Apply)
    a, b = (value(arg, variables, sizes) for arg in expr.args)
    return {"add": a + b, "sub": a - b, "mul": a * b, "floordiv": a // max(b, 1),
            "mod": a % max(b, 1)}[expr.op]  # fmt: skip


def text(form, math):
    return [(getattr(atom, "name", "?"), c) for atom, c in form.terms], form.constant


@pytest.mark.parametrize("symbolic", [False, True])
def test_rows_and_columns_of_a_collapsed_loop(symbolic):
    n = symbol("n") if symbolic else 5
    math = IndexMath()
    row, column = math.variable(Var("p"), n), math.variable(Var("v"), 512)
    position = math.linear((row, column), (n, 512))
    assert math.split(position, (n, 512)) == (row, column)
    assert math.split(position, (n, 1, 512)) == (row, math.constant(0), column)
    # Through another shape and back: nothing is left of it.
    other = math.split(position, (n, 8, 64))
    assert math.linear(other, (n, 8, 64)) is position


def test_a_flat_loop_through_three_dimensions():
    a, b = symbol("a"), symbol("b")
    math = IndexMath()
    i = math.variable(Var("i"), a * b * 6)
    assert math.linear(math.split(i, (a, b, 6)), (a, b, 6)) is i
    assert math.linear(math.split(i, (a * b, 2, 3)), (a * b, 2, 3)) is i


def test_equal_expressions_are_one():
    math = IndexMath()
    i = Var("i")
    math.variable(i, 10)
    one = math.of(loop.add(loop.mul(i, Const(4)), Const(3)))
    assert math.of(loop.add(Const(3), loop.mul(Const(4), i))) is one
    assert math.of(loop.sub(math.expr(one), Const(3))) is math.scale(math.of(i), 4)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_any_reshape_keeps_its_meaning(dims, data):
    count = product(dims)
    divisors = [d for d in range(1, count + 1) if count % d == 0]
    first = data.draw(st.sampled_from(divisors))
    other = (first, count // first)
    math = IndexMath()
    names = [Var(f"i{k}") for k in range(len(dims))]
    index = [math.variable(v, d) for v, d in zip(names, dims, strict=True)]
    parts = math.split(math.linear(index, dims), other)
    back = math.linear(parts, other)
    for point in itertools.product(*map(range, dims)):
        known = dict(zip(names, point, strict=True))
        got = tuple(value(math.expr(part), known, {}) for part in parts)
        flat = np.ravel_multi_index(point, dims)
        assert got == np.unravel_index(flat, other)
        assert value(math.expr(back), known, {}) == flat
