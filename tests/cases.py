"""The table of operation cases that every oracle runs: plain NumPy, the reference evaluator,
compiled code, finite differences, benchmarks.

A case says how to build its result from tensors, what to feed, and what NumPy gives. It runs
with static shapes, and again with the first dimension of every input unknown (`symbolic`).
Families of their own stand in `tests/cases_<family>.py` and register with the same `case`.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphflow.ops.creation import placeholder


@dataclass(frozen=True)
class Tolerance:
    """How far compiled code may be from the expectation, and why it is at all."""

    rtol: float = 0.0
    atol: float = 0.0
    why: str = "exact"


EXACT = Tolerance()
# One rounding each of two operations, or a fused multiply-add instead of two roundings.
ROUNDING = Tolerance(3e-7, 1e-7, "a fused multiply-add rounds once")
FUNCTION = Tolerance(2e-6, 1e-7, "vector functions are within 4 ulp, NumPy's within a few too")
REDUCTION = Tolerance(2e-5, 1e-6, "sums are taken in another order")


@dataclass(frozen=True)
class Case:
    """build(*tensors) gives a tensor or a list of them; expected(*arrays) the arrays."""

    name: str
    build: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    expected: Callable[..., Any]
    tolerance: Tolerance = EXACT
    differentiable: bool = True
    # None: not with unknown sizes. Else the axes of every input that are unknown then.
    symbolic: tuple[tuple[int, ...], ...] | None = ()

    def placeholders(self, symbolic: bool) -> list:
        """A placeholder for every input, in the current graph."""
        result = []
        for number, array in enumerate(self.inputs):
            unknown = self.symbolic[number] if symbolic and self.symbolic else ()
            shape = [None if axis in unknown else dim for axis, dim in enumerate(array.shape)]
            result.append(placeholder(array.dtype, shape, name=f"in{number}"))
        return result

    def outputs(self, tensors: Sequence) -> list:
        result = self.build(*tensors)
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def expectation(self, arrays: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            result = self.expected(*(self.inputs if arrays is None else arrays))
        items = list(result) if isinstance(result, (list, tuple)) else [result]
        return [np.asarray(item) for item in items]

    def __str__(self) -> str:
        return self.name


CASES: dict[str, Case] = {}


def case(
    name: str,
    build: Callable[..., Any],
    *inputs,
    expected: Callable[..., Any],
    tolerance: Tolerance = EXACT,
    differentiable: bool | None = None,
    symbolic: bool | Sequence[Sequence[int]] = True,
) -> None:
    """Registers a case. Inputs are arrays, or (dtype, shape, low, high) for random ones.

    symbolic: True makes the first axis of every input unknown unless its size is 1; False keeps
    shapes static; or the unknown axes of each input.
    """
    if name in CASES:
        raise ValueError(f"two cases are named {name!r}")
    arrays = tuple(make(spec, f"{name}{i}") for i, spec in enumerate(inputs))
    unknown: tuple[tuple[int, ...], ...] | None
    if symbolic is True:
        unknown = tuple((0,) if a.ndim and a.shape[0] != 1 else () for a in arrays)
        unknown = unknown if any(unknown) else None
    elif symbolic is False:
        unknown = None
    else:
        unknown = tuple(tuple(axes) for axes in symbolic)
    if differentiable is None:
        differentiable = bool(arrays) and all(a.dtype.kind == "f" for a in arrays)
    CASES[name] = Case(name, build, arrays, expected, tolerance, differentiable, unknown)


def random(name: str) -> np.random.Generator:
    """A generator that depends on the name only."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def make(spec, name: str) -> np.ndarray:
    """An array, or a random one: (dtype, shape, low, high)."""
    if isinstance(spec, np.ndarray):
        return spec
    if not isinstance(spec, tuple):
        return np.asarray(spec)
    dtype, shape, *limits = spec
    low, high = limits or (-2, 3)
    generator, kind = random(name), np.dtype(dtype)
    if kind.kind == "b":
        return generator.random(shape) < 0.5
    if kind.kind in "iu":
        return generator.integers(low, high, shape).astype(kind)
    return generator.uniform(low, high, shape).astype(kind)


def all_cases() -> list[Case]:
    """The cases of every family."""
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        importlib.import_module(path.stem)
    return list(CASES.values())
