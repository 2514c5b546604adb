"""Transcendental functions in machine code: errors in ulp, edges, and every instruction set."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphflow as tf

WIDE = np.longdouble


def each(function):
    """A function of the math module, element by element; its errors are what NumPy would give."""

    def evaluate(x):
        results = []
        for value in x:
            try:
                results.append(function(float(value)))
            except OverflowError:
                results.append(math.inf)
            except ValueError:
                results.append(math.nan)
        return np.array(results, WIDE)

    return evaluate


# name: (reference, low, high)
FUNCTIONS = {
    "exp": (np.exp, -110, 100),
    "expm1": (np.expm1, -50, 88),
    "log": (np.log, 0, 1e10),
    "log1p": (np.log1p, -1, 1e6),
    "tanh": (np.tanh, -20, 20),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -80, 80),
    "softplus": (lambda x: np.logaddexp(x, WIDE(0)), -80, 100),
    "sin": (np.sin, -1e4, 1e4),
    "cos": (np.cos, -1e4, 1e4),
    "tan": (np.tan, -1e3, 1e3),
    "asin": (np.arcsin, -1, 1),
    "acos": (np.arccos, -1, 1),
    "atan": (np.arctan, -100, 100),
    "sinh": (np.sinh, -88, 88),
    "cosh": (np.cosh, -88, 88),
    "asinh": (np.arcsinh, -1e6, 1e6),
    "acosh": (np.arccosh, 1, 1e6),
    "atanh": (np.arctanh, -1, 1),
    "erf": (each(math.erf), -6, 6),
    "erfc": (each(math.erfc), -6, 9),
}
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, -0.5, 1e-40, -1e-40, 2, 3, 30, -30, 40]
ULPS = 4


def run(function, *arrays, level=None, monkeypatch=None):
    if level is not None:
        monkeypatch.setenv("GRAPHFLOW_TARGET", level)
    with tf.Graph().as_default():
        feeds = [tf.placeholder(a.dtype, [None]) for a in arrays]
        result = function(*feeds)
        with tf.Session(config=tf.ConfigProto(cache=False)) as session:
            return session.run(result, dict(zip(feeds, arrays, strict=True)))


def errors_in_ulp(got, wanted, dtype):
    """|got - wanted| in units of the last place of `wanted` rounded to dtype."""
    rounded = wanted.astype(dtype)
    limits = np.finfo(dtype)
    unit = np.spacing(np.clip(np.abs(rounded), limits.tiny, limits.max)).astype(WIDE)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0, np.abs(got.astype(WIDE) - wanted) / unit)


def samples(name, dtype, count=3000):
    _, low, high = FUNCTIONS[name]
    rng = np.random.default_rng(len(name))
    even = rng.uniform(low, high, count)
    small = np.sign(even) * 10 ** rng.uniform(-30, math.log10(max(abs(low), abs(high))), count)
    return np.concatenate([even, np.clip(small, low, high), EDGES]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_within_a_few_ulp(name, dtype):
    x = samples(name, dtype)
    got = run(getattr(tf.math, name, None) or getattr(tf, name), x)
    wanted = np.asarray(FUNCTIONS[name][0](x.astype(WIDE)), WIDE)
    errors = errors_in_ulp(got, wanted, dtype)
    worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    assert errors[worst] <= ULPS, f"{name}({x[worst]!r}) is {got[worst]!r}, not {wanted[worst]!r}"


@pytest.mark.parametrize("level", ["scalar", "sse2", "avx2"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_instruction_set(level, monkeypatch):
    """All functions in one step, so that they are called as well as written in place."""
    x = np.linspace(0.05, 0.95, 37).astype(np.float32)
    names = [name for name in FUNCTIONS if name != "acosh"]
    functions = [getattr(tf.math, name, None) or getattr(tf, name) for name in names]
    got = run(
        lambda p: [f(p * s) for s in (1.0, 0.5) for f in functions],
        x, level=level, monkeypatch=monkeypatch,
    )  # fmt: skip
    for position, values in enumerate(got):
        scaled = x if position < len(names) else x * np.float32(0.5)
        wanted = FUNCTIONS[names[position % len(names)]][0](scaled.astype(WIDE))
        assert errors_in_ulp(values, np.asarray(wanted, WIDE), np.float32).max() <= ULPS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_two_operands(dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-50, 50, 2000), [0.0, -0.0, 1, -1, 7, -7, 5, np.inf]])
    y = np.concatenate([rng.uniform(-9, 9, 2000), [3.0, -3, 2, -2, 3, 3, -0.5, 2]])
    x, y = x.astype(dtype), y.astype(dtype)
    assert errors_in_ulp(
        run(tf.atan2, x, y), np.arctan2(x.astype(WIDE), y.astype(WIDE)), dtype
    ).max() <= ULPS  # fmt: skip
    powers = run(tf.pow, np.abs(x), y)
    wanted = np.power(np.abs(x).astype(WIDE), y.astype(WIDE))
    assert errors_in_ulp(powers, wanted, dtype).max() <= ULPS
    np.testing.assert_array_equal(run(tf.truncatemod, x, y), np.fmod(x, y))
    np.testing.assert_allclose(run(tf.floormod, x, y), np.mod(x, y), rtol=1e-6)
    x, y = x[:-1], y[:-1]  # an infinite quotient is floor(x / y) here, NaN in NumPy
    np.testing.assert_array_equal(run(tf.floordiv, x, y), np.floor_divide(x, y))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (-8.0, 3.0), (-8.0, 2.0), (-8.0, 0.5), (0.0, 0.0), (np.nan, 0.0), (1.0, np.nan),
        (-1.0, np.inf), (0.0, -1.0), (-0.0, -1.0), (np.inf, -2.0), (2.0, -np.inf),
        (0.5, np.inf), (-np.inf, 3.0),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_powers_at_the_edges(x, y):
    for dtype in (np.float32, np.float64):
        a, b = np.array([x], dtype), np.array([y], dtype)
        np.testing.assert_array_equal(run(tf.pow, a, b), np.power(a, b))


def test_sines_of_large_arguments_stay_in_bounds():
    """Beyond 2**30 the argument is reduced with a few digits only: bounded, and no NaN."""
    x = np.array([1e10, -3e15, 1e30, 3e38], np.float32)
    for function in (tf.sin, tf.cos):
        got = run(function, x)
        assert np.all(np.isfinite(got))
