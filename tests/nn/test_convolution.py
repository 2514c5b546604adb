"""nn's convolutions: TensorFlow's arguments and shapes, data formats, gradients."""

from __future__ import annotations

import numpy as np
import pytest
from cases_convolution import attributes, plain_convolve

import graphflow as tf

pytestmark = pytest.mark.usefixtures("every_backend")


def array(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(fetches, feeds=None):
    with tf.Session() as session:
        return session.run(fetches, feeds)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=3e-5, atol=3e-5)


def same(size, taps, stride=1, dilation=1):
    """TensorFlow's documented SAME padding."""
    total = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


X1, W1 = array(2, 9, 4), array(3, 4, 5, seed=4)
X2, W2 = array(2, 7, 8, 4), array(3, 2, 4, 6, seed=5)
X3, W3 = array(1, 4, 5, 6, 3), array(2, 3, 2, 3, 4, seed=6)


# -- forward -------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    ("function", "x", "w"),
    [(tf.nn.conv1d, X1, W1), (tf.nn.conv2d, X2, W2), (tf.nn.conv3d, X3, W3)],
    ids=["conv1d", "conv2d", "conv3d"],
)
def test_padding_and_strides(function, x, w, stride, padding):
    rank = x.ndim - 2
    pads = ((0, 0),) * rank
    if padding == "SAME":
        pads = tuple(same(x.shape[i + 1], w.shape[i], stride) for i in range(rank))
    strides = stride if rank == 1 else [1, *[stride] * rank, 1]
    y = function(x, w, strides, padding)
    expected = plain_convolve(x, w, attributes(rank, strides=(stride,) * rank, padding=pads))
    assert tuple(y.shape.as_list()) == expected.shape
    if padding == "SAME":
        assert expected.shape[1:-1] == tuple(-(-size // stride) for size in x.shape[1:-1])
    close(run(y), expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, **k: tf.nn.conv2d(x, W2, padding="SAME", **k),
        lambda x, **k: tf.nn.conv2d(x, W2, padding="VALID", **k),
        lambda x, **k: tf.nn.convolution(x, W2, "SAME", **k),
        lambda x, **k: tf.nn.depthwise_conv2d(x, W2, padding="SAME", **k),
        lambda x, **k: tf.nn.separable_conv2d(x, W2, array(1, 1, 24, 3), [1, 1, 1, 1], "SAME", **k),
    ],
    ids=["conv2d-same", "conv2d-valid", "convolution", "depthwise", "separable"],
)
def test_data_formats_agree(function):
    last = function(X2)
    first = function(np.moveaxis(X2, -1, 1), data_format="NCHW")
    a, b = run([last, first])
    assert first.shape.as_list() == list(b.shape)
    close(np.moveaxis(b, 1, -1), a)


def test_every_form_of_an_argument():
    expected = plain_convolve(X2, W2, attributes(2, strides=(2, 3), padding=((1, 0), (0, 2))))
    pairs = [(1, 0), (0, 2)]
    first = np.moveaxis(X2, -1, 1)
    found = [
        tf.nn.conv2d(X2, W2, [2, 3], pairs),
        tf.nn.conv2d(X2, W2, (1, 2, 3, 1), [[0, 0], *pairs, [0, 0]]),
        tf.nn.conv2d(X2, filters=W2, strides=[1, 2, 3, 1], padding=np.array(pairs)),
        tf.nn.convolution(X2, W2, pairs, strides=[2, 3]),
        tf.transpose(
            tf.nn.conv2d(first, W2, [1, 1, 2, 3], [[0, 0], [0, 0], *pairs], data_format="NCHW"),
            [0, 2, 3, 1],
        ),
    ]
    for result in run(found):
        close(result, expected)


def test_dilations():
    wanted = plain_convolve(
        X2,
        W2,
        attributes(2, dilation=(2, 2), padding=(same(7, 3, 1, 2), same(8, 2, 1, 2))),
    )
    found = [
        tf.nn.conv2d(X2, W2, 1, "SAME", dilations=[1, 2, 2, 1]),
        tf.nn.convolution(X2, W2, "SAME", dilation_rate=[2, 2]),
        tf.nn.convolution(X2, W2, "SAME", dilations=2),
        tf.nn.atrous_conv2d(X2, W2, 2, "SAME"),
    ]
    for result in run(found):
        close(result, wanted)
    both = tf.nn.conv2d(X2, W2, 2, "VALID", dilations=2)
    close(run(both), plain_convolve(X2, W2, attributes(2, strides=(2, 2), dilation=(2, 2))))


def test_groups_are_separate_convolutions():
    x, w = X2, array(3, 3, 2, 6)
    y = tf.nn.conv2d(x, w, 1, "SAME", groups=2)
    halves = [
        tf.nn.conv2d(x[..., 2 * g : 2 * g + 2], w[..., 3 * g : 3 * g + 3], 1, "SAME")
        for g in range(2)
    ]
    found, one, two = run([y, *halves])
    close(found, np.concatenate([one, two], -1))


def test_depthwise():
    """output[b, i, j, k * M + q] = sum over di, dj of x[b, i + di, j + dj, k] * w[di, dj, k, q]"""
    w = array(2, 3, 4, 3)
    y = tf.nn.depthwise_conv2d(X2, w, [1, 1, 1, 1], "VALID")
    native = tf.nn.depthwise_conv2d_native(X2, w, [1, 1, 1, 1], "VALID")
    assert y.shape.as_list() == [2, 6, 6, 12]
    wanted = np.zeros((2, 6, 6, 4, 3), np.float32)
    for di in range(2):
        for dj in range(3):
            wanted += X2[:, di : di + 6, dj : dj + 6, :, None] * w[di, dj]
    for found in run([y, native]):
        close(found, wanted.reshape(2, 6, 6, 12))


def test_separable_is_depthwise_and_pointwise():
    deep, point = array(3, 3, 4, 2), array(1, 1, 8, 5)
    y = tf.nn.separable_conv2d(X2, deep, point, [1, 2, 2, 1], "SAME")
    between = tf.nn.depthwise_conv2d(X2, deep, [1, 2, 2, 1], "SAME")
    found, middle = run([y, between])
    assert y.shape.as_list() == [2, 4, 4, 5]
    close(found, middle @ point[0, 0])


def test_names_are_tensorflows():
    assert tf.nn.conv2d(X2, W2, 1, "SAME").name == "Conv2D:0"
    assert tf.nn.conv2d(X2, W2, 1, "SAME", name="first").name == "first:0"
    assert tf.nn.conv3d(X3, W3, 1, "SAME").name == "Conv3D:0"
    assert tf.nn.conv2d(np.moveaxis(X2, -1, 1), W2, 1, "SAME", data_format="NCHW").name == (
        "Conv2D_1:0"
    )
    deep, point = array(3, 3, 4, 2), array(1, 1, 8, 5)
    assert tf.nn.separable_conv2d(X2, deep, point, 1, "SAME").name == "separable_conv2d:0"


# -- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(2, 1), (0, 3)]], ids=str)
def test_unknown_sizes(padding):
    """One graph for every batch and image, gradients too."""
    x = tf.placeholder(tf.float32, [None, None, None, 4])
    w = tf.constant(W2)
    y = tf.nn.conv2d(x, w, [1, 2, 3, 1], padding)
    to_x, to_w = tf.gradients(tf.reduce_sum(y * y), [x, w])
    assert y.shape.as_list() == [None, None, None, 6]
    assert to_x.shape.as_list() == [None, None, None, 4]
    with tf.Session() as session:
        for shape in ((2, 7, 8, 4), (1, 12, 9, 4), (3, 6, 17, 4), (0, 5, 5, 4)):
            a = array(*shape)
            pads = padding
            if padding == "SAME":
                pads = (same(shape[1], 3, 2), same(shape[2], 2, 3))
            elif padding == "VALID":
                pads = ((0, 0), (0, 0))
            expected = plain_convolve(a, W2, attributes(2, strides=(2, 3), padding=tuple(pads)))
            found, gx, gw = session.run([y, to_x, to_w], {x: a})
            close(found, expected)
            # y is linear in x and in w, so both products are twice the sum of squares.
            total = 2 * np.sum(expected.astype(np.float64) ** 2)
            np.testing.assert_allclose(np.sum(gx * a, dtype=np.float64), total, rtol=1e-4)
            np.testing.assert_allclose(np.sum(gw * W2, dtype=np.float64), total, rtol=1e-4)


def test_sizes_of_same_padding_are_equal_however_they_are_made():
    """A strided block and its shortcut can be added without a question left to the run."""
    x = tf.placeholder(tf.float32, [None, None, None, 4])
    y = tf.nn.conv2d(x, array(3, 3, 4, 4), 2, "SAME")
    shortcut = tf.nn.conv2d(x, array(1, 1, 4, 4), 2, "VALID")
    padded = tf.nn.conv2d(x, array(3, 3, 4, 4), 2, [(1, 1), (1, 1)])
    assert y.dims == shortcut.dims == padded.dims
    up = tf.nn.conv2d_transpose(
        y, array(2, 2, 4, 4), [tf.shape(y)[0], 2 * y.dims[1], 2 * y.dims[2], 4], 2
    )
    again = tf.nn.conv2d(up, array(3, 3, 4, 4), 2, "SAME")
    assert again.dims == y.dims
    assert not any(tf.get_default_graph().constraints.get(t.op) for t in (y, up, again))


def test_a_window_that_a_run_finds_too_large():
    x = tf.placeholder(tf.float32, [None, None, None, 4], name="x")
    y = tf.nn.conv2d(x, W2, 1, "VALID", name="narrow")
    with tf.Session() as session:
        assert session.run(y, {x: array(1, 3, 2, 4)}).shape == (1, 1, 1, 6)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)x:0.*fed 2.*narrow"):
            session.run(y, {x: array(1, 2, 4, 4)})


# -- transposed ----------------------------------------------------------------------------------


def transposed(g, w, shape, stride, padding):
    """Every element of g adds the kernel, times itself, to its window of the output."""
    rank = g.ndim - 2
    y = np.zeros(shape, np.float64)
    for t in np.ndindex(*g.shape[1:-1]):
        for k in np.ndindex(*w.shape[:-2]):
            at = [t[i] * stride + k[i] - padding[i][0] for i in range(rank)]
            if all(0 <= p < size for p, size in zip(at, shape[1:-1], strict=True)):
                y[(slice(None), *at)] += g[(slice(None), *t)] @ w[k].T
    return y


@pytest.mark.parametrize(
    ("function", "shape", "window", "stride", "padding"),
    [
        (tf.nn.conv2d_transpose, (2, 8, 6, 3), (2, 2), 2, "SAME"),
        (tf.nn.conv2d_transpose, (2, 7, 5, 3), (3, 3), 2, "SAME"),
        (tf.nn.conv2d_transpose, (2, 9, 7, 3), (3, 3), 2, "VALID"),
        (tf.nn.conv2d_transpose, (1, 8, 10, 3), (2, 4), 3, "VALID"),
        (tf.nn.conv2d_transpose, (1, 5, 5, 3), (3, 2), 1, "SAME"),
        (tf.nn.conv1d_transpose, (2, 9, 3), (4,), 2, "SAME"),
        (tf.nn.conv3d_transpose, (1, 4, 5, 6, 2), (2, 3, 2), 2, "SAME"),
    ],
)
def test_transposed(function, shape, window, stride, padding):
    rank = len(shape) - 2
    pads = ((0, 0),) * rank
    if padding == "SAME":
        pads = tuple(same(shape[i + 1], window[i], stride) for i in range(rank))
    steps = [(shape[i + 1] + sum(pads[i]) - window[i]) // stride + 1 for i in range(rank)]
    g, w = array(shape[0], *steps, 5), array(*window, shape[-1], 5, seed=8)
    y = function(g, w, shape, stride, padding)
    first = function(
        np.moveaxis(g, -1, 1), w, [shape[0], shape[-1], *shape[1:-1]], stride, padding,
        data_format=("NCW", "NCHW", "NCDHW")[rank - 1],
    )  # fmt: skip
    assert y.shape.as_list() == list(shape)
    found, moved = run([y, first])
    close(found, transposed(g, w, shape, stride, pads))
    close(np.moveaxis(moved, 1, -1), found)


def test_transposed_to_the_shape_of_a_tensor():
    x = tf.placeholder(tf.float32, [None, None, None, 3])
    g = tf.nn.conv2d(x, W := array(3, 3, 3, 5), 2, "SAME")
    y = tf.nn.conv2d_transpose(g, W, tf.shape(x), [1, 2, 2, 1])
    assert y.dims == x.dims
    with tf.Session() as session:
        for shape in ((2, 6, 7, 3), (1, 5, 9, 3)):
            small, found = session.run([g, y], {x: array(*shape)})
            pads = (same(shape[1], 3, 2), same(shape[2], 3, 2))
            close(found, transposed(small, W, shape, 2, pads))


def test_transposed_to_a_shape_that_a_run_finds_impossible():
    g = tf.placeholder(tf.float32, [None, None, 4, 5], name="g")
    like = tf.placeholder(tf.float32, [None, None, 8, 3], name="like")
    y = tf.nn.conv2d_transpose(g, array(2, 2, 3, 5), tf.shape(like), 2)
    with tf.Session() as session:
        feeds = {g: array(1, 2, 4, 5), like: array(1, 3, 8, 3)}
        assert session.run(y, feeds).shape == (1, 3, 8, 3)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)g:0.*like:0"):
            session.run(y, {**feeds, like: array(1, 5, 8, 3)})
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)g:0.*like:0"):
            session.run(y, {**feeds, like: array(2, 3, 8, 3)})


def test_atrous_transposed():
    x, g = tf.constant(X2), array(2, 7, 8, 6, seed=12)
    (wanted,) = tf.gradients(tf.nn.atrous_conv2d(x, W2, 2, "SAME"), [x], g)
    found = tf.nn.atrous_conv2d_transpose(g, W2, [2, 7, 8, 4], 2, "SAME")
    close(*run([found, wanted]))


# -- gradients by name ---------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_gradients_by_name(data_format):
    move = (lambda a: np.moveaxis(a, -1, 1)) if data_format == "NCHW" else (lambda a: a)
    x, w = tf.constant(move(X2)), tf.constant(W2)
    strides = [1, 2, 1, 1] if data_format == "NHWC" else [1, 1, 2, 1]
    y = tf.nn.conv2d(x, w, strides, "SAME", data_format=data_format)
    g = move(array(2, 4, 8, 6, seed=9))
    to_x, to_w = tf.gradients(y, [x, w], g)
    found = [
        tf.nn.conv2d_backprop_input(tf.shape(x), w, g, strides, "SAME", data_format=data_format),
        tf.nn.conv2d_backprop_filter(x, [3, 2, 4, 6], g, strides, "SAME", data_format=data_format),
    ]
    for one, other in zip(run(found), run([to_x, to_w]), strict=True):
        assert one.shape == other.shape
        close(one, other)


def test_gradients_of_depthwise_by_name():
    x, w = tf.constant(X2), tf.constant(array(3, 3, 4, 2))
    y = tf.nn.depthwise_conv2d(x, w, [1, 2, 2, 1], "SAME")
    g = array(2, 4, 4, 8, seed=9)
    wanted = tf.gradients(y, [x, w], g)
    found = [
        tf.nn.depthwise_conv2d_native_backprop_input(X2.shape, w, g, [1, 2, 2, 1], "SAME"),
        tf.nn.depthwise_conv2d_native_backprop_filter(x, [3, 3, 4, 2], g, [1, 2, 2, 1], "SAME"),
    ]
    for one, other in zip(run(found), run(wanted), strict=True):
        assert one.shape == other.shape
        close(one, other)


def test_gradient_of_a_3d_filter_by_name():
    x, w = tf.constant(X3), tf.constant(W3)
    g = array(1, 2, 3, 3, 4)
    (wanted,) = tf.gradients(tf.nn.conv3d(x, w, 2, "SAME"), [w], g)
    found = tf.nn.conv3d_backprop_filter_v2(x, W3.shape, g, 2, "SAME")
    close(*run([found, wanted]))


# -- channels first --------------------------------------------------------------------------------


def channels_first_network(x, weights, scale):
    """Convolutions with normalisation, activation, padding, a skip and a pooled mean between."""
    h = tf.nn.conv2d(x, weights[0], 2, "SAME", data_format="NCHW")
    mean, variance = tf.nn.moments(h, [0, 2, 3], keep_dims=True)
    h = tf.nn.relu((h - mean) * tf.rsqrt(variance + 0.1) * tf.reshape(scale, [6, 1, 1]))
    skip = h
    h = tf.pad(h, [[0, 0], [0, 0], [1, 1], [1, 1]])
    h = tf.nn.conv2d(h, weights[1], 1, "VALID", data_format="NCHW")
    h = tf.nn.bias_add(h, scale, data_format="NCHW") + skip
    h = tf.concat([h, tf.nn.sigmoid(skip)], 1)
    h = tf.nn.conv2d(h, weights[2], 1, "SAME", data_format="NCHW")
    return tf.reduce_mean(h, [2, 3])


def test_transposes_of_channels_first_cancel(every_backend):
    """Nothing but the input is transposed, and the result is what channels last would give."""
    from graphflow.passes.cut.functionalize import cut
    from graphflow.passes.pipeline import run_graph_passes

    x = tf.placeholder(tf.float32, [None, 4, None, None])
    weights = [array(3, 2, 4, 6), array(3, 3, 6, 6), array(1, 1, 12, 3)]
    kernels = [tf.placeholder(tf.float32, w.shape) for w in weights]
    scale = tf.placeholder(tf.float32, [6])
    y = channels_first_network(x, kernels, scale)
    loss = tf.reduce_sum(y * y)
    fetches = [y, *tf.gradients(loss, kernels)]
    program = run_graph_passes(cut(tf.get_default_graph(), fetches, [x, *kernels, scale]))
    perms = [n.attrs["perm"] for n in program.nodes() if n.op.name == "transpose"]
    # The input, and the kernels of the input gradients.
    assert sorted(perms) == [(0, 1, 3, 2), (0, 1, 3, 2), (0, 2, 3, 1)]
    feeds = {x: np.moveaxis(X2, -1, 1), scale: array(6), **dict(zip(kernels, weights, strict=True))}
    config = tf.ConfigProto(disable=("simplify",), cache=False)
    with tf.Session(config=config) as session:
        plain = session.run(fetches, feeds)
    for one, other in zip(run(fetches, feeds), plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-3)


# -- what reports say ----------------------------------------------------------------------------


def test_flops():
    def flops(fetches):
        return [k.flops for k in tf.explain(fetches).kernels]

    x, w = tf.constant(X2), tf.placeholder(tf.float32, [3, 2, 4, 6])
    y = tf.nn.conv2d(x, w, 1, "SAME")
    products = 2 * 7 * 8 * 3 * 2 * 4 * 6
    assert tf.explain(y).flops == str(2 * products)
    (to_w,) = tf.gradients(y, [w], tf.ones([2, 7, 8, 6]))
    assert tf.explain(to_w).flops == str(2 * products)
    x = tf.placeholder(tf.float32, [2, 8, 8, 4])
    y = tf.nn.conv2d(x, w, 2, "SAME")
    products = 2 * 4 * 4 * 3 * 2 * 4 * 6
    (to_x,) = tf.gradients(y, [x], tf.placeholder(tf.float32, [2, 4, 4, 6]))
    # A zero between elements is not multiplied.
    assert tf.explain(to_x).flops == str(2 * products)
    deep = tf.nn.depthwise_conv2d(x, tf.placeholder(tf.float32, [3, 3, 4, 2]), 1, "SAME")
    assert tf.explain(deep).flops == str(2 * 2 * 8 * 8 * 9 * 8)
