"""Train steps of the small models: time, launches, native calls, copies; JAX beside them."""

from __future__ import annotations

import numpy as np

import graphflow as tf

from . import models, timing

MODELS = {"XOR": (models.xor, None), "FizzBuzz": (models.fizzbuzz, 8), "MLP": (models.mlp, 14)}


def jax_step(name: str):
    """The same step under jax.jit, with fresh feeds and the loss fetched as NumPy."""
    import jax
    import jax.numpy as jnp

    sizes = {"XOR": [2, 5, 2], "FizzBuzz": [10, 100, 4], "MLP": [784, 512, 256, 10]}[name]
    batch = {"XOR": 4, "FizzBuzz": 64, "MLP": 128}[name]
    rng = np.random.default_rng(0)
    layers = [
        (rng.standard_normal((i, o), dtype=np.float32) * 0.1, np.zeros(o, np.float32))
        for i, o in zip(sizes, sizes[1:], strict=False)
    ]
    state = (layers, jax.tree.map(np.zeros_like, layers))
    x = rng.standard_normal((batch, sizes[0]), dtype=np.float32)
    labels = rng.integers(0, sizes[-1], batch, dtype=np.int32)
    activation = jax.nn.relu if name == "MLP" else jax.nn.sigmoid

    def loss_of(parameters, x, labels):
        h = x
        for position, (w, b) in enumerate(parameters):
            h = h @ w + b
            if position < len(parameters) - 1:
                h = activation(h)
        if name == "XOR":
            return jnp.mean((h - jax.nn.one_hot(labels, 2)) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), labels[:, None], 1))

    @jax.jit
    def step(state, x, labels):
        parameters, moments = state
        loss, grads = jax.value_and_grad(loss_of)(parameters, x, labels)
        if name == "MLP":
            moments = jax.tree.map(lambda m, g: 0.9 * m + g, moments, grads)
            grads = moments
        rate = {"XOR": 0.5, "FizzBuzz": 0.1, "MLP": 0.01}[name]
        return (jax.tree.map(lambda p, g: p - rate * g, parameters, grads), moments), loss

    held = [jax.device_put(state)]

    def call():
        held[0], loss = step(held[0], x, labels)
        return np.asarray(loss)

    return call


def main() -> None:
    for name, (build, limit) in MODELS.items():
        timing.heading(f"train step: {name}")
        with tf.Graph().as_default():
            session, train, loss, feeds = build()
            fetches = [train, loss]
            functions = {"graphflow": lambda s=session, f=fetches, d=feeds: s.run(f, feed_dict=d)}
            if timing.installed("jax"):
                functions["jax.jit"] = jax_step(name)
            times = timing.interleaved(functions, budget=0.1)
            for system, values in times.items():
                print(f"{system:12} {timing.microseconds(values)}")
            if "jax.jit" in times:
                ratio = timing.median(times["jax.jit"]) / timing.median(times["graphflow"])
                print(f"jax.jit takes {ratio:.2f} times as long")
            before = session.counters()
            session.run(fetches, feed_dict=feeds)
            after = session.counters()
            for counter in ("native_calls", "feeds_copied", "outputs_copied"):
                print(f"{counter} in one run: {after[counter] - before[counter]}")
            report = tf.explain(fetches, session=session)
            print(f"launches: {report.launches}")
            if limit is not None:
                timing.verdict("launches", report.launches, limit)
            session.close()
