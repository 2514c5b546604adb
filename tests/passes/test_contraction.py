"""Contractions by every structure, against NumPy, run by the evaluator of Loop kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from graphflow.dtypes import DType, float32, float64, int8, int32, int64
from graphflow.loop import nodes as loop
from graphflow.loop.evaluate import run_kernel
from graphflow.passes.contraction import ContractionSpec, Operand, Strided, contraction_nest
from graphflow.sizes import product, symbol


@dataclass(frozen=True)
class Machine:
    vector_bits: int = 512
    vector_registers: int = 32
    l2_bytes: int = 1 << 20


MACHINES = {
    "avx512": Machine(),
    "avx2": Machine(256, 16, 1 << 18),
    "neon": Machine(128, 32, 1 << 19),
    "sse2": Machine(128, 16, 1 << 18),
    "scalar": Machine(0, 16, 1 << 18),
}
SHAPES = [  # batch, m, n, k
    (1, 4, 5, 2),
    (1, 1, 1, 1),
    (1, 9, 33, 7),
    (2, 17, 40, 5),
    (1, 8, 64, 16),
    (3, 1, 35, 4),
    (1, 13, 2, 37),
    (1, 3, 50, 21),
    (1, 40, 10, 9),
    (1, 0, 4, 3),
    (1, 5, 4, 0),
]


def sides(batch, m, n, k, transpose_a, transpose_b, prologue, dtype):
    """The input buffers and operands of a contraction."""
    a, b = (loop.Buffer(name, dtype, size) for name, size in (
        ("a", product((batch, m, k))), ("b", product((batch, k, n)))))  # fmt: skip

    def operand(buffer, rows, columns, transposed):
        row_step, column_step = (1, rows) if transposed else (columns, 1)

        def base(index):
            return loop.mul(index, loop.index(product((rows, columns))))

        def read(index, row, column):
            place = loop.add(
                loop.mul(row, loop.index(row_step)), loop.mul(column, loop.index(column_step))
            )
            element = loop.Load(buffer, loop.add(base(index), place))
            return loop.apply("neg", element) if prologue else element

        strided = None if prologue else Strided(buffer, base, row_step, column_step)
        return Operand(read, strided, "row" if transposed else "column", int(prologue))

    return a, b, operand(a, m, k, transpose_a), operand(b, k, n, transpose_b)


def contraction(
    sizes, dtype: DType = float32, transpose_a=False, transpose_b=False, prologue=False
):
    """(spec, buffers) of relu(a b + bias) and a second output, the negated product."""
    batch, m, n, k = sizes
    a, b, left, right = sides(*sizes, transpose_a, transpose_b, prologue, dtype)
    bias = loop.Buffer("bias", dtype, n)
    out = loop.Buffer("out", dtype, product((batch, m, n)), "out")
    negated = loop.Buffer("negated", dtype, product((batch, m, n)), "out")

    def epilogue(index, row, column, value):
        place = loop.linear((index, row, column), (batch, m, n))
        total = loop.apply("add", value, loop.Load(bias, column))
        zero = loop.Const(0.0 if dtype.is_floating else 0, dtype)
        return [
            loop.Store(out, place, loop.apply("maximum", total, zero)),
            loop.Store(negated, place, loop.apply("neg", value)),
        ]

    spec = ContractionSpec("product", dtype, batch, m, n, k, left, right, epilogue)
    return spec, (a, b, bias, out, negated)


def kernel_of(spec, buffers, machine, structure):
    made = contraction_nest(spec, machine, structure)
    return loop.Kernel("contraction", (*buffers, *made.workspaces), made.body), made


def check(sizes, numbers, machine, structure, dtype=float32, bindings=None, **how):
    spec, buffers = contraction(sizes, dtype, **how)
    kernel, made = kernel_of(spec, buffers, machine, structure)
    batch, m, n, k = numbers
    rng = np.random.default_rng(sum(numbers))
    a = rng.integers(-8, 8, (batch, m, k)).astype(dtype.numpy)
    b = rng.integers(-8, 8, (batch, k, n)).astype(dtype.numpy)
    bias = rng.integers(-8, 8, n).astype(dtype.numpy)
    out, negated = np.zeros((2, batch * m * n), dtype.numpy)
    flat_a = (a.swapaxes(1, 2) if how.get("transpose_a") else a).reshape(-1).copy()
    flat_b = (b.swapaxes(1, 2) if how.get("transpose_b") else b).reshape(-1).copy()
    bindings = bindings or {}

    def count(dim):
        from graphflow.loop.evaluate import SizeValues

        return SizeValues(bindings)(dim)

    scratch = [np.empty(count(w.size), w.dtype.numpy) for w in made.workspaces]
    run_kernel(kernel, [flat_a, flat_b, bias, out, negated, *scratch], bindings, backward=True)
    expected = np.matmul(a, b).astype(dtype.numpy)
    np.testing.assert_array_equal(negated.reshape(expected.shape), -expected)
    np.testing.assert_array_equal(out.reshape(expected.shape), np.maximum(expected + bias, 0))


@pytest.mark.parametrize("prologue", [False, True], ids=["plain", "prologue"])
@pytest.mark.parametrize("transposed", ["", "a", "b", "ab"])
@pytest.mark.parametrize("structure", ["direct", "tile"])
def test_structures_agree_with_numpy(structure, transposed, prologue):
    for numbers in SHAPES:
        check(
            numbers, numbers, Machine(), structure,
            transpose_a="a" in transposed, transpose_b="b" in transposed, prologue=prologue,
        )  # fmt: skip
