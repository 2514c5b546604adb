"""A signature in NAME.hpp: the types of its arguments, and the functions of class Model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..sizes import Dim, FloorDiv, Maximum, Symbol, as_symbol, multiply, symbols_of
from .header import C_TYPES, arena_bytes, described
from .layout import call, spread, with_comments, wrapped
from .model import Model, Signature, Value
from .names import Scope, c_string, in_comment


def expression(dim: Dim) -> str:
    """A size in C++, on numbers of detail::Count."""
    if isinstance(dim, int):
        return str(dim)
    text = ""
    for monomial, coefficient in dim.terms:
        factors = [_atom(atom) for atom in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.append(str(abs(coefficient)))
        sign = " - " if coefficient < 0 else " + "
        text += (sign if text else "-" if coefficient < 0 else "") + " * ".join(factors)
    return f"0 - {text[1:]}" if text.startswith("-") else text


def _atom(atom) -> str:
    if isinstance(atom, Symbol):
        return f"C({atom.name})"
    if isinstance(atom, FloorDiv):
        return f"(C({expression(atom.numerator)}) / C({expression(atom.denominator)}))"
    function = "larger" if isinstance(atom, Maximum) else "smaller"
    return f"{function}(C({expression(atom.a)}), C({expression(atom.b)}))"


def count_of(value: Value) -> str:
    """How many elements it has, in the C names of the sizes, for a value that is not open."""
    product: Dim = 1
    for dim in value.shape:
        assert dim is not None
        product = multiply(product, dim)
    return f"C({expression(product)})"


def deductions(s: Signature) -> list[tuple[str, Value, Dim]]:
    """(size, feed, elements for each of it): what sizes can be worked out from lengths, in the order
    that has what is needed for each before it."""
    found: list[tuple[str, Value, Dim]] = []
    known: set[str] = set()
    rest = [size.c_name for size in s.sizes]
    while rest:
        rows = [row for name in rest for feed in s.feeds for row in _deduce(name, feed, known)]
        if not rows:
            break
        name = rows[0][0]
        found += [row for row in rows if row[0] == name]
        known.add(name)
        rest.remove(name)
    return found


def _deduce(name: str, feed: Value, known: set[str]) -> list[tuple[str, Value, Dim]]:
    """The feed's other dimensions, if this size is one of them and nothing else is unknown."""
    each: Dim = 1
    times = 0
    for dim in feed.shape:
        symbol = as_symbol(dim)
        if symbol is not None and symbol.name == name:
            times += 1
        elif dim is None or any(found.name not in known for found in symbols_of(dim)):
            return []
        else:
            each = multiply(each, dim)
    return [(name, feed, each)] if times == 1 else []


@dataclass(frozen=True)
class CppSignature:
    """type: of the struct that holds its types; function: what it is called in class Model"""

    model: Model
    signature: Signature
    type: str
    function: str

    @cached_property
    def ns(self) -> str:
        return f"::{self.model.prefix}::"

    @property
    def title(self) -> str:
        return f"{in_comment(self.model.name)}.{in_comment(self.signature.name)}"

    # -- types --------------------------------------------------------------------------------

    def types(self) -> str:
        s = self.signature
        lines = [f"/* {in_comment(s.name)} */", f"struct {self.type} {{"]
        lines += self._struct("Feeds", [*map(self._feed, s.feeds), *map(self._size, s.sizes)])
        if s.outputs:
            lines += ["", "    /* Results that have memory of their own. */"]
            lines += self._struct("Results", [self._result(o) for o in s.outputs])
            lines += [
                "",
                "    /* Where results go that the caller has room for; empty: not wanted. */",
            ]
            lines += self._struct("Into", [row for o in s.outputs for row in self._into(o)])
        if s.sizes:
            lines += ["", "    struct Sizes {"]
            lines += [f"        std::int64_t {size.c_name};" for size in s.sizes]
            lines += ["    };"]
        lines += ["", *self._tensors("feeds", s.feeds), *self._tensors("outputs", s.outputs)]
        arena = arena_bytes(self.model, s)
        if arena is not None:
            lines.append(
                "    /* The most that the arena of a run takes, whatever the processor. */"
            )
            lines.append(f"    static constexpr std::int64_t arena_bytes = {arena};")
        return "\n".join([*lines, "};"])

    def _struct(self, name: str, rows: Sequence[tuple[str, str]]) -> list[str]:
        if not rows:
            return [f"    struct {name} {{}};"]
        return [f"    struct {name} {{", *with_comments(rows, " " * 8), "    };"]

    def _feed(self, f: Value) -> tuple[str, str]:
        kind = C_TYPES[f.dtype]
        if not f.dims:
            return f"std::optional<{kind}> {f.c_name} = {{}};", f"{described(f)}"
        return f"{self.ns}Span<const {kind}> {f.c_name} = {{}};", f"{described(f)}"

    def _size(self, size) -> tuple[str, str]:
        code = f"std::int64_t {size.c_name} = {self.ns}deduced;"
        return code, f"size of {in_comment(size.where)}"

    def _result(self, o: Value) -> tuple[str, str]:
        kind = C_TYPES[o.dtype]
        if not o.dims:
            return f"{kind} {o.c_name} = {{}};", described(o)
        return f"{self.ns}Array<{kind}, {len(o.dims)}> {o.c_name} = {{}};", described(o)

    def _into(self, o: Value) -> list[tuple[str, str]]:
        kind = C_TYPES[o.dtype]
        if not o.dims:
            return [(f"{kind} *{o.c_name} = nullptr;", described(o))]
        rows = [(f"{self.ns}Span<{kind}> {o.c_name} = {{}};", described(o))]
        if o.is_open:
            shape = f"std::array<std::int64_t, {len(o.dims)}> *{o.c_name}_dims = nullptr;"
            rows.append((shape, "gets its shape, also where there is too little room"))
        return rows

    def _tensors(self, name: str, values: Sequence[Value]) -> list[str]:
        kind = f"    static constexpr std::array<{self.ns}Tensor, {len(values)}> {name}{{"
        if not values:
            return [f"{kind}}};"]
        rows = []
        for v in values:
            shape = c_string(v.shape_text)
            parts = [c_string(v.name), f'"{v.dtype}"', shape, str(len(v.dims))]
            parts.append(str(-1 if v.elements is None else v.elements))
            rows.append(f"        {self.ns}Tensor{{{', '.join(parts)}}},")
        return [f"{kind}", *rows, "    };"]

    # -- functions ----------------------------------------------------------------------------

    @property
    def const(self) -> str:
        return "" if self.signature.writes else " const"

    @property
    def _feeds_parameter(self) -> str:
        default = "" if self.signature.feeds else " = {}"
        return f"const {self.type}::Feeds &feeds{default}"

    def trying(self) -> str:
        """The functions that return a status."""
        s = self.signature
        lines = [*self._says(), *self._signature("try_", self._feeds_parameter, bool(s.outputs))]
        lines += ["    {", *self._sizes()]
        for o in s.outputs:
            if o.dims and not o.is_open:
                head = "status = detail::check_room"
                what = f'"{self.title}: output {in_comment(o.name)}"'
                lines += self._checked(
                    head, [what, c_string(o.shape_text), f"into.{o.c_name}", count_of(o)]
                )
        lines += [*self._run(), "    }"]
        if s.outputs:
            lines += self._with_results()
        lines += self._memory()
        if s.sizes:
            lines += self._deducing()
        return "\n".join(lines)

    def _says(self) -> list[str]:
        s = self.signature
        text = f"Runs {in_comment(s.name)}."
        if s.outputs:
            text += (
                " With Results, it is their memory that is used, and made larger where it has to."
            )
        if any(o.is_open for o in s.outputs):
            text += (
                " Then it runs once more where an output turns out to be longer than its vector."
            )
        lines = wrapped(text, 90)
        return ["", *(f"    {'/*' if i == 0 else ' *'} {line}" for i, line in enumerate(lines[:-1])),
                f"    {'/*' if len(lines) == 1 else ' *'} {lines[-1]} */"]  # fmt: skip

    def _signature(self, prefix: str, feeds: str, into: bool) -> list[str]:
        parameters = [feeds]
        if into:
            parameters.append(f"const {self.type}::Into &into")
        head = f"[[nodiscard]] Status {prefix}{self.function}"
        return call(head, parameters, f"{self.const} noexcept", "    ")

    def _sizes(self) -> list[str]:
        """Checks what there is to be checked about feeds."""
        s = self.signature
        checked = [v for v in (*s.feeds, *s.outputs) if v.dims and not v.is_open]
        lines = ["        using C = detail::Count;"] if checked else []
        if s.sizes:
            lines += [
                f"        {self.type}::Sizes sizes;",
                f"        Status status = {self.function}_sizes(feeds, sizes);",
                "        if (status != Status::ok) {",
                "            return status;",
                "        }",
            ]
            lines += [f"        const auto {z.c_name} = sizes.{z.c_name};" for z in s.sizes]
        elif checked:
            lines.append("        Status status = Status::ok;")
        for f in s.feeds:
            what = f"{self.title}: feed {in_comment(f.name)}"
            if f.dims:
                head = "status = detail::check_feed"
                row = [c_string(what), c_string(f.shape_text), f"feeds.{f.c_name}", count_of(f)]
                lines += self._checked(head, row)
            else:
                lines += [
                    f"        if (!feeds.{f.c_name}) {{",
                    *self._refuse(f"{what} is not set"),
                    "        }",
                ]
        if not s.feeds:
            lines.append("        static_cast<void>(feeds);")
        return lines

    def _refuse(self, text: str) -> list[str]:
        return call(
            "return detail::refuse", ["Status::bad_argument", '"%s"', c_string(text)], ";", " " * 12
        )

    def _checked(self, head: str, arguments: Sequence[str]) -> list[str]:
        return [
            *call(head, arguments, ";", " " * 8),
            "        if (status != Status::ok) {",
            "            return status;",
            "        }",
        ]

    def _run(self) -> list[str]:
        s = self.signature
        arguments = ["model_", *(size.c_name for size in s.sizes)]
        for f in s.feeds:
            arguments.append(
                f"detail::place(feeds.{f.c_name})" if f.dims else f"&*feeds.{f.c_name}"
            )
        for o in s.outputs:
            arguments.append(f"into.{o.c_name}.data()" if o.dims else f"into.{o.c_name}")
            if o.is_open:
                bytes_ = f"into.{o.c_name}.size() * sizeof({C_TYPES[o.dtype]})"
                arguments.append(f"static_cast<std::int64_t>({bytes_})")
                dims = f"into.{o.c_name}_dims"
                arguments.append(f"{dims} != nullptr ? {dims}->data() : nullptr")
        head = f"return detail::told({self.model.prefix}_{s.c_name}"
        return call(head, arguments, ");", " " * 8)

    def _with_results(self) -> list[str]:
        s = self.signature
        sized = [o for o in s.outputs if o.dims and not o.is_open]
        parameters = [f"const {self.type}::Feeds &feeds", f"{self.type}::Results &results"]
        lines = call(
            f"[[nodiscard]] Status try_{self.function}",
            parameters,
            f"{self.const} noexcept",
            "    ",
        )
        lines.append("    {")
        if sized:
            lines.append("        using C = detail::Count;")
        if any(o.dims for o in s.outputs):
            lines.append("        Status status = Status::ok;")
        if s.sizes and sized:
            head = f"        {self.type}::Sizes sizes;"
            lines += [head, *self._checked(f"status = {self.function}_sizes", ["feeds", "sizes"])]
            lines += [f"        const auto {z.c_name} = sizes.{z.c_name};" for z in s.sizes]
            lines += [f"        static_cast<void>({z.c_name});" for z in s.sizes]
        for o in sized:
            shape = [f"C({expression(d)}).value()" for d in o.shape if d is not None]
            lines += spread(f"results.{o.c_name}.shape = {{", shape, "};", " " * 8)
            lines += self._checked(
                "status = detail::resize", [f"results.{o.c_name}.values", count_of(o)]
            )
        into = [f"&results.{o.c_name}" if not o.dims else f"results.{o.c_name}" for o in s.outputs]
        opened = [o for o in s.outputs if o.is_open]
        if not opened:
            names = ", ".join(into)
            lines += [
                f"        return try_{self.function}(feeds, {self.type}::Into{{{names}}});",
                "    }",
            ]
            return lines
        return [*lines, *self._growing(opened), "    }"]

    def _growing(self, opened: Sequence[Value]) -> list[str]:
        """Runs until there is room for outputs whose lengths only a run tells."""
        lines = []
        for o in opened:
            lines += [
                f"        if (results.{o.c_name}.values.empty()) {{",
                f"            status = detail::resize(results.{o.c_name}.values, 256);",
                "            if (status != Status::ok) {",
                "                return status;",
                "            }",
                "        }",
            ]
        into = []
        for o in self.signature.outputs:
            into.append(f"results.{o.c_name}" if o.dims else f"&results.{o.c_name}")
            if o.is_open:
                into.append(f"&results.{o.c_name}.shape")
        lines.append("        for (;;) {")
        lines += [f"            results.{o.c_name}.shape.fill(-1);" for o in opened]
        head = f"status = try_{self.function}(feeds, {self.type}::Into{{"
        lines += spread(head, into, "});", " " * 12)
        lines.append("            bool has_grown = false;")
        for o in opened:
            lines += call(
                "status = detail::fit",
                [f"results.{o.c_name}", "status", "has_grown"],
                ";",
                " " * 12,
            )
        lines += [
            "            if (!has_grown) {",
            "                return status;",
            "            }",
            "        }",
        ]
        return lines

    def _memory(self) -> list[str]:
        s, p = self.signature, self.model.prefix
        sizes = [f"std::int64_t {size.c_name}" for size in s.sizes]
        names = [size.c_name for size in s.sizes]
        lines = [
            "    /* Provides all memory for `runs` runs at a time, so that none asks for any. */"
        ]
        head = f"[[nodiscard]] Status try_{self.function}_reserve"
        lines += call(head, [*sizes, "std::int32_t runs = 1"], " const noexcept", "    ")
        lines += [
            "    {",
            *call(
                f"return detail::told({p}_{s.c_name}_reserve",
                ["model_", *names, "runs"],
                ");",
                " " * 8,
            ),
            "    }",
        ]
        lines.append("    /* How large the arena of a run is. */")
        head = f"[[nodiscard]] Status try_{self.function}_arena_bytes"
        lines += call(head, [*sizes, "std::int64_t &bytes"], " const noexcept", "    ")
        lines += [
            "    {",
            *call(
                f"return detail::told({p}_{s.c_name}_arena_bytes",
                ["model_", *names, "&bytes"],
                ");",
                " " * 8,
            ),
            "    }",
        ]
        return lines

    def throwing(self) -> str:
        """The functions that throw."""
        s, function = self.signature, self.function
        sizes = [f"std::int64_t {size.c_name}" for size in s.sizes]
        names = [size.c_name for size in s.sizes]
        lines = [""]
        if s.outputs:
            lines += [
                f"    {self.type}::Results {function}({self._feeds_parameter}){self.const}", "    {",
                f"        {self.type}::Results results;",
                f"        detail::check(try_{function}(feeds, results));",
                "        return results;", "    }",
            ]  # fmt: skip
            for kind, name in (("const {}::Into &", "into"), ("{}::Results &", "results")):
                parameters = [f"const {self.type}::Feeds &feeds", f"{kind.format(self.type)}{name}"]
                lines += call(f"void {function}", parameters, self.const, "    ")
                lines += [
                    "    {",
                    f"        detail::check(try_{function}(feeds, {name}));",
                    "    }",
                ]
        else:
            lines += call(f"void {function}", [self._feeds_parameter], self.const, "    ")
            lines += ["    {", f"        detail::check(try_{function}(feeds));", "    }"]
        lines += call(
            f"void {function}_reserve", [*sizes, "std::int32_t runs = 1"], " const", "    "
        )
        lines += [
            "    {",
            *call(f"detail::check(try_{function}_reserve", [*names, "runs"], ");", " " * 8),
            "    }",
        ]
        lines += call(f"std::int64_t {function}_arena_bytes", sizes, " const", "    ")
        lines += [
            "    {", "        std::int64_t bytes = 0;",
            *call(f"detail::check(try_{function}_arena_bytes", [*names, "bytes"], ");", " " * 8),
            "        return bytes;", "    }",
        ]  # fmt: skip
        return "\n".join(lines)

    def _deducing(self) -> list[str]:
        s = self.signature
        lines = [
            "    /* The sizes of a run: those that are set, and those that the lengths tell. */"
        ]
        head = f"[[nodiscard]] static Status {self.function}_sizes"
        parameters = [f"const {self.type}::Feeds &feeds", f"{self.type}::Sizes &sizes"]
        lines += [*call(head, parameters, " noexcept", "    "), "    {"]
        if deductions(s):
            lines.append("        using C = detail::Count;")
        lines += [f"        std::int64_t {z.c_name} = feeds.{z.c_name};" for z in s.sizes]
        for name, feed, each in deductions(s):
            lines += call(
                "detail::deduce",
                [name, f"feeds.{feed.c_name}", f"C({expression(each)})"],
                ";",
                " " * 8,
            )
        for z in s.sizes:
            text = f"{self.title}: size {z.c_name} ({in_comment(z.where)}) is not set, and no feed's length tells it"
            lines += [f"        if ({z.c_name} < 0) {{", *self._refuse(text), "        }"]
        names = ", ".join(z.c_name for z in s.sizes)
        lines += [f"        sizes = {{{names}}};", "        return Status::ok;", "    }"]
        return lines


def cpp_signatures(model: Model, taken_types: Sequence[str]) -> list[CppSignature]:
    """Names of their own for all signatures of a model."""
    types = Scope(taken_types)
    functions = Scope([
        "try_create", "handle", "try_save", "try_load", "try_get", "try_set", "model_",
    ])  # fmt: skip
    found = []
    for s in model.signatures:
        camel = "".join(part[:1].upper() + part[1:] for part in s.c_name.split("_"))
        if not camel[:1].isalpha():
            camel = f"Signature{camel}"
        function = s.c_name
        derived = ("{}", "try_{}", "{}_sizes", "{}_reserve", "{}_arena_bytes", "try_{}_reserve",
                   "try_{}_arena_bytes")  # fmt: skip
        while any(form.format(function) in functions.taken for form in derived):
            function += "_"
        functions.taken |= {form.format(function) for form in derived}
        found.append(CppSignature(model, s, types.name(camel), function))
    return found


__all__ = ["CppSignature", "count_of", "cpp_signatures", "deductions", "expression"]
