"""One step for batches of all lengths against a step compiled for each: what open sizes cost.

Both sides train the LSTM classifier of the workloads on the same 40 batches of 5-60 steps, with the
same variables, in one session; nothing is compiled while time is taken. A batch costs the least of
several rounds, in which the two take turns.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import numpy as np

import graphflow as tf

from ..sequences import SEQUENCE_MODELS, batches
from ..systems.sequences_on_graphflow import Recurrent
from ..workloads import WORKLOADS
from . import timing

ROUNDS = 7
MOST = 1.1  # times the steps that know their length


def main() -> None:
    timing.heading("lengths: one step for 5-60 steps against one for each length")
    workload = next(w for w in WORKLOADS if w.name == "lstm-lengths")
    pool = list(batches(workload, 0))
    with tf.Graph().as_default(), tf.Session() as session:
        net, tuner = None, tf.train.AdamOptimizer(workload.rate)

        def step(steps: int | None) -> Callable[[np.ndarray, np.ndarray], object]:
            nonlocal net
            x = tf.placeholder(tf.int32, [workload.batch, steps])
            y = tf.placeholder(tf.int32, [workload.batch])
            with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
                net = Recurrent(SEQUENCE_MODELS[workload.model], x)
                loss = tf.losses.sparse_softmax_cross_entropy(y, net.logits)
                fetches = [tuner.minimize(loss), loss]
            return lambda a, b: session.run(fetches, {x: a, y: b})[1]

        whole = step(None)
        alone = {n: step(n) for n in sorted({ids.shape[1] for ids, _ in pool})}
        session.run(tf.global_variables_initializer())
        for ids, labels in pool:
            whole(ids, labels)
            alone[ids.shape[1]](ids, labels)
        least = np.full((2, len(pool)), np.inf)
        gc.disable()
        for number in range(ROUNDS):
            for k, (ids, labels) in enumerate(pool):
                both = [whole, alone[ids.shape[1]]]
                for side in (0, 1) if number % 2 else (1, 0):
                    start = time.perf_counter()
                    both[side](ids, labels)
                    least[side, k] = min(least[side, k], time.perf_counter() - start)
        gc.enable()
    opened, closed = least.sum(1)
    print(f"all lengths in one {opened * 1e3:.1f} ms, each by itself {closed * 1e3:.1f} ms")
    worst = int(np.argmax(least[0] / least[1]))
    ratio = least[0, worst] / least[1, worst]
    print(f"furthest apart at {pool[worst][0].shape[1]} steps: {ratio:.2f}")
    timing.verdict("all lengths in one, over each by itself", opened / closed, MOST)
