"""What leaving out rows of zeros is worth: steps of padded and stacked batches with and without.

Both sides are the same graph, one of them with `disable=("dead_rows",)`, and take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

import graphflow as tf

from ..sequences import SEQUENCE_MODELS, batches
from ..systems.trees_on_graphflow import StackNet
from ..workloads import WORKLOADS
from . import timing

SHORTEST, LONGEST = 5, 60  # steps of the padded sequences


def padded(units: int, batch: int, steps: int, full: bool) -> tuple[object, dict]:
    """(training step of an LSTM over padded sequences, feeds)"""
    rng = np.random.default_rng(0)
    x = tf.placeholder(tf.float32, [batch, steps, units])
    lengths, y = tf.placeholder(tf.int32, [batch]), tf.placeholder(tf.int32, [batch])
    cell = tf.nn.rnn_cell.BasicLSTMCell(units)
    inputs = tf.layers.dense(x, units)
    _, state = tf.nn.dynamic_rnn(cell, inputs, sequence_length=lengths, dtype=tf.float32)
    loss = tf.losses.sparse_softmax_cross_entropy(y, tf.layers.dense(state.h, 3))
    drawn = rng.integers(SHORTEST, LONGEST + 1, batch).astype(np.int32)
    feeds = {
        x: rng.standard_normal((batch, steps, units), dtype=np.float32),
        lengths: np.full(batch, steps, np.int32) if full else drawn,
        y: rng.integers(0, 3, batch).astype(np.int32),
    }
    return tf.train.GradientDescentOptimizer(0.1).minimize(loss), feeds


def spinn() -> tuple[object, dict]:
    """(training step of the workload, feeds)"""
    workload = next(w for w in WORKLOADS if w.name == "spinn-train")
    trees, labels = next(iter(batches(workload, 1)))
    net, y = StackNet(SEQUENCE_MODELS[workload.model]), tf.placeholder(tf.int32, [None])
    loss = tf.losses.sparse_softmax_cross_entropy(y, net.logits)
    train = tf.train.GradientDescentOptimizer(workload.rate).minimize(loss)
    return train, {**net.feeds(trees), y: labels}


CASES: dict[str, Callable[[], tuple[object, dict]]] = {
    f"LSTM 300, batch 64, {SHORTEST}-{LONGEST} steps": lambda: padded(300, 64, LONGEST, False),
    "SPINN, batch 64": spinn,
    "LSTM 64, batch 16, all of 60 steps": lambda: padded(64, 16, LONGEST, True),
    "LSTM 32, batch 16, all of 60 steps": lambda: padded(32, 16, LONGEST, True),
}


def main() -> None:
    timing.heading("dead_rows: training steps without and with rows of zeros left out")
    for name, case in CASES.items():
        with tf.Graph().as_default():
            train, feeds = case()
            steps = {}
            for side, disable in (("without", ("dead_rows",)), ("with", ())):
                session = tf.Session(config=tf.ConfigProto(disable=disable))
                session.run(tf.global_variables_initializer())
                steps[side] = partial(session.run, train, feeds)
            times = {side: min(values) for side, values in timing.interleaved(steps).items()}
        ratio = times["without"] / times["with"]
        spent = ", ".join(f"{side} {1e3 * seconds:.3f} ms" for side, seconds in times.items())
        print(f"{name}: {spent}: {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
