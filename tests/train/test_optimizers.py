"""Every optimizer against its formulas written in NumPy, dense and by rows."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import TypeRuleError

pytestmark = pytest.mark.usefixtures("every_backend")

RNG = np.random.default_rng(5)


# -- the formulas, one step of (variable, gradient, state) -------------------------------------


def descent(w, g, s, t):
    return w - 0.1 * g


def momentum(w, g, s, t, nesterov=False):
    s["a"] = 0.9 * s.get("a", 0) + g
    return w - 0.1 * (g + 0.9 * s["a"] if nesterov else s["a"])


def nesterov(w, g, s, t):
    return momentum(w, g, s, t, True)


def adagrad(w, g, s, t):
    s["a"] = s.get("a", np.full_like(w, 0.1)) + g * g
    return w - 0.1 * g / np.sqrt(s["a"])


def adadelta(w, g, s, t):
    s["a"] = 0.95 * s.get("a", 0) + 0.05 * g * g
    update = np.sqrt(s.get("u", 0) + 1e-8) / np.sqrt(s["a"] + 1e-8) * g
    s["u"] = 0.95 * s.get("u", 0) + 0.05 * update**2
    return w - 0.1 * update


def rmsprop(w, g, s, t, centered=False):
    s["ms"] = 0.9 * s.get("ms", np.ones_like(w)) + 0.1 * g * g
    s["mg"] = 0.9 * s.get("mg", 0) + 0.1 * g
    spread = s["ms"] - s["mg"] ** 2 if centered else s["ms"]
    s["mom"] = 0.5 * s.get("mom", 0) + 0.1 * g / np.sqrt(spread + 1e-10)
    return w - s["mom"]


def centered(w, g, s, t):
    return rmsprop(w, g, s, t, True)


def adam(w, g, s, t):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    rate = 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return w - rate * s["m"] / (np.sqrt(s["v"]) + 1e-8)


def adamw(w, g, s, t):
    return adam(w - 0.01 * w, g, s, t)


def ftrl(w, g, s, t):
    accum = s.get("n", np.full_like(w, 0.1))
    s["n"] = accum + g * g
    s["z"] = s.get("z", 0) + g + 2 * 0.3 * w - (np.sqrt(s["n"]) - np.sqrt(accum)) / 0.1 * w
    quadratic = np.sqrt(s["n"]) / 0.1 + 2 * 0.2
    return np.where(abs(s["z"]) > 0.1, (np.sign(s["z"]) * 0.1 - s["z"]) / quadratic, 0)


T = tf.train
CASES = {
    "descent": (lambda: T.GradientDescentOptimizer(0.1), descent, []),
    "momentum": (lambda: T.MomentumOptimizer(0.1, 0.9), momentum, ["w/Momentum:0"]),
    "nesterov": (
        lambda: T.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
        nesterov,
        ["w/Momentum:0"],
    ),
    "adagrad": (lambda: T.AdagradOptimizer(0.1), adagrad, ["w/Adagrad:0"]),
    "adadelta": (
        lambda: T.AdadeltaOptimizer(0.1),
        adadelta,
        ["w/Adadelta:0", "w/Adadelta_1:0"],
    ),
    "rmsprop": (
        lambda: T.RMSPropOptimizer(0.1, momentum=0.5),
        rmsprop,
        ["w/RMSProp:0", "w/RMSProp_1:0"],
    ),
    "centered": (
        lambda: T.RMSPropOptimizer(0.1, momentum=0.5, centered=True),
        centered,
        ["w/RMSProp:0", "w/RMSProp_1:0", "w/RMSProp_2:0"],
    ),
    "adam": (
        lambda: T.AdamOptimizer(0.1),
        adam,
        ["beta1_power:0", "beta2_power:0", "w/Adam:0", "w/Adam_1:0"],
    ),
    "lazy_adam": (
        lambda: T.LazyAdamOptimizer(0.1),
        adam,
        ["beta1_power:0", "beta2_power:0", "w/Adam:0", "w/Adam_1:0"],
    ),
    "adamw": (
        lambda: T.AdamWOptimizer(0.01, 0.1),
        adamw,
        ["beta1_power:0", "beta2_power:0", "w/AdamW:0", "w/AdamW_1:0"],
    ),
    "ftrl": (
        lambda: T.FtrlOptimizer(
            0.1,
            l1_regularization_strength=0.1,
            l2_regularization_strength=0.2,
            l2_shrinkage_regularization_strength=0.3,
        ),
        ftrl,
        ["w/Ftrl:0", "w/Ftrl_1:0"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_dense_updates(case):
    make, formula, slots = CASES[case]
    start = RNG.normal(size=(3, 4))
    w = tf.Variable(start, name="w")  # float64: the formula is what is tested, not its rounding
    x = tf.placeholder(tf.float64, [3, 4])
    optimizer = make()
    train = optimizer.minimize(tf.reduce_sum(w * w * x))
    assert [v.name for v in optimizer.variables()] == slots
    value, state = start, {}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(1, 6):
            feed = RNG.normal(size=(3, 4))
            value = formula(value, 2 * value * feed, state, step)
            session.run(train, {x: feed})
            np.testing.assert_allclose(session.run(w), value, rtol=1e-6, atol=1e-9)


BY_ROWS = [name for name in CASES if name not in ("adam", "adamw")]


@pytest.mark.parametrize("case", BY_ROWS)
def test_rows_used_alone_change_and_repeated_rows_add_up(case):
    make, formula, _ = CASES[case]
    start = RNG.normal(size=(6, 2))
    w = tf.Variable(start, name="w")
    rows = tf.placeholder(tf.int32, [None])
    scale = tf.placeholder(tf.float64, [None, 1])
    train = make().minimize(tf.reduce_sum(tf.gather(w, rows) * scale))
    value = start.copy()
    states = [{} for _ in range(6)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step, used in enumerate([[1, 4, 1], [4, 4, 4, 0], [5]], 1):
            factors = RNG.normal(size=(len(used), 1))
            gradient = np.zeros((6, 2))
            np.add.at(gradient, used, factors)
            for row in set(used):
                value[row] = formula(value[row], gradient[row], states[row], step)
            session.run(train, {rows: used, scale: factors})
            found = session.run(w)
            np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-9)
            np.testing.assert_array_equal(found[[2, 3]], start[[2, 3]])


@pytest.mark.parametrize("case", ["adam", "adamw"])
def test_adam_by_rows_decays_all_of_them(case):
    make, formula, _ = CASES[case]
    start = RNG.normal(size=(5, 2))
    w = tf.Variable(start, name="w")
    rows = tf.placeholder(tf.int32, [None])
    train = make().minimize(tf.reduce_sum(tf.nn.embedding_lookup(w, rows)))
    value, state = start, {}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step, used in enumerate([[1, 3, 1], [0, 0], [4]], 1):
            gradient = np.zeros((5, 2))
            np.add.at(gradient, used, 1)
            value = formula(value, gradient, state, step)
            session.run(train, {rows: used})
            np.testing.assert_allclose(session.run(w), value, rtol=1e-6, atol=1e-9)


def test_global_step_counts_after_the_update():
    w = tf.Variable(1.0)
    step = tf.train.get_or_create_global_step()
    train = T.GradientDescentOptimizer(0.5).minimize(w * w, global_step=step)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train)
        assert tf.train.global_step(session, step) == 3
        assert session.run(w) == 0.0
    assert train in tf.get_collection(tf.GraphKeys.TRAIN_OP)
    assert train.name == "GradientDescent"


@pytest.mark.parametrize("kind", ["number", "tensor", "callable", "schedule"])
def test_learning_rates(kind):
    w = tf.Variable([8.0])
    step = tf.train.get_or_create_global_step()
    feed = tf.placeholder_with_default(0.5, [])
    rate = {
        "number": 0.5,
        "tensor": feed,
        "callable": lambda: 0.5,
        "schedule": T.exponential_decay(0.5, step, 1, 0.5),
    }[kind]
    train = T.GradientDescentOptimizer(rate).minimize(tf.reduce_sum(w), global_step=step)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        session.run(train)
        np.testing.assert_allclose(session.run(w), [7.25 if kind == "schedule" else 7.0])


def test_pairs_can_be_changed_between_computing_and_applying():
    a, b = tf.Variable([3.0, 4.0], name="a"), tf.Variable(1.0, name="b")
    unused = tf.Variable(5.0, name="unused")
    optimizer = T.GradientDescentOptimizer(1.0)
    pairs = optimizer.compute_gradients(tf.reduce_sum(a * a) / 2 + b)
    assert [v for _, v in pairs] == [a, b, unused]
    assert pairs[2][0] is None
    clipped, norm = tf.clip_by_global_norm([g for g, _ in pairs], 1.0)
    train = optimizer.apply_gradients(zip(clipped, [v for _, v in pairs], strict=True))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before, _ = session.run([norm, train])
        np.testing.assert_allclose(before, np.sqrt(26), rtol=1e-6)
        values = session.run([a, b, unused])
    np.testing.assert_allclose(values[0], np.array([3, 4]) * (1 - 1 / np.sqrt(26)), rtol=1e-6)
    np.testing.assert_allclose(values[1], 1 - 1 / np.sqrt(26), rtol=1e-6)
    assert values[2] == 5


def test_var_list_and_grad_loss():
    a, b = tf.Variable(1.0), tf.Variable(1.0)
    train = T.GradientDescentOptimizer(1.0).minimize(a * b, var_list=[b], grad_loss=3.0)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        assert session.run([a, b]) == [1.0, -2.0]


def test_constraints_are_applied_after_the_update():
    w = tf.get_variable(
        "w",
        initializer=[1.0, -1.0],
        constraint=lambda v: tf.maximum(v, 0.0),
    )
    train = T.MomentumOptimizer(1.0, 0.9).minimize(tf.reduce_sum(w))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        np.testing.assert_array_equal(session.run(w), [0, 0])


@pytest.mark.parametrize("name", ["Momentum", "Adam", "Adagrad", "RMSProp", "Ftrl"])
def test_slots_begin_without_what_the_step_waits_for(name):
    """Else initialising them would run the network, as `minimize` waits for UPDATE_OPS."""
    x = tf.placeholder(tf.float32, [], name="x")
    w = tf.Variable(1.0)
    average = tf.Variable(0.0, trainable=False)
    more = (0.9,) if name == "Momentum" else ()
    optimizer = getattr(tf.train, f"{name}Optimizer")(0.1, *more)
    with tf.control_dependencies([average.assign(x)]):
        train = optimizer.minimize(w * w * x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train, {x: 3.0})
        assert session.run(average) == 3.0


def test_slots():
    w = tf.Variable(tf.ones([2]), name="w")
    optimizer = T.AdamOptimizer()
    optimizer.minimize(tf.reduce_sum(w * w))
    assert optimizer.get_slot_names() == ["m", "v"]
    assert optimizer.get_slot(w, "m").name == "w/Adam:0"
    assert optimizer.get_slot(w, "v").name == "w/Adam_1:0"
    assert optimizer.get_slot(w, "other") is None
    assert tf.trainable_variables() == [w]
    # A second one of the same kind keeps slots of its own.
    other = T.AdamOptimizer()
    other.minimize(tf.reduce_sum(w))
    assert other.get_slot(w, "m").name == "w/Adam_2:0"


def test_slots_in_a_variable_scope_that_reuses():
    with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
        w = tf.get_variable("w", [2])
        optimizer = T.MomentumOptimizer(0.1, 0.9)
        optimizer.minimize(tf.reduce_sum(w))
    assert optimizer.get_slot(w, "momentum").name == "model/model/w/Momentum:0"


def test_decay_var_list():
    a, b = tf.Variable(1.0), tf.Variable(1.0)
    x = tf.placeholder(tf.float32, [])
    optimizer = T.AdamWOptimizer(0.5, learning_rate=0.0)
    train = optimizer.minimize((a + b) * x, decay_var_list=[a])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train, {x: 1.0})
        assert session.run([a, b]) == [0.5, 1.0]


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (lambda o, w: o.minimize(tf.constant(1.0)), ValueError, "no gradients provided"),
        (lambda o, w: o.minimize(w * 1.0, var_list=[]), ValueError, "no variables to optimize"),
        (lambda o, w: o.minimize(lambda: w), TypeError, "not a function"),
        (lambda o, w: o.minimize(tf.constant(1)), TypeRuleError, "floating-point"),
        (lambda o, w: o.minimize(w * 1.0, var_list=["w"]), TypeError, "not a variable"),
        (lambda o, w: o.apply_gradients([]), ValueError, "no variables provided"),
        (lambda o, w: o.apply_gradients([(None, w)]), ValueError, "no gradients provided.*w:0"),
        (lambda o, w: o.apply_gradients([(1.0, w)]), TypeError, "must be a tensor"),
        (lambda o, w: T.AdagradOptimizer(0.1, 0.0), ValueError, "must be positive"),
        (lambda o, w: T.FtrlOptimizer(0.1, 0.5), ValueError, "must not be negative"),
        (lambda o, w: T.GradientDescentOptimizer(0.1, name=""), ValueError, "must have a name"),
    ],
)
def test_wrong_calls(wrong, error, message):
    w = tf.Variable(1.0, name="w")
    with pytest.raises(error, match=message):
        wrong(T.GradientDescentOptimizer(0.1), w)
