"""Text of users' graphs: all of a graph comes back, in the order of its definition."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.ir.graph_reader import TextError, parse_graph
from graphflow.ir.graph_text import print_graph
from graphflow.ops.region import composite


def round_trip(graph):
    text, pool = print_graph(graph)
    again = parse_graph(text, pool)
    assert print_graph(again)[0] == text
    return again


def test_names_order_and_lines_come_back():
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    w = tf.Variable(tf.random_uniform([4, 3], seed=1), name="w")
    loss = tf.reduce_mean(tf.matmul(x, w) * tf.random_uniform([3]), name="loss")
    with tf.control_dependencies([tf.Assert(loss > 0.0, [loss])]):
        tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    graph = tf.get_default_graph()
    again = round_trip(graph)
    assert [n.op.name for n in again.nodes] == [n.op.name for n in graph.nodes]
    assert [n.name for n in again.nodes] == [n.name for n in graph.nodes]
    assert [again.location(n) for n in again.nodes] == [graph.location(n) for n in graph.nodes]
    assert again.get_tensor_by_name("loss:0").dtype is tf.float32


GOLDEN = """\
graph {
  variable @w: float32[]
  %x: float32[x_0,2] = placeholder(dtype=float32, label='x', shape=(x_0, 2))
  %best: int32[x_0,1] = sort_order(%x, descending=true, k=1)
  %gather: float32[x_0,1] = gather(%x, %best, axis=1, batch_dims=1)
  %w/initial_value: float32[] = constant(value=dense(float32, [], [2.0]))
  %w: float32[] = variable_read(variable=@w)
  %w/Assign: float32[] = assign(%w/initial_value, variable=@w)
  body #0 'the body of map_fn' repeats {
    %rows/parameter: float32[1] = parameter(dtype=float32, index=0, shape=(1,))
  }
  %w/read: float32[] = variable_read(variable=@w)
  body #0 {
    %rows/parameter_1: float32[] = parameter(dtype=float32, index=1, shape=())
    %rows/mul: float32[1] = mul(%rows/parameter, %rows/parameter_1)
  }
  %rows/map_fn: float32[x_0,1] = scan(%gather, %w/read, bounded=false, carries=0, length=x_0, \
reverse=false, sequences=1) {
    region 'the body of map_fn' parameters %rows/parameter, %rows/parameter_1 results %rows/mul
  }
}
"""


def test_golden():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    values, places = tf.nn.top_k(x, name="best")
    w = tf.Variable(2.0, name="w")
    tf.map_fn(lambda row: row * w, values, name="rows")
    text, _ = print_graph(tf.get_default_graph())
    assert [line.partition(" ; at ")[0] for line in text.splitlines()] == GOLDEN.splitlines()
    assert f"; at {__file__}:" in text


def test_composites_come_back():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    composite("outer", lambda a: composite("inner", tf.exp, a) * 2.0, x, name="y")
    again = round_trip(tf.get_default_graph())
    with tf.Session(graph=again) as session:
        np.testing.assert_array_equal(
            session.run("y:0", {"x:0": np.zeros((1, 2), np.float32)}), [[2, 2]]
        )


def test_names_that_are_no_words():
    with tf.Graph().as_default() as graph:
        names = ["it's", 'a "b" c', "a:1", "x,y", "%", "new\nline", "a->b", "\\", "a'2"]
        for name in names:
            tf.constant(1.0, name=name)
        again = round_trip(graph)
    assert [node.name for node in again.nodes] == [node.name for node in graph.nodes]


def test_two_nodes_of_one_name():
    graph = tf.get_default_graph()
    with graph.name_scope("s") as scope:
        a = tf.constant(1.0, name=scope)
        b = tf.add(a, 2.0, name=scope)
    assert a.name == b.name
    again = round_trip(graph)
    assert again.get_tensor_by_name("s:0").op.type == "add"
    assert [n.name for n in again.nodes] == [n.name for n in graph.nodes]


def test_python_functions_print_and_refuse_to_be_read():
    x = tf.placeholder(tf.float32, [2], name="x")
    tf.py_func(lambda a: a, [x], tf.float32, shapes=[x.shape])
    text, pool = print_graph(tf.get_default_graph())
    assert "function=<" in text
    with pytest.raises(TextError, match="line 3: .*Python object"):
        parse_graph(text, pool)


NODE = "%x: float32[] = placeholder(dtype=float32, label='x', shape=())"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "ends too early"),
        (["program {", "}"], "'graph {' was expected"),
        (["graph {"], "ends too early"),
        (["graph {", "nonsense", "}"], "line 2: 'nonsense' is no part of a graph"),
        (["graph {", "%x = nothing()", "}"], "no operation 'nothing'"),
        (["graph {", "%y: float32[] = exp(%x)", "}"], "%x is not defined before it is used"),
        (["graph {", NODE, NODE, "}"], "%x is defined twice"),
        (["graph {", NODE, "%y: int32[] = exp(%x)", "}"], "the results of exp are float32"),
        (["graph {", NODE, "%y: float32[] = exp(%x:1)", "}"], "1 outputs, so there is no %x:1"),
        (["graph {", NODE, "%y: float32[2] = reshape(%x, shape=(2,))", "}"], "line 3: reshape"),
        (["graph {", NODE, "%y: float32[] = exp()", "}"], "exp has no meaning"),
        (["graph {", NODE + " nonsense", "}"], "the line should end"),
        (["graph {", NODE + " ; nowhere", "}"], "no line of a program"),
        (["graph {", "%x: float99[] = exp()", "}"], "no element type"),
        (["graph {", "%x:1 = exp()", "}"], "names an output"),
        (["graph {", "body #0 {", "}", "}"], "0 is not defined before"),
        (["graph {", "body #0 'a' {", NODE, "}"], "ends too early"),
        (["graph {", "variable w: float32[]", "}"], "name of a variable"),
        (["graph {", "variable @w: float32[n]", "}"], "shape of a variable is known"),
        (["graph {", "seed 'a'", "}"], "whole number"),
        (["graph {", "owner 3 = %x", "}"], "a name of its own"),
    ],
)  # fmt: skip
def test_what_is_no_graph(lines, message):
    with pytest.raises(TextError, match=message):
        parse_graph("\n".join(lines))
