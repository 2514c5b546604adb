"""Control flow over SSA values: loops carry the Locals they write as phis, branches join them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..dtypes import bool_, int64
from ..loop import nodes as loop
from . import cpu_operators as operators
from .cpu_analysis import Writes
from .cpu_blocks import BODY, BRANCH, ENTRY
from .cpu_values import Linear, Operand, Value

if TYPE_CHECKING:
    from .cpu import Emitter


class Stores:
    """What memory a loop stores to: any buffer, and these Locals."""

    __slots__ = ("buffers", "locals")

    def __init__(self, writes: Writes):
        self.buffers, self.locals = writes.buffers, writes.locals

    def touches(self, key: int | None) -> bool:
        return self.buffers if key is None else key in self.locals


def carried(e: Emitter, writes: Writes) -> list[int]:
    keys = [key for key in writes.locals if key in e.env and key not in writes.declared]
    shadows = [id(e.redirect[key]) for key in writes.locals if key in e.redirect]
    return keys + [key for key in shadows if key in e.env]


def clobber(e: Emitter, writes: Writes) -> None:
    if writes.buffers:
        e.bump(None)
    for key in writes.locals:
        if key in e.places:
            e.bump(key)


def counted(
    e: Emitter, start: Operand, stop: Operand, step: int, writes: Writes,
    body: Callable[[Value | Linear], None],
) -> None:  # fmt: skip
    """for i in range(start, stop, step): body(i), where step divides the distance or the body
    masks what is beyond."""
    f = e.f
    distance = Linear.of(stop).plus(Linear.of(start), -1).number
    if distance is not None and distance <= step:
        if distance > 0:
            body(start)
        return
    first, last = f.scalar(start), f.scalar(stop)
    outer = f.scope
    runs = None if distance is not None else f.compare("slt", first, last)
    keys = carried(e, writes)
    before = {key: list(e.env[key]) for key in keys}
    entry = f.push(ENTRY, guarded=runs is not None)
    inside = f.push(BODY, stores=Stores(writes))
    inside_label = inside.label
    counter = Value(f.fresh("%i"), int64, 0, f.level, None, first.nonnegative)
    phis: list[tuple[int, int, Value]] = []
    for key in keys:
        for position, value in enumerate(before[key]):
            phi = Value(f.fresh("%r"), value.dtype, value.lanes, f.level)
            e.env[key][position] = phi
            phis.append((key, position, phi))
    clobber(e, writes)
    body(counter)
    following = f.fresh("%n")
    again = f.fresh("%c")
    exit_label = f.fresh("x")
    if keys and not inside.nested:
        f.do(f"{following} = add nsw i64 {counter.text}, {step}")
    else:
        # Frozen, the counter is none that LLVM's loop strength reduction knows. That took a
        # quarter of the time of compiling, and gains only where sums take the registers.
        stepped = f.define(f"add nsw i64 {counter.text}, {step}", int64)
        f.do(f"{following} = freeze i64 {stepped.text}")
    outer.nested = True
    f.do(f"{again} = icmp slt i64 {following}, {last.text}")
    f.do(f"br i1 {again}, label %{inside_label}, label %{exit_label}")
    latch = inside.label
    f.pop()
    f.pop()
    entry_label = entry.label
    if runs is None:
        outer.lines.append(f"br label %{entry_label}")
    else:
        outer.lines.append(f"br i1 {runs.text}, label %{entry_label}, label %{exit_label}")
    outer.lines.append(f"{entry_label}:")
    outer.lines += entry.lines
    outer.lines.append(f"br label %{inside_label}")
    outer.lines.append(f"{inside_label}:")
    outer.lines.append(
        f"{counter.text} = phi i64 [{first.text}, %{entry_label}], [{following}, %{latch}]"
    )
    joins = []
    for key, position, phi in phis:
        initial, final = before[key][position], e.env[key][position]
        outer.lines.append(
            f"{phi.text} = phi {phi.type} [{initial.text}, %{entry_label}],"
            f" [{final.text}, %{latch}]"
        )
        if final is phi:
            result = initial
        elif runs is None:
            result = Value(final.text, final.dtype, final.lanes, f.level)
        else:
            result = Value(f.fresh("%r"), final.dtype, final.lanes, f.level)
            joins.append(
                f"{result.text} = phi {result.type} [{initial.text}, %{outer.label}],"
                f" [{final.text}, %{latch}]"
            )
        e.env[key][position] = result
    outer.lines += inside.lines
    outer.lines.append(f"{exit_label}:")
    outer.lines += joins
    outer.label = exit_label
    clobber(e, writes)


def branch(
    e: Emitter, condition: Value, writes: Writes,
    then: Callable[[], None], otherwise: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    f = e.f
    if condition.number is not None:
        chosen = then if condition.number else otherwise
        if chosen is not None:
            chosen()
        return
    outer = f.scope
    keys = carried(e, writes)
    before = {key: list(e.env[key]) for key in keys}
    ends: list[tuple[str, dict[int, list[Value]]]] = []
    labels = []
    text: list[str] = []
    join = f.fresh("j")
    for part in (then, otherwise):
        if part is None:
            labels.append(join)
            ends.append((outer.label, before))
            continue
        for key in keys:
            e.env[key][:] = before[key]
        scope = f.push(BRANCH)
        labels.append(scope.label)
        text.append(f"{scope.label}:")
        part()
        f.do(f"br label %{join}")
        f.pop()
        text += scope.lines
        ends.append((scope.label, {key: list(e.env[key]) for key in keys}))
    outer.lines.append(f"br i1 {condition.text}, label %{labels[0]}, label %{labels[1]}")
    outer.lines += text
    outer.lines.append(f"{join}:")
    (first_label, first), (second_label, second) = ends
    for key in keys:
        for position, (a, b) in enumerate(zip(first[key], second[key], strict=True)):
            if a.text == b.text:
                e.env[key][position] = a
                continue
            phi = Value(f.fresh("%r"), a.dtype, a.lanes, f.level)
            outer.lines.append(
                f"{phi.text} = phi {phi.type} [{a.text}, %{first_label}],"
                f" [{b.text}, %{second_label}]"
            )
            e.env[key][position] = phi
    outer.label = join
    clobber(e, writes)


def run_if(e: Emitter, stmt: loop.If) -> None:
    condition = e.eval(stmt.condition)
    assert isinstance(condition, Value)  # a boolean is no linear form
    writes = e.analysis.writes_of(stmt)
    if not condition.lanes:
        otherwise = (lambda: e.block(stmt.otherwise)) if stmt.otherwise else None
        branch(e, condition, writes, lambda: e.block(stmt.then), otherwise)
        return
    if stmt.then:
        masked(e, condition, writes, stmt.then)
    if stmt.otherwise:
        opposite = operators.apply(e.f, e.target, "not", [condition], bool_)
        masked(e, opposite, writes, stmt.otherwise)


def masked(e: Emitter, condition: Value, writes: Writes, body: Sequence[loop.Stmt]) -> None:
    """Runs the body for the lanes of the condition, where there are any."""
    outer, f = e.mask, e.f
    mask = condition if outer is None else f.op("and", bool_, outer, condition)

    def run() -> None:
        e.mask = mask
        e.block(body)
        e.mask = outer

    branch(e, any_lane(e, mask), writes, run)


def first_lane(e: Emitter, mask: Value) -> Value:
    """The number of the first lane that runs, of some that do."""
    width = f"i{mask.lanes}"
    bits = e.f.pure(f"bitcast {mask.typed} to {width}", int64, 0, mask.level)
    text = f"call {width} @llvm.cttz.{width}({width} {bits.text}, i1 true)"
    lane = e.f.pure(text, int64, 0, mask.level)
    if mask.lanes == 64:
        return lane
    wider = "zext" if mask.lanes < 64 else "trunc"
    return e.f.pure(f"{wider} {width} {lane.text} to i64", int64, 0, mask.level)


def any_lane(e: Emitter, mask: Value) -> Value:
    bits = e.f.pure(f"bitcast {mask.typed} to i{mask.lanes}", bool_, 0, mask.level)
    return e.f.pure(f"icmp ne i{mask.lanes} {bits.text}, 0", bool_, 0, mask.level)


def run_check(e: Emitter, stmt: loop.Check) -> None:
    f = e.f
    condition = e.eval(stmt.condition)
    if condition.number is not None and condition.number:
        return
    values = [e.eval(value) for value in stmt.values]
    wrong = operators.apply(f, e.target, "not", [e.unify([condition])[0]], bool_)
    lanes = []
    if e.lanes:
        wrong = f.broadcast(wrong, e.lanes)
        if e.mask is not None:
            wrong = f.op("and", bool_, wrong, e.mask)
        lanes = [f.vector(value, e.lanes) for value in values]
        failed = any_lane(e, wrong)
    else:
        lanes = [f.scalar(value) for value in values]
        failed = wrong
    cold, after = f.fresh("f"), f.fresh("o")
    f.do(f"br i1 {failed.text}, label %{cold}, label %{after}, !prof !0")
    f.do(f"{after}:")
    f.scope.label = after
    lines = [f"{cold}:"]
    texts = [value.text for value in lanes]
    if e.lanes:
        bits, lane = f.fresh(), f.fresh()
        width = f"i{e.lanes}"
        lines.append(f"{bits} = bitcast {wrong.typed} to {width}")
        lines.append(f"{lane} = call {width} @llvm.cttz.{width}({width} {bits}, i1 false)")
        texts = []
        for value in lanes:
            name = f.fresh()
            lines.append(f"{name} = extractelement {value.typed}, {width} {lane}")
            texts.append(name)
    fetching, fail = e.module.layout.fetched(f, "fail")
    lines += [
        *fetching,
        f"call void {fail}(ptr %frame, i32 {stmt.site}, i64 {texts[0]}, i64 {texts[1]})",
        f"br label %{after}",
    ]
    f.cold += lines
