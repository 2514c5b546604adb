"""What the worker asks of a system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..models import MODELS
from ..sequences import SEQUENCE_MODELS
from ..workloads import Workload, by_name
from . import Request


class BaseSystem:
    """One library. What takes arrays gets what `feed` made of a batch."""

    def __init__(self, request: Request, mode: str) -> None:
        self.request = request
        self.mode = mode
        self.threads = request.threads
        self.workload: Workload = by_name(request.workload)

    @property
    def model(self) -> Any:
        name = self.workload.model
        return MODELS[name] if name in MODELS else SEQUENCE_MODELS[name]

    def weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and initial value of every parameter and running average, read one at a time."""
        with np.load(self.request.weights) as file:
            for name in file.files:
                yield name, file[name]

    def feed(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
        """A batch in the layout and the types a user of this library would have it in; inference
        takes the first of them."""
        return x, y

    def train(self) -> Callable[..., Any]:
        """A step: takes a batch, updates the weights, returns the loss as a NumPy scalar."""
        raise NotImplementedError

    def infer(self) -> Callable[..., np.ndarray]:
        """Takes inputs, returns outputs as a NumPy array."""
        raise NotImplementedError

    def kernel(self, name: str) -> Callable[[], np.ndarray]:
        """One of workloads.KERNEL_NAMES on data that is at hand, the result as a NumPy array."""
        raise NotImplementedError

    def gemm(self, size: tuple[int, int, int], constant: bool) -> tuple[Callable, Callable]:
        """(product of operands that are at hand, the last result as a NumPy array); the second
        operand is known beforehand if `constant`."""
        raise NotImplementedError

    def dispatch(self) -> Callable[[np.ndarray], np.ndarray]:
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """More to report, after a run; `version` at least."""
        raise NotImplementedError
