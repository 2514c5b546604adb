"""Reading by index: gather, gather_nd, one_hot and embedding_lookup.

Every index is checked first, see index_check.py, and clamped where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dtypes import as_dtype, float32, int32, int64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define, find
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Dim, Size, product
from .convert import as_size, convert, convert_all, known_axis, reject
from .index_check import checked, clamped, require_index, require_index_tensor
from .indexed_slices import IndexedSlices

__all__ = ["batch_gather", "embedding_lookup", "gather", "gather_nd", "one_hot"]


def zeros(dtype, shape: Sequence[Dim]) -> Tensor:
    return find("broadcast_to")(convert(0, dtype), shape=tuple(shape))


def reshaped(x: Tensor, shape: Sequence[Dim]) -> Tensor:
    return x if tuple(shape) == x.dims else find("reshape")(x, shape=tuple(shape))


def transposed(x: Tensor, permutation: Sequence[int], name: str | None = None) -> Tensor:
    if list(permutation) == list(range(len(permutation))):
        return x
    return find("transpose")(x, perm=tuple(permutation), name=name)


def copy_input(node: Node, context) -> loop.Stmt:
    """Copies input 0 to output 0, unless they are the same memory."""
    source, target = context.input(0), context.output(0)
    i = context.var("i")
    body = (loop.Store(target, i, loop.Load(source, i)),)
    copy = loop.For(i, loop.index(product(node.inputs[0].dims)), loop.VECTOR, body)
    return loop.If(loop.apply("not", loop.Same(target, source)), (copy,))


def nest(
    variables: Sequence[loop.Var], dims: Sequence[Dim], body: Sequence[loop.Stmt], inner: str
) -> tuple[loop.Stmt, ...]:
    """Loops over `dims`, outermost first; the innermost is of kind `inner`, the others serial."""
    statements = tuple(body)
    kind = inner
    for variable, dim in zip(reversed(variables), reversed(dims), strict=True):
        statements = (loop.For(variable, loop.index(dim), kind, statements),)
        kind = loop.SERIAL
    return statements


# -- gather -------------------------------------------------------------------------------------


def _infer_gather(types, attrs, sizes):
    """params, indices: the output has params' dimension `axis` replaced by those of the indices
    after the first `batch_dims`, which both share."""
    params, indices = types
    require_index(indices)
    axis, batch = attrs["axis"], attrs.get("batch_dims", 0)
    if not 0 <= axis < params.rank:
        raise TypeRuleError(f"{params} has no dimension {axis}")
    if not 0 <= batch <= min(axis, indices.rank):
        raise TypeRuleError(
            f"batch_dims={batch} must be at most axis={axis} and the rank of the indices {indices}"
        )
    for n in range(batch):
        sizes.equal(
            params.shape[n],
            indices.shape[n],
            f"batch dimension {n} is {params.shape[n]} in {params} and {indices.shape[n]} in "
            f"the indices {indices}; they must be equal",
        )
    shape = params.shape[:axis] + indices.shape[batch:] + params.shape[axis + 1 :]
    return [TensorType(params.dtype, shape)]


def _reference_gather(arrays, attrs, node):
    params, indices = arrays
    axis, batch = attrs["axis"], attrs.get("batch_dims", 0)
    size = params.shape[axis]
    shape = params.shape[:axis] + indices.shape[batch:] + params.shape[axis + 1 :]
    if size == 0:
        return [np.zeros(shape, params.dtype)]
    rows = np.clip(indices, 0, size - 1)
    moved = np.moveaxis(params, axis, batch)
    grids = np.ogrid[tuple(slice(n) for n in indices.shape)][:batch] if batch else []
    place = (*grids, rows)
    taken = moved[place]
    # taken: batch, rest of the indices, params' dimensions between batch and axis, the others
    between = range(indices.ndim, indices.ndim + axis - batch)
    order = [*range(batch), *between, *range(batch, indices.ndim)]
    order += range(len(order), taken.ndim)
    return [np.array(taken.transpose(order), order="C")]


def _lower_gather(node: Node, index, context, output):
    axis, batch = node.attrs.axis, node.attrs.get("batch_dims", 0)
    params, indices = node.inputs
    after = axis + indices.rank - batch
    row = loop.cast(context.read(1, (*index[:batch], *index[axis:after])), int64)
    row = context.let(clamped(row, params.dims[axis]))
    return context.read(0, (*index[:axis], row, *index[after:]))


def _vjp_gather(node: Node, gradients):
    """Along the first dimension the gradient is IndexedSlices; else rows are added into zeros."""
    params, indices = node.inputs
    gradient = gradients[0]
    axis, batch = node.attrs.axis, node.attrs.get("batch_dims", 0)
    if axis == 0:
        count = product(indices.dims)
        return [
            IndexedSlices(
                reshaped(gradient, (count, *params.dims[1:])),
                reshaped(indices, (count,)),
                find("shape")(params, dtype=int32),
            ),
            None,
        ]
    # One scatter over batch and axis together: row b of the batch has its own `size` rows.
    size = params.dims[axis]
    between = params.dims[batch:axis]
    picked = indices.rank - batch
    order = [*range(batch), *range(axis, axis + picked), *range(batch, axis)]
    order += range(axis + picked, gradient.rank)
    rest = (*between, *params.dims[axis + 1 :])
    rows = transposed(gradient, order)
    rows = reshaped(rows, (product(indices.dims), *rest))
    where = indices
    if batch:
        shape = params.dims[:batch]
        number = find("iota")(dtype=indices.dtype, size=product(shape))
        number = reshaped(number, (*shape, *[1] * picked))
        rows_each = find("size")(params, axes=(axis,), dtype=indices.dtype)
        where = find("add")(indices, find("mul")(number, rows_each))
    where = reshaped(where, (product(indices.dims),))
    dense = zeros(params.dtype, (product((*params.dims[:batch], size)), *rest))
    dense = find("scatter")(dense, where, rows, mode="add")
    dense = reshaped(dense, (*params.dims[:batch], size, *rest))
    back = [*range(batch), *range(batch + 1, axis + 1), batch, *range(axis + 1, len(params.dims))]
    return [transposed(dense, back), None]


def _batch_gather(node: Node, inputs, batched):
    params, indices = inputs
    axis, batch = node.attrs.axis, node.attrs.get("batch_dims", 0)
    if all(batched):
        return [gather_op(params, indices, axis=axis + 1, batch_dims=batch + 1)]
    if batch:
        return None
    if batched[0]:
        return [gather_op(params, indices, axis=axis + 1, batch_dims=0)]
    made = gather_op(params, indices, axis=axis, batch_dims=0)
    rest = [k for k in range(len(made.dims)) if k != axis]
    return [transposed(made, [axis, *rest])]


gather_op = define(
    Op(
        name="gather",
        infer=_infer_gather,
        reference=_reference_gather,
        vjp=_vjp_gather,
        batch=_batch_gather,
        lower=_lower_gather,
    )
)


def gather(
    params, indices, validate_indices=None, name: str | None = None, axis=None, batch_dims: int = 0
) -> Tensor:
    """Slices of `params` along dimension `axis` at `indices`, int32 or int64 of any shape.

    The output's shape is params.shape[:axis] + indices.shape[batch_dims:] + params.shape[axis+1:].
    axis: counted from the end where negative; `batch_dims` if None.
    batch_dims: leading dimensions that both share, negative ones counted from the end of indices.
    An index outside [0, size) is an OutOfRangeError of the run (negative ones too), at definition
    where the indices are constant. The gradient by `params` is IndexedSlices along axis 0.
    """
    params, indices = convert(params), convert(indices)
    require_ranks(params, indices, "gather")
    batch = batch_dims + indices.rank if batch_dims < 0 else batch_dims
    axis = known_axis(batch if axis is None else axis, params.rank, "gather")
    require_index_tensor(indices, "gather")
    indices = checked(indices, params.dims[axis], "gather")
    attrs = {"batch_dims": batch} if batch else {}
    return gather_op(params, indices, axis=axis, name=name, **attrs)


def require_ranks(params: Tensor, indices: Tensor, what: str) -> None:
    for x in (params, indices):
        if x.rank is None:
            reject(
                what,
                f"the rank of {x.name} is unknown; give its placeholder a shape, "
                "such as shape=[None, 3]",
            )


def batch_gather(params, indices, name: str | None = None) -> Tensor:
    """gather along the last dimension of `indices`; the dimensions before it are a batch."""
    indices = convert(indices)
    if not indices.rank:
        reject("batch_gather", "the indices need at least one dimension")
    return gather(params, indices, axis=indices.rank - 1, batch_dims=indices.rank - 1, name=name)


# -- gather_nd ----------------------------------------------------------------------------------


def _infer_gather_nd(types, attrs, sizes):
    """params, indices [..., k]: each row of the indices names an element (or, where k is less
    than the rank of params, a slice) of params."""
    params, indices = types
    require_index(indices)
    depth = index_depth(indices, params)
    return [TensorType(params.dtype, indices.shape[:-1] + params.shape[depth:])]


def index_depth(indices: TensorType, params: TensorType) -> int:
    """The number of components of each index: the last dimension of `indices`."""
    depth = indices.shape[-1] if indices.shape else None
    if not isinstance(depth, int) or depth > len(params.shape or ()):
        raise TypeRuleError(
            f"the last dimension of the indices {indices} must be a known number, at most the "
            f"rank of {params}"
        )
    return depth


def known_depth(indices: Tensor, params: Tensor, what: str) -> int:
    """As `index_depth`; errors name the user's line."""
    try:
        return index_depth(indices.tensor_type, params.tensor_type)
    except TypeRuleError as error:
        reject(what, str(error))


def _reference_gather_nd(arrays, attrs, node):
    params, indices = arrays
    depth = indices.shape[-1]
    limits = np.asarray(params.shape[:depth], np.int64)
    if (limits == 0).any():
        return [np.zeros(indices.shape[:-1] + params.shape[depth:], params.dtype)]
    rows = np.clip(indices, 0, limits - 1)
    if depth == 0:
        shape = indices.shape[:-1] + params.shape
        return [np.array(np.broadcast_to(params, shape), order="C")]
    return [np.array(params[tuple(np.moveaxis(rows, -1, 0))], order="C")]


def _lower_gather_nd(node: Node, index, context, output):
    params, indices = node.inputs
    outer = len(indices.dims) - 1
    position = []
    for component in range(indices.dims[-1]):
        part = context.read(1, (*index[:outer], loop.Const(component)))
        part = clamped(loop.cast(part, int64), params.dims[component])
        position.append(context.let(part))
    return context.read(0, (*position, *index[outer:]))


def _vjp_gather_nd(node: Node, gradients):
    params, indices = node.inputs
    dense = zeros(params.dtype, params.dims)
    return [find("scatter")(dense, indices, gradients[0], mode="add", nd=True), None]


gather_nd_op = define(
    Op(
        name="gather_nd",
        infer=_infer_gather_nd,
        reference=_reference_gather_nd,
        vjp=_vjp_gather_nd,
        lower=_lower_gather_nd,
    )
)


def gather_nd(params, indices, name: str | None = None, batch_dims: int = 0) -> Tensor:
    """Elements or slices of `params` at `indices` [..., k], each row an index into k dimensions.

    The output's shape is indices.shape[:-1] + params.shape[k:]; with batch_dims, each entry of
    those leading dimensions is a problem of its own. An index outside is an OutOfRangeError of
    the run.
    """
    params, indices = convert(params), convert(indices)
    require_ranks(params, indices, "gather_nd")
    require_index_tensor(indices, "gather_nd")
    if batch_dims:
        if not 0 <= batch_dims < indices.rank:
            reject(
                "gather_nd",
                f"batch_dims={batch_dims} must be less than the rank of the indices "
                f"{indices.name} {indices.tensor_type}",
            )
        parts = []
        for n in range(batch_dims):
            number = find("iota")(dtype=indices.dtype, size=params.dims[n])
            shape = [1] * indices.rank
            shape[n] = params.dims[n]
            target = (*indices.dims[:-1], 1)
            parts.append(find("broadcast_to")(reshaped(number, shape), shape=target))
        indices = find("concat")(*parts, indices, axis=indices.rank - 1)
    depth = known_depth(indices, params, "gather_nd")
    if depth:
        indices = checked(indices, params.dims[:depth], "gather_nd", nd=True)
    return gather_nd_op(params, indices, name=name)


# -- tables -------------------------------------------------------------------------------------


def one_hot(
    indices, depth, on_value=None, off_value=None, axis=None, dtype=None, name: str | None = None
) -> Tensor:
    """A new dimension of size `depth` that holds `on_value` where its position equals the index.

    indices: integers of any shape; one outside [0, depth) gives `off_value` everywhere.
    axis: where the new dimension stands; last if None or -1.
    on_value, off_value: scalars, 1 and 0 if None. dtype: theirs, or float32.
    """
    indices = convert(indices, what="one_hot")
    require_ranks(indices, indices, "one_hot")
    if not indices.dtype.is_integer:
        reject("one_hot", f"the indices {indices.name} are {indices.dtype}, not integers")
    given = [v for v in (on_value, off_value) if v is not None]
    if dtype is None and given:
        dtype = convert_all(given, "one_hot")[0].dtype
    wanted = float32 if dtype is None else as_dtype(dtype)
    on = convert(wanted.numpy.type(1) if on_value is None else on_value, wanted, what="one_hot")
    off = convert(wanted.numpy.type(0) if off_value is None else off_value, wanted, what="one_hot")
    for value in (on, off):
        if value.rank:
            reject("one_hot", f"on_value and off_value are scalars, one is {value.tensor_type}")
    size = as_size(depth, "one_hot")
    if isinstance(size, int) and size < 0:
        reject("one_hot", f"depth is {size}; it must not be negative")
    place = known_axis(-1 if axis is None else axis, indices.rank + 1, "one_hot")
    if indices.dtype not in (int32, int64):
        indices = find("cast")(indices, dtype=int64)
    shape = (*indices.dims[:place], 1, *indices.dims[place:])
    positions = find("iota")(dtype=indices.dtype, size=size)
    positions = reshaped(positions, (size, *[1] * (indices.rank - place)))
    hit = find("equal")(reshaped(indices, shape), positions)
    return find("select")(hit, on, off, name=name or "one_hot")


def embedding_lookup(
    params,
    ids,
    partition_strategy: str = "mod",
    name: str | None = None,
    validate_indices: bool = True,
    max_norm=None,
) -> Tensor:
    """Rows `ids` of an embedding table: [ids.shape, params.shape[1:]].

    params: the table, or a list of tables it is split into. partition_strategy: "mod", where
        table id % len(params) holds id, or "div", where each holds a contiguous range.
    max_norm: rows with a larger Euclidean norm are scaled down to it.
    An id outside the table is an OutOfRangeError of the run.
    """
    tables = list(params) if isinstance(params, (list, tuple)) else [params]
    if not tables:
        reject("embedding_lookup", "params is empty")
    ids = convert(ids, what="embedding_lookup")
    require_index_tensor(ids, "embedding_lookup")
    if len(tables) == 1:
        table = convert(tables[0], what="embedding_lookup")
        require_ranks(table, ids, "embedding_lookup")
        if not table.rank:
            reject("embedding_lookup", f"params is the scalar {table.name}, which has no rows")
        ids = checked(ids, table.dims[0], "embedding_lookup")
        rows = gather(table, ids, name=name or "embedding_lookup")
    else:
        rows = _lookup_in_parts(convert_all(tables, "embedding_lookup"), ids, partition_strategy)
    return rows if max_norm is None else _clip_rows(rows, ids.rank, max_norm)


def _lookup_in_parts(tables: list[Tensor], ids: Tensor, strategy: str) -> Tensor:
    if strategy not in ("mod", "div"):
        reject("embedding_lookup", f"partition_strategy is {strategy!r}; it is 'mod' or 'div'")
    whole = find("concat")(*tables, axis=0)
    if strategy == "mod":  # id -> row id // n of table id % n
        total = sum((table.dims[0] for table in tables[1:]), tables[0].dims[0])
        ids = checked(ids, total, "embedding_lookup")
        count = convert(len(tables), ids.dtype)
        firsts: list[Dim] = [0]
        for table in tables[:-1]:
            firsts.append(firsts[-1] + table.dims[0])
        if any(isinstance(first, Size) for first in firsts):
            reject("embedding_lookup", "the sizes of the tables must be known")
        offsets = convert(np.asarray(firsts), ids.dtype)
        offset = gather_op(offsets, find("mod")(ids, count), axis=0)
        ids = find("add")(find("floordiv")(ids, count), offset)
    return gather(whole, ids, name="embedding_lookup")


def _clip_rows(rows: Tensor, first: int, max_norm) -> Tensor:
    """Rows (from dimension `first` on) scaled so that their norm is at most `max_norm`."""
    limit = convert(max_norm, rows.dtype, what="embedding_lookup")
    axes = tuple(range(first, len(rows.dims)))
    squares = find("reduce")(find("mul")(rows, rows), kind="sum", axes=axes)
    norms = find("sqrt")(reshaped(squares, (*rows.dims[:first], *[1] * len(axes))))
    scale = find("div")(limit, find("maximum")(norms, limit))
    return find("mul")(rows, scale)
