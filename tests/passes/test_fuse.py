"""What is fused, and what must not be: clusters of small programs as text, launches of models."""

from __future__ import annotations

import numpy as np
import pytest
from plans import check, plan_of, program_of

import graphflow as tf
from graphflow.loop.nodes import Local, statements
from graphflow.loop.text import print_kernel
from graphflow.passes.fusion.fuse import fuse


def clusters(fetches, feeds, *disable) -> list[str]:
    """One line a cluster: its kind, the ops it computes, and in brackets those inlined into it."""
    lines = []
    for cluster in fuse(program_of(fetches, feeds), frozenset(disable)).clusters:
        text = f"{cluster.kind}: {' '.join(node.op.name for node in cluster.nodes)}"
        if cluster.inlined:
            text += f" [{' '.join(dict.fromkeys(n.op.name for n in cluster.inlined))}]"
        lines.append(text)
    return lines


def placeholders(*shapes):
    return [tf.placeholder(tf.float32, shape) for shape in shapes]


def test_elementwise_work_is_one_loop_through_reshapes():
    (x,) = placeholders([None, 4])
    y = tf.exp(tf.reshape(tf.tanh(x), [-1])) - 2.0
    assert clusters([y], [x]) == ["pointwise: tanh exp sub"]


def test_what_one_cluster_alone_reads_is_not_stored():
    (x,) = placeholders([None, 4])
    plan = check([tf.exp(tf.tanh(x)) + tf.tanh(x)], {x: np.ones((3, 4), np.float32)})
    assert [b.place for b in plan.buffers] == ["feed", "output"]


def test_softmax_is_one_nest_of_rows():
    (x,) = placeholders([None, 10])
    e = tf.exp(x - tf.reduce_max(x, axis=1, keepdims=True))
    y = e / tf.reduce_sum(e, axis=1, keepdims=True)
    assert clusters([y], [x]) == ["rows: reduce sub exp reduce div"]
    assert clusters([y], [x], "fuse_rows") == [
        "rows: reduce", "pointwise: sub exp", "rows: reduce", "pointwise: div",
    ]  # fmt: skip


@pytest.mark.parametrize("length", [10, None])
def test_a_row_keeps_what_is_too_costly_to_compute_again(length):
    """In a row of its own where the length is known, else in memory, which has to pay more."""
    (x,) = placeholders([None, length])

    def centred(y):
        return y - tf.reduce_mean(y, axis=1, keepdims=True)

    feeds = {x: np.linspace(-1, 1, 30, dtype=np.float32).reshape(3, 10)}
    cheap = check([centred(tf.sqrt(x + 2.0))], feeds)
    dear = check([centred(tf.exp(x))], feeds)
    costly = check([centred(tf.tanh(tf.sin(tf.tanh(tf.lgamma(x + 2.0)))))], feeds)
    kept = [rows(plan) for plan in (cheap, dear, costly)]
    stored = [sum(b.place == "arena" for b in plan.buffers) for plan in (cheap, dear, costly)]
    assert kept == ([0, 1, 1] if length else [0, 0, 0])
    assert stored == ([0, 0, 0] if length else [0, 0, 1])


def rows(plan) -> int:
    """How many rows the kernels keep."""
    body = [stmt for launch in plan.launches for stmt in statements(launch.kernel.body)]
    return sum(isinstance(stmt, Local) and stmt.space == "stack" for stmt in body)


def test_softmax_takes_each_exponential_once():
    (x,) = placeholders([7, 20])
    plan = check([tf.nn.softmax(x)], {x: np.linspace(-3, 5, 140, dtype=np.float32).reshape(7, 20)})
    text = print_kernel(plan.launches[0].kernel)
    assert (text.count("= exp("), text.count("= reciprocal("), text.count(" / ")) == (1, 1, 0)


def test_moments_of_rows_share_their_loops():
    (x,) = placeholders([None, 64])
    mean = tf.reduce_mean(x, axis=1, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axis=1, keepdims=True)
    y = (x - mean) * tf.rsqrt(variance + 1e-5) * tf.constant(np.ones(64, np.float32))
    assert len(clusters([y], [x])) == 1


def test_a_reduction_of_the_whole_is_not_fused_with_what_uses_it():
    (x,) = placeholders([None, 64])
    y = x / tf.reduce_sum(tf.exp(x))
    assert clusters([y], [x]) == ["full: exp reduce", "pointwise: div"]


def test_column_sums_take_their_elementwise_work_along():
    (x,) = placeholders([None, 64])
    y = tf.tanh(x)
    assert clusters([tf.reduce_sum(y, axis=0), y], [x]) == ["columns: tanh reduce"]


def test_bias_and_activation_are_the_epilogue_of_a_contraction():
    x, w, b = placeholders([None, 64], [64, 32], [32])
    y = tf.tanh(tf.matmul(x, w) + b)
    assert clusters([y], [x, w, b]) == ["contract: contract add tanh"]
    assert clusters([y], [x, w, b], "fuse_epilogue") == [
        "contract: contract",
        "pointwise: add tanh",
    ]


def test_two_contractions_stay_apart_and_the_sum_goes_with_the_later():
    x, v, w = placeholders([None, 64], [64, 32], [64, 32])
    y = tf.matmul(x, v) + tf.matmul(x, w)
    assert clusters([y], [x, v, w]) == ["contract: contract", "contract: contract add"]


def test_a_transpose_is_read_in_place():
    x, w = placeholders([64, 8], [64, 32])
    y = tf.matmul(tf.transpose(tf.tanh(x)), w)
    assert clusters([y], [x, w]) == ["pointwise: tanh", "contract: contract"]


def test_cheap_work_is_done_again_and_costly_work_once():
    (x,) = placeholders([8, 64])
    cheap, costly = x * 2.0, tf.tanh(x)
    transposed = [tf.transpose(cheap), tf.reshape(cheap, [64, 8]) + 1.0]
    assert clusters(transposed, [x]) == [
        "pointwise: transpose [mul]", "pointwise: add [mul]",
    ]  # fmt: skip
    assert clusters([tf.transpose(costly), tf.reduce_sum(costly)], [x]) == [
        "full: tanh reduce", "pointwise: transpose",
    ]  # fmt: skip


def test_siblings_read_their_data_once():
    (x,) = placeholders([None, 64])
    assert len(clusters([tf.exp(x), tf.tanh(x)], [x])) == 1
    assert len(clusters([tf.exp(x), tf.tanh(x)], [x], "fuse_siblings")) == 2


def layer_norm_gradient():
    x, scale, dy = placeholders([None, 8], [8], [None, 8])
    mean, variance = tf.nn.moments(x, [1], keep_dims=True)
    y = (x - mean) * tf.rsqrt(variance + 1e-3) * scale
    return tf.gradients(y, [x, scale], grad_ys=dy), [x, scale, dy]


def test_sums_down_the_columns_go_along_with_the_rows():
    """x, dy and nothing else is read: no product of theirs is stored for the sums."""
    gradients, feeds = layer_norm_gradient()
    (found,) = fuse(program_of(gradients, feeds)).clusters
    assert found.kind == "rows" and len(found.stored) == 2
    apart = fuse(program_of(gradients, feeds), frozenset(["fuse_columns"])).clusters
    assert len(apart) > 1


def test_rows_and_columns_of_other_shapes_stay_apart():
    (x,) = placeholders([4, 6])
    y = tf.reshape(x, [8, 3])
    kinds = [
        line.split(":")[0] for line in clusters([tf.reduce_sum(x, 1), tf.reduce_sum(y, 0)], [x])
    ]
    assert kinds == ["rows", "columns"]


@pytest.mark.parametrize("rows", [3, 700])
def test_gradients_of_layer_normalisation_are_right(rows):
    gradients, feeds = layer_norm_gradient()
    random = np.random.default_rng(rows)
    shapes = [(rows, 8), (8,), (rows, 8)]
    arrays = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    check(gradients, dict(zip(feeds, arrays, strict=True)), rtol=1e-3, atol=1e-4)


def test_a_path_through_another_cluster_forbids_fusion():
    (x,) = placeholders([None, 64])
    y = tf.tanh(x)
    total = tf.reduce_sum(y)
    z = tf.exp(y - total)
    assert clusters([z, y], [x]) == ["full: tanh reduce", "pointwise: exp [sub]"]


def test_fuse_switched_off_gives_one_launch_for_each_node():
    (x,) = placeholders([None, 10])
    e = tf.exp(x - tf.reduce_max(x, axis=1, keepdims=True)) * 2.0
    _, plan = plan_of([e], [x], ["fuse"])
    assert [launch.kernel.name for launch in plan.launches] == ["reduce", "sub", "exp", "mul"]


def test_long_chains_are_cut():
    (x,) = placeholders([None, 10])
    y = x
    for _ in range(1000):
        y = tf.tanh(y)
    lines = clusters([y], [x])
    assert 6 <= len(lines) <= 12


# -- models ----------------------------------------------------------------------------------------


def mlp(sizes, batch, activation, optimizer):
    x, y = placeholders([batch, sizes[0]], [batch, sizes[-1]])
    h = x
    for number, width in enumerate(sizes[1:]):
        last = number == len(sizes) - 2
        h = tf.layers.dense(h, width, None if last else activation)
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=h))
    return x, y, loss, optimizer.minimize(loss)


@pytest.mark.parametrize("batch", [128, None])
def test_launches_of_a_classifier(batch):
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    x, y, loss, train = mlp([784, 512, 256, 10], batch, tf.nn.relu, optimizer)
    _, plan = plan_of([loss, train], [x, y])
    assert len(plan.launches) <= 14
    assert all(state.in_place for state in plan.states if state.write >= 0)
    if batch:
        assert plan.arena_bytes <= 1.1 * plan.arena_lower_bound


@pytest.mark.parametrize("batch", [64, None])
def test_launches_of_fizzbuzz(batch):
    optimizer = tf.train.GradientDescentOptimizer(0.5)
    x, y, loss, train = mlp([10, 100, 4], batch, tf.nn.sigmoid, optimizer)
    _, plan = plan_of([loss, train], [x, y])
    assert len(plan.launches) <= 8


@pytest.mark.parametrize("optimizer", [
    tf.train.GradientDescentOptimizer(0.5), tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    tf.train.AdamOptimizer(0.01), tf.train.RMSPropOptimizer(0.01), tf.train.AdagradOptimizer(0.1),
], ids=lambda o: type(o).__name__)  # fmt: skip
def test_training_steps_are_right(optimizer):
    random = np.random.default_rng(0)
    x, y, loss, train = mlp([6, 9, 3], None, tf.nn.tanh, optimizer)
    program = program_of([loss, train], [x, y])
    states = {
        node.attrs["variable"]: random.uniform(0.1, 1, node.outputs[0].dims).astype(np.float32)
        for node in program.nodes() if node.op.name == "state"
    }  # fmt: skip
    feeds = {
        x: random.normal(size=(5, 6)).astype(np.float32),
        y: np.eye(3, dtype=np.float32)[random.integers(0, 3, 5)],
    }
    for disable in ((), ("fuse",), ("merge_launches",), ("inline",)):
        check([loss, train], feeds, states, disable, rtol=1e-4, atol=1e-5)


# -- variables -------------------------------------------------------------------------------------


def variable(name, value):
    return tf.Variable(np.asarray(value, np.float32), name=name)


def states_of(*variables):
    return {v.handle: np.arange(1, 5, dtype=np.float32) + n for n, v in enumerate(variables)}


def in_place(plan) -> dict[str, bool]:
    return {str(s.variable): s.in_place for s in plan.states if s.write >= 0}


def test_updates_happen_in_place():
    v = variable("v", np.ones(4))
    plan = check([v.assign_add(np.ones(4, np.float32)).op], {}, states_of(v))
    assert in_place(plan) == {"v": True}
    assert plan.commit == 0


def test_a_fetched_old_value_keeps_its_memory():
    v = variable("v", np.ones(4))
    old = v.read_value()
    with tf.control_dependencies([old]):
        update = v.assign_add(np.ones(4, np.float32))
    plan = check([old, update.op], {}, states_of(v))
    assert in_place(plan) == {"v": False}


def test_a_fetched_new_value_is_not_copied():
    v = variable("v", np.ones(4))
    plan = check([v.assign_add(np.ones(4, np.float32))], {}, states_of(v))
    assert plan.outputs[0].place == "state_out"
    assert len(plan.launches) == 1


def test_swapped_variables_are_copied_and_one_keeps_its_memory():
    a, b = variable("a", np.ones(4)), variable("b", np.ones(4))
    x, y = a.read_value(), b.read_value()
    with tf.control_dependencies([x, y]):
        updates = [a.assign(y), b.assign(x)]
    plan = check([u.op for u in updates], {}, states_of(a, b))
    assert sorted(in_place(plan).values()) == [False, True]


def test_one_value_for_two_variables():
    (x,) = placeholders([4])
    a, b = variable("a", np.ones(4)), variable("b", np.ones(4))
    y = tf.tanh(x)
    check([a.assign(y).op, b.assign(y).op, y], {x: np.ones(4, np.float32)}, states_of(a, b))


def test_readers_of_the_old_value_run_before_it_is_overwritten():
    v = variable("v", np.ones(4))
    old = v.read_value()
    with tf.control_dependencies([old]):
        update = v.assign(old * 2.0)
    plan = check([tf.reduce_sum(tf.exp(old)), update.op], {}, states_of(v), ["merge_launches"])
    assert in_place(plan) == {"v": True}


def test_what_can_fail_runs_before_the_first_write_in_place():
    (x,) = placeholders([None])
    v = variable("v", np.ones(4))
    update = v.assign_add(np.ones(4, np.float32))
    check_it = tf.Assert(tf.reduce_all(x > 0.0), [x])
    plan = check([update.op, check_it], {x: np.ones(3, np.float32)}, states_of(v))
    assert in_place(plan) == {"v": True}
    assert [launch.fallible for launch in plan.launches] == [True, False]
    assert plan.commit == 1
    (site,) = plan.sites
    assert len(site.buffers) == 1


def test_a_new_value_that_something_fallible_needs_is_not_written_in_place():
    v = variable("v", np.ones(4))
    new = v.assign_add(np.ones(4, np.float32))
    check_it = tf.Assert(tf.reduce_all(new > 0.0), [new])
    plan = check([check_it], {}, states_of(v))
    assert in_place(plan) == {"v": False}


def test_fetches_of_given_values_are_not_computed():
    (x,) = placeholders([None, 4])
    v = variable("v", np.ones(4))
    feeds = {x: np.ones((2, 4), np.float32)}
    plan = check([x, tf.reshape(x, [-1]), v.read_value(), tf.constant([1.0, 2.0])], feeds,
                 states_of(v))  # fmt: skip
    assert [o.place for o in plan.outputs] == ["feed", "feed", "state_in", "constant"]
    assert not plan.launches


def test_one_value_fetched_in_two_shapes_is_copied():
    (x,) = placeholders([2, 4])
    y = tf.tanh(x)
    plan = check([y, tf.reshape(y, [8])], {x: np.ones((2, 4), np.float32)})
    assert [o.place for o in plan.outputs] == ["output", "output"]
    assert len({o.buffer for o in plan.outputs}) == 2


def test_host_calls_stand_alone():
    (x,) = placeholders([4])
    y = tf.py_func(lambda a: a * 2, [tf.tanh(x)], tf.float32, shapes=[4])
    plan = check([tf.exp(y)], {x: np.ones(4, np.float32)})
    assert [launch.kernel is None for launch in plan.launches] == [False, True, False]
