"""Code that kernels of one step have in common is written once."""

import numpy as np
import pytest

from graphflow.codegen.module import Module
from graphflow.codegen.target import named
from graphflow.loop.parse import parse_kernel

from .run_kernel import Loaded

TWO_PARTS = """
kernel two(in a: float32[n], out b: float32[n], out c: float32[n]) {
    parallel i < size(n) grain 64 {
        b[i] = a[i] * 2.0
    }
    parallel j < size(n) grain 32 {
        c[j] = a[j] * FACTOR
    }
}
"""


def _bodies(*texts: str) -> int:
    module = Module(named(None))
    for text in texts:
        module.launched(parse_kernel(text))
    return sum(".body" in function.splitlines()[0] for function in module.functions)


@pytest.mark.parametrize(("factor", "functions"), [("2.0", 1), ("3.0", 2)])
def test_equal_bodies_of_parallel_loops_share_a_function(factor, functions):
    assert _bodies(TWO_PARTS.replace("FACTOR", factor)) == functions


def test_kernels_share_bodies_though_what_they_capture_differs():
    other = TWO_PARTS.replace("FACTOR", "2.0").replace("a[j]", "b[j]").replace("out b", "inout b")
    assert _bodies(TWO_PARTS.replace("FACTOR", "3.0"), other) == 2


def test_what_shares_a_function_computes_its_own():
    one, two, three = (np.full(100, value, np.float32) for value in (1, 0, 0))
    kernel = parse_kernel(TWO_PARTS.replace("FACTOR", "2.0"))
    Loaded(kernel, named(None))([one, two, three], 100)
    assert (two == 2).all()
    assert (three == 2).all()
