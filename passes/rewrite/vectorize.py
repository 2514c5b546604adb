"""One operation for many independent applications of it: along a new first dimension.

    for each t: y[t] = f(x[t], k)   -->   y = F(x, k)

Elementwise operations broadcast; what else can be widened says how, in its `batch` rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...ir.node import Node, Tensor
from ...ir.op import LEAF, find
from ...ir.program import Interner
from ...sizes import Dim
from .rules import BINARY, UNARY

_ELEMENTWISE = UNARY | BINARY | {"select", "identity", "stop_gradient"}

Known = tuple[Tensor, bool]  # a tensor, and whether its first dimension is the new one


class Vectorizer:
    """Computes tensors of a body for all its iterations.

    known: what stands for a parameter or another tensor of the body
    repeatable: whether a node may be computed here at all
    """

    def __init__(
        self,
        interner: Interner,
        length: Dim,
        known: Mapping[Tensor, Known],
        repeatable: Callable[[Node], bool],
    ):
        self.interner = interner
        self.length = length
        self.known: dict[Tensor, Known] = dict(known)
        self.repeatable = repeatable

    def can(self, tensor: Tensor) -> bool:
        return self.of(tensor) is not None

    def of(self, tensor: Tensor) -> Known | None:
        """`tensor` for all iterations; None where that cannot be had."""
        order: list[Tensor] = []
        stack, seen = [tensor], {tensor}
        while stack:
            current = stack.pop()
            if current in self.known or current.node.op.kind == LEAF:
                continue
            order.append(current)
            for read in current.node.inputs:
                if read not in seen:
                    seen.add(read)
                    stack.append(read)
        order.sort(key=_Depth(order).of)
        for current in order:
            if current not in self.known and not self._apply(current.node):
                return None
        return self._operand(tensor)

    def _operand(self, tensor: Tensor) -> Known | None:
        found = self.known.get(tensor)
        if found is None and tensor.node.op.name == "constant":
            found = tensor, False
        return found

    def _apply(self, node: Node) -> bool:
        if not self.repeatable(node):
            return False
        operands = [self._operand(tensor) for tensor in node.inputs]
        if any(operand is None for operand in operands):
            return False
        inputs = [operand[0] for operand in operands]  # type: ignore[index]
        batched = [operand[1] for operand in operands]  # type: ignore[index]
        if not any(batched):
            made = self.interner.create(node.op, tuple(inputs), node.attrs, node.regions)
            self.known.update({t: (new, False) for t, new in zip(node.outputs, made.outputs,
                                                                 strict=True)})  # fmt: skip
            return True
        if node.op.name in _ELEMENTWISE:
            outputs: Sequence[Tensor] | None = self._elementwise(node, inputs, batched)
        elif node.op.batch is not None:
            outputs = node.op.batch(node, inputs, batched)
        else:
            return False
        if outputs is None:
            return False
        for tensor, new in zip(node.outputs, outputs, strict=True):
            if new.dims != (self.length, *tensor.dims):
                return False
            self.known[tensor] = new, True
        return True

    def _elementwise(self, node: Node, inputs, batched) -> list[Tensor]:
        rank = len(node.outputs[0].dims)
        aligned = []
        for tensor, wide, before in zip(inputs, batched, node.inputs, strict=True):
            missing = rank - len(before.dims)
            if wide and missing:
                shape = (tensor.dims[0], *[1] * missing, *tensor.dims[1:])
                tensor = find("reshape")(tensor, shape=shape)
            aligned.append(tensor)
        made = self.interner.create(node.op, tuple(aligned), node.attrs)
        return list(made.outputs)


class _Depth:
    """How many operations lie behind tensors, in so far as they are among some."""

    def __init__(self, tensors: Sequence[Tensor]):
        self.among = set(tensors)
        self.known: dict[Tensor, int] = {}

    def of(self, tensor: Tensor) -> int:
        stack = [tensor]
        while stack:
            current = stack[-1]
            if current in self.known:
                stack.pop()
                continue
            inner = [t for t in current.node.inputs if t in self.among]
            waiting = [t for t in inner if t not in self.known]
            if waiting:
                stack.extend(waiting)
            else:
                self.known[current] = 1 + max((self.known[t] for t in inner), default=0)
        return self.known[tensor]
