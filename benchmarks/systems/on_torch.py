"""PyTorch: eager, and torch.compile of the forward pass and the loss (the backward follows it)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..data import operand
from ..net import EPSILON, MOMENTUM, Net
from . import CHANNELS_LAST
from .base import BaseSystem
from .kernel_data import operands


class TorchNet(torch.nn.Module, Net):
    """Images are [batch, channels, height, width]; in memory channels may come last."""

    def __init__(self, system: System, training: bool) -> None:
        super().__init__()
        self.model = system.model
        self.training = training
        shapes = set()
        for name, value in system.weights():
            tensor = torch.from_numpy(system.arranged(name, value))
            shapes.add(tensor.shape)
            if name.endswith(("/mean", "/variance")):
                self.register_buffer(_attribute(name), tensor)
            else:
                parameter = torch.nn.Parameter(tensor, requires_grad=training)
                self.register_parameter(_attribute(name), parameter)
        if system.request.layout == CHANNELS_LAST and any(len(s) == 4 for s in shapes):
            self.to(memory_format=torch.channels_last)

    def forward(self, x, y=None):
        return self.model.network(self, x) if y is None else self.model.loss(self, x, y)

    def parameter(self, name, shape, initial):
        return getattr(self, _attribute(name))

    average = parameter

    def affine(self, x, w, b):
        return F.linear(x, w, b)

    def convolve(self, x, w, b, stride, pad):
        return F.conv2d(x, w, b, stride, pad)

    def convolve_transposed(self, x, w, stride, pad):
        before, after = pad
        return F.conv_transpose2d(x, w, None, stride, before, before - after)

    def normalize_batch(self, x, gamma, beta, mean, variance):
        return F.batch_norm(x, mean, variance, gamma, beta, self.training, 1 - MOMENTUM, EPSILON)

    def normalize_layer(self, x, gamma, beta):
        return F.layer_norm(x, gamma.shape, gamma, beta, EPSILON)

    def relu(self, x):
        return F.relu(x)

    def sigmoid(self, x):
        return torch.sigmoid(x)

    def gelu(self, x):
        return F.gelu(x, approximate="tanh")

    def max_pool(self, x, size, stride, pad):
        return F.max_pool2d(x, size, stride, pad)

    def mean_pool(self, x):
        return x.mean((2, 3))

    def flatten(self, x):
        return x.flatten(1)

    def mean_tokens(self, x):
        return x.mean(1)

    def attend(self, qkv, heads):
        rows, tokens, features = qkv.shape
        parts = qkv.view(rows, tokens, 3, heads, features // 3 // heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return mixed.transpose(1, 2).reshape(rows, tokens, features // 3)

    def cross_entropy(self, logits, labels):
        return F.cross_entropy(logits, labels)

    def squared_error(self, y, wanted):
        return F.mse_loss(y, wanted)


def _attribute(name: str) -> str:
    return name.replace("/", "_")


class System(BaseSystem):
    def __init__(self, request, mode):
        super().__init__(request, mode)
        torch.set_num_threads(self.threads)
        torch.set_num_interop_threads(1)

    def arranged(self, name: str, value: np.ndarray) -> np.ndarray:
        """A parameter as PyTorch has it: [out, in] and [out, in, height, width]."""
        if value.ndim == 4:
            return np.ascontiguousarray(value.transpose(3, 2, 0, 1))
        if name == "dense1/kernel" and self.workload.model == "simplecnn":
            by_pixel = value.reshape(5, 5, 16, -1).transpose(2, 0, 1, 3)  # channels come first
            value = by_pixel.reshape(value.shape)
        return np.ascontiguousarray(value.T)

    def feed(self, x, y):
        if x.ndim == 4 and self.request.layout != CHANNELS_LAST:
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        elif x.ndim == 4:
            x = x.transpose(0, 3, 1, 2)  # the memory stays as it is: channels last
        return x, y.astype(np.int64) if self.model.classes else y

    def train(self):
        net = TorchNet(self, training=True)
        run = torch.compile(net) if self.mode == "compile" else net
        parameters = list(net.parameters())
        if self.workload.optimizer == "adam":
            update = torch.optim.Adam(parameters, self.workload.rate, fused=True)
        else:
            momentum = 0.9 if self.workload.optimizer == "momentum" else 0.0
            update = torch.optim.SGD(parameters, self.workload.rate, momentum, fused=True)

        def step(x, y):
            loss = run(torch.from_numpy(x), torch.from_numpy(y))
            update.zero_grad(set_to_none=True)
            loss.backward()
            update.step()
            return loss.detach().numpy()

        return step

    def infer(self):
        net = TorchNet(self, training=False)
        net.eval()
        if self.mode == "compile":
            import torch._inductor.config as inductor

            inductor.freezing = True  # weights are constants: packed, and normalisation folded

        # Frozen code is made under no_grad; inference_mode is the faster of the two for eager.
        off = torch.no_grad if self.mode == "compile" else torch.inference_mode
        run = torch.compile(net) if self.mode == "compile" else net

        def step(x, _):
            with off():
                return run(torch.from_numpy(x)).numpy()

        return step

    def _compiled(self, function):
        return torch.compile(function) if self.mode == "compile" else function

    def kernel(self, name):
        data, more = operands(name)
        x = torch.from_numpy(data)
        extra = [torch.from_numpy(value) for value in more]
        functions = {
            "gelu": lambda x: F.gelu(1.1 * x + 0.3, approximate="tanh"),
            "softmax": lambda x: F.softmax(x, -1),
            "layer_norm": lambda x, g, b: F.layer_norm(x, g.shape, g, b, EPSILON),
            "sum_axis0": lambda x: x.sum(0),
            "sum_axis1": lambda x: x.sum(1),
        }
        run = self._compiled(functions[name])

        def step():
            with torch.inference_mode():
                return run(x, *extra).numpy()

        return step

    def gemm(self, size, constant):
        m, k, n = size
        a = torch.from_numpy(operand(m, k))
        b = torch.from_numpy(operand(k, n, seed=1))
        c = torch.empty((m, n))

        def step():
            with torch.inference_mode():
                torch.mm(a, b, out=c)

        return step, c.numpy

    def dispatch(self):
        run = self._compiled(lambda x: x + 1)

        def step(a):
            with torch.inference_mode():
                return run(torch.from_numpy(a)).numpy()

        return step

    def facts(self):
        return {"version": torch.__version__}
