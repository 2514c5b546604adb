"""The functions a step exports: gf_sizes and gf_step, which calls the kernels in order.

See native/include/graphflow/frame.h for what they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dtypes import int64
from ..loop import nodes as loop
from ..plan import Advance, Choose, Launch, Mark, Otherwise, Plan, Repeat, Row
from ..sizes import Dim, FloorDiv, Maximum, Minimum, Root, Size, Symbol, as_symbol
from . import cpu_operators as operators
from .cpu_blocks import Function
from .cpu_values import Linear, Value, constant
from .module import Module

_INTERRUPTED = 2  # GF_INTERRUPTED
_POLLED_LAUNCHES = 2  # shorter steps end soon enough without asking


NAMES = ("gf_sizes", "gf_step")


def write_step(
    module: Module,
    plan: Plan,
    symbols: Sequence[Symbol],
    names: tuple[str, str] = NAMES,
) -> int:
    """Writes everything a plan needs; returns how many kernels are distinct. `names` are those of
    the two functions: no other one is seen outside."""
    values = plan.values()
    name_of_sizes, name_of_step = names
    _write_sizes(module, values, symbols, name_of_sizes)
    kernels: dict[int, str] = {}
    for launch in plan.launches:
        if launch.kernel is not None:
            kernels[id(launch.kernel)] = module.launched(launch.kernel)
    steps = plan.steps or tuple(range(len(plan.launches)))
    # Launches one after the other take no time beside what they launch; loops may run often.
    straight = all(isinstance(each, int) for each in steps)
    step = _Step(module, plan, kernels, values, symbols, name_of_step, quick=straight)
    if plan.prepared:
        prepare = f"{name_of_step}.prepare"
        once = _Step(module, plan, kernels, values, symbols, prepare, "internal ", quick=True)
        once.write(steps[: plan.prepared])
        step.prepare(prepare)
    step.write(steps[plan.prepared :])
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
        if isinstance(atom, Root):
            return Linear.of(self.root(f.scalar(self.value(atom.of))))
        assert isinstance(atom, (Maximum, Minimum))
        a, b = (f.scalar(self.value(x)) for x in (atom.a, atom.b))
        name = "llvm.smax.i64" if isinstance(atom, Maximum) else "llvm.smin.i64"
        return Linear.of(f.call(name, int64, a, b))

    def root(self, of: Value) -> Value:
        """The floor of a square root: exact below 2^52, since that of a float64 is rounded once."""
        f = self.f
        of = f.call("llvm.smax.i64", int64, of, constant(0, int64))
        number = f.define(f"sitofp i64 {of.text} to double", int64)
        found = f.define(f"call double @llvm.sqrt.f64(double {number.text})", int64)
        value = f.define(f"fptosi double {found.text} to i64", int64)
        value.nonnegative = True
        return value


def _write_sizes(
    module: Module, values: Sequence[Dim], symbols: Sequence[Symbol], name: str
) -> None:
    f = Function(name, "void", ["ptr %symbols", "ptr %values"])
    sizes = _Sizes(f, module, symbols)
    found = [f.scalar(sizes.value(size)) for size in values]
    for position, value in enumerate(found):
        address = f.define(f"getelementptr i8, ptr %values, i64 {8 * position}", int64)
        f.do(f"store i64 {value.text}, ptr {address.text}, align 8")
    f.do("ret void")
    module.add(f)


@dataclass(frozen=True)
class _Open:
    """A loop or branch under way: the labels of what comes after it, and of where a loop goes on,
    or of the branch for false; where the loop counts."""

    after: str
    again: str
    loop: Repeat | None = None
    place: Value | None = None


class _Step:
    """A function that makes launches."""

    def __init__(
        self,
        module: Module,
        plan: Plan,
        kernels: dict[int, str],
        values: Sequence[Size],
        symbols: Sequence[Symbol],
        name: str,
        linkage: str = "",
        quick: bool = False,
    ):
        self.symbols = {symbol: position for position, symbol in enumerate(symbols)}
        self.stacks = {buffer.id: k for k, buffer in enumerate(plan.stacks())}
        self.types = {buffer.id: buffer.dtype for buffer in plan.buffers}
        self.open: list[_Open] = []  # the loops and branches around
        self.module, self.plan, self.kernels = module, plan, kernels
        self.slots = {size: position for position, size in enumerate(values)}
        self.layout = module.layout
        self.f = Function(name, "i32", ["ptr %frame"], linkage, quick)

    def place(self, name: str) -> str:
        """The instruction that finds a field of the frame."""
        return f"getelementptr i8, ptr %frame, i64 {self.layout.frame[name]}"

    def field(self, name: str, kind: str) -> Value:
        """A field of the frame that does not change during a step."""
        address = self.f.pure(self.place(name), int64, 0, 0)
        return self.f.pure(f"load {kind}, ptr {address.text}, align 4", int64, 0, 0)

    def pointer(self, id_: int) -> Value:
        return self.f.pure(f"load ptr, ptr {self.entry(id_).text}, {self.aligned}", int64, 0, 0)

    def size(self, size: Size) -> Value:
        base = self.field("values", "ptr")
        slot = self.slots[size]
        address = self.f.pure(f"getelementptr i64, ptr {base.text}, i64 {slot}", int64, 0, 0)
        return self.f.pure(f"load i64, ptr {address.text}, align 8", int64, 0, 0)

    @property
    def aligned(self) -> str:
        """What is known of where an address is stored."""
        return f"align {self.layout.pointer_bytes}"

    def table(self, function: str) -> str:
        lines, address = self.layout.fetched(self.f, function)
        for line in lines:
            self.f.do(line)
        return address

    def prepare(self, function: str) -> None:
        """Fills what is kept from run to run, unless it is there."""
        f = self.f
        found = self.field("prepared", "i32")
        missing = f.pure(f"icmp eq i32 {found.text}, 0", int64, 0, 0)
        status, failed, after = f.fresh(), f.fresh(), f.fresh("o")
        stop = f.fresh("f")
        self.cold(missing.text, [
            f"{status} = call i32 @{function}(ptr %frame)",
            f"{failed} = icmp ne i32 {status}, 0",
            f"br i1 {failed}, label %{stop}, label %{after}",
            f"{stop}:",
            f"ret i32 {status}",
        ], after)  # fmt: skip

    def write(self, steps: Sequence[int | Mark]) -> None:
        f, plan = self.f, self.plan
        profile = self.field("profile", "i32") if steps else constant(0, int64)
        profiled = f.pure(f"icmp ne i32 {profile.text}, 0", int64, 0, 0)
        polls = len(steps) > _POLLED_LAUNCHES
        for position, number in enumerate(steps):
            if not isinstance(number, int):
                self.mark(number, self.next_launch(steps, position) < plan.commit)
                continue
            launch = plan.launches[number]
            if polls and position and number < plan.commit:
                self.poll()
            self.hook(profiled, "launch_begin", number)
            if launch.kernel is None:
                self.host_call(launch)
            else:
                self.launch(launch, number)
            self.hook(profiled, "launch_end", number)
        f.do("ret i32 0")
        self.module.add(f)

    @staticmethod
    def next_launch(steps: Sequence[int | Mark], position: int) -> int:
        rest = (step for step in steps[position:] if isinstance(step, int))
        return next(rest, -1)

    # -- loops and branches

    def mark(self, mark: Mark, may_stop: bool) -> None:
        """What is known of memory before a mark need not be right after it: nothing is kept."""
        known = self.f.scope.known
        if isinstance(mark, Repeat):
            self.begin_loop(mark, may_stop)
        elif isinstance(mark, Advance):
            self.advance(mark)
        elif isinstance(mark, Choose):
            then, otherwise, after = (self.f.fresh(prefix) for prefix in ("t", "e", "o"))
            taken = self.flag(mark.predicate)
            self.f.do(f"br i1 {taken.text}, label %{then}, label %{otherwise}")
            self.f.do(f"{then}:")
            self.open.append(_Open(after, otherwise))
        elif isinstance(mark, Otherwise):
            branch = self.open[-1]
            self.f.do(f"br label %{branch.after}")
            self.f.do(f"{branch.again}:")
        else:
            found = self.open.pop()
            if found.loop is not None:
                self.end_loop(found)
            else:
                self.f.do(f"br label %{found.after}")
                self.f.do(f"{found.after}:")
        known.clear()

    def flag(self, id_: int) -> Value:
        byte = self.f.define(f"load i8, ptr {self.pointer(id_).text}, align 1", int64)
        return self.f.define(f"icmp ne i8 {byte.text}, 0", int64)

    def begin_loop(self, mark: Repeat, may_stop: bool) -> None:
        f = self.f
        head, body, after = (f.fresh(prefix) for prefix in ("h", "b", "o"))
        place = f.allocate("i64", 1)
        f.do(f"store i64 0, ptr {place.text}, align 8")
        count = None
        if mark.predicate < 0:
            count = f.scalar(self.amount(mark.count))
            if mark.bound >= 0:
                count = self.bounded(count, mark.bound)
        f.do(f"br label %{head}")
        f.do(f"{head}:")
        f.scope.known.clear()
        here = f.define(f"load i64, ptr {place.text}, align 8", int64)
        if count is None:
            goes_on = self.flag(mark.predicate)
        else:
            goes_on = f.define(f"icmp slt i64 {here.text}, {count.text}", int64)
        f.do(f"br i1 {goes_on.text}, label %{body}, label %{after}")
        f.do(f"{body}:")
        if may_stop:
            self.poll()
        row = here
        if mark.reverse:
            assert count is not None
            last = f.define(f"sub i64 {count.text}, 1", int64)
            row = f.define(f"sub i64 {last.text}, {here.text}", int64)
        alike = [each for each in mark.rows if each.begin is None]
        for stack in dict.fromkeys(each.of for each in alike if each.of in self.stacks):
            self.grow(self.stacks[stack], here)
        for each in alike:
            size = f.scalar(self.amount(each.bytes))
            self.set_row(each, f.define(f"mul i64 {row.text}, {size.text}", int64))
        for symbol, id_ in mark.sizes:
            value = f.define(f"load i64, ptr {self.pointer(id_).text}, align 1", int64)
            number = self.symbols[as_symbol(symbol)]  # type: ignore[index]
            self.checked_call("bind", f"ptr %frame, i32 {number}, i64 {value.text}")
            f.scope.known.clear()
        # Where these begin depends on sizes.
        for each in mark.rows:
            if each.begin is not None:
                self.extend(each)
        f.scope.known.clear()
        self.open.append(_Open(after, head, mark, place))

    def set_row(self, row: Row, offset: Value) -> None:
        f = self.f
        whole = f.define(f"load ptr, ptr {self.entry(row.of).text}, {self.aligned}", int64)
        address = f.define(f"getelementptr i8, ptr {whole.text}, i64 {offset.text}", int64)
        f.do(f"store ptr {address.text}, ptr {self.entry(row.id).text}, {self.aligned}")

    def extend(self, row: Row) -> None:
        """Makes room in a stack for a row of any size, whose elements count as its rows."""
        f, item = self.f, self.types[row.of].bytes
        assert row.begin is not None
        begin, size = f.scalar(self.amount(row.begin)), f.scalar(self.amount(row.bytes))
        end = f.define(f"add i64 {begin.text}, {size.text}", int64)
        count = f.define(f"sdiv i64 {end.text}, {item}", int64)
        last = f.define(f"sub i64 {count.text}, 1", int64)
        self.grow(self.stacks[row.of], last)
        self.set_row(row, begin)

    def end_loop(self, found: _Open) -> None:
        f, mark, place = self.f, found.loop, found.place
        assert mark is not None and place is not None
        f.scope.known.clear()
        for a, b in mark.swaps:
            first, second = self.entry(a), self.entry(b)
            x = f.define(f"load ptr, ptr {first.text}, {self.aligned}", int64)
            y = f.define(f"load ptr, ptr {second.text}, {self.aligned}", int64)
            f.do(f"store ptr {y.text}, ptr {first.text}, {self.aligned}")
            f.do(f"store ptr {x.text}, ptr {second.text}, {self.aligned}")
        here = f.define(f"load i64, ptr {place.text}, align 8", int64)
        more = f.define(f"add i64 {here.text}, 1", int64)
        f.do(f"store i64 {more.text}, ptr {place.text}, align 8")
        f.do(f"br label %{found.again}")
        f.do(f"{found.after}:")
        f.scope.known.clear()
        symbol = as_symbol(mark.trips) if mark.trips is not None else None
        if symbol is not None and symbol in self.symbols:
            trips = f.define(f"load i64, ptr {place.text}, align 8", int64)
            arguments = f"ptr %frame, i32 {self.symbols[symbol]}, i64 {trips.text}"
            self.checked_call("bind", arguments)

    def advance(self, mark: Advance) -> None:
        """All new sizes are worked out before any of them is told."""
        values = [self.f.scalar(self.amount(size)) for _, size in mark.sizes]
        for (symbol, _), value in zip(mark.sizes, values, strict=True):
            number = self.symbols[as_symbol(symbol)]  # type: ignore[index]
            self.checked_call("bind", f"ptr %frame, i32 {number}, i64 {value.text}")

    def bounded(self, count: Value, bound: int) -> Value:
        """The smaller one of a count and a number in memory, which may be negative."""
        f, dtype = self.f, self.types[bound]
        kind = f"i{dtype.bits}"
        value = f.define(f"load {kind}, ptr {self.pointer(bound).text}, align 1", int64)
        if dtype.bits < 64:
            extend = "zext" if dtype.is_unsigned else "sext"
            value = f.define(f"{extend} {kind} {value.text} to i64", int64)
        value = f.define(f"call i64 @llvm.smax.i64(i64 {value.text}, i64 0)", int64)
        return f.define(f"call i64 @llvm.smin.i64(i64 {value.text}, i64 {count.text})", int64)

    def grow(self, stack: int, here: Value) -> None:
        """Makes room in a stack for the row of this iteration."""
        self.checked_call("grow", f"ptr %frame, i32 {stack}, i64 {here.text}")

    def checked_call(self, function: str, arguments: str) -> None:
        address = self.table(function)
        status = self.f.define(f"call i32 {address}({arguments})", int64)
        failed = self.f.define(f"icmp ne i32 {status.text}, 0", int64)
        address = self.f.fresh()
        self.cold(failed.text, [
            f"{address} = {self.place('status')}",
            f"store i32 {status.text}, ptr {address}, align 4",
            f"ret i32 {status.text}",
        ])  # fmt: skip

    def amount(self, size: Dim) -> Linear:
        return Linear(size, {}) if isinstance(size, int) else Linear.of(self.size(size))

    def entry(self, id_: int) -> Value:
        """Where the address of a buffer stands."""
        base = self.field("pointers", "ptr")
        return self.f.pure(f"getelementptr ptr, ptr {base.text}, i64 {id_}", int64, 0, 0)

    def cold(self, condition: str, lines: list[str], after: str | None = None) -> None:
        """Branches to seldom run lines, which end the function unless `after` is given."""
        cold, on = self.f.fresh("f"), after or self.f.fresh("o")
        self.f.do(f"br i1 {condition}, label %{cold}, label %{on}, !prof !0")
        self.f.do(f"{on}:")
        self.f.cold += [f"{cold}:", *lines]

    def poll(self) -> None:
        poll = self.table("poll")
        answer = self.f.define(f"call i32 {poll}(ptr %frame)", int64)
        stop = self.f.define(f"icmp ne i32 {answer.text}, 0", int64)
        address = self.f.fresh()
        self.cold(stop.text, [
            f"{address} = {self.place('status')}",
            f"store i32 {_INTERRUPTED}, ptr {address}, align 4",
            f"ret i32 {_INTERRUPTED}",
        ])  # fmt: skip

    def hook(self, profiled: Value, function: str, number: int) -> None:
        lines, address = self.layout.fetched(self.f, function)
        after = self.f.fresh("o")
        self.cold(profiled.text, [
            *lines,
            f"call void {address}(ptr %frame, i32 {number})",
            f"br label %{after}",
        ], after)  # fmt: skip

    def launch(self, launch: Launch, number: int) -> None:
        f, kernel = self.f, launch.kernel
        assert isinstance(kernel, loop.Kernel)
        arguments = ["ptr %frame"]
        arguments += [f"ptr {self.pointer(id_).text}" for id_ in launch.buffers]
        arguments += [f"i64 {self.size(size).text}" for size in kernel.sizes()]
        if launch.fallible:
            address = f.define(self.place("launch"), int64)
            f.do(f"store i32 {number}, ptr {address.text}, align 4")
        f.do(f"call void @{self.kernels[id(kernel)]}({', '.join(arguments)})")
        if launch.fallible:
            self.stop_on_failure()

    def stop_on_failure(self) -> None:
        address = self.f.define(self.place("status"), int64)
        status = self.f.define(f"load i32, ptr {address.text}, align 4", int64)
        failed = self.f.define(f"icmp ne i32 {status.text}, 0", int64)
        self.cold(failed.text, [f"ret i32 {status.text}"])

    def host_call(self, launch: Launch) -> None:
        self.checked_call("host_call", f"ptr %frame, i32 {launch.call}")
