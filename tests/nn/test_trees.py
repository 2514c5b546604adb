"""Tree-LSTMs and SPINN against lists of stacks in NumPy; gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import InvalidArgumentError, OutOfRangeError, TypeRuleError
from graphflow.models.spinn import REDUCE, SHIFT, SKIP
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.pipeline import PassOptions, run_graph_passes

UNITS, DEPTH, TRACKER = 4, 3, 2
# Sentences of 3, 1, 4 and 2 words.
PROGRAMS = np.array(
    [
        [SHIFT, SHIFT, REDUCE, SHIFT, REDUCE, SKIP, SKIP],
        [SHIFT, SKIP, SKIP, SKIP, SKIP, SKIP, SKIP],
        [SHIFT, SHIFT, SHIFT, REDUCE, SHIFT, REDUCE, REDUCE],
        [SHIFT, SHIFT, REDUCE, SKIP, SKIP, SKIP, SKIP],
    ],
    np.int32,
)
LENGTHS = np.array([3, 1, 4, 2], np.int32)


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def tree_lstm(weights, children, inputs=None, forget_bias=1.0):
    """(c, h) of one node."""
    heads = [h for _, h in children] + ([] if inputs is None else [inputs])
    gates = np.concatenate(heads) @ weights["kernel"] + weights["bias"]
    i, *forget, o, u = np.split(gates, 3 + len(children))
    c = sigmoid(i) * np.tanh(u)
    for gate, (memory, _) in zip(forget, children, strict=True):
        c = c + sigmoid(gate + forget_bias) * memory
    return c, sigmoid(o) * np.tanh(c)


def lstm(weights, x, state):
    c, h = state
    i, j, f, o = np.split(np.concatenate([x, h]) @ weights["kernel"] + weights["bias"], 4)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
    return c, sigmoid(o) * np.tanh(c)


def read(weights, words, program, tracker=TRACKER, room=None):
    """One sentence with a stack that is a list: (h, c), logits, transitions. A program that is None
    is predicted."""
    rows = words @ weights["words"]["kernel"] + weights["words"]["bias"]
    waiting = [(row[UNITS:], row[:UNITS]) for row in rows]
    nothing = (np.zeros(UNITS), np.zeros(UNITS))
    stack, state = [], (np.zeros(tracker), np.zeros(tracker))
    told, taken = [], []
    for step in range(2 * room - 1 if program is None else len(program)):
        right, left = ([nothing, nothing, *stack][-k] for k in (1, 2))
        word = waiting[0] if waiting else nothing
        if tracker:
            state = lstm(weights["tracker"], np.concatenate([word[1], right[1], left[1]]), state)
            told.append(state[1] @ weights["transitions"]["kernel"])
            told[-1] = told[-1] + weights["transitions"]["bias"]
        if program is not None:
            now = program[step]
        elif len(stack) > 1 and (not waiting or told[-1][REDUCE] > told[-1][SHIFT]):
            now = REDUCE
        else:
            now = SHIFT if waiting else SKIP
        taken.append(now)
        if now == SHIFT:
            stack.append(waiting.pop(0))
        elif now == REDUCE:
            seen = state[1] if tracker else None
            stack[-2:] = [tree_lstm(weights["reduce"], [left, right], seen)]
    c, h = stack[-1] if stack else nothing
    return np.concatenate([h, c]), told, taken


def sentences(seed=0, lengths=LENGTHS, room=None):
    rng = np.random.default_rng(seed)
    words = rng.standard_normal((len(lengths), room or lengths.max(), DEPTH))
    return words, lengths


def values(session):
    """The variables' values, random ones, by layer and name."""
    rng, found = np.random.default_rng(3), {}
    for variable in tf.global_variables():
        _, layer, name = variable.op.name.split("/")
        value = rng.standard_normal(variable.shape.as_list()) * 0.7
        variable.load(value, session)
        found.setdefault(layer, {})[name] = value
    return found


def placed(tracker=TRACKER, predicted=False):
    words = tf.placeholder(tf.float64, [None, None, DEPTH])
    lengths = tf.placeholder(tf.int32, [None])
    programs = None if predicted else tf.placeholder(tf.int32, [None, None])
    out = tf.models.spinn(words, lengths, UNITS, tracker, programs)
    return words, lengths, programs, out


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("tracker", [TRACKER, 0])
def test_spinn_is_a_stack_for_each_sentence(backend, tracker):
    words, lengths, programs, out = placed(tracker)
    assert (out.logits is None) == (tracker == 0)
    x, n = sentences()
    with tf.Session(backend=backend) as session:
        weights = values(session)
        feeds = {words: x, lengths: n, programs: PROGRAMS}
        phrases = session.run(out.phrases, feeds)
        logits = session.run(out.logits, feeds) if tracker else None
    for row, program in enumerate(PROGRAMS):
        phrase, told, _ = read(weights, x[row, : n[row]], program, tracker)
        np.testing.assert_allclose(phrases[row], phrase, rtol=1e-12, atol=1e-12)
        steps = 2 * n[row] - 1
        if tracker:
            np.testing.assert_allclose(logits[row, :steps], told[:steps], rtol=1e-12, atol=1e-12)


def test_spinn_predicts_its_transitions():
    words, lengths, _, out = placed(predicted=True)
    many = np.array([5, 1, 2, 6, 3, 4, 6, 5], np.int32)
    x, n = sentences(lengths=many, room=7)
    with tf.Session() as session:
        weights = values(session)
        phrases, taken, _ = session.run(list(out), {words: x, lengths: n})
    kinds = set()
    for row, length in enumerate(n):
        phrase, _, wanted = read(weights, x[row, :length], None, room=7)
        kinds.add(tuple(wanted[: 2 * length - 1]))
        assert taken[row].tolist() == wanted
        np.testing.assert_allclose(phrases[row], phrase, rtol=1e-12, atol=1e-12)
    assert len(kinds) > 4  # not all of them lean to the same side


def test_one_compilation_serves_all_lengths():
    words, lengths, programs, out = placed()
    with tf.Session() as session:
        weights = values(session)
        before = session.counters()["compilations"]
        for seed, most in enumerate((1, 9, 4, 17)):
            x, n = sentences(seed, np.array([most, 1], np.int32))
            # Phrases that lean to the left; a sentence may wait before its first word.
            program = [SHIFT, *[SHIFT, REDUCE] * (most - 1)]
            other = [SKIP] * (2 * most - 2) + [SHIFT]
            given = np.array([program, other], np.int32)
            found = session.run(out.phrases, {words: x, lengths: n, programs: given})
            for row in range(2):
                phrase, *_ = read(weights, x[row, : n[row]], given[row])
                np.testing.assert_allclose(found[row], phrase, rtol=1e-12, atol=1e-12)
        assert session.counters()["compilations"] == before + 1


@pytest.mark.parametrize("tracker", [TRACKER, 0])
def test_gradients_of_spinn(tracker):
    words, lengths, programs, out = placed(tracker)
    rng = np.random.default_rng(5)
    loss = tf.reduce_sum(out.phrases * rng.standard_normal((4, 2 * UNITS)))
    if tracker:
        loss = loss + tf.models.transition_loss(out.logits, programs)
    variables = tf.trainable_variables()
    gradients = tf.gradients(loss, [words, *variables])
    x, n = sentences()
    feeds = {lengths: n, programs: PROGRAMS}
    with tf.Session() as session:
        values(session)
        found = session.run(gradients, {words: x, **feeds})
        step = 1e-6
        for at in [(0, 1, 2), (1, 0, 0), (2, 3, 1), (1, 1, 0)]:  # the last one is no word
            change = np.zeros_like(x)
            change[at] = step
            up, down = (session.run(loss, {words: x + s * change, **feeds}) for s in (1, -1))
            np.testing.assert_allclose(found[0][at], (up - down) / (2 * step), atol=1e-8)
        for variable, gradient in zip(variables, found[1:], strict=True):
            value = session.run(variable)
            direction = rng.standard_normal(value.shape)
            ends = []
            for sign in (1, -1):
                variable.load(value + sign * step * direction, session)
                ends.append(session.run(loss, {words: x, **feeds}))
            variable.load(value, session)
            want = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose((gradient * direction).sum(), want, atol=1e-7)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("tracker", [TRACKER, 0])
def test_second_derivatives_of_spinn(tracker, backend):
    words, lengths, programs, out = placed(tracker)
    rng = np.random.default_rng(5)
    loss = tf.reduce_sum(tf.sin(out.phrases) * rng.standard_normal((4, 2 * UNITS)))
    if tracker:
        loss = loss + tf.models.transition_loss(out.logits, programs)
    variables = tf.trainable_variables()
    x, n = sentences()
    feeds = {lengths: n, programs: PROGRAMS}
    first = tf.gradients(loss, [words, *variables])
    weights = [rng.standard_normal(x.shape)]
    weights += [rng.standard_normal(v.shape.as_list()) for v in variables]
    slope = tf.add_n([tf.reduce_sum(g * w) for g, w in zip(first, weights, strict=True)])
    second = tf.gradients(slope, [words, *variables])
    with tf.Session(backend=backend) as session:
        values(session)
        found = session.run(second, {words: x, **feeds})
        step, direction = 1e-5, rng.standard_normal(x.shape)
        up, down = (session.run(slope, {words: x + s * step * direction, **feeds}) for s in (1, -1))
        np.testing.assert_allclose((found[0] * direction).sum(), (up - down) / (2 * step), 1e-6)
        for variable, curvature in zip(variables, found[1:], strict=True):
            value = session.run(variable)
            direction = rng.standard_normal(value.shape)
            ends = []
            for sign in (1, -1):
                variable.load(value + sign * step * direction, session)
                ends.append(session.run(slope, {words: x, **feeds}))
            variable.load(value, session)
            want = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose((curvature * direction).sum(), want, rtol=1e-6, atol=1e-7)


def test_transition_loss_counts_no_skips():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4, 7, 2))
    with tf.Session() as session:
        found = session.run(tf.models.transition_loss(tf.constant(logits), PROGRAMS))
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    losses = [
        -np.log(chances[row, step, now])
        for row, program in enumerate(PROGRAMS)
        for step, now in enumerate(program)
        if now != SKIP
    ]
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-12)


def test_a_step_touches_only_the_rows_it_reads_and_writes():
    """In no body a whole buffer is filled, added or copied."""
    words, lengths = tf.placeholder(tf.float64, [4, 4, DEPTH]), tf.placeholder(tf.int32, [4])
    programs = tf.placeholder(tf.int32, [4, 7])
    out = tf.models.spinn(words, lengths, UNITS, TRACKER, programs)
    gradients = tf.gradients(tf.reduce_sum(out.phrases), [words])
    program = cut(tf.get_default_graph(), gradients, [words, lengths, programs])
    program = run_graph_passes(program, PassOptions())
    made = []
    for node in program.nodes():
        for region in node.regions:
            made += [n for n in region.nodes() if n.outputs[0].dims == (1 + 4 * 4 + 7 * 4, 8)]
    # A phrase of each example is put there, and the gradients of what was read.
    assert [n.op.name for n in made if n.op.name != "parameter"] == ["scatter", "scatter"]


@pytest.mark.parametrize(
    "program, lengths, error, message",
    [
        ([SHIFT, REDUCE, SHIFT], [3], InvalidArgumentError, "a REDUCE of fewer than two rows"),
        ([SHIFT, SHIFT, SHIFT], [2], InvalidArgumentError, "a SHIFT behind the last word"),
        ([SHIFT, 3, SHIFT], [3], OutOfRangeError, "transition"),
        ([SHIFT, SHIFT, REDUCE], [4], OutOfRangeError, "lengths"),
    ],
)
def test_programs_that_cannot_be_run(program, lengths, error, message):
    words, n, programs, out = placed()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with pytest.raises(error, match=message):
            feeds = {words: np.ones((1, 3, DEPTH)), n: lengths, programs: [program]}
            session.run(out.phrases, feeds)


def test_what_spinn_refuses():
    words, lengths = tf.zeros([2, 3, DEPTH]), tf.constant([3, 2])
    with pytest.raises(TypeRuleError, match="no tracker to predict them"):
        tf.models.spinn(words, lengths, UNITS, tracker=0)
    with pytest.raises(TypeRuleError, match="words .batch, room, depth."):
        tf.models.spinn(words[0], lengths, UNITS)
    with pytest.raises(TypeRuleError, match="transitions must be int32"):
        tf.models.spinn(words, lengths, UNITS, transitions=tf.zeros([2, 5]))


@pytest.mark.parametrize("children, depth", [(0, 3), (1, 0), (2, 0), (2, 3), (3, 2)])
def test_tree_lstm(children, depth):
    rng = np.random.default_rng(children)
    states = [(rng.standard_normal((5, UNITS)), rng.standard_normal((5, UNITS)))
              for _ in range(children)]  # fmt: skip
    inputs = rng.standard_normal((5, depth)) if depth else None
    layer = tf.nn.TreeLSTM(UNITS, forget_bias=0.5)
    state = layer(states, inputs)
    assert layer.kernel.shape.as_list() == [children * UNITS + depth, (3 + children) * UNITS]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        layer.bias.load(rng.standard_normal(layer.bias.shape.as_list()), session)
        weights = {"kernel": session.run(layer.kernel), "bias": session.run(layer.bias)}
        c, h = session.run([state.c, state.h])
    for row in range(5):
        below = [(memory[row], head[row]) for memory, head in states]
        wanted = tree_lstm(weights, below, None if inputs is None else inputs[row], 0.5)
        np.testing.assert_allclose((c[row], h[row]), wanted, rtol=1e-12, atol=1e-12)


def test_what_a_tree_lstm_refuses():
    x = tf.zeros([5, UNITS])
    layer = tf.nn.TreeLSTM(UNITS)
    layer([(x, x), (x, x)])
    with pytest.raises(TypeRuleError, match="made for 2 children and 8 values"):
        layer([(x, x)])
    with pytest.raises(TypeRuleError, match=r"a child is \(c, h\), each \[rows, 4\]"):
        layer([(x, tf.zeros([5, 3])), (x, x)])
    with pytest.raises(TypeRuleError, match="children or inputs are needed"):
        tf.nn.TreeLSTM(UNITS)([])
    with pytest.raises(TypeRuleError, match="units must be a positive integer"):
        tf.nn.TreeLSTM(0)


@pytest.mark.parametrize("tracker", [TRACKER, 0])
def test_a_skip_anywhere_does_nothing(tracker):
    words, lengths, programs, out = placed(tracker)
    x, n = sentences(lengths=np.array([3, 2], np.int32))
    spread = np.array(
        [
            [SHIFT, SKIP, SHIFT, REDUCE, SKIP, SHIFT, REDUCE, SKIP],
            [SKIP, SKIP, SHIFT, SHIFT, SKIP, SKIP, SKIP, REDUCE],
        ],
        np.int32,
    )
    with tf.Session() as session:
        weights = values(session)
        phrases = session.run(out.phrases, {words: x, lengths: n, programs: spread})
    for row, program in enumerate(spread):
        phrase, _, _ = read(weights, x[row, : n[row]], program[program != SKIP], tracker)
        np.testing.assert_allclose(phrases[row], phrase, rtol=1e-12, atol=1e-12)
