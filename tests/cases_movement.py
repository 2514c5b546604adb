"""Cases of operations that move elements, and of what is said about shapes."""

from __future__ import annotations

import numpy as np
from cases import FUNCTION, ROUNDING, case

from graphflow.ops import creation, joining, logic, movement, padding, shapes, slicing
from graphflow.ops import math as unary

F = "float32"
DTYPES = ("float64", "int8", "uint8", "int32", "int64", "bool")

# -- reshape, broadcast, transpose ---------------------------------------------------------------

case("reshape", lambda x: movement.reshape(x, [3, -1]), (F, (6, 4)),
     expected=lambda x: x.reshape(3, 8))  # fmt: skip
case("reshape-flat", lambda x: movement.reshape(x, [-1]), (F, (5, 7)),
     expected=lambda x: x.reshape(-1))  # fmt: skip
case("reshape-like-shape", lambda x: movement.reshape(x, [shapes.shape(x)[0], -1]),
     (F, (5, 3, 2)), expected=lambda x: x.reshape(5, 6))  # fmt: skip
case("reshape-empty", lambda x: movement.reshape(x, [shapes.shape(x)[0], -1]), (F, (0, 3, 2)),
     expected=lambda x: x.reshape(0, 6))  # fmt: skip
case("reshape-scalar", lambda x: movement.reshape(x, []), (F, (1, 1)), expected=lambda x: x[0, 0])
case("reshape-between", lambda x: unary.exp(movement.reshape(x * 2.0, [-1, 2])), (F, (4, 3)),
     expected=lambda x: np.exp((x * 2).reshape(-1, 2)), tolerance=FUNCTION)  # fmt: skip
case("broadcast_to", lambda x: movement.broadcast_to(x, [4, 3, 5]), (F, (3, 1)),
     expected=lambda x: np.broadcast_to(x, (4, 3, 5)))  # fmt: skip
for _label, _shape, _perm in (
    ("matrix", (5, 7), None), ("wide", (33, 65), None), ("cube", (3, 4, 5), (2, 0, 1)),
    ("batch", (2, 3, 4, 5), (0, 2, 1, 3)), ("same", (3, 4), (0, 1)), ("none", (0, 4), None),
):  # fmt: skip
    case(f"transpose-{_label}", lambda x, p=_perm: movement.transpose(x, p), (F, _shape),
         expected=lambda x, p=_perm: np.transpose(x, p))  # fmt: skip
# In tiles: sizes that are multiples of one, and some that leave parts of tiles.
for _label, _shape, _perm in (
    ("tiles", (32, 48), None), ("part-tiles", (37, 83), None),
    ("tiles-batch", (3, 20, 33), (0, 2, 1)),
    ("channels-last", (2, 19, 6, 7), (0, 2, 3, 1)), ("channels-first", (2, 5, 9, 34), (0, 3, 1, 2)),
    ("reversed", (17, 3, 18), None),
):  # fmt: skip
    case(f"transpose-{_label}", lambda x, p=_perm: movement.transpose(x, p), (F, _shape),
         expected=lambda x, p=_perm: np.transpose(x, p),
         symbolic=[range(len(_shape))])  # fmt: skip
    case(f"transpose-{_label}-fused",
         lambda x, y, p=_perm: unary.exp(movement.transpose(x, p)) * y * movement.transpose(x, p),
         (F, _shape), (F, np.transpose(np.empty(_shape), _perm).shape),
         expected=lambda x, y, p=_perm: np.exp(np.transpose(x, p)) * y * np.transpose(x, p),
         tolerance=FUNCTION)  # fmt: skip
case("transpose-tiles-double", movement.transpose, ("float64", (20, 31)), expected=np.transpose)
case("transpose-tiles-cast", lambda x: logic.cast(movement.transpose(x), "float64") * 2.0,
     (F, (20, 31)), expected=lambda x: x.T.astype(np.float64) * 2)  # fmt: skip
case("transpose-two", lambda x, y: movement.transpose(x) * movement.transpose(y), (F, (19, 33)),
     (F, (19, 33)), expected=lambda x, y: x.T * y.T, tolerance=ROUNDING)  # fmt: skip
for _dtype in DTYPES:
    case(f"transpose-{_dtype}", movement.transpose, (_dtype, (9, 17), 0, 9), expected=np.transpose,
         differentiable=False)  # fmt: skip
case("matrix_transpose", movement.matrix_transpose, (F, (2, 3, 4)),
     expected=lambda x: np.swapaxes(x, -1, -2))  # fmt: skip
case("expand_dims", lambda x: movement.expand_dims(x, -1), (F, (3, 4)),
     expected=lambda x: x[..., None])  # fmt: skip
case("squeeze", movement.squeeze, (F, (3, 1, 4, 1)), expected=np.squeeze)
case("squeeze-axis", lambda x: movement.squeeze(x, [1]), (F, (3, 1, 4, 1)),
     expected=lambda x: np.squeeze(x, 1))  # fmt: skip
for _multiples in ((2, 3), (1, 4), (0, 2), (3, 1)):
    case(f"tile-{_multiples[0]}-{_multiples[1]}", lambda x, m=_multiples: movement.tile(x, m),
         (F, (3, 5)), expected=lambda x, m=_multiples: np.tile(x, m))  # fmt: skip

# -- indexing ------------------------------------------------------------------------------------

INDICES = {
    "first": np.s_[0], "last": np.s_[-1], "row-column": np.s_[2, -3], "from": np.s_[1:],
    "until": np.s_[:3], "until-last": np.s_[:-1], "from-last": np.s_[-2:], "between": np.s_[1:4],
    "beyond": np.s_[2:99], "nothing": np.s_[4:2], "far": np.s_[77:], "step": np.s_[::2],
    "step-from": np.s_[1::3], "back": np.s_[::-1], "back-step": np.s_[::-2],
    "back-from": np.s_[3::-1], "back-between": np.s_[4:1:-1], "back-until": np.s_[:2:-1],
    "column": np.s_[:, 1], "columns": np.s_[:, 1:6:2], "both": np.s_[1:4, ::-1],
    "ellipsis": np.s_[..., 2], "ellipsis-middle": np.s_[1, ..., 2], "new": np.s_[None],
    "new-last": np.s_[..., None], "new-middle": np.s_[:, None, 1:], "whole": np.s_[:],
    "negative-range": np.s_[-4:-1, -3:],
}  # fmt: skip
for _label, _key in INDICES.items():
    case(f"index-{_label}", lambda x, k=_key: x[k], (F, (5, 7)), expected=lambda x, k=_key: x[k])
for _label in ("from", "until", "back", "step", "nothing", "until-last", "from-last"):
    case(f"index-{_label}-of-none", lambda x, k=INDICES[_label]: x[k], (F, (0, 3)),
         expected=lambda x, k=INDICES[_label]: x[k])  # fmt: skip
case("index-tensor", lambda x, i: x[i], (F, (5, 7)), np.array(3, np.int32),
     expected=lambda x, i: x[i], differentiable=False)  # fmt: skip
case("index-tensor-from-end", lambda x, i: x[:, i], (F, (5, 7)), np.array(-2, np.int64),
     expected=lambda x, i: x[:, i], differentiable=False)  # fmt: skip
case("index-shape", lambda x: x[: shapes.shape(x)[0] // 2], (F, (5, 7)),
     expected=lambda x: x[: len(x) // 2])  # fmt: skip
case("slice", lambda x: slicing.slice(x, [1, 0], [2, -1]), (F, (5, 7)), expected=lambda x: x[1:3])
case("slice-data", lambda x, b: slicing.slice(x, b, [2, 3]), (F, (5, 7)),
     np.array([1, 2], np.int32), expected=lambda x, b: x[1:3, 2:5], differentiable=False,
     symbolic=False)  # fmt: skip
case("strided_slice", lambda x: slicing.strided_slice(x, [0, 1], [4, 6], [2, 2], begin_mask=1),
     (F, (5, 7)), expected=lambda x: x[:4:2, 1:6:2])  # fmt: skip

# -- parts and wholes ----------------------------------------------------------------------------

case("concat-rows", lambda *t: joining.concat(t, 0), (F, (2, 5)), (F, (3, 5)), (F, (1, 5)),
     expected=lambda *a: np.concatenate(a))  # fmt: skip
case("concat-columns", lambda *t: joining.concat(t, -1), (F, (3, 5)), (F, (3, 1)), (F, (3, 17)),
     expected=lambda *a: np.concatenate(a, -1))  # fmt: skip
case("concat-none", lambda *t: joining.concat(t, 0), (F, (0, 5)), (F, (3, 5)),
     expected=lambda *a: np.concatenate(a))  # fmt: skip
case("concat-computed", lambda a, b: unary.exp(joining.concat([a * 2.0, b + 1.0], 1)), (F, (3, 5)),
     (F, (3, 4)), expected=lambda a, b: np.exp(np.concatenate([a * 2, b + 1], 1)),
     tolerance=FUNCTION)  # fmt: skip
for _dtype in DTYPES:
    case(f"concat-{_dtype}", lambda *t: joining.concat(t, 1), (_dtype, (3, 5), 0, 9),
         (_dtype, (3, 2), 0, 9), expected=lambda *a: np.concatenate(a, 1),
         differentiable=False)  # fmt: skip
for _axis in (0, 1, 2, -1):
    case(f"stack-{_axis}", lambda *t, a=_axis: joining.stack(t, a), (F, (3, 5)), (F, (3, 5)),
         (F, (3, 5)), expected=lambda *x, a=_axis: np.stack(x, a))  # fmt: skip
case("unstack", lambda x: joining.unstack(x, axis=1), (F, (4, 3, 2)),
     expected=lambda x: [x[:, i] for i in range(3)])  # fmt: skip
case("split", lambda x: joining.split(x, 3, 1), (F, (4, 6)), expected=lambda x: np.split(x, 3, 1))
case("split-rows", lambda x: joining.split(x, 2), (F, (4, 6)), expected=lambda x: np.split(x, 2))
case("split-sizes", lambda x: joining.split(x, [2, -1, 1], 1), (F, (4, 6)),
     expected=lambda x: np.split(x, [2, 5], 1))  # fmt: skip
for _mode, _numpy in (("CONSTANT", "constant"), ("REFLECT", "reflect"), ("SYMMETRIC", "symmetric")):
    for _label, _widths in (("both", ((1, 2), (3, 0))), ("rows", ((2, 1), (0, 0))),
                            ("columns", ((0, 0), (2, 4)))):  # fmt: skip
        case(f"pad-{_mode}-{_label}", lambda x, m=_mode, w=_widths: padding.pad(x, w, m),
             (F, (5, 7)), expected=lambda x, m=_numpy, w=_widths: np.pad(x, w, m))  # fmt: skip
case("pad-value", lambda x: padding.pad(x, [[1, 1], [0, 2]], constant_values=-1.5), (F, (5, 7)),
     expected=lambda x: np.pad(x, ((1, 1), (0, 2)), constant_values=-1.5))  # fmt: skip
case("pad-none", lambda x: padding.pad(x, [[2, 1], [1, 1]]), (F, (0, 3)),
     expected=lambda x: np.pad(x, ((2, 1), (1, 1))))  # fmt: skip
case("pad-int32", lambda x: padding.pad(x, [[1, 1]], constant_values=7), ("int32", (9,)),
     expected=lambda x: np.pad(x, 1, constant_values=7))  # fmt: skip
case("reverse", lambda x: padding.reverse(x, [1]), (F, (5, 7)), expected=lambda x: x[:, ::-1])
case("reverse-all", lambda x: padding.reverse(x, [0, -1]), (F, (5, 7)),
     expected=lambda x: x[::-1, ::-1])  # fmt: skip
for _shift in (1, -2, 9):
    case(f"roll{_shift}", lambda x, s=_shift: joining.roll(x, s, 1), (F, (3, 7)),
         expected=lambda x, s=_shift: np.roll(x, s, 1))  # fmt: skip

# -- fills, ranges, shapes -----------------------------------------------------------------------

case("zeros-by-shape", lambda x: creation.zeros([shapes.shape(x)[0], 3]), (F, (5, 2)),
     expected=lambda x: np.zeros((5, 3), np.float32), differentiable=False)  # fmt: skip
case("zeros_like", creation.zeros_like, (F, (5, 2)), expected=np.zeros_like, differentiable=False)
case("ones_like-times", lambda x: creation.ones_like(x) * x, (F, (5, 2)), expected=lambda x: x)
case("fill", lambda x: creation.fill([2, 3], x), (F, ()), expected=lambda x: np.full((2, 3), x),
     symbolic=False)  # fmt: skip
case("range", lambda x: creation.range(shapes.shape(x)[0]), (F, (5, 2)),
     expected=lambda x: np.arange(5, dtype=np.int32), differentiable=False)  # fmt: skip
case("range-step", lambda x: creation.range(3, shapes.shape(x)[0] * 4, 3), (F, (5, 2)),
     expected=lambda x: np.arange(3, 20, 3, dtype=np.int32), differentiable=False)  # fmt: skip
case("range-long", lambda x: x + creation.range(3000.0, dtype=x.dtype), (F, (3000,)),
     expected=lambda x: x + np.arange(3000, dtype=x.dtype))  # fmt: skip
case("linspace", lambda x: x * creation.linspace(movement.reshape(x[:1], []) * 0.0, 2.0, 5),
     (F, (3, 1)),
     expected=lambda x: x * np.linspace(0, 2, 5, dtype=np.float32))  # fmt: skip
case(
    "eye",
    lambda x: x * creation.eye(4, 5, dtype=x.dtype),
    (F, (4, 5)),
    expected=lambda x: x * np.eye(4, 5, dtype=F),
)
case("shape", shapes.shape, (F, (5, 7)), expected=lambda x: np.array(x.shape, np.int32),
     differentiable=False)  # fmt: skip
case("shape-int64", lambda x: shapes.shape(x, out_type="int64"), (F, (5, 7)),
     expected=lambda x: np.array(x.shape, np.int64), differentiable=False)  # fmt: skip
case("size", shapes.size, (F, (5, 7)), expected=lambda x: np.int32(35), differentiable=False)
case("rank", shapes.rank, (F, (5, 7)), expected=lambda x: np.int32(2), differentiable=False)

case("sequence_mask", lambda n: creation.sequence_mask(n, 5), np.array([[1, 0], [5, 3]], np.int32),
     expected=lambda n: np.arange(5) < n[..., None])  # fmt: skip
case("sequence_mask-float", lambda n: creation.sequence_mask(n, 4, "float32"),
     np.array([2, 9, 0], np.int64),
     expected=lambda n: (np.arange(4) < n[..., None]).astype(np.float32))  # fmt: skip
for _indexing in ("xy", "ij"):
    case(f"meshgrid-{_indexing}", lambda a, b, i=_indexing: creation.meshgrid(a, b, indexing=i),
         (F, (3,)), (F, (4,)),
         expected=lambda a, b, i=_indexing: np.meshgrid(a, b, indexing=i))  # fmt: skip
