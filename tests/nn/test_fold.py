"""Forests of differently shaped trees against recursion over one tree at a time."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import TypeRuleError
from graphflow.nn.rnn_cell import LSTMStateTuple

UNITS, DEPTH = 3, 4


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class TreeLSTM:
    """A Tree-LSTM over binary trees: in a Fold, and for one node in NumPy."""

    def __init__(self, block):
        self.fold = tf.fold.Fold(LSTMStateTuple(UNITS, UNITS), tf.float64, block)
        of_word, of_pair = (tf.nn.TreeLSTM(UNITS, name=name) for name in ("word", "phrase"))
        self.leaf = self.fold.define(
            "leaf", lambda children, words: of_word(children, words), inputs=(tf.float64, [DEPTH])
        )
        self.pair = self.fold.define("pair", lambda children, _: of_pair(children), children=2)
        self.layers = {"leaf": of_word, "pair": of_pair}

    def load(self, session, rng):
        session.run(tf.global_variables_initializer())
        self.weights = {}
        for name, layer in self.layers.items():
            for variable in layer.weights:
                value = rng.standard_normal(variable.shape.as_list()) * 0.7
                variable.load(value, session)
            self.weights[name] = [session.run(v) for v in layer.weights]

    def state(self, node):
        children = [self.state(child) for child in node.children]
        kernel, bias = self.weights[node.kind.name]
        heads = [h for _, h in children] or [node.inputs]
        i, *forget, o, u = np.split(np.concatenate(heads) @ kernel + bias, 3 + len(children))
        c = sigmoid(i) * np.tanh(u)
        for gate, (memory, _) in zip(forget, children, strict=True):
            c = c + sigmoid(gate + 1) * memory
        return c, sigmoid(o) * np.tanh(c)

    def tree(self, words, rng):
        if len(words) == 1:
            return self.leaf(words[0])
        cut = int(rng.integers(1, len(words)))
        return self.pair(self.tree(words[:cut], rng), self.tree(words[cut:], rng))

    def trees(self, lengths, seed=0):
        rng = np.random.default_rng(seed)
        return [self.tree(rng.standard_normal((n, DEPTH)), rng) for n in lengths]


def all_nodes(tree):
    for child in tree.children:
        yield from all_nodes(child)
    yield tree


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("block", [1, 4, 64])
def test_a_forest_is_its_trees(block, backend):
    net = TreeLSTM(block)
    roots, nodes = net.fold.roots(), net.fold.nodes()
    with tf.Session(backend=backend) as session:
        net.load(session, np.random.default_rng(1))
        for seed, lengths in enumerate([(3, 1, 7, 2, 12), (1,), (1, 1, 1), (9,) * 9]):
            trees = net.trees(lengths, seed)
            found, every = session.run([roots, nodes], net.fold.feed(trees))
            wanted = [net.state(tree) for tree in trees]
            np.testing.assert_allclose(found.c, [c for c, _ in wanted], rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(found.h, [h for _, h in wanted], rtol=1e-12, atol=1e-13)
            wanted = [net.state(node)[1] for tree in trees for node in all_nodes(tree)]
            np.testing.assert_allclose(every.h, wanted, rtol=1e-12, atol=1e-13)


def test_no_shape_of_trees_is_compiled():
    net = TreeLSTM(8)
    roots = net.fold.roots()
    with tf.Session() as session:
        net.load(session, np.random.default_rng(1))
        before = session.counters()["compilations"]
        for seed in range(10):
            lengths = np.random.default_rng(seed).integers(1, 20, 1 + seed)
            trees = net.trees(lengths, seed)
            found = session.run(roots.h, net.fold.feed(trees))
            wanted = [net.state(tree)[1] for tree in trees]
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
        assert session.counters()["compilations"] == before + 1


def slopes(session, loss, feeds, variable, direction):
    """The change of a loss along a direction, by central differences."""
    value, ends, step = session.run(variable), [], 1e-6
    for sign in (1, -1):
        variable.load(value + sign * step * direction, session)
        ends.append(session.run(loss, feeds))
    variable.load(value, session)
    return (ends[0] - ends[1]) / (2 * step)


def test_gradients_of_roots_and_nodes():
    net = TreeLSTM(4)
    nodes, roots = net.fold.nodes(), net.fold.roots()
    rng = np.random.default_rng(2)
    loss = tf.reduce_sum(tf.sin(nodes.h)) + tf.reduce_sum(roots.c**2)
    variables = tf.trainable_variables()
    assert len(variables) == 4
    inputs = net.leaf.inputs
    gradients = tf.gradients(loss, [inputs, *variables])
    with tf.Session() as session:
        net.load(session, rng)
        feeds = net.fold.feed(net.trees([3, 1, 7, 2, 12]))
        of_inputs, *found = session.run(gradients, feeds)
        for variable, gradient in zip(variables, found, strict=True):
            direction = rng.standard_normal(gradient.shape)
            want = slopes(session, loss, feeds, variable, direction)
            np.testing.assert_allclose((gradient * direction).sum(), want, rtol=1e-6)
        direction, words = rng.standard_normal(of_inputs.shape), feeds[inputs]
        ends = [session.run(loss, {**feeds, inputs: words + s * direction}) for s in (1e-6, -1e-6)]
        np.testing.assert_allclose((of_inputs * direction).sum(), (ends[0] - ends[1]) / 2e-6, 1e-6)


def test_programs_for_a_stack_are_trees():
    net = TreeLSTM(4)
    trees = net.trees([3, 1, 7, 2, 12], seed=4)
    forest = net.fold.forest(trees)
    programs = [[len(n.children) // 2 for n in all_nodes(tree)] for tree in trees]
    kinds, children, roots = tf.fold.stacked(programs)
    assert (kinds == forest.kinds).all()
    assert (children == forest.children).all()
    assert (roots == forest.roots).all()
    for wrong in ([1], [0, 0], [0, 1, 0], [0, 2], []):
        with pytest.raises(ValueError, match="a program"):
            tf.fold.stacked([[0], wrong])


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_second_derivatives_of_roots_and_nodes(backend):
    net = TreeLSTM(4)
    nodes, roots = net.fold.nodes(), net.fold.roots()
    rng = np.random.default_rng(2)
    loss = tf.reduce_sum(tf.sin(nodes.h)) + tf.reduce_sum(roots.c**2)
    variables, inputs = tf.trainable_variables(), net.leaf.inputs
    slope = tf.add_n(
        [tf.reduce_sum(g * tf.cos(g)) for g in tf.gradients(loss, [inputs, *variables])]
    )
    second = tf.gradients(slope, [inputs, *variables])
    with tf.Session(backend=backend) as session:
        net.load(session, rng)
        feeds = net.fold.feed(net.trees([3, 1, 4, 2]))
        of_inputs, *found = session.run(second, feeds)
        for variable, curvature in zip(variables, found, strict=True):
            direction = rng.standard_normal(curvature.shape)
            want = slopes(session, slope, feeds, variable, direction)
            np.testing.assert_allclose((curvature * direction).sum(), want, rtol=1e-5)
        direction, words = rng.standard_normal(of_inputs.shape), feeds[inputs]
        ends = [session.run(slope, {**feeds, inputs: words + s * direction}) for s in (1e-6, -1e-6)]
        want = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose((of_inputs * direction).sum(), want, rtol=1e-5)


class Arithmetic:
    """Expressions: numbers, one variable, sums, products, powers by a number of their own."""

    def __init__(self, block=2):
        self.fold = fold = tf.fold.Fold(1, tf.float64, block)
        self.x = tf.get_variable("x", [], tf.float64, tf.ones_initializer())
        self.number = fold.define("number", lambda _, v: v[:, None], inputs=(tf.float64, []))
        self.times_x = fold.define(
            "times_x", lambda _, v: tf.cast(v, tf.float64) * self.x, inputs=(tf.int32, [1])
        )
        self.add = fold.define("add", lambda children, _: children[0] + children[1], 2)
        self.mul = fold.define("mul", lambda children, _: children[0] * children[1], 2)
        self.neg = fold.define("neg", lambda children, _: -children[0], 1)
        self.scale = fold.define(
            "scale", lambda children, by: children[0] * by[:, None], 1, (tf.float64, [])
        )

    def drawn(self, rng, depth):
        kind = rng.integers(6 if depth else 2)
        if kind == 0:
            return self.number(rng.standard_normal())
        if kind == 1:
            return self.times_x([int(rng.integers(3))])
        if kind == 2:
            return self.neg(self.drawn(rng, depth - 1))
        if kind == 3:
            return self.scale(self.drawn(rng, depth - 1), rng.standard_normal())
        left, right = self.drawn(rng, depth - 1), self.drawn(rng, depth - 1)
        return (self.add if kind == 4 else self.mul)(left, right)

    def value(self, node, x):
        """(value, its derivative by x)."""
        parts = [self.value(child, x) for child in node.children]
        name = node.kind.name
        if name == "number":
            return node.inputs, 0.0
        if name == "times_x":
            return node.inputs[0] * x, node.inputs[0]
        (a, da), (b, db) = parts[0], parts[-1]
        return {
            "add": lambda: (a + b, da + db),
            "mul": lambda: (a * b, da * b + a * db),
            "neg": lambda: (-a, -da),
            "scale": lambda: (a * node.inputs, da * node.inputs),
        }[name]()


@pytest.mark.parametrize("block", [1, 3, 16])
def test_several_kinds_of_nodes(block):
    net = Arithmetic(block)
    roots = net.fold.roots()
    (slope,) = tf.gradients(roots, net.x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        net.x.load(1.3, session)
        for seed in range(6):
            rng = np.random.default_rng(seed)
            trees = [net.drawn(rng, 6) for _ in range(12)]
            found, total = session.run([roots, slope], net.fold.feed(trees))
            wanted = np.array([net.value(tree, 1.3) for tree in trees])
            np.testing.assert_allclose(found[:, 0], wanted[:, 0], rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(total, wanted[:, 1].sum(), rtol=1e-10, atol=1e-11)


def test_second_derivatives_of_several_kinds():
    """Against differences of the first."""
    net = Arithmetic(3)
    (slope,) = tf.gradients(net.fold.roots(), net.x)
    (curvature,) = tf.gradients(slope, net.x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for seed in range(4):
            rng = np.random.default_rng(seed)
            feeds = net.fold.feed([net.drawn(rng, 5) for _ in range(8)])
            ends = []
            for x in (1.3 + 1e-6, 1.3 - 1e-6, 1.3):
                net.x.load(x, session)
                ends.append(session.run(slope, feeds))
            want, found = (ends[0] - ends[1]) / 2e-6, session.run(curvature, feeds)
            np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_a_node_that_occurs_twice_is_computed_once():
    net = Arithmetic()
    x = net.times_x([1])
    square = net.mul(x, x)
    forest = net.fold.forest([net.mul(square, square), square])
    assert len(forest.kinds) == 3
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        net.x.load(3.0, session)
        found = session.run(net.fold.roots(), net.fold.feed(forest))
    assert found.tolist() == [[81.0], [9.0]]


def test_a_chain_of_ten_thousand_nodes():
    net = Arithmetic(1)
    tree = net.number(0.0)
    for _ in range(10_000):
        tree = net.add(tree, net.number(1.0))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(net.fold.roots(), net.fold.feed([tree])).tolist() == [[10_000.0]]


def test_places_that_are_not_needed_disturb_nothing():
    """A function that has no value at zero: a block's free places do what its last node does."""
    fold = tf.fold.Fold(1, tf.float64, block=8)
    w = tf.get_variable("w", [], tf.float64, tf.ones_initializer())
    leaf = fold.define("leaf", lambda _, x: x * w, inputs=(tf.float64, [1]))
    log = fold.define("log", lambda children, _: tf.log(children[0]), 1)
    roots = fold.roots()
    (slope,) = tf.gradients(roots, w)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = session.run([roots, slope], fold.feed([log(leaf([2.0])), log(leaf([4.0]))]))
    np.testing.assert_allclose(found[0][:, 0], np.log([2, 4]))
    np.testing.assert_allclose(found[1], 2.0)


def test_what_is_no_tree():
    net = Arithmetic()
    one = net.number(1.0)
    with pytest.raises(TypeError, match="add takes 2 nodes, got"):
        net.add(one)
    with pytest.raises(TypeError, match="scale takes 1 nodes and inputs"):
        net.scale(one)
    with pytest.raises(TypeError, match="nodes of its own kinds"):
        net.fold.feed([1.0])
    with pytest.raises(ValueError, match=r"inputs of times_x have shape \[1\], got \[2\]"):
        net.fold.feed([net.times_x([1, 2])])
    forest = net.fold.forest([net.neg(one)])
    with pytest.raises(ValueError, match="a child must have a lower number"):
        net.fold.feed(forest._replace(children=forest.children + 1))


def test_what_fold_refuses():
    fold = tf.fold.Fold(2)
    with pytest.raises(ValueError, match="leaf needs children or inputs"):
        fold.define("leaf", lambda children, inputs: inputs)
    with pytest.raises(ValueError, match="no kind of nodes is defined"):
        fold.roots()
    fold.define("leaf", lambda children, inputs: inputs, inputs=(tf.float32, [3]))
    with pytest.raises(TypeRuleError, match=r"states of sizes \[2\] are needed"):
        fold.roots()
    with pytest.raises(ValueError, match="block must be a positive integer"):
        tf.fold.Fold(2, block=0)
    good = tf.fold.Fold(3)
    good.define("leaf", lambda children, inputs: inputs, inputs=(tf.float32, [3]))
    good.roots()
    with pytest.raises(ValueError, match="late is defined after the graph was made"):
        good.define("late", lambda children, inputs: inputs, inputs=(tf.float32, [3]))
