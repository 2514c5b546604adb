"""Cross entropies and the losses of batches against NumPy, and where they could overflow."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow import errors

pytestmark = pytest.mark.usefixtures("every_backend")

RNG = np.random.default_rng(3)


def run(tensor, feeds=None):
    with tf.Session() as session:
        return session.run(tensor, feeds)


def log_softmax(x, axis=-1):
    x = x.astype(np.float64)
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax(axis):
    x = RNG.normal(size=(4, 5, 3)).astype(np.float32) * 10
    wanted = log_softmax(x, axis)
    np.testing.assert_allclose(run(tf.nn.softmax(x, axis)), np.exp(wanted), rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(run(tf.nn.log_softmax(x, axis=axis)), wanted, rtol=2e-6, atol=1e-6)


def test_softmax_of_large_values():
    x = np.array([[1000.0, 1000.0, -1000.0], [-5000.0, 0.0, -5000.0]], np.float32)
    np.testing.assert_array_equal(run(tf.nn.softmax(x)), [[0.5, 0.5, 0], [0, 1, 0]])
    assert np.isfinite(run(tf.nn.log_softmax(x))).all()


def test_softmax_cross_entropy():
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    labels = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
    wanted = -(labels * log_softmax(x)).sum(-1)
    found = run(tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=x))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    found = run(tf.nn.softmax_cross_entropy_with_logits_v2(labels.T, x.T, axis=0))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_sparse_softmax_cross_entropy():
    x = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    for dtype in (np.int32, np.int64, np.uint8):
        labels = RNG.integers(0, 4, (2, 6)).astype(dtype)
        wanted = -np.take_along_axis(log_softmax(x), labels[..., None].astype(int), -1)[..., 0]
        found = run(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_label_that_is_no_class_fails_the_run():
    labels = tf.placeholder(tf.int32, [None], name="labels")
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=tf.zeros([tf.shape(labels)[0], 3])
    )
    assert run(loss, {labels: [0, 2]}).shape == (2,)
    for wrong in ([0, 3], [-1, 0]):
        with pytest.raises(errors.OutOfRangeError):
            run(loss, {labels: wrong})


def test_sigmoid_cross_entropy():
    x = np.array([-1000, -20, -1, 0, 1, 20, 1000], np.float32)
    for z in (0.0, 1.0, 0.3):
        exact = np.logaddexp(0, x.astype(np.float64)) - x * np.float64(np.float32(z))
        labels = np.full_like(x, z)
        found = run(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=x))
        np.testing.assert_allclose(found, exact, rtol=1e-6)
        found = run(tf.nn.weighted_cross_entropy_with_logits(labels, x, 2.5))
        weighted = 2.5 * z * np.logaddexp(0, -x.astype(np.float64))
        weighted += (1 - z) * np.logaddexp(0, x.astype(np.float64))
        np.testing.assert_allclose(found, weighted, rtol=2e-6)


def test_log_poisson_loss():
    z = np.array([0, 0.5, 1, 2, 7], np.float32)
    c = np.array([0.1, -1, 2, 0.5, 1.5], np.float32)
    plain = np.exp(c) - z * c
    np.testing.assert_allclose(run(tf.nn.log_poisson_loss(z, c)), plain, rtol=1e-6)
    with np.errstate(all="ignore"):
        stirling = z * np.log(z) - z + 0.5 * np.log(2 * np.pi * z)
    full = plain + np.where(z > 1, stirling, 0)
    np.testing.assert_allclose(run(tf.nn.log_poisson_loss(z, c, True)), full, rtol=1e-6)


def _cross_entropies():
    def softmax(x):
        labels = np.eye(4, dtype=np.float64)[[1, 3, 0]]
        return tf.nn.softmax_cross_entropy_with_logits_v2(labels, x)

    def sparse(x):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[1, 3, 0], logits=x)

    def sigmoid(x):
        labels = np.linspace(0, 1, 12).reshape(3, 4)
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=x)

    def weighted(x):
        labels = np.linspace(0, 1, 12).reshape(3, 4)
        return tf.nn.weighted_cross_entropy_with_logits(labels, x, 3.0)

    return [softmax, sparse, sigmoid, weighted]


@pytest.mark.parametrize("loss", _cross_entropies(), ids=lambda f: f.__name__)
def test_derivatives_to_second_order(loss):
    """Gradients and Hessian-vector products against central differences in float64."""
    x = tf.placeholder(tf.float64, [3, 4])
    v = RNG.normal(size=(3, 4))
    total = tf.reduce_sum(loss(x))
    (gradient,) = tf.gradients(total, [x])
    (product,) = tf.gradients(tf.reduce_sum(gradient * v), [x])
    at = RNG.normal(size=(3, 4))
    at[0, 0] = 0.0  # where the branches of the sigmoid's form meet
    step = 1e-5
    with tf.Session() as session:
        values = [session.run([total, gradient], {x: at + s * step * v}) for s in (1, -1)]
        first, second = session.run([gradient, product], {x: at})
    slope = (values[0][0] - values[1][0]) / (2 * step)
    curve = (values[0][1] - values[1][1]) / (2 * step)
    np.testing.assert_allclose((first * v).sum(), slope, rtol=1e-7)
    np.testing.assert_allclose(second, curve, rtol=1e-6, atol=1e-8)


def test_softmax_cross_entropy_gradient_is_softmax_minus_labels():
    x = tf.placeholder(tf.float32, [None, 3])
    labels = np.array([[0, 1, 0], [0.5, 0.25, 0.25]], np.float32)
    (gradient,) = tf.gradients(tf.nn.softmax_cross_entropy_with_logits_v2(labels, x), [x])
    at = np.array([[100.0, 0.0, -100.0], [1.0, 2.0, 3.0]], np.float32)
    wanted = np.exp(log_softmax(at)) - labels
    np.testing.assert_allclose(run(gradient, {x: at}), wanted, atol=1e-6)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (
            lambda: tf.nn.softmax_cross_entropy_with_logits(tf.zeros([2, 3]), tf.zeros([2, 3])),
            "named arguments",
        ),
        (
            lambda: tf.nn.softmax_cross_entropy_with_logits_v2(tf.zeros([2, 4]), tf.zeros([2, 3])),
            "shapes must be equal",
        ),
        (
            lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.zeros([2, 3], tf.int32), logits=tf.zeros([2, 3])
            ),
            "shapes must be equal up to the classes",
        ),
        (
            lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.zeros([2]), logits=tf.zeros([2, 3])
            ),
            "must be integers",
        ),
        (lambda: tf.nn.softmax(tf.zeros([2], tf.int32)), "must be floating-point"),
        (lambda: tf.nn.softmax(1.0), "a scalar"),
        (lambda: tf.nn.softmax(tf.zeros([2]), axis=0, dim=0), "both 'axis' and 'dim'"),
        (lambda: tf.nn.softmax(tf.zeros([2]), axis=1), "axis 1"),
    ],
)
def test_wrong_calls(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        wrong()


# -- losses of batches ------------------------------------------------------------------------

P = np.array([[0.2, 0.9, 0.4], [0.7, 0.1, 0.5]], np.float32)
L = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]], np.float32)
ELEMENTWISE = [
    (tf.losses.mean_squared_error, (P - L) ** 2),
    (tf.losses.absolute_difference, abs(P - L)),
    (tf.losses.log_loss, -L * np.log(P + 1e-7) - (1 - L) * np.log(1 - P + 1e-7)),
    (tf.losses.hinge_loss, np.maximum(0, 1 - (2 * L - 1) * P)),
    (tf.losses.huber_loss, np.where(abs(P - L) <= 1, 0.5 * (P - L) ** 2, abs(P - L) - 0.5)),
]


@pytest.mark.parametrize("function, each", ELEMENTWISE, ids=lambda x: getattr(x, "__name__", ""))
def test_losses_and_reductions(function, each):
    weights = np.array([[2.0], [0.0]], np.float32)
    weighted = each * weights
    R = tf.losses.Reduction
    cases = [
        (1.0, R.SUM_BY_NONZERO_WEIGHTS, each.mean()),
        (1.0, R.NONE, each),
        (3.0, R.SUM, 3 * each.sum()),
        (3.0, R.MEAN, each.mean()),
        (3.0, R.SUM_OVER_BATCH_SIZE, 3 * each.mean()),
        (3.0, R.SUM_BY_NONZERO_WEIGHTS, 3 * each.mean()),
        (0.0, R.SUM_BY_NONZERO_WEIGHTS, 0.0),
        (weights, R.NONE, weighted),
        (weights, R.SUM, weighted.sum()),
        (weights, R.SUM_BY_NONZERO_WEIGHTS, weighted.sum() / 3),
        (weights, R.MEAN, weighted.sum() / 6),
        (weights, R.SUM_OVER_BATCH_SIZE, weighted.sum() / 6),
    ]
    losses = [function(L, P, w, reduction=r) for w, r, _ in cases]
    assert tf.losses.get_losses() == losses
    for (w, r, wanted), found in zip(cases, run(losses), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=f"{w} {r}")


def test_huber_beyond_delta():
    found = run(tf.losses.huber_loss([0.0, 0.0], [0.5, 3.0], delta=2.0))
    np.testing.assert_allclose(found, (0.125 + 2 * 3 - 2) / 2)


def test_an_empty_batch_gives_zero():
    x = tf.placeholder(tf.float32, [None, 3])
    assert run(tf.losses.mean_squared_error(x, x + 1), {x: np.zeros((0, 3))}) == 0
    assert run(tf.losses.mean_squared_error(x, x + 1), {x: np.zeros((5, 3))}) == 1


def test_integer_labels_are_cast():
    assert run(tf.losses.mean_squared_error(np.array([1, 2]), tf.constant([1.0, 4.0]))) == 2


def test_entropies_of_batches():
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, 1, 0])
    onehot = np.eye(3)[labels]
    each = -log_softmax(x)[np.arange(5), labels]
    weights = np.array([1, 0, 2, 1, 0], np.float32)
    found = run(
        [
            tf.losses.softmax_cross_entropy(onehot, x),
            tf.losses.sparse_softmax_cross_entropy(labels, x),
            tf.losses.sparse_softmax_cross_entropy(labels[:, None], x, weights[:, None]),
            tf.losses.softmax_cross_entropy(onehot, x, weights, label_smoothing=0.1),
            tf.losses.sigmoid_cross_entropy(onehot, x, label_smoothing=0.2),
        ]
    )
    smooth = -(log_softmax(x) * (onehot * 0.9 + 0.1 / 3)).sum(-1)
    soft = onehot * 0.8 + 0.1
    sigmoid = np.maximum(x, 0) - x * soft + np.log1p(np.exp(-abs(x)))
    wanted = [
        each.mean(),
        each.mean(),
        (each * weights).sum() / 3,
        (smooth * weights).sum() / 3,
        sigmoid.mean(),
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_cosine_distance_and_pairs():
    a = RNG.normal(size=(4, 3)).astype(np.float32)
    b = RNG.normal(size=(4, 3)).astype(np.float32)
    found = run(
        [tf.losses.cosine_distance(a, b, axis=1), tf.losses.mean_pairwise_squared_error(a, b)]
    )
    d = b - a
    pairs = [((d[:, i] - d[:, j]) ** 2) for i in range(3) for j in range(3) if i != j]
    np.testing.assert_allclose(found[0], 1 - (a * b).sum(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(found[1], np.mean(pairs), rtol=1e-5)


def test_total_loss():
    with pytest.raises(ValueError, match="no losses"):
        tf.losses.get_total_loss()
    tf.losses.add_loss(tf.constant(1.0))
    tf.losses.add_loss(tf.constant(2.0))
    tf.get_variable(
        "w",
        [2],
        initializer=tf.zeros_initializer(),
        regularizer=lambda w: tf.constant(4.0, name="r"),
    )
    with tf.name_scope("named"):
        tf.losses.mean_squared_error([1.0], [3.0])
    totals = [
        tf.losses.get_total_loss(),
        tf.losses.get_total_loss(add_regularization_losses=False),
        tf.losses.get_regularization_loss(),
        tf.losses.get_total_loss(scope="named"),
    ]
    assert run(totals) == [11, 7, 4, 4]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: tf.losses.mean_squared_error(np.zeros((2, 3)), np.zeros((2, 4))), "must be equal"),
        (lambda: tf.losses.mean_squared_error(L, P, weights=[1.0, 2.0]), "weights"),
        (lambda: tf.losses.mean_squared_error(L, P, reduction="mean"), "not a reduction"),
        (lambda: tf.losses.mean_squared_error(None, P), "must not be None"),
        (lambda: tf.losses.cosine_distance(L, P), "axis must be given"),
    ],
)
def test_wrong_losses(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        wrong()
