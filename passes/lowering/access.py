"""What the elements of a cluster read, as steps through memory for each dimension.

It is found by lowering the cluster once, without keeping the code, with a variable for each
dimension. From it follows which neighbouring dimensions every access goes through as one, and
which of them a read is contiguous along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.node import Tensor
from ...ir.op import VIEW
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Let, Load, SizeOf, Var
from ...sizes import Dim, exact_quotient, is_nonnegative, multiply, product
from ..analysis.index_math import Form
from ..analysis.relations import scalar_constant
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


@dataclass(frozen=True)
class Place:
    """Where the elements of a tensor lie: `buffer[start + sum of step * index]` over the parts of
    each of its dimensions, (count, step) from the outermost to the innermost."""

    buffer: Buffer
    start: Form
    parts: tuple[tuple[tuple[Dim, Dim], ...], ...]


_MOVES = ("slice", "transpose")  # besides views: operations whose elements are elements
_MOST_PARTS = 8  # that dimensions are cut into before their elements are taken to lie anywhere


def place_of(builder: KernelBuilder, tensor: Tensor) -> Place | None:
    """Where a tensor lies that is stored, or that only moves what is; None where steps do not
    say it, or where its elements are computed."""
    source = tensor
    while builder.storage_of(source) is None:
        node = source.node
        if node.op.kind != VIEW and node.op.name not in _MOVES:
            return None
        source = node.inputs[0]
    if scalar_constant(source.node) is not None or builder.storage_of(source) in builder.pending:
        return None
    counts: list[tuple[Dim, ...]] = [(dim,) for dim in tensor.dims]
    while sum(map(len, counts)) <= len(counts) + _MOST_PARTS:
        found = _place(builder, tensor, counts)
        if not isinstance(found, list):
            return found
        counts = found
    return None


def _place(
    builder: KernelBuilder, tensor: Tensor, counts: list[tuple[Dim, ...]]
) -> Place | list[tuple[Dim, ...]] | None:
    """The place, with the dimensions in these parts; or smaller parts to try."""
    math = builder.math
    with builder.captured() as block:
        variables = [[builder.variable("d", count) for count in parts] for parts in counts]
        index = tuple(
            math.linear(builder.forms(own), parts)
            for own, parts in zip(variables, counts, strict=True)
        )
        value = builder.element(tensor, index)
    lets = {id(stmt.var): stmt.value for stmt in block if isinstance(stmt, Let)}
    value = lets.get(id(value), value)
    if not isinstance(value, Load) or not isinstance(value.target, Buffer):
        return None
    start = math.of(_inlined(value.index, lets))
    steps = [[start.coefficient(variable) for variable in own] for own in variables]
    for own, its_steps in zip(variables, steps, strict=True):
        for variable, step in zip(own, its_steps, strict=True):
            start = math.add(start, math.scale(math.of(variable), step), -1)
    for axis, own in enumerate(variables):
        for number, variable in enumerate(own):
            parts = [part for atom, _ in start.terms for part in _around(atom, variable)]
            if parts:
                cut = _cut(counts[axis][number], parts)
                if cut is None:
                    return None
                whole = counts[axis]
                return [
                    *counts[:axis],
                    (*whole[:number], *cut, *whole[number + 1 :]),
                    *counts[axis + 1 :],
                ]
    # Micro-kernels are given the part of a buffer that begins with their first element.
    if not all(is_nonnegative(step) for its_steps in steps for step in its_steps):
        return None
    parts_of = tuple(
        tuple(zip(parts, its_steps, strict=True))
        for parts, its_steps in zip(counts, steps, strict=True)
    )
    return Place(value.target, start, parts_of)


def _around(expr: Expr, variable: Var) -> list[Expr]:
    """The expressions inside `expr` that have a variable for an operand; it alone where it is."""
    if expr is variable:
        return [expr]
    if not isinstance(expr, loop.Apply):
        return []
    own: list[Expr] = [expr] if any(arg is variable for arg in expr.args) else []
    return own + [part for arg in expr.args for part in _around(arg, variable)]


def _cut(count: Dim, parts: Sequence[Expr]) -> tuple[Dim, Dim] | None:
    """A dimension in two, where a division takes it apart."""
    for part in parts:
        if isinstance(part, loop.Apply) and part.op in ("floordiv", "mod"):
            divisor = part.args[1]
            if not isinstance(divisor, Const) or divisor.value in (0, 1, count):
                continue
            outer = exact_quotient(count, int(divisor.value))
            if outer is not None:
                return outer, int(divisor.value)
    return None


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
