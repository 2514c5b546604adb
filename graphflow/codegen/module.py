"""One LLVM module being written: kernels, their outlined bodies, what they share."""

from __future__ import annotations

from ..dtypes import DType
from ..loop import nodes as loop
from . import math
from .cpu import Emitter, NeedsMemory
from .cpu_analysis import Analysis
from .cpu_blocks import Function
from .cpu_values import Value
from .target import Target


class Module:
    """Collects the functions of one object."""

    def __init__(self, target: Target):
        self.target = target
        self.functions: list[str] = []
        self.versions = 0  # counts changes of memory, over all kernels
        self._names: dict[str, int] = {}
        self._invoked: dict[int, tuple[loop.Kernel, str]] = {}

    def unique(self, name: str) -> str:
        """A name of its own for a function."""
        clean = "".join(c if c.isalnum() or c in "_.$" else "_" for c in name)
        number = self._names.get(clean)
        self._names[clean] = 0 if number is None else number + 1
        return clean if number is None else f"{clean}.{number + 1}"

    def add(self, function: Function) -> None:
        self.functions.append(function.text())

    def kernel(self, kernel: loop.Kernel, name: str, linkage: str = "internal ") -> str:
        """Writes a kernel; returns the name of its function:

        void(frame, a pointer a buffer, sizes in the order of kernel.sizes(), scalars)
        """
        name = self.unique(name)
        demoted: set[int] = set()
        while True:
            written = len(self.functions)
            analysis = Analysis(kernel, self.target, demoted)
            try:
                Emitter(self, kernel, name, self.target, analysis).run(linkage)
                return name
            except NeedsMemory as need:
                del self.functions[written:]
                demoted.add(id(need.local))

    def invoked(self, kernel: loop.Kernel) -> str:
        """The function of a kernel that others call, written when first asked for."""
        found = self._invoked.get(id(kernel))
        if found is None:
            name = self.kernel(kernel, f"invoked.{kernel.name}", "internal fastcc ")
            found = self._invoked[id(kernel)] = (kernel, name)
        return found[1]

    def template(self, e: Emitter, op: str, values: list[Value], dtype: DType) -> Value:
        """An operator that is itself written in Loop IR, in place."""
        found = math.template(op, values[0].dtype)
        saved = e.lanes, e.mask, e.tail, e.used
        if not values[0].lanes:
            e.lanes, e.mask, e.tail, e.used = 0, None, None, 0
        for parameter, value in zip(found.parameters, values, strict=True):
            e.vars[id(parameter)] = value
        e.block(found.body)
        result = e.eval(found.result)
        e.lanes, e.mask, e.tail, e.used = saved
        return result

    def text(self) -> str:
        head = f'target triple = "{self.target.triple}"\n\n'
        tail = '\nattributes #0 = { nounwind }\n!0 = !{!"branch_weights", i32 1, i32 100000}\n'
        return head + "\n".join(self.functions) + tail
