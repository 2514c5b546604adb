"""Sessions that walk through a run in Python, one operation after the other.

What they share whatever computes an operation: calls and their programs, feeds, variables, and that
a run is a transaction. A variable's value is never written to, only replaced, so whoever holds
one may keep it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from . import failures
from .config import RunMetadata
from .errors import FeedError
from .fetches import Fetches, resolve_feeds
from .ir.graph import Graph
from .ir.node import Tensor
from .ir.program import Program
from .ir.types import TensorType
from .ir.variable import VariableHandle
from .passes.cut.functionalize import cut
from .session_base import BaseSession, actual_sizes
from .sizes import Symbol, evaluate, symbols_of

Array = np.ndarray | np.generic


@dataclass(frozen=True, eq=False)
class Request:
    """The fetches and feeds of one kind of call."""

    fetches: Fetches
    feeds: tuple[Tensor, ...]


class Task(Protocol):
    """What a request is for feeds of certain shapes.

    states: the variables whose values `run` takes, in order
    writes: whether it gives any variable a new value
    """

    states: tuple[VariableHandle, ...]
    writes: bool

    def run(
        self, feeds: Sequence[Array], states: Sequence[Array], metadata: RunMetadata | None
    ) -> tuple[list[Array], dict[VariableHandle, Array]]:
        """The fetches, which are the caller's, and the new values of variables."""
        ...


class InterpretedSession(BaseSession):
    """A session whose runs are Python loops over operations; subclasses say what a Task is."""

    def __init__(self, target="", graph: Graph | None = None, config=None):
        self._begin(target, graph, config)
        self._values: dict[VariableHandle, Array] = {}  # replaced as a whole, so one is consistent
        self._requests: dict[Any, Request] = {}
        self._programs: dict[Any, Program] = {}
        self._writing = threading.RLock()
        self.closed = False

    def _task(self, request: Request, arrays: Sequence[Array]) -> Task:
        raise NotImplementedError

    # -- runs ---------------------------------------------------------------------------------

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, options: Any = None,
            run_metadata: RunMetadata | None = None) -> Any:  # fmt: skip
        """What Session.run does."""
        feed_dict = feed_dict or {}
        request = self._request(fetches, tuple(feed_dict))
        return self._run(request, list(feed_dict.values()), run_metadata)

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """A function of the values of `feed_list` that does what run would."""
        request = self._request(fetches, tuple(feed_list or ()))
        count = len(request.feeds)

        def call(*values, options=None, run_metadata=None):
            if len(values) != count:
                raise TypeError(f"the callable takes {count} values, got {len(values)}")
            return self._run(request, values, run_metadata)

        return call

    def close(self) -> None:
        """Forgets every variable's value."""
        self.closed = True
        self._values = {}
        self._requests.clear()
        self._programs.clear()

    def _request(self, fetches: Any, keys: tuple[Any, ...]) -> Request:
        self._check_open()
        nest = (list, *fetches) if isinstance(fetches, list) else fetches
        try:
            known = self._requests.get((nest, keys))
        except TypeError:  # a nest that has no hash
            return self._resolve(fetches, keys)
        if known is None:
            known = self._requests[nest, keys] = self._resolve(fetches, keys)
        return known

    def _resolve(self, fetches: Any, keys: tuple[Any, ...]) -> Request:
        return Request(Fetches(self.graph, fetches), tuple(resolve_feeds(self.graph, keys)))

    def _run(self, request: Request, given: Sequence[Any], metadata: RunMetadata | None) -> Any:
        self._check_open()
        self._notice_growth()
        arrays = [_converted(t, v) for t, v in zip(request.feeds, given, strict=True)]
        task = self._task(request, arrays)
        with self._writing if task.writes else nullcontext():
            values = self._values
            states = [self._value(variable, values) for variable in task.states]
            missing = [v for v, value in zip(task.states, states, strict=True) if value is None]
            if missing:
                raise failures.uninitialized([(v.name, v.location) for v in missing])
            fetched, updates = task.run(arrays, states, metadata)  # type: ignore[arg-type]
            if updates:
                self._values = {**self._values, **updates}
        return _nested(request.fetches.shape, [a if a.ndim else np.asarray(a)[()] for a in fetched])

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("the session is closed")

    def _program(
        self, request: Request, arrays: Sequence[Array]
    ) -> tuple[Program, dict[Symbol, int]]:
        """The cut for these feeds, and its sizes; sizes of 1 that broadcast are fixed, as compiled
        runs do."""
        bindings: dict[Symbol, int] = {}
        types = tuple(map(self.feed_type, request.feeds, (array.ndim for array in arrays)))
        shapes = [array.shape for array in arrays]
        while True:
            program = self._cut(request, types, bindings)
            bound = program.bound_types()
            actual = actual_sizes(bound, shapes)
            fixed: dict[Symbol, int] = {}
            for constraint, origins in program.constraints:
                if not set(symbols_of((constraint.a, constraint.b))) <= set(actual):
                    continue
                a, b = evaluate(constraint.a, actual), evaluate(constraint.b, actual)
                if a == b:
                    continue
                if not constraint.broadcast or 1 not in (a, b):
                    rows = [
                        (t, ty.shape or (), shape)
                        for t, ty, shape in zip(request.feeds, bound, shapes, strict=True)
                    ]
                    raise failures.size_error(constraint, origins, rows, a, b)
                side = constraint.a if a == 1 else constraint.b
                fixed |= {s: actual[s] for s in symbols_of(side)}
            if not fixed:
                return program, actual | bindings
            bindings |= fixed

    def _cut(
        self, request: Request, types: tuple[TensorType, ...], bindings: Mapping[Symbol, int]
    ) -> Program:
        wanted = request.fetches.wanted
        key = (tuple(wanted), request.feeds, types, tuple(bindings.items()))
        program = self._programs.get(key)
        if program is None:
            program = cut(self.graph, list(wanted), request.feeds, types, bindings)
            self._programs[key] = program
        return program

    # -- variables ----------------------------------------------------------------------------

    def variable_value(self, handle: VariableHandle) -> np.ndarray:
        """The value of a variable as a read-only array. Raises FailedPreconditionError."""
        value = self._value(handle, self._values)
        if value is None:
            raise failures.uninitialized([(handle.name, handle.location)])
        shared = np.asarray(value).view()
        shared.flags.writeable = False
        return shared

    def is_initialized(self, handle: VariableHandle) -> bool:
        return self._value(handle, self._values) is not None

    def load_variables(self, values: Mapping[VariableHandle, Any]) -> None:
        """Gives several variables values, or none of them if any does not fit."""
        copies = {v: np.array(array) for v, array in failures.fitting(values).items()}
        with self._writing:
            self._values = {**self._values, **copies}

    def load_variable(self, handle: VariableHandle, value: Any) -> None:
        self.load_variables({handle: value})

    def _value(
        self, handle: VariableHandle, values: Mapping[VariableHandle, Array]
    ) -> Array | None:
        value = values.get(handle)
        return value if value is not None else self.initial_value(handle)


def _converted(tensor: Tensor, value: Any) -> np.ndarray:
    """A fed value as an array of the tensor's dtype: itself where it is one. Raises FeedError."""
    if type(value) is np.ndarray and value.dtype == tensor.dtype.numpy:
        array = np.asarray(value, order="C")
    else:
        try:
            if isinstance(value, Tensor):
                raise FeedError("a tensor")
            given = np.asarray(value)
            if given.dtype.kind not in "biuf":
                raise FeedError("not numbers")
            array = np.asarray(given, tensor.dtype.numpy, order="C")
        except (ValueError, TypeError) as error:
            raise failures.feed_error(tensor, value, error) from None
    dims = tensor.dims
    fits = dims is None or (
        len(dims) == array.ndim
        and all(
            not isinstance(want, int) or want == have
            for want, have in zip(dims, array.shape, strict=True)
        )
    )
    if not fits:
        raise failures.feed_error(tensor, value, None)
    return array


def _nested(shape: Any, values: Sequence[Any]) -> Any:
    """The nest of results: numbers become values, None stays."""
    if isinstance(shape, int):
        return values[shape]
    if shape is None:
        return None
    if isinstance(shape, Mapping):
        items = [(key, _nested(item, values)) for key, item in shape.items()]
        return dict(items) if type(shape) is dict else type(shape)(items)  # type: ignore[call-arg]
    items = [_nested(item, values) for item in shape]
    if hasattr(shape, "_fields"):
        return type(shape)(*items)
    return items if isinstance(shape, list) else tuple(items)
