"""The words of models in TensorFlow's API, which is graphflow's too: `tf` is either module."""

from __future__ import annotations

from typing import Any

from ..net import EPSILON, MOMENTUM, Net


def explicit(before: int, after: int) -> list[list[int]]:
    return [[0, 0], [before, after], [before, after], [0, 0]]


class TensorFlowNet(Net):
    """Images are [batch, height, width, channels].

    variables: by parameter name
    updates:   what keeps running averages, after a model is built for training
    """

    def __init__(self, tf: Any, variables: dict[str, Any], training: bool) -> None:
        self.tf = tf
        self.variables = variables
        self.training = training
        self.updates: list[Any] = []

    def parameter(self, name, shape, initial):
        return self.variables[name]

    average = parameter

    def affine(self, x, w, b):
        if len(x.shape) == 3:
            rows = self.tf.reshape(x, [-1, int(x.shape[-1])])
            y = self.tf.matmul(rows, w) + b
            return self.tf.reshape(y, [-1, int(x.shape[1]), int(b.shape[0])])
        return self.tf.matmul(x, w) + b

    def convolve(self, x, w, b, stride, pad):
        padding = explicit(pad, pad) if pad else "VALID"
        y = self.tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding=padding)
        return y if b is None else self.tf.nn.bias_add(y, b)

    def convolve_transposed(self, x, w, stride, pad):
        padding = explicit(*pad) if any(pad) else "VALID"
        _, height, width, _ = x.shape
        sizes = [int(height) * stride, int(width) * stride, int(w.shape[2])]
        return self.tf.nn.conv2d_transpose(
            x, w, [self.tf.shape(x)[0], *sizes], [1, stride, stride, 1], padding
        )

    def normalize_batch(self, x, gamma, beta, mean, variance):
        if not self.training:
            y, _, _ = self.tf.nn.fused_batch_norm(
                x, gamma, beta, mean, variance, epsilon=EPSILON, is_training=False
            )
            return y
        y, now, spread = self.tf.nn.fused_batch_norm(
            x, gamma, beta, epsilon=EPSILON, is_training=True
        )
        self.updates.append(mean.assign_sub((mean - now) * (1 - MOMENTUM)))
        self.updates.append(variance.assign_sub((variance - spread) * (1 - MOMENTUM)))
        return y

    def normalize_layer(self, x, gamma, beta):
        mean, variance = self.tf.nn.moments(x, [-1], keepdims=True)
        return self.tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)

    def relu(self, x):
        return self.tf.nn.relu(x)

    def sigmoid(self, x):
        return self.tf.sigmoid(x)

    def gelu(self, x):
        return self.tf.nn.gelu(x, approximate=True)

    def max_pool(self, x, size, stride, pad):
        padding = explicit(pad, pad) if pad else "VALID"
        return self.tf.nn.max_pool2d(x, size, stride, padding)

    def mean_pool(self, x):
        return self.tf.reduce_mean(x, axis=[1, 2])

    def flatten(self, x):
        _, height, width, channels = x.shape
        return self.tf.reshape(x, [-1, int(height) * int(width) * int(channels)])

    def mean_tokens(self, x):
        return self.tf.reduce_mean(x, axis=1)

    def attend(self, qkv, heads):
        tf = self.tf
        _, tokens, features = map(_known, qkv.shape)
        size = features // 3 // heads
        parts = tf.transpose(tf.reshape(qkv, [-1, tokens, 3, heads, size]), [2, 0, 3, 1, 4])
        q, k, v = parts[0], parts[1], parts[2]
        scores = tf.matmul(q, k, transpose_b=True) * size**-0.5
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), [0, 2, 1, 3])
        return tf.reshape(mixed, [-1, tokens, heads * size])

    def cross_entropy(self, logits, labels):
        return self.tf.reduce_mean(
            self.tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )

    def squared_error(self, y, wanted):
        return self.tf.reduce_mean(self.tf.square(y - wanted))


def _known(size: Any) -> int:
    """A size as a number; 0 for one that is not known."""
    size = getattr(size, "value", size)
    return int(size) if isinstance(size, int) else 0


def kernel(net: TensorFlowNet, name: str, x: Any, extra: list[Any]) -> Any:
    """One of workloads.KERNEL_NAMES; `extra` are gamma and beta of layer normalisation."""
    tf = net.tf
    if name == "gelu":
        return net.gelu(1.1 * x + 0.3)
    if name == "softmax":
        return tf.nn.softmax(x)
    if name == "layer_norm":
        return net.normalize_layer(x, *extra)
    return tf.reduce_sum(x, axis=int(name[-1]))


def optimizer(tf: Any, name: str, rate: float) -> Any:
    """TensorFlow 1's optimizer of that name."""
    if name == "momentum":
        return tf.train.MomentumOptimizer(rate, 0.9)
    if name == "adam":
        return tf.train.AdamOptimizer(rate)
    return tf.train.GradientDescentOptimizer(rate)
