"""The operands of the kernel benchmarks."""

from __future__ import annotations

import numpy as np

from ..data import operand
from ..workloads import GELU_ELEMENTS, ROWS, SQUARE


def operands(name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """(x, more operands) of one of workloads.KERNEL_NAMES."""
    if name == "gelu":
        return operand(GELU_ELEMENTS), []
    if name == "softmax":
        return operand(*ROWS), []
    if name == "layer_norm":
        return operand(*ROWS), [operand(ROWS[1], seed=1), operand(ROWS[1], seed=2)]
    return operand(SQUARE, SQUARE), []
