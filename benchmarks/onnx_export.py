"""Writes the models of ONNX Runtime's workloads; its processes read them without the onnx package.

python -m benchmarks.onnx_export WORKLOAD FOLDER WEIGHTS
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .models import MODELS
from .net import EPSILON, Net
from .sequences import SEQUENCE_MODELS
from .workloads import (
    DISPATCH,
    GEMM,
    GEMM_SIZES,
    INFER,
    KERNEL_NAMES,
    KERNELS,
    RECURRENT_INFER,
    by_name,
)

OPSET = 20  # the first with Gelu


def kernel_file(name: str) -> str:
    return f"kernel-{name}.onnx"


def gemm_file(size: tuple[int, int, int], constant: bool) -> str:
    return f"gemm-{'x'.join(map(str, size))}{'-constant' if constant else ''}.onnx"


class OnnxNet(Net):
    """Images are [batch, channels, height, width]. Values are names of the graph."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.numpy_helper = helper, numpy_helper
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self.numpy_helper.from_array(value.copy(order="C"), name))
        return name

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def sizes(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def position(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    def parameter(self, name, shape, initial):
        value = self.weights[name]
        return self.constant(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)

    average = parameter

    def affine(self, x, w, b):
        return self.node("Add", self.node("MatMul", x, w), b)

    def convolve(self, x, w, b, stride, pad):
        operands = [x, w] if b is None else [x, w, b]
        return self.node("Conv", *operands, strides=[stride] * 2, pads=[pad] * 4)

    def convolve_transposed(self, x, w, stride, pad):
        before, after = pad
        return self.node(
            "ConvTranspose", x, w, strides=[stride] * 2, pads=[before] * 4,
            output_padding=[before - after] * 2,
        )  # fmt: skip

    def normalize_batch(self, x, gamma, beta, mean, variance):
        return self.node("BatchNormalization", x, gamma, beta, mean, variance, epsilon=EPSILON)

    def normalize_layer(self, x, gamma, beta):
        return self.node("LayerNormalization", x, gamma, beta, axis=-1, epsilon=EPSILON)

    def relu(self, x):
        return self.node("Relu", x)

    def sigmoid(self, x):
        return self.node("Sigmoid", x)

    def gelu(self, x):
        return self.node("Gelu", x, approximate="tanh")

    def add(self, x, y):
        return self.node("Add", x, y)

    def max_pool(self, x, size, stride, pad):
        return self.node(
            "MaxPool", x, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4
        )

    def mean_pool(self, x):
        return self.node("Flatten", self.node("GlobalAveragePool", x))

    def flatten(self, x):
        # As the weights have it: channels fastest.
        return self.node("Flatten", self.node("Transpose", x, perm=[0, 2, 3, 1]))

    def mean_tokens(self, x):
        return self.node("ReduceMean", x, self.sizes(1), keepdims=0)

    def attend(self, qkv, heads):
        from .models import FEATURES, TOKENS

        size = FEATURES // heads
        parts = self.node("Reshape", qkv, self.sizes(0, TOKENS, 3, heads, size))
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        q, k, v = (
            self.node(
                "Transpose", self.node("Gather", parts, self.position(part), axis=2), perm=order
            )
            for part, order in enumerate(orders)
        )
        scores = self.node("Mul", self.node("MatMul", q, k), self.scalar(1 / math.sqrt(size)))
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        mixed = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.node("Reshape", mixed, self.sizes(0, TOKENS, FEATURES))

    def write(
        self, path: Path, result: str, inputs: dict[str, tuple], rank: int, ids: bool = False
    ) -> None:
        """ids: inputs are integers"""
        import onnx

        helper = self.helper
        fed = onnx.TensorProto.INT32 if ids else onnx.TensorProto.FLOAT
        self.nodes.append(helper.make_node("Identity", [result], ["y"]))
        tensors = [
            helper.make_tensor_value_info(name, fed, shape) for name, shape in inputs.items()
        ]
        shape = [f"d{axis}" for axis in range(rank)]
        y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "benchmark", tensors, [y], self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        # The format's version that goes with the operator set; newer ones are refused.
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        onnx.save(model, str(path))


def write_model(name: str, folder: Path, weights: Path) -> None:
    model = MODELS[name]
    with np.load(weights) as file:
        net = OnnxNet({key: file[key] for key in file.files})
    sizes = model.inputs
    shape = (sizes[2], *sizes[:2]) if len(sizes) == 3 else sizes
    result = model.network(net, "x")
    rank = 4 if model.labels else 2
    net.write(folder / f"{name}.onnx", result, {"x": ("batch", *shape)}, rank)


def write_lstm(name: str, folder: Path, weights: Path) -> None:
    """The classifier of ids, by ONNX's LSTM: [directions, gates, inputs], gates i, o, f, j."""
    model = SEQUENCE_MODELS[name]
    with np.load(weights) as file:
        values = {key: file[key] for key in file.files}

    def gates(value: np.ndarray) -> np.ndarray:
        i, j, f, o = np.split(value, 4, axis=-1)
        return np.concatenate([i, o, f, j], -1).T[None]

    net = OnnxNet(values)
    kernel, bias = values["cell/kernel"], values["cell/bias"].copy()
    bias[2 * model.hidden : 3 * model.hidden] += 1
    words = net.node("Gather", net.constant(values["embedding"]), "x")
    operands = [
        net.node("Transpose", words, perm=[1, 0, 2]),
        net.constant(gates(kernel[: model.inputs])),
        net.constant(gates(kernel[model.inputs :])),
        net.constant(np.concatenate([gates(bias), np.zeros((1, len(bias)), np.float32)], 1)),
    ]
    net.nodes.append(net.helper.make_node("LSTM", operands, ["", "last"], hidden_size=model.hidden))
    result = net.dense(net.node("Squeeze", "last", net.sizes(0)), "classes", 0, 0)
    net.write(folder / f"{name}.onnx", result, {"x": ("batch", "steps")}, 2, ids=True)


def write_kernel(name: str, folder: Path) -> None:
    from .systems.kernel_data import operands

    data, more = operands(name)
    net = OnnxNet({})
    if name == "gelu":
        scaled = net.node("Mul", "x", net.scalar(1.1))
        result = net.gelu(net.node("Add", scaled, net.scalar(0.3)))
    elif name == "softmax":
        result = net.node("Softmax", "x", axis=-1)
    elif name == "layer_norm":
        result = net.normalize_layer("x", *map(net.constant, more))
    else:
        result = net.node("ReduceSum", "x", net.sizes(int(name[-1])), keepdims=0)
    rank = data.ndim - name.startswith("sum")
    net.write(folder / kernel_file(name), result, {"x": data.shape}, rank)


def write_gemm(size: tuple[int, int, int], constant: bool, folder: Path) -> None:
    from .data import operand

    m, k, n = size
    net = OnnxNet({})
    right = net.constant(operand(k, n, seed=1)) if constant else "w"
    inputs = {"x": (m, k)} if constant else {"x": (m, k), "w": (k, n)}
    net.write(folder / gemm_file(size, constant), net.node("MatMul", "x", right), inputs, 2)


def main(name: str, folder: Path, weights: Path) -> None:
    workload = by_name(name)
    if workload.kind == INFER:
        write_model(workload.model, folder, weights)
    elif workload.kind == RECURRENT_INFER:
        write_lstm(workload.model, folder, weights)
    elif workload.kind == KERNELS:
        for kernel in KERNEL_NAMES:
            write_kernel(kernel, folder)
    elif workload.kind == GEMM:
        for size in GEMM_SIZES:
            for constant in (False, True):
                write_gemm(size, constant, folder)
    elif workload.kind == DISPATCH:
        net = OnnxNet({})
        result = net.node("Add", "x", net.scalar(1.0))
        net.write(folder / "dispatch.onnx", result, {"x": (4,)}, 1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
