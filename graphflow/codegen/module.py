"""One LLVM module being written: kernels, their outlined bodies, what they share."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..dtypes import DType
from ..loop import nodes as loop
from ..loop.signature import Signature, Signatures
from . import math
from .cpu import Emitter
from .cpu_analysis import Analysis
from .cpu_blocks import Function
from .cpu_registers import NeedsMemory
from .cpu_values import Value, type_of
from .layout import Layout
from .target import Target

# A long operator is written in place for its first uses, which are the hot ones of small programs,
# and called from then on: a vector call costs a few nanoseconds, selecting its instructions again
# some milliseconds.
_USES_IN_PLACE = 8
_LONG = 16  # statements


class Module:
    """Collects the functions of one object. `written` is called after each of them: those that it
    calls are there by then."""

    def __init__(self, target: Target, written: Callable[[], None] = lambda: None):
        self.target, self.written = target, written
        self.layout = Layout.of(target.pointer_bytes)
        self.functions: list[str] = []
        self._taken = 0  # functions that are in a piece
        self.pending = 0  # bytes that were written since the last piece
        self.versions = 0  # counts changes of memory, over all kernels
        self._names: dict[str, int] = {}
        self.signatures = Signatures()
        self.bodies: dict[Signature, str] = {}  # functions of parallel bodies
        self._kernels: dict[int, str] = {}  # functions of kernels, by number
        self._invoked: dict[int, str] = {}
        self._uses: dict[tuple[str, DType, int], int] = {}
        self._operators: dict[tuple[str, DType, int], str] = {}

    def unique(self, name: str) -> str:
        """A name of its own for a function."""
        clean = "".join(c if c.isalnum() or c in "_.$" else "_" for c in name)
        number = self._names.get(clean)
        self._names[clean] = 0 if number is None else number + 1
        return clean if number is None else f"{clean}.{number + 1}"

    def add(self, function: Function) -> None:
        self.functions.append(function.text())
        self.pending += len(self.functions[-1])
        self.written()

    def kernel(self, kernel: loop.Kernel, name: str, linkage: str = "internal ") -> str:
        """Writes a kernel; returns the name of its function:

        void(frame, a pointer a buffer, sizes in the order of kernel.sizes(), scalars)
        """
        name = self.unique(name)
        demoted: set[int] = set()
        while True:
            analysis = Analysis(kernel, self.target, demoted)
            try:
                Emitter(self, kernel, name, self.target, analysis).run(linkage)
                return name
            except NeedsMemory as need:
                demoted.add(id(need.local))

    def launched(self, kernel: loop.Kernel) -> str:
        """The function of a kernel that the step launches, one for all that are the same."""
        number = self.signatures.number(kernel)
        if number not in self._kernels:
            self._kernels[number] = self.kernel(kernel, f"kernel.{kernel.name}")
        return self._kernels[number]

    def invoked(self, kernel: loop.Kernel) -> str:
        """The function of a kernel that others call, written when first asked for."""
        number = self.signatures.number(kernel)
        if number not in self._invoked:
            name = self.kernel(kernel, f"invoked.{kernel.name}", "internal fastcc ")
            self._invoked[number] = name
        return self._invoked[number]

    def template(self, e: Emitter, op: str, values: list[Value], dtype: DType) -> Value:
        """An operator that is itself written in Loop IR: in place, or a call of its function."""
        found = math.template(op, values[0].dtype)
        key = op, values[0].dtype, values[0].lanes
        uses = self._uses[key] = self._uses.get(key, 0) + 1
        if uses > _USES_IN_PLACE and len(found.body) > _LONG:
            if key not in self._operators:
                self._operators[key] = self._operator(found, *key)
            return e.f.call(self._operators[key], found.result.dtype, *values, convention="fastcc ")
        return _in_place(e, found, values)

    def _operator(self, found: math.Template, op: str, dtype: DType, lanes: int) -> str:
        """Writes the function of an operator on vectors of so many lanes, or scalars."""
        kernel = loop.Kernel(op, (), ())
        name = self.unique(f"operator.{op}.{dtype}.{lanes}")
        e = Emitter(self, kernel, name, self.target, Analysis(kernel, self.target, set()))
        values = [Value(f"%{p.name}", dtype, lanes) for p in found.parameters]
        parameters = [value.typed for value in values]
        result = type_of(found.result.dtype, lanes)
        e.f = Function(name, result, parameters, "internal fastcc ")
        e.lanes = lanes
        e.f.do(f"ret {_in_place(e, found, values).typed}")
        self.add(e.f)
        return name

    def piece(self) -> str:
        """What was written since the last piece, as the text of an LLVM module of its own. Pieces
        see each other's functions: what this one calls of those before, it declares."""
        body = "\n".join(self.functions[self._taken :])
        if self._taken:
            called = set(_CALLED.findall(body)) - set(_DEFINED.findall(body))
            heads = (function.split("{", 1)[0] for function in self.functions[: self._taken])
            declared = (head for head in heads if _CALLED.search(head)[1] in called)  # type: ignore[index]
            body = "".join(map(_declaration, declared)) + body
        self._taken, self.pending = len(self.functions), 0
        return self._whole(body.replace("define internal ", "define hidden "))

    def text(self) -> str:
        """Everything, in one LLVM module."""
        return self._whole("\n".join(self.functions))

    def _whole(self, body: str) -> str:
        head = f'target triple = "{self.target.triple}"\n\n'
        return head + body + _TAIL


_TAIL = """
attributes #0 = { nounwind }
attributes #1 = { nounwind noinline optnone }
!0 = !{!"branch_weights", i32 1, i32 100000}
"""
_CALLED = re.compile(r"@((?!llvm\.)[\w.$]+)")
_DEFINED = re.compile(r"^define [^@]*@([\w.$]+)", re.MULTILINE)


def _declaration(head: str) -> str:
    """The declaration of a function whose definition begins so."""
    return head.replace("define internal ", "declare hidden ").replace(" #1", " #0").rstrip() + "\n"


def _in_place(e: Emitter, found: math.Template, values: list[Value]) -> Value:
    saved = e.lanes, e.mask, e.tail, e.used
    if not values[0].lanes:
        e.lanes, e.mask, e.tail, e.used = 0, None, None, 0
    for parameter, value in zip(found.parameters, values, strict=True):
        e.vars[id(parameter)] = value
    e.block(found.body)
    result = e.eval(found.result)
    assert isinstance(result, Value)
    e.lanes, e.mask, e.tail, e.used = saved
    return result
