"""The verifier: what it accepts is valid, and every way of being invalid is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import InternalError
from graphflow.ir.evaluate import bind_sizes, run_program
from graphflow.ir.node import Attrs, Node
from graphflow.ir.op import find
from graphflow.ir.text import parse_program
from graphflow.ir.types import TensorType
from graphflow.ir.verify import verify
from graphflow.passes.cut.functionalize import cut


def program():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    w = tf.Variable(np.float32([1.0, 2.0]), name="w")
    add = w.assign_add(tf.reduce_sum(x, axis=0))
    return cut(tf.get_default_graph(), [tf.exp(x), add], [x])


def broken(message: str, program, after: str = "magic") -> str:
    with pytest.raises(InternalError, match=message) as caught:
        verify(program, after)
    text = str(caught.value)
    assert text.startswith(f"after pass {after}: ")
    return text


def test_valid():
    verify(program())


def test_a_wrong_type_names_pass_node_and_line():
    text = (
        "program {\n  %0: float32[s0,2] = feed(index=0) ; x at model.py:1\n"
        "  %1: float32[s0,3] = exp(%0) ; y at model.py:2\n  feeds %0\n  fetches %1\n}\n"
    )
    message = broken("its type rule gives float32\\[s0,2\\]", parse_program(text), "fuse")
    assert "node exp(feed float32[s0,2]) -> float32[s0,3]" in message
    assert "y (exp) at model.py:2" in message


def test_a_refused_node():
    text = (
        "program {\n  %0: float32[2] = feed(index=0) ; x at m.py:1\n"
        "  %1: float32[3] = feed(index=1) ; y at m.py:2\n"
        "  %2: float32[3] = add(%0, %1) ; z at m.py:3\n  feeds %0, %1\n  fetches %2\n}\n"
    )
    broken("its type rule refuses it", parse_program(text))


def test_a_lost_origin():
    text = "program {\n  %0: float32[2] = feed(index=0)\n  feeds %0\n  fetches %0\n}\n"
    broken("the definition it comes from is lost", parse_program(text))


def test_a_symbol_nothing_binds():
    text = (
        "program {\n  %0: float32[s0] = feed(index=0) ; x at m.py:1\n  feeds %0\n"
        "  bind float32[s1]\n  fetches %0\n}\n"
    )
    broken("no feed gives the size s0 its value", parse_program(text))


def test_feeds_out_of_order():
    good = program()
    text_of_feed = replace(good, feeds=(*good.feeds, *good.feeds), feed_types=())
    broken("feed 1 is no feed node of that index", text_of_feed)


def test_a_foreign_feed():
    good = program()
    stranger = Node(
        find("feed"), (), Attrs({"index": 5, "type": TensorType(tf.float32, ())}),
        (TensorType(tf.float32, ()),),
    )  # fmt: skip
    good.interner.origins[stranger] = good.origin(good.nodes()[0])
    broken("not the program's", replace(good, fetches=(stranger.outputs[0],)))


def test_an_update_of_another_type():
    good = program()
    (variable,) = good.updates
    broken("variable w is float32\\[2\\]", replace(good, updates={variable: good.fetches[0]}))


def test_a_state_operation_left_over():
    w = tf.Variable(np.float32(1.0), name="w")
    read = w.value()
    good = program()
    broken("does not come before|state operation is left", replace(good, fetches=(read,)))


def test_effects_out_of_order():
    x = tf.constant(1.0)
    prints = [tf.Print(x, [x], "a"), tf.Print(x, [x], "b")]
    good = cut(tf.get_default_graph(), prints, [])
    verify(good)
    broken("effects are out of order", replace(good, effects=good.effects[::-1]))


def test_evaluator_checks_types_and_sizes():
    good = program()
    with pytest.raises(tf.errors.InvalidArgumentError, match="feed 0 is float32\\[s0,2\\]"):
        bind_sizes(good, [np.zeros((1, 3), np.float32)])
    with pytest.raises(tf.errors.FailedPreconditionError, match="w is not initialised"):
        run_program(good, [np.zeros((1, 2), np.float32)])
    with pytest.raises(InternalError, match="op feed gives float64"):
        run_program(good, [np.zeros((1, 2))])
    (variable,) = good.updates
    result = run_program(good, [np.ones((3, 2), np.float32)], {variable: np.float32([1, 2])})
    np.testing.assert_array_equal(result.updates[variable], [4, 5])
    np.testing.assert_array_equal(result.fetches[1], [4, 5])
