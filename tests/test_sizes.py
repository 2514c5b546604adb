"""Symbolic sizes: division keeps its value, and equal sizes have one form."""

from __future__ import annotations

import math

from effort import calls
from hypothesis import given
from hypothesis import strategies as st

from graphflow.sizes import (
    Size,
    as_symbol,
    ceildiv,
    evaluate,
    floordiv,
    maximum,
    minimum,
    parse_size,
    root,
    symbol,
)

N, M = symbol("n"), symbol("m")
SMALL = st.integers(-9, 9)


@given(SMALL, SMALL, SMALL, SMALL, st.integers(1, 7), st.integers(0, 40), st.integers(0, 40))
def test_division_keeps_its_value(a, b, c, d, divisor, n, m):
    size = a * N + b * M + c * N * M + d
    bound = {as_symbol(N): n, as_symbol(M): m}
    assert evaluate(floordiv(size, divisor), bound) == (a * n + b * m + c * n * m + d) // divisor


def test_roots_are_whole_numbers():
    size = root(N * M)
    for n, m in ((0, 5), (1, 3), (4, 4), (5, 5), (7, 7), (1 << 20, (1 << 20) - 1)):
        assert evaluate(size, {as_symbol(N): n, as_symbol(M): m}) == math.isqrt(n * m)
    assert root(17) == 4 and root(-3) == 0
    assert str(2 * root(N + 1)) == "2*root(n+1)"
    assert parse_size("2*root(n+1)", {"n": N}.__getitem__) == 2 * root(N + 1)


def test_what_divides_comes_out_of_a_division():
    assert floordiv(2 * N + 1, 2) == N
    assert floordiv(N - 1, 2) + 1 == floordiv(N + 1, 2)
    assert ceildiv(4 * N - 2, 4) == N
    assert str(floordiv(2 * N + M + 3, 2)) == "n+((m+1)//2)+1"
    assert floordiv(N, 2) + M != floordiv(N + M, 2)


def _nested(levels: int) -> Size:
    size = symbol("k")
    for level in range(levels):
        size = maximum(size - level, floordiv(size + level, 2)) + minimum(size, level + 3)
    return size


def test_nesting_of_sizes_that_share_parts_costs_no_more_than_their_parts():
    # As texts, in which shared parts stand again and again, each level would cost three times the
    # one before.
    assert calls(lambda: _nested(12)) < 4 * calls(lambda: _nested(6))


def test_order_of_sums_and_products_does_not_show():
    one, other = maximum(N, 2 * M) * minimum(M, 3), minimum(3, M) * maximum(2 * M, N)
    assert one == other
    assert hash(one) == hash(other)
    assert one + N == N + other
