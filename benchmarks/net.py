"""The words the benchmarks' models are written in, so that every system computes the same thing.

A model is a function of a `Net` and its inputs (models.py). Each system derives a Net whose words
are that library's own operations, in the layout that is natural for it; `Declaration` derives one
that only notes the parameters. Parameters are named, and their canonical layouts are TensorFlow's:
dense kernels [in, out], convolution kernels [height, width, in, out], those of transposed
convolutions [height, width, out, in]; flattened images count channels fastest.
"""

from __future__ import annotations

from typing import Any

WEIGHT, ZEROS, ONES = "weight", "zeros", "ones"
EPSILON = 1e-5  # of every normalisation
MOMENTUM = 0.9  # of the running averages of batch normalisation


class Net:
    """Layers, from parameters and a system's operations.

    training: batch normalisation uses the batch's moments and keeps running averages
    """

    training = False

    # -- what a system says ---------------------------------------------------------------------

    def parameter(self, name: str, shape: tuple[int, ...], initial: str) -> Any:
        """The trained parameter of that name; `initial` is WEIGHT, ZEROS or ONES."""
        raise NotImplementedError

    def average(self, name: str, shape: tuple[int, ...], initial: str) -> Any:
        """A running average: state that is not trained."""
        raise NotImplementedError

    def affine(self, x: Any, w: Any, b: Any) -> Any:
        """x · w + b over the last axis of x."""
        raise NotImplementedError

    def convolve(self, x: Any, w: Any, b: Any | None, stride: int, pad: int) -> Any:
        """Images padded by `pad` zeros on every side."""
        raise NotImplementedError

    def convolve_transposed(self, x: Any, w: Any, stride: int, pad: tuple[int, int]) -> Any:
        """The transpose of a convolution padded by `pad` (before, after); images grow `stride`
        times."""
        raise NotImplementedError

    def normalize_batch(self, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        raise NotImplementedError

    def normalize_layer(self, x: Any, gamma: Any, beta: Any) -> Any:
        raise NotImplementedError

    def relu(self, x: Any) -> Any:
        raise NotImplementedError

    def sigmoid(self, x: Any) -> Any:
        raise NotImplementedError

    def gelu(self, x: Any) -> Any:
        """By its tanh approximation."""
        raise NotImplementedError

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def max_pool(self, x: Any, size: int, stride: int, pad: int) -> Any:
        raise NotImplementedError

    def mean_pool(self, x: Any) -> Any:
        """The mean over all pixels: [batch, channels]."""
        raise NotImplementedError

    def flatten(self, x: Any) -> Any:
        raise NotImplementedError

    def mean_tokens(self, x: Any) -> Any:
        """[batch, tokens, features] to [batch, features]."""
        raise NotImplementedError

    def attend(self, qkv: Any, heads: int) -> Any:
        """Softmax attention; queries, keys and values lie side by side in the last axis."""
        raise NotImplementedError

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        """The mean over everything but the classes."""
        raise NotImplementedError

    def squared_error(self, y: Any, wanted: Any) -> Any:
        raise NotImplementedError

    # -- layers ---------------------------------------------------------------------------------

    def dense(self, x: Any, name: str, inputs: int, units: int) -> Any:
        kernel = self.parameter(f"{name}/kernel", (inputs, units), WEIGHT)
        return self.affine(x, kernel, self.parameter(f"{name}/bias", (units,), ZEROS))

    def conv(
        self,
        x: Any,
        name: str,
        inputs: int,
        filters: int,
        size: int,
        stride: int = 1,
        pad: int | None = None,
        bias: bool = False,
    ) -> Any:
        """Padded by half the kernel unless told otherwise."""
        kernel = self.parameter(f"{name}/kernel", (size, size, inputs, filters), WEIGHT)
        offset = self.parameter(f"{name}/bias", (filters,), ZEROS) if bias else None
        return self.convolve(x, kernel, offset, stride, size // 2 if pad is None else pad)

    def conv_transpose(
        self, x: Any, name: str, inputs: int, filters: int, size: int, stride: int
    ) -> Any:
        kernel = self.parameter(f"{name}/kernel", (size, size, filters, inputs), WEIGHT)
        padding = size - stride
        return self.convolve_transposed(x, kernel, stride, (padding - padding // 2, padding // 2))

    def batch_norm(self, x: Any, name: str, channels: int) -> Any:
        return self.normalize_batch(
            x,
            self.parameter(f"{name}/gamma", (channels,), ONES),
            self.parameter(f"{name}/beta", (channels,), ZEROS),
            self.average(f"{name}/mean", (channels,), ZEROS),
            self.average(f"{name}/variance", (channels,), ONES),
        )

    def layer_norm(self, x: Any, name: str, features: int) -> Any:
        gamma = self.parameter(f"{name}/gamma", (features,), ONES)
        return self.normalize_layer(x, gamma, self.parameter(f"{name}/beta", (features,), ZEROS))


class Declaration(Net):
    """Notes the parameters of a model, computing nothing."""

    def __init__(self) -> None:
        self.parameters: dict[str, tuple[tuple[int, ...], str]] = {}
        self.averages: dict[str, tuple[tuple[int, ...], str]] = {}

    def parameter(self, name, shape, initial):
        self.parameters[name] = (shape, initial)

    def average(self, name, shape, initial):
        self.averages[name] = (shape, initial)

    def _nothing(self, *_: Any) -> None:
        return None

    affine = convolve = convolve_transposed = normalize_batch = normalize_layer = _nothing
    relu = sigmoid = gelu = add = max_pool = mean_pool = flatten = mean_tokens = _nothing
    attend = cross_entropy = squared_error = _nothing
