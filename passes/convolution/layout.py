"""Puts convolutions into the form their loops want: nothing but elements around every window.

convolve(x, w, padding p)  -->  convolve(pad(x, p), w)     the padding in memory, made once for
                                                           all that walk the same input
convolve of single taps    -->  contract                   a product of matrices
convolve_weights(x spread out, g)  -->  transposed convolve_weights(g, x)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...errors import GraphError
from ...ir.node import Node, Tensor
from ...ir.op import CONVOLVE, find
from ...ir.program import Program
from ...ops.convolution import transposed_kernel
from ...ops.windows import Window, windows
from ...sizes import Dim, ceildiv, is_nonnegative, maximum, multiply, product
from .winograd import TAPS, reach


def layout(program: Program) -> Program:
    """`program` with its convolutions rewritten where that makes them faster."""
    return program.rewrite(_rewrite)


def _rewrite(node: Node) -> Tensor | None:
    if node.op.kind != CONVOLVE:
        return None
    if any(0 in t.dims for t in (*node.inputs, *node.outputs)):
        return None
    for rule in (_contraction, _exchanged, _padded):
        result = _tried(rule, node)
        if result is None:
            continue
        if rule is _padded:
            # Once only: that nothing is left to pad cannot always be proved of unknown sizes.
            result = _tried(_contraction, result.node) or result
        if result.tensor_type != node.types[0]:
            result = find("reshape")(result, shape=node.outputs[0].dims)
        return result
    return None


def _tried(rule: Callable[[Node], Tensor | None], node: Node) -> Tensor | None:
    try:
        return rule(node)
    except GraphError:  # sizes that the type rules cannot prove equal
        return None


def _contraction(node: Node) -> Tensor | None:
    """A kernel of one tap at every position."""
    x, other = node.inputs
    simple = all(
        (w.kernel, w.stride, w.low, w.high, w.expansion) == (1, 1, 0, 0, 1) for w in windows(node)
    )
    if not simple or node.attrs["groups"] != 1:
        return None
    leading = tuple(range(len(x.dims) - 1))
    if node.op.name == "convolve":
        w = find("reshape")(other, shape=other.dims[-2:])
        pairs: tuple = ((len(leading),), (0,))
        return find("contract")(x, w, batch=((), ()), contracting=pairs)
    points = product(x.dims[:-1])
    rows = [find("reshape")(t, shape=(points, t.dims[-1])) for t in (x, other)]
    result = find("contract")(*rows, batch=((), ()), contracting=((0,), (0,)))
    return find("reshape")(result, shape=node.outputs[0].dims)


def _exchanged(node: Node) -> Tensor | None:
    """The gradient of the weights of a transposed convolution is that of a convolution from the
    gradient to the input."""
    along = windows(node)
    if node.op.name != "convolve_weights" or all(w.expansion == 1 for w in along):
        return None
    x, g = node.inputs
    turned = [w.transposed(steps) for w, steps in zip(along, g.dims[1:-1], strict=True)]
    if any(window.expansion != 1 for window in turned):
        return None
    result = find("convolve_weights")(
        g,
        x,
        kernel=node.attrs["kernel"],
        strides=tuple(window.stride for window in turned),
        padding=tuple((window.low, window.high) for window in turned),
        dilation=tuple(window.dilation for window in turned),
        expansion=tuple(window.expansion for window in turned),
        groups=node.attrs["groups"],
    )
    padded = _padded(result.node)
    return transposed_kernel(result if padded is None else padded, node.attrs["groups"])


def _padded(node: Node) -> Tensor | None:
    """The padding in memory; of inputs that are spread out, as many elements as it takes."""
    along = windows(node)
    around = [_amounts(window) for window in along]
    if _is_3x3(along):
        # Tiles of minimal filtering may reach further. Gradients of the weights do not use them,
        # but walk the same padded input.
        around = [
            (low, maximum(high, reach(w.steps) - w.size - w.low))
            for w, (low, high) in zip(along, around, strict=True)
        ]
    if all(amounts == (0, 0) for amounts in around):
        return None
    x, other = node.inputs
    before, after = zip(*around, strict=True)
    wide = find("pad")(x, before=(0, *before, 0), after=(0, *after, 0), mode="constant", value=0.0)
    padding = tuple(
        (
            window.low - multiply(low, window.expansion),
            window.high - multiply(high, window.expansion),
        )
        for window, (low, high) in zip(along, around, strict=True)
    )
    return node.op(wide, other, **{**node.attrs, "padding": padding})


def _is_3x3(along: Sequence[Window]) -> bool:
    """Whether a convolution could be computed by minimal filtering."""
    return len(along) == 2 and all(
        (w.kernel, w.stride, w.dilation, w.expansion) == (TAPS, 1, 1, 1)
        and isinstance(w.steps, int)
        for w in along
    )


def _amounts(window: Window) -> tuple[Dim, Dim]:
    """Elements before and after that leave no padding, only elements to skip."""
    return _elements(window.low, window.expansion), _elements(window.high, window.expansion)


def _elements(padding: Dim, expansion: int) -> Dim:
    if is_nonnegative(padding):
        return ceildiv(padding, expansion)
    if is_nonnegative(0 - padding):
        return 0
    return ceildiv(maximum(padding, 0), expansion)
