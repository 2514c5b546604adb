"""The models of the benchmarks, once for all systems, in the words of `net.Net`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .net import Net


def perceptron(sizes: tuple[int, ...], activation: str) -> Callable[[Net, Any], Any]:
    """Fully connected layers of these sizes, the inputs' first; the last one is linear."""

    def network(net: Net, x: Any) -> Any:
        for layer, (inputs, units) in enumerate(zip(sizes, sizes[1:], strict=False)):
            if layer:
                x = getattr(net, activation)(x)
            x = net.dense(x, f"dense{layer}", inputs, units)
        return x

    return network


def simplecnn(net: Net, x: Any) -> Any:
    """Two convolutions and three dense layers for images [32, 32, 3] (after LeCun et al. 1998)."""
    x = net.relu(net.conv(x, "conv1", 3, 6, 5, pad=0, bias=True))
    x = net.max_pool(x, 2, 2, 0)
    x = net.relu(net.conv(x, "conv2", 6, 16, 5, pad=0, bias=True))
    x = net.flatten(net.max_pool(x, 2, 2, 0))
    x = net.relu(net.dense(x, "dense1", 400, 120))
    x = net.relu(net.dense(x, "dense2", 120, 84))
    return net.dense(x, "dense3", 84, 10)


WIDTHS = (64, 128, 256, 512)


def _normed(net: Net, x: Any, name: str, *conv: int) -> Any:
    x = net.conv(x, name, *conv)
    return net.batch_norm(x, f"{name}_norm", conv[1])


def _stem(net: Net, x: Any) -> Any:
    x = net.relu(_normed(net, x, "stem", 3, 64, 7, 2))
    return net.max_pool(x, 3, 2, 1)


def _stage(net: Net, x: Any, stage: int) -> Any:
    """Two residual blocks of two 3x3 convolutions (He et al. 2016, arXiv:1512.03385)."""
    channels, width = WIDTHS[max(stage - 1, 0)], WIDTHS[stage]
    for block in range(2):
        name = f"stage{stage}_block{block}"
        stride = 2 if stage and not block else 1
        inputs = channels if not block else width
        h = net.relu(_normed(net, x, f"{name}_conv1", inputs, width, 3, stride))
        h = _normed(net, h, f"{name}_conv2", width, width, 3)
        if stride == 2:
            x = _normed(net, x, f"{name}_short", inputs, width, 1, 2)
        x = net.relu(net.add(h, x))
    return x


def resnet18(net: Net, x: Any) -> Any:
    """ResNet-18 (He et al. 2016, arXiv:1512.03385) for images [224, 224, 3] and 1,000 classes."""
    x = _stem(net, x)
    for stage in range(4):
        x = _stage(net, x, stage)
    return net.dense(net.mean_pool(x), "classes", 512, 1000)


LINKNET_CLASSES = 12


def _grown(net: Net, x: Any, name: str, inputs: int, filters: int, size: int, stride: int) -> Any:
    x = net.conv_transpose(x, name, inputs, filters, size, stride)
    return net.relu(net.batch_norm(x, f"{name}_norm", filters))


def linknet(net: Net, x: Any) -> Any:
    """LinkNet (Chaurasia and Culurciello 2017, arXiv:1707.03718): a class for each pixel."""
    x = _stem(net, x)
    encoded = []
    for stage in range(4):
        x = _stage(net, x, stage)
        encoded.append(x)
    for stage in reversed(range(4)):
        inputs, outputs = WIDTHS[stage], WIDTHS[max(stage - 1, 0)]
        narrow = inputs // 4
        x = net.relu(_normed(net, x, f"decode{stage}_in", inputs, narrow, 1))
        x = _grown(net, x, f"decode{stage}_up", narrow, narrow, 3, 2 if stage else 1)
        x = net.relu(_normed(net, x, f"decode{stage}_out", narrow, outputs, 1))
        if stage:
            x = net.add(x, encoded[stage - 1])
    x = _grown(net, x, "head_up", 64, 32, 3, 2)
    x = net.relu(_normed(net, x, "head_conv", 32, 32, 3))
    return net.conv_transpose(x, "head_classes", 32, LINKNET_CLASSES, 2, 2)


LAYERS, FEATURES, HEADS, HIDDEN, TOKENS = 4, 256, 4, 1024, 128


def transformer(net: Net, x: Any) -> Any:
    """A pre-norm encoder (Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020,
    arXiv:2002.04745) of vectors [tokens, features], with a classifier on the mean token."""
    for layer in range(LAYERS):
        name = f"layer{layer}"
        h = net.layer_norm(x, f"{name}_norm1", FEATURES)
        h = net.attend(net.dense(h, f"{name}_qkv", FEATURES, 3 * FEATURES), HEADS)
        x = net.add(x, net.dense(h, f"{name}_project", FEATURES, FEATURES))
        h = net.layer_norm(x, f"{name}_norm2", FEATURES)
        h = net.gelu(net.dense(h, f"{name}_hidden", FEATURES, HIDDEN))
        x = net.add(x, net.dense(h, f"{name}_output", HIDDEN, FEATURES))
    x = net.layer_norm(x, "norm", FEATURES)
    return net.dense(net.mean_tokens(x), "classes", FEATURES, 10)


@dataclass(frozen=True)
class Model:
    """A network, the shape of one input, and what its loss compares with.

    inputs:  of one example; images are [height, width, channels]
    classes: of a label; 0 for targets that are numbers
    labels:  shape of one example's labels
    """

    network: Callable[[Net, Any], Any]
    inputs: tuple[int, ...]
    classes: int
    labels: tuple[int, ...] = ()

    def loss(self, net: Net, x: Any, y: Any) -> Any:
        result = self.network(net, x)
        return net.cross_entropy(result, y) if self.classes else net.squared_error(result, y)


MODELS = {
    "xor": Model(perceptron((2, 5, 2), "sigmoid"), (2,), 0, (2,)),
    "fizzbuzz": Model(perceptron((10, 100, 4), "sigmoid"), (10,), 4),
    "mlp": Model(perceptron((784, 512, 256, 10), "relu"), (784,), 10),
    "simplecnn": Model(simplecnn, (32, 32, 3), 10),
    "resnet18": Model(resnet18, (224, 224, 3), 1000),
    "linknet": Model(linknet, (256, 256, 3), LINKNET_CLASSES, (256, 256)),
    "transformer": Model(transformer, (TOKENS, FEATURES), 10),
}
