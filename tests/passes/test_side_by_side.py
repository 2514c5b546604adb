"""Small clusters that are independent of each other run at the same time."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from plans import check, plan_of

import graphflow as tf
from graphflow.loop import nodes as loop
from graphflow.passes.fusion.cluster import POINTWISE, Cluster
from graphflow.passes.planning.side_by_side import MOST_WORK, branches
from graphflow.plan import ARENA

WIDTH, BATCH = 64, 32


def towers(count=4, depth=2, train=False, batch=BATCH):
    """Dense networks on one input, beside each other."""
    rng = np.random.default_rng(3)
    x = tf.placeholder(tf.float32, [batch, WIDTH], name="x")
    tops = []
    for _ in range(count):
        h = x
        for _ in range(depth):
            start = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 8
            h = tf.tanh(tf.matmul(h, tf.Variable(start)))
        tops.append(h)
    loss = tf.add_n([tf.reduce_mean(tf.square(h)) for h in tops])
    if not train:
        return x, [loss, *tops]
    return x, [tf.train.GradientDescentOptimizer(0.1).minimize(loss), loss]


def states():
    """Values of the variables of `towers`."""
    rng = np.random.default_rng(4)
    return {
        variable.handle: rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 8
        for variable in tf.trainable_variables()
    }


def groups_of(plan):
    """The launches of a plan that run branches, with the moment at which each does."""
    moment, found = 0, []
    for launch in plan.launches:
        if "side by side" in launch.note and launch.note.startswith("small"):
            found.append((moment, launch))
        moment += launch.moments
    return found


@pytest.mark.parametrize("batch", [BATCH, None])
@pytest.mark.parametrize("train", [False, True])
def test_towers_are_branches_and_right(train, batch):
    x, fetches = towers(train=train, batch=batch)
    data = np.random.default_rng(0).standard_normal((BATCH, WIDTH)).astype(np.float32)
    plan = check(fetches, {x: data}, states(), rtol=1e-4, atol=1e-5)
    groups = groups_of(plan)
    assert groups
    for _, launch in groups:
        (tasks,) = launch.kernel.body
        assert tasks.kind == loop.PARALLEL and tasks.grain == 1
        assert launch.moments == 1
    _, alone = plan_of(fetches, [x], disable=("side_by_side",))
    assert not groups_of(alone)


def overlaps(plan):
    """Pairs of arena buffers that one group uses and that share memory."""
    rows = {b.id: b for b in plan.buffers if b.place == ARENA}
    found = []
    for moment, launch in groups_of(plan):
        used = [rows[id_] for id_ in dict.fromkeys(launch.buffers) if id_ in rows]
        assert all(b.first <= moment <= b.last for b in used)
        for a, b in combinations(used, 2):
            if a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes:
                found.append((a, b))
    return found


def test_buffers_of_branches_never_share_memory():
    x, fetches = towers(count=6, depth=3, train=True)
    _, plan = plan_of(fetches, [x])
    assert groups_of(plan) and not overlaps(plan)


def test_a_plan_whose_branches_share_memory_would_be_noticed():
    x, fetches = towers(count=6, depth=3, train=True)
    _, plan = plan_of(fetches, [x])
    (_, launch), *_ = groups_of(plan)
    mine = [b.id for b in plan.buffers if b.place == ARENA and b.id in launch.buffers]
    wrong = replace(
        plan, buffers=tuple(replace(b, offset=0) if b.id in mine else b for b in plan.buffers)
    )
    assert overlaps(wrong)


def test_results_do_not_depend_on_threads():
    x, fetches = towers(count=5, depth=3, train=True)
    data = np.random.default_rng(0).standard_normal((BATCH, WIDTH)).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        for disable in ((), ("side_by_side",)):
            config = tf.ConfigProto(intra_op_parallelism_threads=threads, disable=disable)
            with tf.Session(config=config) as session:
                session.run(tf.global_variables_initializer())
                losses = [session.run(fetches, {x: data})[1] for _ in range(20)]
                found.append((losses, session.run(tf.trainable_variables())))
    for losses, values in found[1:]:
        assert losses == found[0][0]
        for value, first in zip(values, found[0][1], strict=True):
            np.testing.assert_array_equal(value, first)


def test_old_values_are_read_before_they_are_written_over():
    """The readers of a variable's old value and its writer are no branches."""
    x, fetches = towers(count=4, depth=1, train=True)
    variables = tf.trainable_variables()
    with tf.control_dependencies([variables[0].read_value()]):
        before = tf.matmul(x, variables[0]) * 2.0
    data = np.random.default_rng(0).standard_normal((BATCH, WIDTH)).astype(np.float32)
    check([*fetches, before], {x: data}, states(), rtol=1e-4, atol=1e-5)


def clusters(needs, work, **attributes):
    order = [Cluster(number, POINTWISE, **attributes) for number in range(len(needs))]
    return branches(order, needs, work)


def test_what_makes_a_group():
    half = MOST_WORK / 2
    assert clusters([(), ()], [half, half]) == {0: [[0], [1]]}
    # A chain has one branch; what joins two of them does not belong to the group.
    assert clusters([(), {0}], [half, half]) == {}
    assert clusters([(), (), {0, 1}], [half] * 3) == {0: [[0], [1]]}
    assert clusters([(), (), {0}, {1}], [half] * 4) == {0: [[0, 2], [1, 3]]}
    # Nothing to gain: too little work, one branch that takes nearly all of it, or too large.
    assert clusters([(), ()], [1000, 1000]) == {}
    assert clusters([(), ()], [MOST_WORK, 1000]) == {}
    assert clusters([(), ()], [2 * MOST_WORK, 2 * MOST_WORK]) == {}
    assert clusters([(), ()], [half, half], fallible=True) == {}
    assert clusters([(), ()], [half, half], settled=True) == {}


def test_branches_in_a_body_are_one_moment():
    """What one of them writes must not lie where another one still reads, in loops neither."""
    x, n = tf.placeholder(tf.float32, [None, None, 48]), tf.placeholder(tf.int32, [None])
    outputs, _ = tf.nn.dynamic_rnn(tf.nn.rnn_cell.GRUCell(64), x, n, dtype=tf.float32)
    gradients = tf.gradients(tf.reduce_sum(outputs * outputs), [x, *tf.trainable_variables()])
    _, plan = plan_of(gradients, [x, n])
    found = [each for each in plan.launches if each.note.startswith("small and independent")]
    assert any(each.kernel.name.startswith("contract") for each in found)
    assert all(each.moments == 1 for each in found)
