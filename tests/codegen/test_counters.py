"""Counters of loops: which of them LLVM may step pointers along with."""

import numpy as np

from graphflow.codegen.module import Module
from graphflow.codegen.target import named
from graphflow.loop.parse import parse_kernel

from .run_kernel import Loaded

COPIES = """
kernel copies(in a: float32[n], out b: float32[n]) {
    serial i < size(n) {
        serial j < 5 {
            b[i * 5 + j] = a[i * 5 + j] * 2.0
        }
    }
}
"""
SUMS = """
kernel sums(in a: float32[n], out b: float32[n]) {
    serial i < size(n) {
        local total: float32
        total[0] = 0.0
        serial j < 5 {
            total[0] += a[i * 5 + j]
        }
        b[i] = total[0]
    }
}
"""


def _frozen(text: str) -> tuple[int, int]:
    """Counters that are frozen, and all counters."""
    module = Module(named(None))
    module.launched(parse_kernel(text))
    whole = module.text()
    return whole.count(" = freeze i64"), whole.count(" = phi i64")


def test_loops_that_hold_no_sums_are_hidden_from_strength_reduction():
    assert _frozen(COPIES) == (2, 2)


def test_the_innermost_loop_around_sums_in_registers_is_not():
    assert _frozen(SUMS) == (1, 2)


def test_frozen_counters_count():
    source = np.arange(35, dtype=np.float32)
    copied, summed = np.zeros(35, np.float32), np.zeros(7, np.float32)
    Loaded(parse_kernel(COPIES), named(None))([source, copied], 7)
    Loaded(parse_kernel(SUMS), named(None))([source, summed], 7)
    np.testing.assert_array_equal(copied, 2 * source)
    np.testing.assert_array_equal(summed, source.reshape(7, 5).sum(1))
