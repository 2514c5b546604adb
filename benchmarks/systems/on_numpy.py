"""NumPy, for kernels and matrix products."""

from __future__ import annotations

import math

import numpy as np

from ..data import operand
from ..net import EPSILON
from .base import BaseSystem
from .kernel_data import operands


def gelu(x: np.ndarray) -> np.ndarray:
    y = 1.1 * x + 0.3
    return 0.5 * y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y * y * y)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * gamma + beta


class System(BaseSystem):
    def kernel(self, name):
        x, more = operands(name)
        if name.startswith("sum"):
            return lambda: x.sum(axis=int(name[-1]))
        function = {"gelu": gelu, "softmax": softmax, "layer_norm": layer_norm}[name]
        return lambda: function(x, *more)

    def gemm(self, size, constant):
        m, k, n = size
        a, b, c = operand(m, k), operand(k, n, seed=1), np.empty((m, n), np.float32)
        return (lambda: np.matmul(a, b, out=c)), (lambda: c)

    def dispatch(self):
        return lambda a: a + 1

    def facts(self):
        return {"version": np.__version__}
