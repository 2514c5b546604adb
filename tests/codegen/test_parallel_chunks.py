"""Chunks of parallel loops are about as large as each other."""

import numpy as np
import pytest

from graphflow.codegen.target import named
from graphflow.loop.parse import parse_kernel

from .run_kernel import Loaded

TWICE = """
kernel twice(in a: float32[n], out b: float32[n]) {
    parallel i < EXTENT grain 53 {
        b[i] = a[i] * 2.0
    }
}
"""


@pytest.mark.parametrize("extent", ["size(n)", "known"])
@pytest.mark.parametrize(
    ("count", "sizes"),
    [(54, [27, 27]), (64, [32, 32]), (106, [53, 53]), (107, [36, 36, 35]), (213, [43] * 4 + [41])],
)
def test_chunks_are_even(extent, count, sizes):
    text = TWICE.replace("EXTENT", extent.replace("known", str(count)))
    text = text.replace("[n]", f"[{count}]") if extent == "known" else text
    a, b = np.arange(count, dtype=np.float32), np.zeros(count, np.float32)
    loaded = Loaded(parse_kernel(text), named(None))
    loaded([a, b], *([count] if extent != "known" else []))
    assert [end - begin for begin, end in loaded.chunks] == sizes
    np.testing.assert_array_equal(b, 2 * a)


@pytest.mark.parametrize("count", [0, 1, 52, 53])
def test_what_is_one_chunk_stays_on_its_thread(count):
    a, b = np.arange(count, dtype=np.float32), np.zeros(count, np.float32)
    loaded = Loaded(parse_kernel(TWICE.replace("EXTENT", "size(n)")), named(None))
    loaded([a, b], count)
    assert loaded.chunks == []
    np.testing.assert_array_equal(b, 2 * a)
