"""JAX: the whole step under jit, its state donated."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..data import operand
from ..net import EPSILON, MOMENTUM, Net
from .base import BaseSystem
from .kernel_data import operands

NHWC = ("NHWC", "HWIO", "NHWC")


class JaxNet(Net):
    def __init__(self, parameters, averages, training):
        self.parameters = parameters
        self.averages = averages
        self.training = training
        self.moved = dict(averages)

    def parameter(self, name, shape, initial):
        return self.parameters[name]

    def average(self, name, shape, initial):
        return name

    def affine(self, x, w, b):
        return x @ w + b

    def convolve(self, x, w, b, stride, pad):
        y = lax.conv_general_dilated(
            x, w, (stride, stride), [(pad, pad)] * 2, dimension_numbers=NHWC
        )
        return y if b is None else y + b

    def convolve_transposed(self, x, w, stride, pad):
        size = w.shape[0]
        padding = [(size - 1 - pad[0], size - 1 - pad[1])] * 2
        return lax.conv_transpose(
            x, w, (stride, stride), padding, dimension_numbers=NHWC, transpose_kernel=True
        )

    def normalize_batch(self, x, gamma, beta, mean, variance):
        if self.training:
            now = x.mean((0, 1, 2))
            spread = x.var((0, 1, 2))
            kept = MOMENTUM
            unbiased = spread * (x.size / gamma.size / (x.size / gamma.size - 1))
            self.moved[mean] = kept * self.averages[mean] + (1 - kept) * now
            self.moved[variance] = kept * self.averages[variance] + (1 - kept) * unbiased
        else:
            now, spread = self.averages[mean], self.averages[variance]
        return (x - now) * (lax.rsqrt(spread + EPSILON) * gamma) + beta

    def normalize_layer(self, x, gamma, beta):
        mean = x.mean(-1, keepdims=True)
        variance = x.var(-1, keepdims=True)
        return (x - mean) * lax.rsqrt(variance + EPSILON) * gamma + beta

    def relu(self, x):
        return jax.nn.relu(x)

    def sigmoid(self, x):
        return jax.nn.sigmoid(x)

    def gelu(self, x):
        return jax.nn.gelu(x)

    def max_pool(self, x, size, stride, pad):
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        padding = [(0, 0), (pad, pad), (pad, pad), (0, 0)]
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)

    def mean_pool(self, x):
        return x.mean((1, 2))

    def flatten(self, x):
        return x.reshape(x.shape[0], -1)

    def mean_tokens(self, x):
        return x.mean(1)

    def attend(self, qkv, heads):
        rows, tokens, features = qkv.shape
        parts = qkv.reshape(rows, tokens, 3, heads, features // 3 // heads)
        mixed = jax.nn.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
        return mixed.reshape(rows, tokens, features // 3)

    def cross_entropy(self, logits, labels):
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)
        return -chosen.mean()

    def squared_error(self, y, wanted):
        return jnp.mean((y - wanted) ** 2)


def updated(name, rate, parameters, grads, slots):
    """(parameters, slots) after one step of an optimizer."""
    tree = jax.tree.map
    if name == "momentum":
        slots = tree(lambda m, g: 0.9 * m + g, slots, grads)
        return tree(lambda p, m: p - rate * m, parameters, slots), slots
    if name == "adam":
        first, second, count = slots
        count = count + 1
        first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        scale = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        moved = tree(
            lambda p, m, v: p - scale * m / (jnp.sqrt(v) + 1e-8), parameters, first, second
        )
        return moved, (first, second, count)
    return tree(lambda p, g: p - rate * g, parameters, grads), slots


class System(BaseSystem):
    def _values(self):
        parameters, averages = {}, {}
        for name, value in self.weights():
            kept = averages if name.endswith(("/mean", "/variance")) else parameters
            kept[name] = jax.device_put(value)
        return parameters, averages

    def train(self):
        parameters, averages = self._values()
        optimizer, rate = self.workload.optimizer, self.workload.rate
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        slots = ()
        if optimizer == "momentum":
            slots = zeros
        elif optimizer == "adam":
            slots = (zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.zeros(()))

        def loss_of(parameters, averages, x, y):
            net = JaxNet(parameters, averages, training=True)
            return self.model.loss(net, x, y), net.moved

        def step(state, x, y):
            parameters, averages, slots = state
            differentiate = jax.value_and_grad(loss_of, has_aux=True)
            (loss, averages), grads = differentiate(parameters, averages, x, y)
            parameters, slots = updated(optimizer, rate, parameters, grads, slots)
            return (parameters, averages, slots), loss

        jitted = jax.jit(step, donate_argnums=0)
        held = [(parameters, averages, slots)]

        def call(x, y):
            held[0], loss = jitted(held[0], x, y)
            return np.asarray(loss)

        return call

    def infer(self):
        parameters, averages = self._values()

        @jax.jit
        def run(parameters, averages, x):
            return self.model.network(JaxNet(parameters, averages, training=False), x)

        return lambda x, _: np.asarray(run(parameters, averages, x))

    def kernel(self, name):
        data, more = operands(name)
        x, extra = jax.device_put(data), [jax.device_put(value) for value in more]
        net = JaxNet({}, {}, training=False)
        functions = {
            "gelu": lambda x: jax.nn.gelu(1.1 * x + 0.3),
            "softmax": jax.nn.softmax,
            "layer_norm": net.normalize_layer,
            "sum_axis0": lambda x: x.sum(0),
            "sum_axis1": lambda x: x.sum(1),
        }
        run = jax.jit(functions[name])
        return lambda: np.asarray(run(x, *extra))

    def gemm(self, size, constant):
        m, k, n = size
        a, b = jax.device_put(operand(m, k)), jax.device_put(operand(k, n, seed=1))
        if constant:
            product = jax.jit(lambda a: a @ b)
            return (lambda: product(a).block_until_ready()), (lambda: np.asarray(product(a)))
        product = jax.jit(lambda a, b: a @ b)
        return (lambda: product(a, b).block_until_ready()), (lambda: np.asarray(product(a, b)))

    def dispatch(self):
        run = jax.jit(lambda x: x + 1)
        return lambda a: np.asarray(run(a))

    def facts(self):
        return {"version": jax.__version__}
