"""Text of programs and graphs: what prints, parses, to the same text and the same meaning."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow import sizes
from graphflow.ir.evaluate import run_program
from graphflow.ir.graphviz import to_dot
from graphflow.ir.node import FrozenArray
from graphflow.ir.text import (
    TextError,
    parse_program,
    pool_of,
    print_program,
    read_program,
    write_program,
)
from graphflow.ir.values_text import LineReader, ValuePrinter, ValueReader
from graphflow.ir.verify import verify
from graphflow.ops.region import composite
from graphflow.passes.cut.functionalize import cut


def round_trip(program):
    text = print_program(program)
    again = parse_program(text, pool_of(program))
    assert print_program(again) == text
    verify(again)
    return again


def training_step():
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    labels = tf.placeholder(tf.int32, [None], name="labels")
    w = tf.Variable(tf.random_uniform([4, 3], seed=1), name="w")
    logits = tf.matmul(x, w) * tf.random_uniform([3])
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    with tf.control_dependencies([tf.Assert(loss > 0.0, [loss])]):
        step = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    return [x, labels], [step, loss], w


def test_program_round_trip():
    feeds, fetches, _ = training_step()
    program = cut(tf.get_default_graph(), fetches, feeds)
    again = round_trip(program)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(5, 4)).astype(np.float32), rng.integers(0, 3, 5).astype(np.int32)]

    def run(p):
        states = {v: np.full(v.shape, 0.5, v.dtype.numpy) for v in p.updates if v.initial is None}
        result = run_program(p, arrays, states)
        return result.fetches, [result.updates[v] for v in p.updates]

    for a, b in zip(run(program), run(again), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_golden():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    y = tf.placeholder(tf.float32, [None, 2], name="y")
    program = cut(tf.get_default_graph(), [tf.reduce_sum(x - y, axis=1)], [x, y])
    assert print_program(program, origins=False) == (
        "program {\n"
        "  %0: float32[s0,2] = feed(index=0)\n"
        "  %1: float32[s0,2] = feed(index=1)\n"
        "  %2: float32[s0,2] = sub(%0, %1)\n"
        "  %3: float32[s0] = reduce(%2, axes=(1,), kind='sum')\n"
        "  feeds %0, %1\n"
        "  bind float32[s0,2], float32[s1,2]\n"
        "  fetches %3\n"
        "  require s0 == s1 broadcast\n"
        "}\n"
    )
    assert f"; sub at {__file__}:" in print_program(program)


def test_regions_round_trip():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    y = composite("outer", lambda a: composite("inner", tf.exp, a) * 2.0, x)
    graph = tf.get_default_graph()
    program = cut(graph, [y], [x])
    again = round_trip(program)
    (value,) = run_program(again, [np.zeros((1, 2), np.float32)]).fetches
    np.testing.assert_array_equal(value, [[2, 2]])


def test_large_constants_stand_in_a_pool(tmp_path):
    array = np.arange(100, dtype=np.float64)
    program = cut(tf.get_default_graph(), [tf.constant(array) * 2.0], [])
    text = print_program(program)
    assert FrozenArray(array).digest in text
    assert len(text) < 1000
    with pytest.raises(TextError, match="pool"):
        parse_program(text)
    path = tmp_path / "step.gf"
    write_program(program, path)
    again = read_program(path)
    np.testing.assert_array_equal(run_program(again, []).fetches[0], array * 2)
    (stored,) = (tmp_path / "step.gf.pool").iterdir()
    np.save(stored, array + 1)
    with pytest.raises(TextError, match="not what its digest says"):
        read_program(path)


def test_python_functions_print_and_refuse_to_parse():
    x = tf.placeholder(tf.float32, [2], name="x")
    y = tf.py_func(lambda a: a, [x], tf.float32, shapes=[x.shape])
    text = print_program(cut(tf.get_default_graph(), [y], [x]))
    assert "function=<" in text
    with pytest.raises(TextError, match="Python object"):
        parse_program(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends before"),
        ("graph {\n}", "'program {' was expected"),
        ("program {\n  %0: float32[] = nothing()\n}", "no operation 'nothing'"),
        ("program {\n  %0: float99[] = feed(index=0)\n}", "no element type"),
        ("program {\n  %1: float32[] = exp(%0)\n}", "%0 has no value yet"),
        ("program {\n  %0: float32[] = feed(index=0) nonsense\n}", "the line should end"),
        ("program {\n  %0: float32[] = feed(index=@w)\n}", "not declared"),
        ("program {\n  %0: float32[] = feed(index=0)\n", "ends before"),
        ("program {\n  %0: float32[] = feed(index=0) ; somewhere\n}", "no origin"),
        ("program {\n  %0, %1: float32[] = feed(index=0)\n}", "2 ids for 1 results"),
    ],
)
def test_what_is_no_program(text, message):
    with pytest.raises(TextError, match=message):
        parse_program(text)


def test_errors_name_the_line():
    with pytest.raises(TextError, match="line 3: there is no operation 'nothing'"):
        parse_program("program {\n\n  %0: float32[] = nothing()\n}")


n, m = sizes.symbol("n"), sizes.symbol("m")


@pytest.mark.parametrize(
    "value",
    [
        0, -3, 10**30, 0.1, -0.0, 1e-300, float("inf"), -float("inf"), True, False, None,
        "", "it's", 'a "b" \\ \n', (), (1,), (1, (2.5, "x"), None), tf.float32, tf.bool,
        n, n * 2 + 1, n * m - 3, (n - 1) // 2 * m, sizes.maximum(n, m - 1), (n, 3, -n),
        np.float32(0.1), np.int64(-5), np.bool_(True),
        FrozenArray(np.float32([0.1, -0.0, np.inf, 1e-45])),
        FrozenArray(np.array([[True, False]])), FrozenArray(np.int8(-128)),
        FrozenArray(np.zeros((0, 3))), FrozenArray(np.float64([np.nan, 1 / 3])),
        tf.uint8,
    ],
    ids=repr,
)  # fmt: skip
def test_values(value):
    printer = ValuePrinter()
    text = printer.value(value)
    reader = ValueReader(printer.pool)
    reader._symbols = {"n": n, "m": m}
    line = LineReader(text, 1)
    again = reader.value(line)
    assert line.peek().kind == "end"
    assert type(again) is type(value)
    if isinstance(value, FrozenArray):
        assert again.array.dtype == value.array.dtype
        assert again.array.shape == value.array.shape
        np.testing.assert_array_equal(again.array, value.array)
        assert again.digest == value.digest
    else:
        assert again == value
        assert repr(again) == repr(value)


def test_two_symbols_of_one_name():
    printer = ValuePrinter()
    a, b = sizes.symbol("n"), sizes.symbol("n")
    assert printer.value((a, b, a * b)) == "(n, n_2, n*n_2)"


def test_prints_are_equal_in_every_process():
    texts = set()
    for _ in range(2):
        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float32, [None, 3], name="x")
            program = cut(graph, [tf.exp(x) * tf.random_uniform([3], seed=2)], [x])
            texts.add(print_program(program, origins=False))
    assert len(texts) == 1


def test_graphviz():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    with tf.control_dependencies([tf.Assert(tf.reduce_all(x > 0.0), [x])]):
        y = tf.identity(x, name="y")
    graph = tf.get_default_graph()
    for text in (to_dot(graph), to_dot(cut(graph, [y], [x]))):
        assert text.startswith("digraph")
        assert text.rstrip().endswith("}")
        assert "float32[" in text
        assert text.count('"') % 2 == 0
    assert "style=dashed" in to_dot(graph)
