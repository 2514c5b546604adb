"""example.cpp: a short program that runs the first signature of a model once."""

from __future__ import annotations

from collections.abc import Sequence

from .cpp_sizes import deductions
from .cpp_types import CppSignature
from .header import C_TYPES, has_file, length
from .model import Model, Value


def cpp_example(model: Model, signatures: Sequence[CppSignature]) -> str:
    """The program. Feeds are zeros, and each size is 1."""
    p, shown = model.prefix, signatures[0]
    s = shown.signature
    lines = ["#include <cstdio>", "#include <vector>", "", f'#include "{model.name}.hpp"', ""]
    lines += ["int main()", "{", "    try {", f"        {p}::Options options;"]
    if has_file(model):
        lines.append(f"        options.weights = {p}::weights_file;")
    lines.append(f"        {p}::Model model(options);")
    for other in _initializers(model, signatures):
        discard = "static_cast<void>" if other.signature.outputs else ""
        run = f"model.{other.function}({{}})"
        lines.append(f"        {discard}({run});" if discard else f"        {run};")
    for f in s.feeds:
        if f.dims:
            kind = f"const std::vector<{C_TYPES[f.dtype]}>"
            lines.append(f"        {kind} {f.c_name}({length(f)}); // {f.shape_text}")
    lines.append(f"        {p}::{shown.type}::Feeds feeds;")
    for f in s.feeds:
        zero = f"{C_TYPES[f.dtype]}{{}}"
        lines.append(f"        feeds.{f.c_name} = {f.c_name if f.dims else zero};")
    told = {name for name, feed, _ in deductions(s) if length(feed)}
    lines += [f"        feeds.{z.c_name} = 1;" for z in s.sizes if z.c_name not in told]
    run = f"model.{shown.function}(feeds)"
    lines.append(f"        const auto results = {run};" if s.outputs else f"        {run};")
    for o in s.outputs:
        lines.append(_printed(o))
    lines += [
        f"    }} catch (const {p}::Error &error) {{",
        '        std::fprintf(stderr, "%s\\n", error.what());',
        "        return 1;", "    }", "    return 0;", "}",
    ]  # fmt: skip
    return "\n".join(lines)


def _initializers(model: Model, signatures: Sequence[CppSignature]) -> list[CppSignature]:
    """What has to run first, where variables have no values yet."""
    if all(v.value is not None for v in model.variables):
        return []
    return [s for s in signatures[1:] if s.signature.writes and not s.signature.feeds]


def _printed(o: Value) -> str:
    if not o.dims:
        return (
            f'        std::printf("{o.c_name} = %g\\n", static_cast<double>(results.{o.c_name}));'
        )
    if o.is_open or length(o) < 1:
        return f'        std::printf("{o.c_name}: %zu elements\\n", results.{o.c_name}.size());'
    value = f"static_cast<double>(results.{o.c_name}[0])"
    return f'        std::printf("{o.c_name}[0] = %g\\n", {value});'


__all__ = ["cpp_example"]
