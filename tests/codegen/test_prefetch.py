"""Prefetches: rows of the next iteration, wherever they may lie; no result changes."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.codegen.target import named
from graphflow.dtypes import float32
from graphflow.loop import nodes as loop
from graphflow.loop.nodes import Buffer, Const, For, Load, Prefetch, Store, Var
from graphflow.loop.parse import parse_kernel
from graphflow.loop.text import print_kernel
from graphflow.loop.verify import verify

from .run_kernel import Loaded

SIZE = 100


def copying() -> loop.Kernel:
    """out = x, asking for elements far behind the end."""
    x, out, i = Buffer("x", float32, SIZE), Buffer("out", float32, SIZE, "out"), Var("i")
    body = (Prefetch(x, loop.add(i, Const(1 << 40))), Store(out, i, Load(x, i)))
    return loop.Kernel("copy", (x, out), (For(i, Const(SIZE), loop.VECTOR, body),))


@pytest.mark.parametrize("level", ["scalar", "sse2", "avx2", "host"])
def test_it_may_lie_beyond_the_end(level):
    x, out = np.arange(SIZE, dtype=np.float32), np.zeros(SIZE, np.float32)
    Loaded(copying(), named(level))([x, out])
    np.testing.assert_array_equal(out, x)


def test_what_prints_parses():
    kernel = copying()
    verify(kernel)
    text = print_kernel(kernel)
    assert "prefetch x[1099511627776 + i]" in text or "prefetch x[i + 1099511627776]" in text
    assert print_kernel(parse_kernel(text)) == text


@pytest.mark.parametrize(("rows", "length", "asks"), [(5, 300, True), (300, 7, False)])
def test_rows_of_a_softmax(rows, length, asks, tmp_path, monkeypatch):
    """Long rows are fetched while the one before is worked on, the row behind the last one too."""
    monkeypatch.setenv("GRAPHFLOW_DUMP", str(tmp_path))
    x = tf.placeholder(tf.float32, [rows, length])
    y = tf.nn.softmax(x)
    feed = np.random.default_rng(0).standard_normal((rows, length)).astype(np.float32)
    found = tf.Session().run(y, {x: feed})
    wanted = tf.Session(backend="reference").run(y, {x: feed})
    np.testing.assert_allclose(found, wanted, rtol=2e-6)
    (kernels,) = tmp_path.rglob("*kernels.gfl")
    assert ("prefetch " in kernels.read_text()) == asks
