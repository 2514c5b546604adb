"""Cases of contraction: matmul and its relatives."""

from __future__ import annotations

import numpy as np
from cases import EXACT, Tolerance, case

import graphflow as tf
from graphflow.ops import contraction
from graphflow.ops.contraction_where import contract_where

F, D = "float32", "float64"
SUM = Tolerance(2e-5, 2e-5, "up to 257 products of a size near 1, summed in another order")

MATMULS = {
    # name: (shape of a, shape of b, arguments, transposes for NumPy)
    "plain": ((3, 4), (4, 5), {}),
    "one": ((1, 1), (1, 1), {}),
    "row": ((1, 33), (33, 17), {}),
    "column": ((33, 17), (17, 1), {}),
    "outer": ((7, 1), (1, 9), {}),
    "odd": ((37, 257), (257, 19), {}),
    "transpose_a": ((4, 3), (4, 5), {"transpose_a": True}),
    "transpose_b": ((3, 4), (5, 4), {"transpose_b": True}),
    "adjoints": ((4, 3), (5, 4), {"adjoint_a": True, "adjoint_b": True}),
    "batch": ((6, 3, 4), (6, 4, 5), {}),
    "batch-transposed": ((6, 4, 3), (6, 5, 4), {"transpose_a": True, "transpose_b": True}),
    "two-batches": ((2, 3, 4, 5), (2, 3, 5, 6), {}),
    "matrix-for-batch": ((6, 3, 4), (4, 5), {}),
    "batch-for-matrix": ((3, 4), (6, 4, 5), {}),
    "broadcast": ((2, 1, 3, 4), (5, 4, 2), {}),
    "broadcast-both": ((2, 1, 3, 4), (1, 5, 4, 2), {}),
    "no-rows": ((0, 4), (4, 5), {}),
    "no-depth": ((3, 0), (0, 5), {}),
}


def _turned(x, arguments, side):
    return (
        x.swapaxes(-1, -2)
        if arguments.get(f"transpose_{side}") or arguments.get(f"adjoint_{side}")
        else x
    )


for _name, (_a, _b, _arguments) in MATMULS.items():
    case(
        f"matmul-{_name}",
        lambda a, b, k=_arguments: contraction.matmul(a, b, **k),
        (F, _a, -1, 1),
        (F, _b, -1, 1),
        expected=lambda a, b, k=_arguments: _turned(a, k, "a") @ _turned(b, k, "b"),
        tolerance=SUM,
        differentiable=0 not in _a and _name != "odd",
        # Only a dimension that does not meet one of size 1 may be unknown.
        symbolic=((0,), ()) if _name in ("plain", "odd", "transpose_b", "matrix-for-batch")
        else ((), ()) if "broadcast" in _name or "one" in _name or "outer" in _name
        else True,
    )  # fmt: skip
for _dtype in (D, "int32", "int64"):
    case(
        f"matmul-{_dtype}",
        contraction.matmul,
        (_dtype, (5, 7), -9, 9),
        (_dtype, (7, 6), -9, 9),
        expected=np.matmul,
        tolerance=Tolerance(1e-12, 1e-12, "another order") if _dtype == D else EXACT,
    )
case(
    "matmul-operator",
    lambda a, b: a @ b,
    (D, (3, 4)),
    (D, (4, 2)),
    expected=np.matmul,
    tolerance=Tolerance(1e-12, 1e-12, "another order"),
)
for _name, (_a, _b) in {
    "plain": ((4, 5), (5,)),
    "batch": ((3, 4, 5), (3, 5)),
    "shared-matrix": ((4, 5), (3, 5)),
    "shared-vector": ((3, 4, 5), (5,)),
}.items():
    case(
        f"matvec-{_name}",
        contraction.matvec,
        (F, _a, -1, 1),
        (F, _b, -1, 1),
        expected=lambda a, b: (a @ b[..., None])[..., 0],
        tolerance=SUM,
    )
for _name, (_a, _b, _axes) in {
    "vectors": ((5,), (5,), 1),
    "one": ((3, 4, 5), (5, 6), 1),
    "two": ((3, 4, 5), (4, 5, 6), 2),
    "none": ((3, 4), (5,), 0),
    "pairs": ((3, 4, 5), (5, 2, 3), ([0, 2], [2, 0])),
    "negative": ((3, 4), (3, 5), ([-2], [0])),
}.items():
    case(
        f"tensordot-{_name}",
        lambda a, b, x=_axes: contraction.tensordot(a, b, x),
        (F, _a, -1, 1),
        (F, _b, -1, 1),
        expected=lambda a, b, x=_axes: np.tensordot(a, b, x),
        tolerance=SUM,
    )
for _equation, _shapes in {
    "ij,jk->ik": [(3, 4), (4, 5)],
    "ij,jk": [(3, 4), (4, 5)],
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "bhqd,bhkd->bhqk": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "i,i->": [(9,), (9,)],
    "i,i->i": [(9,), (9,)],
    "i,j->ij": [(3,), (4,)],
    "ij->ji": [(3, 4)],
    "ij->": [(3, 4)],
    "ba": [(3, 4)],
    "ii->i": [(4, 4)],
    "ii": [(4, 4)],
    "ijij->ij": [(2, 3, 2, 3)],
    "iij,jk->ik": [(3, 3, 4), (4, 2)],
    "ab,bc,cd->ad": [(2, 3), (3, 4), (4, 5)],
    "ab,ac,ad->bcd": [(6, 2), (6, 3), (6, 4)],
    "ab,cd->": [(2, 3), (3, 2)],
    "ab,b->a": [(2, 3), (3,)],
    "...ij,...jk->...ik": [(2, 1, 3, 4), (5, 4, 2)],
    "i...->...": [(2, 3, 4)],
    "...i,i->...": [(2, 3, 4), (4,)],
}.items():
    _repeats = any(len(set(term)) < len(term) for term in _equation.replace(".", "").split(","))
    case(
        f"einsum-{_equation}",
        lambda *x, e=_equation: contraction.einsum(e, *x),
        *((F, shape, -1, 1) for shape in _shapes),
        expected=lambda *x, e=_equation: np.einsum(e, *x),
        tolerance=SUM,
        symbolic=not _repeats and "..." not in _equation,
    )


# -- of rows that count ----------------------------------------------------------------------------


def _masked(of, rank, contracting):
    """Rows count whose sum is positive; they have `rank` dimensions."""

    def built(a, b):
        live = tf.reduce_sum(a, list(range(rank, a.rank))) > 0
        return contract_where(a, b, live, contracting=contracting, of=of)

    def expected(a, b):
        live = a.sum(tuple(range(rank, a.ndim)), keepdims=True) > 0
        return np.tensordot(np.where(live, a, 0), b, contracting)

    return built, expected


_ROWS, _SUMMED = ((1,), (0,)), ((0,), (0,))
for _name, _a, _b, _rank, _of, _contracting in (
    ("rows", (37, 33), (33, 70), 1, "rows", _ROWS),
    ("rows-few", (5, 4), (4, 3), 1, "rows", _ROWS),
    ("rows-transposed", (26, 19), (40, 19), 1, "rows", ((1,), (1,))),
    ("rows-of-steps", (3, 6, 8), (8, 9), 2, "rows", ((2,), (0,))),
    ("rows-first-dimension", (5, 3, 8), (8, 9), 1, "rows", ((2,), (0,))),
    ("rows-two-summed", (7, 3, 4), (4, 5, 3), 1, "rows", ((2, 1), (0, 2))),
    ("rows-none", (0, 4), (4, 5), 1, "rows", _ROWS),
    ("rows-no-depth", (4, 0), (0, 5), 1, "rows", _ROWS),
    ("summed", (50, 33), (50, 40), 1, "summed", _SUMMED),
    ("summed-few", (5, 4), (5, 3), 1, "summed", _SUMMED),
    ("summed-long", (700, 13), (700, 40), 1, "summed", _SUMMED),
    ("summed-steps", (3, 6, 8), (3, 6, 9), 2, "summed", ((0, 1), (0, 1))),
    ("summed-further", (6, 3, 8), (6, 3, 5), 1, "summed", ((0, 1), (0, 1))),
    ("summed-none", (0, 4), (0, 5), 1, "summed", _SUMMED),
):
    _build, _expected = _masked(_of, _rank, _contracting)
    case(
        f"contract_where-{_name}",
        _build,
        (F, _a, -1, 1),
        (F, _b, -1, 1),
        expected=_expected,
        tolerance=SUM,
        differentiable=0 not in _a and max(_a) < 60,
        symbolic=((0,), (0,) if _of == "summed" else ()),
    )
case(
    "contract_where-nothing-counts",
    _masked("rows", 1, _ROWS)[0],
    (F, (9, 8), -3, -1),
    (F, (8, 7), -1, 1),
    expected=lambda a, b: np.zeros((9, 7), F),
    symbolic=((0,), ()),
)
for _of, _b, _want in (
    ("rows", [[1, np.inf], [3, 4]], [[0, 0], [7, np.inf], [0, 0]]),
    ("summed", [[np.nan, np.inf], [3, 4], [-np.inf, np.nan]], [[3, 4], [6, 8]]),
):
    case(
        f"contract_where-{_of}-dead-are-not-read",
        _masked(_of, 1, _ROWS if _of == "rows" else _SUMMED)[0],
        np.array([[np.nan, np.inf], [1, 2], [-np.inf, np.nan]], F),
        np.array(_b, F),
        expected=lambda a, b, want=_want: np.array(want, F),
        differentiable=False,
        symbolic=((0,), () if _of == "rows" else (0,)),
    )
