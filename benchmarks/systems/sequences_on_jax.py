"""JAX on sequences: lax.scan over the steps, all under jit; stacks and trees as thin stacks.

A thin stack (Bowman et al. 2016) is one buffer with a row for what each step has made, and pointers
to the rows that are on the stack. Every shape is compiled for, so that trees are padded to the most
words of any.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..sequences import REDUCE, SHIFT, SKIP, RecurrentModel, Stacks, stacked
from .base import BaseSystem
from .on_jax import updated


def lstm(gates, c):
    """(h, c) from i, j, f, o."""
    i, j, f, o = jnp.split(gates, 4, -1)
    c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(j)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def recurrent(model: RecurrentModel, weights, x):
    """Logits. What the inputs add to the gates is one product before the loop."""
    if model.vocabulary:
        x = weights["embedding"][x]
    kernel = weights["cell/kernel"]
    of_h = weights["recurrent/kernel"] if model.cell == "gru" else kernel[model.inputs :]
    added = jnp.swapaxes(x, 0, 1) @ kernel[: model.inputs] + weights["cell/bias"]
    zero = jnp.zeros((x.shape[0], model.hidden))

    def lstm_step(state, added):
        h, c = state
        return lstm(added + h @ of_h, c), None

    def gru_step(h, added):
        r, z, n = jnp.split(added, 3, -1)
        of_r, of_z, of_n = jnp.split(h @ of_h + weights["recurrent/bias"], 3, -1)
        kept = jax.nn.sigmoid(z + of_z)
        n = jnp.tanh(n + jax.nn.sigmoid(r + of_r) * of_n)
        return (1 - kept) * n + kept * h, None

    def rnn_step(h, added):
        return jnp.tanh(added + h @ of_h), None

    if model.cell == "lstm":
        (last, _), _ = lax.scan(lstm_step, (zero, zero), added)
    else:
        last, _ = lax.scan(gru_step if model.cell == "gru" else rnn_step, zero, added)
    return last @ weights["classes/kernel"] + weights["classes/bias"]


def _words(model, weights, stacks):
    """(h, c) side by side of each word: [batch, n, 2 hidden]."""
    if model.tracker:
        return stacks.words @ weights["words/kernel"] + weights["words/bias"]
    i, o, u = jnp.split(stacks.words @ weights["leaf/kernel"] + weights["leaf/bias"], 3, -1)
    c = jax.nn.sigmoid(i) * jnp.tanh(u)
    return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c], -1)


def thin_stack(model, weights, stacks: Stacks):
    """Logits. Row 0 of the buffer is zero, row t + 1 is what step t made."""
    hidden = model.hidden
    words = _words(model, weights, stacks)
    batch, room, width = words.shape
    there = jnp.arange(room) < stacks.lengths[:, None]
    words = jnp.pad(words * there[..., None], ((0, 0), (0, 1), (0, 0)))
    rows = jnp.arange(batch)

    def step(state, now):
        buffer, pointers, top, used, h, c = state
        number, transition = now
        right_at, left_at = pointers[rows, top], pointers[rows, top - 1]
        right, left = buffer[right_at, rows], buffer[left_at, rows]
        word = words[rows, used]
        heads = [left[:, :hidden], right[:, :hidden]]
        if model.tracker:
            seen = [word[:, :hidden], right[:, :hidden], left[:, :hidden], h]
            gates = jnp.concatenate(seen, 1) @ weights["tracker/kernel"] + weights["tracker/bias"]
            h, c = lstm(gates, c)
            heads.append(h)
        gates = jnp.concatenate(heads, 1) @ weights["reduce/kernel"] + weights["reduce/bias"]
        i, left_kept, right_kept, o, u = jnp.split(gates, 5, -1)
        made = jax.nn.sigmoid(i) * jnp.tanh(u) + jax.nn.sigmoid(left_kept) * left[:, hidden:]
        made = made + jax.nn.sigmoid(right_kept) * right[:, hidden:]
        phrase = jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(made), made], 1)
        shifts = transition == SHIFT
        row = jnp.where(shifts[:, None], word, phrase)
        buffer = lax.dynamic_update_index_in_dim(buffer, row, number + 1, 0)
        top = top + shifts - (transition == REDUCE)
        kept = jnp.where(transition == SKIP, pointers[rows, top], number + 1)
        pointers = pointers.at[rows, top].set(kept)
        return (buffer, pointers, top, used + shifts, h, c), None

    steps = stacks.transitions.shape[1]
    ones = jnp.ones(batch, jnp.int32)
    tracker = jnp.zeros((batch, model.tracker))
    start = (
        jnp.zeros((steps + 1, batch, width)),
        jnp.zeros((batch, room + 2), jnp.int32),
        ones,  # below it are two pointers to the row of zeros
        0 * ones,
        tracker,
        tracker,
    )
    programs = (jnp.arange(steps), stacks.transitions.T)
    (buffer, pointers, top, *_), _ = lax.scan(step, start, programs)
    last = buffer[pointers[rows, top], rows, :hidden]
    return last @ weights["classes/kernel"] + weights["classes/bias"]


class System(BaseSystem):
    def _logits(self, weights, x):
        model = self.model
        run = recurrent if isinstance(model, RecurrentModel) else thin_stack
        return run(model, weights, x)

    def _arrays(self, x):
        return stacked(x, self.model.words) if isinstance(x, list) else x

    def train(self):
        weights = {name: jax.device_put(value) for name, value in self.weights()}
        optimizer, rate = self.workload.optimizer, self.workload.rate
        zeros = jax.tree.map(jnp.zeros_like, weights)
        slots = ()
        if optimizer == "adam":
            slots = (zeros, jax.tree.map(jnp.zeros_like, weights), jnp.zeros(()))

        def loss_of(weights, x, y):
            chosen = jax.nn.log_softmax(self._logits(weights, x))
            return -jnp.take_along_axis(chosen, y[:, None], -1).mean()

        def step(state, x, y):
            weights, slots = state
            loss, grads = jax.value_and_grad(loss_of)(weights, x, y)
            return updated(optimizer, rate, weights, grads, slots), loss

        jitted = jax.jit(step, donate_argnums=0)
        held = [(weights, slots)]

        def call(x, y):
            held[0], loss = jitted(held[0], self._arrays(x), y)
            return np.asarray(loss)

        return call

    def infer(self):
        weights = {name: jax.device_put(value) for name, value in self.weights()}
        run = jax.jit(self._logits)
        return lambda x, _: np.asarray(run(weights, self._arrays(x)))

    def facts(self):
        return {"version": jax.__version__}
