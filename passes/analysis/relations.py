"""How the elements an operation reads lie to the element it computes.

Every tensor is seen as its elements in row-major order, so a reshape changes nothing. Reading
tensor `u` for element number `p` of tensor `v`:

    SAME    u's element p                     elementwise work
    LEAD    u's element p // m                a value of each row of m elements: [n,1] for [n,m]
    SCALAR  u's only element
    OTHER   anything else: transposes, gathers, the bias of a row [m] for [n,m]

Only SAME and LEAD can be computed in one nest of loops with what is read. The relation is found
by lowering the op once with names for the index, which costs microseconds and needs no
declaration by the op.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.node import Node, Tensor
from ...loop import nodes as loop
from ...loop.nodes import Const, Expr, Var
from ...sizes import Dim, product

SAME, LEAD, SCALAR, OTHER = "same", "lead", "scalar", "other"

_index_vars: dict[int, tuple[Var, ...]] = {}


def index_vars(rank: int) -> tuple[Var, ...]:
    if rank not in _index_vars:
        _index_vars[rank] = tuple(Var(f"i{k}") for k in range(rank))
    return _index_vars[rank]


class _Probe:
    """Records what is read, and gives unknown values."""

    def __init__(self, node: Node, output: Tensor):
        self.node = node
        self.output = output
        self.own = index_vars(len(output.dims))
        self.reads: list[tuple[Tensor, str]] = []
        self.checks = False

    def read(self, position: int, index: Sequence[Expr]) -> Expr:
        tensor = self.node.inputs[position]
        self.reads.append((tensor, relation(tensor.dims, index, self.output.dims, self.own)))
        return scalar_constant(tensor.node) or Var("x", tensor.dtype)

    def read_broadcast(self, position: int, index: Sequence[Expr]) -> Expr:
        dims = self.node.inputs[position].dims
        skipped = len(index) - len(dims)
        aligned = [loop.ZERO if d == 1 else index[skipped + k] for k, d in enumerate(dims)]
        return self.read(position, aligned)

    def let(self, expr: Expr) -> Expr:
        return expr if isinstance(expr, Const) else Var("t", expr.dtype)

    def check(self, condition: Expr, message: str, *values: Expr, error: str = "") -> None:
        self.checks = True


def relation(
    dims: Sequence[Dim], index: Sequence[Expr], out: Sequence[Dim], own: Sequence[Var]
) -> str:
    """The relation of reading `index` (expressions of `own`) in `dims` for an element of `out`."""
    used: list[int] = []
    for dim, part in zip(dims, index, strict=True):
        if dim == 1:
            continue
        axis = next((k for k, var in enumerate(own) if part is var), None)
        if axis is None or dim != out[axis] or (used and axis <= used[-1]):
            return OTHER
        used.append(axis)
    if not used:
        return SCALAR
    wide = [k for k, dim in enumerate(out) if dim != 1]
    used = [k for k in used if out[k] != 1]
    if used == wide:
        return SAME
    return LEAD if used == wide[: len(used)] else OTHER


def direct_reads(tensor: Tensor) -> tuple[list[tuple[Tensor, str]], bool]:
    """What a POINTWISE tensor reads, with the relations; and whether a check stands in it."""
    node = tensor.node
    probe = _Probe(node, tensor)
    assert node.op.lower is not None
    node.op.lower(node, probe.own, probe, tensor.index)
    return probe.reads, probe.checks


def compose(outer: str, inner: str, scalar: bool) -> str:
    """The relation of v to w where v reads u by `outer` and u reads w by `inner`."""
    if scalar:
        return SCALAR
    if outer == SAME:
        return inner
    if inner == SAME:
        return outer
    if outer == LEAD and inner == LEAD:
        return LEAD
    return OTHER


def merge(a: str | None, b: str) -> str:
    """One relation for two reads of the same tensor: only an equal one can be kept."""
    return b if a is None or a == b else OTHER


def count(tensor: Tensor) -> Dim:
    """The number of elements."""
    return product(tensor.dims)


def scalar_constant(node: Node) -> Const | None:
    """The value of a constant of one element."""
    if node.op.name != "constant":
        return None
    array = node.attrs["value"].array
    if array.size != 1:
        return None
    return Const(array.reshape(()).item(), node.outputs[0].dtype)
