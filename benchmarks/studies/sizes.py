"""One compilation for every batch size, and what that costs against statically shaped versions."""

from __future__ import annotations

import numpy as np

import graphflow as tf

from . import models, timing


def main() -> None:
    timing.heading("sizes: the MLP train step at 1,000 batch sizes")
    rng = np.random.default_rng(1)
    with tf.Graph().as_default():
        session, train, loss, feeds = models.mlp()
        x, y = feeds
        fetches = [train, loss]
        images = rng.standard_normal((1024, 784), dtype=np.float32)
        labels = rng.integers(0, 10, 1024, dtype=np.int32)
        session.run(fetches, {x: images[:7], y: labels[:7]})
        before = session.counters()["compilations"]
        for batch in rng.permutation(np.arange(2, 1002)):
            session.run(fetches, {x: images[:batch], y: labels[:batch]})
        compiled = session.counters()["compilations"] - before
    timing.verdict("compilations over 1,000 batch sizes", compiled, 0)

    ratios = []
    for batch in sorted(rng.choice(np.arange(2, 513), 20, replace=False)):
        with tf.Graph().as_default():
            fixed, fixed_train, fixed_loss, fixed_feeds = models.mlp(batch=int(batch), static=True)
            data = list(fixed_feeds.values())
            open_feeds = {x: data[0], y: data[1]}
            times = timing.interleaved(
                {
                    "symbolic": lambda f=open_feeds: session.run(fetches, f),
                    "static": lambda s=fixed, t=[fixed_train, fixed_loss], f=fixed_feeds: s.run(
                        t, f
                    ),
                },
                rounds=7,
                budget=0.03,
            )
            ratios.append(timing.median(times["symbolic"]) / timing.median(times["static"]))
            print(f"batch {batch:4}: symbolic over static {ratios[-1]:.3f}")
            fixed.close()
    timing.verdict("median ratio", timing.median(ratios), 1.10)
    timing.verdict("largest ratio", max(ratios), 1.25)
