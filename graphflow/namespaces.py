"""TensorFlow 1's smaller namespaces: graphflow.math, .bitwise, .linalg, .random, .initializers."""

from __future__ import annotations

from types import SimpleNamespace

from .ops import (
    activation,
    arg_reduction,
    arithmetic,
    contraction,
    creation,
    cumulative,
    inverse_error,
    logic,
    movement,
    reduction,
    scatter,
    sorting,
)
from .ops import math as functions
from .ops import random as streams


def _namespace(*modules, **others) -> SimpleNamespace:
    names = {name: getattr(module, name) for module in modules for name in module.__all__}
    return SimpleNamespace(**names, **others)


math = _namespace(
    functions, arithmetic, reduction, arg_reduction, cumulative, logic, activation, inverse_error,
    scatter,
    in_top_k=sorting.in_top_k, top_k=sorting.top_k,
)  # fmt: skip
bitwise = SimpleNamespace(
    bitwise_and=logic.bitwise_and,
    bitwise_or=logic.bitwise_or,
    bitwise_xor=logic.bitwise_xor,
    invert=logic.invert,
    left_shift=logic.left_shift,
    right_shift=logic.right_shift,
)
linalg = SimpleNamespace(
    einsum=contraction.einsum,
    eye=creation.eye,
    l2_normalize=reduction.l2_normalize,
    matmul=contraction.matmul,
    matvec=contraction.matvec,
    tensordot=contraction.tensordot,
    transpose=movement.matrix_transpose,
)
random = SimpleNamespace(
    categorical=streams.categorical,
    multinomial=streams.multinomial,
    normal=streams.random_normal,
    set_random_seed=streams.set_random_seed,
    shuffle=streams.random_shuffle,
    truncated_normal=streams.truncated_normal,
    uniform=streams.random_uniform,
)
