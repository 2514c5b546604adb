"""Images at other positions: each output pixel a weighted sum of a small block of input pixels.

    resample(x[N,H,W,C], rows[I], down[I,A], columns[J], across[J,B])             -> y[N,I,J,C]
    resample_transposed(g[N,I,J,C], rows, down, columns, across; sizes=(H, W))    -> x[N,H,W,C]

    y[n,i,j,c] = sum over a, b  of  down[i,a] * across[j,b] * x[n, rows[i]+a, columns[j]+b, c]

rows and columns do not decrease, and are such that rows[i] + A <= H unless H < A, where the
weights beyond H are zero. Both operations are linear in the image and each other's gradient; the
weights come from sizes, and have none.

The transposed one is a gather too: for every input pixel the outputs that it contributes to are a
range, which one pass over rows and columns finds first.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import int64
from ..errors import TypeRuleError
from ..ir.node import Node
from ..ir.op import NEST, Op, define
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..loop.nodes import Const, Expr, Stmt
from ..sizes import Dim, product
from .nests import CHUNK, estimate

_LANES = 8  # elements of a cycle, roughly


# -- types and reference -------------------------------------------------------------------------


def _check_tables(types, rules) -> tuple[Dim, Dim]:
    """The sizes of the output, or of the gradient, by the tables."""
    image, rows, down, columns, across = types
    if image.rank != 4 or not image.dtype.is_floating:
        raise TypeRuleError(f"floating-point images of rank 4 are needed, got {image}")
    for places, weights in ((rows, down), (columns, across)):
        if places.dtype.name != "int32" or places.rank != 1:
            raise TypeRuleError(f"places must be a vector of int32, got {places}")
        if weights.dtype is not image.dtype or weights.rank != 2:
            raise TypeRuleError(f"weights must be a matrix of {image.dtype}, got {weights}")
        if not isinstance(weights.shape[1], int) or weights.shape[1] < 1:
            raise TypeRuleError(f"the number of weights of a pixel must be known, got {weights}")
        rules.equal(places.shape[0], weights.shape[0], f"{places} and {weights} differ in length")
    return rows.shape[0], columns.shape[0]


def _infer(types, attrs, rules):
    height, width = _check_tables(types, rules)
    x = types[0]
    return (TensorType(x.dtype, (x.shape[0], height, width, x.shape[3])),)


def _infer_transposed(types, attrs, rules):
    g = types[0]
    for own, dim in zip(_check_tables(types, rules), g.shape[1:3], strict=True):
        rules.equal(own, dim, f"the gradient {g} has not the size of the tables")
    return (TensorType(g.dtype, (g.shape[0], *attrs["sizes"], g.shape[3])),)


def _places(first: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    return np.minimum(first[:, None] + np.arange(weights.shape[1]), max(size - 1, 0))


def _reference(arrays, attrs, node: Node):
    x, rows, down, columns, across = arrays
    if 0 in x.shape:
        return (np.zeros((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype),)
    down_first = x[:, _places(rows, down, x.shape[1])]
    middle = np.einsum("niawc,ia->niwc", down_first, down)
    result = np.einsum("nijbc,jb->nijc", middle[:, :, _places(columns, across, x.shape[2])], across)
    return (np.ascontiguousarray(result, x.dtype),)


def _reference_transposed(arrays, attrs, node: Node):
    g, rows, down, columns, across = arrays
    height, width = attrs["sizes"]
    result = np.zeros((g.shape[0], height, width, g.shape[3]), g.dtype)
    if result.size == 0:
        return (result,)
    vertical, horizontal = _places(rows, down, height), _places(columns, across, width)
    for i, j in np.ndindex(len(rows), len(columns)):
        for a, b in np.ndindex(down.shape[1], across.shape[1]):
            weight = down[i, a] * across[j, b]
            result[:, vertical[i, a], horizontal[j, b]] += weight * g[:, i, j]
    return (result,)


# -- loops ---------------------------------------------------------------------------------------


def _rows(context, batch: Dim, height: Dim, cost: float, body) -> list[Stmt]:
    """`body(n, i)` for every row of every image, in parallel where there is work for it."""
    row = context.var("row")
    n, i = context.var("n"), context.var("i")
    statements: list[Stmt] = [
        loop.Let(n, loop.floordiv(row, loop.index(height))),
        loop.Let(i, loop.mod(row, loop.index(height))),
        *body(n, i),
    ]
    count = product((batch, height))
    grain = max(1, int(CHUNK / max(cost, 1.0)))
    few = isinstance(count, int) and count <= grain + grain // 2
    kind, grain = (loop.SERIAL, 1) if few else (loop.PARALLEL, grain)
    return [loop.For(row, loop.index(count), kind, tuple(statements), grain)]


def _named(context, body: list[Stmt], value: Expr, prefix: str) -> Expr:
    var = context.var(prefix, value.dtype)
    body.append(loop.Let(var, value))
    return var


def _lower(node: Node, context) -> list[Stmt]:
    """Vectors of channels; of one channel, of columns."""
    x, _, down, _, across = node.inputs
    batch, height, width, channels = node.outputs[0].dims
    j, lane = context.var("j"), context.var("c")

    def place(body: list[Stmt], table: int, at: Expr, tap: int, size: Dim) -> Expr:
        first = loop.cast(context.read(table, (at,)), int64)
        last = loop.apply("minimum", loop.add(first, Const(tap)), loop.index(size - 1))
        return _named(context, body, last, "p")

    def weights(body: list[Stmt], table: int, at: Expr) -> list[Expr]:
        count = node.inputs[table].dims[1]
        return [_named(context, body, context.read(table, (at, Const(t))), "w")
                for t in range(count)]  # fmt: skip

    def row(n: Expr, i: Expr) -> list[Stmt]:
        body: list[Stmt] = []
        vertical = [place(body, 1, i, a, x.dims[1]) for a in range(down.dims[1])]
        down_weights = weights(body, 2, i)
        pixel: list[Stmt] = []
        horizontal = [place(pixel, 3, j, b, x.dims[2]) for b in range(across.dims[1])]
        across_weights = weights(pixel, 4, j)
        one = channels == 1
        inner = pixel if one else []
        total: Expr | None = None
        for p, weight in zip(vertical, down_weights, strict=True):
            line: Expr | None = None
            for q, share in zip(horizontal, across_weights, strict=True):
                value = context.read(0, (n, p, q, loop.ZERO if one else lane))
                term = loop.apply("mul", value, share)
                line = term if line is None else loop.apply("add", term, line)
            assert line is not None
            line = _named(context, inner, loop.apply("mul", line, weight), "t")
            total = line if total is None else loop.apply("add", line, total)
        assert total is not None
        target = loop.linear((n, i, j, loop.ZERO if one else lane), node.outputs[0].dims)
        inner.append(loop.Store(context.output(0), target, total))
        if one:
            body.append(loop.For(j, loop.index(width), loop.VECTOR, tuple(pixel)))
            return body
        pixel.append(loop.For(lane, loop.index(channels), loop.VECTOR, tuple(inner)))
        body.append(loop.For(j, loop.index(width), loop.SERIAL, tuple(pixel)))
        return body

    taps = down.dims[1] * across.dims[1]
    cost = estimate([width, channels]) * (1.0 + taps) / _LANES
    return _rows(context, batch, height, cost, row)


def _ranges(node: Node, context, table: int, count: Dim, size: Dim):
    """Statements that find, for each place of an axis, from which to before which output it is
    read; and the two buffers they fill."""
    taps = node.inputs[table + 1].dims[1]
    begin, stop = (context.workspace(int64, size) for _ in range(2))
    h, i = context.var("h"), context.var("i")
    clear = (
        loop.Store(begin, h, loop.index(count)),
        loop.Store(stop, h, loop.ZERO),
    )
    first = context.var("first")
    body: list[Stmt] = [loop.Let(first, loop.cast(context.read(table, (i,)), int64))]
    for tap in range(taps):
        at = loop.apply("minimum", loop.add(first, Const(tap)), loop.index(size - 1))
        at = _named(context, body, at, "h")
        body.append(loop.Accumulate(begin, at, "minimum", i))
        body.append(loop.Accumulate(stop, at, "maximum", loop.add(i, loop.ONE)))
    statements: list[Stmt] = [
        loop.For(h, loop.index(size), loop.SERIAL, clear),
        loop.For(i, loop.index(count), loop.SERIAL, tuple(body)),
    ]
    # Of no size there is no place to write to.
    if not isinstance(size, int) or size == 0:
        some = loop.apply("gt", loop.index(size), loop.ZERO)
        statements = [loop.If(some, tuple(statements))]
    return statements, begin, stop


def _lower_transposed(node: Node, context) -> list[Stmt]:
    g = node.inputs[0]
    batch, height, width, channels = node.outputs[0].dims
    dtype = node.types[0].dtype
    finding, top, bottom = _ranges(node, context, 1, g.dims[1], height)
    more, left, right = _ranges(node, context, 3, g.dims[2], width)
    w, lane, i, j = (context.var(name) for name in ("w", "c", "i", "j"))

    def spans(body: list[Stmt], begin, stop, at: Expr) -> tuple[Expr, Expr]:
        start = _named(context, body, loop.Load(begin, at), "begin")
        count = loop.sub(loop.Load(stop, at), start)
        count = loop.apply("maximum", count, loop.ZERO)
        return start, _named(context, body, count, "count")

    def weight(body: list[Stmt], table: int, output: Expr, place: Expr) -> Expr:
        first = loop.cast(context.read(table, (output,)), int64)
        return _named(context, body, context.read(table + 1, (output, loop.sub(place, first))), "w")

    def row(n: Expr, h: Expr) -> list[Stmt]:
        body: list[Stmt] = []
        begin, count = spans(body, top, bottom, h)
        pixel: list[Stmt] = []
        start, length = spans(pixel, left, right, w)
        total = context.local(dtype, prefix="total")
        line: list[Stmt] = []
        ni = _named(context, line, loop.add(begin, i), "i")
        down = weight(line, 1, ni, h)
        inner: list[Stmt] = []
        nj = _named(context, inner, loop.add(start, j), "j")
        across = weight(inner, 3, nj, w)
        value = loop.apply("mul", down, across)
        term = loop.apply("mul", context.read(0, (n, ni, nj, lane)), value)
        inner.append(loop.Accumulate(total, loop.ZERO, "add", term))
        line.append(loop.For(j, length, loop.SERIAL, tuple(inner)))
        target = loop.linear((n, h, w, lane), node.outputs[0].dims)
        lanes: list[Stmt] = [
            total,
            loop.Store(total, loop.ZERO, loop.neutral("add", dtype)),
            loop.For(i, count, loop.SERIAL, tuple(line)),
            loop.Store(context.output(0), target, loop.Load(total, loop.ZERO)),
        ]
        pixel.append(loop.For(lane, loop.index(channels), loop.VECTOR, tuple(lanes)))
        body.append(loop.For(w, loop.index(width), loop.SERIAL, tuple(pixel)))
        return body

    cost = (estimate([g.dims[1], g.dims[2], channels]) / max(1, estimate([height]))) * 4.0 / _LANES
    return [*finding, *more, *_rows(context, batch, height, cost, row)]


# -- the primitives ------------------------------------------------------------------------------


def _vjp(node: Node, gradients):
    x, *tables = node.inputs
    return [resample_transposed(gradients[0], *tables, sizes=x.dims[1:3]), *[None] * 4]


def _vjp_transposed(node: Node, gradients):
    return [resample(gradients[0], *node.inputs[1:]), *[None] * 4]


resample = define(
    Op(
        name="resample",
        kind=NEST,
        infer=_infer,
        reference=_reference,
        vjp=_vjp,
        lower=_lower,
        flops=8.0,
    )
)
resample_transposed = define(
    Op(
        name="resample_transposed",
        kind=NEST,
        infer=_infer_transposed,
        reference=_reference_transposed,
        vjp=_vjp_transposed,
        lower=_lower_transposed,
        flops=8.0,
    )
)
