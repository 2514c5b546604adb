"""What each operator of Loop expressions is in LLVM instructions, for any number of lanes.

Nothing here may become a call of a library function, trap, or be undefined for some operand:
integer division by zero gives 0, a float that no integer can hold becomes the nearest one (NaN: 0),
shifts by more than the width give what shifting bit by bit would. Operators that need more than a
few instructions (transcendental functions, floating remainders, integer powers) are templates
written in Loop IR: see math.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..dtypes import DType, bool_, float32, float64, int32, int64
from ..loop.operators import function as numpy_function
from .cpu_blocks import Function, mangled
from .cpu_floats import FLOATS, fma, like, plain
from .cpu_values import FALSE, TRUE, Linear, Operand, Value, constant, literal
from .target import Target

_PREDICATES = {
    "eq": ("oeq", "eq", "eq"), "ne": ("une", "ne", "ne"), "lt": ("olt", "slt", "ult"),
    "le": ("ole", "sle", "ule"), "gt": ("ogt", "sgt", "ugt"), "ge": ("oge", "sge", "uge"),
}  # fmt: skip
_PYTHON = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
}  # fmt: skip


def linear(f: Function, op: str, args: Sequence[Operand]) -> Operand | None:
    """int64 arithmetic on linear forms, or None where the result is not linear."""
    if any(isinstance(a, Value) and a.lanes for a in args):
        return None
    forms = [Linear.of(a) for a in args]
    if op == "neg":
        return forms[0].times(-1)
    if len(forms) != 2:
        return None
    a, b = forms
    if op == "add":
        return a.plus(b)
    if op == "sub":
        return a.plus(b, -1)
    if op == "mul":
        if a.number is not None:
            return b.times(a.number)
        if b.number is not None:
            return a.times(b.number)
        if not a.stride and not b.stride:
            x, y = f.scalar(a), f.scalar(b)
            product = f.op("mul", int64, x, y)
            product.nonnegative = x.nonnegative and y.nonnegative
            return product
        return None
    if op in ("floordiv", "mod") and b.number is not None and b.number > 0:
        return _divide(f, op, a, b.number)
    return None


def _divide(f: Function, op: str, a: Linear, divisor: int) -> Operand | None:
    """Linear // constant and Linear % constant: multiples of the divisor come out exactly."""
    if divisor == 1:
        return a if op == "floordiv" else Linear(0, {})
    if a.number is not None:
        return Linear(a.number // divisor if op == "floordiv" else a.number % divisor, {})
    if a.stride:
        return None
    outside = {k: (v, c // divisor) for k, (v, c) in a.terms.items() if c % divisor == 0}
    rest = Linear(a.constant % divisor, {k: t for k, t in a.terms.items() if t[1] % divisor})
    whole = Linear(a.constant // divisor, outside)
    if rest.number is not None:
        return whole if op == "floordiv" else rest
    if not rest.nonnegative:
        return None
    opcode = "udiv" if op == "floordiv" else "urem"
    part = f.op(opcode, int64, f.scalar(rest), constant(divisor, int64))
    part.nonnegative = True
    return whole.plus(Linear.of(part)) if op == "floordiv" else part


def compare_linear(
    f: Function, op: str, a: Operand, b: Operand, lanes: int, number_type: DType
) -> Value | None:
    """A comparison of int64 forms. With a stride it is one of lane numbers with a clamped scalar,
    in integers as narrow as the lanes are: one instruction for a whole mask."""
    if any(isinstance(x, Value) and x.lanes for x in (a, b)):
        return None
    difference = Linear.of(a).plus(Linear.of(b), -1)
    if difference.number is not None:
        return TRUE if _PYTHON[op](difference.number, 0) else FALSE
    predicate = _PREDICATES[op][1]
    if not difference.stride:
        return f.compare(predicate, f.scalar(a), f.scalar(b))
    reach = difference.stride * (lanes - 1)
    if abs(reach) >= 1 << (number_type.bits - 2):
        number_type = int64
    limit = f.scalar(difference.uniform().times(-1))
    if number_type is not int64:
        # Beyond the reach of the lanes every limit compares alike.
        edge = abs(reach) + 1
        limit = f.call("llvm.smin.i64", int64, limit, constant(edge, int64))
        limit = f.call("llvm.smax.i64", int64, limit, constant(-edge, int64))
        limit = f.convert("trunc", limit, number_type)
    steps = f.vector(Linear(0, {}, difference.stride), lanes, number_type)
    return f.compare(predicate, steps, f.broadcast(limit, lanes))


def apply(f: Function, target: Target, op: str, args: Sequence[Value], dtype: DType) -> Value:
    """`op` on values of equal lanes; linear forms have been made values."""
    if all(a.number is not None for a in args):
        folded = _fold(op, args, dtype)
        if folded is not None:
            return folded
    operand = args[1 if op == "select" else 0].dtype
    if op in _PREDICATES:
        return compare(f, op, args[0], args[1])
    if op == "select":
        return f.select(*args)
    if op == "cast":
        return cast(f, args[0], dtype)
    if op == "bitcast":
        return args[0] if operand is dtype else f.convert("bitcast", args[0], dtype)
    table = _BOOLS if operand.is_bool else FLOATS if operand.is_floating else _INTEGERS
    return table[op](f, target, *args)


def _fold(op: str, args: Sequence[Value], dtype: DType) -> Value | None:
    import numpy as np

    operand = args[1 if op == "select" else 0].dtype
    if op in ("div", "floordiv", "mod", "truncmod") and operand.is_integer and not args[1].number:
        return None
    numbers = [a.dtype.numpy.type(a.number) for a in args]
    try:
        with np.errstate(all="ignore"):
            number = numpy_function(op, dtype, operand)(*numbers).item()
    except KeyError:
        return None
    if op == "cast" and operand.is_floating and dtype.is_integer:
        number = _saturate(float(args[0].number), dtype)
    return constant(number, dtype, args[0].lanes)


def _saturate(number: float, dtype: DType) -> int:
    if number != number:
        return 0
    low, high = int(dtype.min), int(dtype.max)
    return low if number <= low else high if number >= high else int(number)


def compare(f: Function, op: str, a: Value, b: Value) -> Value:
    kind = 0 if a.dtype.is_floating else 1 if a.dtype.kind == "int" else 2
    return f.compare(_PREDICATES[op][kind], a, b)


def cast(f: Function, value: Value, dtype: DType) -> Value:
    source = value.dtype
    if source is dtype:
        return value
    zero = constant(0, source, value.lanes)
    if dtype.is_bool:
        return f.compare("une" if source.is_floating else "ne", value, zero)
    if source.is_bool:
        return f.convert("uitofp" if dtype.is_floating else "zext", value, dtype)
    if source.is_floating:
        if dtype.is_floating:
            return f.convert("fpext" if dtype.bits > source.bits else "fptrunc", value, dtype)
        return _saturating(f, value, dtype)
    unsigned = source.is_unsigned
    if dtype.is_floating:
        return f.convert("uitofp" if unsigned else "sitofp", value, dtype)
    if dtype.bits > source.bits:
        return f.convert("zext" if unsigned else "sext", value, dtype)
    if dtype.bits < source.bits:
        return f.convert("trunc", value, dtype)
    return Value(
        value.text, dtype, value.lanes, value.level,
        None if value.number is None else constant(value.number, dtype).number,
    )  # fmt: skip


def _saturating(f: Function, value: Value, dtype: DType) -> Value:
    sign = "u" if dtype.is_unsigned else "s"
    if value.lanes:
        # LLVM takes saturating conversions of wide vectors apart, lane by lane.
        low, above = like(value, int(dtype.min)), like(value, int(dtype.max) + 1)
        under, over = f.compare("olt", value, low), f.compare("oge", value, above)
        outside = f.op("or", bool_, over, f.compare("ult", value, low))  # NaN too
        safe = f.select(outside, like(value, 0.0), value)
        whole = f.convert(f"fpto{sign}i", safe, dtype)
        whole = f.select(over, constant(int(dtype.max), dtype, value.lanes), whole)
        return f.select(under, constant(int(dtype.min), dtype, value.lanes), whole)
    name = f"llvm.fpto{sign}i.sat.{mangled(dtype, value.lanes)}.{mangled(value.dtype, value.lanes)}"
    return f.call(name, dtype, value)


# -- integers ------------------------------------------------------------------------------------


def _wide_float(dtype: DType) -> DType | None:
    """The floating type in which quotients of a narrow integer type come out exact."""
    return float32 if dtype.bits <= 8 else float64 if dtype.bits <= 32 else None


def _quotient(f: Function, a: Value, b: Value) -> Value:
    """a / b truncated, for b that is neither 0 nor -1 (signed). No vector unit divides integers;
    floating division followed by truncation is exact while the operands fit its significand."""
    wide = _wide_float(a.dtype)
    unsigned = a.dtype.is_unsigned or (a.nonnegative and b.nonnegative)
    if wide is None or not a.lanes:
        return f.op("udiv" if unsigned else "sdiv", a.dtype, a, b)
    quotient = f.op("fdiv", wide, cast(f, a, wide), cast(f, b, wide))
    return f.convert("fptoui" if a.dtype.is_unsigned else "fptosi", quotient, a.dtype)


def _safe_quotient(f: Function, a: Value, b: Value) -> Value:
    """a / b truncated; 0 where b is 0; the wrapped negation where b is -1."""
    zero, one = like(b, 0), like(b, 1)
    signed = not a.dtype.is_unsigned and not (a.nonnegative and b.nonnegative)
    if b.number is not None:
        if b.number == 0:
            return zero
        if b.number == -1 and signed:
            return f.op("sub", a.dtype, zero, a)
        return _quotient(f, a, b)
    by_zero = f.compare("eq", b, zero)
    safe = f.select(by_zero, one, b)
    safe.nonnegative = safe.nonnegative or b.nonnegative
    if signed:
        by_minus = f.compare("eq", b, like(b, -1))
        quotient = _quotient(f, a, f.select(by_minus, one, safe))
        quotient = f.select(by_minus, f.op("sub", a.dtype, zero, a), quotient)
    else:
        quotient = _quotient(f, a, safe)
    return f.select(by_zero, zero, quotient)


def _rest(f: Function, a: Value, b: Value, quotient: Value) -> Value:
    return f.op("sub", a.dtype, a, f.op("mul", a.dtype, quotient, b))


def _div_integer(f, target, a, b):
    result = _safe_quotient(f, a, b)
    if a.nonnegative and b.nonnegative:
        result.nonnegative = True
    return result


def _truncmod_integer(f, target, a, b):
    zero = like(b, 0)
    rest = _rest(f, a, b, _safe_quotient(f, a, b))
    # With a quotient of 0 the rest of a division by zero would be the dividend.
    return rest if b.number else f.select(f.compare("eq", b, zero), zero, rest)


def _needs_floor(f, a, b, rest):
    """Whether truncation went up: there is a rest, of another sign than the divisor's."""
    zero = like(a, 0)
    differs = f.compare("slt", f.op("xor", a.dtype, rest, b), zero)
    return f.op("and", bool_, f.compare("ne", rest, zero), differs)


def _floordiv_integer(f, target, a, b):
    if a.dtype.is_unsigned or (a.nonnegative and b.nonnegative):
        return _div_integer(f, target, a, b)
    quotient = _safe_quotient(f, a, b)
    rest = _rest(f, a, b, quotient)
    adjusted = f.select(
        _needs_floor(f, a, b, rest), f.op("sub", a.dtype, quotient, like(a, 1)), quotient
    )
    if b.number:
        return adjusted
    return f.select(f.compare("eq", b, like(b, 0)), like(b, 0), adjusted)


def _mod_integer(f, target, a, b):
    rest = _truncmod_integer(f, target, a, b)
    if a.dtype.is_unsigned or (a.nonnegative and b.nonnegative):
        rest.nonnegative = a.nonnegative and b.nonnegative
        return rest
    return f.select(_needs_floor(f, a, b, rest), f.op("add", a.dtype, rest, b), rest)


def _extremum_integer(name: str) -> Callable:
    def emit(f, target, a, b):
        result = f.intrinsic(("u" if a.dtype.is_unsigned else "s") + name, a, b)
        result.nonnegative = a.nonnegative and b.nonnegative
        return result

    return emit


def _shift(opcode: str) -> Callable:
    def emit(f, target, a, b):
        width = a.dtype.bits
        if b.number is not None and 0 <= b.number < width:
            return f.op(opcode, a.dtype, a, b)
        beyond = f.compare("uge", b, like(b, width))
        if opcode == "ashr":
            return f.op(opcode, a.dtype, a, f.select(beyond, like(b, width - 1), b))
        shifted = f.op(opcode, a.dtype, a, f.select(beyond, like(b, 0), b))
        return f.select(beyond, like(a, 0), shifted)

    return emit


def _abs_integer(f, target, a):
    if a.dtype.is_unsigned:
        return a
    return f.pure(
        f"call {a.type} @llvm.abs.{'v' + str(a.lanes) if a.lanes else ''}i{a.dtype.bits}"
        f"({a.typed}, i1 false)", a.dtype, a.lanes, a.level,
    )  # fmt: skip


def _sign_integer(f, target, a):
    positive = f.convert("zext", f.compare("ne", a, like(a, 0)), a.dtype)
    if a.dtype.is_unsigned:
        return positive
    return f.select(f.compare("slt", a, like(a, 0)), like(a, -1), positive)


def _mulhi(f, target, a, b):
    bits = a.dtype.bits
    if bits == 64 and target.machine == "wasm32":
        return _mulhi_of_halves(f, a, b)
    wide = f"<{a.lanes} x i{2 * bits}>" if a.lanes else f"i{2 * bits}"
    shift = f"splat (i{2 * bits} {bits})" if a.lanes else str(bits)

    def step(text: str, *args: Value) -> Value:
        return f.pure(text, a.dtype, a.lanes, max(v.level for v in args))

    x, y = (step(f"zext {v.typed} to {wide}", v) for v in (a, b))
    product = step(f"mul {wide} {x.text}, {y.text}", x, y)
    high = step(f"lshr {wide} {product.text}, {shift}", product)
    return step(f"trunc {wide} {high.text} to {a.type}", high)


def _mulhi_of_halves(f: Function, a: Value, b: Value) -> Value:
    """For machines without a product of 128 bits, where LLVM would call a function of libgcc's."""

    def op(opcode: str, x: Value, y: Value) -> Value:
        return f.op(opcode, a.dtype, x, y)

    def halves(x: Value) -> tuple[Value, Value]:
        return op("and", x, like(x, 0xFFFFFFFF)), op("lshr", x, like(x, 32))

    (a0, a1), (b0, b1) = halves(a), halves(b)
    _, carried = halves(op("mul", a0, b0))
    low, high = halves(op("mul", a0, b1))
    low2, high2 = halves(op("mul", a1, b0))
    _, carried = halves(op("add", op("add", low, low2), carried))
    return op("add", op("add", op("mul", a1, b1), carried), op("add", high, high2))


def _same(f, target, a):
    return a


_INTEGERS: dict[str, Callable] = {
    "add": plain("add"), "sub": plain("sub"), "mul": plain("mul"),
    "and": plain("and"), "or": plain("or"), "xor": plain("xor"),
    "div": _div_integer, "floordiv": _floordiv_integer, "mod": _mod_integer,
    "truncmod": _truncmod_integer,
    "maximum": _extremum_integer("max"), "minimum": _extremum_integer("min"),
    "shl": _shift("shl"), "shr": _shift("lshr"), "sar": _shift("ashr"),
    "neg": lambda f, target, a: f.op("sub", a.dtype, like(a, 0), a),
    "not": lambda f, target, a: f.op("xor", a.dtype, a, like(a, -1)),
    "abs": _abs_integer, "sign": _sign_integer, "mulhi": _mulhi, "fma": fma,
    "floor": _same, "ceil": _same, "round": _same, "trunc": _same,
    "isnan": lambda f, target, a: constant(False, bool_, a.lanes),
    "isinf": lambda f, target, a: constant(False, bool_, a.lanes),
    "isfinite": lambda f, target, a: constant(True, bool_, a.lanes),
}  # fmt: skip

# -- booleans ------------------------------------------------------------------------------------

_BOOLS: dict[str, Callable] = {
    "and": plain("and"), "or": plain("or"), "xor": plain("xor"),
    "add": plain("or"), "mul": plain("and"), "maximum": plain("or"), "minimum": plain("and"),
    "not": lambda f, target, a: f.op("xor", bool_, a, like(a, True)),
    "abs": _same, "sign": _same,
    "isnan": _INTEGERS["isnan"], "isinf": _INTEGERS["isinf"], "isfinite": _INTEGERS["isfinite"],
}  # fmt: skip


def is_direct(op: str, operand: DType) -> bool:
    """Whether `apply` knows the operator; otherwise it is a template of math.py."""
    if op in _PREDICATES or op in ("select", "cast", "bitcast"):
        return True
    table = _BOOLS if operand.is_bool else FLOATS if operand.is_floating else _INTEGERS
    return op in table


__all__ = [
    "apply", "cast", "compare", "compare_linear", "fma", "int32", "is_direct", "linear", "literal",
]  # fmt: skip
