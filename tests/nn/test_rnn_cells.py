"""Recurrent cells against NumPy, their variables' names, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from recurrences import check_slopes, gru_step, lstm_step, randomize, rnn_step, weights_of

import graphflow as tf
from graphflow.errors import GraphError

cells = tf.nn.rnn_cell
RNG = np.random.default_rng(17)
BATCH, DEPTH, UNITS = 3, 4, 5
X = RNG.normal(size=(BATCH, DEPTH))
STATES = [RNG.normal(size=(BATCH, UNITS)) for _ in range(2)]


def names(scope=""):
    return [v.name for v in tf.global_variables() if v.name.startswith(scope)]


def clipped_lstm(w, x, state):
    return lstm_step(w, x, state, forget_bias=0.3, cell_clip=0.4, proj_clip=0.2)


CASES: dict[str, tuple[Callable, Callable, list]] = {
    "basic_rnn_cell": (
        lambda: cells.BasicRNNCell(UNITS),
        rnn_step,
        [("kernel", [9, 5]), ("bias", [5])],
    ),
    "gru_cell": (
        lambda: cells.GRUCell(UNITS),
        gru_step,
        [
            ("gates/kernel", [9, 10]), ("gates/bias", [10]),
            ("candidate/kernel", [9, 5]), ("candidate/bias", [5]),
        ],
    ),
    "basic_lstm_cell": (
        lambda: cells.BasicLSTMCell(UNITS),
        lstm_step,
        [("kernel", [9, 20]), ("bias", [20])],
    ),
    "lstm_cell": (
        lambda: cells.LSTMCell(UNITS, use_peepholes=True),
        lstm_step,
        [
            ("kernel", [9, 20]), ("bias", [20]),
            ("w_f_diag", [5]), ("w_i_diag", [5]), ("w_o_diag", [5]),
        ],
    ),
    "projected": (
        lambda: cells.LSTMCell(
            UNITS, cell_clip=0.4, num_proj=2, proj_clip=0.2, forget_bias=0.3, name="projected"
        ),
        clipped_lstm,
        [("kernel", [6, 20]), ("bias", [20]), ("projection/kernel", [5, 2])],
    ),
}  # fmt: skip


def fed_state(cell, dtype):
    """A state of arrays for a cell, and the nest of placeholders that it is fed to."""
    arrays, made = iter([STATES[0], STATES[1]]), {}

    def place(size):
        tensor = tf.placeholder(dtype, [None, size])
        made[tensor] = next(arrays)[:, :size]
        return tensor

    return tf.nest.map_structure(place, cell.state_size), made


@pytest.mark.parametrize("name", CASES)
def test_one_step(name, every_backend):
    make, step, variables = CASES[name]
    cell = make()
    x = tf.placeholder(tf.float32, [None, DEPTH])
    state, feeds = fed_state(cell, tf.float32)
    output, new_state = cell(x, state)
    assert names() == [f"{name}/{v}:0" for v, _ in variables]
    assert [v.shape.as_list() for v in cell.weights] == [shape for _, shape in variables]
    assert cell.trainable_variables == cell.variables == tf.trainable_variables()
    assert output.shape.as_list() == [None, cell.output_size]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        randomize(session)
        found = session.run([output, new_state], {x: X, **feeds})
        weights = weights_of(cell, session)
    given = [a.astype(np.float32) for a in feeds.values()]
    wanted = step(weights, X.astype(np.float32), given[0] if len(given) == 1 else tuple(given))
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_three_steps(name):
    cell = CASES[name][0]()
    x = tf.Variable(X)
    state = cell.zero_state(BATCH, tf.float64)
    loss = tf.constant(0.0, tf.float64)
    for step in range(3):
        output, state = cell(x * (step + 1.0), state)
        loss += tf.reduce_sum(tf.sin(output) * RNG.uniform(0.5, 1.5, (BATCH, cell.output_size)))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        randomize(session)
        check_slopes(session, loss, tf.trainable_variables())
        # Second order: the slopes of a sum of squared slopes.
        first = tf.gradients(loss, tf.trainable_variables())
        squares = sum(tf.reduce_sum(g * g) for g in first)
        check_slopes(session, squares, tf.trainable_variables(), tolerance=1e-5)


def test_biases_begin_as_in_tensorflow():
    x = tf.zeros([1, 2])
    for cell in (cells.GRUCell(3), cells.LSTMCell(3, use_peepholes=True), cells.BasicRNNCell(3)):
        cell(x, cell.zero_state(1, tf.float32))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = {v.name: session.run(v) for v in tf.global_variables() if "bias" in v.name}
    assert found["gru_cell/gates/bias:0"].tolist() == [1.0] * 6
    assert found["gru_cell/candidate/bias:0"].tolist() == [0.0] * 3
    assert found["lstm_cell/bias:0"].tolist() == [0.0] * 12
    assert found["basic_rnn_cell/bias:0"].tolist() == [0.0] * 3


def test_initializers_and_activations():
    ones = tf.ones_initializer()
    x, h = tf.constant(X), tf.constant(STATES[0])
    lstm = cells.LSTMCell(
        UNITS, use_peepholes=True, num_proj=UNITS, initializer=ones, activation="softsign"
    )
    gru = cells.GRUCell(
        UNITS, activation=tf.nn.relu, kernel_initializer=ones, bias_initializer=ones
    )
    lstm(x, (h, h))
    made = lstm.weights
    (y, _) = gru(x, h)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for v in [*made, *gru.weights]:
            wanted = 0 if v.name == "lstm_cell/bias:0" else 1
            assert (session.run(v) == wanted).all(), v.name
        gate = 1 / (1 + np.exp(-(X.sum(1) + STATES[0].sum(1) + 1)))[:, None]
        candidate = np.maximum(X.sum(1) + (gate * STATES[0]).sum(1) + 1, 0)[:, None]
        wanted = gate * STATES[0] + (1 - gate) * candidate
        np.testing.assert_allclose(session.run(y), wanted, rtol=1e-6, atol=1e-6)


# -- variables and scopes -------------------------------------------------------------------------


def test_a_cell_shares_its_variables_with_itself():
    cell = cells.BasicRNNCell(UNITS)
    x, h = tf.constant(X), tf.constant(STATES[0])
    with tf.variable_scope("first"):
        a, _ = cell(x, h)
    with tf.variable_scope("second"):
        b, _ = cell(x, h)
    assert names() == ["first/basic_rnn_cell/kernel:0", "first/basic_rnn_cell/bias:0"]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        a, b = session.run([a, b])
    assert (a == b).all()


def test_reuse_and_names():
    x, h = tf.constant(X), tf.constant(STATES[0])
    cells.BasicRNNCell(UNITS)(x, h)
    cells.BasicRNNCell(UNITS)(x, h)
    cells.BasicRNNCell(UNITS, name="own")(x, h)
    cells.BasicRNNCell(UNITS, name="own", reuse=True)(x, h)
    cells.GRUCell(UNITS)(x, h, scope="given")
    with tf.variable_scope("given", reuse=True) as scope:
        cells.GRUCell(UNITS)(x, h, scope=scope)
    with tf.variable_scope("auto", reuse=tf.AUTO_REUSE):
        cells.BasicRNNCell(UNITS, name="cell")(x, h)
    with tf.variable_scope("auto", reuse=tf.AUTO_REUSE):
        cells.BasicRNNCell(UNITS, name="cell")(x, h)
    assert [n.rsplit("/", 1)[0] for n in names() if n.endswith("kernel:0")] == [
        "basic_rnn_cell", "basic_rnn_cell_1", "own", "given/gates", "given/candidate", "auto/cell",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="own/kernel already exists"):
        cells.BasicRNNCell(UNITS, name="own")(x, h)


class Counter(cells.RNNCell):
    """A cell as users write them: with get_variable and layers in `call`, and a nested state."""

    state_size = {"sum": UNITS, "count": tf.TensorShape([])}
    output_size = 2

    def call(self, inputs, state):
        w = tf.get_variable("w", [DEPTH, UNITS], self.dtype)
        total = state["sum"] + tf.matmul(inputs, w)
        output = tf.layers.dense(total, 2, name="out")
        return output, {"sum": total, "count": state["count"] + 1.0}


def test_a_cell_of_ones_own():
    cell = Counter()
    state = cell.zero_state(BATCH, tf.float32)
    assert state["count"].shape.as_list() == [BATCH]
    outputs, state = tf.nn.static_rnn(cell, [tf.constant(X, tf.float32)] * 3, dtype=tf.float32)
    assert names() == ["rnn/counter/w:0", "rnn/counter/out/kernel:0", "rnn/counter/out/bias:0"]
    assert [v.name for v in cell.trainable_weights] == names()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        outputs, state, w = session.run([outputs, state, cell.weights[0]])
    np.testing.assert_allclose(state["sum"], 3 * X @ w, rtol=1e-5, atol=1e-5)
    assert state["count"].tolist() == [3.0] * BATCH


def test_zero_states():
    x = tf.placeholder(tf.float32, [None, DEPTH])
    cell = cells.MultiRNNCell([cells.LSTMCell(2, num_proj=1), cells.GRUCell(3)])
    assert cell.state_size == (cells.LSTMStateTuple(2, 1), 3)
    state = cell.zero_state(tf.shape(x)[0], tf.float64)
    assert isinstance(state[0], cells.LSTMStateTuple)
    other = cell.get_initial_state(x)
    with tf.Session() as session:
        found, of_inputs = session.run([state, other], {x: X})
    assert [a.shape for a in tf.nest.flatten(found)] == [(3, 2), (3, 1), (3, 3)]
    assert {a.dtype.name for a in tf.nest.flatten(found)} == {"float64"}
    assert {a.dtype.name for a in tf.nest.flatten(of_inputs)} == {"float32"}
    assert not any(a.any() for a in tf.nest.flatten(found))


# -- cells of cells -------------------------------------------------------------------------------


@pytest.mark.parametrize("as_tuple", [True, False])
def test_stacked(as_tuple, every_backend):
    make = [
        lambda: cells.LSTMCell(3, num_proj=2, state_is_tuple=as_tuple),
        lambda: cells.GRUCell(4),
        lambda: cells.BasicRNNCell(2),
    ]
    inner = [build() for build in make]
    cell = cells.MultiRNNCell(inner, state_is_tuple=as_tuple)
    assert cell.output_size == 2
    x = tf.constant(X, tf.float32)
    state = tf.nest.map_structure(tf.ones_like, cell.zero_state(BATCH, tf.float32))
    output, new_state = cell(x, state)
    assert [n.rsplit("/", 1)[0] for n in names() if n.endswith("bias:0")] == [
        "multi_rnn_cell/cell_0/lstm_cell", "multi_rnn_cell/cell_1/gru_cell/gates",
        "multi_rnn_cell/cell_1/gru_cell/candidate", "multi_rnn_cell/cell_2/basic_rnn_cell",
    ]  # fmt: skip
    assert cell.weights == [v for part in inner for v in part.weights]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        output, new_state = session.run([output, new_state])
        w = [weights_of(part, session) for part in inner]
    ones = np.ones((BATCH, 4), np.float32)
    y, s0 = lstm_step(w[0], X, (ones[:, :3], ones[:, :2]))
    y, s1 = gru_step(w[1], y, ones)
    y, s2 = rnn_step(w[2], y, ones[:, :2])
    np.testing.assert_allclose(output, y, rtol=2e-6, atol=2e-6)
    found = np.concatenate(tf.nest.flatten(new_state), 1)
    np.testing.assert_allclose(found, np.concatenate([*s0, s1, s2], 1), rtol=2e-6, atol=2e-6)


def test_a_state_that_is_no_tuple():
    cell = cells.LSTMCell(UNITS, num_proj=2, state_is_tuple=False)
    assert cell.state_size == UNITS + 2
    state = np.concatenate([STATES[0], STATES[1][:, :2]], 1)
    output, new_state = cell(tf.constant(X), tf.constant(state))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        output, new_state = session.run([output, new_state])
        wanted, (c, h) = lstm_step(weights_of(cell, session), X, (STATES[0], STATES[1][:, :2]))
    np.testing.assert_allclose(output, wanted, rtol=1e-9)
    np.testing.assert_allclose(new_state, np.concatenate([c, h], 1), rtol=1e-9)


def test_residual():
    inner = cells.BasicRNNCell(DEPTH)
    cell = cells.ResidualWrapper(inner)
    weighted = cells.ResidualWrapper(inner, residual_fn=lambda i, o: 2 * i - o)
    x, h = tf.constant(X), tf.constant(STATES[0][:, :DEPTH])
    fetches = [cell(x, h), weighted(x, h), inner(x, h)]
    assert cell.weights == inner.weights and len(cell.weights) == 2
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        (y, s), (z, _), (plain, state) = session.run(fetches)
    np.testing.assert_allclose(y, X + plain)
    np.testing.assert_allclose(z, 2 * X - plain)
    np.testing.assert_allclose(s, state)
    assert names() == ["basic_rnn_cell/kernel:0", "basic_rnn_cell/bias:0"]


def test_device():
    cell = cells.DeviceWrapper(cells.BasicRNNCell(UNITS), "/cpu:0")
    cell(tf.constant(X), tf.constant(STATES[0]))
    assert names() == ["basic_rnn_cell/kernel:0", "basic_rnn_cell/bias:0"]


# -- the inputs of all steps at once --------------------------------------------------------------

SEQUENCE = RNG.normal(size=(3, BATCH, DEPTH))
PROJECTING = {
    **{name: make for name, (make, _, _) in CASES.items()},
    "stacked": lambda: cells.MultiRNNCell([cells.GRUCell(3), cells.LSTMCell(2), Counting(1)]),
    "joined": lambda: cells.MultiRNNCell([cells.GRUCell(3)] * 1, state_is_tuple=False),
    "residual": lambda: cells.ResidualWrapper(cells.LSTMCell(DEPTH)),
    "dropped": lambda: cells.DropoutWrapper(
        cells.ResidualWrapper(cells.BasicRNNCell(DEPTH)), 0.5, 0.5, 0.5,
        variational_recurrent=True, input_size=DEPTH, dtype=tf.float64,
    ),
}  # fmt: skip


class Counting(cells.BasicRNNCell):
    """Has a step of its own, so that its inputs cannot be projected."""

    def call(self, inputs, state):
        output, state = super().call(inputs, state)
        return 2 * output, state


@pytest.mark.parametrize("name", PROJECTING)
def test_inputs_of_all_steps_at_once(name):
    with tf.variable_scope("one"):
        cell = PROJECTING[name]()
        start = cell.zero_state(BATCH, tf.float64)
        projected = cell.project_inputs(tf.constant(SEQUENCE))
        steps, state = [], start
        for t in range(3):
            part = tf.nest.map_structure(lambda x, t=t: x[t], projected)
            output, state = cell.advance(part, state)
            steps.append(output)
    wanted, last = [], start
    for x in SEQUENCE:
        output, last = cell(tf.constant(x), last)
        wanted.append(output)
    made = [n.removeprefix("one/") for n in names()]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found, wanted = session.run([(steps, state), (wanted, last)])
    for a, b in zip(*map(tf.nest.flatten, (found, wanted)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    tf.reset_default_graph()
    other = PROJECTING[name]()
    other(tf.constant(X), other.zero_state(BATCH, tf.float64))
    assert made == names()  # as the cell makes them when it is called


@pytest.mark.parametrize("kind", [cells.BasicRNNCell, cells.GRUCell, cells.LSTMCell])
def test_inputs_side_by_side(kind):
    cell, x = kind(4), tf.constant(SEQUENCE)
    depth = SEQUENCE.shape[-1]
    first, rest = (
        cell.project_part(part, at, depth) for part, at in ((x[..., :1], 0), (x[..., 1:], 1))
    )
    total = tf.nest.map_structure(tf.add, first, rest)
    with tf.Session() as session:
        randomize(session)
        found, wanted = session.run([total, cell.project_inputs(x)])
    for a, b in zip(*map(tf.nest.flatten, (found, wanted)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    with pytest.raises(GraphError, match="are no part of inputs"):
        cell.project_part(x, 1, depth)
    assert Counting(5).project_part(x, 0, depth) is None


def test_cells_without_such_a_part():
    x = tf.constant(SEQUENCE)
    cell = Counting(5)
    assert cell.project_inputs(x) is None
    assert cells.MultiRNNCell([cell]).project_inputs(x) is None
    assert cells.ResidualWrapper(cells.DropoutWrapper(cell, 0.5)).project_inputs(x) is None
    assert Counter().project_inputs(x) is None
    with pytest.raises(NotImplementedError, match="Counter does not project its inputs"):
        Counter().advance(x, None)
    with pytest.raises(GraphError, match=r"gru_cell: the inputs .* float64\[3\]"):
        cells.GRUCell(2).project_inputs(tf.constant([1.0, 2, 3], tf.float64))


# -- dropout --------------------------------------------------------------------------------------


class Passing(cells.RNNCell):
    """Hands its inputs on as outputs and its state as it is."""

    output_size = 400
    state_size = (cells.LSTMStateTuple(400, 400), 400)

    def call(self, inputs, state):
        return inputs, state


ONES = np.ones((6, 400), np.float32)
ONE_STATE = (cells.LSTMStateTuple(ONES, ONES), ONES)


def dropped(steps=2, runs=1, **arguments):
    """The outputs and states of steps with ones for inputs and states."""
    cell = cells.DropoutWrapper(Passing(), **arguments)
    state = tf.nest.map_structure(tf.constant, ONE_STATE)
    found = [cell(tf.constant(ONES), state) for _ in range(steps)]
    with tf.Session() as session:
        results = [session.run(found) for _ in range(runs)]
    return results if runs > 1 else results[0]


def share(array, keep):
    """Checks that elements are 0 or 1 / keep, the latter with probability `keep`."""
    kept = array != 0
    np.testing.assert_allclose(array[kept], 1 / keep, rtol=1e-6)
    assert abs(kept.mean() - keep) < 6 * np.sqrt(keep * (1 - keep) / array.size)


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_what_is_dropped(keep):
    (output, state), (other, _) = dropped(output_keep_prob=keep)
    share(output, keep)
    assert (output != other).any()
    assert all((part == 1).all() for part in tf.nest.flatten(state))
    (output, (lstm, plain)), _ = dropped(state_keep_prob=keep)
    assert (output == 1).all() and (lstm.c == 1).all()
    share(lstm.h, keep)
    share(plain, keep)
    assert (lstm.h != plain).any()
    (output, _), _ = dropped(input_keep_prob=keep, output_keep_prob=keep)
    assert abs((output != 0).mean() - keep**2) < 0.1


def test_choice_of_state():
    def only_memories(part):
        if isinstance(part, cells.LSTMStateTuple):
            return cells.LSTMStateTuple(c=True, h=False)
        return (True, False) if isinstance(part, tuple) else True

    (_, (lstm, plain)), _ = dropped(state_keep_prob=0.5, dropout_state_filter_visitor=only_memories)
    share(lstm.c, 0.5)
    assert (lstm.h == 1).all() and (plain == 1).all()


def test_variational_masks_are_those_of_a_run():
    runs = dropped(
        runs=2, variational_recurrent=True, dtype=tf.float32, input_size=400,
        input_keep_prob=0.5, output_keep_prob=0.8, state_keep_prob=0.5,
    )  # fmt: skip
    for (output, (lstm, plain)), (other, (lstm_other, _)) in runs:
        assert (output == other).all() and (lstm.h == lstm_other.h).all()
        assert (output == output[0]).all() and (plain == plain[0]).all()
        assert abs((output[0] != 0).mean() - 0.4) < 0.15
        np.testing.assert_allclose(output[output != 0], 1 / 0.4, rtol=1e-6)
        assert (lstm.h != plain).any()
    assert (runs[0][0][0] != runs[1][0][0]).any()


def test_seeds_and_probabilities_that_are_tensors():
    keep = tf.placeholder_with_default(0.5, [])
    one = dropped(output_keep_prob=keep, seed=7)
    tf.reset_default_graph()
    two = dropped(output_keep_prob=0.5, seed=7)
    assert (one[0][0] == two[0][0]).all() and (one[1][0] == two[1][0]).all()
    assert (one[0][0] != one[1][0]).any()


def test_gradients_through_dropout():
    cell = cells.DropoutWrapper(
        cells.LSTMCell(4), 0.7, 0.7, 0.7, variational_recurrent=True, input_size=DEPTH,
        dtype=tf.float64, seed=3,
    )  # fmt: skip
    outputs, _ = tf.nn.static_rnn(cell, [tf.constant(X)] * 3, dtype=tf.float64)
    total = sum(tf.reduce_sum(tf.sin(y)) for y in outputs)
    noise = [t for parts in cell._noise.values() for t in parts]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        fixed = dict(zip(noise, session.run(noise), strict=True))  # differences need one mask
        check_slopes(session, total, tf.trainable_variables(), fixed)


# -- what is refused ------------------------------------------------------------------------------

x, y = X.astype(np.float32), STATES[0].astype(np.float32)


def wide():
    return tf.placeholder(tf.float32, [None, None])


WRONG: list[tuple[Callable, list[str]]] = [
    (lambda: cells.BasicRNNCell(0), ["basic_rnn_cell", "num_units must be a positive", "got 0"]),
    (lambda: cells.GRUCell(2.5), ["gru_cell", "num_units must be a positive integer"]),
    (lambda: cells.LSTMCell(3, num_proj=-1), ["lstm_cell", "num_proj", "got -1"]),
    (lambda: cells.LSTMCell(3, cell_clip=-1.0), ["cell_clip", "not negative", "-1.0"]),
    (lambda: cells.BasicRNNCell(5)(tf.constant(x[0]), y), ["basic_rnn_cell", "[batch, depth]"]),
    (lambda: cells.BasicRNNCell(5)(wide(), y), ["known depth"]),
    (
        lambda: cells.BasicRNNCell(5)(tf.constant(x), y[:2]),
        ["the state", "float32[2,5]", "float32[3,4]", "must be [3,5]"],
    ),
    (lambda: cells.BasicRNNCell(5)(tf.constant(x), y[:, :4]), ["must be [3,5]"]),
    (lambda: cells.BasicRNNCell(5)(tf.constant(x), (y, y)), ["structure .", "got (., .)"]),
    (
        lambda: cells.LSTMCell(5)(tf.constant(x), y),
        ["lstm_cell", "LSTMStateTuple(c=., h=.)", "got ."],
    ),
    (lambda: cells.LSTMCell(5)(tf.constant(x), (y, y, y)), ["got (., ., .)"]),
    (
        lambda: cells.GRUCell(5)(tf.constant(x), tf.constant(y, tf.float64)),
        ["gru_cell: the state", "float32 tensor is needed", "float64"],
    ),
    (
        lambda: cells.MultiRNNCell([cells.GRUCell(5), cells.GRUCell(5)])(tf.constant(x), [y]),
        ["multi_rnn_cell", "each of 2 cells", "[.]"],
    ),
    (lambda: cells.GRUCell(5).zero_state(-1, tf.float32), ["batch_size must not be negative"]),
    (
        lambda: cells.ResidualWrapper(cells.GRUCell(5))(tf.constant(x), y),
        ["residual_wrapper", "float32[3,4]", "float32[3,5]", "must be equal"],
    ),
    (lambda: cells.DropoutWrapper(cells.GRUCell(5), 0.0), ["input_keep_prob", "(0, 1]", "0.0"]),
    (lambda: cells.DropoutWrapper(cells.GRUCell(5), tf.zeros([2])), ["float scalar", "[2]"]),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_wrong_uses_name_the_line(wrong, words):
    with pytest.raises((GraphError, ValueError)) as caught:
        wrong()
    for word in [*words, "test_rnn_cells.py"]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: cells.MultiRNNCell([]), ValueError, "at least one is needed"),
        (lambda: cells.MultiRNNCell(cells.GRUCell(2)), TypeError, "must be a list or tuple"),
        (lambda: cells.MultiRNNCell([3]), TypeError, r"cells\[0\] must be an RNNCell, but 3 lacks"),
        (
            lambda: cells.MultiRNNCell([cells.LSTMCell(2)], state_is_tuple=False),
            ValueError,
            "are nested; use state_is_tuple=True",
        ),
        (lambda: cells.ResidualWrapper(len), TypeError, "lacks output_size, state_size"),
        (
            lambda: cells.DropoutWrapper(cells.GRUCell(2), 0.5, variational_recurrent=True),
            ValueError,
            "needs dtype",
        ),
        (
            lambda: cells.DropoutWrapper(
                cells.GRUCell(2), 0.5, variational_recurrent=True, dtype=tf.float32
            ),
            ValueError,
            "needs input_size",
        ),
        (lambda: cells.GRUCell(2, activation="round?"), ValueError, "activation must be"),
        (lambda: cells.GRUCell(2).get_initial_state(), ValueError, "give inputs, or batch_size"),
        (lambda: cells.RNNCell().state_size, NotImplementedError, "RNNCell has no state_size"),
    ],
)
def test_wrong_arguments(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()
