"""Calls a compiled kernel with NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from graphflow.codegen.module import Module
from graphflow.codegen.objects import Report, emit
from graphflow.codegen.target import Target
from graphflow.loop import nodes as loop

_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_PARALLEL_FOR = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, _BODY, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)
_FAIL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_int64)


class Loaded:
    """A kernel in memory; `failures` collects its failed checks, `chunks` its parallel ones."""

    def __init__(self, kernel: loop.Kernel, target: Target):
        import llvmlite.binding as llvm

        module = Module(target)
        module.kernel(kernel, "entry", "")
        self.report = Report(verify=True)
        self.object = emit(module.text(), target, self.report)
        self.failures: list[tuple[int, int, int]] = []
        self.chunks: list[tuple[int, int]] = []
        self.kernel = kernel
        empty = llvm.parse_assembly("")
        machine = llvm.Target.from_default_triple().create_target_machine()
        self.engine = llvm.create_mcjit_compiler(empty, machine)
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(self.object))
        self.engine.finalize_object()
        self.address = self.engine.get_function_address("entry")
        assert self.address

    def __call__(self, arrays: Sequence[np.ndarray], *integers: int) -> None:
        """Runs on the arrays; `integers`: the values of kernel.sizes(), then of the scalars."""

        def parallel_for(frame, body, context, count, grain):
            for begin in range(0, count, grain):
                end = min(count, begin + grain)
                self.chunks.append((begin, end))
                body(frame, context, begin, end)

        def fail(frame, site, first, second):
            self.failures.append((site, first, second))

        keep = (_PARALLEL_FOR(parallel_for), _FAIL(fail))
        table = (ctypes.c_void_p * 16)()
        table[1] = ctypes.cast(keep[0], ctypes.c_void_p).value
        table[2] = ctypes.cast(keep[1], ctypes.c_void_p).value
        frame = (ctypes.c_void_p * 16)()
        frame[0] = ctypes.addressof(table)
        types = [ctypes.c_void_p] * (1 + len(arrays)) + [ctypes.c_int64] * len(integers)
        function = ctypes.CFUNCTYPE(None, *types)(self.address)
        function(ctypes.addressof(frame), *(a.ctypes.data for a in arrays), *integers)
