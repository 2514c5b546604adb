"""graphflow on sequences: dynamic_rnn over cells of the library, and one of its user's."""

from __future__ import annotations

from typing import Any

import graphflow as tf

from .. import sequences
from ..sequences import RecurrentModel
from .on_graphflow import System as DenseSystem
from .tensorflow_words import optimizer


class ResetAfterGRUCell(tf.nn.rnn_cell.RNNCell):
    """The gated recurrent unit that cuDNN has: the reset gate follows the product, and there are
    two biases."""

    def __init__(self, num_units: int) -> None:
        super().__init__(name="gru_cell")
        self.units = num_units

    @property
    def state_size(self):
        return self.units

    output_size = state_size

    def build(self, dims):
        units = self.units
        self.kernel = self.add_weight("kernel", [int(dims[-1]), 3 * units])
        self.bias = self.add_weight("bias", [3 * units])
        self.recurrent_kernel = self.add_weight("recurrent_kernel", [units, 3 * units])
        self.recurrent_bias = self.add_weight("recurrent_bias", [3 * units])

    def call(self, inputs, state):
        r, z, n = tf.split(tf.matmul(inputs, self.kernel) + self.bias, 3, 1)
        recurrent = tf.matmul(state, self.recurrent_kernel) + self.recurrent_bias
        of_r, of_z, of_n = tf.split(recurrent, 3, 1)
        kept = tf.sigmoid(z + of_z)
        state = (1 - kept) * tf.tanh(n + tf.sigmoid(r + of_r) * of_n) + kept * state
        return state, state


CELLS = {
    "lstm": tf.nn.rnn_cell.BasicLSTMCell,
    "gru": ResetAfterGRUCell,
    "rnn": tf.nn.rnn_cell.BasicRNNCell,
}


class Recurrent:
    """A classifier of sequences, and which of its variables has which name in the weights."""

    def __init__(self, model: RecurrentModel, x: Any) -> None:
        self.variables: dict[str, Any] = {}
        if model.vocabulary:
            embedding = tf.get_variable("embedding", [model.vocabulary, model.inputs])
            self.variables["embedding"] = embedding
            x = tf.nn.embedding_lookup(embedding, x)
        cell = CELLS[model.cell](model.hidden)
        _, state = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32)
        classes = tf.layers.Dense(model.classes, name="classes")
        self.logits = classes(state.h if model.cell == "lstm" else state)
        names = ["cell/kernel", "cell/bias"]
        if model.cell == "gru":
            names += ["recurrent/kernel", "recurrent/bias"]
        self.variables |= zip(names, cell.weights, strict=True)
        self.variables |= {"classes/kernel": classes.kernel, "classes/bias": classes.bias}


class System(DenseSystem):
    def _placeholder(self) -> Any:
        # Steps are left open: one compilation serves all lengths.
        steps = self.workload.steps or None if self.request.options.get("static") else None
        shape = [self._rows(), steps]
        if self.model.vocabulary:
            return tf.placeholder(tf.int32, shape)
        return tf.placeholder(tf.float32, [*shape, self.model.inputs])

    def _load(self, variables: dict[str, Any]) -> None:
        session = self._session()
        for name, value in self.weights():
            variables[name].load(value, session)
        self._initialize(variables)

    def train(self):
        x, y = self._placeholder(), tf.placeholder(tf.int32, [self._rows()])
        net = Recurrent(self.model, x)
        loss = tf.losses.sparse_softmax_cross_entropy(y, net.logits)
        update = optimizer(tf, self.workload.optimizer, self.workload.rate).minimize(loss)
        self._load(net.variables)
        session, fetches = self.session, [update, loss]
        self.report = lambda a, b: tf.explain(fetches, session=session, feed_dict={x: a, y: b})
        return lambda a, b: session.run(fetches, {x: a, y: b})[1]

    def infer(self):
        x = self._placeholder()
        net = Recurrent(self.model, x)
        self._load(net.variables)
        session, result = self.session, net.logits
        self.report = lambda a, _: tf.explain(result, session=session, feed_dict={x: a})
        return lambda a, _: session.run(result, {x: a})

    def _example(self):
        return next(sequences.batches(self.workload, 1))
