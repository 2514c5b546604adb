"""NAME.h: the C99 header of one model."""

from __future__ import annotations

import math

from ..sizes import FloorDiv, Maximum, Minimum, evaluate, symbols_of
from ..version import __version__
from .commands import Build
from .layout import WIDTH, block_comment, call, with_comments, wrapped
from .model import Model, Signature, Value, Variable
from .names import Scope, c_string, in_comment

C_TYPES = {
    "bool": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t",
    "int64": "int64_t", "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t",
    "uint64": "uint64_t", "float16": "uint16_t", "bfloat16": "uint16_t", "float32": "float",
    "float64": "double",
}  # fmt: skip

# Numbers and meaning as in frame.h and status.h of the runtime.
STATUSES = (
    ("OK", 0, ""),
    ("FAILED", 1, "a check of the graph failed"),
    ("NO_MEMORY", 3, "memory could not be had"),
    ("UNINITIALIZED", 17, "a variable that is read has no value"),
    ("SIZE_MISMATCH", 18, "two sizes that must be equal are not"),
    ("FEED_MISMATCH", 19, "a feed has the wrong size"),
    ("BAD_DESCRIPTION", 21, "made by a version that this runtime does not know"),
    ("BAD_SIZE", 23, "a size is negative or too large"),
    ("BAD_FILE", 24, "a file is truncated, damaged, or of another model"),
    ("IO_ERROR", 25, "the system refused to read or write a file"),
    ("BAD_ARGUMENT", 26, "a NULL pointer, a number out of range, or too little room"),
    ("ARENA_TOO_SMALL", 27, "the host's arena does not hold a run of these sizes"),
    ("UNSUPPORTED_CPU", 28, "this processor lacks what the code needs"),
)


def c_header(model: Model, build: Build) -> str:
    """The text of the header, with a program that uses it at the top."""
    guard = f"{model.prefix.upper()}_H"
    parts = [
        _opening(model, build),
        f"#ifndef {guard}\n#define {guard}\n\n#include <stddef.h>\n#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        _statuses(model),
        _constants(model),
        _types(model),
        _functions(model),
        *(_signature(model, s) for s in model.signatures),
        "#ifdef __cplusplus\n}\n#endif\n#endif",
    ]
    return "\n".join(parts) + "\n"


def example(model: Model, indent: str = "") -> str:
    """A complete C program that runs the first signature once, on zeros."""
    p, s = model.prefix, model.signatures[0]
    lines = [f'#include "{model.name}.h"', "#include <stdio.h>", "", "int main(void)", "{"]
    arguments = ["model"]
    for size in s.sizes:
        lines.append(f"    enum {{ {size.c_name} = 1 }};")
        arguments.append(size.c_name)
    for feed in s.feeds:
        lines.append(f"    static const {C_TYPES[feed.dtype]} {feed.c_name}[{_elements(feed)}];")
        arguments.append(feed.c_name)
    for output in s.outputs:
        room = "1024" if output.is_open else _elements(output)
        lines.append(f"    static {C_TYPES[output.dtype]} {output.c_name}[{room}];")
        arguments.append(output.c_name)
        if output.is_open:
            arguments += [f"(int64_t)sizeof {output.c_name}", "NULL"]
    weights = has_file(model)
    lines.append(f"    {p}_model *model;")
    if weights:
        options = f'{{.weights = "{model.name}.safetensors"}}'
        lines.append(f"    {p}_options options = {options};")
    given = "&options" if weights else "NULL"
    run = call(f"{p}_{s.c_name}", arguments, f" != {p.upper()}_OK) {{", " " * 8, WIDTH - 6)
    lines += [f"    if ({p}_create({given}, &model) != {p.upper()}_OK ||", *run]
    lines += [
        f'        fprintf(stderr, "%s\\n", {p}_message());',
        "        return 1;",
        "    }",
    ]
    for output in s.outputs[:1]:
        lines.append(f'    printf("%g\\n", (double){output.c_name}[0]);')
    lines += [f"    {p}_destroy(model);", "    return 0;", "}"]
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def has_file(model: Model) -> bool:
    """Whether weights stand in a file beside the library."""
    return any(v.value is not None and v.embedded is None for v in model.variables)


def _elements(value: Value) -> str:
    """How many elements there are when each size is 1, as a constant expression in their names; one
    at least, which is what an array of C has."""
    count = length(value)
    if not value.shape or count < 1 or any(map(_is_computed, value.shape)):
        return str(max(count, 1))
    parts = [str(dim) for dim in value.shape]
    return " * ".join(
        part if part.isidentifier() or part.isdigit() else f"({part})" for part in parts
    )


def length(value: Value) -> int:
    """How many elements there are when each size is 1, of a value that is not open."""
    known = [dim for dim in value.shape if dim is not None]
    return math.prod(evaluate(dim, dict.fromkeys(symbols_of(dim), 1)) for dim in known)


def _is_computed(dim) -> bool:
    """Whether it takes more than sums and products, which are written as in C."""
    if isinstance(dim, int):
        return False
    return any(
        isinstance(atom, (FloorDiv, Maximum, Minimum)) for row, _ in dim.terms for atom in row
    )


def described(tensor: Value | Variable) -> str:
    """Dtype and shape, for comments."""
    return f"{tensor.dtype}[{tensor.shape_text}]"


def _opening(model: Model, build: Build) -> str:
    weights = f" ({model.name}.safetensors, beside it, has the variables)" * has_file(model)
    command = build.c_host("host.c", "host")
    text = (
        f"Every function that can fail returns a status; {model.prefix}_message() then says what "
        "was wrong. A call that failed has changed no variable. Many threads may use one model at "
        "once: runs that write variables take turns, all others go side by side. Results do not "
        "depend on the number of threads. Arrays lie in C order. Outputs must not overlap feeds."
    )
    return "\n".join([
        f"/* {model.name}: a compiled graph, for C and C++ programs.",
        " *",
        f" * A complete program{weights}:",
        " *",
        commented(example(model, "    ")),
        " *",
        " * One command makes a program of it, in the folder of this file:",
        " *",
        f" *    {command}",
        " *",
        *(f" * {line}" for line in wrapped(text, 96)),
        " *",
        f" * Written by graphflow. Content {model.hash[:16]}, for {model.triple}.",
        " */",
    ])  # fmt: skip


def commented(text: str) -> str:
    return "\n".join(f" *{line}" if line.strip() else " *" for line in text.splitlines())


def _statuses(model: Model) -> str:
    rows = [(f"{model.prefix.upper()}_{name} = {number},", text) for name, number, text in STATUSES]
    lines = "\n".join(with_comments(rows))
    return f"/* What the functions return. */\nenum {{\n{lines}\n}};\n"


def _constants(model: Model) -> str:
    upper, p = model.prefix.upper(), model.prefix
    scope = Scope([f"{upper}_{name}" for name, _, _ in STATUSES])
    scope.taken |= {
        f"{upper}_{name}" for name in ("H", "VERSION", "HASH", "WEIGHTS_BYTES", "VARIABLES")
    }
    lines = [
        "/* The graphflow that exported it. Exports of the two minor versions before a runtime's",
        " * own go on working with it. */",
        f"#define {upper}_VERSION {c_string(__version__)}",
        f'#define {upper}_HASH "{model.hash}"',
        f"#define {upper}_WEIGHTS_BYTES INT64_C({model.weights_bytes})",
        f"#define {upper}_VARIABLES {len(model.variables)}",
    ]
    if model.variables:
        rows = [
            (f"{scope.name(f'{upper}_{v.c_name.upper()}')} = {i},",
             f"{described(v)} {in_comment(v.name)}")
            for i, v in enumerate(model.variables)
        ]  # fmt: skip
        lines.append(f"\n/* The variables, for {p}_get and {p}_set. */")
        lines += ["enum {", *with_comments(rows), "};"]
    for s in model.signatures:
        head = f"{upper}_{s.c_name.upper()}"
        lines.append("")
        for value in (*s.feeds, *s.outputs):
            name = f"{head}_{value.c_name.upper()}"
            while f"{name}_NAME" in scope.taken:
                name += "_"
            scope.taken.add(f"{name}_NAME")
            lines.append(f"#define {name}_NAME {c_string(value.name)}")
            lines.append(f'#define {name}_DTYPE "{value.dtype}"')
            lines.append(f"#define {name}_SHAPE {c_string(f'[{value.shape_text}]')}")
            lines.append(f"#define {name}_RANK {len(value.dims)}")
            if value.elements is not None:
                lines.append(f"#define {name}_ELEMENTS INT64_C({value.elements})")
        arena = arena_bytes(model, s)
        if arena is not None:
            lines.append("/* The most that the arena of a run takes, whatever the processor. */")
            lines.append(f"#define {scope.name(f'{head}_ARENA_BYTES')} INT64_C({arena})")
    return "\n".join(lines) + "\n"


def arena_bytes(model: Model, signature: Signature) -> int | None:
    """Of a run, where no size has to be known; the largest of all instruction sets."""
    number = model.signatures.index(signature)
    ends = [0]
    for compiled in model.steps.steps[number]:
        for b in compiled.description.buffers:
            if b.bytes < 0 or b.offset < 0:
                return None
            ends.append(b.offset + -(-b.bytes // 64) * 64)
    return max(ends)


def _types(model: Model) -> str:
    p = model.prefix
    known = f"one of {', '.join(v.name for v in model.variants)}; NULL: the best this processor has"
    rows = with_comments([
        ("const char *weights;", "a file to load the variables from; NULL: none"),
        ("const char *instruction_set;", known),
    ])  # fmt: skip
    files = "\n".join(rows)
    return f"""typedef struct {p}_model {p}_model;

/* How a model is to run. All zero is a sound choice, and what NULL stands for. */
typedef struct {p}_options {{
    int32_t threads; /* that work on one run, the caller among them; 0: one for each processor */
    int32_t reserved;
    /* The host's own threads instead of the model's: `parallel` calls task(data, i) for each i in
     * [0, tasks), in any order and on any threads, and returns when all of them have returned.
     * `threads` says how many there are. */
    void (*parallel)(void *pool, int32_t tasks, void (*task)(void *data, int32_t index),
                     void *data);
    void *pool;
    /* Memory for what lives during a run, aligned to 64 bytes, which stays the host's; runs then
     * take turns. NULL: each run under way has memory of its own, which the model keeps. */
    void *arena;
    int64_t arena_bytes;
{files}
}} {p}_options;
"""


def _functions(model: Model) -> str:
    p = model.prefix
    model_ = f"{p}_model *model"
    dims = "int64_t *dims"
    rows = [
        ("Makes a model. `options` may be NULL. After a failure, *model is NULL.",
         f"int32_t {p}_create", [f"const {p}_options *options", f"{p}_model **model"]),
        ("No call may be under way. NULL is allowed.", f"void {p}_destroy", [model_]),
        ("What was wrong in this thread's last call that failed; valid until its next one.",
         f"const char *{p}_message", ["void"]),
        ("The instruction set that was chosen.",
         f"const char *{p}_instruction_set", [f"const {model_}"]),
        ("Copies the value of a variable to `data`, which has room for `bytes`. `dims`, unless "
         "NULL, gets its shape, also where there is too little room.",
         f"int32_t {p}_get",
         [model_, "int32_t variable", "void *data", "int64_t bytes", dims]),
        ("Gives a variable a value; `dims` NULL: of its declared shape.",
         f"int32_t {p}_set",
         [model_, "int32_t variable", "const void *data", "int64_t bytes", f"const {dims}"]),
        ("Writes all variables to a safetensors file, as they are at one moment. A failed save "
         "leaves the file that was there.",
         f"int32_t {p}_save", [model_, "const char *path"]),
        ("Gives all variables the values in a safetensors file, at one moment: runs under way end "
         "with the old ones, those that begin later have the new ones.",
         f"int32_t {p}_load", [model_, "const char *path"]),
    ]  # fmt: skip
    lines: list[str] = []
    for text, head, parameters in rows:
        lines += [*block_comment(text), *call(head, parameters, ";"), ""]
    lines.append("/* What the library is, for graphflow/model.h. */")
    lines.append(f"extern const struct gf_model_spec {p}_spec;\n")
    return "\n".join(lines)


def _parameters(s: Signature) -> list[str]:
    found = [f"int64_t {size.c_name}" for size in s.sizes]
    found += [f"const {C_TYPES[f.dtype]} *{f.c_name}" for f in s.feeds]
    for o in s.outputs:
        found.append(f"{C_TYPES[o.dtype]} *{o.c_name}")
        if o.is_open:
            found += [f"int64_t {o.c_name}_bytes", f"int64_t *{o.c_name}_dims"]
    return found


def _signature(model: Model, s: Signature) -> str:
    p, name = model.prefix, in_comment(s.name)
    lines = [f"/* {name}"]
    for size in s.sizes:
        first, *more = wrapped(f"{size.c_name}: size of {in_comment(size.where)}", 92)
        lines += [f" *   {first}", *(f" *     {line}" for line in more)]
    lines += [f" *   {f.c_name}: {described(f)}, fed" for f in s.feeds]
    for o in s.outputs:
        lines.append(f" *   {o.c_name}: {described(o)}, filled; NULL: not wanted")
        if o.is_open:
            lines.append(f" *   {o.c_name}_bytes: the room there is")
            lines.append(f" *   {o.c_name}_dims: gets its shape, also where there is too little")
            lines.append(" *     room; NULL: not wanted")
    if len(lines) == 1:
        lines[0] += " */"
    else:
        lines.append(" */")
    sizes = [f"int64_t {size.c_name}" for size in s.sizes]

    def declaration(suffix: str, parameters: list[str]) -> list[str]:
        head = f"int32_t {p}_{s.c_name}{suffix}"
        return call(head, [f"{p}_model *model", *parameters], ";")

    return "\n".join([
        *lines,
        *declaration("", _parameters(s)),
        "",
        *block_comment(
            f"Provides all memory for `runs` runs of {name} at a time, so that none asks for any."
        ),
        *declaration("_reserve", [*sizes, "int32_t runs"]),
        "",
        "/* How large the arena of such a run is. */",
        *declaration("_arena_bytes", [*sizes, "int64_t *bytes"]),
        "",
    ])  # fmt: skip


__all__ = [
    "C_TYPES", "STATUSES", "arena_bytes", "c_header", "commented", "described", "example",
    "has_file", "length",
]  # fmt: skip
