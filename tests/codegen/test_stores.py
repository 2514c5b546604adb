"""Stores of vector loops: to one element by many lanes, under conditions."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow.codegen.target import named
from graphflow.dtypes import float32
from graphflow.loop import nodes as loop
from graphflow.loop.nodes import Buffer, Const, For, If, Load, Store, Var

from .run_kernel import Loaded

LEVELS = ["scalar", "sse2", "avx2", "host"]
SIZE = 37


def marking(value: float, then) -> loop.Kernel:
    """Where an element of x is above `value`, `then` stores to out[0]."""
    x, out = Buffer("x", float32, SIZE), Buffer("out", float32, 1, "out")
    i = Var("i")
    found = loop.apply("gt", Load(x, i), Const(value, float32))
    body = (If(found, (then(out),)),)
    return loop.Kernel("mark", (x, out), (For(i, Const(SIZE), loop.VECTOR, body),))


def run(kernel, level) -> float:
    x, out = np.arange(SIZE, dtype=np.float32), np.full(1, -1, np.float32)
    Loaded(kernel, named(level))([x, out])
    return float(out[0])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("above", "stored"), [(20.5, 7), (35.5, 7), (-5, 7), (99, -1)])
def test_lanes_that_agree_store_once_where_any_of_them_runs(level, above, stored):
    seven = Const(7.0, float32)
    assert run(marking(above, lambda out: Store(out, loop.ZERO, seven)), level) == stored


@pytest.mark.parametrize("level", LEVELS)
def test_the_value_is_that_of_a_lane_that_runs(level):
    """Lanes under the condition agree; what the others would store counts for nothing."""
    x, out = Buffer("x", float32, SIZE), Buffer("out", float32, 1, "out")
    i = Var("i")
    found = loop.apply("eq", Load(x, i), Const(3.0, float32))
    value = loop.select(found, Const(5.0, float32), Const(0.0, float32))
    body = (If(found, (Store(out, loop.ZERO, value),)),)
    kernel = loop.Kernel("mark", (x, out), (For(i, Const(SIZE), loop.VECTOR, body),))
    assert run(kernel, level) == 5.0
