"""Attribute values as text, and back; part of the grammar in text.py.

    value  = number | "string" | true | false | none | dtype | size | type | @variable
           | "(" value, … ")" | scalar(dtype, number) | dense(dtype, [dims], [elements])
           | pool(dtype, [dims], "digest") | form "(" value, … ")" | "<" anything ">"
    type   = dtype "[" size, … "]" | dtype "[?]"
    size   = sums, products and // of numbers and symbols, max(a,b), min(a,b)

Arrays of more than 16 elements stand in a pool beside the text, under their digest. A form is an
object of a class that has stated its text with `define_form`. `<…>` is one that has none, such as a
Python function: it prints and refuses to be read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..dtypes import ALL, DType, as_dtype, token
from ..errors import GraphError
from ..sizes import (
    Dim,
    Size,
    Symbol,
    canonical_symbol,
    floordiv,
    maximum,
    minimum,
    multiply,
    substitute,
    symbol,
    symbols_of,
)
from .node import FrozenArray
from .types import TensorType
from .variable import VariableHandle

_SMALL = 16  # elements of an array that is printed whole
_DTYPES = {dtype.name: dtype for dtype in (*ALL, token)}
_WORDS: dict[str, Any] = {
    "true": True,
    "false": False,
    "none": None,
    "inf": float("inf"),
    "nan": float("nan"),
}
_RESERVED = {*_DTYPES, *_WORDS, "max", "min", "scalar", "dense", "pool"}


class Form(NamedTuple):
    """How objects of a class are told as values: `parts` (None: this one cannot be), and back."""

    name: str
    parts: Callable[[Any], tuple | None]
    make: Callable[..., Any]


_forms: dict[type, Form] = {}
_makers: dict[str, Form] = {}


def define_form(kind: type, form: Form) -> None:
    """Gives the objects of a class a text: form.name(part, …)."""
    _forms[kind] = _makers[form.name] = form
    _RESERVED.add(form.name)


class TextError(GraphError, ValueError):
    """Text that is not a graph, or names something this process does not have."""


# -- printing ------------------------------------------------------------------------------------


class ValuePrinter:
    """Prints values; names are unique, whatever symbols and variables are called.

    pool: digest -> array, of the arrays that did not go into the text
    objects: the values that have no text
    """

    def __init__(self) -> None:
        self.pool: dict[str, np.ndarray] = {}
        self.objects: list[Any] = []
        self.variables: dict[VariableHandle, str] = {}
        self._symbols: dict[Symbol, str] = {}
        self._renamed: dict[Symbol, Dim] = {}
        self._taken: set[str] = set(_RESERVED)
        self._handles: set[str] = set()  # names of variables
        self._sizes: dict[Size, str] = {}
        self._types: dict[TensorType, str] = {}

    def size(self, value: Dim) -> str:
        if not isinstance(value, Size):
            return str(value)
        text = self._sizes.get(value)
        if text is None:
            text = self._sizes[value] = self._size(value)
        return text

    def _size(self, value: Size) -> str:
        for found in symbols_of(value):
            if found not in self._symbols:
                self._name(found)
        return str(substitute(value, self._renamed) if self._renamed else value)

    def _name(self, found: Symbol) -> None:
        stem = found.name if found.name.isidentifier() else "n"
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        self._symbols[found] = name
        if name != found.name:
            self._renamed[found] = Size.of(Symbol(name, found.serial))

    def variable(self, handle: VariableHandle) -> str:
        name = self.variables.get(handle)
        if name is None:
            name, number = handle.name, 1
            while name in self._handles:
                number += 1
                name = f"{handle.name}'{number}"
            self._handles.add(name)
            self.variables[handle] = name
        return f"@{name}"

    def type(self, value: TensorType) -> str:
        text = self._types.get(value)
        if text is None:
            shape = "?" if value.shape is None else ",".join(map(self.size, value.shape))
            text = self._types[value] = f"{value.dtype}[{shape}]"
        return text

    def value(self, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, Size):
            return self.size(value)
        if isinstance(value, (int, float)) and not isinstance(value, np.generic):
            return repr(value)
        if isinstance(value, str):
            return repr(str(value))
        if isinstance(value, DType):
            return value.name
        if isinstance(value, FrozenArray):
            return self._array(value)
        if isinstance(value, tuple):
            items = [self.value(item) for item in value]
            return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
        if isinstance(value, TensorType):
            return self.type(value)
        if isinstance(value, VariableHandle):
            return self.variable(value)
        if isinstance(value, np.generic):
            return f"scalar({value.dtype}, {_element(value)})"
        form = _forms.get(type(value))
        parts = form.parts(value) if form is not None else None
        if form is not None and parts is not None:
            return f"{form.name}({', '.join(map(self.value, parts))})"
        self.objects.append(value)
        name = getattr(value, "__qualname__", None) or type(value).__qualname__
        return f"<{type(value).__name__} {name}>".replace("<locals>.", "")

    def _array(self, value: FrozenArray) -> str:
        array = value.array
        head = f"{as_dtype(array.dtype)}, [{','.join(map(str, array.shape))}]"
        if array.size <= _SMALL:
            elements = [_element(element) for element in array.reshape(-1)]
            if np.array_equal(_bits(_dense(elements, array)), _bits(array)):
                return f"dense({head}, [{', '.join(elements)}])"
        self.pool[value.digest] = array
        return f'pool({head}, "{value.digest}")'


def _element(value: np.generic) -> str:
    """The shortest text that reads back as this number."""
    return str(value).lower() if isinstance(value, np.bool_) else str(value)


def _dense(elements: list[str], like: np.ndarray) -> np.ndarray:
    words = {"true": True, "false": False}
    numbers = [words[e] if e in words else like.dtype.type(e) for e in elements]
    return np.array(numbers, dtype=like.dtype).reshape(like.shape)


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


# -- reading -------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<object><[^>]*>)
    | (?P<number>\d+(?:\.\d*)?(?:e[+-]?\d+)?)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<variable>@[^\s,(){}=:;]+)
    | (?P<id>%(?:[\w.][\w.\\/>-]*|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?:'\d+)?(?::\d+)?)
    | (?P<mark>//|==|[-+*(){}\[\],:=\#?;])
    )""",
    re.VERBOSE,
)


class Token(NamedTuple):
    kind: str
    text: str
    end: int


class LineReader:
    """Reads one line, token by token. `rest` is what follows the last one."""

    def __init__(self, line: str, number: int):
        self.line = line
        self.number = number
        self._position = 0
        self._ahead: Token | None = None

    def peek(self) -> Token:
        if self._ahead is None:
            match = _TOKEN.match(self.line, self._position)
            if match is None:
                if self.line[self._position :].strip():
                    self.fail("cannot read this")
                self._ahead = Token("end", "", len(self.line))
            else:
                kind = str(match.lastgroup)
                self._ahead = Token(kind, match[kind], match.end())
        return self._ahead

    def next(self) -> Token:
        token = self.peek()
        self._position = token.end
        self._ahead = None
        return token

    def take(self, text: str) -> bool:
        """Whether the next token is `text`, which is then consumed."""
        token = self.peek()
        if token.text != text or token.kind == "string":
            return False
        self.next()
        return True

    def expect(self, text: str) -> None:
        if not self.take(text):
            self.fail(f"{text!r} was expected")

    def end(self) -> None:
        """Nothing more may follow."""
        if self.peek().kind != "end":
            self.fail("the line should end here")

    def rest(self) -> str:
        return self.line[self._position :].strip()

    def fail(self, message: str) -> NoReturn:
        raise TextError(
            f"line {self.number}: {message}: {self.line[self._position :].strip()[:60]!r}"
        )


class ValueReader:
    """Reads values; the counterpart of ValuePrinter.

    variables: name -> handle, filled by whoever reads declarations
    canonical: s0, s1, … are the sizes that every program calls so; else they are new ones
    """

    def __init__(self, pool: Mapping[str, np.ndarray], canonical: bool = True):
        self.pool = pool
        self._canonical = canonical
        self.variables: dict[str, VariableHandle] = {}
        self._symbols: dict[str, Dim] = {}

    def symbol(self, name: str) -> Dim:
        """The symbol of a name."""
        if name not in self._symbols:
            canonical = self._canonical and re.fullmatch(r"s(0|[1-9]\d*)", name)
            self._symbols[name] = (
                Size.of(canonical_symbol(int(canonical[1]))) if canonical else symbol(name)
            )
        return self._symbols[name]

    def type(self, reader: LineReader) -> TensorType:
        name = reader.next().text
        if name not in _DTYPES:
            reader.fail(f"{name!r} is no element type")
        return TensorType(_DTYPES[name], self._shape(reader))

    def _shape(self, reader: LineReader):
        reader.expect("[")
        if reader.take("?"):
            reader.expect("]")
            return None
        return tuple(self._items(reader, "]", self.size))

    def _items(self, reader: LineReader, end: str, read: Callable) -> Iterator[Any]:
        while not reader.take(end):
            yield read(reader)
            if not reader.take(","):
                reader.expect(end)
                return

    def size(self, reader: LineReader) -> Dim:
        value = self.value(reader)
        if isinstance(value, bool) or not isinstance(value, (int, Size)):
            reader.fail("a size was expected")
        return value

    def arguments(
        self, reader: LineReader, tensor: Callable[[LineReader], Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """ "(id, …, attr = value, …)" of a node: its inputs, read by `tensor`, and attributes."""
        inputs: list[Any] = []
        attrs: dict[str, Any] = {}
        reader.expect("(")
        while not reader.take(")"):
            if reader.peek().kind == "id":
                inputs.append(tensor(reader))
            else:
                key = reader.next().text
                reader.expect("=")
                attrs[key] = self.value(reader)
            if not reader.take(","):
                reader.expect(")")
                break
        return inputs, attrs

    def value(self, reader: LineReader) -> Any:
        """A value; arithmetic makes sizes, and - before a number makes it negative."""
        try:
            return self._sum(reader)
        except TextError:
            raise
        except (TypeError, ValueError, ArithmeticError, SyntaxError, RecursionError) as error:
            reader.fail(f"this is no value ({error})")

    def _sum(self, reader: LineReader) -> Any:
        sign = -1 if reader.take("-") else 1
        total = self._product(reader)
        if sign < 0:
            total = -total
        while True:
            if reader.take("+"):
                total = total + self._product(reader)
            elif reader.take("-"):
                total = total - self._product(reader)
            else:
                return total

    def _product(self, reader: LineReader) -> Any:
        value = self._atom(reader)
        while True:
            if reader.take("*"):
                value = multiply(value, self._atom(reader))
            elif reader.take("//"):
                value = floordiv(value, self._atom(reader))
            else:
                return value

    def _atom(self, reader: LineReader) -> Any:
        token = reader.next()
        kind, text = token.kind, token.text
        if kind == "string":
            return ast.literal_eval(text)
        if kind == "number":
            return int(text) if text.isdigit() else float(text)
        if kind == "variable":
            if text[1:] not in self.variables:
                reader.fail(f"variable {text} is not declared")
            return self.variables[text[1:]]
        if kind == "object":
            reader.fail(f"{text} is a Python object, which has no text: this graph cannot be read")
        if kind == "name":
            return self._word(reader, text)
        if text != "(":
            reader.fail("a value was expected")
        return self._parenthesis(reader)

    def _word(self, reader: LineReader, text: str) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if text in _DTYPES:
            if reader.peek().text == "[":
                return TensorType(_DTYPES[text], self._shape(reader))
            return _DTYPES[text]
        if text in ("max", "min"):
            reader.expect("(")
            a, b = self._items(reader, ")", self.size)
            return maximum(a, b) if text == "max" else minimum(a, b)
        if text in ("scalar", "dense", "pool"):
            reader.expect("(")
            return self._array(reader, text)
        if text in _makers and reader.take("("):
            parts = tuple(self._items(reader, ")", self.value))
            try:
                return _makers[text].make(*parts)
            except (TypeError, ValueError) as error:
                reader.fail(f"these are no parts of a {text} ({error})")
        return self.symbol(text)

    def _parenthesis(self, reader: LineReader) -> Any:
        if reader.take(")"):
            return ()
        first = self.value(reader)
        if reader.take(")"):
            return first  # a grouped size
        reader.expect(",")
        return (first, *self._items(reader, ")", self.value))

    def _array(self, reader: LineReader, kind: str) -> Any:
        name = reader.next().text
        if name not in _DTYPES or _DTYPES[name] is token:
            reader.fail(f"{name!r} is no element type")
        dtype = _DTYPES[name].numpy
        reader.expect(",")
        if kind == "scalar":
            value = dtype.type(self._number(reader, dtype))
            reader.expect(")")
            return value
        shape = self._shape(reader)
        reader.expect(",")
        if kind == "pool":
            digest = ast.literal_eval(reader.next().text)
            if digest not in self.pool:
                reader.fail(f"the pool beside the text has no array {digest[:12]}…")
            array = np.asarray(self.pool[digest])
            found = FrozenArray(array)
            if array.dtype != dtype or array.shape != shape or found.digest != digest:
                reader.fail(f"array {digest[:12]}… of the pool is not what its digest says")
            reader.expect(")")
            return found
        reader.expect("[")
        elements = list(self._items(reader, "]", lambda r: self._number(r, dtype)))
        reader.expect(")")
        return FrozenArray(np.array(elements, dtype=dtype).reshape(shape))

    def _number(self, reader: LineReader, dtype: np.dtype):
        sign = "-" if reader.take("-") else ""
        text = reader.next().text
        if text in ("true", "false"):
            return text == "true"
        return dtype.type(sign + text)
