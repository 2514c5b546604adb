"""Products of rows that were set to zero: before and after, and that no work is done for them."""

from __future__ import annotations

import numpy as np
import pytest
from expressions import number, op
from plans import check, program_of

import graphflow as tf
from graphflow.ir.evaluate import run_program
from graphflow.ir.verify import verify
from graphflow.loop import evaluate
from graphflow.ops.contraction_where import contract_where
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.rewrite.dead_rows import dead_rows

ROWS, DEPTH, COLUMNS = 9, 80, 70


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def feeds():
    x = tf.placeholder(tf.float32, [ROWS, DEPTH], "x")
    w = tf.placeholder(tf.float32, [DEPTH, COLUMNS], "w")
    return x, w, tf.placeholder(tf.bool, [ROWS], "live"), tf.placeholder(tf.bool, [ROWS], "also")


def masked(live, x):
    return op("select", op("reshape", live, shape=(*live.dims, 1)), x, number(0.0))


def product(a, b, contracting=((1,), (0,))):
    return op("contract", a, b, batch=((), ()), contracting=contracting)


def rewritten(result, given):
    """The nodes after the pass, which gives what the program gave."""
    program = cut(tf.get_default_graph(), [result], list(given))
    after = dead_rows(program)
    verify(after, "dead_rows")
    rng = np.random.default_rng(0)
    arrays = [
        rng.random(t.dims) < 0.5 if t.dtype.is_bool else rng.standard_normal(t.dims).astype("f4")
        for t in given
    ]
    (want,), (got,) = (run_program(p, arrays, {}).fetches for p in (program, after))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    return after.fetches[0], program, after


def test_rows_of_zeros_are_left_out():
    x, w, live, also = given = feeds()
    tensor, *_ = rewritten(product(masked(live, x), w), given)
    assert tensor.node.op is contract_where and tensor.node.attrs["of"] == "rows"
    assert [t.node.op.name for t in tensor.node.inputs] == ["feed"] * 3


def test_rows_that_several_masks_leave_out():
    x, w, live, also = given = feeds()
    tensor, *_ = rewritten(product(masked(also, tf.tanh(masked(live, x))) * x, w), given)
    assert tensor.node.op is contract_where
    assert tensor.node.inputs[2].node.op.name == "logical_and"


def test_sums_over_rows_of_zeros():
    x, w, live, also = given = feeds()
    y = op("slice", masked(live, x), begin=(0, 5), size=(ROWS, 64), strides=(1, 1))
    tensor, *_ = rewritten(product(x, y, ((0,), (0,))), given)
    assert tensor.node.op is contract_where and tensor.node.attrs["of"] == "summed"


def test_zeros_are_followed_to_the_next_product():
    x, w, live, also = given = feeds()
    hidden = tf.tanh(product(op("concat", masked(live, x), masked(live, x) * 2.0, axis=1),
                             op("concat", w, w, axis=0)))  # fmt: skip
    tensor, *_ = rewritten(product(hidden, w, ((1,), (1,))), given)
    first = tensor.node.inputs[0].node.inputs[0].node
    assert tensor.node.op is contract_where is first.op
    # What the zeros were put into is read without them.
    assert all(t.node.op.name != "select" for t in first.inputs[0].node.inputs)


def test_zeros_that_are_there_anyway_are_not_put_in_again():
    x, w, live, also = given = feeds()
    tensor, *_ = rewritten(masked(live, product(masked(live, x), w)), given)
    assert tensor.node.op is contract_where


@pytest.mark.parametrize(
    "result",
    [
        lambda x, w, live: product(x, w),
        # Not zero where the mask does not hold.
        lambda x, w, live: product(masked(live, x) + 1.0, w),
        lambda x, w, live: product(tf.exp(masked(live, x)), w),
        lambda x, w, live: product(tf.where(live, x, x * 2.0), w),
        lambda x, w, live: product(masked(live, x) + x, w),
        # Rows no more, or others.
        lambda x, w, live: product(op("reverse", masked(live, x), axes=(0,)), w),
        lambda x, w, live: product(op("transpose", masked(live, x), perm=(1, 0)), x, ((1,), (0,))),
        # Elements, not rows.
        lambda x, w, live: product(tf.where(x > 0, x, tf.zeros_like(x)), w),
        # Too little work.
        lambda x, w, live: product(masked(live, x), w[:, :4]),
        # Integers that wrap cost nothing to speak of.
        lambda x, w, live: product(masked_integers(live, x), tf.cast(w, tf.int32)),
    ],
)
def test_what_is_left_alone(result):
    x, w, live, also = given = feeds()
    _, before, after = rewritten(result(x, w, live), given)
    assert after is before


def masked_integers(live, x):
    return op("select", op("reshape", live, shape=(ROWS, 1)), tf.cast(x, tf.int32),
              number(0, tf.int32))  # fmt: skip


# -- work ------------------------------------------------------------------------------------------


def work(monkeypatch, fetches, feeds, states=None):
    """Multiply-adds of all register tiles that a run goes through; what it computes is checked."""
    done = 0
    plain = evaluate._invoke

    def counting(kernel, parts, sizes, scalars, *others):
        nonlocal done
        if kernel.name.startswith(("multiply", "dots")):
            depth, tile = int(scalars[0]), kernel.buffers[2].size
            done += depth * tile
        plain(kernel, parts, sizes, scalars, *others)

    monkeypatch.setattr(evaluate, "_invoke", counting)
    check(fetches, feeds, states, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(evaluate, "_invoke", plain)
    return done


def test_a_product_does_work_for_rows_that_count(monkeypatch):
    rows = 48
    x, w = tf.placeholder(tf.float32, [rows, 64]), tf.placeholder(tf.float32, [64, 96])
    live = tf.placeholder(tf.bool, [rows])
    results = [
        tf.matmul(tf.where(live, x, tf.zeros_like(x)), w),
        tf.matmul(tf.where(live, x, tf.zeros_like(x)), x, transpose_a=True),
    ]
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(t.dims).astype("f4") for t in (x, w))
    for result in results:
        costs = []
        for count in (rows, rows // 4, 0):
            chosen = np.zeros(rows, bool)
            chosen[rng.permutation(rows)[:count]] = True
            costs.append(work(monkeypatch, [result], {x: a, w: b, live: chosen}))
        assert costs[1] == costs[0] / 4 and costs[2] == 0


def test_sequences_cost_what_is_in_them(monkeypatch):
    """Training a recurrent net: input and recurrent products, and the gradients of both."""
    batch, steps, units = 24, 6, 40
    x = tf.placeholder(tf.float32, [batch, steps, units])
    lengths = tf.placeholder(tf.int32, [batch])
    cell = tf.nn.rnn_cell.BasicLSTMCell(units)
    outputs, state = tf.nn.dynamic_rnn(cell, x, lengths, dtype=tf.float32)
    loss = tf.reduce_sum(tf.square(outputs)) + tf.reduce_sum(state.c)
    variables = tf.trainable_variables()
    fetches = [loss, *tf.gradients(loss, [x, *variables])]
    program = program_of(fetches, [x, lengths])
    nodes = [*program.nodes(), *(n for m in program.nodes() for r in m.regions for n in r.nodes())]
    assert "contract" not in {node.op.name for node in nodes}
    rng = np.random.default_rng(1)
    given = rng.standard_normal(x.dims).astype("f4")
    few = np.zeros(batch, np.int32)
    few[[3, 4, 9, 20]] = [6, 1, 2, 3]
    states = {v.handle: rng.standard_normal(v.shape.as_list()).astype("f4") / 6 for v in variables}
    whole, part = (
        work(monkeypatch, fetches, {x: given, lengths: n}, states)
        for n in (np.full(batch, steps, np.int32), few)
    )
    # Tiles are of 1, 4, 8 or 12 rows, so that not all of a lower one need be full.
    assert few.sum() / (batch * steps) <= part / whole < 2 * few.sum() / (batch * steps)


def test_factors_of_columns_go_into_the_weights():
    x, live = tf.placeholder(tf.float32, [ROWS, DEPTH]), tf.placeholder(tf.bool, [ROWS])
    w, scale = tf.Variable(tf.ones([DEPTH, COLUMNS])), tf.Variable(tf.ones([COLUMNS]))
    result = tf.matmul(tf.where(live, x, tf.zeros_like(x)), w) * scale
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(t.shape.as_list()).astype("f4") for t in (x, w, scale))
    chosen = rng.random(ROWS) < 0.5
    with tf.Session() as session:
        w.load(b, session)
        scale.load(c, session)
        found = session.run(result, {x: a, live: chosen})
    np.testing.assert_allclose(found, chosen[:, None] * (a @ b) * c, rtol=1e-4, atol=1e-4)
