"""Gradients of the weights of convolutions to few channels, with taps side by side in vectors."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.codegen.target import host, named
from graphflow.ops.convolution import convolve

LEVELS = [
    name
    for name in ("sse2", "avx2", "avx512")
    if host().machine == named(name).machine and host().vector_bits >= named(name).vector_bits
]

# x, w, strides, dilation, padding
FEW = {
    "simple-cnn": ((9, 32, 32, 3), (5, 5, 3, 6), (1, 1), (1, 1), 0),
    "two-panels": ((8, 11, 12, 9), (3, 4, 9, 2), (1, 1), (1, 1), 0),
    "three-vectors": ((17, 9, 10, 12), (2, 4, 12, 3), (1, 1), (1, 1), 1),
    "strided": ((10, 17, 22, 4), (3, 4, 4, 5), (2, 3), (1, 1), 0),
    "dilated-lines": ((8, 17, 13, 5), (3, 3, 5, 4), (1, 1), (2, 1), 2),
    "bands": ((8, 90, 66, 6), (3, 3, 6, 2), (1, 1), (1, 1), 1),
    "strided-bands": ((8, 91, 67, 6), (4, 3, 6, 3), (3, 2), (1, 1), 0),
    "no-images": ((0, 12, 12, 8), (3, 3, 8, 4), (1, 1), (1, 1), 0),
}


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weights_gradient(name, unknown):
    xs, ws, strides, dilation, around = FEW[name]
    x = tf.placeholder(tf.float32, (None, *xs[1:]) if unknown else xs)
    w = tf.placeholder(tf.float32, ws)
    y = convolve(x, w, strides=strides, padding=((around, around),) * 2, dilation=dilation,
                 expansion=(1, 1), groups=1)  # fmt: skip
    (gradient,) = tf.gradients(tf.reduce_sum(tf.square(y)), [w])
    return gradient, {x: array(*xs), w: array(*ws, seed=1)}


def tap_kernels(fetches, feeds, monkeypatch):
    """How many gradients are lowered in this way."""
    from graphflow.passes.convolution import lower as lower_convolve

    count = []
    build = lower_convolve.build_taps

    def counted(*arguments):
        count.append(1)
        return build(*arguments)

    monkeypatch.setattr(lower_convolve, "build_taps", counted)
    session = tf.Session()
    found = session.run(fetches, feeds)
    return len(count), found


@pytest.mark.parametrize("unknown", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("name", FEW)
def test_gradient_is_right(name, unknown, monkeypatch):
    gradient, feeds = weights_gradient(name, unknown)
    monkeypatch.setenv("GRAPHFLOW_CACHE", "off")
    count, found = tap_kernels(gradient, feeds, monkeypatch)
    wanted = tf.Session(backend="reference").run(gradient, feeds)
    largest = np.abs(wanted).max(initial=1e-30)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * largest)
    if host().vector_bits == 512 and (unknown or FEW[name][0][0] >= 8):
        assert count == 1


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FEW)
def test_every_instruction_set(name, level, monkeypatch):
    gradient, feeds = weights_gradient(name, True)
    wanted = tf.Session(backend="reference").run(gradient, feeds)
    monkeypatch.setenv("GRAPHFLOW_TARGET", level)
    found = tf.Session().run(gradient, feeds)
    largest = np.abs(wanted).max(initial=1e-30)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * largest)


def test_nan_beside_a_line_stays_there(monkeypatch):
    """Vectors reach beyond the last tap of a line; what they meet there is not used."""
    x, w = tf.placeholder(tf.float32, [8, 6, 7, 3]), tf.placeholder(tf.float32, [2, 5, 3, 4])
    y = tf.nn.conv2d(x, w, 1, "VALID")[:, :, :2]
    (gradient,) = tf.gradients(tf.reduce_sum(y), [w])
    feed = array(8, 6, 7, 3)
    feed[:, :, 6, :] = np.nan
    count, found = tap_kernels(gradient, {x: feed, w: array(2, 5, 3, 4)}, monkeypatch)
    # The last pixel meets a gradient of zero in its own windows alone: 0 * nan.
    assert np.isfinite(found[:, :4]).all()


@pytest.mark.parametrize("level", LEVELS)
def test_full_vectors_of_channels_are_kept(level, monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_TARGET", level)
    x, w = tf.placeholder(tf.float32, [None, 14, 14, 6]), tf.placeholder(tf.float32, [5, 5, 6, 16])
    y = tf.nn.conv2d(x, w, 1, "VALID")
    (gradient,) = tf.gradients(tf.reduce_sum(tf.square(y)), [w])
    count, _ = tap_kernels(gradient, {x: array(8, 14, 14, 6), w: array(5, 5, 6, 16)}, monkeypatch)
    assert count == 0


def test_results_do_not_depend_on_threads():
    gradient, feeds = weights_gradient("simple-cnn", True)
    found = [
        tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=n)).run(gradient, feeds)
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(*found)
