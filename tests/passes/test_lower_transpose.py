"""How elementwise loops run: tiles of registers for reads across, joined dimensions elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from plans import check, plan_of

import graphflow as tf
from graphflow.loop.text import print_kernel


def text(build, *shapes) -> str:
    feeds = [tf.placeholder(tf.float32, shape) for shape in shapes]
    _, plan = plan_of([build(*feeds)], feeds)
    (launch,) = plan.launches
    return print_kernel(launch.kernel)


def test_rows_are_loaded_as_they_lie_and_used_along_the_other_side():
    assert (
        text(tf.transpose, [32, 48])
        == """\
kernel transpose(in in3: float32[1536], out out20: float32[1536]) {
    serial row5 < 3 {
        let j10: int64 = row5 * 16
        serial tile6 < 2 {
            local tile7: float32[256]
            let j11: int64 = tile6 * 768 + j10
            unrolled r8 < 16 {
                let j12: int64 = r8 * 48 + j11
                let j13: int64 = r8 * 16
                vector i9 < 16 {
                    tile7[i9 + j13] = in3[i9 + j12]
                }
            }
            let j17: int64 = tile6 * 16
            unrolled r14 < 16 {
                let k15: int64 = r14 + j10
                let j21: int64 = k15 * 32
                vector i16 < 16 {
                    let k18: int64 = i16 + j17
                    let x19: float32 = tile7[i16 * 16 + r14]
                    out20[k18 + j21] = x19
                }
            }
        }
    }
}
"""
    )


@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ([64, 64], [0, 1]),  # nothing moves
        ([8, 64, 64], [1, 0, 2]),  # the last dimension stays the last
        ([64, 3], [1, 0]),  # too narrow for a tile
        ([3, 64], [1, 0]),
    ],
)
def test_no_tiles(shape, perm):
    assert "tile" not in text(lambda x: tf.transpose(x, perm) + 1.0, shape)


def test_neighbouring_dimensions_that_stay_together_are_one():
    """56 · 56 is a multiple of 16, as neither of them is."""
    printed = text(lambda x: tf.transpose(x, [0, 2, 3, 1]), [2, 64, 56, 56])
    assert "tile" in printed and "if" not in printed


def test_tiles_of_unknown_sizes():
    x = tf.placeholder(tf.float32, [None, None])
    y = tf.placeholder(tf.float32, [None, None])
    feeds = {x: np.random.default_rng(0).normal(size=(37, 50)).astype(np.float32)}
    feeds[y] = feeds[x].T.copy()
    plan = check([tf.tanh(tf.transpose(x)) + y], feeds)
    assert "tile" in print_kernel(plan.launches[0].kernel)


def test_dimensions_that_every_access_goes_through_as_one_are_one_loop():
    """A bias of the channels is constant over both dimensions behind them."""
    printed = text(lambda x, b: x + tf.reshape(b, [5, 1, 1]), [2, 5, 7, 7], [5])
    assert "vector i" in printed and "< 49 {" in printed


def test_dimensions_with_an_index_of_their_own_stay_apart():
    """Padding compares the index of each dimension, so joining them would take it apart again."""
    printed = text(lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 2]]), [4, 7, 7])
    assert "< 11 {" in printed
