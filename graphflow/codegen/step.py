"""The functions a step exports: gf_sizes and gf_step, which calls the kernels in order.

See native/include/graphflow/frame.h for the structures whose offsets stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..dtypes import int64
from ..loop import nodes as loop
from ..plan import Launch, Plan
from ..sizes import Dim, FloorDiv, Maximum, Minimum, Size, Symbol
from . import cpu_operators as operators
from .cpu_blocks import Function
from .cpu_values import Linear, Value, constant
from .module import Module

# Offsets in gf_frame and gf_table, in bytes.
_POINTERS, _VALUES, _STATUS, _PROFILE, _LAUNCH, _PREPARED = 8, 16, 24, 28, 36, 64
_HOST_CALL, _POLL, _LAUNCH_BEGIN, _LAUNCH_END = 24, 32, 40, 48
_INTERRUPTED = 2
_POLLED_LAUNCHES = 2  # shorter steps end soon enough without asking


def write_step(
    module: Module, plan: Plan, symbols: Sequence[Symbol], written: Callable[[], None]
) -> int:
    """Writes everything a plan needs; returns how many kernels are distinct. `written` is called
    after each of them."""
    values = plan.values()
    _write_sizes(module, values, symbols)
    kernels: dict[int, str] = {}
    for launch in plan.launches:
        if launch.kernel is not None:
            kernels[id(launch.kernel)] = module.launched(launch.kernel)
            written()
    step = _Step(module, plan, kernels, values, "gf_step")
    if plan.prepared:
        _Step(module, plan, kernels, values, "prepare", "internal ").write(0, plan.prepared)
        step.prepare()
    step.write(plan.prepared, len(plan.launches))
    return len(set(kernels.values()))


class _Sizes:
    """Sizes as instructions, shared terms once."""

    def __init__(self, f: Function, module: Module, symbols: Sequence[Symbol]):
        self.f, self.module = f, module
        self.symbols = {symbol: position for position, symbol in enumerate(symbols)}

    def value(self, size: Dim) -> Linear:
        if isinstance(size, int):
            return Linear(size, {})
        total = Linear(0, {})
        for monomial, coefficient in size.terms:
            product = Linear(1, {})
            for atom in monomial:
                product = self.times(product, self.atom(atom))
            total = total.plus(product, coefficient)
        return total

    def times(self, a: Linear, b: Linear) -> Linear:
        product = operators.linear(self.f, "mul", [a, b])
        assert product is not None
        return Linear.of(product)

    def atom(self, atom) -> Linear:
        f = self.f
        if isinstance(atom, Symbol):
            offset = 8 * self.symbols[atom]
            address = f.pure(f"getelementptr i8, ptr %symbols, i64 {offset}", int64, 0, 0)
            value = f.pure(f"load i64, ptr {address.text}, align 8", int64, 0, 0)
            value.nonnegative = True
            return Linear.of(value)
        if isinstance(atom, FloorDiv):
            a, b = (f.scalar(self.value(x)) for x in (atom.numerator, atom.denominator))
            quotient = operators.linear(f, "floordiv", [a, b])
            if quotient is None:
                quotient = operators.apply(f, self.module.target, "floordiv", [a, b], int64)
            return Linear.of(quotient)
        assert isinstance(atom, (Maximum, Minimum))
        a, b = (f.scalar(self.value(x)) for x in (atom.a, atom.b))
        name = "llvm.smax.i64" if isinstance(atom, Maximum) else "llvm.smin.i64"
        return Linear.of(f.call(name, int64, a, b))


def _write_sizes(module: Module, values: Sequence[Dim], symbols: Sequence[Symbol]) -> None:
    f = Function("gf_sizes", "void", ["ptr %symbols", "ptr %values"])
    sizes = _Sizes(f, module, symbols)
    found = [f.scalar(sizes.value(size)) for size in values]
    for position, value in enumerate(found):
        address = f.define(f"getelementptr i8, ptr %values, i64 {8 * position}", int64)
        f.do(f"store i64 {value.text}, ptr {address.text}, align 8")
    f.do("ret void")
    module.add(f)


class _Step:
    """A function that makes launches."""

    def __init__(
        self,
        module: Module,
        plan: Plan,
        kernels: dict[int, str],
        values: Sequence[Size],
        name: str,
        linkage: str = "",
    ):
        self.module, self.plan, self.kernels = module, plan, kernels
        self.slots = {size: position for position, size in enumerate(values)}
        self.f = Function(name, "i32", ["ptr %frame"], linkage)

    def field(self, offset: int, kind: str) -> Value:
        """A field of the frame that does not change during a step."""
        address = self.f.pure(f"getelementptr i8, ptr %frame, i64 {offset}", int64, 0, 0)
        return self.f.pure(f"load {kind}, ptr {address.text}, align 4", int64, 0, 0)

    def pointer(self, id_: int) -> Value:
        base = self.field(_POINTERS, "ptr")
        address = self.f.pure(f"getelementptr ptr, ptr {base.text}, i64 {id_}", int64, 0, 0)
        return self.f.pure(f"load ptr, ptr {address.text}, align 8", int64, 0, 0)

    def size(self, size: Size) -> Value:
        base = self.field(_VALUES, "ptr")
        slot = self.slots[size]
        address = self.f.pure(f"getelementptr i64, ptr {base.text}, i64 {slot}", int64, 0, 0)
        return self.f.pure(f"load i64, ptr {address.text}, align 8", int64, 0, 0)

    def table(self, offset: int) -> str:
        table = self.f.define("load ptr, ptr %frame, align 8", int64)
        slot = self.f.define(f"getelementptr i8, ptr {table.text}, i64 {offset}", int64)
        return self.f.define(f"load ptr, ptr {slot.text}, align 8", int64).text

    def prepare(self) -> None:
        """Fills what is kept from run to run, unless it is there."""
        f = self.f
        found = self.field(_PREPARED, "i32")
        missing = f.pure(f"icmp eq i32 {found.text}, 0", int64, 0, 0)
        status, failed, after = f.fresh(), f.fresh(), f.fresh("o")
        stop = f.fresh("f")
        self.cold(missing.text, [
            f"{status} = call i32 @prepare(ptr %frame)",
            f"{failed} = icmp ne i32 {status}, 0",
            f"br i1 {failed}, label %{stop}, label %{after}",
            f"{stop}:",
            f"ret i32 {status}",
        ], after)  # fmt: skip

    def write(self, first: int, last: int) -> None:
        f, plan = self.f, self.plan
        profile = self.field(_PROFILE, "i32") if first < last else constant(0, int64)
        profiled = f.pure(f"icmp ne i32 {profile.text}, 0", int64, 0, 0)
        polls = last - first > _POLLED_LAUNCHES
        for number in range(first, last):
            launch = plan.launches[number]
            if polls and first < number < plan.commit:
                self.poll()
            self.hook(profiled, _LAUNCH_BEGIN, number)
            if launch.kernel is None:
                self.host_call(launch)
            else:
                self.launch(launch, number)
            self.hook(profiled, _LAUNCH_END, number)
        f.do("ret i32 0")
        self.module.add(f)

    def cold(self, condition: str, lines: list[str], after: str | None = None) -> None:
        """Branches to seldom run lines, which end the function unless `after` is given."""
        cold, on = self.f.fresh("f"), after or self.f.fresh("o")
        self.f.do(f"br i1 {condition}, label %{cold}, label %{on}, !prof !0")
        self.f.do(f"{on}:")
        self.f.cold += [f"{cold}:", *lines]

    def poll(self) -> None:
        poll = self.table(_POLL)
        answer = self.f.define(f"call i32 {poll}(ptr %frame)", int64)
        stop = self.f.define(f"icmp ne i32 {answer.text}, 0", int64)
        address = self.f.fresh()
        self.cold(stop.text, [
            f"{address} = getelementptr i8, ptr %frame, i64 {_STATUS}",
            f"store i32 {_INTERRUPTED}, ptr {address}, align 4",
            f"ret i32 {_INTERRUPTED}",
        ])  # fmt: skip

    def hook(self, profiled: Value, offset: int, number: int) -> None:
        table, slot, function = self.f.fresh(), self.f.fresh(), self.f.fresh()
        after = self.f.fresh("o")
        self.cold(profiled.text, [
            f"{table} = load ptr, ptr %frame, align 8",
            f"{slot} = getelementptr i8, ptr {table}, i64 {offset}",
            f"{function} = load ptr, ptr {slot}, align 8",
            f"call void {function}(ptr %frame, i32 {number})",
            f"br label %{after}",
        ], after)  # fmt: skip

    def launch(self, launch: Launch, number: int) -> None:
        f, kernel = self.f, launch.kernel
        assert isinstance(kernel, loop.Kernel)
        arguments = ["ptr %frame"]
        arguments += [f"ptr {self.pointer(id_).text}" for id_ in launch.buffers]
        arguments += [f"i64 {self.size(size).text}" for size in kernel.sizes()]
        if launch.fallible:
            address = f.define(f"getelementptr i8, ptr %frame, i64 {_LAUNCH}", int64)
            f.do(f"store i32 {number}, ptr {address.text}, align 4")
        f.do(f"call void @{self.kernels[id(kernel)]}({', '.join(arguments)})")
        if launch.fallible:
            self.stop_on_failure()

    def stop_on_failure(self) -> None:
        address = self.f.define(f"getelementptr i8, ptr %frame, i64 {_STATUS}", int64)
        status = self.f.define(f"load i32, ptr {address.text}, align 4", int64)
        failed = self.f.define(f"icmp ne i32 {status.text}, 0", int64)
        self.cold(failed.text, [f"ret i32 {status.text}"])

    def host_call(self, launch: Launch) -> None:
        call = self.table(_HOST_CALL)
        status = self.f.define(f"call i32 {call}(ptr %frame, i32 {launch.call})", int64)
        failed = self.f.define(f"icmp ne i32 {status.text}, 0", int64)
        address = self.f.fresh()
        self.cold(failed.text, [
            f"{address} = getelementptr i8, ptr %frame, i64 {_STATUS}",
            f"store i32 {status.text}, ptr {address}, align 4",
            f"ret i32 {status.text}",
        ])  # fmt: skip
