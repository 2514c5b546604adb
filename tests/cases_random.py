"""Cases of random numbers: the exact words of the generator, and what is made of them."""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

import numpy as np
from cases import ROUNDING, Tolerance, case

from graphflow import dtypes
from graphflow.nn.layers import dropout
from graphflow.ops import inverse_error, random, random_bits
from graphflow.ops.convert import convert

NORMAL = Tolerance(1e-5, 1e-6, "the inverse error function is within a few ulp, and log before it")


def philox(counter, key):
    """Philox 4x32-10 in Python integers, apart from the implementation that it checks."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def words(count: int, seed: int, stream: int, drawn: int = 0) -> np.ndarray:
    """uint32 [count, 4]: all words for the first positions."""
    key = (seed ^ stream) & 0xFFFFFFFFFFFFFFFF
    halves = (key & 0xFFFFFFFF, key >> 32)
    drawn &= 0xFFFFFFFFFFFFFFFF
    rows = [philox((p, 0, drawn & 0xFFFFFFFF, drawn >> 32), halves) for p in range(count)]
    return np.array(rows, np.uint32).reshape(count, 4)


def seeded(count: int, op_seed: int) -> np.ndarray:
    """The words of an operation with this seed in a graph without one."""
    stream = int.from_bytes(hashlib.sha256(f"seed {op_seed}".encode()).digest()[:8], "little")
    return words(count, 87654321, stream)


def unit(count: int, op_seed: int, shape) -> np.ndarray:
    """float32 in [0, 1) of the upper 24 bits of each first word."""
    return ((seeded(count, op_seed)[:, 0] >> 8) * 2.0**-24).astype(np.float32).reshape(shape)


def _bits(seed, drawn, shape, stream, count):
    made = random_bits.random_bits(
        convert(seed), convert(drawn), shape=shape, stream=stream, words=count
    )
    return list(made) if count > 1 else made


for _name, _seed, _drawn, _shape, _stream in (
    ("small", 0, 0, (5,), 0),
    ("matrix", 7, 3, (4, 9), 123456789012345),
    ("negative", -5, 2**40 + 1, (2, 3, 5), -(2**63)),
    ("scalar", 2**62, 1, (), 2**61 + 17),
    ("none", 1, 1, (0, 3), 5),
):
    case(
        f"random_bits-{_name}",
        lambda s, d, shape=_shape, x=_stream: _bits(s, d, shape, x, 2),
        np.int64(_seed),
        np.int64(_drawn),
        expected=lambda s, d, shape=_shape, x=_stream: list(
            words(math.prod(shape), int(s), x, int(d)).T[:2].reshape(2, *shape)
        ),
    )
case(
    "random_bits-symbolic-shape",
    lambda x: random_bits.random_bits(
        convert(np.int64(3)), convert(np.int64(4)), shape=x.dims, stream=9, words=1
    ),
    ("float32", (6, 5)),
    expected=lambda x: words(x.size, 3, 9, 4)[:, 0].reshape(x.shape),
    differentiable=False,
)
case(
    "random_uniform-float32",
    lambda: random.random_uniform([7, 5], seed=11),
    expected=lambda: unit(35, 11, (7, 5)),
)
case(
    "random_uniform-float64",
    lambda: random.random_uniform([40], dtype=dtypes.float64, seed=12),
    expected=lambda: (
        ((seeded(40, 12)[:, 0] >> 5) * 2.0**26 + (seeded(40, 12)[:, 1] >> 6)) * 2.0**-53
    ),
)
case(
    "random_uniform-int32",
    lambda: random.random_uniform([50], -3, 2**31 - 1, dtypes.int32, seed=13),
    expected=lambda: (
        (seeded(50, 13)[:, 0].astype(np.uint64) * np.uint64(2**31 + 2) >> np.uint64(32)).astype(
            np.int64
        )
        - 3
    ).astype(np.int32),
)
case(
    "random_uniform-int64",
    lambda: random.random_uniform([50], -(2**62), 2**62 + 12345, dtypes.int64, seed=14),
    expected=lambda: np.array(
        [
            (((int(high) << 32) + int(low)) * (2**63 + 12345) >> 64) - 2**62
            for high, low in seeded(50, 14)[:, :2]
        ],
        np.int64,
    ),
)


def _normal(m: np.ndarray, word: np.ndarray) -> np.ndarray:
    z = -np.array([NormalDist().inv_cdf(v / 2) for v in m])
    return np.where(word & 1, -z, z)


case(
    "random_normal-float32",
    lambda: random.random_normal([200], seed=15),
    expected=lambda: _normal(
        ((seeded(200, 15)[:, 0] >> 1) + 0.5) * 2.0**-31, seeded(200, 15)[:, 0]
    ).astype(np.float32),
    tolerance=NORMAL,
)
case(
    "random_normal-float64",
    lambda: random.random_normal([60], 5.0, 2.0, dtypes.float64, seed=16),
    expected=lambda: (
        5
        + 2
        * _normal(
            ((seeded(60, 16)[:, 0] >> 1) * 2.0**32 + seeded(60, 16)[:, 1] + 0.5) * 2.0**-63,
            seeded(60, 16)[:, 0],
        )
    ),
    tolerance=Tolerance(1e-12, 1e-12, "log and square root in another precision"),
)
case(
    "truncated_normal-float32",
    lambda: random.truncated_normal([200], seed=17),
    expected=lambda: _normal(
        math.erfc(math.sqrt(2))
        + ((seeded(200, 17)[:, 0] >> 1) + 0.5) * 2.0**-31 * (1 - math.erfc(math.sqrt(2))),
        seeded(200, 17)[:, 0],
    ).astype(np.float32),
    tolerance=NORMAL,
)
case(
    "random_shuffle",
    lambda x: random.random_shuffle(x, seed=18),
    ("float32", (23, 2)),
    expected=lambda x: x[np.argsort(seeded(len(x), 18)[:, 0], kind="stable")],
    differentiable=False,
)
case(
    "multinomial",
    lambda x: random.multinomial(x, 4, seed=19),
    ("float32", (5, 3)),
    expected=lambda x: np.argmax(
        x[:, None]
        - np.log(-np.log(((seeded(60, 19)[:, 0] >> 9) + 0.5) * 2.0**-23)).reshape(5, 4, 3),
        axis=2,
    ),
    differentiable=False,
)
for _name, _shape in (("plain", None), ("shared", [4, 1])):
    case(
        f"dropout-{_name}",
        lambda x, s=_shape: dropout(x, rate=0.4, noise_shape=s, seed=20),
        ("float32", (4, 7)),
        expected=lambda x, s=_shape: np.where(
            unit(28 if s is None else 4, 20, s or x.shape) >= np.float32(0.4),
            x / (np.float32(1) - np.float32(0.4)),
            np.float32(0),
        ),
        tolerance=ROUNDING,
    )  # fmt: skip

# -- the inverse error functions -----------------------------------------------------------------

ERROR32 = Tolerance(2e-6, 1e-7, "rational functions of degree 3, and log before them")
ERROR64 = Tolerance(4e-15, 1e-16, "rational functions of degree 7, and log before them")
for _dtype, _tolerance in (("float32", ERROR32), ("float64", ERROR64)):
    case(
        f"erfinv-{_dtype}",
        inverse_error.erfinv,
        np.array([-1.5, -1, -0.999, -0.5, 0, 1e-3, 0.25, 0.9, 0.99999, 1], _dtype),
        expected=lambda x: np.array(
            [
                math.nan if abs(v) > 1
                else math.copysign(math.inf, v) if abs(v) == 1
                else NormalDist().inv_cdf((1 + float(v)) / 2) / math.sqrt(2) if abs(v) > 1e-2
                else math.sqrt(math.pi) / 2 * float(v) * (1 + math.pi / 12 * float(v) ** 2)
                for v in x
            ]
        ).astype(x.dtype),
        tolerance=Tolerance(max(_tolerance.rtol, 1e-11), 1e-12, "a short series near 0")
        if _dtype == "float64" else _tolerance,
        differentiable=False,
    )  # fmt: skip
    case(
        f"erfcinv-{_dtype}",
        inverse_error.erfcinv,
        np.array([1e-30, 1e-10, 1e-4, 0.05, 0.5, 0.9, 1.0, 1.5, 1.99], _dtype),
        expected=lambda x: np.array(
            [-NormalDist().inv_cdf(float(v) / 2) / math.sqrt(2) for v in x]
        ).astype(x.dtype),
        tolerance=Tolerance(_tolerance.rtol * 4, 1e-7 if _dtype == "float32" else 1e-15,
                            _tolerance.why),
        differentiable=False,
    )  # fmt: skip
