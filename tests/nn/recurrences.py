"""Recurrent cells and loops over them in plain NumPy, and slopes of a loss by differences."""

from __future__ import annotations

import numpy as np

import graphflow as tf


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step(w, x, h):
    h = np.tanh(np.concatenate([x, h], 1) @ w["kernel"] + w["bias"])
    return h, h


def gru_step(w, x, h):
    gates = sigmoid(np.concatenate([x, h], 1) @ w["gates/kernel"] + w["gates/bias"])
    r, u = np.split(gates, 2, 1)
    c = np.concatenate([x, r * h], 1) @ w["candidate/kernel"] + w["candidate/bias"]
    h = u * h + (1 - u) * np.tanh(c)
    return h, h


def lstm_step(w, x, state, forget_bias=1.0, cell_clip=None, proj_clip=None):
    c, h = state
    i, j, f, o = np.split(np.concatenate([x, h], 1) @ w["kernel"] + w["bias"], 4, 1)
    none = np.zeros(c.shape[1], c.dtype)
    f = f + forget_bias + w.get("w_f_diag", none) * c
    c = sigmoid(f) * c + sigmoid(i + w.get("w_i_diag", none) * c) * np.tanh(j)
    if cell_clip is not None:
        c = np.clip(c, -cell_clip, cell_clip)
    h = sigmoid(o + w.get("w_o_diag", none) * c) * np.tanh(c)
    if "projection/kernel" in w:
        h = h @ w["projection/kernel"]
        if proj_clip is not None:
            h = np.clip(h, -proj_clip, proj_clip)
    return h, (c, h)


def alone(step, w, xs, state):
    """(outputs [T, n], state) of one sequence xs [T, depth] by itself; the state has batch 1."""
    outputs = []
    for x in xs:
        output, state = step(w, x[None], state)
        outputs.append(output[0])
    return outputs, state


def weights_of(cell, session) -> dict[str, np.ndarray]:
    """A cell's variables by their names within its scope."""
    return {
        v.name.split(f"{cell.scope_name}/")[1].split(":")[0]: session.run(v) for v in cell.weights
    }


def randomize(session, seed=3, scale=0.5):
    """Gives every variable random values, biases too."""
    rng = np.random.default_rng(seed)
    for v in tf.global_variables():
        v.load(rng.normal(0, scale, v.shape.as_list()), session)


def check_slopes(session, loss, variables, feeds=None, tolerance=1e-6):
    """The gradients of a float64 loss by variables against central differences."""
    gradients = [tf.convert_to_tensor(g) for g in tf.gradients(loss, variables)]
    values = session.run([v.value() for v in variables])
    slopes = session.run(gradients, feeds)
    rng = np.random.default_rng(1)
    for _ in range(2):
        directions = [rng.uniform(-1, 1, v.shape) for v in values]

        def moved(step, directions=directions):
            for variable, value, direction in zip(variables, values, directions, strict=True):
                variable.load(value + step * direction, session)
            return session.run(loss, feeds)

        found = (moved(1e-5) - moved(-1e-5)) / 2e-5
        parts = [np.sum(s * d) for s, d in zip(slopes, directions, strict=True)]
        moved(0.0)
        scale = 1 + sum(np.sum(np.abs(s * d)) for s, d in zip(slopes, directions, strict=True))
        assert abs(sum(parts) - found) <= tolerance * scale, (sum(parts), found)
