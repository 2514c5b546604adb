"""Folding, one node for equal expressions, dead code, inlining, NaN checks; before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from expressions import Feeds, number, op, program_of, text_of

import graphflow as tf
from graphflow.errors import InvalidArgumentError
from graphflow.ir.evaluate import run_program
from graphflow.ir.text import print_program
from graphflow.ir.verify import verify
from graphflow.ops.region import composite
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.rewrite.check_numerics import check_numerics
from graphflow.passes.rewrite.cse import cse
from graphflow.passes.rewrite.dce import dce
from graphflow.passes.rewrite.fold import fold
from graphflow.passes.rewrite.inline_calls import inline_calls


def test_fold():
    feeds = Feeds()
    program = program_of(
        op("mul", feeds.x, op("add", number(1.0), op("exp", number(0.0)))), feeds
    )  # fmt: skip
    assert text_of(program, feeds) == "mul(x, add(1.0, exp(0.0)))"
    result = fold(program)
    assert text_of(result, feeds) == "mul(x, 2.0)"
    verify(result, "fold")


@pytest.mark.parametrize(
    "build",
    [
        lambda: op("broadcast_to", number(1.0), shape=(100, 100)),  # larger than what it is made of
        lambda: op("floordiv", number(1, tf.int32), number(0, tf.int32)),  # fails in the run
        lambda: op("iota", dtype=tf.int32, size=5),  # a loop's own counter
    ],
)
def test_fold_leaves_alone(build):
    feeds = Feeds()
    program = program_of(build(), feeds)
    assert fold(program) is program


def test_cse():
    feeds = Feeds()
    x, y = feeds.x, feeds.y
    program = program_of([op("add", x, y), op("add", y, x), op("mul", number(2.0), x)], feeds)
    result = cse(program)
    assert text_of(result, feeds) == "add(x, y); add(x, y); mul(x, 2.0)"
    assert result.fetches[0] is result.fetches[1]
    verify(result, "cse")


def test_cse_leaves_alone():
    feeds = Feeds()
    x, y = feeds.x, feeds.y
    program = program_of([op("sub", x, y), op("sub", y, x)], feeds)
    assert cse(program) is program
    # Two draws are two, however equal they look.
    program = cut(
        tf.get_default_graph(), [tf.random_uniform([2], seed=1) - tf.random_uniform([2])], []
    )
    assert len([n for n in cse(program).nodes() if n.op.name == "random_bits"]) == 2


def test_dce():
    w = tf.Variable(np.float32([1.0, 2.0]), name="w")
    feeds = Feeds()
    program = program_of([op("reshape", w.assign(w.value()), shape=(2,)), feeds.x], feeds)
    assert program.updates == {}
    state = program.states()[0]
    idle = replace(program, updates={w.handle: state})
    result = dce(idle)
    assert result.updates == {}
    assert len(result.interner.origins) == len(result.nodes())
    assert dce(result) is result


def test_inline():
    feeds = Feeds()
    twice = composite("twice", lambda a: composite("scaled", lambda b: b * 2.0, a), feeds.x)
    program = program_of(tf.exp(twice), feeds)
    assert [n.op.name for n in program.nodes()] == ["feed", "call", "exp"]
    result = inline_calls(program)
    assert text_of(result, feeds) == "exp(mul(x, 2.0))"
    verify(result, "inline_calls")
    origins = {str(o.name) for n in result.nodes() for o in result.origin(n)}
    assert "twice" in origins
    assert inline_calls(result) is result


def test_check_numerics():
    feeds = Feeds()
    program = program_of(tf.reshape(tf.log(feeds.x, name="l"), [-1]), feeds)
    result = check_numerics(program)
    assert text_of(result, feeds) == ("reshape(check_numerics(log(x), message=l), shape=[-1])")
    run_program(result, [np.ones((1, 3), np.float32)])
    with pytest.raises(InvalidArgumentError, match="l : Tensor had Inf") as caught:
        run_program(result, [np.zeros((1, 3), np.float32)])
    assert __file__ in str(caught.value)


def test_check_numerics_leaves_alone():
    feeds = Feeds()
    program = program_of([feeds.i + 1, tf.transpose(feeds.x)], feeds)
    assert check_numerics(program) is program


def test_unchanged_programs_print_the_same():
    feeds = Feeds()
    program = program_of(tf.exp(feeds.x) * feeds.y, feeds)
    text = print_program(program)
    for rewrite in (fold, cse, dce, inline_calls):
        assert print_program(rewrite(program)) == text
