"""NAME.hpp: the C++17 header of one model, on top of its NAME.h alone."""

from __future__ import annotations

from ..version import __version__
from . import cpp_base as base
from . import cpp_model
from .commands import Build
from .cpp_calls import functions, settling, throwing_functions
from .cpp_types import CppSignature, cpp_signatures, signature_types
from .example import cpp_example
from .header import C_TYPES, STATUSES, commented, described, has_file
from .layout import with_comments, wrapped
from .model import Model
from .names import Scope, c_string, in_comment

# Names of the namespace, which enumerators must not have: some compilers warn of that.
_CONSTANTS = (
    "name", "version", "target", "hash", "weights_file", "weights_bytes", "deduced",
    "variable_names", "message", "host_pool", "detail",
)  # fmt: skip


def cpp_header(model: Model, build: Build) -> str:
    signatures = cpp_signatures(model)
    upper = model.prefix.upper()
    parts = [
        _opening(model, build, signatures),
        f"#ifndef {upper}_HPP\n#define {upper}_HPP\n",
        "#if __cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L)\n"
        f'#error "{model.name}.hpp needs C++17"\n#endif\n',
        base.INCLUDES,
        "#if defined(__cpp_exceptions)\n#include <stdexcept>\n#endif\n",
        f'#include "{model.name}.h"\n',
        f"namespace {model.prefix} {{\n",
        _constants(model),
        _statuses(),
        base.ERRORS,
        base.SPAN,
        base.DETAIL,
        base.OPTIONS,
        _variables(model),
        *map(signature_types, signatures),
        "namespace detail {\n",
        *(f"{settling(s)}\n" for s in signatures),
        "} /* namespace detail */\n",
        _model(model, signatures),
        f"}} /* namespace {model.prefix} */\n#endif",
    ]
    text = "\n".join(parts) + "\n"
    return text.replace("@P@", model.prefix).replace("@U@", upper)


def _opening(model: Model, build: Build, signatures: list[CppSignature]) -> str:
    source = cpp_example(model, signatures)
    text = (
        "Sizes are worked out from the lengths of feeds, and checked; those that no length tells "
        "are set by name. Functions whose names begin with try_ "
        "return a status and throw nothing; they are all there is without exceptions."
    )
    return "\n".join([
        f"/* {model.name}: a compiled graph, for C++17 programs.",
        " *",
        f" * A complete program (example.cpp; {model.name}.h says what holds for all calls):",
        " *",
        commented("\n".join(f"    {line}".rstrip() for line in source.splitlines())),
        " *",
        " * One command makes a program of it, in the folder of this file:",
        " *",
        f" *    {build.cpp_host('example.cpp', 'example')}",
        " *",
        *(f" * {line}" for line in wrapped(text, 96)),
        " *",
        f" * Written by graphflow. Content {model.hash[:16]}, for {model.triple}.",
        " */",
    ])  # fmt: skip


def _constants(model: Model) -> str:
    weights = f'"{model.name}.safetensors"' if has_file(model) else "nullptr"
    return f"""inline constexpr const char *name = {c_string(model.name)};
inline constexpr const char *version = "{__version__}"; /* of the graphflow that exported it */
inline constexpr const char *target = "{model.triple}";
inline constexpr const char *hash = @U@_HASH;
inline constexpr const char *weights_file = {weights}; /* null: none is needed */
inline constexpr std::int64_t weights_bytes = @U@_WEIGHTS_BYTES;
"""


def _statuses() -> str:
    rows = [(f"{name.lower()} = {number},", text) for name, number, text in STATUSES]
    lines = "\n".join(with_comments(rows))
    return f"/* What the functions return. */\nenum class Status : std::int32_t {{\n{lines}\n}};\n"


def _variables(model: Model) -> str:
    if not model.variables:
        return ""
    scope = Scope(_CONSTANTS)
    names = [scope.name(v.c_name) for v in model.variables]
    rows = [
        (f"{name} = {i},", f"{described(v)} {in_comment(v.name)}")
        for i, (name, v) in enumerate(zip(names, model.variables, strict=True))
    ]
    lines = ["enum class Variable : std::int32_t {", *with_comments(rows), "};", ""]
    lines.append(f"inline constexpr std::array<const char *, {len(names)}> variable_names{{")
    lines += [f"    {c_string(v.name)}," for v in model.variables]
    lines += ["};", "", "/* The dtypes and shapes of the variables; -1 where any size will do. */"]
    lines.append("template <Variable variable>\nstruct Declared;")
    for name, v in zip(names, model.variables, strict=True):
        dims = "".join(f", {-1 if d is None else d}" for d in v.shape)
        kind = f"detail::Declared<{C_TYPES[v.dtype]}{dims}>"
        lines.append(f"template <>\nstruct Declared<Variable::{name}> : {kind} {{}};")
    return "\n".join(lines) + "\n"


def _model(model: Model, signatures: list[CppSignature]) -> str:
    has_variables = bool(model.variables)
    parts = [cpp_model.OPENING]
    if has_variables:
        parts.append(cpp_model.VARIABLES)
    parts += [f"\n{functions(s)}" for s in signatures]
    parts.append(cpp_model.THROWING)
    if has_variables:
        parts.append(cpp_model.THROWING_VARIABLES)
    parts += [f"\n{throwing_functions(s)}" for s in signatures]
    return "".join([*parts, "#endif\n", cpp_model.CLOSING])


__all__ = ["cpp_header"]
