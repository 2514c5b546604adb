"""Contraction: matmul, tensordot, einsum and what else sums products over shared dimensions.

All of them come down to one primitive, `contract`, the "dot-general" of two tensors. Its output
has the batch dimensions, then what is left of the first input, then what is left of the second:

    contract(a[b,m,k], b[b,k,n], batch=((0,),(0,)), contracting=((2,),(1,)))  -->  [b,m,n]

Public functions name dimensions by labels, as einsum does. A dimension of size 1 that meets a
larger one broadcasts by being dropped, so no operand is ever copied to a larger shape.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

import numpy as np

from ..dtypes import int64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import CONTRACT, Op, define, find
from ..ir.types import TensorType
from ..sizes import Dim, Size, multiply, product
from .convert import convert, convert_pair, known_axis, reject
from .indexing import reshaped, transposed

__all__ = ["einsum", "matmul", "matvec", "tensordot"]

Label = Hashable


# -- the primitive -------------------------------------------------------------------------------


def _free(rank: int, *taken: Sequence[int]) -> list[int]:
    used = {axis for axes in taken for axis in axes}
    return [axis for axis in range(rank) if axis not in used]


def _infer_contract(types, attrs, sizes):
    """Two tensors of one numeric dtype; paired dimensions have equal sizes."""
    a, b = types
    if a.dtype is not b.dtype:
        raise TypeRuleError(f"the inputs are {a.dtype} and {b.dtype}; cast one of them")
    if not a.dtype.is_numeric:
        raise TypeRuleError(f"{a.dtype} tensors have no products; cast them to a number type")
    (batch_a, batch_b), (sum_a, sum_b) = attrs["batch"], attrs["contracting"]
    if len(batch_a) != len(batch_b) or len(sum_a) != len(sum_b):
        raise TypeRuleError("batch and contracting dimensions must come in pairs")
    for type_, axes in ((a, (*batch_a, *sum_a)), (b, (*batch_b, *sum_b))):
        if len(set(axes)) != len(axes) or any(not 0 <= axis < type_.rank for axis in axes):
            raise TypeRuleError(f"{list(axes)} are not distinct dimensions of {type_}")
    batch = []
    for x, y in zip(batch_a, batch_b, strict=True):
        message = (
            f"batch dimension {x} of {a} has size {a.shape[x]}, dimension {y} of {b} has size "
            f"{b.shape[y]}; they must be equal, or one of them 1"
        )
        batch.append(sizes.equal(a.shape[x], b.shape[y], message))
    for x, y in zip(sum_a, sum_b, strict=True):
        sizes.equal(
            a.shape[x],
            b.shape[y],
            f"dimension {x} of {a} is summed with dimension {y} of {b}, so their sizes "
            f"{a.shape[x]} and {b.shape[y]} must be equal",
        )
    left = [a.shape[axis] for axis in _free(a.rank, batch_a, sum_a)]
    right = [b.shape[axis] for axis in _free(b.rank, batch_b, sum_b)]
    return [TensorType(a.dtype, (*batch, *left, *right))]


def _reference_contract(arrays, attrs, node):
    """Products and sums in the inputs' own dtype; integers wrap."""
    a, b = arrays
    (batch_a, batch_b), (sum_a, sum_b) = attrs["batch"], attrs["contracting"]
    free_a, free_b = _free(a.ndim, batch_a, sum_a), _free(b.ndim, batch_b, sum_b)
    left = a.transpose((*batch_a, *free_a, *sum_a))
    right = b.transpose((*batch_b, *sum_b, *free_b))
    batch = left.shape[: len(batch_a)]
    rows = left.shape[len(batch_a) : len(batch_a) + len(free_a)]
    columns = right.shape[len(batch_b) + len(sum_b) :]
    depth = int(np.prod(left.shape[len(batch_a) + len(free_a) :], dtype=np.int64))
    m, n = (int(np.prod(dims, dtype=np.int64)) for dims in (rows, columns))
    product = np.matmul(left.reshape(*batch, m, depth), right.reshape(*batch, depth, n))
    return [product.reshape((*batch, *rows, *columns)).astype(a.dtype, copy=False)]


def _vjp_contract(node: Node, gradients):
    """dA = G·Bᵀ and dB = Aᵀ·G, dimension by dimension."""
    a, b = node.inputs
    gradient = gradients[0]
    (batch_a, batch_b), (sum_a, sum_b) = node.attrs.batch, node.attrs.contracting
    free_a, free_b = _free(len(a.dims), batch_a, sum_a), _free(len(b.dims), batch_b, sum_b)
    # Labels: batch and contracting dimensions by their pair, free ones by side and axis.
    names_a: list[Label] = [("a", axis) for axis in range(len(a.dims))]
    names_b: list[Label] = [("b", axis) for axis in range(len(b.dims))]
    for kind, pairs in (("batch", (batch_a, batch_b)), ("sum", (sum_a, sum_b))):
        for number, (x, y) in enumerate(zip(*pairs, strict=True)):
            names_a[x] = names_b[y] = (kind, number)
    names_g = [names_a[axis] for axis in (*batch_a, *free_a)]
    names_g += [names_b[axis] for axis in free_b]
    return [
        combine(gradient, names_g, b, names_b, names_a),
        combine(a, names_a, gradient, names_g, names_b),
    ]


def _contract_flops(node: Node) -> Dim:
    summed = product(node.inputs[0].dims[axis] for axis in node.attrs["contracting"][0])
    return 2 * multiply(product(node.outputs[0].dims), summed)


def _batch_contract(node: Node, inputs, batched):
    """Where only one operand is wide, its new dimension is a free one, which goes to the front."""
    (batch_a, batch_b), (sum_a, sum_b) = node.attrs.batch, node.attrs.contracting
    sides = []
    for wide, axes in zip(batched, ((batch_a, sum_a), (batch_b, sum_b)), strict=True):
        sides.append([tuple(axis + 1 for axis in row) if wide else row for row in axes])
    (batch_a, sum_a), (batch_b, sum_b) = sides
    if all(batched):
        batch_a, batch_b = (0, *batch_a), (0, *batch_b)
    made = contract(*inputs, batch=(batch_a, batch_b), contracting=(sum_a, sum_b))
    if all(batched):
        return [made]
    place = len(batch_a)
    if batched[1]:
        place += len(inputs[0].dims) - len(batch_a) - len(sum_a)
    rest = [axis for axis in range(len(made.dims)) if axis != place]
    return [transposed(made, [place, *rest])]


contract = define(
    Op(
        name="contract",
        kind=CONTRACT,
        infer=_infer_contract,
        reference=_reference_contract,
        vjp=_vjp_contract,
        batch=_batch_contract,
        flops=2.0,  # for each element of the output and of the summed dimensions
        count_flops=_contract_flops,
    )
)


# -- two operands with labelled dimensions ------------------------------------------------------


def _sum(x: Tensor, axes: Sequence[int], name: str | None = None) -> Tensor:
    return find("reduce")(x, kind="sum", axes=tuple(axes), name=name) if axes else x


def _prepare(x: Tensor, names: Sequence[Label], other: dict[Label, Dim], wanted: set[Label]):
    """Drops dimensions of size 1 that broadcast, and sums those that only this operand has."""
    kept = [
        axis
        for axis, name in enumerate(names)
        if not (x.dims[axis] == 1 and name in wanted and other.get(name, 1) != 1)
    ]
    names = [names[axis] for axis in kept]
    x = reshaped(x, [x.dims[axis] for axis in kept])
    lonely = [n for n, name in enumerate(names) if name not in wanted and name not in other]
    return _sum(x, lonely), [name for n, name in enumerate(names) if n not in lonely]


def combine(
    a: Tensor,
    a_names: Sequence[Label],
    b: Tensor,
    b_names: Sequence[Label],
    out: Sequence[Label],
    name: str | None = None,
) -> Tensor:
    """The sum of products of two tensors over every label that is not in `out`.

    Labels are distinct within each operand, and each label of `out` occurs in one of them. Where
    no dimension is summed, or none is left to either side alone, the result is elementwise work
    (and a reduction), which fuses with what surrounds it.
    """
    sizes_a = dict(zip(a_names, a.dims, strict=True))
    sizes_b = dict(zip(b_names, b.dims, strict=True))
    wanted = set(out)
    a, a_names = _prepare(a, a_names, sizes_b, wanted)
    b, b_names = _prepare(b, b_names, sizes_a, wanted)
    summed = [label for label in a_names if label in b_names and label not in wanted]
    if not summed:
        return find("mul")(_aligned(a, a_names, out), _aligned(b, b_names, out), name=name)
    if set(a_names) == set(b_names) and all(sizes_a[x] == sizes_b[x] for x in a_names):
        order = [*out, *summed]
        product = find("mul")(_aligned(a, a_names, order), _aligned(b, b_names, order))
        return _sum(product, range(len(out), len(order)), name)
    batch = [label for label in out if label in a_names and label in b_names]
    names = [*batch, *(x for x in a_names if x not in batch and x not in summed)]
    names += [x for x in b_names if x not in batch and x not in summed]
    permutation = [names.index(label) for label in out]
    ordered = permutation == list(range(len(out)))
    product = contract(
        a,
        b,
        batch=(tuple(map(a_names.index, batch)), tuple(map(b_names.index, batch))),
        contracting=(tuple(map(a_names.index, summed)), tuple(map(b_names.index, summed))),
        name=name if ordered else None,
    )
    return transposed(product, permutation, name)


def _aligned(x: Tensor, names: Sequence[Label], out: Sequence[Label]) -> Tensor:
    """`x` with a dimension for each label of `out`, of size 1 where it has none."""
    x = transposed(x, [names.index(label) for label in out if label in names])
    sizes = iter(x.dims)
    return reshaped(x, [next(sizes) if label in names else 1 for label in out])


# -- public functions ---------------------------------------------------------------------------


def _known_rank(x: Tensor, least: int, what: str) -> None:
    if x.rank is None:
        reject(
            what,
            f"the rank of {x.name} is unknown; give its placeholder a shape, "
            "such as shape=[None, 3]",
        )
    if x.rank < least:
        hint = "; matvec multiplies a matrix by a vector, tensordot(a, b, 1) two vectors"
        reject(
            what,
            f"{x.name} is {x.tensor_type}; it needs a rank of at least {least}"
            f"{hint if what == 'matmul' else ''}",
        )


def matmul(
    a,
    b,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Tensor:
    """The matrix product [..., m, k] × [..., k, n] → [..., m, n] of the last two dimensions.

    The dimensions before are a batch and broadcast (a [k, n] operand serves the whole batch).
    transpose_a, adjoint_a: `a` holds [..., k, m]; for real numbers both mean the same.
    a_is_sparse, b_is_sparse: accepted and without effect.
    Raises TypeRuleError where the summed sizes differ, the dtypes differ, or a rank is below 2.
    """
    if (transpose_a and adjoint_a) or (transpose_b and adjoint_b):
        raise ValueError("matmul: ask for the transpose or for the adjoint of an input, not both")
    a, b = convert_pair(a, b, "matmul")
    _known_rank(a, 2, "matmul")
    _known_rank(b, 2, "matmul")
    rows: list[Label] = ["k", "m"] if transpose_a or adjoint_a else ["m", "k"]
    columns: list[Label] = ["n", "k"] if transpose_b or adjoint_b else ["k", "n"]
    rank = max(a.rank, b.rank)
    batch: list[Label] = list(range(rank - 2))
    names_a = batch[rank - a.rank :] + rows
    names_b = batch[rank - b.rank :] + columns
    depths = a.dims[names_a.index("k")], b.dims[names_b.index("k")]
    if all(isinstance(dim, int) for dim in depths) and depths[0] != depths[1]:
        reject(
            "matmul",
            f"the inner sizes {depths[0]} and {depths[1]} must be equal\n"
            f"  input 0: {a.name} {a.tensor_type}{' transposed' if rows[0] == 'k' else ''}\n"
            f"  input 1: {b.name} {b.tensor_type}{' transposed' if columns[0] == 'n' else ''}",
        )
    return combine(a, names_a, b, names_b, [*batch, "m", "n"], name or "matmul")


def matvec(
    a,
    b,
    transpose_a: bool = False,
    adjoint_a: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Tensor:
    """The product [..., m, k] × [..., k] → [..., m] of matrices and vectors; batches broadcast."""
    if transpose_a and adjoint_a:
        raise ValueError("matvec: ask for the transpose or for the adjoint of a, not both")
    a, b = convert_pair(a, b, "matvec")
    _known_rank(a, 2, "matvec")
    _known_rank(b, 1, "matvec")
    matrix: list[Label] = ["k", "m"] if transpose_a or adjoint_a else ["m", "k"]
    rank = max(a.rank - 2, b.rank - 1)
    batch: list[Label] = list(range(rank))
    names_a = batch[rank - (a.rank - 2) :] + matrix
    names_b = batch[rank - (b.rank - 1) :] + ["k"]
    return combine(a, names_a, b, names_b, [*batch, "m"], name or "matvec")


def tensordot(a, b, axes, name: str | None = None) -> Tensor:
    """Sums products over pairs of dimensions; the output has those left of `a`, then of `b`.

    axes: a number N pairs the last N of `a` with the first N of `b`; two lists pair them one by
        one, negative ones counted from the end.
    """
    a, b = convert_pair(a, b, "tensordot")
    _known_rank(a, 0, "tensordot")
    _known_rank(b, 0, "tensordot")
    if isinstance(axes, (int, np.integer)):
        count = int(axes)
        if not 0 <= count <= min(a.rank, b.rank):
            reject(
                "tensordot", f"axes={count}, but the inputs have {a.rank} and {b.rank} dimensions"
            )
        left, right = list(range(a.rank - count, a.rank)), list(range(count))
    else:
        try:
            first, second = axes
        except (TypeError, ValueError):
            reject("tensordot", f"axes must be a number or two lists, got {axes!r}")
        left = [known_axis(x, a.rank, "tensordot") for x in np.atleast_1d(first)]
        right = [known_axis(x, b.rank, "tensordot") for x in np.atleast_1d(second)]
        if len(left) != len(right) or len({*left}) != len(left) or len({*right}) != len(right):
            reject("tensordot", f"axes={axes!r} do not pair distinct dimensions")
    names_a: list[Label] = [("a", axis) for axis in range(len(a.dims))]
    names_b: list[Label] = [("b", axis) for axis in range(len(b.dims))]
    for number, (x, y) in enumerate(zip(left, right, strict=True)):
        names_a[x] = names_b[y] = number
    out = [label for label in (*names_a, *names_b) if isinstance(label, tuple)]
    return combine(a, names_a, b, names_b, out, name or "tensordot")


# -- einsum -------------------------------------------------------------------------------------


def _parse_equation(equation: str, inputs: Sequence[Tensor]):
    """The labels of each input and of the output; dimensions under an ellipsis count from its
    right: (".", 1) is the last of them."""
    text = equation.replace(" ", "")
    if not re.fullmatch(r"[A-Za-z.,]*(->[A-Za-z.]*)?", text):
        reject("einsum", f"{equation!r} is not an equation such as 'ij,jk->ik'")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(inputs):
        reject("einsum", f"{equation!r} has {len(terms)} terms, but there are {len(inputs)} inputs")
    widest = 0
    names: list[list[Label]] = []
    for term, x in zip(terms, inputs, strict=True):
        labels = _term_labels(term, equation)
        _known_rank(x, 0, "einsum")
        hidden = len(x.dims) - (len(labels) - 1) if "..." in labels else 0
        if hidden < 0 or ("..." not in labels and len(labels) != x.rank):
            reject(
                "einsum", f"the term {term!r} of {equation!r} does not fit {x.name} {x.tensor_type}"
            )
        widest = max(widest, hidden)
        names.append(_expand(labels, hidden))
    if arrow:
        labels = _term_labels(right, equation)
        out = _expand(labels, widest)
        if len(set(out)) != len(out):
            reject("einsum", f"a label occurs twice in the output of {equation!r}")
        known = {name for term in names for name in term}
        for name in out:
            if name not in known:
                reject("einsum", f"output label {name!r} of {equation!r} has no input")
    else:
        # Without an arrow: labels that occur once, in alphabetical order, after the ellipsis.
        flat = [name for term in names for name in term if isinstance(name, str)]
        out = _expand(["..."], widest)
        out += sorted(name for name in set(flat) if flat.count(name) == 1)
    return names, out


def _term_labels(term: str, equation: str) -> list[str]:
    labels = re.findall(r"\.\.\.|[A-Za-z]", term)
    if "".join(labels) != term or labels.count("...") > 1:
        reject("einsum", f"cannot read the term {term!r} of {equation!r}")
    return labels


def _expand(labels: Sequence[str], hidden: int) -> list[Label]:
    result: list[Label] = []
    for label in labels:
        if label == "...":
            result.extend((".", n) for n in range(hidden, 0, -1))
        else:
            result.append(label)
    return result


def _diagonal(x: Tensor, names: list[Label]) -> tuple[Tensor, list[Label]]:
    """Takes the elements with equal indices along dimensions that share a label.

    As a sum over select(i == j, x, 0): no product, so infinities elsewhere do no harm.
    """
    for name in dict.fromkeys(names):
        while names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            if x.dims[first] != x.dims[second]:
                reject(
                    "einsum",
                    f"label {name!r} stands for sizes {x.dims[first]} and "
                    f"{x.dims[second]} of {x.name}",
                )
            positions = find("iota")(dtype=int64, size=x.dims[first])
            row, column = (
                reshaped(positions, [d if n == place else 1 for n, d in enumerate(x.dims)])
                for place in (first, second)
            )
            zero = convert(0, x.dtype)
            kept = find("select")(find("equal")(row, column), x, zero)
            x = _sum(kept, [second])
            names = names[:second] + names[second + 1 :]
    return x, names


def _order(names: list[list[Label]], tensors: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Which two operands to combine next, again and again; a result goes to the end.

    Greedily by what NumPy's einsum_path estimates; unknown sizes count as 64.
    """
    in_order = [(0, 1), *[(0, len(tensors) - n) for n in range(2, len(tensors))]]
    if len(tensors) < 3:
        return in_order[: len(tensors) - 1]
    numbers: dict[Label, int] = {}
    arguments: list = []
    sizes: dict[Label, int] = {}
    for term, x in zip(names, tensors, strict=True):
        for name, dim in zip(term, x.dims, strict=True):
            size = 64 if isinstance(dim, Size) else dim
            sizes[name] = max(sizes.get(name, 1), size)
    for term in names:
        for name in term:
            numbers.setdefault(name, len(numbers))
    if len(numbers) > 52:  # einsum_path knows no more labels than the alphabet has letters
        return in_order
    for term in names:
        shape = tuple(sizes[name] for name in term)
        arguments += [np.broadcast_to(np.float32(0), shape), [numbers[name] for name in term]]
    path = np.einsum_path(*arguments, optimize="greedy")[0][1:]
    if any(len(step) != 2 for step in path):
        return in_order
    return [(min(step), max(step)) for step in path]


def einsum(equation: str, *inputs, name: str | None = None) -> Tensor:
    """The sum of products that `equation` describes, such as 'bij,bjk->bik'.

    A label that is not in the output is summed; one that repeats within a term takes a diagonal;
    `...` stands for further dimensions, which broadcast. Without `->` the output has the labels
    that occur once, in alphabetical order. More than two inputs are combined two by two in the
    order that NumPy's einsum_path finds cheapest.
    """
    if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
        inputs = tuple(inputs[0])
    if not inputs:
        reject("einsum", "there are no inputs")
    tensors = [convert(x) for x in inputs]
    for n in range(1, len(tensors)):
        _, tensors[n] = convert_pair(tensors[0], tensors[n], "einsum")
    names, out = _parse_equation(equation, tensors)
    for n, x in enumerate(tensors):
        tensors[n], names[n] = _diagonal(x, names[n])
    _check_labels(names, tensors, equation)
    name = name or "einsum"
    if len(tensors) == 1:
        return _reduce_and_transpose(tensors[0], names[0], out, name)
    for first, second in _order(names, tensors):
        b, b_names = tensors.pop(second), names.pop(second)
        a, a_names = tensors.pop(first), names.pop(first)
        needed = {*out, *(label for term in names for label in term)}
        kept = [label for label in dict.fromkeys((*a_names, *b_names)) if label in needed]
        last = not names
        tensors.append(combine(a, a_names, b, b_names, out if last else kept, name))
        names.append(kept)
    return tensors[0]


def _reduce_and_transpose(x: Tensor, names: list[Label], out: list[Label], name: str) -> Tensor:
    left = [label for label in names if label in out]
    permutation = [left.index(label) for label in out]
    x = _sum(x, [n for n, label in enumerate(names) if label not in out])
    if permutation == list(range(len(out))):
        return find("identity")(x, name=name)
    return transposed(x, permutation, name)


def _check_labels(names: list[list[Label]], tensors: Sequence[Tensor], equation: str) -> None:
    """A letter stands for one size; only dimensions under an ellipsis broadcast."""
    sizes: dict[Label, Dim] = {}
    for term, x in zip(names, tensors, strict=True):
        for label, dim in zip(term, x.dims, strict=True):
            known = sizes.setdefault(label, dim)
            if known == dim or not isinstance(known, int) or not isinstance(dim, int):
                continue
            if isinstance(label, str) or 1 not in (known, dim):
                shown = label if isinstance(label, str) else "..."
                reject(
                    "einsum", f"label {shown!r} of {equation!r} stands for sizes {known} and {dim}"
                )
            sizes[label] = max(known, dim)
