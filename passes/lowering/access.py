"""What the elements of a cluster read, as steps through memory for each dimension.

It is found by lowering the cluster once, without keeping the code, with a variable for each
dimension. From it follows which neighbouring dimensions every access goes through as one, and
which of them a read is contiguous along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.node import Tensor
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Let, Load, SizeOf, Var
from ...sizes import Dim, multiply, product
from ..analysis.index_math import Form
from ..fusion.cluster import POINTWISE, Cluster
from .context import KernelBuilder


@dataclass(frozen=True)
class Access:
    """A read: `buffer[constant + sum of steps[k] * index[k]]`. A step is None where the index goes
    in in another way: through a minimum, a division, a table."""

    buffer: Buffer
    constant: Dim
    steps: tuple[Dim | None, ...]

    @property
    def is_linear(self) -> bool:
        return None not in self.steps


@dataclass(frozen=True)
class Pattern:
    """The dimensions of a cluster's elements, in groups that are one each, and its reads with a
    step for each group."""

    groups: list[list[Dim]]
    reads: list[Access]

    @property
    def sizes(self) -> list[Dim]:
        return [product(group) for group in self.groups]


def access_pattern(builder: KernelBuilder, cluster: Cluster) -> Pattern | None:
    """How a pointwise cluster reads; None where lowering it twice would not do."""
    if cluster.kind != POINTWISE or cluster.fallible:
        return None
    dims = max((t.dims for t in cluster.members), key=len)
    if any(product(t.dims) != product(dims) for t in cluster.members):
        return None
    reads, alone = _reads(builder, cluster, dims)
    groups: list[list[int]] = []
    for axis, dim in enumerate(dims):
        if dim == 1:
            continue
        before = groups[-1][-1] if groups else axis
        joined = groups and not {axis, before} & alone
        if joined and all(_one_step(x.steps[before], x.steps[axis], dim) for x in reads):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    grouped = [
        Access(x.buffer, x.constant, tuple(x.steps[group[-1]] for group in groups)) for x in reads
    ]
    return Pattern([[dims[axis] for axis in group] for group in groups], grouped)


def _one_step(outer: Dim | None, inner: Dim | None, dim: Dim) -> bool:
    return outer is not None and inner is not None and outer == multiply(inner, dim)


def _reads(
    builder: KernelBuilder, cluster: Cluster, dims: Sequence[Dim]
) -> tuple[list[Access], set[int]]:
    """The reads, and the dimensions whose index is used for something else too."""
    with builder.captured() as block:
        variables = [builder.variable("d", dim) for dim in dims]
        index = builder.forms(variables)
        _, values = values_at(builder, cluster, dims, index)
    lets = {id(stmt.var): stmt.value for stmt in block if isinstance(stmt, Let)}
    axes = {id(variable): axis for axis, variable in enumerate(variables)}
    found: list[Access] = []
    alone: set[int] = set()
    seen: set[int] = set()
    stack: list[Expr] = [value for _, value in values]
    while stack:
        expr = stack.pop()
        if id(expr) in seen:
            continue
        seen.add(id(expr))
        if id(expr) in axes:
            alone.add(axes[id(expr)])
        elif id(expr) in lets:
            stack.append(lets[id(expr)])
        elif isinstance(expr, loop.Apply):
            stack.extend(expr.args)
        elif isinstance(expr, Load):
            read, tables = _access(builder, expr, lets, variables)
            if read is not None:
                found.append(read)
            stack.extend(tables)
    return found, alone


def _access(
    builder: KernelBuilder, load: Load, lets: dict[int, Expr], variables: Sequence[Var]
) -> tuple[Access | None, list[Expr]]:
    """A load as an access, and the loads its index comes from."""
    if not isinstance(load.target, Buffer):
        return None, []
    form = builder.math.of(_inlined(load.index, lets))
    bent: set[int] = set()
    tables: list[Expr] = []
    for atom, _ in form.terms:
        if not any(atom is variable for variable in variables):
            used = _leaves(atom)
            bent.update(k for k, v in enumerate(variables) if any(v is leaf for leaf in used))
            tables += [leaf for leaf in used if isinstance(leaf, Load)]
    steps = tuple(
        None if axis in bent else form.coefficient(variable)
        for axis, variable in enumerate(variables)
    )
    return Access(load.target, form.constant, steps), tables


def _inlined(expr: Expr, lets: dict[int, Expr]) -> Expr:
    """An index with the parts that have names put in again."""
    if isinstance(expr, Var) and id(expr) in lets:
        value = lets[id(expr)]
        return value if isinstance(value, Load) else _inlined(value, lets)
    if isinstance(expr, loop.Apply):
        return loop.Apply(expr.op, tuple(_inlined(arg, lets) for arg in expr.args), expr.dtype)
    return expr


def _leaves(expr: Expr) -> list[Expr]:
    """The variables and loads an expression is made of."""
    found: list[Expr] = []
    stack = [expr]
    while stack:
        part = stack.pop()
        if isinstance(part, loop.Apply):
            stack.extend(part.args)
        elif not isinstance(part, (Const, SizeOf)):
            found.append(part)
    return found


def values_at(
    builder: KernelBuilder, cluster: Cluster, dims: Sequence[Dim], index: Sequence[Form]
) -> tuple[Form, list[tuple[Tensor, Expr]]]:
    """The position of an index, and the members' values there."""
    position = builder.math.linear(index, dims)
    return position, [(tensor, builder.at(tensor, position)) for tensor in cluster.members]
