"""Memory that only compiling needed is given back, and compiling goes on afterwards."""

import sys
from pathlib import Path

import pytest

from graphflow.codegen.footprint import give_back
from graphflow.codegen.objects import compile_kernels
from graphflow.codegen.target import named
from graphflow.loop.parse import parse_kernel

KERNEL = """
kernel scale(in a: float32[n], out b: float32[n]) {
    vector i < size(n) {
        b[i] = exp(a[i]) * 2.0
    }
}
"""


def _resident_code() -> int:
    """kB of the executable mappings of LLVM that are in memory."""
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0]:
            counts = fields[1] == "r-xp" and "llvmlite" in line
        elif counts and fields[0] == "Rss:":
            total += int(fields[1])
    return total


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_code_of_llvm_leaves_memory_and_works_on():
    kernel = parse_kernel(KERNEL)
    before = compile_kernels([kernel], named(None))
    resident = _resident_code()
    assert resident > 1000
    give_back()
    assert _resident_code() < resident / 4
    assert compile_kernels([kernel], named(None)) == before
