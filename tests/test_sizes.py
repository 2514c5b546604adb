"""Symbolic sizes: division keeps its value, and equal sizes have one form."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graphflow.sizes import as_symbol, ceildiv, evaluate, floordiv, symbol

N, M = symbol("n"), symbol("m")
SMALL = st.integers(-9, 9)


@given(SMALL, SMALL, SMALL, SMALL, st.integers(1, 7), st.integers(0, 40), st.integers(0, 40))
def test_division_keeps_its_value(a, b, c, d, divisor, n, m):
    size = a * N + b * M + c * N * M + d
    bound = {as_symbol(N): n, as_symbol(M): m}
    assert evaluate(floordiv(size, divisor), bound) == (a * n + b * m + c * n * m + d) // divisor


def test_what_divides_comes_out_of_a_division():
    assert floordiv(2 * N + 1, 2) == N
    assert floordiv(N - 1, 2) + 1 == floordiv(N + 1, 2)
    assert ceildiv(4 * N - 2, 4) == N
    assert str(floordiv(2 * N + M + 3, 2)) == "n+((m+1)//2)+1"
    assert floordiv(N, 2) + M != floordiv(N + M, 2)
