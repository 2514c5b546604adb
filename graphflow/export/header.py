"""NAME.h: the C99 header of one model."""

from __future__ import annotations

from .model import Model, Signature, Value

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
    ("BAD_DESCRIPTION", 21, "the library was made by a version this runtime does not know"),
    ("BAD_SIZE", 23, "a size is negative or too large"),
    ("BAD_FILE", 24, "a file is truncated, damaged, or of another model"),
    ("IO_ERROR", 25, "the system refused to read or write a file"),
    ("BAD_ARGUMENT", 26, "a pointer is NULL, a number out of range, or there is too little room"),
    ("ARENA_TOO_SMALL", 27, "the host's arena does not hold a run of these sizes"),
    ("UNSUPPORTED_CPU", 28, "this processor lacks what the code needs"),
)


def c_header(model: Model) -> str:
    """The text of the header, with a program that uses it at the top."""
    guard = f"{model.prefix.upper()}_H"
    parts = [
        _opening(model),
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
            arguments += [f"sizeof {output.c_name}", "NULL"]
    weights = has_file(model)
    lines.append(f"    {p}_model *model;")
    if weights:
        options = f'{{.weights = "{model.name}.safetensors"}}'
        lines.append(f"    {p}_options options = {options};")
    given = "&options" if weights else "NULL"
    lines += [
        f"    if ({p}_create({given}, &model) != {p.upper()}_OK ||",
        f"        {p}_{s.c_name}({', '.join(arguments)}) != {p.upper()}_OK) {{",
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
    """How many elements, as a C expression in the names of the sizes."""
    factors = [f"({part})" if not part.isalnum() else part for part in value.shape_text.split(",")]
    return " * ".join(factors) if value.shape_text else "1"


def _opening(model: Model) -> str:
    weights = f"{model.name}.safetensors, beside the program," if has_file(model) else ""
    return f"""/* {model.name}: a compiled graph, for C and C++ programs.
 *
 * A complete program{f" ({weights} has the variables)" if weights else ""}:
 *
{_commented(example(model, "    "))}
 *
 * Every function that can fail returns a status; {model.prefix}_message() then says what was wrong.
 * A call that failed has changed no variable. Many threads may use one model at once: runs that
 * write variables take turns, all others go side by side. Results do not depend on the number of
 * threads. Arrays lie in C order. Outputs must not overlap feeds.
 *
 * Written by graphflow. Content {model.hash[:16]}, for {model.triple}.
 */"""


def _commented(text: str) -> str:
    return "\n".join(f" *{line}" if line.strip() else " *" for line in text.splitlines())


def _statuses(model: Model) -> str:
    lines = []
    for name, number, meaning in STATUSES:
        comment = f" /* {meaning} */" if meaning else ""
        lines.append(f"    {model.prefix.upper()}_{name} = {number},{comment}")
    return f"/* What the functions return. */\nenum {{\n{chr(10).join(lines)}\n}};\n"


def _constants(model: Model) -> str:
    upper = model.prefix.upper()
    lines = [
        f'#define {upper}_HASH "{model.hash}"',
        f"#define {upper}_WEIGHTS_BYTES INT64_C({model.weights_bytes})",
    ]
    if model.variables:
        rows = []
        for i, v in enumerate(model.variables):
            kind = f"{v.dtype}[{v.shape_text}] {v.name}"
            rows.append(f"    {upper}_{v.c_name.upper()} = {i}, /* {kind} */")
        body = "\n".join(rows)
        lines.append(f"\n/* The variables, for {model.prefix}_get and {model.prefix}_set. */")
        lines.append(f"enum {{\n{body}\n}};")
        lines.append(f"#define {upper}_VARIABLES {len(model.variables)}")
    for s in model.signatures:
        rows = []
        for value in (*s.feeds, *s.outputs):
            name = f"{upper}_{s.c_name.upper()}_{value.c_name.upper()}"
            rows.append(f'#define {name}_NAME "{value.name}"')
            rows.append(f'#define {name}_DTYPE "{value.dtype}"')
            rows.append(f'#define {name}_SHAPE "[{value.shape_text}]"')
            rows.append(f"#define {name}_RANK {len(value.dims)}")
            if all(d >= 0 for d in value.dims):
                product = 1
                for d in value.dims:
                    product *= d
                rows.append(f"#define {name}_ELEMENTS {product}")
        arena = arena_bytes(model, s)
        if arena is not None:
            name = f"{upper}_{s.c_name.upper()}_ARENA_BYTES"
            rows.append("/* The most that the arena of a run takes, whatever the processor. */")
            rows.append(f"#define {name} INT64_C({arena})")
        lines.append("\n" + "\n".join(rows))
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
    const char *weights; /* a file to load the variables from; NULL: none */
    /* One of {", ".join(v.name for v in model.variants)}; NULL: the best this processor has. */
    const char *instruction_set;
}} {p}_options;
"""


def _functions(model: Model) -> str:
    p = model.prefix
    return f"""/* Makes a model. `options` may be NULL. After a failure, *model is NULL. */
int32_t {p}_create(const {p}_options *options, {p}_model **model);

/* No call may be under way. NULL is allowed. */
void {p}_destroy({p}_model *model);

/* What was wrong in this thread's last call that failed; valid until its next one. */
const char *{p}_message(void);

/* The instruction set that was chosen. */
const char *{p}_instruction_set(const {p}_model *model);

/* Copies the value of a variable to `data`, which has room for `bytes`. `dims`, unless NULL, gets
 * its shape. */
int32_t {p}_get({p}_model *model, int32_t variable, void *data, int64_t bytes, int64_t *dims);

/* Gives a variable a value; `dims` NULL: of its declared shape. */
int32_t {p}_set({p}_model *model, int32_t variable, const void *data, int64_t bytes,
    const int64_t *dims);

/* Writes all variables to a safetensors file, as they are at one moment. A failed save leaves the
 * file that was there. */
int32_t {p}_save({p}_model *model, const char *path);

/* Gives all variables the values in a safetensors file, at one moment: runs under way end with the
 * old ones, those that begin later have the new ones. */
int32_t {p}_load({p}_model *model, const char *path);

/* What the library is, for graphflow/model.h. */
extern const struct gf_model_spec {p}_spec;
"""


def _parameters(s: Signature) -> list[str]:
    found = [f"int64_t {size.c_name}" for size in s.sizes]
    found += [f"const {C_TYPES[f.dtype]} *{f.c_name}" for f in s.feeds]
    for o in s.outputs:
        found.append(f"{C_TYPES[o.dtype]} *{o.c_name}")
        if o.is_open:
            found += [f"int64_t {o.c_name}_bytes", f"int64_t *{o.c_name}_dims"]
    return found


def _signature(model: Model, s: Signature) -> str:
    p = model.prefix
    rows = [f" *   {size.c_name}: size of {size.where}" for size in s.sizes]
    rows += [f" *   {f.c_name}: {f.dtype}[{f.shape_text}], fed" for f in s.feeds]
    for o in s.outputs:
        more = ", NULL: not wanted"
        if o.is_open:
            more = (
                f": {o.c_name}_bytes is the room there is, {o.c_name}_dims (NULL: not wanted) "
                "gets its shape"
            )
        rows.append(f" *   {o.c_name}: {o.dtype}[{o.shape_text}], filled{more}")
    text = "\n".join(rows) + "\n" if rows else ""
    sizes = [f"int64_t {size.c_name}" for size in s.sizes]

    def declaration(name: str, parameters: list[str]) -> str:
        return f"int32_t {p}_{name}({', '.join([f'{p}_model *model', *parameters])});"

    return f"""/* {s.name}
{text} */
{declaration(s.c_name, _parameters(s))}

/* Provides all memory for `runs` runs of {s.name} at a time, so that none has to ask for any. */
{declaration(f"{s.c_name}_reserve", [*sizes, "int32_t runs"])}

/* How large the arena of such a run is. */
{declaration(f"{s.c_name}_arena_bytes", [*sizes, "int64_t *bytes"])}
"""


__all__ = ["C_TYPES", "STATUSES", "arena_bytes", "c_header", "example", "has_file"]
