"""Products of rows that were set to zero are not computed.

    contract(select(live[:, None], x, 0), w)         -->  contract_where(x, w, live, of="rows")
    contract(x, select(live[:, None], g, 0)) over rows  -->  contract_where(x, g, live, of="summed")
    select(live[:, None], y, 0), y zero there anyway  -->  y

A step of a recurrence past the end of a sequence is such a row, and so is a phrase that no stack
reduces; the gradients of what was chosen with a mask are zero where it does not hold. Known zeros
are followed through elementwise work, movement that leaves rows alone, and products. Zero times
anything counts as zero: infinities and NaNs of other operands do not come back through dead rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from ...ir.node import Node, Tensor
from ...ir.op import find
from ...ir.program import Program
from ...sizes import Dim, multiply, product
from ..analysis.index_math import estimate
from .rules import uniform, words

# Rows and operations of one from which a list of those that count is worth making.
_FEWEST = 4
_SMALLEST = 1 << 12

# What is zero where its (first) operand is.
_KEEPING = words(
    "neg abs sign floor ceil round sqrt expm1 log1p sin tan asin atan sinh tanh asinh atanh erf "
    "identity stop_gradient cast"
)
# A tensor is zero in the rows where any of its masks does not hold. Masks are bool, of the first
# dimension.
Masks = frozenset[Tensor]
_NONE: Masks = frozenset()


def dead_rows(program: Program) -> Program:
    """`program` without products of rows that are known to be zeros."""
    known: dict[Tensor, Masks] = {}
    numbers: dict[Tensor, int] = {}  # of masks, as they were met: sets have no order

    def masks(tensor: Tensor) -> Masks:
        return known.get(tensor, _NONE)

    def all_of(found: Masks) -> Tensor:
        first, *others = sorted(found, key=numbers.__getitem__)
        return reduce(find("logical_and"), others, first)

    def rule(node: Node) -> Tensor | None:
        if len(node.outputs) != 1 or node.controls or node.serial:
            return None
        result = node.outputs[0]
        mask = _mask_of(node)
        if mask is not None:
            numbers.setdefault(mask, len(numbers))
            if mask in masks(node.inputs[1]) and node.inputs[1].dims == result.dims:
                return node.inputs[1]
        made = _without_dead(node, masks, all_of)
        zeros = _zeros(node, mask, masks)
        if zeros:
            known[made if made is not None else result] = zeros
        return made

    return program.rewrite(rule)


def _mask_of(node: Node) -> Tensor | None:
    """`live` where a node is select(live[:, None, ...], x, 0)."""
    if node.op.name != "select" or uniform(node.inputs[2]) != 0:
        return None
    condition, dims = node.inputs[0], node.outputs[0].dims
    if not dims or len(condition.dims) != len(dims) or condition.dims[0] != dims[0]:
        return None
    if len(dims) == 1:
        return condition
    if any(dim != 1 for dim in condition.dims[1:]) or dims[0] == 1:
        return None
    shaped = condition.node
    if shaped.op.name == "reshape" and shaped.inputs[0].dims == dims[:1]:
        return shaped.inputs[0]
    return find("reshape")(condition, shape=dims[:1])


# -- what is zero --------------------------------------------------------------------------------


def _zeros(node: Node, mask: Tensor | None, masks: Callable[[Tensor], Masks]) -> Masks:
    """The masks of what a node gives."""
    name, inputs, dims = node.op.name, node.inputs, node.outputs[0].dims

    def of(tensor: Tensor) -> Masks:
        """Those of an operand whose rows are rows of the result."""
        same = len(tensor.dims) == len(dims) and tensor.dims[:1] == dims[:1]
        return masks(tensor) if same else _NONE

    if name == "select":
        if mask is not None:
            return of(inputs[1]) | {mask}
        return _both(inputs[1], inputs[2], of)
    if name in _KEEPING:
        return of(inputs[0])
    if name == "mul":
        return of(inputs[0]) | of(inputs[1])
    if name == "div":
        return of(inputs[0])
    if name in ("add", "sub"):
        return _both(inputs[0], inputs[1], of)
    if name == "concat":
        if node.attrs["axis"] == 0:
            return _NONE
        return frozenset.intersection(*(of(tensor) for tensor in inputs))
    if name in ("slice", "pad", "reshape", "broadcast_to", "reverse"):
        return masks(inputs[0]) if _keeps_rows(node) else _NONE
    if name == "transpose":
        return masks(inputs[0]) if node.attrs["perm"][0] == 0 else _NONE
    if name in ("contract", "contract_where"):
        return _of_product(node, masks)
    return _NONE


def _both(a: Tensor, b: Tensor, of: Callable[[Tensor], Masks]) -> Masks:
    """Where both are zero; a constant zero is so everywhere."""
    if uniform(a) == 0:
        return of(b)
    return of(a) if uniform(b) == 0 else of(a) & of(b)


def _keeps_rows(node: Node) -> bool:
    """Whether each row of the result is made of the same row of the operand, and nothing else."""
    (source, *_), dims = node.inputs, node.outputs[0].dims
    if not source.dims or not dims or source.dims[0] != dims[0]:
        return False
    name, attrs = node.op.name, node.attrs
    if name == "broadcast_to":
        return len(source.dims) == len(dims)
    if name == "slice":
        return attrs["strides"][0] == 1
    if name == "pad":
        return len(node.inputs) == 1 and not attrs.get("value", 0)
    if name == "reverse":
        return 0 not in attrs["axes"]
    return True


def _of_product(node: Node, masks: Callable[[Tensor], Masks]) -> Masks:
    a = node.inputs[0]
    batch = node.attrs.get("batch", ((), ()))[0]
    first_free = 0 not in (*batch, *node.attrs["contracting"][0])
    found = masks(a) if first_free and not batch else _NONE
    if node.op.name == "contract_where" and node.attrs["of"] == "rows":
        live = node.inputs[2]
        found |= {live} if len(live.dims) == 1 else _NONE
    return found


# -- products ------------------------------------------------------------------------------------


def _without_dead(
    node: Node, masks: Callable[[Tensor], Masks], all_of: Callable[[Masks], Tensor]
) -> Tensor | None:
    """A product without the rows that are zero."""
    if node.op.name != "contract" or any(node.attrs["batch"]):
        return None
    a, b = node.inputs
    sum_a, sum_b = node.attrs["contracting"]
    if not a.dims or not a.dtype.is_floating:
        return None
    rows = a.dims[0]
    if isinstance(rows, int) and rows < _FEWEST:
        return None
    if 0 not in sum_a:
        found = masks(a)
        if not found or not _is_worth(node, rows):
            return None
        return find("contract_where")(
            _beneath(a, found), b, all_of(found), contracting=(sum_a, sum_b), of="rows"
        )
    place = sum_a.index(0)
    found = masks(a) | masks(b)
    if sum_b[place] != 0 or not found or not _is_worth(node, rows):
        return None
    pairs = sorted(zip(sum_a, sum_b, strict=True))
    contracting = tuple(zip(*pairs, strict=True))
    return find("contract_where")(
        _beneath(a, found),
        _beneath(b, found),
        all_of(found),
        contracting=contracting,
        of="summed",
    )


def _is_worth(node: Node, rows: Dim) -> bool:
    total: Dim = product(node.outputs[0].dims)
    for axis in node.attrs["contracting"][0]:
        total = multiply(total, node.inputs[0].dims[axis])
    return estimate(total) >= _SMALLEST * estimate(rows)


def _beneath(x: Tensor, found: Masks) -> Tensor:
    """What zeros were put into: rows that are not live are not read."""
    node = x.node
    if _mask_of(node) in found and node.inputs[1].dims == x.dims:
        return _beneath(node.inputs[1], found)
    if node.op.name == "concat" and node.attrs["axis"] != 0:
        parts = [_beneath(part, found) for part in node.inputs]
        if any(part is not old for part, old in zip(parts, node.inputs, strict=True)):
            return find("concat")(*parts, axis=node.attrs["axis"])
    return x
