"""The text of kernels (`.gfl`): printing, parsing back exactly, and the canonical form.

    file       := kernel+                          an invoked kernel stands before its callers
    kernel     := "kernel" NAME "(" buffer,* ")" ["scalars" "(" NAME,* ")"] block
    buffer     := role NAME ":" dtype "[" size "]"      role: in | out | inout | workspace
    block      := "{" statement* "}"
    statement  := kind NAME "<" expr ["grain" INT] block            a loop from 0
                | "let" NAME ":" dtype "=" expr
                | ("local" | "stack") NAME ":" dtype ["[" INT,* "]"]
                | NAME "[" expr "]" assign expr
                | "if" expr block ["else" block]
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

from ..dtypes import DType, as_dtype, bool_, float32, int64
from ..sizes import Dim, Size, parse_size, symbol, symbols_of
from . import nodes as loop

_INFIX = {
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "or": "|", "and": "&",
    "xor": "^", "shl": "<<", "sar": ">>", "shr": ">>>", "add": "+", "sub": "-", "mul": "*",
    "div": "/", "floordiv": "//", "mod": "%", "truncmod": "%%",
}  # fmt: skip
_LEVELS = (
    ("==", "!=", "<", "<=", ">", ">="), ("|",), ("&",), ("^",), ("<<", ">>", ">>>"), ("+", "-"),
    ("*", "/", "//", "%", "%%"),
)  # fmt: skip
_PRECEDENCE = {symbol_: level for level, row in enumerate(_LEVELS) for symbol_ in row}
_OF_SYMBOL = {symbol_: op for op, symbol_ in _INFIX.items()}
_ASSIGN = {
    "add": "+=", "mul": "*=", "maximum": "max=", "minimum": "min=", "and": "&=", "or": "|=",
}  # fmt: skip
_OF_ASSIGN = {text: op for op, text in _ASSIGN.items()}
_PRIMARY = len(_LEVELS)
_DEEPEST = 12  # nesting of one expression before a part is named

_KEYWORDS = frozenset(
    ("kernel", "scalars", "let", "local", "stack", "if", "else", "check", "site", "call", "size",
     "same", "true", "false", "inf", "nan", "grain", "max", "min", *loop.LOOP_KINDS,
     *loop.OPERATORS)
)  # fmt: skip


class ParseError(ValueError):
    """A `.gfl` text that is not one: says the line."""


# -- printing ------------------------------------------------------------------------------------


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


def canonical(kernel: loop.Kernel) -> str:
    """A text that kernels share exactly when their machine code is the same: everything is named
    by its position, and the sizes of buffers, which are not part of the code, are left out."""
    order: list[loop.Kernel] = []
    _gather(kernel, order)
    texts = []
    for number, item in enumerate(order):
        printer = _Printer(lambda k, _: f"k{order.index(k)}", canonical=True)
        texts.append(printer.kernel(item, f"k{number}"))
    return "\n".join(texts)


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


class _Positions(_Names):
    def of(self, thing, name: str) -> str:
        letter = type(thing).__name__[0].lower()
        return self.given.setdefault(id(thing), f"{letter}{len(self.given)}")


class _Printer:
    def __init__(self, kernel_name: Callable, canonical: bool = False):
        self.kernel_name, self.canonical = kernel_name, canonical
        self.names: _Names = _Positions() if canonical else _Names()
        self.lines: list[str] = []
        self.depth = 0
        self.temporaries = 0
        self.sizes: dict[Size, str] = {}
        self.symbols: dict = {}

    def emit(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def name(self, thing) -> str:
        return self.names.of(thing, thing.name)

    def size(self, size: Dim) -> str:
        """A size's text, with symbols of equal names told apart."""
        if self.canonical and isinstance(size, Size):
            return self.sizes[size]
        for found in symbols_of(size):
            self.names.of(found, found.name)
            self.symbols[found] = self.names.of(found, found.name)
        return _size_text(size, self.symbols)

    def kernel(self, kernel: loop.Kernel, name: str) -> str:
        if self.canonical:
            self.sizes = {size: f"s{n}" for n, size in enumerate(kernel.sizes())}
            head = [f"{b.dtype} {self.name(b)}" for b in kernel.buffers]
        else:
            head = [
                f"{b.role} {self.name(b)}: {b.dtype}[{self.size(b.size)}]" for b in kernel.buffers
            ]
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
            self.emit(f"{self.name(stmt.target)}[{texts[0]}] {_ASSIGN[stmt.op]} {texts[1]}")
        elif isinstance(stmt, loop.If):
            self.emit(f"if {texts[0]} {{")
            self.block(stmt.then)
            if stmt.otherwise:
                self.emit("} else {")
                self.block(stmt.otherwise)
            self.emit("}")
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
                text, precedence, nesting = f"%{self.temporaries}", _PRIMARY, 0
                self.temporaries += 1
            done[id(expr)] = (text, precedence, nesting)
        return [done[id(root)][0] for root in roots]

    def expression(self, expr: loop.Expr, parts: list[tuple[str, int, int]]) -> tuple[str, int]:
        if isinstance(expr, loop.Const):
            return _number(expr), _PRIMARY
        if isinstance(expr, loop.Var):
            return self.name(expr), _PRIMARY
        if isinstance(expr, loop.SizeOf):
            return f"size({self.size(expr.size)})", _PRIMARY
        if isinstance(expr, loop.Same):
            return f"same({self.name(expr.a)}, {self.name(expr.b)})", _PRIMARY
        if isinstance(expr, loop.Load):
            return f"{self.name(expr.target)}[{parts[0][0]}]", _PRIMARY
        usual = _usual_dtype(expr.op, [arg.dtype for arg in expr.args])
        if expr.op in _INFIX and len(parts) == 2 and usual is expr.dtype:
            sign = _INFIX[expr.op]
            level = _PRECEDENCE[sign]
            left, right = (text if inner >= level + side else f"({text})"
                           for side, (text, inner, _) in enumerate(parts))  # fmt: skip
            return f"{left} {sign} {right}", level
        dtype = "" if usual is expr.dtype else f"<{expr.dtype}>"
        return f"{expr.op}{dtype}({', '.join(text for text, _, _ in parts)})", _PRIMARY


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


# -- parsing -------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|\#[^\n]*)|(?P<line>\n)"
    r"|(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<assign>max=|min=)|(?P<name>[A-Za-z_]\w*)|(?P<temporary>%\d+)"
    r"|(?P<sign>:=|\+=|\*=|&=|\|=|>>>|<<|>>|==|!=|<=|>=|//|%%|[-+*/%<>=|&^(){}\[\],:;])"
)


def parse_kernel(text: str, symbols: dict[str, Size] | None = None) -> loop.Kernel:
    """The last kernel of a text. Raises ParseError, with the line, for anything else."""
    return parse_kernels(text, symbols)[-1]


def parse_kernels(text: str, symbols: dict[str, Size] | None = None) -> list[loop.Kernel]:
    """Every kernel of a text, in order. `symbols` gives the sizes that names stand for; names it
    lacks become new symbols, which are added to it."""
    parser = _Parser(text, {} if symbols is None else symbols)
    result = []
    while parser.token[0] != "end":
        result.append(parser.kernel())
    if not result:
        raise ParseError("line 1: there is no kernel")
    return result


class _Parser:
    def __init__(self, text: str, symbols: dict[str, Size]):
        self.text, self.symbols = text, symbols
        self.tokens = list(self._scan(text))
        self.position = 0
        self.kernels: dict[str, loop.Kernel] = {}
        self.names: dict[str, object] = {}
        self.shared: dict[str, loop.Expr] = {}

    @staticmethod
    def _scan(text: str):
        line, position = 1, 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise ParseError(f"line {line}: {text[position]!r} has no meaning")
            kind = str(found.lastgroup)
            if kind == "line":
                line += 1
            elif kind != "space":
                yield kind, found.group(), line, position
            position = found.end()
        yield "end", "the end", line, position

    @property
    def token(self) -> tuple[str, str, int, int]:
        return self.tokens[self.position]

    def error(self, message: str) -> ParseError:
        return ParseError(f"line {self.token[2]}: {message}")

    def take(self) -> str:
        text = self.token[1]
        self.position += 1
        return text

    def accept(self, text: str) -> bool:
        if self.token[1] == text and self.token[0] != "end":
            self.position += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected {text!r}, found {self.token[1]!r}")

    def identifier(self) -> str:
        if self.token[0] != "name":
            raise self.error(f"expected a name, found {self.token[1]!r}")
        return self.take()

    def integer(self) -> int:
        kind, text, _, _ = self.token
        if kind != "number" or not text.isdigit():
            raise self.error(f"expected an integer, found {text!r}")
        return int(self.take())

    def dtype(self) -> DType:
        name = self.identifier()
        try:
            return as_dtype(name)
        except TypeError:
            raise self.error(f"there is no dtype {name!r}") from None

    def list(self, item: Callable, end: str) -> list:
        result: list = []
        while self.token[1] not in (end, ";"):
            result.append(item())
            if not self.accept(","):
                break
        return result

    def size(self, end: str) -> Dim:
        """The size up to a closing bracket."""
        start, depth = self.token[3], 0
        while depth or self.token[1] != end:
            if self.token[0] == "end":
                raise self.error(f"expected {end!r}")
            depth += {"(": 1, ")": -1}.get(self.token[1], 0)
            self.position += 1
        text = self.text[start : self.token[3]].strip()
        self.expect(end)
        try:
            return parse_size(text, self.symbol)
        except ValueError as error:
            raise self.error(str(error)) from None

    def symbol(self, name: str) -> Size:
        if name not in self.symbols:
            self.symbols[name] = symbol(name)
        return self.symbols[name]

    def find(self, name: str, *kinds: type):
        found = self.names.get(name)
        if not isinstance(found, kinds):
            what = " or ".join(kind.__name__ for kind in kinds)
            raise self.error(f"{name!r} is no {what} here")
        return found

    def kernel(self) -> loop.Kernel:
        self.expect("kernel")
        name = self.identifier()
        self.names, self.shared = {}, {}
        self.expect("(")
        buffers = tuple(self.list(self.buffer, ")"))
        self.expect(")")
        scalars: tuple[loop.Var, ...] = ()
        if self.accept("scalars"):
            self.expect("(")
            scalars = tuple(self.list(self.scalar, ")"))
            self.expect(")")
        result = loop.Kernel(name, buffers, self.block(), scalars)
        self.kernels[name] = result
        return result

    def buffer(self) -> loop.Buffer:
        role = self.identifier()
        if role not in ("in", "out", "inout", "workspace"):
            raise self.error(f"{role!r} is no role of a buffer")
        name = self.identifier()
        self.expect(":")
        dtype = self.dtype()
        self.expect("[")
        result = loop.Buffer(name, dtype, self.size("]"), role)
        self.names[name] = result
        return result

    def scalar(self) -> loop.Var:
        return self.variable(self.identifier(), int64)

    def variable(self, name: str, dtype: DType) -> loop.Var:
        result = loop.Var(name, dtype)
        self.names[name] = result
        return result

    def block(self) -> tuple[loop.Stmt, ...]:
        self.expect("{")
        outer = dict(self.names)
        body: list[loop.Stmt] = []
        while not self.accept("}"):
            if self.token[0] == "temporary":
                name = self.take()
                self.expect(":=")
                self.shared[name] = self.expr()
            else:
                body.append(self.statement())
        self.names = outer
        return tuple(body)

    def statement(self) -> loop.Stmt:
        word = self.identifier()
        if word in loop.LOOP_KINDS:
            return self.for_(word)
        if word == "let":
            name = self.identifier()
            self.expect(":")
            dtype = self.dtype()
            self.expect("=")
            value = self.expr()
            return loop.Let(self.variable(name, dtype), value)
        if word in ("local", "stack"):
            return self.local("register" if word == "local" else "stack")
        if word == "if":
            condition = self.expr()
            then = self.block()
            return loop.If(condition, then, self.block() if self.accept("else") else ())
        if word == "check":
            condition = self.expr()
            self.expect("site")
            site = self.integer()
            self.expect("(")
            first = self.expr()
            self.expect(",")
            second = self.expr()
            self.expect(")")
            return loop.Check(condition, site, (first, second))
        if word == "call":
            return self.invoke()
        target = self.find(word, loop.Buffer, loop.Local)
        self.expect("[")
        index = self.expr()
        self.expect("]")
        if self.accept("="):
            return loop.Store(target, index, self.expr())
        op = _OF_ASSIGN.get(self.token[1])
        if op is None:
            raise self.error(f"expected an assignment, found {self.token[1]!r}")
        self.take()
        return loop.Accumulate(target, index, op, self.expr())

    def for_(self, kind: str) -> loop.For:
        name = self.identifier()
        self.expect("<")
        extent = self.expr()
        grain = self.integer() if self.accept("grain") else 1
        outer = self.names.get(name)
        var = self.variable(name, int64)
        body = self.block()
        if outer is not None:
            self.names[name] = outer
        else:
            del self.names[name]
        return loop.For(var, extent, kind, body, grain)

    def local(self, space: str) -> loop.Local:
        name = self.identifier()
        self.expect(":")
        dtype = self.dtype()
        shape: tuple[int, ...] = ()
        if self.accept("["):
            shape = tuple(self.list(self.integer, "]"))
            self.expect("]")
        result = loop.Local(name, dtype, shape, space)
        self.names[name] = result
        return result

    def invoke(self) -> loop.Invoke:
        name = self.identifier()
        if name not in self.kernels:
            raise self.error(f"no kernel {name!r} stands before this one")
        self.expect("(")
        arguments = tuple(self.list(self.argument, ")"))
        scalars = tuple(self.list(self.expr, ")")) if self.accept(";") else ()
        self.expect(")")
        return loop.Invoke(self.kernels[name], arguments, scalars)

    def argument(self) -> tuple[loop.Target, loop.Expr]:
        target = self.find(self.identifier(), loop.Buffer, loop.Local)
        self.expect("[")
        start = self.expr()
        self.expect("]")
        return target, start

    def expr(self, level: int = 0) -> loop.Expr:
        if level == _PRIMARY:
            return self.primary()
        left = self.expr(level + 1)
        while self.token[1] in _LEVELS[level] and self.token[0] == "sign":
            op = _OF_SYMBOL[self.take()]
            left = loop.apply(op, left, self.expr(level + 1))
        return left

    def primary(self) -> loop.Expr:
        kind, text, _, _ = self.token
        if text == "-" or kind == "number" or text in ("inf", "nan"):
            return self.number()
        if kind == "temporary":
            self.take()
            if text not in self.shared:
                raise self.error(f"{text} has no value yet")
            return self.shared[text]
        if self.accept("("):
            inner = self.expr()
            self.expect(")")
            return inner
        name = self.identifier()
        if name in ("true", "false"):
            return loop.Const(name == "true", bool_)
        if name in self.names:
            if self.accept("["):
                target = self.find(name, loop.Buffer, loop.Local)
                index = self.expr()
                self.expect("]")
                return loop.Load(target, index)
            return self.find(name, loop.Var)
        return self.application(name)

    def application(self, name: str) -> loop.Expr:
        if name == "size":
            self.expect("(")
            size = self.size(")")
            if not isinstance(size, Size):
                raise self.error("size(...) takes a symbolic size")
            return loop.SizeOf(size)
        if name == "same":
            self.expect("(")
            a = self.find(self.identifier(), loop.Buffer)
            self.expect(",")
            b = self.find(self.identifier(), loop.Buffer)
            self.expect(")")
            return loop.Same(a, b)
        if name not in loop.OPERATORS:
            raise self.error(f"{name!r} is neither declared here nor an operator")
        dtype = None
        if self.accept("<"):
            dtype = self.dtype()
            self.expect(">")
        self.expect("(")
        args = self.list(self.expr, ")")
        self.expect(")")
        if not args or (dtype is None and name in ("cast", "bitcast")):
            raise self.error(f"{name} needs operands, and a dtype if it converts")
        return loop.apply(name, *args, dtype=dtype)

    def number(self) -> loop.Const:
        negative = self.accept("-")
        text = self.take()
        floating = not text.isdigit()
        try:
            value: float | int = float(text) if floating else int(text)
        except ValueError:
            raise self.error(f"expected a number, found {text!r}") from None
        if negative:
            value = -value
        dtype = float32 if floating else int64
        if self.accept(":"):
            dtype = self.dtype()
        return loop.Const(float(value) if dtype.is_floating else value, dtype)


def equal(a: loop.Kernel, b: loop.Kernel) -> bool:
    """Whether two kernels are the same but for the identity of their parts."""
    return print_kernel(a) == print_kernel(b)


__all__ = [
    "ParseError", "canonical", "equal", "parse_kernel", "parse_kernels", "print_kernel",
]  # fmt: skip
