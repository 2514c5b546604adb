"""Recognises attention written as products and a softmax, whose matrix nobody else needs.

    p = softmax(scale q kᵀ + bias);  contract(p, v)   -->   attention(q, k, v, bias)

Training needs p for its gradients, so there it stays as it was written;
`nn.scaled_dot_product_attention` has gradients of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...ir.node import Node, Tensor
from ...ir.op import find
from ...ir.program import Program
from ..analysis.relations import scalar_constant
from .rules import made_by

SHORTEST = 32  # keys: shorter rows of scores are as well kept in registers and the first cache


@dataclass(frozen=True)
class _Found:
    """The inputs that a match takes over: (node, position) of each, in terms of the program."""

    scores: Node  # the contract of queries and keys
    bias: tuple[Node, int] | None
    scale: float


def find_attention(program: Program) -> Program:
    """`program` with its compositions of attention as one operation each."""
    users = program.users()
    for tensor in program.roots():
        users[tensor].append(tensor.node)  # a use that is no node's
    nodes = program.nodes()
    before = iter(nodes)
    found = {node: match for node in nodes if (match := _match(node, users)) is not None}
    if not found:
        return program
    now: dict[Node, Node] = {}

    def rule(node: Node) -> Tensor | None:
        old = next(before)
        now[old] = node
        match = found.get(old)
        if match is None:
            return None
        q, k = now[match.scores].inputs
        inputs = [q, k, node.inputs[1]]
        if match.bias is not None:
            holder, position = match.bias
            inputs.append(now[holder].inputs[position])
        return find("attention")(*inputs, scale=match.scale, causal=False)[0]

    return program.rewrite(rule)


def _match(node: Node, users: dict[Tensor, list[Node]]) -> _Found | None:
    if node.op.name != "contract":
        return None
    p, v = node.inputs
    rank = len(p.dims)
    if rank < 2 or not _is_product(node, rank, -2) or not p.dtype.is_floating:
        return None
    s = _softmax_of(p, node, users)
    if s is None or (isinstance(s.dims[-1], int) and s.dims[-1] < SHORTEST):
        return None
    bias: tuple[Node, int] | None = None
    scale = 1.0
    while True:
        last = s.node
        if last.op.name == "contract":
            return _product_of(last, rank, bias, scale)
        if last.op.name == "mul":
            for side in (0, 1):
                factor = scalar_constant(last.inputs[side].node)
                if factor is not None:
                    scale *= float(factor.value)
                    s = last.inputs[1 - side]
                    break
            else:
                return None
        elif last.op.name == "add" and bias is None and scale == 1.0:
            side = 0 if _leads_to_product(last.inputs[0]) else 1
            bias = (last, 1 - side)
            s = last.inputs[side]
            other = last.inputs[1 - side]
            if s.dims != p.dims or len(other.dims) > rank:
                return None
        else:
            return None
        if len(users[s]) != 1:
            return None


def _leads_to_product(tensor: Tensor) -> bool:
    while tensor.node.op.name == "mul":
        sides = [t for t in tensor.node.inputs if scalar_constant(t.node) is None]
        if len(sides) != 1:
            return False
        tensor = sides[0]
    return tensor.node.op.name == "contract"


def _product_of(node: Node, rank: int, bias, scale: float) -> _Found | None:
    q, k = node.inputs
    v_like = len(q.dims) == rank == len(k.dims) and _is_product(node, rank, -1)
    if not v_like or not isinstance(q.dims[-1], int) or not np.isfinite(scale):
        return None
    return _Found(node, bias, scale)


def _is_product(node: Node, rank: int, axis: int) -> bool:
    """Whether it is a batched matrix product over the last axis and that one."""
    lead = tuple(range(rank - 2))
    (batch_a, batch_b), (sum_a, sum_b) = node.attrs["batch"], node.attrs["contracting"]
    return (
        len(node.inputs[1].dims) == rank
        and isinstance(node.inputs[1].dims[-1], int)
        and tuple(batch_a) == tuple(batch_b) == lead
        and tuple(sum_a) == (rank - 1,)
        and tuple(sum_b) == (rank + axis,)
    )


def _softmax_of(p: Tensor, user: Node, users: dict[Tensor, list[Node]]) -> Tensor | None:
    """s where p = softmax(s) along the last axis, nothing of it used elsewhere."""
    axes = (len(p.dims) - 1,)
    if users[p] != [user]:
        return None
    last = p.node
    if last.op.name == "mul":
        inverse = made_by(last.inputs[1], "reciprocal")
        sums = None if inverse is None else inverse.inputs[0]
    elif last.op.name == "div":
        sums = last.inputs[1]
    else:
        return None
    e = made_by(last.inputs[0], "exp")
    total = None if sums is None else _row_reduction(sums, "sum", axes)
    if e is None or total is not e.outputs[0]:
        return None
    centred = made_by(e.inputs[0], "sub")
    if centred is None or len(users[e.outputs[0]]) != 2 or len(users[e.inputs[0]]) != 1:
        return None
    s = centred.inputs[0]
    if _row_reduction(centred.inputs[1], "max", axes) is not s or len(users[s]) != 2:
        return None
    return s


def _row_reduction(tensor: Tensor, kind: str, axes: tuple[int, ...]) -> Tensor | None:
    """x where the tensor is a reduction of x over the last axis, kept with size 1."""
    kept = made_by(tensor, "reshape")
    node = None if kept is None else made_by(kept.inputs[0], "reduce")
    if node is None or node.attrs["kind"] != kind or tuple(node.attrs["axes"]) != axes:
        return None
    return node.inputs[0] if tensor.dims == (*node.outputs[0].dims, 1) else None
