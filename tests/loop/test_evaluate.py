"""The evaluator of Loop kernels: every kind of statement, and every wrong access it must refuse."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow.dtypes import bool_, float32, int32, int64
from graphflow.loop import nodes as loop
from graphflow.loop.evaluate import AccessError, CheckFailed, SizeValues, run_kernel
from graphflow.loop.nodes import (
    PARALLEL,
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    Buffer,
    Check,
    Const,
    For,
    If,
    Invoke,
    Kernel,
    Let,
    Load,
    Local,
    Same,
    SizeOf,
    Store,
    Var,
)
from graphflow.sizes import symbol

BOTH = pytest.mark.parametrize("vectorize", [True, False], ids=["lanes", "sequential"])


def array(*values, dtype=np.float32):
    return np.array(values, dtype)


def number(value, dtype=float32):
    return Const(value, dtype)


def loop_over(var, extent, body, kind=VECTOR):
    return For(var, loop.index(extent), kind, tuple(body))


@BOTH
@pytest.mark.parametrize("kind", [SERIAL, PARALLEL, VECTOR, UNROLLED])
def test_a_loop_of_every_kind(kind, vectorize):
    x, y, i = Buffer("x", float32, 4), Buffer("y", float32, 4, "out"), Var("i")
    body = [Store(y, i, loop.apply("mul", Load(x, i), number(2.0)))]
    out = np.zeros(4, np.float32)
    kernel = Kernel("double", (x, y), (loop_over(i, 4, body, kind),))
    run_kernel(kernel, [array(1, 2, 3, 4), out], vectorize=vectorize)
    assert out.tolist() == [2, 4, 6, 8]


@BOTH
def test_an_empty_loop_does_nothing(vectorize):
    n, i, y = symbol("n"), Var("i"), Buffer("y", float32, 2, "out")
    out = array(5, 6)
    kernel = Kernel("k", (y,), (loop_over(i, n - 3, [Store(y, i, number(0.0))]),))
    for value in (0, 3):
        run_kernel(kernel, [out], {n: value}, vectorize=vectorize)
    assert out.tolist() == [5, 6]


def test_sizes_are_worked_out_from_symbols():
    n, m = symbol("n"), symbol("m")
    y = Buffer("y", int64, 2, "out")
    kernel = Kernel(
        "k", (y,), (Store(y, Const(0), SizeOf(n * m + 1)), Store(y, Const(1), SizeOf((n + 1) // 2)))
    )
    out = np.zeros(2, np.int64)
    run_kernel(kernel, [out], {n: 4, m: 5})
    assert out.tolist() == [21, 2]
    (only,) = n.terms[0][0]
    assert SizeValues({only: 7})(n * 2) == 14


@BOTH
def test_a_reduction_over_lanes(vectorize):
    x, y, i, j = Buffer("x", float32, 12), Buffer("y", float32, 3, "out"), Var("i"), Var("j")
    total = Local("total", float32)
    place = loop.add(loop.mul(i, Const(4)), j)
    for op, start, expected in (
        ("add", 0.0, [6, 22, 38]),
        ("maximum", -1.0, [3, 7, 11]),
        ("minimum", 99.0, [0, 4, 8]),
    ):
        rows = [
            total,
            Store(total, Const(0), number(start)),
            loop_over(j, 4, [Accumulate(total, Const(0), op, Load(x, place))]),
            Store(y, i, Load(total, Const(0))),
        ]
        out = np.zeros(3, np.float32)
        kernel = Kernel("k", (x, y), (loop_over(i, 3, rows, PARALLEL),))
        run_kernel(kernel, [np.arange(12, dtype=np.float32), out], vectorize=vectorize)
        assert out.tolist() == expected


@BOTH
def test_a_local_of_a_vector_loop_has_its_own_lanes(vectorize):
    x, y, i, p = Buffer("x", int32, 6), Buffer("y", int32, 3, "out"), Var("i"), Var("p")
    sums = Local("sums", int32, (2,))
    body = [
        sums,
        Store(sums, Const(0), number(0, int32)),
        Store(sums, Const(1), number(10, int32)),
        For(
            p,
            Const(2),
            SERIAL,
            (Accumulate(sums, p, "add", Load(x, loop.add(loop.mul(p, Const(3)), i))),),
        ),
        Store(y, i, loop.apply("add", Load(sums, Const(0)), Load(sums, Const(1)))),
    ]
    out = np.zeros(3, np.int32)
    kernel = Kernel("k", (x, y), (loop_over(i, 3, body),))
    run_kernel(kernel, [np.arange(6, dtype=np.int32), out], vectorize=vectorize)
    assert out.tolist() == [13, 15, 17]


@BOTH
def test_branches_of_a_vector_loop_are_masked(vectorize):
    """Neither branch touches memory for lanes it does not hold."""
    x, y, i = Buffer("x", float32, 2), Buffer("y", float32, 4, "out"), Var("i")
    first = loop.apply("lt", i, Const(2))
    odd = loop.apply("eq", loop.mod(i, Const(2)), Const(1))
    body = [
        If(
            first,
            (If(odd, (Store(y, i, number(7.0)),), (Store(y, i, Load(x, i)),)),),
            (Store(y, i, Load(x, loop.sub(i, Const(2)))),),
        )
    ]
    out = np.zeros(4, np.float32)
    kernel = Kernel("k", (x, y), (loop_over(i, 4, body),))
    run_kernel(kernel, [array(1, 2), out], vectorize=vectorize)
    assert out.tolist() == [1, 7, 1, 2]


@BOTH
def test_select_evaluates_both_sides(vectorize):
    """So an index must be made safe, not guarded by select."""
    x, y, i = Buffer("x", float32, 2), Buffer("y", float32, 3, "out"), Var("i")
    inside = loop.apply("lt", i, Const(2))
    body = [Store(y, i, loop.select(inside, Load(x, i), number(0.0)))]
    kernel = Kernel("k", (x, y), (loop_over(i, 3, body),))
    with pytest.raises(AccessError, match=r"kernel k: reads x\[2\], which has 2 elements"):
        run_kernel(kernel, [array(1, 2), np.zeros(3, np.float32)], vectorize=vectorize)


@BOTH
def test_gather_and_scatter(vectorize):
    x, at = Buffer("x", float32, 4), Buffer("at", int64, 3)
    y, i = Buffer("y", float32, 4, "inout"), Var("i")
    body = [Accumulate(y, Load(at, i), "add", Load(x, Load(at, i)))]
    out = array(10, 10, 10, 10)
    kernel = Kernel("k", (x, at, y), (loop_over(i, 3, body),))
    run_kernel(
        kernel, [array(1, 2, 3, 4), array(3, 0, 2, dtype=np.int64), out], vectorize=vectorize
    )
    assert out.tolist() == [11, 10, 13, 14]


def test_let_names_a_value():
    y, i, twice = Buffer("y", int64, 3, "out"), Var("i"), Var("twice")
    body = [Let(twice, loop.add(i, i)), Store(y, twice, twice)]
    kernel = Kernel("k", (y,), (loop_over(i, 2, body), Store(y, Const(1), Const(-1))))
    out = np.zeros(3, np.int64)
    run_kernel(kernel, [out])
    assert out.tolist() == [0, -1, 2]


def test_shared_expressions_do_not_blow_up():
    y = Buffer("y", float32, 1, "out")
    value = number(1.0)
    for _ in range(100):
        value = loop.apply("add", value, value)
    deep = number(0.0)
    for _ in range(3000):
        deep = loop.apply("add", deep, number(1.0))
    out = np.zeros(1, np.float32)
    run_kernel(Kernel("k", (y,), (Store(y, Const(0), value),)), [out])
    assert out[0] == 2.0**100
    run_kernel(Kernel("k", (y,), (Store(y, Const(0), deep),)), [out])
    assert out[0] == 3000


def test_same_tells_an_update_in_place():
    a, b = Buffer("a", float32, 1), Buffer("b", float32, 1, "out")
    kernel = Kernel("k", (a, b), (If(Same(a, b), (Store(b, Const(0), number(1.0)),)),))
    memory, other = array(0), array(0)
    run_kernel(kernel, [memory, other])
    assert memory.tolist() == other.tolist() == [0]
    run_kernel(kernel, [memory, memory])
    assert memory.tolist() == [1]


def test_bools_and_logic():
    x, y, i = Buffer("x", bool_, 3), Buffer("y", bool_, 3, "out"), Var("i")
    first = loop.apply("eq", i, Const(0))
    value = loop.apply("xor", loop.apply("not", Load(x, i)), first)
    kernel = Kernel("k", (x, y), (loop_over(i, 3, [Store(y, i, value)]),))
    for vectorize in (True, False):
        out = np.zeros(3, bool)
        run_kernel(kernel, [np.array([True, True, False]), out], vectorize=vectorize)
        assert out.tolist() == [True, False, True]


# -- checks ----------------------------------------------------------------------------------------


def checking():
    x, y, i = Buffer("x", int64, 4), Buffer("y", int64, 4, "out"), Var("i")
    body = [
        Check(loop.apply("lt", Load(x, i), Const(3)), 5, (Load(x, i), i)),
        Store(y, i, Const(1)),
    ]
    return Kernel("k", (x, y), (loop_over(i, 4, body),))


@BOTH
def test_a_failed_check_is_raised_once_the_kernel_is_done(vectorize):
    out = np.zeros(4, np.int64)
    with pytest.raises(CheckFailed, match="site 5") as raised:
        run_kernel(checking(), [array(0, 9, 2, 8, dtype=np.int64), out], vectorize=vectorize)
    assert (raised.value.site, raised.value.values) == (5, (9, 1))
    assert out.tolist() == [1, 1, 1, 1]


def test_checks_can_be_collected():
    failures: list = []
    run_kernel(
        checking(), [array(0, 9, 2, 8, dtype=np.int64), np.zeros(4, np.int64)], failures=failures,
        vectorize=False,
    )  # fmt: skip
    assert failures == [(5, 9, 1), (5, 8, 3)]


# -- calls -----------------------------------------------------------------------------------------


def adder():
    """c[v] += a[v * step], two elements."""
    a, c = Buffer("a", float32, 1), Buffer("c", float32, 2, "inout")
    step, v = Var("step"), Var("v")
    body = For(v, Const(2), VECTOR, (Accumulate(c, v, "add", Load(a, loop.mul(v, step))),))
    return Kernel("adder", (a, c), (body,), (step,))


def test_a_call_works_on_parts_of_buffers_and_locals():
    x, y, i = Buffer("x", float32, 6), Buffer("y", float32, 2, "out"), Var("i")
    tile = Local("tile", float32, (4,), "stack")
    body = [
        tile,
        For(i, Const(4), VECTOR, (Store(tile, i, number(1.0)),)),
        Invoke(adder(), ((x, Const(2)), (tile, Const(1))), (Const(3),)),
        For(i, Const(2), VECTOR, (Store(y, i, Load(tile, loop.add(i, Const(1)))),)),
    ]
    out = np.zeros(2, np.float32)
    run_kernel(Kernel("k", (x, y), tuple(body)), [np.arange(6, dtype=np.float32), out])
    assert out.tolist() == [3, 6]


def test_a_call_beyond_its_argument_is_refused():
    y = Buffer("y", float32, 3, "inout")
    kernel = Kernel("k", (y,), (Invoke(adder(), ((y, Const(0)), (y, Const(2))), (Const(1),)),))
    with pytest.raises(AccessError, match=r"adder is given y\[2:4\] as c, but y has 3"):
        run_kernel(kernel, [array(1, 2, 3)])
    kernel = Kernel("k", (y,), (Invoke(adder(), ((y, Const(1)), (y, Const(0))), (Const(9),)),))
    with pytest.raises(AccessError, match=r"kernel adder: reads a\[9\], which has 2"):
        run_kernel(kernel, [array(1, 2, 3)])


def test_a_call_with_the_wrong_dtype_is_refused():
    y = Buffer("y", int32, 3, "inout")
    kernel = Kernel("k", (y,), (Invoke(adder(), ((y, Const(0)), (y, Const(0))), (Const(1),)),))
    with pytest.raises(AccessError, match="is given to adder"):
        run_kernel(kernel, [array(1, 2, 3, dtype=np.int32)])


# -- wrong accesses --------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shift", [-1, 1])
def test_a_store_outside_is_refused(shift, vectorize):
    y, i = Buffer("y", float32, 3, "out"), Var("i")
    kernel = Kernel(
        "k", (y,), (loop_over(i, 3, [Store(y, loop.add(i, Const(shift)), number(0.0))]),)
    )
    wrong = -1 if shift < 0 else 3
    with pytest.raises(AccessError, match=rf"kernel k: stores to y\[{wrong}\]"):
        run_kernel(kernel, [np.zeros(3, np.float32)], vectorize=vectorize)


@BOTH
def test_an_element_nothing_was_stored_to_is_refused(vectorize):
    y, i = Buffer("y", float32, 4, "out"), Var("i")
    tile = Local("tile", float32, (4,))
    body = [
        tile,
        loop_over(i, 3, [Store(tile, i, number(0.0))]),
        loop_over(i, 4, [Store(y, i, Load(tile, i))]),
    ]
    kernel = Kernel("k", (y,), tuple(body))
    with pytest.raises(AccessError, match=r"reads tile\[3\], an element nothing was stored to"):
        run_kernel(kernel, [np.zeros(4, np.float32)], vectorize=vectorize)


def test_what_a_local_held_in_the_last_iteration_is_gone():
    y, i = Buffer("y", float32, 2, "out"), Var("i")
    one = Local("one", float32)
    first = If(loop.apply("eq", i, Const(0)), (Store(one, Const(0), number(1.0)),))
    kernel = Kernel(
        "k", (y,), (loop_over(i, 2, [one, first, Store(y, i, Load(one, Const(0)))], SERIAL),)
    )
    with pytest.raises(AccessError, match="nothing was stored"):
        run_kernel(kernel, [np.zeros(2, np.float32)])


def test_outputs_and_workspaces_start_undefined():
    for role in ("out", "workspace"):
        y = Buffer("y", float32, 1, role)
        kernel = Kernel("k", (y,), (Accumulate(y, Const(0), "add", number(1.0)),))
        with pytest.raises(AccessError, match="nothing was stored"):
            run_kernel(kernel, [np.zeros(1, np.float32)])


def test_an_output_in_place_of_an_input_is_defined():
    x, y = Buffer("x", float32, 1), Buffer("y", float32, 1, "out")
    kernel = Kernel("k", (x, y), (Accumulate(y, Const(0), "add", Load(x, Const(0))),))
    memory = array(2)
    run_kernel(kernel, [memory, memory])
    assert memory.tolist() == [4]


def test_lanes_that_store_to_one_element_are_refused():
    y, i = Buffer("y", float32, 2, "inout"), Var("i")
    for stmt in (
        Store(y, Const(0), number(1.0)),
        Store(y, loop.floordiv(i, Const(2)), number(1.0)),
        Accumulate(y, Const(0), "add", number(1.0)),
    ):
        kernel = Kernel("k", (y,), (loop_over(i, 3, [stmt]),))
        with pytest.raises(AccessError, match="lanes of a vector loop store to one element"):
            run_kernel(kernel, [np.zeros(2, np.float32)])


def test_backward_shows_parallel_iterations_that_depend_on_each_other():
    y, i = Buffer("y", float32, 4, "inout"), Var("i")
    stmt = Store(y, loop.add(i, Const(1)), loop.apply("add", Load(y, i), number(1.0)))
    kernel = Kernel("k", (y,), (loop_over(i, 3, [stmt], PARALLEL),))
    forward, backward = np.zeros(4, np.float32), np.zeros(4, np.float32)
    run_kernel(kernel, [forward])
    run_kernel(kernel, [backward], backward=True)
    assert forward.tolist() == [0, 1, 2, 3] and backward.tolist() == [0, 1, 1, 1]


def test_a_loop_inside_a_vector_loop_has_one_extent_for_all_lanes():
    y, i, p = Buffer("y", float32, 3, "inout"), Var("i"), Var("p")
    body = [For(p, i, SERIAL, (Accumulate(y, i, "add", number(1.0)),))]
    kernel = Kernel("k", (y,), (loop_over(i, 3, body),))
    with pytest.raises(AccessError, match="extent of its own per lane"):
        run_kernel(kernel, [np.zeros(3, np.float32)])


def test_a_vector_loop_inside_a_vector_loop_is_refused():
    y, i, j = Buffer("y", float32, 3, "out"), Var("i"), Var("j")
    inner = loop_over(j, 3, [Store(y, j, number(0.0))])
    with pytest.raises(AccessError, match="a vector loop inside a vector loop"):
        run_kernel(Kernel("k", (y,), (loop_over(i, 3, [inner]),)), [np.zeros(3, np.float32)])


def test_arguments_must_be_what_the_kernel_declares():
    y = Buffer("y", float32, 2, "out")
    kernel = Kernel("k", (y,), (Store(y, Const(0), number(0.0)),))
    with pytest.raises(AccessError, match="has 2 elements"):
        run_kernel(kernel, [np.zeros(3, np.float32)])
    with pytest.raises(AccessError, match="is float32"):
        run_kernel(kernel, [np.zeros(2, np.float64)])


def test_integers_wrap_in_index_arithmetic_on_data():
    x, y = Buffer("x", int64, 1), Buffer("y", int64, 1, "out")
    value = loop.apply("mul", Load(x, Const(0)), Const(2**40 + 1))
    out = np.zeros(1, np.int64)
    kernel = Kernel("k", (x, y), (Store(y, Const(0), value),))
    run_kernel(kernel, [array(2**40 + 1, dtype=np.int64), out])
    assert out[0] == (2**40 + 1) ** 2 % 2**64
