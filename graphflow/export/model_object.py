"""The object that makes a library of compiled steps: what the model is (gf_model_spec of
native/include/graphflow/model.h), and the functions under its own name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..codegen.target import Target
from ..dtypes import as_dtype
from ..runtime import ABI_VERSION, OUTPUT_SOURCES, Description
from ..version import __version__
from . import constants as c
from .model import COMPUTED, Model, Signature, Variable
from .steps import Compiled

FORM = 1  # GF_MODEL_FORM
NUMBERS = {
    "bool": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "uint8": 6, "uint16": 7, "uint32": 8,
    "uint64": 9, "float16": 10, "bfloat16": 11, "float32": 12, "float64": 13, "complex64": 14,
    "complex128": 15,
}  # fmt: skip  # enum gf_dtype
_INLINE = 1024  # bytes; larger constants go to an object of data
_DECLARATIONS = """
declare i32 @gf_model_create(ptr, ptr, ptr)
declare void @gf_model_destroy(ptr)
declare ptr @gf_message()
declare ptr @gf_model_instruction_set(ptr)
declare i32 @gf_model_run(ptr, i32, ptr, ptr, ptr)
declare i32 @gf_model_reserve(ptr, i32, ptr, i32)
declare i32 @gf_model_arena_bytes(ptr, i32, ptr, ptr)
declare i32 @gf_model_get(ptr, i32, ptr, i64, ptr)
declare i32 @gf_model_set(ptr, i32, ptr, i64, ptr)
declare i32 @gf_model_save(ptr, ptr)
declare i32 @gf_model_load(ptr, ptr)
"""
# Functions of the runtime that a model's own functions call.
RUNTIME = tuple(re.findall(r"@(\w+)", _DECLARATIONS))


@dataclass
class Blobs:
    """Data that stands outside of the text, once for each content."""

    prefix: str
    named: dict[str, bytes] = field(default_factory=dict)
    known: dict[bytes, str] = field(default_factory=dict)

    def name(self, data: bytes) -> str:
        found = self.known.get(data)
        if found is None:
            found = self.known[data] = f"{self.prefix}_data_{len(self.known)}"
            self.named[found] = data
        return f"@{found}"


class ModelText:
    """Writes the module. `functions` are the names others may call."""

    def __init__(self, model: Model, target: Target):
        self.model, self.target = model, target
        self.constants = c.Constants()
        self.blobs = Blobs(model.prefix)
        self.functions = [f"{model.prefix}_spec"]
        self.bodies: list[str] = []

    def write(self, whole: bool) -> str:
        """The text of the module. `whole`: data is in it, instead of in an object of its own."""
        self.spec()
        self.common_functions()
        for number, signature in enumerate(self.model.signatures):
            self.signature_functions(number, signature)
        steps = [step for row in self.model.steps.steps for step in row]
        declared = [f"declare hidden i32 @{s.names[1]}(ptr)" for s in steps]
        declared += [f"declare hidden void @{s.names[0]}(ptr, ptr)" for s in steps]
        for name, data in self.blobs.named.items():
            type_ = f"[{len(data)} x i8]"
            found = f"hidden constant {type_} {c.data_text(data)}" if whole else ""
            declared.append(f"@{name} = {found or f'external hidden constant {type_}'}, align 64")
        head = f'target triple = "{self.target.triple}"\n'
        parts = [head, *declared, *self.constants.lines, _DECLARATIONS, *self.bodies, _ATTRIBUTES]
        return "\n".join(parts)

    # -- data ---------------------------------------------------------------------------------

    def bytes(self, data: bytes) -> str:
        if not data:
            return c.NULL
        return self.constants.data(data) if len(data) <= _INLINE else self.blobs.name(data)

    def spec(self) -> None:
        model, k = self.model, self.constants
        variants = []
        for position, variant in enumerate(model.variants):
            steps = [self.step(row[position]) for row in model.steps.steps]
            row = (k.text(variant.name), variant.features, k.array(c.STEP, steps))
            variants.append(row)
        k.public(f"{model.prefix}_spec", c.MODEL, (
            FORM, ABI_VERSION, k.text(model.name), k.text(__version__),
            k.text(self.target.triple), k.text(model.hash),
            k.array(c.VARIABLE, [self.variable(v) for v in model.variables]),
            k.array(c.SIGNATURE, [self.signature(s) for s in model.signatures]),
            k.array(c.VARIANT, variants),
            len(model.variables), len(model.signatures), len(variants), 0, model.weights_bytes,
        ))  # fmt: skip

    def tensor(self, name: str, dtype: str, dims: Sequence[int], text: str) -> tuple:
        k = self.constants
        shape = k.array("i64", dims)
        return (k.text(name), k.text(text), shape, NUMBERS[dtype], len(dims))

    def variable(self, v: Variable) -> tuple:
        dims = [COMPUTED if d is None else d for d in v.shape]
        value = c.NULL if v.embedded is None else self.bytes(v.embedded or b"\0")  # NULL: none
        return (self.tensor(v.name, v.dtype, dims, v.shape_text), value, int(v.optional), 0)

    def signature(self, s: Signature) -> tuple:
        k = self.constants
        tensors = [
            k.array(c.TENSOR, [self.tensor(t.name, t.dtype, t.dims, t.shape_text) for t in row])
            for row in (s.feeds, s.outputs)
        ]
        counts = (len(s.sizes), len(s.feeds), len(s.outputs), len(s.symbols))
        sizes = k.texts([size.name for size in s.sizes])
        return (k.text(s.name), sizes, *tensors, k.array("i64", s.symbols), *counts)

    def step(self, compiled: Compiled) -> tuple:
        k, d = self.constants, compiled.description
        sites = [_site_text(compiled, row) for row in d.notes["sites"]]
        checks = [_check_text(row) for row in compiled.step.program.constraints]
        return (
            self.description(d), f"@{compiled.names[0]}", f"@{compiled.names[1]}",
            k.texts(sites), k.texts(checks), len(sites), len(checks),
        )  # fmt: skip

    def description(self, d: Description) -> str:
        k = self.constants
        arrays = (
            (c.FEED, [(f.pointer, self.shape(f.dtype, f.dims, f.binds)) for f in d.feeds]),
            (None, d.value_binds),
            (c.CONSTANT, [(v.pointer, self.bytes(v.value.tobytes())) for v in d.constants]),
            (c.STATE, [
                (s.slot, s.pointer_in, s.pointer_out, int(s.in_place),
                 self.shape(s.dtype, s.dims, s.binds)) for s in d.states
            ]),
            (c.OUTPUT, [
                (o.pointer, OUTPUT_SOURCES.index(o.source), o.index, self.shape(o.dtype, o.dims),
                 int(o.late)) for o in d.outputs
            ]),
            (c.BUFFER, [
                (b.pointer, b.alias_of, b.bytes, b.first, b.last, b.offset) for b in d.buffers
            ]),
            (c.LATE, [(b.pointer, b.bytes) for b in d.late]),
            (c.STACK, [(s.pointer, s.row_bytes) for s in d.stacks]),
            ("i32", list(d.rows)),
            (c.KEPT, [(b.pointer, b.bytes) for b in d.kept]),
            ("i32", list(d.prepares_from)),
            (c.CHECK, [(check.a, check.b, check.message) for check in d.checks]),
        )  # fmt: skip
        assert not d.value_binds, "the compiler binds sizes from shapes alone"
        counts = [len(rows) for _, rows in arrays]
        pointers = [c.NULL if kind is None else k.array(kind, rows) for kind, rows in arrays]
        head = (d.symbol_count, d.late_count, d.value_count, d.moments)
        return k.one(c.DESCRIPTION, (*head, *counts, *pointers, d.outside_bytes, 0))

    def shape(self, dtype: str, dims: Sequence[int], binds: Sequence[int] | None = None) -> tuple:
        k = self.constants
        return (
            as_dtype(dtype).bytes, len(dims), k.array("i64", dims),
            c.NULL if binds is None else k.array("i32", binds),
        )  # fmt: skip

    # -- functions ----------------------------------------------------------------------------

    def function(self, name: str, result: str, parameters: Sequence[str], body: Sequence[str]):
        full = f"{self.model.prefix}_{name}"
        self.functions.append(full)
        head = f"define {result} @{full}({', '.join(parameters)}) #0 {{"
        self.bodies.append("\n".join([head, *(f"  {line}" for line in body), "}"]))

    def forward(
        self, name: str, result: str, callee: str, *parameters: str, first: str = ""
    ) -> None:
        """A function that passes its arguments on, after `first`."""
        named = [f"{kind} %a{i}" for i, kind in enumerate(parameters)]
        arguments = ", ".join([first, *named] if first else named)
        call = f"tail call {result} @{callee}({arguments})"
        if result == "void":
            self.function(name, result, named, [call, "ret void"])
        else:
            self.function(name, result, named, [f"%r = {call}", f"ret {result} %r"])

    def common_functions(self) -> None:
        spec = f"ptr @{self.model.prefix}_spec"
        self.forward("create", "i32", "gf_model_create", "ptr", "ptr", first=spec)
        self.forward("destroy", "void", "gf_model_destroy", "ptr")
        self.forward("message", "ptr", "gf_message")
        self.forward("instruction_set", "ptr", "gf_model_instruction_set", "ptr")
        self.forward("get", "i32", "gf_model_get", "ptr", "i32", "ptr", "i64", "ptr")
        self.forward("set", "i32", "gf_model_set", "ptr", "i32", "ptr", "i64", "ptr")
        self.forward("save", "i32", "gf_model_save", "ptr", "ptr")
        self.forward("load", "i32", "gf_model_load", "ptr", "ptr")

    def signature_functions(self, number: int, s: Signature) -> None:
        sizes = [f"i64 %s{i}" for i in range(len(s.sizes))]
        spread = _array("%sizes", "i64", sizes)
        feeds = [f"ptr %f{i}" for i in range(len(s.feeds))]
        fed = _array("%feeds", "{ptr, ptr}", feeds)
        outputs: list[str] = []
        results: list[str] = []
        for i, output in enumerate(s.outputs):
            outputs.append(f"ptr %o{i}")
            results += [f"ptr %o{i}", f"i64 %b{i}" if output.is_open else "i64 9223372036854775807"]
            results.append(f"ptr %d{i}" if output.is_open else "ptr null")
            if output.is_open:
                outputs += [f"i64 %b{i}", f"ptr %d{i}"]
        given = _array("%results", "{ptr, i64, ptr}", results, 3)
        arguments = f"ptr %model, i32 {number}, ptr %sizes, ptr %feeds, ptr %results"
        self.function(s.c_name, "i32", ["ptr %model", *sizes, *feeds, *outputs], [
            *spread, *fed, *given, f"%r = call i32 @gf_model_run({arguments})", "ret i32 %r",
        ])  # fmt: skip
        head = f"ptr %model, i32 {number}, ptr %sizes"
        self.function(f"{s.c_name}_reserve", "i32", ["ptr %model", *sizes, "i32 %runs"], [
            *spread, f"%r = call i32 @gf_model_reserve({head}, i32 %runs)", "ret i32 %r",
        ])  # fmt: skip
        self.function(f"{s.c_name}_arena_bytes", "i32", ["ptr %model", *sizes, "ptr %bytes"], [
            *spread, f"%r = call i32 @gf_model_arena_bytes({head}, ptr %bytes)", "ret i32 %r",
        ])  # fmt: skip


def _array(name: str, kind: str, values: Sequence[str], fields: int = 0) -> list[str]:
    """Instructions that make an array of values on the stack. `fields`: how many values an element
    has of which each is stored; 0: one, and whatever else it has is null."""
    count = len(values) // fields if fields else len(values)
    lines = [f"{name} = alloca [{max(1, count)} x {kind}], align 8"]
    structured = kind.startswith("{")
    parts = kind.strip("{}").split(", ")
    for i in range(count):
        row = list(values[i * fields : (i + 1) * fields]) if fields else [values[i]]
        if structured:
            row += [f"{part} null" for part in parts[len(row) :]]
        for j, value in enumerate(row):
            path = f", i32 {j}" if structured else ""
            place = f"{name}.{i}.{j}"
            lines.append(f"{place} = getelementptr {kind}, ptr {name}, i64 {i}{path}")
            lines.append(f"store {value}, ptr {place}")
    return lines


def _site_text(compiled: Compiled, row: Mapping) -> str:
    """A check's message, and which operation it belongs to: lines of the exporting machine's files
    mean nothing to a host."""
    names = [compiled.step.origins[i] for i in row["origins"][:1]]
    return row["message"] + "".join(f" ({o.name}, {o.op})" for o in names)


def _check_text(row) -> str:
    _, origins = row
    return ", ".join(dict.fromkeys(f"{origin.name} needs it" for origin in origins[:2]))


_ATTRIBUTES = "\nattributes #0 = { nounwind }\n"

__all__ = ["NUMBERS", "RUNTIME", "ModelText"]
