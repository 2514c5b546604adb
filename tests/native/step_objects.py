"""Objects for tests of the runtime, made from LLVM IR text as the compiler's are."""

from __future__ import annotations

import functools

import llvmlite.binding as llvm

# %frame = type { table, pointers, values, status, profile, site, launch, fail_values, runtime }
PRELUDE = """
%table = type { i32, i32, ptr, ptr, ptr, ptr, ptr, ptr, [10 x ptr] }
%frame = type { ptr, ptr, ptr, i32, i32, i32, i32, [2 x i64], ptr }

define internal ptr @pointer(ptr %frame, i64 %index) alwaysinline {
  %field = getelementptr %frame, ptr %frame, i32 0, i32 1
  %table = load ptr, ptr %field
  %place = getelementptr ptr, ptr %table, i64 %index
  %result = load ptr, ptr %place
  ret ptr %result
}

define internal i64 @value(ptr %frame, i64 %index) alwaysinline {
  %field = getelementptr %frame, ptr %frame, i32 0, i32 2
  %table = load ptr, ptr %field
  %place = getelementptr i64, ptr %table, i64 %index
  %result = load i64, ptr %place
  ret i64 %result
}

define internal ptr @callback(ptr %frame, i32 %index) alwaysinline {
  %table = load ptr, ptr %frame
  %functions = getelementptr %table, ptr %table, i32 0, i32 2
  %place = getelementptr ptr, ptr %functions, i32 %index
  %result = load ptr, ptr %place
  ret ptr %result
}
"""

PARALLEL_FOR, FAIL, HOST_CALL, POLL, LAUNCH_BEGIN, LAUNCH_END = range(6)

NO_SIZES = "define void @gf_sizes(ptr %symbols, ptr %values) {\n  ret void\n}\n"

# y[i] = x[i] + c over `count` floats
ADD = """
define internal void @add(ptr %x, ptr %y, float %c, i64 %count) {
entry:
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %loop, label %done
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %from = getelementptr float, ptr %x, i64 %i
  %to = getelementptr float, ptr %y, i64 %i
  %old = load float, ptr %from, align 1
  %new = fadd float %old, %c
  store float %new, ptr %to, align 1
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""


@functools.cache
def machine(triple: str | None = None) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = triple or llvm.get_process_triple()
    return llvm.Target.from_triple(triple).create_target_machine(
        opt=1, reloc="pic", codemodel="small"
    )


@functools.cache
def assemble(text: str, triple: str | None = None, prelude: bool = True) -> bytes:
    """The object for a module."""
    module = llvm.parse_assembly((PRELUDE if prelude else "") + text)
    module.verify()
    return machine(triple).emit_object(module)


def step(body: str, *, sizes: str = NO_SIZES, extra: str = "") -> bytes:
    """The object of a step whose body ends by returning an i32."""
    return assemble(f"{extra}\n{sizes}\ndefine i32 @gf_step(ptr %frame) {{\n{body}\n}}\n")
