"""Convolutions to few channels, with and without the maxima of windows that follow them."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.codegen.target import host, named
from graphflow.ops.convolution import convolve

LEVELS = [
    name
    for name in ("scalar", "sse2", "avx2", "avx512")
    if host().machine == named(name).machine and host().vector_bits >= named(name).vector_bits
]

# x, w, strides, dilation, window of the maxima
POOLED = {
    "simple-cnn": ((3, 32, 32, 3), (5, 5, 3, 6), (1, 1), (1, 1), (2, 2)),
    "one-channel": ((2, 13, 14, 4), (2, 3, 4, 1), (1, 1), (1, 1), (3, 2)),
    "strided": ((2, 17, 22, 2), (3, 3, 2, 8), (2, 1), (1, 2), (2, 3)),
    "one-line": ((2, 3, 26, 2), (3, 3, 2, 5), (1, 1), (1, 1), (1, 4)),
    "bands": ((1, 70, 66, 3), (3, 3, 3, 4), (1, 1), (1, 1), (2, 2)),
    "long-lines": ((1, 6, 258, 24), (3, 3, 24, 2), (1, 1), (1, 1), (2, 2)),
    "not-whole": ((2, 13, 14, 4), (2, 3, 4, 3), (1, 1), (1, 1), (2, 2)),
}


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network(name, unknown):
    """(fetches, feeds): the maxima, what else reads the convolution, and gradients."""
    xs, ws, strides, dilation, window = POOLED[name]
    x = tf.placeholder(tf.float32, (None, *xs[1:]) if unknown else xs)
    w, b = tf.placeholder(tf.float32, ws), tf.placeholder(tf.float32, ws[-1:])
    y = convolve(x, w, strides=strides, padding=((0, 0), (0, 0)), dilation=dilation,
                 expansion=(1, 1), groups=1)  # fmt: skip
    y = tf.nn.relu(y + b)
    pooled = tf.nn.max_pool2d(y, window, window, "VALID")
    gradients = tf.gradients(tf.reduce_sum(pooled * pooled), [x, w, b])
    return y, pooled, gradients, {x: array(*xs), w: array(*ws, seed=1), b: array(ws[-1], seed=2)}


def agree(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=5e-6 * np.abs(other).max())


@pytest.mark.parametrize("unknown", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("name", POOLED)
def test_maxima_of_windows(name, unknown):
    y, pooled, gradients, feeds = network(name, unknown)
    for fetches in ([pooled], [pooled, y], [pooled, *gradients]):
        agree(tf.Session().run(fetches, feeds), tf.Session(backend="reference").run(fetches, feeds))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", POOLED)
def test_every_instruction_set(name, level, monkeypatch):
    y, pooled, gradients, feeds = network(name, True)
    fetches = [pooled, *gradients]
    wanted = tf.Session(backend="reference").run(fetches, feeds)
    monkeypatch.setenv("GRAPHFLOW_TARGET", level)
    agree(tf.Session().run(fetches, feeds), wanted)


def loops(fetches, feeds, disable=()):
    """What the launches compute, and the bytes that they write."""
    session = tf.Session(config=tf.ConfigProto(disable=disable))
    kernels = session.explain(fetches, feeds).kernels
    return [line for k in kernels for line in k.loops], sum(int(k.bytes_written) for k in kernels)


def test_what_is_pooled_is_not_stored():
    _, pooled, _, feeds = network("simple-cnn", False)
    together, small = loops(pooled, feeds)
    apart, large = loops(pooled, feeds, ("fuse_pooling",))
    assert together == ["contract loops of convolve, add, maximum, window_max"]
    assert apart == ["contract loops of convolve, add, maximum", "nest loops of window_max"]
    outputs = 3 * 28 * 28 * 6 * 4
    assert large - small == outputs


def test_windows_that_leave_lines_out_keep_their_own_loops():
    y, pooled, _, feeds = network("not-whole", False)
    assert y.dims[2] % 2 == 0 and y.dims[1] % 2 == 0
    x = tf.placeholder(tf.float32, [2, 13, 15, 4])
    w = tf.placeholder(tf.float32, [2, 3, 4, 3])
    y = tf.nn.conv2d(x, w, 1, "VALID")
    odd = tf.nn.max_pool2d(y, 2, 2, "VALID")
    found, _ = loops(odd, {x: array(2, 13, 15, 4), w: array(2, 3, 4, 3)})
    assert "nest loops of window_max" in found


def test_the_first_maximum_and_nan():
    """Ties go to the first element, and the first NaN is larger than any number."""
    x = tf.placeholder(tf.float32, [1, 16, 16, 1])
    w = tf.constant(np.ones((1, 2, 1, 1), np.float32))
    y = tf.nn.conv2d(x, w, 1, "SAME")
    pooled = tf.nn.max_pool2d(y, 2, 2, "VALID")
    (gradient,) = tf.gradients(pooled, [y])
    feed = np.zeros((1, 16, 16, 1), np.float32)
    feed[0, 3, 5, 0] = feed[0, 9, 9, 0] = np.nan
    feed[0, 12, :, 0] = 1
    fetches = [pooled, gradient]
    found = tf.Session().run(fetches, {x: feed})
    wanted = tf.Session(backend="reference").run(fetches, {x: feed})
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
