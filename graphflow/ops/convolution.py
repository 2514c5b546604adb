"""Convolution: the two primitives that forward passes and all their gradients are made of.

Layout is channels-last. With r spatial dimensions, 1 to 3, and C and O channels in and out,

    convolve(x[N, S.., C], w[K.., C/groups, O])        -> y[N, T.., O]
    convolve_weights(x[N, S.., C], g[N, T.., O])       -> dw[K.., C/groups, O]

    y[n, t, o]   = sum over k, c  of  x[n, t*stride + k*dilation - low, c] * w[k, c, o]
    dw[k, c, o]  = sum over n, t  of  x[n, t*stride + k*dilation - low, c] * g[n, t, o]

(cross-correlation, as TensorFlow's), where x is first spread out to `expansion` - 1 zeros between
its elements. Output channels are `groups` equal parts, each of which sees its own part of the
input channels. Paddings may be negative, which leaves elements out, and may be symbolic sizes.

The gradient with respect to x is a convolution of the output's gradient with the kernel turned
round, where stride and expansion change places. So the family is closed under differentiation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product as indices

import numpy as np

from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import CONVOLVE, Op, define, find
from ..ir.types import TensorType
from ..sizes import Dim, ceildiv, multiply
from .convolution_loops import lower_convolve
from .convolution_weight_loops import lower_convolve_weights
from .indexing import reshaped, transposed, zeros
from .windows import Window, check_positive, windows, windows_of

# -- types ---------------------------------------------------------------------------------------


def _check_inputs(x: TensorType, other: TensorType, name: str) -> None:
    if x.dtype is not other.dtype:
        raise TypeRuleError(f"the input is {x.dtype}, the {name} {other.dtype}; cast one of them")
    if not x.dtype.is_floating:
        raise TypeRuleError(f"convolution needs floating-point tensors, got {x.dtype}; cast them")
    if x.rank not in (3, 4, 5):
        raise TypeRuleError(
            f"the input {x} must have a batch, 1 to 3 spatial dimensions and channels"
        )
    if other.rank != x.rank:
        raise TypeRuleError(f"the {name} {other} must have the rank of the input {x}")


def _check_attributes(attrs, kernel: Sequence[Dim], rank: int) -> None:
    check_positive("strides", attrs["strides"], rank)
    check_positive("dilation", attrs["dilation"], rank)
    check_positive("expansion", attrs["expansion"], rank)
    check_positive("kernel sizes", kernel, rank)
    check_positive("groups", (attrs["groups"],), 1)
    if len(attrs["padding"]) != rank or any(len(pair) != 2 for pair in attrs["padding"]):
        raise TypeRuleError(f"padding {attrs['padding']} must be a pair for each of {rank} axes")


def _check_groups(channels: Dim, groups: int, what: str) -> None:
    if groups != 1 and (not isinstance(channels, int) or channels % groups):
        raise TypeRuleError(f"{channels} {what} channels do not divide into {groups} groups")


def _check_windows(dims, kernel, attrs, rules) -> list[Dim]:
    found = windows_of(dims, kernel, attrs)
    return [
        window.check(rules, f"spatial dimension {axis} of the input")
        for axis, window in enumerate(found)
    ]


def _infer_convolve(types, attrs, rules):
    x, w = types
    _check_inputs(x, w, "kernel")
    kernel, groups = w.shape[:-2], attrs["groups"]
    _check_attributes(attrs, kernel, x.rank - 2)
    channels = x.shape[-1]
    _check_groups(channels, groups, "input")
    _check_groups(w.shape[-1], groups, "output")
    each = "" if groups == 1 else f" for each of {groups} groups"
    rules.equal(
        multiply(w.shape[-2], groups),
        channels,
        f"the kernel {w} takes {w.shape[-2]} channels{each}, but the input {x} has {channels}",
    )
    steps = _check_windows(x.shape, kernel, attrs, rules)
    return (TensorType(x.dtype, (x.shape[0], *steps, w.shape[-1])),)


def _infer_convolve_weights(types, attrs, rules):
    x, g = types
    _check_inputs(x, g, "gradient")
    kernel, groups = attrs["kernel"], attrs["groups"]
    _check_attributes(attrs, kernel, x.rank - 2)
    channels, outputs = x.shape[-1], g.shape[-1]
    _check_groups(channels, groups, "input")
    _check_groups(outputs, groups, "output")
    rules.equal(x.shape[0], g.shape[0], f"the batches of {x} and {g} differ")
    steps = _check_windows(x.shape, kernel, attrs, rules)
    for axis, (expected, actual) in enumerate(zip(steps, g.shape[1:-1], strict=True)):
        rules.equal(
            expected,
            actual,
            f"spatial dimension {axis} of the gradient {g} has size {actual}, but the convolution "
            f"of {x} gives {expected}",
        )
    each = channels if groups == 1 else channels // groups
    return (TensorType(x.dtype, (*kernel, each, outputs)),)


# -- meaning in NumPy ----------------------------------------------------------------------------


def _padded(x: np.ndarray, along: Sequence[Window]) -> np.ndarray:
    """`x` spread out, with its padding."""
    shape, source, target = [x.shape[0]], [slice(None)], [slice(None)]
    for window in along:
        spacing, total = window.expansion, window.spread + window.low + window.high
        first = max(0, -(window.low // spacing))
        last = min(window.size - 1, (total - 1 - window.low) // spacing)
        count = max(0, last - first + 1)
        start = first * spacing + window.low
        shape.append(max(0, total))
        source.append(slice(first, first + count))
        target.append(slice(start, start + count * spacing, spacing) if count else slice(0, 0))
    result = np.zeros((*shape, x.shape[-1]), x.dtype)
    result[tuple(target)] = x[tuple(source)]
    return result


def _taps(
    x: np.ndarray, along: Sequence[Window], groups: int
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """(tap, the elements it meets as [groups, N * T.., C / groups]) for each tap of the kernel."""
    wide = _padded(x, along)
    for tap in indices(*(range(window.kernel) for window in along)):
        where = [slice(None)]
        for k, window in zip(tap, along, strict=True):
            start = k * window.dilation
            stop = start + (window.steps - 1) * window.stride + 1
            where.append(slice(start, max(start, stop), window.stride))
        yield tap, _by_group(wide[tuple(where)], groups)


def _by_group(x: np.ndarray, groups: int) -> np.ndarray:
    """[..., C] as [groups, product of the rest, C / groups]"""
    points = int(np.prod(x.shape[:-1], dtype=np.int64))
    return x.reshape(points, groups, x.shape[-1] // groups).transpose(1, 0, 2)


def _reference_convolve(arrays, attrs, node: Node):
    """A matrix product for each tap of the kernel, in the inputs' dtype."""
    x, w = arrays
    along, groups = windows_of(x.shape, w.shape[:-2], attrs), attrs["groups"]
    steps: list = [window.steps for window in along]
    outputs = w.shape[-1]
    points = int(np.prod([x.shape[0], *steps], dtype=np.int64))
    total = np.zeros((groups, points, outputs // groups), x.dtype)
    for tap, elements in _taps(x, along, groups):
        kernel = w[tap].reshape(w.shape[-2], groups, outputs // groups).transpose(1, 0, 2)
        total += np.matmul(elements, kernel)
    return (np.ascontiguousarray(total.transpose(1, 0, 2)).reshape(x.shape[0], *steps, outputs),)


def _reference_convolve_weights(arrays, attrs, node: Node):
    x, g = arrays
    kernel, groups = attrs["kernel"], attrs["groups"]
    right = _by_group(g, groups)
    each = x.shape[-1] // groups
    result = np.zeros((*kernel, each, g.shape[-1]), x.dtype)
    for tap, elements in _taps(x, windows_of(x.shape, kernel, attrs), groups):
        sums = np.matmul(elements.transpose(0, 2, 1), right)
        result[tap] = sums.transpose(1, 0, 2).reshape(each, g.shape[-1])
    return (result,)


# -- derivatives ---------------------------------------------------------------------------------


def transposed_kernel(w: Tensor, groups: int) -> Tensor:
    """The kernel turned round, with input and output channels exchanged within each group."""
    *kernel, each, outputs = w.dims
    rank = len(kernel)
    around = tuple(axis for axis, size in enumerate(kernel) if size != 1)
    if around:
        w = find("reverse")(w, axes=around)
    if groups == 1:
        return transposed(w, [*range(rank), rank + 1, rank])
    assert isinstance(outputs, int)
    w = reshaped(w, [*kernel, each, groups, outputs // groups])
    w = transposed(w, [*range(rank), rank + 2, rank + 1, rank])
    return reshaped(w, [*kernel, outputs // groups, multiply(each, groups)])


def convolve_inputs(g: Tensor, w: Tensor, dims: Sequence[Dim], attrs, name=None) -> Tensor:
    """The gradient with respect to an input of shape `dims` of a convolution with the attributes
    `attrs`: also what is called a transposed convolution of g.

    dx[n, s, c] = sum over t, k with t*stride + k*dilation - low = s*expansion, and over o,
                  of  g[n, t, o] * w[k, c, o]

    The convolution of such an input must have the shape of g.
    """
    if any(isinstance(dim, int) and dim == 0 for dim in dims):
        return zeros(g.dtype, dims)
    found = windows_of(dims, w.dims[:-2], attrs)
    along = [window.transposed(size) for window, size in zip(found, g.dims[1:-1], strict=True)]
    return convolve(
        g,
        transposed_kernel(w, attrs["groups"]),
        strides=tuple(window.stride for window in along),
        padding=tuple((window.low, window.high) for window in along),
        dilation=tuple(window.dilation for window in along),
        expansion=tuple(window.expansion for window in along),
        groups=attrs["groups"],
        name=name,
    )


def _vjp_convolve(node: Node, gradients):
    (g,) = gradients
    x, w = node.inputs
    kernel = tuple(w.dims[:-2])
    return [
        convolve_inputs(g, w, x.dims, node.attrs),
        convolve_weights(x, g, kernel=kernel, **node.attrs),
    ]


def _vjp_convolve_weights(node: Node, gradients):
    (gradient,) = gradients
    x, g = node.inputs
    attrs = {name: value for name, value in node.attrs.items() if name != "kernel"}
    return [convolve_inputs(g, gradient, x.dims, attrs), convolve(x, gradient, **attrs)]


# -- the primitives ------------------------------------------------------------------------------


def convolution_flops(node: Node) -> Dim:
    """Two for each product of an element and a weight; taps that meet padding count too, zeros
    between elements do not."""
    channels, outputs = node.inputs[0].dims[-1], node.outputs[0].dims[-1]
    total = multiply(node.inputs[0].dims[0], multiply(channels, outputs))
    for window in windows(node):
        # Of the taps at all places together, one in `expansion` meets an element.
        meetings = ceildiv(multiply(window.steps, window.kernel), window.expansion)
        total = multiply(total, meetings)
    return multiply(2, total // node.attrs["groups"])


convolve: Op = define(
    Op(
        name="convolve",
        kind=CONVOLVE,
        infer=_infer_convolve,
        reference=_reference_convolve,
        vjp=_vjp_convolve,
        lower=lower_convolve,
        flops=2.0,
        count_flops=convolution_flops,
    )
)

convolve_weights: Op = define(
    Op(
        name="convolve_weights",
        kind=CONVOLVE,
        infer=_infer_convolve_weights,
        reference=_reference_convolve_weights,
        vjp=_vjp_convolve_weights,
        lower=lower_convolve_weights,
        flops=2.0,
        count_flops=convolution_flops,
    )
)
