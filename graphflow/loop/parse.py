"""Reading kernels back from their text; the grammar stands in `text.py`."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..dtypes import DType, as_dtype, bool_, float32, int64
from ..sizes import Dim, Size, parse_size, symbol
from . import nodes as loop
from .text import ASSIGN, INFIX, LEVELS, PRIMARY

_OF_SYMBOL = {symbol_: op for op, symbol_ in INFIX.items()}
_OF_ASSIGN = {text: op for op, text in ASSIGN.items()}


class ParseError(ValueError):
    """A `.gfl` text that is not one: says the line."""


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
        if word == "prefetch":
            target = self.find(self.identifier(), loop.Buffer)
            self.expect("[")
            index = self.expr()
            self.expect("]")
            return loop.Prefetch(target, index)
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
        if level == PRIMARY:
            return self.primary()
        left = self.expr(level + 1)
        while self.token[1] in LEVELS[level] and self.token[0] == "sign":
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
