"""Whether a kernel is well-formed: names, scopes, dtypes, where which kind of loop may stand."""

from __future__ import annotations

from collections.abc import Sequence

from ..dtypes import bool_, int64
from ..errors import InternalError
from . import nodes as loop

_BINARY = frozenset((*loop.ARITHMETIC, *loop.COMPARISONS, "ldexp", "mulhi"))
_TERNARY = frozenset(("select", "fma"))


def verify(kernel: loop.Kernel) -> None:
    """Raises InternalError, naming the kernel and the statement, where it is not well-formed."""
    _Checker(kernel).run()


class _Checker:
    def __init__(self, kernel: loop.Kernel):
        self.kernel = kernel
        self.targets: set[int] = {id(buffer) for buffer in kernel.buffers}
        self.names: set[int] = {id(var) for var in kernel.scalars}
        self.checked: set[int] = set()  # expressions whose operands were all in scope here

    def run(self) -> None:
        names = [buffer.name for buffer in self.kernel.buffers]
        if len(set(names)) != len(names):
            self.refuse("two buffers have one name", None)
        for buffer in self.kernel.buffers:
            if buffer.role not in ("in", "out", "inout", "workspace"):
                self.refuse(f"buffer {buffer.name} has the role {buffer.role!r}", None)
        self.block(self.kernel.body, ())

    def refuse(self, what: str, stmt: loop.Stmt | None) -> None:
        where = f", in {type(stmt).__name__}" if stmt is not None else ""
        raise InternalError(f"kernel {self.kernel.name}: {what}{where}")

    def block(self, body: Sequence[loop.Stmt], around: tuple[str, ...]) -> None:
        """A block's names end with it. `around` are the kinds of the loops around."""
        saved = set(self.names), set(self.targets), set(self.checked)
        for stmt in body:
            self.statement(stmt, around)
        self.names, self.targets, self.checked = saved

    def statement(self, stmt: loop.Stmt, around: tuple[str, ...]) -> None:
        for expr in loop.operands(stmt):
            self.expression(expr, stmt)
        if isinstance(stmt, loop.For):
            self.counted(stmt, around)
        elif isinstance(stmt, loop.Let):
            if stmt.var.dtype is not stmt.value.dtype:
                self.refuse(f"{stmt.var.name} is {stmt.var.dtype}, not {stmt.value.dtype}", stmt)
            self.names.add(id(stmt.var))
        elif isinstance(stmt, loop.Local):
            if stmt.space not in ("register", "stack"):
                self.refuse(f"{stmt.name} is in the space {stmt.space!r}", stmt)
            self.targets.add(id(stmt))
        elif isinstance(stmt, (loop.Store, loop.Accumulate)):
            self.write(stmt)
        elif isinstance(stmt, loop.If):
            if stmt.condition.dtype is not bool_:
                self.refuse(f"the condition is {stmt.condition.dtype}", stmt)
            self.block(stmt.then, around)
            self.block(stmt.otherwise, around)
        elif isinstance(stmt, loop.Prefetch):
            self.target(stmt.target, stmt)
        elif isinstance(stmt, loop.Check):
            if stmt.condition.dtype is not bool_:
                self.refuse(f"the condition is {stmt.condition.dtype}", stmt)
        elif isinstance(stmt, loop.Invoke):
            self.invoke(stmt)

    def counted(self, stmt: loop.For, around: tuple[str, ...]) -> None:
        if stmt.kind not in loop.LOOP_KINDS:
            self.refuse(f"there is no loop of kind {stmt.kind!r}", stmt)
        if stmt.extent.dtype is not int64 or stmt.var.dtype is not int64:
            self.refuse("a loop counts in int64", stmt)
        if stmt.kind == loop.VECTOR and loop.VECTOR in around:
            self.refuse("a vector loop stands in a vector loop", stmt)
        if stmt.kind == loop.PARALLEL and any(kind != loop.PARALLEL for kind in around):
            self.refuse("a parallel loop stands in a loop that is none", stmt)
        if stmt.kind == loop.PARALLEL and stmt.grain < 1:
            self.refuse(f"the grain is {stmt.grain}", stmt)
        if stmt.kind == loop.UNROLLED and not isinstance(stmt.extent, loop.Const):
            self.refuse("an unrolled loop has an extent that is not constant", stmt)
        self.names.add(id(stmt.var))
        self.block(stmt.body, (*around, stmt.kind))
        self.names.discard(id(stmt.var))

    def write(self, stmt: loop.Store | loop.Accumulate) -> None:
        target = stmt.target
        self.target(target, stmt)
        if isinstance(target, loop.Buffer) and target.role == "in":
            self.refuse(f"{target.name} is only to be read", stmt)
        if stmt.index.dtype is not int64:
            self.refuse(f"the index is {stmt.index.dtype}", stmt)
        if stmt.value.dtype is not target.dtype:
            self.refuse(f"{target.name} holds {target.dtype}, not {stmt.value.dtype}", stmt)
        if isinstance(stmt, loop.Accumulate) and stmt.op not in loop.ACCUMULATORS:
            self.refuse(f"{stmt.op!r} does not accumulate", stmt)

    def invoke(self, stmt: loop.Invoke) -> None:
        other = stmt.kernel
        if len(stmt.arguments) != len(other.buffers) or len(stmt.scalars) != len(other.scalars):
            self.refuse(f"{other.name} takes other arguments", stmt)
        for (target, _), buffer in zip(stmt.arguments, other.buffers, strict=True):
            self.target(target, stmt)
            if target.dtype is not buffer.dtype:
                self.refuse(f"{buffer.name} is {buffer.dtype}, not {target.dtype}", stmt)
        for inside in loop.statements(other.body):
            if isinstance(inside, loop.For) and inside.kind == loop.PARALLEL:
                self.refuse(f"{other.name} has a parallel loop", stmt)
        verify(other)

    def target(self, target: loop.Target, stmt: loop.Stmt) -> None:
        if id(target) not in self.targets:
            self.refuse(f"{target.name} is neither a parameter nor declared here", stmt)

    def expression(self, root: loop.Expr, stmt: loop.Stmt) -> None:
        stack = [root]
        while stack:
            expr = stack.pop()
            if id(expr) in self.checked:
                continue
            self.checked.add(id(expr))
            if isinstance(expr, loop.Var):
                if id(expr) not in self.names:
                    self.refuse(f"{expr.name} has no value here", stmt)
            elif isinstance(expr, loop.Load):
                self.target(expr.target, stmt)
                if expr.index.dtype is not int64:
                    self.refuse(f"an index of {expr.target.name} is {expr.index.dtype}", stmt)
                stack.append(expr.index)
            elif isinstance(expr, loop.Same):
                self.target(expr.a, stmt)
                self.target(expr.b, stmt)
            elif isinstance(expr, loop.Apply):
                self.apply(expr, stmt)
                stack.extend(expr.args)

    def apply(self, expr: loop.Apply, stmt: loop.Stmt) -> None:
        if expr.op not in loop.OPERATORS:
            self.refuse(f"there is no operator {expr.op!r}", stmt)
        count = 2 if expr.op in _BINARY else 3 if expr.op in _TERNARY else 1
        if len(expr.args) != count:
            self.refuse(f"{expr.op} takes {count} operands, not {len(expr.args)}", stmt)
        dtypes = [arg.dtype for arg in expr.args]
        if expr.op == "select":
            if dtypes[0] is not bool_:
                self.refuse(f"select by {dtypes[0]}", stmt)
            dtypes = dtypes[1:]
        if expr.op in loop.COMPARISONS or expr.op in loop.PREDICATES:
            if expr.dtype is not bool_:
                self.refuse(f"{expr.op} gives bool, not {expr.dtype}", stmt)
        elif expr.op not in ("cast", "bitcast"):
            dtypes.append(expr.dtype)
        if expr.op == "bitcast" and expr.dtype.bits != dtypes[0].bits:
            self.refuse(f"the bits of {dtypes[0]} are not those of a {expr.dtype}", stmt)
        if any(dtype is not dtypes[0] for dtype in dtypes):
            self.refuse(f"{expr.op} of {', '.join(map(str, dtypes))}", stmt)
