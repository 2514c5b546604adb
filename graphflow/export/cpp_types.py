"""The types that a signature has in NAME.hpp: its arguments, its results, what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .header import C_TYPES, arena_bytes, described
from .layout import with_comments
from .model import Model, Signature, SizeName, Value
from .names import Scope, c_string, identifier, in_comment

# Names of the namespace that no signature's types may have.
_TYPES = (
    "Status", "Error", "Span", "Array", "Tensor", "Task", "HostPool", "Options", "Variable",
    "Declared", "Model", "Count", "Note", "C", "T",
)  # fmt: skip
# Names of class Model, and of the namespace.
_FUNCTIONS = (
    "try_create", "try_save", "try_load", "try_get", "try_set", "handle", "model_", "detail",
)  # fmt: skip


@dataclass(frozen=True)
class CppSignature:
    """A signature and its names in C++.

    type:     of the struct that holds its types
    function: of class Model; others begin with it
    """

    model: Model
    signature: Signature
    type: str
    function: str

    @property
    def title(self) -> str:
        """For messages."""
        return f"{self.model.name}.{self.signature.name}"


def cpp_signatures(model: Model) -> list[CppSignature]:
    functions, names = set(_FUNCTIONS), []
    for s in model.signatures:
        name = s.c_name
        while not functions.isdisjoint(_functions_of(name)):
            name += "_"
        functions.update(_functions_of(name))
        names.append(name)
    types = Scope([*_TYPES, *functions])  # a function would hide a type of its name
    found = []
    for s, name in zip(model.signatures, names, strict=True):
        camel = "".join(part[:1].upper() + part[1:] for part in s.c_name.split("_"))
        camel = camel if camel[:1].isalpha() else f"Signature{camel}"
        found.append(CppSignature(model, s, types.name(identifier(camel)), name))
    return found


def _functions_of(name: str) -> list[str]:
    return [f"{p}{name}{s}" for p in ("", "try_") for s in ("", "_reserve", "_arena_bytes")]


def signature_types(cpp: CppSignature) -> str:
    s, where = cpp.signature, f"::{cpp.model.prefix}::"
    lines = [f"/* {in_comment(s.name)} */", f"struct {cpp.type} {{"]
    rows = [*(_feed(where, f) for f in s.feeds), *(_size(where, z) for z in s.sizes)]
    lines += [*_struct("Feeds", rows), ""]
    if s.outputs:
        lines.append("    /* Results with memory of their own. */")
        lines += [*_struct("Results", [_result(where, o) for o in s.outputs]), ""]
        lines.append("    /* Where results go that the caller has room for; empty: not wanted. */")
        lines += [*_struct("Into", [row for o in s.outputs for row in _into(where, o)]), ""]
    lines += [*_struct("Sizes", [(f"std::int64_t {z.c_name} = 0;", "") for z in s.sizes]), ""]
    lines += [*_tensors(where, "feeds", s.feeds), *_tensors(where, "outputs", s.outputs)]
    arena = arena_bytes(cpp.model, s)
    if arena is not None:
        lines.append("    /* The most that the arena of a run takes, whatever the processor. */")
        lines.append(f"    static constexpr std::int64_t arena_bytes = {arena};")
    return "\n".join([*lines, "};\n"])


def _struct(name: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    if not rows:
        return [f"    struct {name} {{}};"]
    return [f"    struct {name} {{", *with_comments(rows, " " * 8), "    };"]


def _feed(where: str, f: Value) -> tuple[str, str]:
    kind = C_TYPES[f.dtype]
    holder = f"{where}Span<const {kind}>" if f.dims else f"std::optional<{kind}>"
    return f"{holder} {f.c_name} = {{}};", described(f)


def _size(where: str, size: SizeName) -> tuple[str, str]:
    code = f"std::int64_t {size.c_name} = {where}deduced;"
    return code, f"size of {in_comment(size.where)}"


def _result(where: str, o: Value) -> tuple[str, str]:
    kind = C_TYPES[o.dtype]
    holder = f"{where}Array<{kind}, {len(o.dims)}>" if o.dims else kind
    return f"{holder} {o.c_name} = {{}};", described(o)


def _into(where: str, o: Value) -> list[tuple[str, str]]:
    kind = C_TYPES[o.dtype]
    if not o.dims:
        return [(f"{kind} *{o.c_name} = nullptr;", described(o))]
    rows = [(f"{where}Span<{kind}> {o.c_name} = {{}};", described(o))]
    if o.is_open:
        shape = f"std::array<std::int64_t, {len(o.dims)}> *{o.c_name}_dims = nullptr;"
        rows.append((shape, "gets its shape, also where there is too little room"))
    return rows


def _tensors(where: str, name: str, values: Sequence[Value]) -> list[str]:
    head = f"    static constexpr std::array<{where}Tensor, {len(values)}> {name}{{"
    rows = []
    for v in values:
        parts = [c_string(v.name), f'"{v.dtype}"', c_string(v.shape_text), str(len(v.dims))]
        parts.append(str(-1 if v.elements is None else v.elements))
        rows.append(f"        {where}Tensor{{{', '.join(parts)}}},")
    return [head, *rows, "    };"] if rows else [f"{head}}};"]


__all__ = ["CppSignature", "cpp_signatures", "signature_types"]
