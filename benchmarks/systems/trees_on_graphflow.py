"""graphflow on stacks and trees, in batches of any size: the library's SPINN, and its Fold."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as tf

from ..sequences import Stacks, Tree
from .sequences_on_graphflow import System as SequenceSystem
from .tensorflow_words import optimizer

BLOCK = 32  # nodes of one height that are done together


class StackNet:
    """A classifier of sentences that come with their programs.

    placeholders, and `feeds` of a batch; `logits`; which variable has which name in the weights
    """

    def __init__(self, model: Any) -> None:
        self.words = tf.placeholder(tf.float32, [None, None, model.inputs])
        self.transitions = tf.placeholder(tf.int32, [None, None])
        self.lengths = tf.placeholder(tf.int32, [None])
        out = tf.models.spinn(
            self.words, self.lengths, model.hidden, model.tracker, self.transitions, forget_bias=0.0
        )
        classes = tf.layers.Dense(model.classes, name="classes")
        self.logits = classes(out.phrases[:, : model.hidden])
        known = {v.op.name: v for v in tf.trainable_variables()}
        self.variables = {
            name: known[name if name.startswith("classes") else f"spinn/{name}"]
            for name in model.parameters
        }

    def feeds(self, stacks: Stacks) -> dict[Any, Any]:
        return {
            self.words: stacks.words,
            self.transitions: stacks.transitions,
            self.lengths: stacks.lengths,
        }


class TreeNet:
    """The same for trees, whose nodes of the same height are done together."""

    def __init__(self, model: Any) -> None:
        hidden = model.hidden
        layers = {name: tf.nn.TreeLSTM(hidden, 0.0, name=name) for name in ("leaf", "reduce")}
        state = tf.nn.rnn_cell.LSTMStateTuple(hidden, hidden)
        self.fold = tf.fold.Fold(state, block=BLOCK)
        self.fold.define("leaf", layers["leaf"], inputs=(tf.float32, [model.inputs]))
        self.fold.define("pair", layers["reduce"], children=2)
        layers["classes"] = tf.layers.Dense(model.classes, name="classes")
        self.logits = layers["classes"](self.fold.roots().h)
        self.variables = {
            f"{name}/{kind}": getattr(layer, kind)
            for name, layer in layers.items()
            for kind in ("kernel", "bias")
        }

    def feeds(self, trees: list[Tree]) -> dict[Any, Any]:
        words = np.concatenate([tree.words for tree in trees])
        kinds, children, roots = tf.fold.stacked([tree.transitions for tree in trees])
        return self.fold.feed(tf.fold.Forest(kinds, children, roots, (words, None)))


class System(SequenceSystem):
    def train(self):
        net = (StackNet if self.model.tracker else TreeNet)(self.model)
        y = tf.placeholder(tf.int32, [None])
        loss = tf.losses.sparse_softmax_cross_entropy(y, net.logits)
        update = optimizer(tf, self.workload.optimizer, self.workload.rate).minimize(loss)
        self._load(net.variables)
        session, fetches = self.session, [update, loss]
        self.report = lambda x, b: tf.explain(
            fetches, session=session, feed_dict={**net.feeds(x), y: b}
        )
        return lambda x, b: session.run(fetches, {**net.feeds(x), y: b})[1]
