"""The machine itself: its peak of fused multiply-adds, and its bandwidth of copying.

Both are taken in the same rounds as what is compared with them. The peak is a loop over as many
independent accumulators as hide the latency of `fma`, in LLVM IR, on all threads at once; the
bandwidth is memcpy, each thread copying its part.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..workloads import COPY, FMA_PEAK, GELU_ELEMENTS, GEMM
from .base import BaseSystem

GFLOP = 1e9


def loop_text(lanes: int, accumulators: int) -> str:
    """`peak(n, memory)`: n rounds of one fma on every accumulator of `lanes` floats."""
    vector = f"<{lanes} x float>"
    each = range(accumulators)
    phis = "\n".join(f"  %a{i} = phi {vector} [ %x, %entry ], [ %f{i}, %loop ]" for i in each)
    products = "\n".join(
        f"  %f{i} = call {vector} @llvm.fma.v{lanes}f32({vector} %x, {vector} %y, {vector} %a{i})"
        for i in each
    )
    sums = "\n".join(f"  %s{i} = fadd {vector} %f{i}, {f'%s{i - 1}' if i else '%x'}" for i in each)
    return f"""
declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})
define void @peak(i64 %n, ptr %memory) {{
entry:
  %x = load {vector}, ptr %memory, align 4
  %second = getelementptr float, ptr %memory, i64 {lanes}
  %y = load {vector}, ptr %second, align 4
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{products}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
{sums}
  store {vector} %s{accumulators - 1}, ptr %memory, align 4
  ret void
}}
"""


def shape_of_host(features: dict[str, bool]) -> tuple[int, int]:
    """(lanes, accumulators) that fill the vector registers, two of them kept for operands."""
    if features.get("avx512f"):
        return 16, 24
    if features.get("fma"):
        return 8, 12
    return 4, 12


class FmaLoop:
    """The loop as a function of this process; `flops` of one round."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        lanes, accumulators = shape_of_host(dict(llvm.get_host_cpu_features()))
        target = llvm.Target.from_default_triple()
        machine = target.create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
        )
        module = llvm.parse_assembly(loop_text(lanes, accumulators))
        self.engine = llvm.create_mcjit_compiler(module, machine)
        self.engine.finalize_object()
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)
        self.call = prototype(self.engine.get_function_address("peak"))
        self.lanes = lanes
        self.flops = 2 * lanes * accumulators

    def run(self, rounds: int) -> None:
        memory = np.full(2 * self.lanes, 1e-3, np.float32)
        self.call(rounds, memory.ctypes.data)


def together(threads: int, work: Callable[[int], Any]) -> float:
    """Seconds from when all threads are ready until the last one is done."""
    ready = threading.Barrier(threads + 1)

    def body(index: int) -> None:
        ready.wait()
        work(index)

    workers = [threading.Thread(target=body, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


class System(BaseSystem):
    def rows(self) -> dict[str, dict[str, Any]]:
        """Seconds for 10⁹ operations, or seconds to copy what gelu reads."""
        from ..worker import quartiles

        end = time.perf_counter() + self.request.seconds
        samples: list[float] = []
        if self.workload.kind == GEMM:
            loop = FmaLoop()
            rounds = int(2 * GFLOP / loop.flops)
            while time.perf_counter() < end or len(samples) < 5:
                seconds = together(self.threads, lambda _: loop.run(rounds))
                samples.append(seconds * GFLOP / (rounds * loop.flops * self.threads))
            # What the machine can do is the best that was seen, not the middle.
            return {FMA_PEAK: {**quartiles(samples), "median": min(samples)}}
        # Not zeros: those would all be one page of memory that is never written.
        parts = np.array_split(np.ones(GELU_ELEMENTS, np.float32), self.threads)
        copies = [np.ones_like(part) for part in parts]
        while time.perf_counter() < end or len(samples) < 5:
            samples.append(together(self.threads, lambda i: np.copyto(copies[i], parts[i])))
        return {COPY: quartiles(samples)}

    def facts(self) -> dict[str, Any]:
        return {"version": ""}
