"""Learning-rate schedules and moving averages against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import TypeRuleError

pytestmark = pytest.mark.usefixtures("every_backend")

STEPS = [0, 1, 5, 9, 10, 11, 25, 40]
T = tf.train


def polynomial(t):
    return (0.5 - 0.1) * (1 - min(t, 10) / 10) ** 2 + 0.1


def cycled(t):
    steps = 10 * (1 if t == 0 else math.ceil(t / 10))
    return (0.5 - 0.1) * (1 - t / steps) ** 2 + 0.1


def restarts(t):
    start, length, height = 0, 10, 1.0
    while t >= start + length:
        start, length, height = start + length, length * 2, height * 0.5
    c = 0.5 * height * (1 + math.cos(math.pi * (t - start) / length))
    return 0.5 * (0.9 * c + 0.1)


def linear_cosine(t):
    f = min(t, 10) / 10
    return 0.5 * ((0.2 + 1 - f) * 0.5 * (1 + math.cos(2 * math.pi * 0.5 * f)) + 0.001)


CASES = {
    "exponential": (
        lambda s: T.exponential_decay(0.5, s, 10, 0.9),
        lambda t: 0.5 * 0.9 ** (t / 10),
    ),
    "staircase": (
        lambda s: T.exponential_decay(0.5, s, 10, 0.9, staircase=True),
        lambda t: 0.5 * 0.9 ** (t // 10),
    ),
    "natural": (
        lambda s: T.natural_exp_decay(0.5, s, 10, 0.9),
        lambda t: 0.5 * math.exp(-0.9 * t / 10),
    ),
    "inverse": (
        lambda s: T.inverse_time_decay(0.5, s, 10, 0.9, staircase=True),
        lambda t: 0.5 / (1 + 0.9 * (t // 10)),
    ),
    "polynomial": (lambda s: T.polynomial_decay(0.5, s, 10, 0.1, power=2.0), polynomial),
    "cycled": (lambda s: T.polynomial_decay(0.5, s, 10, 0.1, power=2.0, cycle=True), cycled),
    "cosine": (
        lambda s: T.cosine_decay(0.5, s, 10, alpha=0.1),
        lambda t: 0.5 * (0.9 * 0.5 * (1 + math.cos(math.pi * min(t, 10) / 10)) + 0.1),
    ),
    "restarts": (
        lambda s: T.cosine_decay_restarts(0.5, s, 10, m_mul=0.5, alpha=0.1),
        restarts,
    ),
    "linear cosine": (lambda s: T.linear_cosine_decay(0.5, s, 10, alpha=0.2), linear_cosine),
    "piecewise": (
        lambda s: T.piecewise_constant(s, [5, 10], [3.0, 2.0, 1.0]),
        lambda t: 3.0 if t <= 5 else 2.0 if t <= 10 else 1.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_schedules(case):
    make, formula = CASES[case]
    step = tf.train.get_or_create_global_step()
    rate = make(step)
    assert rate.dtype == tf.float32
    with tf.Session() as session:
        for t in STEPS:
            step.load(t, session)
            np.testing.assert_allclose(session.run(rate), formula(t), rtol=2e-5, atol=1e-7)


def test_wrong_schedules():
    with pytest.raises(ValueError, match="global_step is required"):
        T.exponential_decay(0.1, None, 10, 0.9)
    with pytest.raises(ValueError, match="one fewer"):
        T.piecewise_constant(tf.constant(1), [1, 2], [1.0, 2.0])


def test_moving_average_of_a_variable():
    w = tf.Variable(10.0, name="w")
    average = T.ExponentialMovingAverage(0.9)
    update = average.apply([w])
    assert average.average(w).name == "w/ExponentialMovingAverage:0"
    assert average.average_name(w) == "w/ExponentialMovingAverage"
    assert tf.moving_average_variables() == [w]
    assert average.variables_to_restore() == {"w/ExponentialMovingAverage": w}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        value = 10.0
        for new in (20.0, 0.0, 5.0):
            w.load(new, session)
            session.run(update)
            value = 0.9 * value + 0.1 * new
            np.testing.assert_allclose(session.run(average.average(w)), value, rtol=1e-6)
    with pytest.raises(ValueError, match="already computed"):
        average.apply([w])
    with pytest.raises(TypeRuleError, match="only floats"):
        average.apply([tf.Variable(1)])


def test_decay_by_number_of_updates():
    w, count = tf.Variable(1.0), tf.Variable(0, trainable=False)
    average = T.ExponentialMovingAverage(0.99, num_updates=count)
    update = average.apply()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        w.load(2.0, session)
        count.load(4, session)
        session.run(update)  # decay 5 / 14
        np.testing.assert_allclose(session.run(average.average(w)), 5 / 14 + 2 * 9 / 14, rtol=1e-6)


@pytest.mark.parametrize("debias", [False, True])
def test_moving_average_of_a_tensor(debias):
    x = tf.placeholder(tf.float32, [], name="x")
    average = T.ExponentialMovingAverage(0.5, zero_debias=debias)
    update = average.apply([x])
    value = 0.0
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step, new in enumerate([4.0, 2.0, 6.0], 1):
            session.run(update, {x: new})
            value = 0.5 * value + 0.5 * new
            wanted = value / (1 - 0.5**step) if debias else value
            np.testing.assert_allclose(session.run(average.average(x)), wanted, rtol=1e-6)
