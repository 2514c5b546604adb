"""Operands of products that only move what lies in memory are read where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from plans import check

import graphflow as tf

# Sums of up to 128 products of normally distributed numbers, about 10 in size, in two orders.
NEAR = {"rtol": 1e-4, "atol": 2e-5}


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def heads(x, number, part):
    """[batch, time, 3 * heads * width] -> [batch, heads, time, width] of one of three parts."""
    batch, time, whole = (dim.value for dim in x.shape)
    width = whole // 3 // number
    parts = tf.reshape(x, [batch, time, 3, number, width])
    return tf.transpose(parts[:, :, part], [0, 2, 1, 3])


def packed(plan) -> list[str]:
    """The workspaces of packed operands, over all kernels of a plan."""
    return [
        buffer.name
        for launch in plan.launches
        for buffer in launch.kernel.buffers
        if buffer.role == "workspace" and buffer.name.startswith("contract")
    ]


def test_heads_are_read_out_of_the_projection_they_are_parts_of():
    x = tf.placeholder(tf.float32, [2, 48, 3 * 4 * 32])
    q, v = heads(x, 4, 0), heads(x, 4, 2)
    scores = tf.placeholder(tf.float32, [2, 4, 48, 48])
    feeds = {x: array(2, 48, 384), scores: array(2, 4, 48, 48, seed=1)}
    plan = check([tf.matmul(scores, v), tf.matmul(scores, q)], feeds, **NEAR)
    assert packed(plan) == []


def test_the_first_operand_is_read_in_runs_where_heads_are_put_together():
    x = tf.placeholder(tf.float32, [2, 4, 48, 32])
    w = tf.placeholder(tf.float32, [128, 64])
    merged = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [96, 128])
    plan = check(
        [tf.matmul(merged, w)], {x: array(2, 4, 48, 32), w: array(128, 64, seed=1)}, **NEAR
    )
    assert packed(plan) == []


def test_a_transposed_first_operand_is_read_in_runs_too():
    """As the gradient of the weights behind merged heads is made."""
    x = tf.placeholder(tf.float32, [2, 4, 48, 32])
    g = tf.placeholder(tf.float32, [96, 64])
    merged = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [96, 128])
    y = tf.matmul(merged, g, transpose_a=True)
    plan = check([y], {x: array(2, 4, 48, 32), g: array(96, 64, seed=1)}, **NEAR)
    assert packed(plan) == []


@pytest.mark.parametrize("width", [8, 20])
def test_runs_that_are_too_short_are_packed(width):
    x = tf.placeholder(tf.float32, [2, 4, 100, width])
    w = tf.placeholder(tf.float32, [4 * width, 200])
    merged = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [200, 4 * width])
    feeds = {x: array(2, 4, 100, width), w: array(4 * width, 200)}
    plan = check([tf.matmul(merged, w)], feeds, **NEAR)
    assert bool(packed(plan)) == (width == 8)


@pytest.mark.parametrize("side", ["first", "second"])
@pytest.mark.parametrize(
    "part",
    [
        lambda x: x[10:70, 5:69],
        lambda x: x[10:70:2, 5:69],
        lambda x: x[70:10:-1, 5:69],
        lambda x: tf.transpose(x)[10:70, 3:67],
        lambda x: tf.reshape(x, [40, 2, 100])[:, 1, 20:84],
    ],
    ids=["block", "steps", "backwards", "transposed", "rows"],
)
def test_parts_of_matrices(part, side):
    x = tf.placeholder(tf.float32, [80, 100])
    a = part(x)
    rows, columns = (dim.value for dim in a.shape)
    other = tf.placeholder(tf.float32, [columns, 40] if side == "first" else [40, rows])
    y = tf.matmul(a, other) if side == "first" else tf.matmul(other, a)
    feeds = {x: array(80, 100), other: array(*(d.value for d in other.shape), seed=1)}
    check([y], feeds, **NEAR)


def test_a_part_whose_beginning_depends_on_data():
    x = tf.placeholder(tf.float32, [100, 64])
    w = tf.placeholder(tf.float32, [64, 40])
    first = tf.placeholder(tf.int32, [])
    y = tf.matmul(tf.slice(x, [first, 0], [48, 64]), w)
    feeds = {x: array(100, 64), w: array(64, 40, seed=1), first: np.int32(17)}
    check([y], feeds, **NEAR)


def test_heads_of_sequences_of_unknown_length():
    x = tf.placeholder(tf.float32, [None, None, 3 * 2 * 16])
    batch, time = tf.shape(x)[0], tf.shape(x)[1]
    parts = tf.reshape(x, [batch, time, 3, 2, 16])
    q, k, v = (tf.transpose(parts[:, :, part], [0, 2, 1, 3]) for part in range(3))
    y = tf.matmul(tf.matmul(q, k, transpose_b=True), v)
    merged = tf.reshape(tf.transpose(y, [0, 2, 1, 3]), [batch * time, 32])
    w = tf.placeholder(tf.float32, [32, 24])
    feeds = {x: array(3, 21, 96), w: array(32, 24, seed=1)}
    check([tf.matmul(merged, w)], feeds, **NEAR)


def test_a_broadcast_operand_is_right():
    x = tf.placeholder(tf.float32, [40, 1])
    w = tf.placeholder(tf.float32, [64, 40])
    y = tf.matmul(tf.broadcast_to(x, [40, 64]), w)
    check([y], {x: array(40, 1), w: array(64, 40, seed=1)}, **NEAR)
