"""Initial weights and feeds, made by NumPy from a seed: the same for every system."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import sequences
from .models import MODELS
from .net import WEIGHT, ZEROS, Declaration

POOL = 4  # batches a loop goes through


def declaration(model: str) -> Declaration:
    noted = Declaration()
    MODELS[model].network(noted, None)
    return noted


def initial(model: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name and value of every parameter and running average; kernels as He et al. 2015 draw them
    (arXiv:1502.01852), over the inputs of one output."""
    if model in sequences.SEQUENCE_MODELS:
        yield from sequences.initial(model)
        return
    noted = declaration(model)
    rng = np.random.default_rng(7)
    for name, (shape, kind) in {**noted.parameters, **noted.averages}.items():
        if kind == WEIGHT:
            scale = math.sqrt(2 / math.prod(shape[:-1]))
            yield name, rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        else:
            yield name, np.full(shape, 0 if kind == ZEROS else 1, np.float32)


def write_weights(model: str, path: Path) -> None:
    np.savez(path, **dict(initial(model)))


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts at a multiple of 64 bytes, which no system needs to copy again."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def batches(model: str, batch: int, count: int = POOL) -> list[tuple[np.ndarray, np.ndarray]]:
    """(inputs, labels or targets) of `count` batches."""
    chosen = MODELS[model]
    rng = np.random.default_rng(11)
    if model == "xor":
        rows = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
        wanted = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], np.float32)
        orders = [rng.permutation(4) for _ in range(count)]
        return [(aligned(rows[order]), aligned(wanted[order])) for order in orders]
    made = []
    for _ in range(count):
        x = aligned(rng.standard_normal((batch, *chosen.inputs), dtype=np.float32))
        made.append((x, rng.integers(0, chosen.classes, (batch, *chosen.labels), dtype=np.int32)))
    return made


def operand(*shape: int, seed: int = 0) -> np.ndarray:
    """A random matrix or vector of the kernel benchmarks."""
    return aligned(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))
