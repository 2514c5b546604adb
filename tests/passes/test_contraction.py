"""Contractions by every structure, against NumPy, run by the evaluator of Loop kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from codegen.run_kernel import Loaded

from graphflow.codegen.target import host, level
from graphflow.dtypes import DType, float32, float64, int8, int32, int64
from graphflow.loop import nodes as loop
from graphflow.loop.evaluate import SizeValues, run_kernel
from graphflow.passes.contraction.build import ContractionSpec, Operand, Strided, contraction_nest
from graphflow.passes.contraction.tiling import tiling
from graphflow.sizes import product, symbol


@dataclass(frozen=True)
class Machine:
    vector_bits: int = 512
    registers: int = 32
    l2: int = 1 << 20


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
    sizes, dtype: DType = float32, transpose_a=False, transpose_b=False, prologue=False, streams=1
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

    spec = ContractionSpec("product", dtype, batch, m, n, k, left, right, epilogue, streams)
    return spec, (a, b, bias, out, negated)


def kernel_of(spec, buffers, machine, structure):
    made = contraction_nest(spec, machine, structure)
    return loop.Kernel("contraction", (*buffers, *made.workspaces), made.body), made


def interpreted(kernel, arrays, bindings):
    run_kernel(kernel, arrays, bindings, backward=True)


class Native:
    """Runs kernels as machine code of an instruction set this processor has."""

    def __init__(self, target):
        self.target = target

    def __call__(self, kernel, arrays, bindings):
        values = SizeValues(bindings)
        Loaded(kernel, self.target)(arrays, *(values(size) for size in kernel.sizes()))


def check(sizes, numbers, machine, structure, dtype=float32, bindings=None, run=interpreted, **how):
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
    count = SizeValues(bindings)
    scratch = [np.full(count(w.size), -99, w.dtype.numpy) for w in made.workspaces]
    run(kernel, [flat_a, flat_b, bias, out, negated, *scratch], bindings)
    expected = np.matmul(a, b).astype(dtype.numpy)
    np.testing.assert_array_equal(negated.reshape(expected.shape), -expected)
    np.testing.assert_array_equal(out.reshape(expected.shape), np.maximum(expected + bias, 0))


@pytest.mark.parametrize("prologue", [False, True], ids=["plain", "prologue"])
@pytest.mark.parametrize("transposed", ["", "a", "b", "ab"])
@pytest.mark.parametrize("structure", ["direct", "stream", "dot", "tile"])
def test_structures_agree_with_numpy(structure, transposed, prologue):
    for numbers in SHAPES:
        if structure == "dot" and min(numbers[1:3]) > 4:
            continue
        check(
            numbers, numbers, Machine(), structure,
            transpose_a="a" in transposed, transpose_b="b" in transposed, prologue=prologue,
        )  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("dtype", [float32, float64, int8, int32, int64], ids=str)
def test_every_dtype_on_every_machine(dtype, machine):
    for numbers in ((1, 13, 37, 11), (2, 16, 64, 4), (1, 3, 20, 6)):
        for structure in ("direct", "stream", "tile"):
            check(numbers, numbers, machine, structure, dtype)
    check((1, 7, 3, 70), (1, 7, 3, 70), machine, "dot", dtype)


@pytest.mark.parametrize("structure", ["direct", "dot", "tile"])
def test_symbolic_sizes(structure):
    b, m, n, k = (symbol(name) for name in "bmnk")
    for sizes in ((b, m, n, k), (1, m, 40, 12), (1, 6, 70, k), (b, 9, n, 5), (1, m * 2, 3, k + 1)):
        if structure == "dot" and not (isinstance(sizes[1], int) or isinstance(sizes[2], int)):
            continue
        if structure == "dot" and sizes[1] in (6, 9) or structure == "dot" and sizes[2] == 40:
            continue
        for values in ((1, 1, 1, 1), (2, 5, 33, 3), (1, 10, 64, 7), (3, 16, 2, 18)):
            bindings = dict(zip((b, m, n, k), values, strict=True))
            evaluated = SizeValues(bindings)
            numbers = tuple(evaluated(size) for size in sizes)
            check(sizes, numbers, Machine(), structure, bindings=bindings)


def test_few_rows_in_columns_and_steps_that_do_not_divide():
    """A stream of B: groups of columns, some rows of it at a time, and what is left of both."""
    n, k = symbol("n"), symbol("k")
    for m in (1, 2, 3):
        for values in ((1, 1), (7, 130), (64, 300), (257, 129), (0, 5), (17, 0)):
            bindings = dict(zip((k, n), values, strict=True))
            numbers = (2, m, values[1], values[0])
            check((2, m, n, k), numbers, Machine(), "stream", bindings=bindings)
            check(numbers, numbers, Machine(), "stream")
            check(numbers, numbers, Machine(), "stream", transpose_b=True, prologue=True)


def test_last_rows_take_the_lowest_tile_that_holds_them():
    m = symbol("m")
    for rows in range(1, 26):
        check((1, rows, 33, 5), (1, rows, 33, 5), Machine(), "tile")
        check((1, m, 33, 5), (1, rows, 33, 5), Machine(), "tile", bindings={m: rows})
    for rows, kernels in ((24, {12}), (25, {1, 12}), (32, {8, 12}), (35, {12}), (7, {8}), (3, {4})):
        spec, _ = contraction((1, rows, 64, 64))
        names = {f"multiply_float32_{height}x32" for height in kernels}
        assert {kernel.name for kernel in micro_kernels(spec)} == names


def test_one_row_is_summed_in_parts():
    m, k = symbol("m"), symbol("k")
    for depth in (1, 2, 3, 4, 6, 9, 1100):
        for rows in (1, 13):
            numbers = (2, rows, 70, depth)
            check((2, m, 70, k), numbers, Machine(), "tile", bindings={m: rows, k: depth})
            check((2, m, 70, depth), numbers, Machine(), "tile", bindings={m: rows})


def test_more_depth_than_a_tile_takes_at_once():
    k = symbol("k")
    check((1, 9, 34, 2500), (1, 9, 34, 2500), Machine(), "tile")
    check((1, 9, 34, k), (1, 9, 34, 1100), Machine(), "tile", bindings={k: 1100})


@pytest.mark.parametrize("transposed", ["", "a", "b"])
def test_an_epilogue_that_goes_through_memory_does_so_in_rows(transposed):
    k = symbol("k")
    how = {"transpose_a": "a" in transposed, "transpose_b": "b" in transposed}
    for m, n in ((37, 70), (9, 33)):
        for depth in (1, 3):
            check((1, m, n, depth), (1, m, n, depth), Machine(), "tile", streams=4, **how)
            check((2, m, n, k), (2, m, n, depth), Machine(), "tile", bindings={k: depth}, **how)
    check((1, 9, 33, k), (1, 9, 33, 1100), Machine(), "tile", bindings={k: 1100}, **how)
    spec, _ = contraction((1, 512, 256, 128), transpose_a=True, streams=4)
    found = tiling(spec, Machine())
    assert found.by_rows and found.panels * found.columns == 256 and found.block < 512
    assert not tiling(contraction((1, 512, 256, 128), transpose_a=True)[0], Machine()).by_rows


def test_wide_results_are_written_in_whole_rows_where_tasks_are_high_enough():
    def tiles(m, n, k):
        return tiling(contraction((1, m, n, k))[0], Machine())

    for sizes in ((1024, 1024, 256), (2048, 2048, 2048), (1024, 768, 1024)):
        found = tiles(*sizes)
        assert found.by_rows and found.block >= 48
        assert found.panels * found.block * found.columns * 4 <= Machine().l2 // 4
    # Rows of the result near one another, and too few of them to use a panel of B often.
    for sizes in ((1024, 256, 1024), (128, 1024, 784), (symbol("m"), 1024, 256)):
        assert not tiles(*sizes).by_rows
    assert tiles(1024, 1024, 1024).sweep.blocks == 1


@pytest.mark.parametrize("transposed", ["", "a"])
def test_gradients_of_weights_have_tasks_and_no_workspace_for_any_batch(transposed):
    spec, _ = contraction((1, 512, 256, symbol("k")), transpose_a="a" in transposed)
    made = contraction_nest(spec, Machine(), "tile")
    (nest,) = made.body
    assert made.workspaces == ()
    assert nest.kind == loop.PARALLEL and nest.extent.value >= 8 and nest.grain == 1


@pytest.mark.parametrize("transposed", ["", "a", "b", "ab"])
def test_operands_larger_than_the_cache_are_packed(transposed):
    small = Machine(l2=1 << 10)
    for numbers in ((2, 100, 40, 33), (1, 130, 64, 130)):
        check(
            numbers, numbers, small, "tile",
            transpose_a="a" in transposed, transpose_b="b" in transposed,
        )  # fmt: skip


def test_rows_side_by_side_are_read_where_they_lie():
    """The gradient of weights [m, n] from rows of m and n elements, of unknown number."""
    k = symbol("k") * symbol("t")
    for m in (32, 300):
        spec, _ = contraction((1, m, 128, k), transpose_a=True)
        made = contraction_nest(spec, Machine(), "tile")
        assert "product_a" not in [w.name for w in made.workspaces]


@pytest.mark.parametrize(
    ("m", "n", "packed"), [(300, 1024, True), (300, 1200, False), (2000, 1200, True)]
)
def test_the_second_operand_is_packed_where_its_rows_collide_or_many_rows_use_it(m, n, packed):
    spec, _ = contraction((1, m, n, 1024))
    made = contraction_nest(spec, Machine(), "tile")
    assert ("product_b" in [w.name for w in made.workspaces]) == packed


def test_many_rows_of_unknown_number_pay_for_packing():
    rows, steps = symbol("rows"), symbol("steps")
    for m, kernel in ((rows, "dots"), (rows * steps, "multiply")):
        spec, _ = contraction((1, m, 300, 1200), transpose_b=True)
        assert all(k.name.startswith(kernel) for k in micro_kernels(spec))


def test_an_operand_that_is_read_in_place_takes_no_workspace():
    spec, _ = contraction((1, 64, 96, 80))
    assert contraction_nest(spec, Machine(), "tile").workspaces == ()
    spec, _ = contraction((1, 64, 96, 80), transpose_a=True)
    assert contraction_nest(spec, Machine(), "tile").workspaces == ()
    spec, _ = contraction((1, 64, 96, 80), transpose_b=True)
    assert [w.name for w in contraction_nest(spec, Machine(), "tile").workspaces] == ["product_b"]
    spec, _ = contraction((1, 64, 96, 80), prologue=True)
    assert len(contraction_nest(spec, Machine(), "tile").workspaces) == 2


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((1, 4, 5, 2), "direct"),
        ((1, 64, 100, 10), "direct"),
        ((1, 512, 512, 512), "tile"),
        ((1, 128, 512, 784), "tile"),
        ((1, 4096, 1, 1024), "dot"),
        ((1, 1, 1000, 4), "direct"),
        ((1, 1, 512, 784), "stream"),
        ((1, 3, 4096, 1024), "stream"),
        ((1, 4, 512, 784), "tile"),
    ],
)
def test_the_choice_of_a_structure(sizes, expected):
    spec, _ = contraction(sizes)
    assert contraction_nest(spec, Machine()).structure == expected


def micro_kernels(spec, machine=MACHINES["avx512"], structure="tile"):
    body = contraction_nest(spec, machine, structure).body
    return {s.kernel for s in loop.statements(body) if isinstance(s, loop.Invoke)}


def test_all_contractions_of_a_kind_share_one_micro_kernel():
    found = set()
    for sizes in ((1, 512, 512, 512), (1, 256, 64, 1024), (2, symbol("m"), 96, symbol("k"))):
        found |= micro_kernels(contraction(sizes)[0])
    assert sorted(kernel.name for kernel in found) == [
        "multiply_float32_12x32",
        "multiply_float32_1x32",
        "multiply_float32_4x32",
        "multiply_float32_8x32",
    ]


@pytest.mark.parametrize("machine", [m for m in MACHINES.values() if m.vector_bits], ids=str)
@pytest.mark.parametrize("dtype", [float32, float64, int32], ids=str)
def test_products_along_neighbours(dtype, machine):
    """A transposed B is read in place, lanes along k."""
    n, m = symbol("n"), symbol("m")
    for sizes in ((1, 7, 37, 300), (2, m, 20, 530), (1, 9, n, 256), (1, m, 10, 400)):
        numbers = tuple(11 if not isinstance(size, int) else size for size in sizes)
        spec, _ = contraction(sizes, dtype, transpose_b=True)
        (kernel,) = micro_kernels(spec, machine)
        assert kernel.name.startswith(f"dots_{dtype}_")
        assert contraction_nest(spec, machine, "tile").workspaces == ()
        check(
            sizes, numbers, machine, "tile", dtype, {n: 11, m: 11}, transpose_b=True,
        )  # fmt: skip
    spec, _ = contraction((1, 7, 37, 300), dtype, transpose_b=True, prologue=True)
    assert all(k.name.startswith("multiply") for k in micro_kernels(spec, machine))


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("dtype", [float32, float64, int8], ids=str)
def test_packing_turns_squares_of_a_transposed_operand_around(dtype, machine):
    """Whole squares, rows and columns that none holds, and sizes that are not known."""
    n, k = symbol("n"), symbol("k")
    for numbers in ((1, 5, 32, 32), (2, 5, 49, 37), (1, 4, 70, 7), (1, 13, 9, 145)):
        for prologue in (False, True):
            check(
                numbers, numbers, machine, "tile", dtype, transpose_b=True, prologue=prologue,
            )  # fmt: skip
            check(
                (*numbers[:2], n, k), numbers, machine, "tile", dtype,
                dict(zip((n, k), numbers[2:], strict=True)), transpose_b=True, prologue=prologue,
            )  # fmt: skip


# -- as machine code -------------------------------------------------------------------------------

NATIVE = [
    target
    for target in (level("scalar"), level("sse2"), level("avx2"), host())
    if host().machine == target.machine and host().vector_bits >= target.vector_bits
]


@pytest.mark.parametrize("target", NATIVE, ids=lambda t: f"{t.cpu}-{t.vector_bits}")
@pytest.mark.parametrize("structure", ["direct", "stream", "dot", "tile"])
@pytest.mark.parametrize("dtype", [float32, float64, int8, int32, int64], ids=str)
def test_machine_code(structure, dtype, target):
    """Integers in floating point: sums are exact, so every structure gives the same bits."""
    b, m, n, k = (symbol(name) for name in "bmnk")
    for how in ({}, {"transpose_a": True, "prologue": True}, {"transpose_b": True}):
        for sizes in ((2, 37, 70, 45), (1, 11, 5, 20), (b, m, n, k), (1, m, 40, k), (1, m, 3, k)):
            if structure == "dot":
                if how or isinstance(sizes[2], int) and sizes[2] > 4:
                    continue
                sizes = (sizes[0], sizes[1], 3, sizes[3])
            if structure == "stream":
                sizes = (sizes[0], 3, *sizes[2:])
            values = (3, 29, 67, 130)
            numbers = tuple(
                size if isinstance(size, int) else value
                for size, value in zip(sizes, values, strict=True)
            )
            bindings = dict(zip((b, m, n, k), values, strict=True))
            check(sizes, numbers, target, structure, dtype, bindings, run=Native(target), **how)


def test_machine_code_of_large_products():
    run = Native(host())
    for how in ({}, {"transpose_a": True}, {"transpose_b": True}, {"prologue": True}):
        for sizes in (
            (1, 200, 300, 2000),
            (1, 1030, 520, 600),
            (4, 65, 100, 33),
            (1, 2, 1000, 700),
            (1, 805, 1100, 1030),
        ):
            check(sizes, sizes, host(), None, run=run, **how)
