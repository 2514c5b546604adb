"""The arena: buffers alive together never overlap, and it is close to its lower bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import check, plan_of

import graphflow as tf
from graphflow.passes.planning.memory import ALIGNMENT, Life, aligned, assign
from graphflow.sizes import symbol


@st.composite
def lives(draw):
    launches = draw(st.integers(1, 12))
    result = []
    for number in range(draw(st.integers(0, 24))):
        first = draw(st.integers(0, launches - 1))
        last = draw(st.integers(first, launches - 1))
        result.append(Life(number, draw(st.integers(0, 2000)), first, last))
    return result


@given(lives())
@settings(deadline=None)
def test_buffers_alive_together_do_not_overlap(found):
    arena = assign(found)
    for life in found:
        offset = arena.offsets[life.id]
        assert offset % ALIGNMENT == 0
        assert 0 <= offset <= offset + aligned(life.bytes) <= arena.bytes
        for other in found:
            if other.id < life.id and other.first <= life.last and life.first <= other.last:
                start = arena.offsets[other.id]
                apart = start + aligned(other.bytes) <= offset
                assert apart or offset + aligned(life.bytes) <= start
    assert arena.bytes >= arena.lower_bound


@pytest.mark.parametrize("rows", [512, None])
def test_a_chain_of_elementwise_work_is_one_buffer(rows):
    x = tf.placeholder(tf.float32, [rows, 16])
    y = x
    for _ in range(4):
        y = tf.tanh(y)
    feeds = {x: np.ones((512, 16), np.float32)}
    off = ("fuse_pointwise", "merge_launches")
    kept = check([tf.reduce_sum(y, axis=0)], feeds, disable=off)
    apart = check([tf.reduce_sum(y, axis=0)], feeds, disable=(*off, "memory.in_place"))
    assert sum(b.name == "tanh" and b.place == "arena" for b in kept.buffers) == 1
    assert sum(b.name.startswith("tanh") and b.place == "arena" for b in apart.buffers) == 4
    if rows:
        assert kept.arena_bytes == kept.arena_lower_bound == 512 * 16 * 4
        assert apart.arena_bytes == 2 * 512 * 16 * 4


def test_values_of_one_launch_share_memory_when_one_dies_before_the_other():
    x = tf.placeholder(tf.float32, [64])
    y = x
    for _ in range(6):
        y = tf.reverse(tf.cumsum(y), [0]) * 0.1
    plan = check([tf.cumsum(y)], {x: np.linspace(0, 1, 64, dtype=np.float32)})
    assert len(plan.launches) == 1
    assert plan.arena_bytes == plan.arena_lower_bound == 2 * 64 * 4


def test_relu_keeps_only_its_result():
    x = h = tf.placeholder(tf.float32, [256, 32])
    for seed in range(5):
        values = np.random.default_rng(seed).standard_normal((32, 32)).astype(np.float32)
        h = tf.nn.relu(tf.matmul(h, tf.Variable(values)) + tf.Variable(np.zeros(32, np.float32)))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(h * h))
    # What runs side by side keeps its operands until all of it is over.
    _, plan = plan_of([train], [x], disable=("side_by_side",))
    assert plan.arena_bytes < 7 * 256 * 32 * 4


def test_a_value_read_in_another_order_is_not_overwritten():
    x = tf.placeholder(tf.float32, [8, 8])
    y = tf.tanh(x)
    z = tf.exp(tf.transpose(tf.sigmoid(y)) + tf.tanh(y))
    plan = check([z], {x: np.eye(8, dtype=np.float32)}, disable=("merge_launches", "inline"))
    assert len(plan.launches) > 1


def test_unknown_sizes_get_their_offsets_from_the_runtime():
    n = symbol("n")
    arena = assign([Life(0, n * 4, 0, 1), Life(1, 64, 0, 1)])
    assert arena.offsets == {} and arena.bytes is None


def test_nothing_needs_no_memory():
    arena = assign([])
    assert (arena.bytes, arena.lower_bound) == (0, 0)
