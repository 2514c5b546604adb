"""graphflow on stacks: SPINN of the library, for batches and sentences of any size."""

from __future__ import annotations

from typing import Any

import graphflow as tf

from ..sequences import Stacks
from .sequences_on_graphflow import System as SequenceSystem
from .tensorflow_words import optimizer


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


class System(SequenceSystem):
    def train(self):
        net, y = StackNet(self.model), tf.placeholder(tf.int32, [None])
        loss = tf.losses.sparse_softmax_cross_entropy(y, net.logits)
        update = optimizer(tf, self.workload.optimizer, self.workload.rate).minimize(loss)
        self._load(net.variables)
        session, fetches = self.session, [update, loss]
        self.report = lambda x, b: tf.explain(
            fetches, session=session, feed_dict={**net.feeds(x), y: b}
        )
        return lambda x, b: session.run(fetches, {**net.feeds(x), y: b})[1]
