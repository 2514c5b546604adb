"""Resizing images and moving blocks of pixels: arguments, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import InvalidArgumentError, TypeRuleError


def images(*shape, dtype="float32"):
    return tf.placeholder(dtype, shape, name="images")


def run(fetches, feeds=None, backend="compiled"):
    with tf.Session(config=tf.ConfigProto(cache=False), backend=backend) as session:
        return session.run(fetches, feeds)


def pixels(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


METHODS = [
    tf.image.resize_bilinear,
    tf.image.resize_bicubic,
    tf.image.resize_nearest_neighbor,
    tf.image.resize_area,
]


@pytest.mark.parametrize("function", METHODS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [(9, 7), (3, 11), (12, 10), (3, 5), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3, 18])
@pytest.mark.parametrize("align", [False, True])
def test_compiled_gradients_are_the_references(function, size, channels, align):
    x = images(None, 6, 5, channels)
    y = function(x, size, align_corners=align)
    (first,) = tf.gradients(tf.reduce_sum(y * y * y), x)
    (second,) = tf.gradients(tf.reduce_sum(first * first), x)
    feeds = {x: pixels(2, 6, 5, channels)}
    got = run([y, first, second], feeds)
    for result, wanted in zip(got, run([y, first, second], feeds, "reference"), strict=True):
        scale = 1 + np.abs(wanted).max()  # weights of either sign cancel
        np.testing.assert_allclose(result / scale, wanted / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", METHODS[:3], ids=lambda f: f.__name__)
def test_gradients_with_sizes_that_are_not_known(function):
    x = images(None, None, None, 3)
    y = function(x, [tf.shape(x)[1] + 3, 4])
    (gradient,) = tf.gradients(tf.reduce_sum(y * y), x)
    for shape in ((2, 5, 6, 3), (1, 1, 1, 3), (3, 9, 4, 3)):
        feeds = {x: pixels(*shape)}
        got, wanted = run(gradient, feeds), run(gradient, feeds, "reference")
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_resize_images():
    x = pixels(2, 4, 6, 3)
    method = tf.image.ResizeMethod
    for number, function in (
        (method.BILINEAR, tf.image.resize_bilinear), (method.BICUBIC, tf.image.resize_bicubic),
        (method.AREA, tf.image.resize_area),
        (method.NEAREST_NEIGHBOR, tf.image.resize_nearest_neighbor),
    ):  # fmt: skip
        got, wanted = run([tf.image.resize_images(x, (5, 7), number), function(x, (5, 7))])
        np.testing.assert_array_equal(got, wanted)
        single = run(tf.image.resize_images(x[0], (5, 7), number))
        np.testing.assert_allclose(single, wanted[0], rtol=1e-6, atol=1e-6)
    same = tf.placeholder("uint8", [None, 4, 6, 3])
    assert tf.image.resize_images(same, (4, 6)) is same
    kept = tf.image.resize_images(x, (8, 9), preserve_aspect_ratio=True)
    assert kept.shape.as_list() == [2, 6, 9, 3]


def test_nearest_by_whole_factors_is_a_movement():
    x = images(None, None, None, 8)
    larger = tf.image.resize_nearest_neighbor(x, [tf.shape(x)[1] * 2, tf.shape(x)[2] * 3])
    smaller = tf.image.resize_nearest_neighbor(images(2, 8, 6, 3), [4, 2], half_pixel_centers=True)
    for y in (larger, smaller):
        names = [name for kernel in tf.explain(y * 2.0).kernels for name in kernel.operations]
        operations = {name.split("(")[1].rstrip(")") for name in names}
        assert operations <= {"mul", "broadcast_to", "slice"}
    data = pixels(2, 3, 4, 8)
    np.testing.assert_array_equal(run(larger, {x: data}), data.repeat(2, 1).repeat(3, 2))


def test_names():
    x = images(1, 4, 4, 1)
    assert tf.image.resize_bilinear(x, (5, 5)).name == "ResizeBilinear:0"
    assert tf.image.resize_nearest_neighbor(x, (8, 8), name="up").name == "up:0"


def test_symmetric_spaces():
    x = pixels(2, 6, 4, 3)
    for wide in (1, 2):
        there = tf.space_to_depth(x, wide)
        np.testing.assert_array_equal(run(tf.depth_to_space(there, wide)), x)
        there = tf.space_to_batch(x, [[1, 1], [0, 2]], wide)
        np.testing.assert_array_equal(run(tf.batch_to_space(there, [[1, 1], [0, 2]], wide)), x)
    assert tf.nn.space_to_depth is tf.space_to_depth


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: tf.image.resize_bilinear(x[0], (2, 2)), "images must have rank 4"),
        (lambda x: tf.image.resize_bilinear(x, (2, 2, 2)), "size is (height, width)"),
        (lambda x: tf.image.resize_bilinear(x, (0, 2)), "sizes must be positive"),
        (lambda x: tf.image.resize_bilinear(x, (-1, 2)), "sizes must be positive"),
        (lambda x: tf.image.resize_bilinear(x > 0, (2, 2)), "it must be numeric"),
        (lambda x: tf.image.resize_bicubic(x, (2, 2), True, half_pixel_centers=True), "exclude"),
        (lambda x: tf.image.resize_area(images(1, None, 3, 1), (2, 2)), "must be known"),
        (lambda x: tf.image.resize_images(x, (2, 2), 7), "method is one of ResizeMethod, not 7"),
        (lambda x: tf.image.resize_images(x[0, 0], (2, 2)), "images have rank 4"),
        (lambda x: tf.space_to_depth(x, 4), "axis 1 of images:0 float32[2,6,4,3] has 6 elements"),
        (lambda x: tf.space_to_depth(x, 0), "block_size must be positive, got 0"),
        (lambda x: tf.space_to_depth(x, 2, data_format="NC"), "data_format is NHWC or NCHW"),
        (lambda x: tf.depth_to_space(x, 2), "axis 3 of images:0 float32[2,6,4,3] has 3 elements"),
        (lambda x: tf.space_to_batch_nd(x, [2, 0], [[0, 0]] * 2), "must be positive numbers"),
        (lambda x: tf.space_to_batch_nd(x, [2, 2], [[0, 0]]), "paddings have the shape [2, 2]"),
        (lambda x: tf.space_to_batch_nd(x, [2, 2], [[0, -1], [0, 0]]), "must not be negative"),
        (lambda x: tf.space_to_batch_nd(x, [4], [[0, 0]]), "axis 1 of images:0"),
        (lambda x: tf.space_to_batch_nd(x, [1] * 4, [[0, 0]] * 4), "4 block sizes need a batch"),
        (lambda x: tf.batch_to_space_nd(x, [3], [[0, 0]]), "axis 0 of images:0"),
        (lambda x: tf.batch_to_space_nd(x, [2], [[7, 6]]), "are more than the sizes [12]"),
        (lambda x: tf.space_to_batch(x, [[0, 0]] * 2), "give either block_size or block_shape"),
    ],
)
def test_errors(build, message):
    with pytest.raises(TypeRuleError) as caught:
        build(images(2, 6, 4, 3))
    assert message in str(caught.value) and "test_image.py:" in str(caught.value)


def test_a_run_whose_size_a_block_does_not_divide():
    x = images(1, None, 4, 3)
    y = tf.space_to_depth(x, 2)
    assert run(y, {x: np.zeros((1, 6, 4, 3), np.float32)}).shape == (1, 3, 2, 12)
    with pytest.raises(InvalidArgumentError):
        run(y, {x: np.zeros((1, 5, 4, 3), np.float32)})
