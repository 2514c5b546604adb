"""Cases of reductions and running sums."""

from __future__ import annotations

import numpy as np
from cases import EXACT, FUNCTION, REDUCTION, Tolerance, case

from graphflow.ops import arg_reduction, cumulative, reduction

F = "float32"
AXES = {"all": None, "first": 0, "last": -1, "both": (0, 1), "none": (), "middle": 1}
KINDS = {
    "sum": (reduction.reduce_sum, np.sum, REDUCTION),
    "mean": (reduction.reduce_mean, np.mean, REDUCTION),
    "prod": (reduction.reduce_prod, np.prod, REDUCTION),
    "max": (reduction.reduce_max, np.max, EXACT),
    "min": (reduction.reduce_min, np.min, EXACT),
}
for _kind, (_build, _numpy, _tolerance) in KINDS.items():
    for _label, _axis in AXES.items():
        for _keep in (False, True) if _label in ("all", "last") else (False,):
            case(
                f"reduce_{_kind}-{_label}{'-kept' if _keep else ''}",
                lambda x, f=_build, a=_axis, k=_keep: f(
                    x, axis=list(a) if isinstance(a, tuple) else a, keepdims=k
                ),
                (F, (5, 6, 7), 0.5, 1.5),
                expected=lambda x, f=_numpy, a=_axis, k=_keep: f(x, axis=a, keepdims=k),
                tolerance=_tolerance,
            )
    for _label, _shape in (("scalar", ()), ("one", (1,)), ("long", (10007,)), ("rows", (3, 1031))):
        case(
            f"reduce_{_kind}-{_label}-shape",
            lambda x, f=_build: f(x, axis=-1 if x.rank else None),
            (F, _shape, 0.999, 1.001),
            expected=lambda x, f=_numpy: f(x, axis=-1 if x.ndim else None),
            tolerance=Tolerance(1e-4, 1e-6, "ten thousand elements in another order"),
            # A product of thousands has a derivative in each of them; a few shapes suffice.
            differentiable=_shape in ((), (1,)),
        )
    for _dtype in ("float64", "int32", "int64", "int8", "uint8"):
        if _kind == "mean" and _dtype != "float64":
            continue
        case(
            f"reduce_{_kind}-{_dtype}",
            lambda x, f=_build: f(x, axis=1),
            (_dtype, (9, 33), 0, 3),
            expected=lambda x, f=_numpy: f(x, axis=1).astype(x.dtype),
            tolerance=Tolerance(1e-12, 1e-12, "another order") if _dtype == "float64" else EXACT,
            differentiable=False,
        )
for _kind, _empty in (("sum", 0.0), ("prod", 1.0), ("max", -np.inf), ("min", np.inf)):
    case(
        f"reduce_{_kind}-of-nothing",
        lambda x, f=KINDS[_kind][0]: f(x, axis=0),
        (F, (0, 3)),
        expected=lambda x, e=_empty: np.full(3, e, np.float32),
        differentiable=False,
    )
    case(
        f"reduce_{_kind}-nan",
        lambda x, f=KINDS[_kind][0]: f(x, axis=1),
        np.array([[1.0, np.nan, 2.0], [1.0, 2.0, 3.0]], np.float32),
        expected=lambda x, f=KINDS[_kind][1]: f(x, axis=1),
        differentiable=False,
    )
case("reduce_mean-int32", lambda x: reduction.reduce_mean(x, 1),
     np.array([[-7, 0], [7, 0], [4, 2]], np.int32),
     expected=lambda x: np.array([-3, 3, 3], np.int32))  # fmt: skip
case("reduce_mean-of-nothing", reduction.reduce_mean, (F, (0, 3)),
     expected=lambda x: np.float32(np.nan), differentiable=False)  # fmt: skip
for _name, _build, _numpy in (
    ("reduce_all", reduction.reduce_all, np.all), ("reduce_any", reduction.reduce_any, np.any),
):  # fmt: skip
    for _axis in (None, 0, 1):
        case(f"{_name}-{_axis}", lambda x, f=_build, a=_axis: f(x, a), ("bool", (3, 5)),
             expected=lambda x, f=_numpy, a=_axis: f(x, a))  # fmt: skip
    case(f"{_name}-of-nothing", _build, ("bool", (0, 5)), expected=_numpy)

_ZEROS = np.array([[1.5, 0.0, 2.0], [0.0, 3.0, 0.0], [1.0, 2.0, -1.0]], np.float32)
case("reduce_prod-zeros", lambda x: reduction.reduce_prod(x, 1), _ZEROS,
     expected=lambda x: np.prod(x, 1), tolerance=REDUCTION)  # fmt: skip
case("reduce_prod-outer-axes", lambda x: reduction.reduce_prod(x, [0, 2]), (F, (3, 2, 4)),
     expected=lambda x: np.prod(x, (0, 2)), tolerance=REDUCTION)  # fmt: skip
case("reduce_logsumexp", lambda x: reduction.reduce_logsumexp(x, 1), (F, (4, 9), -5, 5),
     expected=lambda x: np.log(np.sum(np.exp(x.astype(np.float64)), 1)).astype(x.dtype),
     tolerance=Tolerance(3e-6, 3e-6, "an absolute error near 0"))  # fmt: skip
case("reduce_logsumexp-large", lambda x: reduction.reduce_logsumexp(x, -1, keepdims=True),
     np.array([[1e3, 1e3], [-1e3, -1e3], [-np.inf, -np.inf], [np.inf, 1.0]], np.float32),
     expected=lambda x: np.logaddexp(x[:, :1], x[:, 1:]), tolerance=FUNCTION,
     differentiable=False)  # fmt: skip
case("reduce_variance", lambda x: reduction.reduce_variance(x, 1), (F, (4, 33)),
     expected=lambda x: np.var(x, 1), tolerance=REDUCTION)  # fmt: skip
case("reduce_std", lambda x: reduction.reduce_std(x, 0), (F, (12, 3)),
     expected=lambda x: np.std(x, 0), tolerance=REDUCTION)  # fmt: skip
case("reduce_euclidean_norm", reduction.reduce_euclidean_norm, (F, (4, 5)),
     expected=lambda x: np.sqrt(np.sum(x * x)), tolerance=REDUCTION)  # fmt: skip
for _ord, _label in ((2, "2"), (1, "1"), (np.inf, "inf"), (3, "3"), ("euclidean", "all")):
    _axis = None if _label == "all" else 1
    case(f"norm-{_label}", lambda x, o=_ord, a=_axis: reduction.norm(x, o, a), (F, (4, 5)),
         expected=lambda x, o=_ord, a=_axis: np.linalg.norm(x, None if o == "euclidean" else o, a),
         tolerance=REDUCTION)  # fmt: skip
case("moments", lambda x: reduction.moments(x, [0]), (F, (16, 5)),
     expected=lambda x: [np.mean(x, 0), np.var(x, 0)], tolerance=REDUCTION)  # fmt: skip
case("l2_loss", reduction.l2_loss, (F, (16, 5)),
     expected=lambda x: np.sum(x * x) / np.float32(2), tolerance=REDUCTION)  # fmt: skip
case("l2_normalize", lambda x: reduction.l2_normalize(x, 1), (F, (6, 5)),
     expected=lambda x: x / np.linalg.norm(x, axis=1, keepdims=True), tolerance=REDUCTION
)  # fmt: skip
case("count_nonzero", lambda x: reduction.count_nonzero(x, 1), ("int32", (5, 9), -1, 2),
     expected=lambda x: np.count_nonzero(x, 1).astype(np.int64))  # fmt: skip
case("softmax-by-hand", lambda x: _softmax(x), (F, (4, 10)),
     expected=lambda x: np.exp(x) / np.sum(np.exp(x), 1, keepdims=True), tolerance=REDUCTION
)  # fmt: skip


def _softmax(x):
    from graphflow.ops.math import exp

    e = exp(x - reduction.reduce_max(x, 1, keepdims=True))
    return e / reduction.reduce_sum(e, 1, keepdims=True)


_LONG = np.linspace(-1, 1, 4 * 131, dtype=np.float32).reshape(4, 131)
_LONG[1, [70, 20]] = np.nan
_LONG[2, :] = -np.inf
_LONG[3, [7, 100]] = np.inf
_TIES = np.array([[3, 1, 3, 2], [5, 5, 5, 5], [1, 2, 3, 4]])
for _name, _build, _numpy in (
    ("argmax", arg_reduction.argmax, np.argmax), ("argmin", arg_reduction.argmin, np.argmin),
):  # fmt: skip
    for _dtype in (F, "float64", "int32", "uint8"):
        for _axis in (0, 1, -1):
            case(f"{_name}-{_dtype}-{_axis}", lambda x, f=_build, a=_axis: f(x, a),
                 _TIES.astype(_dtype), expected=lambda x, f=_numpy, a=_axis: f(x, a),
                 differentiable=False)  # fmt: skip
        case(f"{_name}-{_dtype}-long", lambda x, f=_build: f(x, -1),
             np.tile(_TIES, 31).astype(_dtype)[:, 3:], expected=lambda x, f=_numpy: f(x, -1),
             differentiable=False)  # fmt: skip
    case(f"{_name}-long-nan", lambda x, f=_build: f(x, 1, output_type="int32"), _LONG,
         expected=lambda x, f=_numpy: f(x, 1).astype(np.int32), differentiable=False,
         symbolic=[(0, 1)])  # fmt: skip
    case(f"{_name}-cube", lambda x, f=_build: f(x, 1, output_type="int32"), (F, (3, 7, 19)),
         expected=lambda x, f=_numpy: f(x, 1).astype(np.int32), differentiable=False)  # fmt: skip
    case(f"{_name}-vector", _build, (F, (1031,)), expected=_numpy, differentiable=False)
    case(f"{_name}-nan", lambda x, f=_build: f(x, 1),
         np.array([[1.0, np.nan, 2.0, np.nan], [np.inf, 1.0, -np.inf, 0.0]], np.float32),
         expected=lambda x, f=_numpy: f(x, 1), differentiable=False)  # fmt: skip
    case(f"{_name}-infinite", lambda x, f=_build: f(x, 0), np.full((3, 2), -np.inf, np.float32),
         expected=lambda x, f=_numpy: f(x, 0), differentiable=False)  # fmt: skip

for _name, _build, _numpy in (
    ("cumsum", cumulative.cumsum, np.cumsum), ("cumprod", cumulative.cumprod, np.cumprod),
):  # fmt: skip
    for _axis in (0, 1, 2):
        case(f"{_name}-{_axis}", lambda x, f=_build, a=_axis: f(x, a), (F, (3, 4, 5)),
             expected=lambda x, f=_numpy, a=_axis: f(x, a), tolerance=REDUCTION)  # fmt: skip
    case(f"{_name}-reverse", lambda x, f=_build: f(x, 1, reverse=True), (F, (3, 7)),
         expected=lambda x, f=_numpy: f(x[:, ::-1], 1)[:, ::-1], tolerance=REDUCTION)  # fmt: skip
    case(f"{_name}-zeros", lambda x, f=_build: f(x, 1), _ZEROS,
         expected=lambda x, f=_numpy: f(x, 1), tolerance=REDUCTION)  # fmt: skip
    case(f"{_name}-int32", lambda x, f=_build: f(x, 0), ("int32", (5, 3), 1, 4),
         expected=lambda x, f=_numpy: f(x, 0).astype(np.int32))  # fmt: skip
    case(f"{_name}-none", lambda x, f=_build: f(x, 0), (F, (0, 3)),
         expected=lambda x, f=_numpy: f(x, 0))  # fmt: skip


def _rows_and_columns(x):
    """Each row less its mean, and sums of that both ways."""
    y = x - reduction.reduce_mean(x, axis=1, keepdims=True)
    squares = reduction.reduce_sum(y * y, axis=1)
    return [y, squares, reduction.reduce_sum(y * x, axis=0), reduction.reduce_max(x, axis=0)]


def _rows_and_columns_numpy(x):
    y = x - x.mean(1, keepdims=True)
    return [y, (y * y).sum(1), (y * x).sum(0), x.max(0)]


for _label, _shape in (("few", (5, 7)), ("chunks", (3001, 67)), ("one", (1, 40))):
    case(f"rows-and-columns-{_label}", _rows_and_columns, (F, _shape),
         expected=_rows_and_columns_numpy, tolerance=Tolerance(1e-4, 1e-4, "sums of thousands"),
         differentiable=_label == "few")  # fmt: skip
case("cumsum-exclusive", lambda x: cumulative.cumsum(x, 1, exclusive=True), (F, (3, 7)),
     expected=lambda x: np.cumsum(x, 1) - x, tolerance=REDUCTION)  # fmt: skip
case("cumsum-exclusive-reverse", lambda x: cumulative.cumsum(x, 0, True, True), (F, (5, 2)),
     expected=lambda x: np.cumsum(x[::-1], 0)[::-1] - x, tolerance=REDUCTION)  # fmt: skip
case("cumprod-exclusive", lambda x: cumulative.cumprod(x, 1, exclusive=True), (F, (3, 7), 0.5, 2),
     expected=lambda x: np.cumprod(x, 1) / x, tolerance=REDUCTION)  # fmt: skip
case("cumprod-exclusive-reverse", lambda x: cumulative.cumprod(x, 1, True, True),
     (F, (3, 7), 0.5, 2), expected=lambda x: np.cumprod(x[:, ::-1], 1)[:, ::-1] / x,
     tolerance=REDUCTION)  # fmt: skip
case("recurrence", lambda a, b: cumulative.recurrence_op(a, b, axis=1, reverse=False),
     (F, (3, 4)), (F, (3, 4)), expected=lambda a, b: _recurrence(a, b), tolerance=REDUCTION
)  # fmt: skip


def _recurrence(a, b):
    result = np.zeros_like(b)
    for i in range(b.shape[1]):
        result[:, i] = b[:, i] + (a[:, i] * result[:, i - 1] if i else 0)
    return result


# Rows side by side in one vector, where a row alone would leave most of it empty.
for _rows, _columns in ((64, 6), (24, 3), (4096, 1), (37, 5), (2000, 15), (0, 6)):
    case(f"sum-narrow-{_rows}x{_columns}", lambda x: reduction.reduce_sum(x * 2.0, axis=0),
         (F, (_rows, _columns)), expected=lambda x: 2 * x.sum(0), tolerance=REDUCTION)  # fmt: skip
case("max-narrow-images", lambda x: reduction.reduce_max(x, axis=[0, 1, 2]), (F, (5, 8, 8, 3)),
     expected=lambda x: x.max((0, 1, 2)))  # fmt: skip
