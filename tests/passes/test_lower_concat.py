"""How concatenations run: what of a row comes from inputs of one length is one loop."""

from __future__ import annotations

import numpy as np
import pytest
from plans import check, plan_of

import graphflow as tf
from graphflow.loop.text import print_kernel


def filled(feeds, shapes=None):
    rng = np.random.default_rng(0)
    shapes = shapes or {feed: feed.shape.as_list() for feed in feeds}
    return {feed: rng.standard_normal(shapes[feed]).astype(np.float32) for feed in feeds}


def test_inputs_of_one_length_go_along_in_one_loop():
    a, b = tf.placeholder(tf.float32, [6, 8]), tf.placeholder(tf.float32, [6, 8])
    _, plan = plan_of([tf.concat([a, -b, a * b], 1)], [a, b])
    (launch,) = plan.launches
    assert (
        print_kernel(launch.kernel)
        == """\
kernel concat(in in3: float32[48], in in6: float32[48], out out10: float32[144]) {
    serial row1 < 6 {
        let j4: int64 = row1 * 8
        let j11: int64 = row1 * 24
        let j12: int64 = row1 * 24 + 8
        let j13: int64 = row1 * 24 + 16
        vector i2 < 8 {
            let x5: float32 = in3[i2 + j4]
            let x7: float32 = in6[i2 + j4]
            let t8: float32 = neg(x7)
            let t9: float32 = x5 * x7
            out10[i2 + j11] = x5
            out10[i2 + j12] = t8
            out10[i2 + j13] = t9
        }
    }
}
"""
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lengths_of_all_kinds(axis):
    shapes = [[4, 6, 5] for _ in range(12)]
    for number, size in ((1, 3), (2, 3), (3, 1), (4, 0), (11, 20)):
        shapes[number][axis] = size
    feeds = [tf.placeholder(tf.float32, shape) for shape in shapes]
    check([tf.concat([feed * 2 for feed in feeds], axis)], filled(feeds))


def test_unknown_sizes():
    x, y = tf.placeholder(tf.float32, [None, 5]), tf.placeholder(tf.float32, [None, 5])
    z = tf.placeholder(tf.float32, [None, None])
    rows = filled([x, y, z], {x: [3, 5], y: [3, 5], z: [3, 4]})
    check([tf.concat([x, y * 2, x - y, z, z], 1)], rows)
    check([tf.concat([x, y * 2, x], 0)], filled([x, y], {x: [3, 5], y: [2, 5]}))
