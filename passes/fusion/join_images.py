"""Loops over images one after the other --> one loop that makes of each image what the next needs.

    for row < 14*n parallel:  put[row, …] = …          for image < n parallel:
    for image < n parallel:  … put[image, …] …    -->      stack part: `put` of one image
                                                           for row < 14:  part[row, …] = …
                                                           … part[…] …

What is made of an image is used while it is in the first caches, whatever the number of images, and
no barrier lies between. Where nothing else reads it, it needs no memory at all. The image may be
the variable of the loop itself, or one that a task names while it goes through images of its own.

Legal where an iteration of the first loop, and what the second reads of it, stay within one and the
same image. That is read off the indices (`index_math.py`), those of kernels that are invoked
included; nothing is taken on trust from the operations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...dtypes import int64
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, For, Invoke, Kernel, Let, Load, Local, Stmt, Var
from ...sizes import Dim, exact_quotient
from ..analysis.index_math import Form, IndexMath

_MOST_ELEMENTS = 1 << 14  # of one value of an image that a task holds on its stack
_MOST_TOGETHER = 1 << 15
_LEAST_IMAGES = 8  # where their number is known; of fewer, the rows are shared out among threads


@dataclass(frozen=True)
class Joined:
    """Loops number `first` of a kernel now run inside those that were number `second`; `dropped`
    are buffers that no longer exist."""

    first: int
    second: int
    dropped: frozenset[Buffer]


def join_images(
    body: list[Stmt], math: IndexMath, private: Collection[Buffer], lasting: Collection[Buffer]
) -> list[Joined]:
    """Joins what can be joined among the statements of a kernel, last ones first. What has been
    moved leaves an empty loop's place: numbers of statements stay as they are.

    `private` are buffers that nothing outside of the kernel reads, `lasting` those that the kernel
    may write over (variables updated in place).
    """
    found: list[Joined] = []
    held = 0
    touched: list[set[loop.Target]] = [loop.targets([stmt]) for stmt in body]
    for number in range(len(body) - 2, -1, -1):
        first = body[number]
        if not isinstance(first, For) or first.kind != loop.PARALLEL or not first.body:
            continue
        made = _written(first.body)
        if not made or not all(isinstance(target, Buffer) for target in made):
            continue
        others = [k for k in range(len(body)) if k != number and made & touched[k]]
        if len(others) != 1 or others[0] < number or touched[number] & set(lasting):
            continue
        second = body[others[0]]
        if touched[number] & _written(body[number + 1 : others[0]]):
            continue
        if not isinstance(second, For) or second.kind != loop.PARALLEL:
            continue
        if (touched[number] - made) & touched[others[0]] or made & _written([second]):
            continue
        own = frozenset(b for b in made if isinstance(b, Buffer) and b in private)
        try:
            joined, elements = _Join(math, first, made, own).into(second)  # type: ignore[arg-type]
        except _Refused:
            continue
        if held + elements > _MOST_TOGETHER:
            continue
        held += elements
        body[others[0]] = joined
        body[number] = For(first.var, loop.ZERO, loop.SERIAL, ())
        touched[others[0]], touched[number] = loop.targets([joined]), set()
        found.append(Joined(number, others[0], own))
    return found


def _written(body: Sequence[Stmt]) -> set[loop.Target]:
    found: set[loop.Target] = set()
    for stmt in loop.statements(body):
        if isinstance(stmt, (loop.Store, loop.Accumulate)):
            found.add(stmt.target)
        elif isinstance(stmt, Invoke):
            pairs = zip(stmt.kernel.buffers, stmt.arguments, strict=True)
            found.update(target for buffer, (target, _) in pairs if buffer.role != "in")
    return found - {stmt for stmt in loop.statements(body) if isinstance(stmt, Local)}


class _Refused(Exception):
    """The loops cannot be joined."""


class _Join:
    """One loop that is to run inside another one; `made` are the buffers it writes."""

    def __init__(
        self, math: IndexMath, first: For, made: Collection[Buffer], own: Collection[Buffer]
    ):
        self.math, self.first, self.made, self.own = math, first, made, own

    def into(self, second: For) -> tuple[For, int]:
        """The other loop with this one inside, and how many elements its stack then has more."""
        for image in self.images(second):
            try:
                return self.with_image(second, image)
            except _Refused:
                continue
        raise _Refused

    def images(self, second: For) -> list[Var]:
        """Variables that may number images, outer ones first: every image is met, or at least
        those are whose values are used."""
        found = [second.var]
        if set(self.made) <= set(self.own):
            found += [s.var for s in loop.statements(second.body) if isinstance(s, Let)]
        return [var for var in found if self.rows(self.math.extents.get(var)) is not None]

    def rows(self, images: Dim | None) -> int | None:
        """Iterations of the first loop for an image."""
        if images is None or (isinstance(images, int) and images < _LEAST_IMAGES):
            return None
        rows = exact_quotient(self.math.of(self.first.extent).constant, images)
        return rows if isinstance(rows, int) and not self.math.of(self.first.extent).terms else None

    def with_image(self, second: For, image: Var) -> tuple[For, int]:
        math = self.math
        images = math.extents[image]
        at = math.of(image)
        parts: dict[Buffer, tuple[loop.Target, int]] = {}
        for buffer in self.made:
            size = exact_quotient(buffer.size, images)
            if not isinstance(size, int) or size > _MOST_ELEMENTS:
                raise _Refused
            held = buffer in self.own
            part = Local(f"{buffer.name}_image", buffer.dtype, (size,), "stack") if held else buffer
            parts[buffer] = part, size
        rows = self.rows(images)
        assert rows is not None
        row = Var(self.first.var.name)
        place = math.add(math.scale(at, rows), math.variable(row, rows))
        inner = _Moving(math, image, parts, {self.first.var: place}).block(self.first.body)
        locals_ = [part for part, _ in parts.values() if isinstance(part, Local)]
        before: list[Stmt] = [*locals_, For(row, Const(rows), loop.SERIAL, tuple(inner))]
        moving = _Moving(math, image, parts, {})
        if image is second.var:
            body = [*before, *moving.block(second.body)]
        else:
            body = moving.block(second.body, (image, before))
        if not moving.met:
            raise _Refused
        joined = For(second.var, second.extent, second.kind, tuple(body), second.grain)
        return joined, sum(part.size for part in locals_)


class _Moving:
    """Statements rewritten for one image: accesses to `parts` refer to the part of that image.

    `known` are variables that stand for other forms. Where there are any, all index arithmetic is
    done anew: divisions that find the image of a row vanish.
    """

    def __init__(
        self,
        math: IndexMath,
        image: Var,
        parts: Mapping[Buffer, tuple[loop.Target, int]],
        known: dict[Var, Form],
    ):
        self.math, self.image, self.parts, self.known = math, image, parts, known
        self.anew = bool(known)
        self.inside = self.anew  # whether the image is known here
        self.met = False
        self._done: dict[int, tuple[Expr, Expr]] = {}
        self._forms: dict[int, tuple[Expr, Form]] = {}

    def block(
        self, body: Sequence[Stmt], after: tuple[Var, Sequence[Stmt]] | None = None
    ) -> list[Stmt]:
        """`after`: what follows where a variable gets its value."""
        if after is None:
            self.inside = True
        result: list[Stmt] = []
        for stmt in body:
            if after is not None and isinstance(stmt, Let) and stmt.var is after[0]:
                result += [stmt, *after[1]]
                self.inside, after = True, None
                rest = body[body.index(stmt) + 1 :]
                result += self.block(rest)
                self.inside = False
                return result
            result += self.statement(stmt, after)
        return result

    def statement(self, stmt: Stmt, after: tuple[Var, Sequence[Stmt]] | None) -> list[Stmt]:
        if isinstance(stmt, For):
            extent = self.form(stmt.extent)
            if not extent.terms and stmt.var not in self.math.extents:
                self.math.extents[stmt.var] = extent.constant
            inner = self.block(stmt.body, after) if after else self.block(stmt.body)
            return [For(stmt.var, self.expr(stmt.extent), stmt.kind, tuple(inner), stmt.grain)]
        if isinstance(stmt, Let):
            return self.let(stmt)
        if isinstance(stmt, (loop.Store, loop.Accumulate)):
            target, index = self.place(stmt.target, stmt.index)
            value = self.expr(stmt.value)
            if isinstance(stmt, loop.Store):
                return [loop.Store(target, index, value)]
            return [loop.Accumulate(target, index, stmt.op, value)]
        if isinstance(stmt, loop.If):
            then, otherwise = (
                self.block(part, after) if after else self.block(part)
                for part in (stmt.then, stmt.otherwise)
            )  # fmt: skip
            return [loop.If(self.expr(stmt.condition), tuple(then), tuple(otherwise))]
        if isinstance(stmt, loop.Prefetch):
            if stmt.target in self.parts:
                return []
            return [loop.Prefetch(stmt.target, self.expr(stmt.index))]
        if isinstance(stmt, Invoke):
            return [self.invoke(stmt)]
        if isinstance(stmt, Local):
            return [stmt]
        raise _Refused  # a check reports what it finds in the order of the loops

    def let(self, stmt: Let) -> list[Stmt]:
        value = self.expr(stmt.value)
        if stmt.var.dtype is int64:
            form = self.form(stmt.value)
            if stmt.var is not self.image and all(isinstance(atom, Var) for atom, _ in form.terms):
                self.known[stmt.var] = form
                return [] if self.anew else [Let(stmt.var, value)]
            limits = self.math.bounds(form)
            if limits is not None and isinstance(limits[0], int) and limits[0] >= 0:
                self.math.extents.setdefault(stmt.var, limits[1] + 1)
        return [Let(stmt.var, value)]

    def place(self, target: loop.Target, index: Expr) -> tuple[loop.Target, Expr]:
        found = self.parts.get(target) if isinstance(target, Buffer) else None
        if found is None:
            return target, self.expr(index)
        part, size = found
        relative = self.relative(index, size)
        self.within(self.math.bounds(relative), size)
        return part, self.math.expr(relative) if isinstance(part, Local) else self.expr(index)

    def relative(self, index: Expr, size: int) -> Form:
        """Where an element is, counted from the first one of the image."""
        if not self.inside:
            raise _Refused
        self.met = True
        return self.math.add(
            self.form(index), self.math.scale(self.math.of(self.image), size), sign=-1
        )

    def within(self, limits: tuple[Dim, Dim] | None, size: int) -> None:
        if limits is None or not all(isinstance(limit, int) for limit in limits):
            raise _Refused
        if limits[0] < 0 or limits[1] >= size:  # type: ignore[operator]
            raise _Refused

    def invoke(self, stmt: Invoke) -> Stmt:
        arguments = []
        for number, (target, index) in enumerate(stmt.arguments):
            found = self.parts.get(target) if isinstance(target, Buffer) else None
            if found is None:
                arguments.append((target, self.expr(index)))
                continue
            part, size = found
            relative = self.relative(index, size)
            start = self.math.bounds(relative)
            reach = _reach(stmt.kernel, number, [self.form(value) for value in stmt.scalars])
            if start is None:
                raise _Refused
            self.within((start[0] + reach[0], start[1] + reach[1]), size)
            place = self.math.expr(relative) if isinstance(part, Local) else self.expr(index)
            arguments.append((part, place))
        return Invoke(stmt.kernel, tuple(arguments), tuple(map(self.expr, stmt.scalars)))

    # -- expressions --------------------------------------------------------------------------

    def expr(self, expr: Expr) -> Expr:
        found = self._done.get(id(expr))
        if found is None:
            found = self._done[id(expr)] = expr, self._expr(expr)
        return found[1]

    def _expr(self, expr: Expr) -> Expr:
        if self.anew and expr.dtype is int64 and isinstance(expr, (Var, loop.Apply)):
            return self.math.expr(self.form(expr))
        if isinstance(expr, Load):
            target, index = self.place(expr.target, expr.index)
            same = target is expr.target and index is expr.index
            return expr if same else Load(target, index)
        if isinstance(expr, loop.Apply):
            args = tuple(map(self.expr, expr.args))
            same = all(a is b for a, b in zip(args, expr.args, strict=True))
            return expr if same else loop.Apply(expr.op, args, expr.dtype)
        if isinstance(expr, loop.Same) and {expr.a, expr.b} & self.parts.keys():
            raise _Refused
        return expr

    def form(self, expr: Expr) -> Form:
        """The form of an int64 expression, with what is known of its variables."""
        found = self._forms.get(id(expr))
        if found is None:
            found = self._forms[id(expr)] = expr, self._form(expr)
        return found[1]

    def _form(self, expr: Expr) -> Form:
        math = self.math
        if isinstance(expr, Var):
            return self.known.get(expr) or math.of(expr)
        if isinstance(expr, loop.Apply) and expr.dtype is int64:
            if not all(arg.dtype is int64 for arg in expr.args):
                return math.of(loop.Apply(expr.op, tuple(map(self.expr, expr.args)), int64))
            args = [math.expr(self.form(arg)) for arg in expr.args]
            if expr.op in ("minimum", "maximum"):
                numbers = [int(a.value) for a in args if isinstance(a, Const)]
                if len(numbers) == len(args):
                    return math.constant(min(numbers) if expr.op == "minimum" else max(numbers))
            return math.of(loop.Apply(expr.op, tuple(args), int64))
        if isinstance(expr, Load):
            return math.of(self.expr(expr))
        return math.of(expr)


def _reach(kernel: Kernel, number: int, scalars: Sequence[Form]) -> tuple[int, int]:
    """The first and the last element that an invoked kernel may touch of one of its buffers."""
    math = IndexMath()
    known = {
        var: math.constant(form.constant)
        for var, form in zip(kernel.scalars, scalars, strict=True)
        if not form.terms
    }
    limits = _Limits(math, kernel.buffers[number], known)
    limits.block(kernel.body)
    return limits.low, limits.high


class _Limits(_Moving):
    """The bounds of all accesses to one buffer of a kernel."""

    def __init__(self, math: IndexMath, buffer: Buffer, known: dict[Var, Form]):
        super().__init__(math, Var("none"), {buffer: (buffer, 0)}, known)
        self.low = self.high = 0
        self.anew = True

    def relative(self, index: Expr, size: int) -> Form:
        return self.form(index)

    def within(self, limits: tuple[Dim, Dim] | None, size: int) -> None:
        if limits is None or not all(isinstance(limit, int) for limit in limits):
            raise _Refused
        self.low = min(self.low, limits[0])  # type: ignore[type-var,assignment]
        self.high = max(self.high, limits[1])  # type: ignore[type-var,assignment]
