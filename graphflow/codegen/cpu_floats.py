"""What each operator of floating-point numbers is in LLVM instructions: see cpu_operators.py."""

from __future__ import annotations

from collections.abc import Callable

from ..dtypes import float32, int32, int64
from .cpu_blocks import Function
from .cpu_values import Value, constant, vector_literal
from .target import Target

# Twice this magnitude has no fraction bits left: adding it rounds to the nearest even integer.
_ROUNDER = {32: 2.0**23, 64: 2.0**52}


def like(value: Value, number) -> Value:
    return constant(number, value.dtype, value.lanes)


def fma(f: Function, target: Target, a: Value, b: Value, c: Value) -> Value:
    """a * b + c, fused where the target has that."""
    if not a.dtype.is_floating:
        return f.op("add", a.dtype, f.op("mul", a.dtype, a, b), c)
    if target.has_fma:
        return f.intrinsic("fma", a, b, c)
    return f.op("fadd", a.dtype, f.op("fmul", a.dtype, a, b), c)


def plain(opcode: str) -> Callable:
    return lambda f, target, a, b: f.op(opcode, a.dtype, a, b)


def _extremum_float(predicate: str) -> Callable:
    """`a > b ? a : b` is one instruction, and gives b where either is NaN; so a constant goes
    first, and otherwise a NaN in a is put back."""

    def emit(f, target, a, b):
        if b.number is not None and a.number is None:
            a, b = b, a
        picked = f.select(f.compare(predicate, a, b), a, b)
        if a.number is not None and a.number == a.number:
            return picked
        return f.select(f.compare("uno", a, a), a, picked)

    return emit


def _sign_float(f, target, a):
    zero = like(a, 0.0)
    below = f.select(f.compare("olt", a, zero), like(a, -1.0), a)
    return f.select(f.compare("ogt", a, zero), like(a, 1.0), below)


def _rounding(intrinsic: str) -> Callable:
    def emit(f, target, a):
        if target.has_rounding:
            return f.intrinsic(intrinsic, a)
        return _round_by_adding(f, a, intrinsic)

    return emit


def _round_by_adding(f: Function, a: Value, how: str) -> Value:
    """For targets whose vector unit cannot round: adding 2**fraction bits rounds to even, and the
    others are one step away from that."""
    size = f.intrinsic("fabs", a)
    big = like(a, _ROUNDER[a.dtype.bits])
    one, zero = like(a, 1.0), like(a, 0.0)
    nearest = f.op("fsub", a.dtype, f.op("fadd", a.dtype, size, big), big)
    if how == "trunc":
        over = f.select(f.compare("ogt", nearest, size), one, zero)
        nearest = f.op("fsub", a.dtype, nearest, over)
    result = f.call(
        f"llvm.copysign.{'v' + str(a.lanes) if a.lanes else ''}f{a.dtype.bits}", a.dtype, nearest, a
    )
    if how == "floor":
        result = f.op("fsub", a.dtype, result, f.select(f.compare("ogt", result, a), one, zero))
    elif how == "ceil":
        result = f.op("fadd", a.dtype, result, f.select(f.compare("olt", result, a), one, zero))
    # Beyond that size, and for infinities and NaN, the value is its own rounding.
    return f.select(f.compare("olt", size, big), result, a)


def _ldexp(f: Function, target: Target, a: Value, n: Value) -> Value:
    register = a.dtype.bits * a.lanes
    if target.has_masks and target.machine == "x86_64" and register >= 256:
        return _scalef(f, a, n, 512 // a.dtype.bits)
    integer, mantissa, bias = (int32, 23, 127) if a.dtype is float32 else (int64, 52, 1023)
    # Adding this leaves an integer in the low bits; two factors round results below the smallest
    # normal number once, and reach every exponent.
    shift = like(a, 1.5 * 2.0**mantissa)
    base = f.convert("bitcast", shift, integer)
    moved = f.convert("bitcast", f.op("fadd", a.dtype, n, shift), integer)
    whole = f.op("sub", integer, moved, base)
    half = f.op("ashr", integer, whole, like(whole, 1))
    for part in (half, f.op("sub", integer, whole, half)):
        exponent = f.op("add", integer, part, like(part, bias))
        power = f.op("shl", integer, exponent, like(part, mantissa))
        a = f.op("fmul", a.dtype, a, f.convert("bitcast", power, a.dtype))
    return a


def _scalef(f: Function, a: Value, n: Value, most: int) -> Value:
    """AVX-512's instruction, half by half where there are more lanes than a register has."""
    if a.lanes > most:
        half = a.lanes // 2
        parts = (range(half), range(half, a.lanes))
        low, high = (_scalef(f, f.shuffle(a, p), f.shuffle(n, p), most) for p in parts)
        level = max(low.level, high.level)
        lanes = vector_literal("i32", range(a.lanes))
        return f.pure(
            f"shufflevector {low.typed}, {high.typed}, <{a.lanes} x i32> {lanes}",
            a.dtype, a.lanes, level,
        )  # fmt: skip
    bits = a.dtype.bits * a.lanes
    kind = "ps" if a.dtype is float32 else "pd"
    rounding = ", i32 4" if bits == 512 else ""  # as the mode says
    return f.pure(
        f"call {a.type} @llvm.x86.avx512.mask.scalef.{kind}.{bits}({a.typed}, {n.typed}, "
        f"{a.type} zeroinitializer, i{max(8, a.lanes)} -1{rounding})",
        a.dtype, a.lanes, max(a.level, n.level),
    )  # fmt: skip


def _reciprocal(f, target, a):
    return f.op("fdiv", a.dtype, like(a, 1.0), a)


def _rsqrt(f, target, a):
    return f.op("fdiv", a.dtype, like(a, 1.0), f.intrinsic("sqrt", a))


def _is_size(predicate: str) -> Callable:
    def emit(f, target, a):
        infinity = constant(float("inf"), a.dtype, a.lanes)
        return f.compare(predicate, f.intrinsic("fabs", a), infinity)

    return emit


FLOATS: dict[str, Callable] = {
    "add": plain("fadd"), "sub": plain("fsub"), "mul": plain("fmul"), "div": plain("fdiv"),
    "maximum": _extremum_float("ogt"), "minimum": _extremum_float("olt"),
    "neg": lambda f, target, a: f.pure(f"fneg {a.typed}", a.dtype, a.lanes, a.level),
    "abs": lambda f, target, a: f.intrinsic("fabs", a),
    "sign": _sign_float,
    "floor": _rounding("floor"), "ceil": _rounding("ceil"), "round": _rounding("roundeven"),
    "trunc": _rounding("trunc"),
    "sqrt": lambda f, target, a: f.intrinsic("sqrt", a),
    "rsqrt": _rsqrt, "reciprocal": _reciprocal, "fma": fma, "ldexp": _ldexp,
    "isnan": lambda f, target, a: f.compare("uno", a, a),
    "isinf": _is_size("oeq"), "isfinite": _is_size("olt"),
}  # fmt: skip
