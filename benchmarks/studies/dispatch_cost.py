"""What one call costs: y = x + 1 on four floats, and each further feed."""

from __future__ import annotations

import numpy as np

import graphflow as tf

from . import timing


def main() -> None:
    timing.heading("dispatch: y = x + 1 on 4 floats, NumPy in and out")
    a = np.arange(4, dtype=np.float32)
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [4])
        y = x + 1
        many = [tf.placeholder(tf.float32, [4]) for _ in range(10)]
        total = tf.add_n(many)
        session = tf.Session()
        call = session.make_callable(y, [x])
        feeds = {x: a}
        ten = dict.fromkeys(many, a)
        two = dict.fromkeys(many[:2], a)
        pair = many[0] + many[1]
        functions = {
            "session.run": lambda: session.run(y, feed_dict=feeds),
            "session.run, fresh dict": lambda: session.run(y, feed_dict={x: a}),
            "make_callable": lambda: call(a),
            "session.run, 2 feeds": lambda: session.run(pair, feed_dict=two),
            "session.run, 10 feeds": lambda: session.run(total, feed_dict=ten),
            "numpy": lambda: a + 1,
        }
        if timing.installed("jax"):
            import jax

            jitted = jax.jit(lambda v: v + 1)
            functions["jax.jit, NumPy out"] = lambda: np.asarray(jitted(a))
            functions["jax.jit, not fetched"] = lambda: jitted(a)
        times = timing.interleaved(functions)
    for name, values in times.items():
        print(f"{name:26} {timing.microseconds(values)}")
    run = timing.median(times["session.run, fresh dict"]) * 1e6
    timing.verdict("session.run", run, 2.0, " µs")
    timing.verdict("make_callable", timing.median(times["make_callable"]) * 1e6, 1.0, " µs")
    further = timing.median(times["session.run, 10 feeds"])
    further = (further - timing.median(times["session.run, 2 feeds"])) / 8 * 1e6
    timing.verdict("each further feed", further, 0.1, " µs")
    if "jax.jit, NumPy out" in times:
        ratio = run / 1e6 / timing.median(times["jax.jit, NumPy out"])
        timing.verdict("session.run over jax.jit", ratio, 0.6)
