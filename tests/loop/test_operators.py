"""The NumPy meaning of every operator of Loop expressions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphflow.dtypes import bool_, float32, float64, int8, int32, int64, uint8, uint32
from graphflow.loop.nodes import OPERATORS
from graphflow.loop.operators import function

# operator, dtype of operands, operands, expected (of the same dtype unless a third item says)
CASES = [
    ("add", int8, (127, 1), -128),
    ("sub", uint8, (0, 1), 255),
    ("mul", int32, (1 << 20, 1 << 12), 0),
    ("add", int64, (2**63 - 1, 1), -(2**63)),
    ("div", int32, (-7, 2), -3),
    ("div", int32, (7, -2), -3),
    ("div", int32, (-8, 2), -4),
    ("div", uint8, (250, 7), 35),
    ("div", float32, (1.0, 0.0), math.inf),
    ("floordiv", int32, (-7, 2), -4),
    ("floordiv", float32, (-7.0, 2.0), -4.0),
    ("mod", int32, (-7, 3), 2),
    ("mod", int32, (7, -3), -2),
    ("mod", float32, (-7.5, 2.0), 0.5),
    ("truncmod", int32, (-7, 3), -1),
    ("truncmod", float32, (-7.5, 2.0), -1.5),
    ("maximum", float32, (math.nan, 1.0), math.nan),
    ("minimum", float32, (1.0, math.nan), math.nan),
    ("maximum", int32, (-3, 2), 2),
    ("minimum", bool_, (True, False), False),
    ("pow", int32, (3, 5), 243),
    ("pow", int32, (3, -1), 0),
    ("pow", int32, (-1, -3), -1),
    ("pow", float32, (2.0, 0.5), math.sqrt(2)),
    ("atan2", float64, (1.0, -1.0), 3 * math.pi / 4),
    ("and", int32, (12, 10), 8),
    ("or", bool_, (True, False), True),
    ("xor", uint32, (5, 1), 4),
    ("not", int32, (0,), -1),
    ("not", bool_, (True,), False),
    ("shl", int32, (1, 31), -(2**31)),
    ("shl", int32, (1, 32), 0),
    ("shr", int32, (-1, 28), 15),
    ("sar", int32, (-16, 2), -4),
    ("sar", int32, (-16, 40), -1),
    ("shr", uint32, (2**32 - 1, 31), 1),
    ("neg", uint8, (1,), 255),
    ("abs", int8, (-128,), -128),
    ("sign", float32, (-0.5,), -1.0),
    ("sign", float32, (math.nan,), math.nan),
    ("sign", int32, (-9,), -1),
    ("round", float32, (2.5,), 2.0),
    ("round", float32, (-0.5,), -0.0),
    ("floor", int32, (-3,), -3),
    ("trunc", float32, (-1.7,), -1.0),
    ("rsqrt", float32, (4.0,), 0.5),
    ("reciprocal", float32, (-4.0,), -0.25),
    ("sigmoid", float32, (-200.0,), 0.0),
    ("sigmoid", float64, (0.0,), 0.5),
    ("softplus", float64, (800.0,), 800.0),
    ("erf", float64, (0.5,), math.erf(0.5)),
    ("erfc", float64, (3.0,), math.erfc(3.0)),
    ("lgamma", float64, (5.0,), math.log(24)),
    ("lgamma", float64, (0.0,), math.inf),
    ("lgamma", float64, (-2.0,), math.inf),
    ("digamma", float64, (1.0,), -0.57721566490153286),
    ("digamma", float64, (-0.5,), 0.03648997397857652),
    ("digamma", float64, (-1.0,), math.nan),
    ("digamma", float64, (100.0,), 4.600161852738087),
    ("fma", float32, (3.0, 4.0, 5.0), 17.0),
    ("fma", int32, (1 << 30, 4, 5), 5),
    ("ldexp", float32, (0.75, 4.0), 12.0),
    ("ldexp", float32, (1.5, -149.0), 2.0**-148),
    ("mulhi", uint32, (2**32 - 1, 2**32 - 1), 2**32 - 2),
    ("mulhi", int64, (-1, -1), -2),
]


def close(actual, expected, dtype):
    if dtype.is_floating:
        eps = np.finfo(dtype.numpy).eps
        np.testing.assert_allclose(actual, expected, rtol=4 * eps, atol=8 * eps)
    else:
        assert actual == expected


@pytest.mark.parametrize(("op", "dtype", "operands", "expected"), CASES)
def test_value(op, dtype, operands, expected):
    """On scalars and on arrays, with the stated dtype."""
    run = function(op, dtype, dtype)
    with np.errstate(all="ignore"):
        scalar = run(*(dtype.numpy.type(v) for v in operands))
        lanes = run(*(np.full(3, v, dtype.numpy) for v in operands))
    assert scalar.dtype == lanes.dtype == dtype.numpy
    close(scalar, dtype.numpy.type(expected), dtype)
    for lane in lanes:
        close(lane, dtype.numpy.type(expected), dtype)


def test_the_sign_of_zero_is_kept():
    assert math.copysign(1, function("round", float32, float32)(np.float32(-0.5))) == -1


@pytest.mark.parametrize("op", ["div", "floordiv", "mod", "truncmod"])
def test_dividing_an_integer_by_zero_gives_zero(op):
    run = function(op, int32, int32)
    assert run(np.int32(7), np.int32(0)) == 0
    assert run(np.int32(7), np.array([7, 0], np.int32))[1] == 0


@pytest.mark.parametrize(
    ("value", "source", "result", "expected"),
    [
        (-1.7, float32, int32, -1),
        (300, int32, uint8, 44),
        (-1, int32, uint32, 2**32 - 1),
        (2, int32, bool_, True),
        (0.5, float32, bool_, True),
        (True, bool_, float32, 1.0),
        (1e300, float64, float32, math.inf),
        (2**24 + 1, int32, float32, 2.0**24),
        (1e30, float32, int32, 2**31 - 1),
        (-math.inf, float64, int64, -(2**63)),
        (2.0**63, float64, int64, 2**63 - 1),
        (-3.0, float32, uint8, 0),
        (255.9, float32, uint8, 255),
        (math.nan, float32, int32, 0),
    ],
)
def test_cast(value, source, result, expected):
    with np.errstate(all="ignore"):
        given = function("cast", result, source)(source.numpy.type(value))
    assert given == expected and given.dtype == result.numpy


def test_bitcast_keeps_the_bits():
    one = function("bitcast", uint32, float32)(np.float32(1))
    assert one == 0x3F800000 and one.dtype == np.uint32
    back = function("bitcast", float32, uint32)(np.full(2, 0x40000000, np.uint32))
    assert back.tolist() == [2, 2]
    assert function("bitcast", float64, int64)(4607182418800017408) == 1.0


def test_select_takes_one_of_two_in_the_stated_dtype():
    run = function("select", float32, float32)
    chosen = run(np.array([True, False]), np.float32(1), np.array([3, 4], np.float32))
    assert chosen.tolist() == [1, 4] and chosen.dtype == np.float32


def test_predicates():
    values = np.array([math.nan, math.inf, -math.inf, 1.0], np.float32)
    for op, expected in (
        ("isnan", [True, False, False, False]),
        ("isinf", [False, True, True, False]),
        ("isfinite", [False, False, False, True]),
    ):
        assert function(op, bool_, float32)(values).tolist() == expected


@pytest.mark.parametrize("op", sorted(OPERATORS - {"cast", "bitcast", "select"}))
def test_every_operator_has_a_meaning(op):
    dtype = float32
    if op in ("and", "or", "xor", "not", "shl", "shr", "sar", "mulhi"):
        dtype = int32
    result = (
        bool_ if op in ("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite") else dtype
    )
    count = 3 if op == "fma" else 1 if op not in BINARY else 2
    operands = [np.full(2, 1 if dtype is int32 else 0.5, dtype.numpy)] * count
    with np.errstate(all="ignore"):
        given = function(op, result, dtype)(*operands)
    assert given.shape == (2,) and given.dtype == result.numpy


BINARY = {
    "add", "sub", "mul", "div", "floordiv", "mod", "truncmod", "maximum", "minimum", "pow", "atan2",
    "and", "or", "xor", "shl", "shr", "sar", "eq", "ne", "lt", "le", "gt", "ge", "ldexp",
    "mulhi",
}  # fmt: skip
