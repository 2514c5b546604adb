"""What an iteration of a loop costs: 1,000 times the scalar body (i + 1, s + x * i)."""

from __future__ import annotations

import numpy as np

import graphflow as tf

from . import timing

ITERATIONS = 1000


def main() -> None:
    timing.heading(f"loops: {ITERATIONS} iterations of (i + 1, s + x * i)")
    x = tf.placeholder(tf.float32, [])
    _, s = tf.while_loop(
        lambda i, s: i < ITERATIONS,
        lambda i, s: (i + 1, s + x * tf.cast(i, tf.float32)),
        (0, tf.constant(0.0)),
    )
    (gradient,) = tf.gradients(s, x)
    with tf.Session() as session:
        value = np.float32(0.5)
        forward = session.make_callable(s, [x])
        both = session.make_callable([s, gradient], [x])
        times = timing.interleaved(
            {"loop": lambda: forward(value), "with gradient": lambda: both(value)}
        )
    for (name, values), limit in zip(times.items(), (20, 100), strict=True):
        print(f"{name:14} {timing.microseconds(values)}")
        timing.verdict(f"  {name}", timing.median(values) * 1e6, limit, " µs")


if __name__ == "__main__":
    main()
