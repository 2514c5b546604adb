"""Cases of gathering, scattering, one-hot, moving boxes and order."""

from __future__ import annotations

import numpy as np
from cases import EXACT, REDUCTION, Tolerance, case, random

from graphflow import dtypes
from graphflow.ops import dynamic_slices, indexing, scatter, sequences, sorting

F, I = "float32", "int32"  # noqa: E741


def indices(name: str, shape, size: int, dtype="int32") -> np.ndarray:
    return random(name).integers(0, size, shape).astype(dtype)


def values(name: str, shape, dtype="float32") -> np.ndarray:
    """Distinct values, none at a kink of another."""
    generator = random(name)
    count = int(np.prod(shape))
    return (generator.permutation(count).reshape(shape) / max(count, 1) + 0.1).astype(dtype)


# -- gather --------------------------------------------------------------------------------------

for _name, (_params, _indices, _axis) in {
    "rows": ((7, 3), (5,), 0),
    "scalar-index": ((7, 3), (), 0),
    "matrix-of-rows": ((7, 3), (2, 4), 0),
    "elements": ((9,), (4, 2), 0),
    "columns": ((3, 7), (5,), 1),
    "last": ((2, 3, 7), (2, 2), -1),
    "middle": ((2, 7, 3), (4,), 1),
    "none": ((7, 3), (0,), 0),
    "one": ((1, 1), (1,), 0),
    "wide": ((11, 129), (6,), 0),
}.items():
    _size = _params[_axis]
    case(
        f"gather-{_name}",
        lambda p, i, a=_axis: indexing.gather(p, i, axis=a),
        (F, _params),
        indices(_name, _indices, _size),
        expected=lambda p, i, a=_axis: np.take(p, i, axis=a),
    )
for _dtype in ("float64", "int64", "bool", "uint8"):
    case(
        f"gather-{_dtype}",
        indexing.gather,
        (_dtype, (5, 4), 0, 9),
        indices(_dtype, (6,), 5, "int64"),
        expected=lambda p, i: p[i],
        differentiable=False,
    )
case(
    "gather-constant-indices",
    lambda p: indexing.gather(p, [2, 0, 2]),
    (F, (3, 4)),
    expected=lambda p: p[[2, 0, 2]],
    symbolic=False,
)
case(
    "gather-batch",
    lambda p, i: indexing.gather(p, i, batch_dims=1, axis=1),
    (F, (4, 5, 3)),
    indices("batch", (4, 2), 5),
    expected=lambda p, i: np.stack([a[b] for a, b in zip(p, i, strict=True)]),
)
case(
    "gather-batch-later-axis",
    lambda p, i: indexing.gather(p, i, batch_dims=1, axis=2),
    (F, (4, 3, 5, 2)),
    indices("later", (4, 2), 5),
    expected=lambda p, i: np.stack([a[:, b] for a, b in zip(p, i, strict=True)]),
)
case(
    "batch_gather",
    indexing.batch_gather,
    (F, (2, 3, 5)),
    indices("batch_gather", (2, 3, 4), 5),
    expected=lambda p, i: np.take_along_axis(p, i, -1),
)
case(
    "gather_nd-elements",
    indexing.gather_nd,
    (F, (3, 4)),
    indices("elements", (5, 2), 3),
    expected=lambda p, i: p[i[:, 0], i[:, 1]],
)
case(
    "gather_nd-rows",
    indexing.gather_nd,
    (F, (3, 4)),
    indices("rows", (2, 5, 1), 3),
    expected=lambda p, i: p[i[..., 0]],
)
case(
    "gather_nd-whole",
    indexing.gather_nd,
    (F, (3, 4)),
    np.zeros((2, 0), np.int32),
    expected=lambda p, i: np.stack([p, p]),
    symbolic=False,
)
case(
    "gather_nd-batch",
    lambda p, i: indexing.gather_nd(p, i, batch_dims=1),
    (F, (3, 4, 2)),
    indices("gather_nd-batch", (3, 5, 1), 4),
    expected=lambda p, i: np.stack([a[b[:, 0]] for a, b in zip(p, i, strict=True)]),
)
case(
    "embedding_lookup-mod",
    lambda a, b, i: indexing.embedding_lookup([a, b], i),
    (F, (3, 2)),
    (F, (2, 2)),
    indices("mod", (6,), 5),
    expected=lambda a, b, i: np.stack([(a, b)[k % 2][k // 2] for k in i]),
    symbolic=((), (), (0,)),
)
case(
    "embedding_lookup-div",
    lambda a, b, i: indexing.embedding_lookup([a, b], i, partition_strategy="div"),
    (F, (3, 2)),
    (F, (2, 2)),
    indices("div", (6,), 5),
    expected=lambda a, b, i: np.concatenate([a, b])[i],
)
case(
    "embedding_lookup-max_norm",
    lambda p, i: indexing.embedding_lookup(p, i, max_norm=1.0),
    (F, (5, 3), 0.3, 2),
    indices("norm", (4,), 5),
    expected=lambda p, i: p[i] / np.maximum(np.linalg.norm(p[i], axis=-1, keepdims=True), 1),
    tolerance=Tolerance(1e-6, 1e-6, "a norm of three elements"),
)

# -- one_hot -------------------------------------------------------------------------------------

OUTSIDE = np.array([[0, 2, 5], [-1, 1, 3]], np.int32)
for _axis in (-1, 0, 1):
    case(
        f"one_hot-axis{_axis}",
        lambda i, a=_axis: indexing.one_hot(i, 4, axis=a),
        OUTSIDE,
        expected=lambda i, a=_axis: np.moveaxis(
            (i[..., None] == np.arange(4)).astype(np.float32), -1, a
        ),
    )
case(
    "one_hot-values",
    lambda i: indexing.one_hot(i, 3, on_value=5, off_value=-1, dtype=dtypes.int32),
    np.array([1, 0], np.int64),
    expected=lambda i: np.where(i[:, None] == np.arange(3), 5, -1).astype(np.int32),
)
case(
    "one_hot-uint8",
    lambda i: indexing.one_hot(i, 300),
    np.array([0, 255, 7], np.uint8),
    expected=lambda i: (i[:, None] == np.arange(300)).astype(np.float32),
)

# -- boxes ---------------------------------------------------------------------------------------

STARTS = tuple(np.array(n, np.int32) for n in (1, 9))  # the second is clamped
case(
    "dynamic_slice",
    lambda x, i, j: dynamic_slices.dynamic_slice(x, i, j, size=(2, 3)),
    (F, (4, 5)),
    *STARTS,
    expected=lambda x, i, j: x[1:3, 2:5],
    symbolic=False,
)
case(
    "dynamic_slice-symbolic",
    lambda x, i, j: dynamic_slices.dynamic_slice(x, i, j, size=(1, 3)),
    (F, (4, 5)),
    *STARTS,
    expected=lambda x, i, j: x[1:2, 2:5],
    symbolic=((0, 1), (), ()),
)
case(
    "dynamic_update_slice",
    lambda x, u, i, j: dynamic_slices.dynamic_update_slice(x, u, i, j),
    (F, (4, 5)),
    (F, (2, 3)),
    *STARTS,
    expected=lambda x, u, i, j: np.block([[x[:1]], [x[1:3, :2], u], [x[3:]]]),
    symbolic=False,
)

# -- scatter -------------------------------------------------------------------------------------


def _scattered(mode: str, depth: int):
    combine = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum,
        "min": np.minimum, "set": lambda old, new: new,
    }[mode]  # fmt: skip

    def run(operand, where, updates):
        result = operand.copy()
        rows = where.reshape(-1, depth)
        parts = updates.reshape(len(rows), *operand.shape[depth:])
        for row, part in zip(rows, parts, strict=True):
            result[tuple(row)] = combine(result[tuple(row)], part)
        return result

    return run


REPEATED = np.array([3, 0, 3, 4], np.int32)
for _mode in scatter.MODES:
    case(
        f"scatter-{_mode}",
        lambda x, i, u, m=_mode: scatter.scatter(x, i, u, mode=m),
        values(f"operand{_mode}", (6, 5)),
        REPEATED,
        values(f"updates{_mode}", (4, 5)) * 1.03,
        expected=_scattered(_mode, 1),
    )
    case(
        f"scatter-elements-{_mode}",
        lambda x, i, u, m=_mode: scatter.scatter(x, i, u, mode=m, nd=True),
        values(f"operand-nd{_mode}", (3, 4)),
        np.array([[[0, 1], [2, 3]], [[0, 1], [1, 0]]], np.int64),
        values(f"updates-nd{_mode}", (2, 2)) * 1.07,
        expected=_scattered(_mode, 2),
        symbolic=((0,), (0,), (0,)),
    )
case(
    "scatter-vector",
    lambda x, i, u: scatter.scatter(x, i, u, mode="add"),
    ("int64", (7,)),
    np.array([1, 1, 6], np.int32),
    ("int64", (3,)),
    expected=_scattered("add", 1),
)
case(
    "scatter-outside-is-left-out",
    lambda x, i, u: scatter.scatter(x, i, u, mode="set"),
    (F, (3, 2)),
    np.array([-1, 1, 3], np.int32),
    (F, (3, 2)),
    expected=lambda x, i, u: np.stack([x[0], u[1], x[2]]),
)
case(
    "scatter-products-with-zeros",
    lambda x, i, u: scatter.scatter(x, i, u, mode="mul"),
    np.array([[2.0], [0.0], [3.0]], np.float32),
    np.array([0, 0, 1, 2], np.int32),
    np.array([[0.0], [5.0], [2.0], [7.0]], np.float32),
    expected=_scattered("mul", 1),
)
case(
    "scatter-bool",
    lambda x, i, u: scatter.scatter(x, i, u, mode="set"),
    ("bool", (5, 2)),
    np.array([4, 0], np.int64),
    ("bool", (2, 2)),
    expected=_scattered("set", 1),
)
case(
    "scatter_nd",
    lambda i, u: scatter.scatter_nd(i, u, [4, 3]),
    np.array([[1], [3], [1]], np.int32),
    (F, (3, 3)),
    expected=lambda i, u: _scattered("add", 1)(np.zeros((4, 3), np.float32), i, u),
    symbolic=((0,), (0,)),
)
case(
    "tensor_scatter_nd_update",
    scatter.tensor_scatter_nd_update,
    (F, (4, 3)),
    np.array([[1, 2], [0, 0]], np.int32),
    (F, (2,)),
    expected=_scattered("set", 2),
    symbolic=((0,), (0,), (0,)),
)
case(
    "invert_permutation",
    scatter.invert_permutation,
    np.array([3, 0, 2, 1], np.int32),
    expected=lambda x: np.argsort(x).astype(np.int32),
)

IDS = np.array([2, 0, 2, -1, 1, 2], np.int32)
for _name, _numpy in {
    "sum": lambda rows: rows.sum(0),
    "prod": lambda rows: rows.prod(0),
    "max": lambda rows: rows.max(0),
    "min": lambda rows: rows.min(0),
    "mean": lambda rows: rows.mean(0, dtype=np.float32),
    "sqrt_n": lambda rows: rows.sum(0) / np.sqrt(np.float32(len(rows))),
}.items():
    case(
        f"unsorted_segment_{_name}",
        lambda x, i, n=_name: getattr(scatter, f"unsorted_segment_{n}")(x, i, 3),
        values(f"segment{_name}", (6, 2)),
        IDS,
        expected=lambda x, i, f=_numpy: np.stack([f(x[i == s]) for s in range(3)]),
        tolerance=REDUCTION,
    )
case(
    "segment_sum",
    lambda x: scatter.segment_sum(x, [0, 0, 2]),
    (F, (3, 2)),
    expected=lambda x: np.stack([x[0] + x[1], np.zeros(2, np.float32), x[2]]),
    symbolic=False,
)

# -- order ---------------------------------------------------------------------------------------

UNSORTED = {
    "one": np.array([3.0], np.float32),
    "none": np.zeros((0,), np.float32),
    "two": np.array([2.0, 1.0], np.float32),
    "ties": np.array([1, 3, 1, 3, 2, 1, 3], np.float32),
    "nan": np.array([1, np.nan, -np.inf, 2, np.nan, np.inf, 0], np.float32),
    "long": values("long", (1000,)),
    "rows": values("rows", (5, 33)),
    "many-ties": random("ties").integers(0, 4, (3, 70)).astype(np.float32),
}
for _name, _array in UNSORTED.items():
    case(
        f"argsort-{_name}",
        sorting.argsort,
        _array,
        expected=lambda x: np.argsort(x, axis=-1, kind="stable").astype(np.int32),
        differentiable=False,
    )
    case(
        f"sort-descending-{_name}",
        lambda x: sorting.sort(x, direction="DESCENDING"),
        _array,
        expected=lambda x: np.sort(x, axis=-1)[..., ::-1],
        differentiable=_name == "rows",
    )
case(
    "sort-first-axis",
    lambda x: sorting.sort(x, axis=0),
    values("first-axis", (7, 3)),
    expected=lambda x: np.sort(x, axis=0),
)
for _dtype in ("int32", "int64", "uint8", "float64"):
    case(
        f"sort-{_dtype}",
        sorting.sort,
        (_dtype, (4, 19), 0, 50),
        expected=lambda x: np.sort(x, axis=-1),
        differentiable=False,
    )


def _top(x, k):
    order = x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    return order[..., :k].astype(np.int32)


for _name, _shape, _k in (
    ("one", (6,), 1),
    ("three", (4, 17), 3),
    ("all", (2, 5), 5),
    ("none", (2, 5), 0),
):
    case(
        f"top_k-{_name}",
        lambda x, k=_k: sorting.top_k(x, k),
        values(f"top{_name}", _shape),
        expected=lambda x, k=_k: [np.take_along_axis(x, _top(x, k), -1), _top(x, k)],
        symbolic=((0,) if len(_shape) > 1 else (),),
    )
case(
    "in_top_k",
    lambda p, t: sorting.in_top_k(p, t, 2),
    np.array([[1, 2, 3], [3, 3, 3], [1, np.inf, 0], [5, 1, 2]], np.float32),
    np.array([1, 0, 1, 7], np.int32),
    expected=lambda p, t: np.array([True, True, False, False]),
    tolerance=EXACT,
    differentiable=False,
)

# -- sequences -----------------------------------------------------------------------------------


def reversed_sequences(x, lengths, seq, batch):
    moved = np.moveaxis(x, (batch, seq), (0, 1))
    rows = [np.concatenate([r[:n][::-1], r[n:]]) for r, n in zip(moved, lengths, strict=True)]
    return np.moveaxis(np.stack(rows), (0, 1), (batch, seq))


for _name, (_shape, _lengths, _seq, _batch) in {
    "rows": ((4, 6), [6, 0, 3, 1], 1, 0),
    "deep": ((3, 5, 7), [5, 2, 4], 1, 0),
    "time-first": ((5, 3, 7), [1, 5, 3], 0, 1),
    "last": ((3, 2, 9), [9, 4, 7], 2, 0),
    "later-batch": ((2, 7, 3), [2, 7, 5], 1, 2),
    "one": ((1, 1), [1], 1, 0),
    "empty": ((2, 0), [0, 0], 1, 0),
}.items():
    case(
        f"reverse_sequence-{_name}",
        lambda x, n, s=_seq, b=_batch: sequences.reverse_sequence(x, n, s, b),
        (F, _shape),
        np.array(_lengths, I if _name != "deep" else "int64"),
        expected=lambda x, n, s=_seq, b=_batch: reversed_sequences(x, n, s, b),
        symbolic=[range(len(_shape)), (0,)],
    )
