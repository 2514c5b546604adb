"""The text of kernels (`.gfl`): its grammar and printing. `parse.py` reads it.

    file       := kernel+                          an invoked kernel stands before its callers
    kernel     := "kernel" NAME "(" buffer,* ")" ["scalars" "(" NAME,* ")"] block
    buffer     := role NAME ":" dtype "[" size "]"      role: in | out | inout | workspace
    block      := "{" statement* "}"
    statement  := kind NAME "<" expr ["grain" INT] block            a loop from 0
                | "let" NAME ":" dtype "=" expr
                | ("local" | "stack") NAME ":" dtype ["[" INT,* "]"]
                | NAME "[" expr "]" assign expr
                | "if" expr block ["else" block]
                | "prefetch" NAME "[" expr "]"
                | "check" expr "site" INT "(" expr "," expr ")"
                | "call" NAME "(" (NAME "[" expr "]"),* [";" expr,*] ")"
                | "%" INT ":=" expr                 names a part that the next statement shares
    assign     := "=" | "+=" | "*=" | "max=" | "min=" | "&=" | "|="
    expr       := infix of the operators below, loosest first, all grouping to the left
                  ==  !=  <  <=  >  >=  |  &  ^  <<  >>  >>>  +  -  *  /  //  %  %%
    primary    := number [":" dtype] | "true" | "false" | NAME | "%" INT | NAME "[" expr "]"
                | "size" "(" size ")" | "same" "(" NAME "," NAME ")"
                | OPERATOR ["<" dtype ">"] "(" expr,* ")" | "(" expr ")"

Comments run from # to the end of the line. A number without dtype is int64, or float32 if it has a
point, an exponent, or is inf or nan. An operator's dtype is written where it is not its first
operand's (bool for comparisons and predicates). Sizes are written as `sizes.parse_size` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..dtypes import DType, bool_, float32, int64
from ..sizes import Dim, Size, symbols_of
from . import nodes as loop

INFIX = {
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "or": "|", "and": "&",
    "xor": "^", "shl": "<<", "sar": ">>", "shr": ">>>", "add": "+", "sub": "-", "mul": "*",
    "div": "/", "floordiv": "//", "mod": "%", "truncmod": "%%",
}  # fmt: skip
LEVELS = (
    ("==", "!=", "<", "<=", ">", ">="), ("|",), ("&",), ("^",), ("<<", ">>", ">>>"), ("+", "-"),
    ("*", "/", "//", "%", "%%"),
)  # fmt: skip
_PRECEDENCE = {symbol_: level for level, row in enumerate(LEVELS) for symbol_ in row}
ASSIGN = {
    "add": "+=", "mul": "*=", "maximum": "max=", "minimum": "min=", "and": "&=", "or": "|=",
}  # fmt: skip
PRIMARY = len(LEVELS)
_DEEPEST = 12  # nesting of one expression before a part is named

_KEYWORDS = frozenset(
    ("kernel", "scalars", "let", "local", "stack", "if", "else", "prefetch", "check", "site",
     "call", "size", "same", "true", "false", "inf", "nan", "grain", "max", "min",
     *loop.LOOP_KINDS, *loop.OPERATORS)
)  # fmt: skip


def print_kernel(kernel: loop.Kernel) -> str:
    """The kernel and before it every kernel it invokes; `parse_kernel` reads it back."""
    order: list[loop.Kernel] = []
    _gather(kernel, order)
    texts, names = [], _Names()
    for item in order:
        called = names.of(item, item.name)
        texts.append(_Printer(names.of).kernel(item, called))
    return "\n".join(texts)


def _gather(kernel: loop.Kernel, order: list[loop.Kernel]) -> None:
    for stmt in loop.statements(kernel.body):
        if isinstance(stmt, loop.Invoke) and not any(k is stmt.kernel for k in order):
            _gather(stmt.kernel, order)
    order.append(kernel)


class _Names:
    """Gives every object one name, different from all others' and from keywords."""

    def __init__(self) -> None:
        self.given: dict[int, str] = {}
        self.taken: set[str] = set(_KEYWORDS)
        self.kept: list = []

    def of(self, thing, name: str) -> str:
        found = self.given.get(id(thing))
        if found is None:
            base = re.sub(r"\W", "_", name) or "x"
            base = base if base[0].isalpha() or base[0] == "_" else "_" + base
            found, number = base, 0
            while found in self.taken:
                number += 1
                found = f"{base}_{number}"
            self.taken.add(found)
            self.given[id(thing)] = found
            self.kept.append(thing)
        return found


class _Printer:
    def __init__(self, kernel_name: Callable):
        self.kernel_name = kernel_name
        self.names = _Names()
        self.lines: list[str] = []
        self.depth = 0
        self.temporaries = 0
        self.symbols: dict = {}

    def emit(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def name(self, thing) -> str:
        return self.names.of(thing, thing.name)

    def size(self, size: Dim) -> str:
        """A size's text, with symbols of equal names told apart."""
        for found in symbols_of(size):
            self.names.of(found, found.name)
            self.symbols[found] = self.names.of(found, found.name)
        return _size_text(size, self.symbols)

    def kernel(self, kernel: loop.Kernel, name: str) -> str:
        head = [f"{b.role} {self.name(b)}: {b.dtype}[{self.size(b.size)}]" for b in kernel.buffers]
        scalars = ", ".join(self.name(var) for var in kernel.scalars)
        tail = f" scalars ({scalars})" if scalars else ""
        self.emit(f"kernel {name}({', '.join(head)}){tail} {{")
        self.block(kernel.body)
        self.emit("}")
        return "\n".join(self.lines) + "\n"

    def block(self, body: Sequence[loop.Stmt]) -> None:
        self.depth += 1
        for stmt in body:
            self.statement(stmt)
        self.depth -= 1

    def statement(self, stmt: loop.Stmt) -> None:
        texts = self.expressions(loop.operands(stmt))
        if isinstance(stmt, loop.For):
            grain = f" grain {stmt.grain}" if stmt.kind == loop.PARALLEL else ""
            self.emit(f"{stmt.kind} {self.name(stmt.var)} < {texts[0]}{grain} {{")
            self.block(stmt.body)
            self.emit("}")
        elif isinstance(stmt, loop.Let):
            self.emit(f"let {self.name(stmt.var)}: {stmt.var.dtype} = {texts[0]}")
        elif isinstance(stmt, loop.Local):
            space = "stack" if stmt.space == "stack" else "local"
            shape = f"[{', '.join(map(str, stmt.shape))}]" if stmt.shape else ""
            self.emit(f"{space} {self.name(stmt)}: {stmt.dtype}{shape}")
        elif isinstance(stmt, loop.Store):
            self.emit(f"{self.name(stmt.target)}[{texts[0]}] = {texts[1]}")
        elif isinstance(stmt, loop.Accumulate):
            self.emit(f"{self.name(stmt.target)}[{texts[0]}] {ASSIGN[stmt.op]} {texts[1]}")
        elif isinstance(stmt, loop.If):
            self.emit(f"if {texts[0]} {{")
            self.block(stmt.then)
            if stmt.otherwise:
                self.emit("} else {")
                self.block(stmt.otherwise)
            self.emit("}")
        elif isinstance(stmt, loop.Prefetch):
            self.emit(f"prefetch {self.name(stmt.target)}[{texts[0]}]")
        elif isinstance(stmt, loop.Check):
            self.emit(f"check {texts[0]} site {stmt.site} ({texts[1]}, {texts[2]})")
        else:
            parts = [
                f"{self.name(target)}[{text}]"
                for (target, _), text in zip(stmt.arguments, texts, strict=False)
            ]
            scalars = texts[len(parts) :]
            rest = f"; {', '.join(scalars)}" if scalars else ""
            called = self.kernel_name(stmt.kernel, stmt.kernel.name)
            self.emit(f"call {called}({', '.join(parts)}{rest})")

    def expressions(self, roots: Sequence[loop.Expr]) -> list[str]:
        """Texts of the roots; parts they share are printed before, once."""
        if not roots:
            return []
        uses: dict[int, int] = {}
        order: list[loop.Expr] = []
        stack = [(root, False) for root in reversed(roots)]
        while stack:
            expr, ready = stack.pop()
            if ready:
                order.append(expr)
                continue
            uses[id(expr)] = uses.get(id(expr), 0) + 1
            if uses[id(expr)] == 1:
                stack.append((expr, True))
                stack.extend((child, False) for child in reversed(_children(expr)))
        done: dict[int, tuple[str, int, int]] = {}  # text, precedence, nesting
        for expr in order:
            text, precedence = self.expression(expr, [done[id(c)] for c in _children(expr)])
            nesting = 1 + max((done[id(c)][2] for c in _children(expr)), default=-1)
            compound = isinstance(expr, (loop.Apply, loop.Load))
            if compound and (uses[id(expr)] > 1 or nesting > _DEEPEST):
                self.emit(f"%{self.temporaries} := {text}")
                text, precedence, nesting = f"%{self.temporaries}", PRIMARY, 0
                self.temporaries += 1
            done[id(expr)] = (text, precedence, nesting)
        return [done[id(root)][0] for root in roots]

    def expression(self, expr: loop.Expr, parts: list[tuple[str, int, int]]) -> tuple[str, int]:
        if isinstance(expr, loop.Const):
            return _number(expr), PRIMARY
        if isinstance(expr, loop.Var):
            return self.name(expr), PRIMARY
        if isinstance(expr, loop.SizeOf):
            return f"size({self.size(expr.size)})", PRIMARY
        if isinstance(expr, loop.Same):
            return f"same({self.name(expr.a)}, {self.name(expr.b)})", PRIMARY
        if isinstance(expr, loop.Load):
            return f"{self.name(expr.target)}[{parts[0][0]}]", PRIMARY
        usual = _usual_dtype(expr.op, [arg.dtype for arg in expr.args])
        if expr.op in INFIX and len(parts) == 2 and usual is expr.dtype:
            sign = INFIX[expr.op]
            level = _PRECEDENCE[sign]
            left, right = (text if inner >= level + side else f"({text})"
                           for side, (text, inner, _) in enumerate(parts))  # fmt: skip
            return f"{left} {sign} {right}", level
        dtype = "" if usual is expr.dtype else f"<{expr.dtype}>"
        return f"{expr.op}{dtype}({', '.join(text for text, _, _ in parts)})", PRIMARY


def _children(expr: loop.Expr) -> tuple[loop.Expr, ...]:
    if isinstance(expr, loop.Apply):
        return expr.args
    return (expr.index,) if isinstance(expr, loop.Load) else ()


def _usual_dtype(op: str, operands: Sequence[DType]) -> DType | None:
    if op in ("cast", "bitcast"):
        return None
    if op in loop.COMPARISONS or op in loop.PREDICATES:
        return bool_
    return operands[1 if op == "select" else 0]


def _number(expr: loop.Const) -> str:
    if expr.dtype.is_bool:
        return "true" if expr.value else "false"
    if expr.dtype.is_floating:
        value = float(expr.value)
        text = repr(value)
        return text if expr.dtype is float32 else f"{text}:{expr.dtype}"
    return str(int(expr.value)) if expr.dtype is int64 else f"{int(expr.value)}:{expr.dtype}"


def _size_text(size: Dim, names: dict) -> str:
    """The text of a size whose symbols have these names."""
    text = str(size)
    if all(found.name == names[found] for found in symbols_of(size)):
        return text
    from ..sizes import Symbol, substitute

    stand_ins = {found: Size.of(Symbol(name, found.serial)) for found, name in names.items()}
    return str(substitute(size, stand_ins))


def equal(a: loop.Kernel, b: loop.Kernel) -> bool:
    """Whether two kernels are the same but for the identity of their parts."""
    return print_kernel(a) == print_kernel(b)


__all__ = ["equal", "print_kernel"]
