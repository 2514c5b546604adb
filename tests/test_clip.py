"""Clipping by norms, of tensors and of rows."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf

pytestmark = pytest.mark.usefixtures("every_backend")

A = np.array([[3.0, 4.0], [6.0, 8.0]], np.float32)


def run(tensor):
    with tf.Session() as session:
        return session.run(tensor)


def test_clip_by_norm():
    norm = np.sqrt((A * A).sum())
    found = run(
        [tf.clip_by_norm(A, 2.0), tf.clip_by_norm(A, 100.0), tf.clip_by_norm(A, 5.0, axes=[1])]
    )
    np.testing.assert_allclose(found[0], A * 2 / norm, rtol=1e-6)
    np.testing.assert_allclose(found[1], A, rtol=1e-6)
    np.testing.assert_allclose(found[2], [[3, 4], [3, 4]], rtol=1e-6)
    np.testing.assert_allclose(run(tf.clip_by_average_norm(A, 1.0)), A / (norm / 4), rtol=1e-6)


def test_gradient_at_zero_is_finite():
    x = tf.zeros([3])
    (gradient,) = tf.gradients(tf.clip_by_norm(x, 1.0), [x])
    np.testing.assert_array_equal(run(gradient), [1, 1, 1])


def test_clip_by_global_norm():
    b = np.array([12.0], np.float32)
    norm = np.sqrt((A * A).sum() + 144)
    clipped, total = tf.clip_by_global_norm([tf.constant(A), None, tf.constant(b)], 5.0)
    assert clipped[1] is None
    values = run([clipped[0], clipped[2], total, tf.global_norm([A, None, b])])
    np.testing.assert_allclose(values[0], A * 5 / norm, rtol=1e-6)
    np.testing.assert_allclose(values[1], b * 5 / norm, rtol=1e-6)
    np.testing.assert_allclose(values[2:], norm, rtol=1e-6)
    kept, _ = tf.clip_by_global_norm([tf.constant(A)], 100.0)
    np.testing.assert_allclose(run(kept[0]), A, rtol=1e-6)


def test_infinite_norms_show():
    clipped, _ = tf.clip_by_global_norm([tf.constant([np.inf, 1.0]), tf.constant([2.0])], 1.0)
    assert np.isnan(np.concatenate(run(clipped))).all()


def test_rows_stay_rows():
    rows = tf.IndexedSlices(tf.constant(A), tf.constant([4, 1]), [6, 2])
    clipped, _ = tf.clip_by_global_norm([rows], 1.0)
    by_norm = tf.clip_by_norm(rows, 1.0)
    for found in (clipped[0], by_norm):
        assert isinstance(found, tf.IndexedSlices)
        values, indices = run([found.values, found.indices])
        np.testing.assert_allclose(values, A / np.sqrt((A * A).sum()), rtol=1e-6)
        np.testing.assert_array_equal(indices, [4, 1])


def test_wrong_lists():
    with pytest.raises(TypeError, match="must be a sequence"):
        tf.global_norm(tf.constant(A))
    assert tf.global_norm([None]) is None
