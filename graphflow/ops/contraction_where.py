"""Contraction of which only some rows count: what the skipping of dead rows is made of.

`contract_where` is `contract` of two tensors without batch dimensions and a mask, bool, of the
leading dimensions of the first one:

    of="rows"    contract_where(a[m,k], b[k,n], live[m])  -->  [m,n], zeros in rows not live
    of="summed"  contract_where(a[k,m], b[k,n], live[k])  -->  [m,n], the sum over live rows k

What is not live is never read, and no work is done for it, so that its NaNs reach nothing. The two
forms are each other's derivatives. `passes/rewrite/dead_rows.py` makes them of products with rows
that a program has set to zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dtypes import bool_
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import CONTRACT, Op, define, find
from .contraction import contract
from .convert import convert
from .indexing import reshaped, transposed

__all__: list[str] = []

ROWS, SUMMED = "rows", "summed"


def _free(rank: int, taken: Sequence[int]) -> list[int]:
    return [axis for axis in range(rank) if axis not in taken]


def _plain(attrs) -> dict:
    """The attributes of the contraction without a mask."""
    return {"batch": ((), ()), "contracting": attrs["contracting"]}


def _infer(types, attrs, sizes):
    """a and b as `contract` takes them; live: bool, of the first dimensions of a. With "rows" these
    are not summed; with "summed" they are paired with the first dimensions of b, in order."""
    a, b, live = types
    found = contract.infer([a, b], _plain(attrs), sizes)
    if live.dtype is not bool_ or not live.shape:
        raise TypeRuleError(f"what says which rows are live must be bool [rows, ...], not {live}")
    rank, (sum_a, sum_b) = live.rank, attrs["contracting"]
    leading = tuple(range(rank))
    if attrs["of"] == ROWS:
        if rank > a.rank or set(leading) & set(sum_a):
            raise TypeRuleError(
                f"{live} must be of the first dimensions of {a}, none of them summed"
            )
    elif attrs["of"] == SUMMED:
        if sum_a[:rank] != leading or sum_b[:rank] != leading:
            raise TypeRuleError(
                f"{live} must be of the first dimensions of {a} and {b}, all summed"
            )
    else:
        raise TypeRuleError(f"of={attrs['of']!r} is neither {ROWS!r} nor {SUMMED!r}")
    for axis in leading:
        message = f"dimension {axis} of {live} and of {a} must be equal"
        sizes.equal(a.shape[axis], live.shape[axis], message)
    return found


def _reference(arrays, attrs, node):
    a, b, live = arrays
    product = contract.reference
    assert product is not None

    def kept(x):
        mask = live.reshape(live.shape + (1,) * (x.ndim - live.ndim))
        return np.where(mask, x, np.zeros((), x.dtype))

    if attrs["of"] == SUMMED:
        return product([kept(a), kept(b)], _plain(attrs), node)
    # Zeros even where b is not finite.
    return [kept(product([kept(a), b], _plain(attrs), node)[0])]


def _vjp(node: Node, gradients):
    """Rows: dA = G·Bᵀ in live rows, dB = Aᵀ·G over them. Summed: dA = B·Gᵀ, dB = A·G in them."""
    a, b, live = node.inputs
    (g,) = gradients
    sum_a, sum_b = node.attrs["contracting"]
    free_a, free_b = _free(len(a.dims), sum_a), _free(len(b.dims), sum_b)
    first, last = tuple(range(len(free_a))), tuple(range(len(free_a), len(g.dims)))
    if node.attrs["of"] == ROWS:
        # [free_a, what is left of b, in b's order] and [what is left of a, free_b]
        of_a = _where(g, b, live, (last, tuple(free_b)), ROWS)
        of_b = _where(a, g, live, (tuple(free_a), first), SUMMED)
        order_a = [*free_a, *(sum_a[sum_b.index(axis)] for axis in sorted(sum_b))]
        order_b = [*(sum_b[sum_a.index(axis)] for axis in sorted(sum_a)), *free_b]
    else:
        of_a = _where(b, g, live, (tuple(free_b), last), ROWS)
        of_b = _where(a, g, live, (tuple(free_a), first), ROWS)
        order_a = [*(sum_a[sum_b.index(axis)] for axis in sorted(sum_b)), *free_a]
        order_b = [*(sum_b[sum_a.index(axis)] for axis in sorted(sum_a)), *free_b]
    return [_ordered(of_a, order_a), _ordered(of_b, order_b), None]


def _where(a: Tensor, b: Tensor, live: Tensor, contracting, of: str) -> Tensor:
    return contract_where(a, b, live, contracting=contracting, of=of)


def _ordered(x: Tensor, axes: Sequence[int]) -> Tensor:
    """`x`, whose dimensions are those numbers of what is wanted."""
    return transposed(x, [axes.index(axis) for axis in range(len(axes))])


def kept_rows(live: Tensor, x: Tensor) -> Tensor:
    """`x` with zeros in the rows that are not live."""
    mask = reshaped(live, (*live.dims, *[1] * (len(x.dims) - len(live.dims))))
    return find("select")(mask, x, convert(0, x.dtype))


def _batch(node: Node, inputs, batched):
    """Where only the rows are more, so are the rows of the mask; else a contraction with a batch of
    operands that have zeros where nothing is live."""
    a, b, live = inputs
    wide_a, wide_b, wide_live = batched
    sum_a, sum_b = node.attrs["contracting"]
    length = next(x.dims[0] for x, wide in zip(inputs, batched, strict=True) if wide)
    if not wide_live:
        live = find("broadcast_to")(live, shape=(length, *live.dims))
    further_a, further_b = (tuple(axis + 1 for axis in axes) for axes in (sum_a, sum_b))
    rows = node.attrs["of"] == ROWS
    if not wide_a:
        a = find("broadcast_to")(a, shape=(length, *a.dims))
    if rows and not wide_b:
        return [_where(a, b, live, (further_a, sum_b), ROWS)]
    if not wide_b:
        b = find("broadcast_to")(b, shape=(length, *b.dims))
    a, b = kept_rows(live, a), b if rows else kept_rows(live, b)
    made = contract(a, b, batch=((0,), (0,)), contracting=(further_a, further_b))
    return [kept_rows(live, made) if rows else made]


contract_where = define(
    Op(
        name="contract_where",
        kind=CONTRACT,
        infer=_infer,
        reference=_reference,
        vjp=_vjp,
        batch=_batch,
        flops=2.0,  # as of `contract`, if all rows are live
        count_flops=contract.count_flops,
    )
)
