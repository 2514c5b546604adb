"""Pooling's names, arguments and errors; compiled gradients; ties."""

from __future__ import annotations

import numpy as np
import pytest
from cases_pooling import GEOMETRIES, distinct

import graphflow as tf
from graphflow.errors import InvalidArgumentError, TypeRuleError


def run(fetches, feeds=None, backend="compiled"):
    with tf.Session(config=tf.ConfigProto(cache=False), backend=backend) as session:
        return session.run(fetches, feeds)


def image(*shape, dtype="float32"):
    return tf.placeholder(dtype, shape, name="image")


# -- names and arguments -------------------------------------------------------------------------


def test_ksize_and_strides_as_numbers_and_lists():
    x = distinct((2, 6, 8, 3))
    wanted = x.reshape(2, 3, 2, 4, 2, 3).max((2, 4))
    for size in (2, [2], [2, 2], [1, 2, 2, 1], np.array([1, 2, 2, 1])):
        np.testing.assert_array_equal(run(tf.nn.max_pool(x, size, size, "VALID")), wanted)
    np.testing.assert_array_equal(
        run(tf.nn.max_pool(input=x, ksize=2, strides=2, padding=[[0, 0]] * 4)), wanted
    )
    np.testing.assert_array_equal(run(tf.nn.max_pool2d(x, 2, 2, "SAME")), wanted)


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize(
    ("rank", "last", "first"), [(1, "NWC", "NCW"), (2, "NHWC", "NCHW"), (3, "NDHWC", "NCDHW")]
)
def test_channels_first(pooling, rank, last, first):
    function = getattr(tf.nn, f"{pooling}_pool{rank}d")
    x = distinct((2, 5, 6, 4, 3)[: rank + 1] + (3,))
    size = [1, *[2, 3, 2][:rank], 1]
    wanted = run(function(x, size, [1, *[2] * rank, 1], "SAME", last))
    size = [1, 1, *[2, 3, 2][:rank]]
    got = run(function(np.moveaxis(x, -1, 1), size, [1, 1, *[2] * rank], "SAME", first))
    np.testing.assert_array_equal(np.moveaxis(got, 1, -1), wanted)


def test_names():
    x = image(None, 8, 8, 3)
    assert tf.nn.max_pool(x, 2, 2, "VALID").name == "max_pool:0"
    assert tf.nn.avg_pool(x, 2, 2, "VALID", name="mean").name == "mean:0"
    assert tf.nn.max_pool(image(None, 3, 8, 8), 2, 2, "VALID", "NCHW", name="top").name == "top:0"


def test_static_shapes():
    x = image(None, None, 9, 3)
    assert tf.nn.max_pool(x, 3, 2, "SAME").shape.as_list() == [None, None, 5, 3]
    assert tf.nn.avg_pool(x, 2, 2, "VALID").shape.as_list() == [None, None, 4, 3]
    assert tf.nn.avg_pool(x, 2, 2, "VALID", ceil_mode=True).shape.as_list() == [None, None, 5, 3]


def test_layers():
    x = distinct((2, 6, 8, 3))
    layer = tf.layers.MaxPooling2D(2)
    assert layer.strides == (2, 2) and layer.weights == []
    wanted = x.reshape(2, 3, 2, 4, 2, 3)
    np.testing.assert_array_equal(run(layer(x)), wanted.max((2, 4)))
    np.testing.assert_array_equal(run(tf.layers.max_pooling2d(x, 2, 2)), wanted.max((2, 4)))
    got = run(tf.layers.average_pooling2d(np.moveaxis(x, 3, 1), [2, 2], [2, 2], "same",
                                          "channels_first"))  # fmt: skip
    np.testing.assert_allclose(np.moveaxis(got, 1, 3), wanted.mean((2, 4)), rtol=1e-6, atol=1e-7)
    assert tf.layers.max_pooling1d(x[0], 3, 2, name="pool").shape.as_list() == [6, 3, 3]
    assert tf.layers.average_pooling3d(x[None], 2, 2).shape.as_list() == [1, 1, 3, 4, 3]


def test_argmax_dtypes():
    x = distinct((1, 4, 4, 1))
    maxima, places = tf.nn.max_pool_with_argmax(x, 2, 2, "VALID")
    assert places.dtype is tf.int64
    held, where = run([maxima, places])
    np.testing.assert_array_equal(x.reshape(-1)[where.reshape(-1)], held.reshape(-1))
    assert tf.nn.max_pool_with_argmax(x, 2, 2, "VALID", Targmax=tf.int32)[1].dtype is tf.int32


# -- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["MAX", "AVG"])
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
def test_compiled_gradients_are_the_references(name, pooling, symbolic):
    shape, kernel, strides, padding, dilation, ceil_mode = GEOMETRIES[name]
    x = image(*([None] * (len(shape) - 1) if symbolic else shape[:-1]), shape[-1])
    y = tf.nn.pool(x, kernel, pooling, padding, dilation, strides, ceil_mode=ceil_mode)
    (first,) = tf.gradients(tf.reduce_sum(tf.sin(3.0 * y)), x)
    (second,) = tf.gradients(tf.reduce_sum(first * first), x)
    feeds = {x: distinct(shape)}
    got = run([y, first, second], feeds)
    for result, wanted in zip(got, run([y, first, second], feeds, "reference"), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_ties_go_to_the_first(backend):
    x = image(1, 2, 6, 1)
    (gradient,) = tf.gradients(tf.nn.max_pool(x, 2, 2, "VALID"), x)
    data = np.array([[1, 1, 0, 2, -np.inf, -np.inf], [1, 1, 2, 2, -np.inf, -np.inf]], np.float32)
    got = run(gradient, {x: data[None, :, :, None]}, backend)[0, :, :, 0]
    assert got.tolist() == [[1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_the_gradient_of_a_nan_goes_to_it(backend):
    x = image(1, 1, 4, 1)
    y = tf.nn.max_pool(x, [1, 4], 1, "SAME")
    (gradient,) = tf.gradients(y, x)
    data = np.array([2, np.nan, 3, np.nan], np.float32).reshape(1, 1, 4, 1)
    held, got = run([y, gradient], {x: data}, backend)
    assert np.isnan(held).reshape(-1).tolist() == [True, True, True, True]
    assert got.reshape(-1).tolist() == [0, 3, 0, 1]


def test_the_gradient_of_a_maximum_is_two_passes():
    x = image(64, 64, 64, 16)
    y = tf.nn.max_pool(x, 2, 2, "VALID")
    (gradient,) = tf.gradients(y, x, tf.placeholder("float32", y.shape))
    report = tf.explain(gradient)
    operations = [name for kernel in report.kernels for name in kernel.operations]
    assert [name.split("(")[1] for name in operations] == ["window_max)", "window_put)"]
    # In between only the places are kept: a byte for each window.
    assert report.arena_lower_bound == 64 * 32 * 32 * 16


def test_no_places_without_a_gradient():
    x = image(1, 64, 64, 16)
    y = tf.nn.max_pool(x, 2, 2, "VALID")
    (kernel,) = tf.explain(y).kernels
    assert int(kernel.bytes_written) == 32 * 32 * 16 * 4


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": 0}, "strides must be positive, got 0"),
        ({"ksize": -1}, "ksize must be positive, got -1"),
        ({"strides": [2, 2, 2]}, "strides has 1, 2 or 4 entries"),
        ({"ksize": [1, 2, 2, 2]}, "ksize of batch and channels must be 1"),
        ({"ksize": 1.5}, "ksize must be numbers"),
        ({"ksize": 9}, "a window of 9 taps is larger than axis 1 of the input"),
        ({"padding": "FULL"}, "padding is SAME, VALID or a list of pairs, not 'FULL'"),
        ({"padding": [[2, 0], [0, 0]]}, "the padding 2 of axis 1 is not smaller than the window"),
        ({"padding": [[-1, 0], [0, 0]]}, "paddings must not be negative"),
        ({"data_format": "NHCW"}, "data_format is NHWC or NCHW, not 'NHCW'"),
    ],
)
@pytest.mark.parametrize("function", [tf.nn.max_pool, tf.nn.avg_pool])
def test_wrong_arguments(function, arguments, message):
    given = {"ksize": 2, "strides": 2, "padding": "VALID", **arguments}
    with pytest.raises(TypeRuleError) as caught:
        function(image(2, 8, 8, 3), **given)
    assert message in str(caught.value) and "test_pooling.py:" in str(caught.value)


def test_wrong_inputs():
    for function, x, message in (
        (tf.nn.max_pool, image(8, 8, 3), "the input must have rank 4"),
        (tf.nn.max_pool, tf.placeholder("float32"), "the rank of"),
        (tf.nn.max_pool, image(1, 8, 8, 3, dtype="bool"), "it must be numeric"),
        (tf.nn.avg_pool, image(1, 8, 8, 3, dtype="int32"), "averages need floats, so cast it"),
    ):
        with pytest.raises(TypeRuleError) as caught:
            function(x, 2, 2, "VALID")
        assert message in str(caught.value) and "test_pooling.py:" in str(caught.value)
    with pytest.raises(TypeRuleError, match="pooling_type is MAX or AVG, not 'MIN'"):
        tf.nn.pool(image(1, 8, 3), [2], "MIN", "SAME")
    with pytest.raises(TypeRuleError, match="the input needs a batch, 1 to 3 spatial"):
        tf.nn.pool(image(8, 3), [2], "MAX", "SAME")
    with pytest.raises(TypeRuleError, match="data_format is NHWC, not 'NCHW'"):
        tf.nn.max_pool_with_argmax(image(1, 8, 8, 3), 2, 2, "SAME", "NCHW")


def test_wrong_layers():
    with pytest.raises(TypeRuleError, match="padding is valid or same, not 'full'"):
        tf.layers.MaxPooling2D(2, padding="full")
    with pytest.raises(TypeRuleError, match="max_pooling2d: strides must be positive"):
        tf.layers.MaxPooling2D(2, 0)
    with pytest.raises(TypeRuleError, match="inputs need rank 3"):
        tf.layers.average_pooling1d(image(1, 8, 8, 3), 2, 2)


def test_a_run_with_an_image_smaller_than_the_window():
    x = image(1, None, 8, 1)
    y = tf.nn.max_pool(x, 3, 1, "VALID")
    assert run(y, {x: np.zeros((1, 3, 8, 1), np.float32)}).shape == (1, 1, 6, 1)
    with pytest.raises(InvalidArgumentError, match="axis 1 of image:0.* was fed 2(.|\n)*max_pool"):
        run(y, {x: np.zeros((1, 2, 8, 1), np.float32)})
