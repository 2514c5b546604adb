"""Initial values: their distributions, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphflow as tf

pytestmark = pytest.mark.usefixtures("every_backend")


def run(tensor):
    with tf.Session() as session:
        return session.run(tensor)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.int32, tf.bool])
def test_zeros_and_ones(dtype):
    zeros, ones = run([tf.zeros_initializer()([2, 3], dtype), tf.ones_initializer()([2], dtype)])
    assert zeros.dtype == ones.dtype == dtype.as_numpy_dtype
    assert zeros.shape == (2, 3)
    assert not zeros.any()
    assert ones.all()


def test_constant():
    make = tf.constant_initializer
    np.testing.assert_array_equal(run(make(3.0)([2])), [3, 3])
    np.testing.assert_array_equal(run(make([1, 2, 3, 4])([2, 2])), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(run(make([1.0, 2.0])([4])), [1, 2, 2, 2])
    assert run(make(3)([], tf.int64)) == 3
    with pytest.raises(ValueError, match="too many elements"):
        make([1.0, 2.0, 3.0])([2])
    with pytest.raises(TypeError, match=r"expected shape \[2\]"):
        make([[1.0, 2.0]], verify_shape=True)([2])
    with pytest.raises(TypeError, match="neither a number nor an array"):
        make(object())


SHAPE = [40, 60]
FANS = {"fan_in": 40, "fan_out": 60, "fan_avg": 50}
DEVIATIONS = {
    "glorot_uniform": (tf.glorot_uniform_initializer(), 1 / 50),
    "glorot_normal": (tf.glorot_normal_initializer(), 1 / 50),
    "he_normal": (tf.initializers.he_normal(), 2 / 40),
    "he_uniform": (tf.initializers.he_uniform(), 2 / 40),
    "lecun_normal": (tf.initializers.lecun_normal(), 1 / 40),
    "lecun_uniform": (tf.initializers.lecun_uniform(), 1 / 40),
    "untruncated": (
        tf.variance_scaling_initializer(3.0, "fan_out", "untruncated_normal"),
        3 / 60,
    ),
    "unit scaling": (tf.uniform_unit_scaling_initializer(2.0), 4 / 40),
    "uniform": (tf.random_uniform_initializer(-1, 1), 1 / 3),
    "normal": (tf.random_normal_initializer(0.0, 2.0), 4),
    "truncated": (tf.truncated_normal_initializer(0.0, 2.0), 4 * 0.87962566**2),
}


@pytest.mark.parametrize("case", DEVIATIONS)
def test_random_initializers(case):
    initializer, variance = DEVIATIONS[case]
    tf.set_random_seed(4)
    values = run(initializer(SHAPE))
    assert values.shape == (40, 60)
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    np.testing.assert_allclose(values.var(), variance, rtol=0.12)
    if "uniform" in case or case == "unit scaling":
        assert abs(values).max() <= math.sqrt(3 * variance) * 1.000001
    elif case not in ("untruncated", "normal"):
        assert abs(values).max() <= 2 * math.sqrt(variance) / 0.8796


def test_seeds():
    same = [run(tf.random_normal_initializer(seed=3)([4])) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert tf.glorot_uniform_initializer(seed=3).get_config() == {"seed": 3, "dtype": "float32"}
    integers = run(tf.random_uniform_initializer(0, 5)([100], tf.int32))
    assert set(integers.tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 3, 4)])
def test_orthogonal(shape):
    values = run(tf.orthogonal_initializer(gain=2.0, seed=1)(shape)).reshape(-1, shape[-1])
    rows, columns = values.shape
    product = values.T @ values if rows >= columns else values @ values.T
    np.testing.assert_allclose(product, 4 * np.eye(min(rows, columns)), atol=1e-5)
    again = run(tf.orthogonal_initializer(gain=2.0, seed=1)(shape)).reshape(-1, shape[-1])
    np.testing.assert_array_equal(values, again)


def test_identity():
    values = run(tf.initializers.identity(gain=3.0)([2, 3]))
    np.testing.assert_array_equal(values, [[3, 0, 0], [0, 3, 0]])


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: tf.orthogonal_initializer()([3]), "at least two dimensions"),
        (lambda: tf.initializers.identity()([3]), "needs two dimensions"),
        (lambda: tf.variance_scaling_initializer(0.0), "scale must be positive"),
        (lambda: tf.variance_scaling_initializer(mode="fan"), "mode is fan_in"),
        (lambda: tf.variance_scaling_initializer(distribution="x"), "no such distribution"),
        (lambda: tf.random_normal_initializer(dtype=tf.int32), "floating-point dtype"),
        (lambda: tf.zeros_initializer()([None, 2]), "shape must be known"),
        (lambda: tf.regularizers.l2_regularizer(-1.0), "not negative"),
    ],
)
def test_wrong_calls(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        wrong()


def test_regularizers():
    w = tf.constant([1.0, -2.0])
    r = tf.regularizers
    found = run([r.l1_regularizer(0.5)(w), r.l2_regularizer(0.5)(w), r.l1_l2_regularizer(1, 2)(w)])
    np.testing.assert_allclose(found, [1.5, 1.25, 8.0])
    assert r.l1_regularizer(0.0)(w) is None
    assert r.sum_regularizer([None, r.l2_regularizer(0.0)])(w) is None
