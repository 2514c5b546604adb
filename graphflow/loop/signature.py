"""What decides the machine code of a kernel or of a part of one, as a value that can be compared.

Everything is referred to by its position, so names are no part of it, and neither are the sizes of
buffers. Two kernels have equal signatures exactly when they are the same but for those, parts that
expressions share included.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from ..sizes import Size
from . import nodes as loop

Signature = tuple[Hashable, ...]


class Signatures:
    """Makes signatures; kernels that others invoke are known by their own."""

    def __init__(self) -> None:
        self._numbers: dict[Signature, int] = {}
        self._kernels: dict[int, tuple[loop.Kernel, int]] = {}  # with what keeps the id

    def number(self, kernel: loop.Kernel) -> int:
        """The same for kernels of equal signatures."""
        found = self._kernels.get(id(kernel))
        if found is None:
            outside: list[tuple[Any, Hashable]] = [(b, b.dtype.name) for b in kernel.buffers]
            outside += [(var, "scalar") for var in kernel.scalars]
            signature = self.part(kernel.body, outside, kernel.sizes())
            found = kernel, self._numbers.setdefault(signature, len(self._numbers))
            self._kernels[id(kernel)] = found
        return found[1]

    def part(
        self,
        body: Sequence[loop.Stmt],
        outside: Iterable[tuple[Any, Hashable]],
        sizes: Iterable[Size],
    ) -> Signature:
        """The signature of statements. `outside` lists the buffers, Locals and variables that they
        take from around them, each with what is to be known of it."""
        writer = _Writer(self, {size: number for number, size in enumerate(sizes)})
        for thing, known in outside:
            writer.declare(thing, ("outside", known))
        writer.block(body)
        return tuple(writer.rows)


class _Writer:
    """Rows of a signature; what a row defines is referred to by the row's number."""

    def __init__(self, signatures: Signatures, sizes: dict[Size, int]):
        self.signatures, self.sizes = signatures, sizes
        self.rows: list[Hashable] = []
        self.numbers: dict[int, int] = {}
        self.constants: dict[Hashable, int] = {}

    def declare(self, thing: Any, row: Hashable) -> None:
        self.numbers[id(thing)] = len(self.rows)
        self.rows.append(row)

    def block(self, body: Sequence[loop.Stmt]) -> None:
        for stmt in body:
            self.statement(stmt)

    def statement(self, stmt: loop.Stmt) -> None:
        values = [self.expression(root) for root in loop.operands(stmt)]
        numbers = self.numbers
        if isinstance(stmt, loop.Let):
            # The name stands for the value, but is not the same to the code generator.
            self.declare(stmt.var, ("let", *values))
        elif isinstance(stmt, loop.For):
            self.declare(stmt.var, (stmt.kind, stmt.grain, *values))
            self.block(stmt.body)
            self.rows.append("end")
        elif isinstance(stmt, loop.Local):
            self.declare(stmt, (stmt.space, stmt.dtype.name, stmt.shape))
        elif isinstance(stmt, loop.Store):
            self.rows.append(("store", numbers[id(stmt.target)], *values))
        elif isinstance(stmt, loop.Accumulate):
            self.rows.append((stmt.op, "into", numbers[id(stmt.target)], *values))
        elif isinstance(stmt, loop.If):
            self.rows.append(("if", *values))
            self.block(stmt.then)
            self.rows.append("else")
            self.block(stmt.otherwise)
            self.rows.append("end")
        elif isinstance(stmt, loop.Prefetch):
            self.rows.append(("prefetch", numbers[id(stmt.target)], *values))
        elif isinstance(stmt, loop.Check):
            self.rows.append(("check", stmt.site, *values))
        else:
            called = self.signatures.number(stmt.kernel)
            sizes = [self.sizes[size] for size in stmt.kernel.sizes()]
            places = [numbers[id(target)] for target, _ in stmt.arguments]
            self.rows.append(("call", called, *sizes, "on", *places, "from", *values))

    def expression(self, root: loop.Expr) -> int:
        numbers = self.numbers
        stack: list[loop.Expr] = [root]
        while stack:
            expr = stack[-1]
            if id(expr) in numbers:
                stack.pop()
                continue
            row: Hashable
            if type(expr) is loop.Apply:
                missing = [arg for arg in expr.args if id(arg) not in numbers]
                if missing:
                    missing.reverse()
                    stack += missing
                    continue
                row = (expr.op, expr.dtype.name, *[numbers[id(arg)] for arg in expr.args])
            elif type(expr) is loop.Load:
                if id(expr.index) not in numbers:
                    stack.append(expr.index)
                    continue
                row = ("load", numbers[id(expr.target)], numbers[id(expr.index)])
            elif type(expr) is loop.Const:
                # Its text tells 0.0 from -0.0, and makes NaN equal to itself.
                row = (repr(expr.value), expr.dtype.name)
                number = self.constants.setdefault(row, len(self.rows))
                if number < len(self.rows):
                    numbers[id(expr)] = number
                    continue
            elif type(expr) is loop.SizeOf:
                row = ("size", self.sizes[expr.size])
            else:
                assert isinstance(expr, loop.Same)
                row = ("same", numbers[id(expr.a)], numbers[id(expr.b)])
            numbers[id(expr)] = len(self.rows)
            self.rows.append(row)
        return numbers[id(root)]


__all__ = ["Signature", "Signatures"]
