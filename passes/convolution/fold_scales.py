"""Moves factors of output channels into weights: batch normalisation as inference uses it.

convolve(x, w) * s  -->  convolve(x, w * s)      contract(x, w) * s  -->  contract(x, w * s)

where w and s are settled, so that the product is computed once and kept (`settled.py`), and nobody
else reads the sums. What is added follows in the epilogue, as it did.
"""

from __future__ import annotations

from ...ir.node import Node, Tensor
from ...ir.op import CONTRACT, CONVOLVE, find
from ...ir.program import Program
from ..fusion.settled import Settled


def fold_scales(program: Program) -> Program:
    """`program` with settled factors of channels in the weights."""
    settled, users, roots = Settled(program), program.users(), set(program.roots())
    nodes = iter(program.nodes())

    def rule(node: Node) -> Tensor | None:
        before = next(nodes)  # `node` with its inputs as they were
        if before.op.name != "mul" or not before.outputs[0].dtype.is_floating:
            return None
        for side in (0, 1):
            sums, scale = before.inputs[side], before.inputs[1 - side]
            alone = len(users[sums]) == 1 and sums not in roots
            if alone and scale in settled and _weights(sums.node, settled):
                return _scaled(node.inputs[side].node, node.inputs[1 - side], node)
        return None

    return program.rewrite(rule)


def _weights(node: Node, settled: Settled) -> bool:
    """Whether a node is a product with settled weights that have the output's channels."""
    if node.op.kind == CONVOLVE:
        return node.op.name == "convolve" and node.inputs[1] in settled
    return node.op.kind == CONTRACT and node.inputs[1] in settled and _channel(node) is not None


def _channel(node: Node) -> int | None:
    """The axis of the second operand that is the last one of the result."""
    batch = node.attrs.get("batch", ((), ()))
    taken = {*batch[1], *node.attrs["contracting"][1]}
    free = [axis for axis in range(len(node.inputs[1].dims)) if axis not in taken]
    return free[0] if len(free) == 1 else None


def _scaled(product: Node, scale: Tensor, node: Node) -> Tensor | None:
    x, w, *live = product.inputs
    axis = len(w.dims) - 1 if product.op.kind == CONVOLVE else _channel(product)
    assert axis is not None
    channels = w.dims[axis]
    along_last = scale.dims[-1:] == (channels,) and all(dim == 1 for dim in scale.dims[:-1])
    if not along_last or channels == 1 or node.types[0] != product.types[0]:
        return None
    shape = tuple(channels if k == axis else 1 for k in range(len(w.dims)))
    factors = find("reshape")(scale, shape=shape)
    return product.op(x, find("mul")(w, factors), *live, **product.attrs)
