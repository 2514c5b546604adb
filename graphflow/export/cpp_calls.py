"""The functions that a signature has in NAME.hpp."""

from __future__ import annotations

from collections.abc import Sequence

from . import layout
from .cpp_sizes import count_of, deductions, expression
from .cpp_types import CppSignature
from .layout import block_comment
from .model import Value
from .names import c_string, in_comment

_INDENT = 8  # of what stands in functions of a class
_STOP = ["if (status != Status::ok) {", "    return status;", "}"]


def call(head: str, arguments: Sequence[str], tail: str) -> list[str]:
    return spread(f"{head}(", arguments, f"){tail}")


def spread(start: str, parts: Sequence[str], end: str) -> list[str]:
    return layout.spread(start, parts, end, width=layout.WIDTH - _INDENT)


def _function(head: str, parameters: Sequence[str], tail: str, body: Sequence[str]) -> list[str]:
    return [*call(head, parameters, tail), "{", *(f"    {line}" for line in body), "}"]


def _sized(values: Sequence[Value]) -> list[Value]:
    """Those whose number of elements is known before a run, and is not one."""
    return [v for v in values if v.dims and not v.is_open]


def settling(cpp: CppSignature) -> str:
    """The function that finds the sizes of a run and checks its feeds by them."""
    s = cpp.signature
    body = []
    if _sized(s.feeds):
        body.append("using C = Count;")
    body += [f"std::int64_t {z.c_name} = feeds.{z.c_name};" for z in s.sizes]
    for name, feed, each in deductions(s):
        body.append(f"deduce({name}, feeds.{feed.c_name}, {expression(each)});")
    for z in s.sizes:
        text = f"{cpp.title}: no length tells size {z.c_name}, and it is not set"
        body += [f"if ({z.c_name} < 0) {{", *_refused(text), "}"]
    body += [f"sizes.{z.c_name} = {z.c_name};" for z in s.sizes]
    body += ["Status status = Status::ok;"] * bool(_sized(s.feeds))
    for f in s.feeds:
        what = f"{cpp.title}: feed {f.name}"
        if f.dims:
            shown = [c_string(what), c_string(f.shape_text)]
            body += [*call("status = check_feed", [*shown, f"feeds.{f.c_name}", count_of(f)], ";")]
            body += _STOP
        else:
            body += [f"if (!feeds.{f.c_name}) {{", *_refused(f"{what} is not set"), "}"]
    body += ["static_cast<void>(feeds);"] * (not s.feeds)
    body += ["static_cast<void>(sizes);"] * (not s.sizes)
    body.append("return Status::ok;")
    parameters = [f"const {cpp.type}::Feeds &feeds", f"{cpp.type}::Sizes &sizes"]
    return "\n".join(_function("inline Status settle", parameters, " noexcept", body))


def _refused(text: str) -> list[str]:
    lines = call("return refuse", ["Status::bad_argument", '"%s"', c_string(text)], ";")
    return [f"    {line}" for line in lines]


def functions(cpp: CppSignature) -> str:
    """Those of class Model that return a status."""
    s = cpp.signature
    says = f"Runs {in_comment(s.name)}."
    if s.outputs:
        says += " Results keep their memory, and get more where it takes more."
    if any(o.is_open for o in s.outputs):
        says += (
            " How long some of them are only a run tells: where there was too little room, nothing "
            "has happened, and there is a second run."
        )
    lines = [*block_comment(says), *_run(cpp)]
    if s.outputs:
        lines += _run_for_results(cpp)
    lines += [*_reserve(cpp), *_arena(cpp)]
    return _indented(lines)


def _indented(lines: Sequence[str]) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in lines)


def _const(cpp: CppSignature) -> str:
    return "" if cpp.signature.writes else " const"


def _feeds(cpp: CppSignature, is_last: bool = True) -> str:
    default = " = {}" if is_last and not cpp.signature.feeds else ""
    return f"const {cpp.type}::Feeds &feeds{default}"


def _settled(cpp: CppSignature) -> list[str]:
    return [
        f"{cpp.type}::Sizes sizes;",
        "Status status = detail::settle(feeds, sizes);",
        *_STOP,
        *(f"const auto {z.c_name} = sizes.{z.c_name};" for z in cpp.signature.sizes),
    ]


def _run(cpp: CppSignature) -> list[str]:
    s, p = cpp.signature, cpp.model.prefix
    body = [*(["using C = detail::Count;"] * bool(_sized(s.outputs))), *_settled(cpp)]
    arguments = ["model_", *(z.c_name for z in s.sizes)]
    for f in s.feeds:
        arguments.append(f"detail::place(feeds.{f.c_name})" if f.dims else f"&*feeds.{f.c_name}")
    for o in s.outputs:
        into = f"into.{o.c_name}"
        arguments.append(f"{into}.data()" if o.dims else into)
        if o.is_open:
            arguments.append(f"static_cast<std::int64_t>({into}.size() * sizeof *{into}.data())")
            arguments.append(f"{into}_dims != nullptr ? {into}_dims->data() : nullptr")
        elif o.dims:
            what = c_string(f"{cpp.title}: output {o.name}")
            row = [what, c_string(o.shape_text), into, count_of(o)]
            body += [*call("status = detail::check_room", row, ";"), *_STOP]
    body += call(f"return detail::told({p}_{s.c_name}", arguments, ");")
    parameters = [_feeds(cpp, is_last=not s.outputs)]
    parameters += [f"const {cpp.type}::Into &into"] * bool(s.outputs)
    head = f"[[nodiscard]] Status try_{cpp.function}"
    return _function(head, parameters, f"{_const(cpp)} noexcept", body)


def _run_for_results(cpp: CppSignature) -> list[str]:
    s = cpp.signature
    sized, opened = _sized(s.outputs), [o for o in s.outputs if o.is_open]
    body: list[str] = []
    if sized:
        body += ["using C = detail::Count;", *_settled(cpp)]
        body += [f"static_cast<void>({z.c_name});" for z in s.sizes]
    elif opened:
        body.append("Status status = Status::ok;")
    for o in sized:
        shape = [f"({expression(d)}).value()" for d in o.shape if d is not None]
        body += spread(f"results.{o.c_name}.shape = {{", shape, "};")
        body += [*call("status = detail::resize", [f"results.{o.c_name}.values", count_of(o)], ";")]
        body += _STOP
    into = []
    for o in s.outputs:
        into.append(f"results.{o.c_name}" if o.dims else f"&results.{o.c_name}")
        into += [f"&results.{o.c_name}.shape"] * o.is_open
    run = spread(f"try_{cpp.function}(feeds, {cpp.type}::Into{{", into, "});")
    if not opened:
        body += [f"return {run[0]}", *run[1:]]
    else:
        body += ["for (;;) {"]
        for o in opened:
            body.append(f"    status = detail::make_room(results.{o.c_name});")
            body += [f"    {line}" for line in _STOP]
        body += [f"    status = {run[0]}", *(f"    {line}" for line in run[1:])]
        body.append("    bool has_grown = false;")
        body += [
            f"    status = detail::fit(results.{o.c_name}, status, has_grown);" for o in opened
        ]
        body += ["    if (!has_grown) {", "        return status;", "    }", "}"]
    parameters = [f"const {cpp.type}::Feeds &feeds", f"{cpp.type}::Results &results"]
    head = f"[[nodiscard]] Status try_{cpp.function}"
    return _function(head, parameters, f"{_const(cpp)} noexcept", body)


def _sizes(cpp: CppSignature) -> tuple[list[str], list[str]]:
    """Parameters and arguments."""
    names = [z.c_name for z in cpp.signature.sizes]
    return [f"std::int64_t {name}" for name in names], names


def _reserve(cpp: CppSignature) -> list[str]:
    sizes, names = _sizes(cpp)
    callee = f"return detail::told({cpp.model.prefix}_{cpp.signature.c_name}_reserve"
    body = call(callee, ["model_", *names, "runs"], ");")
    return [
        *block_comment("Provides all memory for `runs` runs at a time, so that none asks for any."),
        *_function(
            f"[[nodiscard]] Status try_{cpp.function}_reserve",
            [*sizes, "std::int32_t runs = 1"], " const noexcept", body,
        ),
    ]  # fmt: skip


def _arena(cpp: CppSignature) -> list[str]:
    sizes, names = _sizes(cpp)
    callee = f"return detail::told({cpp.model.prefix}_{cpp.signature.c_name}_arena_bytes"
    body = call(callee, ["model_", *names, "&bytes"], ");")
    return [
        *block_comment("How large the arena of a run is."),
        *_function(
            f"[[nodiscard]] Status try_{cpp.function}_arena_bytes",
            [*sizes, "std::int64_t &bytes"], " const noexcept", body,
        ),
    ]  # fmt: skip


def throwing_functions(cpp: CppSignature) -> str:
    """The same as functions that throw."""
    s, name = cpp.signature, cpp.function
    sizes, names = _sizes(cpp)
    lines = []
    if s.outputs:
        body = [
            f"{cpp.type}::Results results;",
            f"detail::check(try_{name}(feeds, results));",
            "return results;",
        ]
        lines += _function(f"{cpp.type}::Results {name}", [_feeds(cpp)], _const(cpp), body)
        for kind, into in (("Results", "results"), ("Into", "into")):
            const = "const " if kind == "Into" else ""
            parameters = [f"const {cpp.type}::Feeds &feeds", f"{const}{cpp.type}::{kind} &{into}"]
            body = [f"detail::check(try_{name}(feeds, {into}));"]
            lines += _function(f"void {name}", parameters, _const(cpp), body)
    else:
        body = [f"detail::check(try_{name}(feeds));"]
        lines += _function(f"void {name}", [_feeds(cpp)], _const(cpp), body)
    body = call(f"detail::check(try_{name}_reserve", [*names, "runs"], ");")
    runs = "std::int32_t runs = 1"
    lines += _function(f"void {name}_reserve", [*sizes, runs], " const", body)
    body = [
        "std::int64_t bytes = 0;",
        *call(f"detail::check(try_{name}_arena_bytes", [*names, "bytes"], ");"),
        "return bytes;",
    ]
    lines += _function(f"std::int64_t {name}_arena_bytes", sizes, " const", body)
    return _indented(lines)


__all__ = ["functions", "settling", "throwing_functions"]
