"""What loops of attention and of its gradients share: operands, products, scores of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.node import Node, Tensor
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Invoke, Local, Stmt, Store, Target, Var
from ...sizes import Dim, ceildiv, multiply, product
from ..contraction.kernels import outer_kernel
from ..contraction.spec import count_of, grain_of, minimum, named, repeat, split, within, zero
from ..lowering.context import KernelBuilder

_ROWS = 8  # of the micro-kernel
_VECTORS = 2  # of its columns
QUERIES, KEYS = 64, 128  # of a block
_COPY_ELEMENTS = 1 << 13  # of a packing task


class Blocks:
    """What both directions share. Sizes: `queries` and `keys` long, `size` and `width` wide."""

    def __init__(self, target: Any, builder: KernelBuilder, node: Node):
        self.builder, self.node = builder, node
        self.dtype = node.inputs[0].dtype
        self.lanes = max(1, target.vector_bits // self.dtype.bits)
        self.columns = _VECTORS * self.lanes
        q, k, v = node.inputs[:3]
        self.lead = tuple(q.dims[:-2])
        self.batch = product(self.lead)
        self.queries, self.keys = q.dims[-2], k.dims[-2]
        self.size, self.width = q.dims[-1], v.dims[-1]
        assert isinstance(self.size, int) and isinstance(self.width, int)
        self.padded_size, self.padded_width = self.padded(self.size), self.padded(self.width)
        self.scale: float = node.attrs["scale"]
        self.causal: bool = node.attrs["causal"]
        self.bias: Tensor | None = None
        self.high = self._block(QUERIES, self.queries, _ROWS)
        self.wide = self._block(KEYS, self.keys, self.columns)
        self.blocks = ceildiv(self.keys, self.wide)

    @staticmethod
    def _block(most: int, length: Dim, unit: int) -> int:
        most = max(most, unit)
        return min(most, max(1, count_of(length, unit)) * unit) if isinstance(length, int) else most

    def padded(self, size: int) -> int:
        return max(1, count_of(size, self.columns)) * self.columns

    def variable(self, prefix: str, extent: Dim) -> Var:
        var = Var(self.builder.name(prefix))
        self.builder.math.variable(var, extent)
        return var

    def repeat(self, prefix: str, extent: Dim | Expr, kind: str, body, grain: int = 1):
        return repeat(self, prefix, extent, kind, body, grain)  # type: ignore[arg-type]

    def local(self, name: str, *shape: int) -> Local:
        return Local(self.builder.name(name), self.dtype, shape, "stack" if shape else "register")

    def number(self, value: float) -> Const:
        return Const(value, self.dtype)

    # -- operands -----------------------------------------------------------------------------

    def read(self, tensor: Tensor, batch: Expr, *index: Expr) -> Expr:
        """An element, with whatever produces it."""
        math, builder = self.builder.math, self.builder
        lead, *rest = builder.forms((batch, *index))
        return builder.expression(tensor, (*math.split(lead, self.lead), *rest))

    def panels_across(self, name: str, tensor: Tensor, length: Dim, size: int):
        """A copy with `columns` rows side by side: [batch, panel, size, column], 0 beyond `length`;
        by square tiles turned round in registers where they are whole."""
        columns, side = self.columns, self.lanes
        panels = ceildiv(length, columns)
        buffer = self.builder.workspace(
            self.dtype, multiply(product((self.batch, panels, size)), columns)
        )

        def place(batch: Expr, panel: Expr, c: Expr, column: Expr) -> Expr:
            line = loop.linear((batch, panel, c), (self.batch, panels, size))
            return loop.add(loop.mul(line, Const(columns)), column)

        def task(t: Expr) -> list[Stmt]:
            batch, panel = split(t, (self.batch, panels))
            first = loop.mul(panel, Const(columns))
            present = within(columns, first, length)
            lets, (batch, panel, first, present) = named(
                ("b", batch), ("panel", panel), ("first", first), ("present", present)
            )

            def turned(c0: Expr) -> list[Stmt]:
                stmts: list[Stmt] = []
                for half in range(_VECTORS):
                    tile = Local(self.builder.name("tile"), self.dtype, (side * side,))
                    r0 = loop.add(first, Const(half * side))
                    stmts.append(tile)
                    stmts += self.repeat(
                        "r",
                        side,
                        loop.UNROLLED,
                        lambda r, tile=tile, r0=r0: self.repeat(
                            "c",
                            side,
                            loop.VECTOR,
                            lambda c, r=r: [
                                Store(
                                    tile,
                                    loop.add(loop.mul(r, Const(side)), c),
                                    self.read(tensor, batch, loop.add(r0, r), loop.add(c0, c)),
                                )
                            ],
                        ),
                    )
                    stmts += self.repeat(
                        "r",
                        side,
                        loop.UNROLLED,
                        lambda r, tile=tile, half=half: self.repeat(
                            "c",
                            side,
                            loop.VECTOR,
                            lambda c, r=r: [
                                Store(
                                    buffer,
                                    place(
                                        batch,
                                        panel,
                                        loop.add(c0, r),
                                        loop.add(Const(half * side), c),
                                    ),
                                    loop.Load(tile, loop.add(loop.mul(c, Const(side)), r)),
                                )
                            ],
                        ),
                    )
                return stmts

            def one_by_one(start: int) -> list[Stmt]:
                def line(c: Expr) -> list[Stmt]:
                    at = loop.add(Const(start), c)
                    stmts = self.repeat(
                        "v",
                        present,
                        loop.VECTOR,
                        lambda v: [
                            Store(
                                buffer,
                                place(batch, panel, at, v),
                                self.read(tensor, batch, loop.add(first, v), at),
                            )
                        ],
                    )
                    missing = loop.sub(Const(columns), present)
                    return stmts + self.repeat(
                        "v",
                        missing,
                        loop.VECTOR,
                        lambda v: [
                            Store(
                                buffer,
                                place(batch, panel, at, loop.add(present, v)),
                                zero(self.dtype),
                            )
                        ],
                    )

                return self.repeat("p", size - start, loop.SERIAL, line)

            whole = size // side * side if side > 1 else 0
            tiled = (
                self.repeat(
                    "t", whole // side, loop.SERIAL, lambda t: turned(loop.mul(t, Const(side)))
                )
                if whole
                else []
            )
            rest = one_by_one(whole) if whole < size else []
            if isinstance(present, Const) and present.value == columns:
                return [*lets, *tiled, *rest]
            full = loop.apply("eq", present, Const(columns))
            return [*lets, loop.If(full, (*tiled, *rest), tuple(one_by_one(0)))]

        grain = grain_of(columns * size, _COPY_ELEMENTS)
        nest = self.repeat("t", multiply(self.batch, panels), loop.PARALLEL, task, grain)
        return nest, buffer, lambda batch, panel: place(batch, panel, loop.ZERO, loop.ZERO)

    def rows_padded(self, tensor: Tensor, length: Dim, size: int):
        """A copy in rows of a multiple of `columns`, 0 beyond `size`."""
        pitch = self.padded(size)
        buffer = self.builder.workspace(self.dtype, multiply(multiply(self.batch, length), pitch))

        def line(t: Expr) -> list[Stmt]:
            batch, row = split(t, (self.batch, length))
            start = loop.mul(t, Const(pitch))
            lets, (batch, row, start) = named(("b", batch), ("row", row), ("start", start))
            return lets + self.copy_line(
                buffer, start, size, lambda c: self.read(tensor, batch, row, c)
            )

        grain = grain_of(pitch, _COPY_ELEMENTS)
        nest = self.repeat("t", multiply(self.batch, length), loop.PARALLEL, line, grain)

        def place(batch: Expr, row: Expr) -> Expr:
            return loop.mul(loop.linear((batch, row), (self.batch, length)), Const(pitch))

        return nest, buffer, place

    def copy_line(
        self, to: Target, start: Expr, size: int, value: Callable[[Expr], Expr]
    ) -> list[Stmt]:
        """A padded row."""
        stmts = self.repeat(
            "c", size, loop.VECTOR, lambda c: [Store(to, loop.add(start, c), value(c))]
        )
        if self.padded(size) > size:
            stmts += self.repeat(
                "c",
                self.padded(size) - size,
                loop.VECTOR,
                lambda c: [Store(to, loop.add(start, loop.add(Const(size), c)), zero(self.dtype))],
            )
        return stmts

    def computed(self, count: Expr) -> Expr:
        """How many columns of scores there are for so many keys: whole panels."""
        if isinstance(count, Const):
            return Const(self.padded(int(count.value)))
        panels = loop.floordiv(loop.add(count, Const(self.columns - 1)), Const(self.columns))
        return loop.mul(panels, Const(self.columns))

    def clear(self, to: Target, start: Expr, count: Dim) -> list[Stmt]:
        return self.repeat(
            "z", count, loop.VECTOR, lambda z: [Store(to, loop.add(start, z), zero(self.dtype))]
        )

    def copy_block(
        self, to: Local, tensor: Tensor, batch, first, rows, size: int, factor: float = 1.0
    ):
        """Rows of a block, padded, times `factor`."""

        def line(r: Expr) -> list[Stmt]:
            row = loop.add(first, r)

            def value(c: Expr) -> Expr:
                x = self.read(tensor, batch, row, c)
                return x if factor == 1 else loop.apply("mul", x, self.number(factor))

            return self.copy_line(to, loop.mul(r, Const(self.padded(size))), size, value)

        return self.repeat("r", rows, loop.SERIAL, line)

    # -- products -----------------------------------------------------------------------------

    def multiply(
        self, a: tuple, b: tuple, c: tuple, rows: Expr, width: Expr | int, depth: Expr, fresh: Expr
    ) -> list[Stmt]:
        """c = or += a b for `rows` and panels that cover `width`.

        a: (memory, start, step of a row, step along depth); b: (memory, start of a panel, step);
        c: (memory, start, step of a row, a number)
        """
        memory, start, row_step, step = a
        target, place, c_row = c
        kernel = outer_kernel(self.dtype, _ROWS, self.columns, c_row=c_row)
        panels: Expr | int
        if isinstance(width, int):
            panels = count_of(width, self.columns)
        else:
            panels = loop.floordiv(loop.add(width, Const(self.columns - 1)), Const(self.columns))
        tiles = loop.floordiv(loop.add(rows, Const(_ROWS - 1)), Const(_ROWS))

        def tile(j: Expr, i: Expr) -> list[Stmt]:
            r = loop.mul(i, Const(_ROWS))
            count = minimum(Const(_ROWS), loop.sub(rows, r))
            at = loop.add(
                loop.add(place, loop.mul(r, Const(c_row))), loop.mul(j, Const(self.columns))
            )
            arguments = (
                (memory, loop.add(start, loop.mul(r, loop.index(row_step)))),
                (b[0], b[1](j)),
                (target, at),
            )
            scalars = (
                depth,
                loop.index(row_step),
                loop.index(step),
                loop.index(b[2]),
                count,
                fresh,
            )
            return [Invoke(kernel, arguments, scalars)]

        return self.repeat(
            "j",
            panels,
            loop.SERIAL,
            lambda j: self.repeat("i", tiles, loop.SERIAL, lambda i: tile(j, i)),
        )

    # -- scores -------------------------------------------------------------------------------

    def block_count(self, last: Expr) -> Expr:
        """Of blocks of keys that queries before `last` see."""
        blocks = loop.index(self.blocks)
        if not self.causal:
            return blocks
        seen = loop.floordiv(loop.add(last, Const(self.wide - 1)), Const(self.wide))
        return minimum(seen, blocks)

    def score(self, s: Local, at: Expr, batch: Expr, query: Expr, first: Expr, j: Expr) -> Expr:
        """The score of key first + j, -infinity where it is not seen."""
        value: Expr = loop.Load(s, loop.add(at, j))
        key = loop.add(first, j)
        last = loop.sub(loop.index(self.keys), loop.ONE)
        if self.bias is not None:
            value = loop.apply("add", value, self.read_bias(batch, query, minimum(key, last)))
        unseen = self.number(float("-inf"))
        if self.causal:
            value = loop.select(loop.apply("le", key, minimum(query, last)), value, unseen)
        elif not isinstance(self.keys, int) or self.keys % self.wide:
            value = loop.select(loop.apply("le", key, last), value, unseen)
        return value

    def read_bias(self, batch: Expr, query: Expr, key: Expr) -> Expr:
        bias, math, builder = self.bias, self.builder.math, self.builder
        assert bias is not None
        lead, *rest = builder.forms((batch, query, key))
        index = [*math.split(lead, self.lead), *rest][len(self.lead) + 2 - len(bias.dims) :]
        zero_ = math.constant(0)
        return builder.expression(
            bias,
            tuple(zero_ if dim == 1 else form for dim, form in zip(bias.dims, index, strict=True)),
        )

    def output(self, position: int) -> Buffer | None:
        key = self.builder.storage_of(self.node.outputs[position])
        return None if key is None else self.builder.buffer(key, write=True)
