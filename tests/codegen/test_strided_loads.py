"""Loads of vector loops at small strides, which may not reach beyond the last element."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from graphflow.codegen.target import named
from graphflow.dtypes import float32, float64, int32, uint8
from graphflow.loop import nodes as loop
from graphflow.loop.nodes import Buffer, Const, For, Load, Store, Var

from .run_kernel import Loaded

LEVELS = ["scalar", "sse2", "avx2", "host"]


def picking(dtype, count: int, stride: int) -> loop.Kernel:
    """out[i] = x[i * stride], x ending with the last of them"""
    x = Buffer("x", dtype, (count - 1) * stride + 1)
    out, i = Buffer("out", dtype, count, "out"), Var("i")
    value = Load(x, loop.mul(i, Const(stride)))
    return loop.Kernel(
        "pick", (x, out), (For(i, Const(count), loop.VECTOR, (Store(out, i, value),)),)
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("stride", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [float32, float64, int32, uint8], ids=str)
def test_every_element(dtype, stride, level):
    for count in (16, 32, 37, 200):
        x = np.arange((count - 1) * stride + 1).astype(dtype.numpy)
        out = np.zeros(count, dtype.numpy)
        Loaded(picking(dtype, count, stride), named(level))([x, out])
        np.testing.assert_array_equal(out, x[::stride])


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_nothing_behind_the_last_element_is_read(stride):
    """The last element is the last of its page; the next page must not be touched."""
    import ctypes

    page, count = mmap.PAGESIZE, 32
    size = ((count - 1) * stride + 1) * 4
    memory = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    assert protect(start + page, page, 0) == 0
    x = np.frombuffer(memory, np.float32, size // 4, page - size)
    x[:] = np.arange(size // 4)
    out = np.zeros(count, np.float32)
    Loaded(picking(float32, count, stride), named("host"))([x, out])
    np.testing.assert_array_equal(out, x[::stride])
    assert protect(start + page, page, 3) == 0


def test_parameters_and_counters_have_names_of_their_own():
    """A kernel of many scalars whose first loop counter is numbered like one of them."""
    for number in range(1, 12):
        scalars = tuple(Var(f"n{k}") for k in range(number))
        out, i = Buffer("out", float32, 64, "out"), Var("i")
        total: loop.Expr = loop.ZERO
        for scalar in scalars:
            total = loop.add(total, scalar)
        store = Store(out, i, loop.cast(total, float32))
        body = (For(i, scalars[0], loop.SERIAL, (store,)),)
        array = np.zeros(64, np.float32)
        Loaded(loop.Kernel("many", (out,), body, scalars), named("host"))([array], *[7] * number)
        np.testing.assert_array_equal(array[:7], np.full(7, 7.0 * number))
