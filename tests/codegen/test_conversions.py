"""Conversions of floating-point numbers to integers, in every lane of vectors of every width."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow import dtypes
from graphflow.codegen import target
from graphflow.loop import nodes as loop
from graphflow.loop.nodes import Buffer, Const, For, Load, Store, Var

from .run_kernel import Loaded

EDGES = [0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 127, 128, -128, -129, 255, 256, 65535.5, 2**31 - 128,
         2.0**31, -(2.0**31), -(2.0**31) - 256, 2.0**32, 2.0**63, -(2.0**63), 2.0**64, 1e30, -1e30,
         np.inf, -np.inf, np.nan]  # fmt: skip


def nearest(value: float, dtype: dtypes.DType) -> int:
    """Truncated; beyond the range its end, and 0 for NaN."""
    if np.isnan(value):
        return 0
    low, high = int(dtype.min), int(dtype.max)
    return low if value <= low else high if value >= high else int(value)


@pytest.mark.parametrize("level", ["scalar", "sse2", "avx2", "host"])
@pytest.mark.parametrize("to", ["int8", "uint8", "int32", "uint32", "int64"])
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_a_number_out_of_range_becomes_the_nearest_one(source, to, level):
    source, to = dtypes.as_dtype(source), dtypes.as_dtype(to)
    given = np.tile(np.array(EDGES, source.numpy), 5)
    x, y = Buffer("x", source, given.size), Buffer("y", to, given.size, "out")
    i = Var("i")
    body = For(i, Const(given.size), loop.VECTOR, (Store(y, i, loop.cast(Load(x, i), to)),))
    result = np.zeros(given.size, to.numpy)
    Loaded(loop.Kernel("convert", (x, y), (body,)), target.named(level))([given, result])
    assert result.tolist() == [nearest(float(value), to) for value in given]
