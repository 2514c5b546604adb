"""The text of one LLVM function, built scope by scope.

A scope is a stretch of straight code at one depth of nesting; its last block stays open while the
scopes inside it are built, so an instruction that depends only on outer values is put there: loop
invariants are hoisted because they are never emitted inside. Instructions without effects are kept
once a scope (the text is the key), which is local value numbering.

Each loop has two scopes: its entry, run once where the loop runs at all, and its body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..dtypes import DType, bool_, int64
from .cpu_values import (
    Linear,
    Operand,
    Value,
    constant,
    literal,
    memory_type,
    type_of,
    vector_literal,
)

PLAIN, ENTRY, BODY, BRANCH = "plain", "entry", "body", "branch"


class Scope:
    __slots__ = ("lines", "known", "label", "kind", "guarded", "stores", "phis", "nested")

    def __init__(self, kind: str, label: str, guarded: bool = False, stores=None):
        self.lines: list[str] = []
        self.known: dict = {}
        self.label, self.kind, self.guarded = label, kind, guarded
        self.stores = stores  # of a loop's body: what memory it writes
        self.phis: list[str] = []
        self.nested = False  # whether there are loops inside


class Function:
    """One function being written. `parameters` are typed operands such as "ptr %frame". A `quick`
    one LLVM translates as fast as it can: it runs seldom, or takes no time itself."""

    def __init__(
        self,
        name: str,
        result: str,
        parameters: Iterable[str],
        linkage: str = "",
        quick: bool = False,
    ):
        self.name, self.result = name, result
        self.parameters, self.linkage = list(parameters), linkage
        self.attributes = "#1" if quick else "#0"
        self.scopes = [Scope(PLAIN, "entry")]
        self.allocations: list[str] = []
        self.cold: list[str] = []
        self._count = 0

    # -- names and scopes

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    @property
    def level(self) -> int:
        return len(self.scopes) - 1

    def fresh(self, prefix: str = "%v") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def push(self, kind: str, guarded: bool = False, stores=None) -> Scope:
        scope = Scope(kind, self.fresh("b"), guarded, stores)
        self.scopes.append(scope)
        return scope

    def pop(self) -> Scope:
        done = self.scopes.pop()
        self.scopes[-1].nested = self.scopes[-1].nested or done.nested
        return done

    # -- instructions

    def pure(self, text: str, dtype: DType, lanes: int, level: int) -> Value:
        """The value of an instruction without effects, placed at the level of its operands."""
        known = self.scopes[level].known
        found = known.get(text)
        if found is None:
            name = self.fresh()
            self.scopes[level].lines.append(f"{name} = {text}")
            found = known[text] = Value(name, dtype, lanes, level)
        elif found.dtype is not dtype:  # the same bits, signed and unsigned
            return Value(found.text, dtype, lanes, level)
        return found

    def do(self, text: str) -> None:
        """An instruction with an effect, here."""
        self.scope.lines.append(text)

    def define(self, text: str, dtype: DType, lanes: int = 0) -> Value:
        """The value of an instruction that must stand here."""
        name = self.fresh()
        self.scope.lines.append(f"{name} = {text}")
        return Value(name, dtype, lanes, self.level)

    def allocate(self, element: str, count: int) -> Value:
        name = self.fresh("%a")
        self.allocations.append(f"{name} = alloca [{count} x {element}], align 64")
        return Value(name, int64)

    def op(self, opcode: str, dtype: DType, *args: Value, result: DType | None = None) -> Value:
        """`opcode type a, b`: operands of one type."""
        lanes, level = args[0].lanes, max([a.level for a in args])
        operands = ", ".join([a.text for a in args])
        return self.pure(
            f"{opcode} {type_of(dtype, lanes)} {operands}", result or dtype, lanes, level
        )

    def call(self, name: str, dtype: DType, *args: Value, convention: str = "") -> Value:
        """A call of a pure function or intrinsic."""
        lanes = args[0].lanes
        level = max([a.level for a in args])
        operands = ", ".join([a.typed for a in args])
        text = f"call {convention}{type_of(dtype, lanes)} @{name}({operands})"
        return self.pure(text, dtype, lanes, level)

    def intrinsic(self, name: str, *args: Value) -> Value:
        """An LLVM intrinsic overloaded on the type of its operands."""
        suffix = mangled(args[0].dtype, args[0].lanes)
        return self.call(f"llvm.{name}.{suffix}", args[0].dtype, *args)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        if condition.number is not None:
            return a if condition.number else b
        if a.text == b.text:
            return a
        if a.lanes and not condition.lanes:
            condition = self.broadcast(condition, a.lanes)
        level = max(condition.level, a.level, b.level)
        return self.pure(f"select {condition.typed}, {a.typed}, {b.typed}", a.dtype, a.lanes, level)

    def compare(self, predicate: str, a: Value, b: Value) -> Value:
        opcode = "fcmp" if a.dtype.is_floating else "icmp"
        return self.op(f"{opcode} {predicate}", a.dtype, a, b, result=bool_)

    def convert(self, opcode: str, value: Value, dtype: DType) -> Value:
        return self.pure(
            f"{opcode} {value.typed} to {type_of(dtype, value.lanes)}",
            dtype, value.lanes, value.level,
        )  # fmt: skip

    def broadcast(self, value: Value, lanes: int) -> Value:
        if value.lanes == lanes:
            return value
        assert not value.lanes, (value.text, value.lanes, lanes)
        if value.number is not None:
            return constant(value.number, value.dtype, lanes)
        if value.text == "poison":
            return Value("poison", value.dtype, lanes)
        vector = type_of(value.dtype, lanes)
        first = self.pure(
            f"insertelement {vector} poison, {value.typed}, i64 0", value.dtype, lanes, value.level
        )
        return self.pure(
            f"shufflevector {vector} {first.text}, {vector} poison, "
            f"<{lanes} x i32> zeroinitializer",
            value.dtype, lanes, value.level,
        )  # fmt: skip

    def extract(self, value: Value, lane: int) -> Value:
        if not value.lanes:
            return value
        if value.number is not None:
            return constant(value.number, value.dtype)
        return self.pure(f"extractelement {value.typed}, i64 {lane}", value.dtype, 0, value.level)

    def extract_at(self, value: Value, lane: Value) -> Value:
        """The element of a lane whose number is an int64."""
        return self.pure(
            f"extractelement {value.typed}, {lane.typed}",
            value.dtype, 0, max(value.level, lane.level),
        )  # fmt: skip

    def insert(self, vector: Value, value: Value, lane: int) -> Value:
        level = max(vector.level, value.level)
        return self.pure(
            f"insertelement {vector.typed}, {value.typed}, i64 {lane}",
            vector.dtype, vector.lanes, level,
        )  # fmt: skip

    def shuffle(self, value: Value, lanes: Iterable[int]) -> Value:
        picked = list(lanes)
        mask = vector_literal("i32", picked)
        return self.pure(
            f"shufflevector {value.typed}, {value.type} poison, <{len(picked)} x i32> {mask}",
            value.dtype, len(picked), value.level,
        )  # fmt: skip

    def transposed(self, rows: Sequence[Value]) -> list[Value]:
        """Of as many vectors as they have lanes, a power of two, the vectors of their columns.

        Laid out one behind the other, dealing out the two halves of all elements in turn rotates
        the bits of each one's place by one; after half of the bits rows and columns are swapped.
        """
        lanes, half = len(rows), len(rows) // 2
        for _ in range(lanes.bit_length() - 1):
            dealt = []
            for a, b in zip(rows[:half], rows[half:], strict=True):
                for start in (0, half):
                    picked = [n for k in range(start, start + half) for n in (k, lanes + k)]
                    dealt.append(self.merge(a, b, picked))
            rows = dealt
        return list(rows)

    def merge(self, a: Value, b: Value, lanes: Iterable[int]) -> Value:
        """Lanes picked from two vectors, those of `b` numbered on from those of `a`."""
        picked = list(lanes)
        return self.pure(
            f"shufflevector {a.typed}, {b.typed}, <{len(picked)} x i32> "
            f"{vector_literal('i32', picked)}",
            a.dtype, len(picked), max(a.level, b.level),
        )  # fmt: skip

    # -- int64 forms

    def scalar(self, operand: Operand) -> Value:
        """A uniform int64 as one value; what outer scopes can add up is added there."""
        if isinstance(operand, Value):
            return operand
        assert not operand.stride
        total: Value | None = None
        for value, coefficient in operand.sorted_terms():
            if coefficient == -1 and total is not None:
                total = self.op("sub", int64, total, value)
                continue
            if coefficient != 1:
                value = self.op("mul", int64, value, constant(coefficient, int64))
            total = value if total is None else self.op("add", int64, total, value)
        if total is None:
            return constant(operand.constant, int64)
        if operand.constant:
            total = self.op("add", int64, total, constant(operand.constant, int64))
        if operand.nonnegative and not total.nonnegative:
            total.nonnegative = True
        return total

    def vector(self, operand: Operand, lanes: int, dtype: DType = int64) -> Value:
        """An int64 form as one value per lane, of a narrower integer type where asked for."""
        if isinstance(operand, Value):
            return self.broadcast(operand, lanes)
        base = self.scalar(operand.uniform())
        if dtype is not int64:
            base = (
                constant(base.number, dtype)
                if base.number is not None
                else self.convert("trunc", base, dtype)
            )
        if not operand.stride:
            return self.broadcast(base, lanes)
        steps = [operand.stride * lane for lane in range(lanes)]
        if base.number is not None:
            numbers = vector_literal(type_of(dtype), [base.number + step for step in steps])
            return Value(numbers, dtype, lanes)
        element = type_of(dtype)
        return self.op(
            "add", dtype, self.broadcast(base, lanes),
            Value(vector_literal(element, steps), dtype, lanes),
        )  # fmt: skip

    def address(self, base: Value, element: str, index: Linear) -> Value:
        """The address of an element, scope by scope; `index` is uniform."""
        terms = index.sorted_terms()
        pointer, position = base, 0
        while position < len(terms):
            level = terms[position][0].level
            end = position
            while end < len(terms) and terms[end][0].level == level:
                end += 1
            part = self.scalar(Linear(0, {v.text: (v, c) for v, c in terms[position:end]}))
            pointer = self.offset(pointer, element, part)
            position = end
        if index.constant:
            pointer = self.offset(pointer, element, constant(index.constant, int64))
        return pointer

    def offset(self, pointer: Value, element: str, count: Value) -> Value:
        return self.pure(
            f"getelementptr {element}, ptr {pointer.text}, i64 {count.text}",
            int64, 0, max(pointer.level, count.level),
        )  # fmt: skip

    # -- text

    def text(self) -> str:
        assert len(self.scopes) == 1
        parameters = ", ".join(self.parameters)
        head = f"define {self.linkage}{self.result} @{self.name}({parameters}) {self.attributes} {{"
        lines = [head, "entry:", *self.allocations, *self.scope.lines, *self.cold, "}", ""]
        return "\n".join(lines)


def mangled(dtype: DType, lanes: int = 0) -> str:
    """A type as intrinsic names spell it: f32, v16f32, i64."""
    kind = f"f{dtype.bits}" if dtype.is_floating else "i1" if dtype.is_bool else f"i{dtype.bits}"
    return f"v{lanes}{kind}" if lanes else kind


def memory_mangled(dtype: DType, lanes: int) -> str:
    return f"v{lanes}i8" if dtype.is_bool else mangled(dtype, lanes)


__all__ = [
    "BODY", "BRANCH", "ENTRY", "PLAIN", "Callable", "Function", "Scope", "literal", "mangled",
    "memory_mangled", "memory_type",
]  # fmt: skip
