"""`Session(backend="reference")`: the same graph, evaluated with NumPy, one operation at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import failures
from .config import RunMetadata
from .errors import FeedError
from .fetches import Fetches, resolve_feeds
from .ir.evaluate import run_program
from .ir.graph import Graph
from .ir.node import Tensor
from .ir.program import Program
from .ir.types import TensorType
from .ir.variable import VariableHandle
from .passes.functionalize import cut
from .session_base import BaseSession, actual_sizes
from .sizes import evaluate, symbols_of


class ReferenceSession(BaseSession):
    """A session without a compiler: slow, and every value can be looked at in a debugger."""

    def __init__(self, target="", graph: Graph | None = None, config=None):
        self._begin(target, graph, config)
        self._values: dict[VariableHandle, np.ndarray] = {}
        self._programs: dict[Any, Program] = {}
        self.closed = False

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, options: Any = None,
            run_metadata: RunMetadata | None = None) -> Any:  # fmt: skip
        """What Session.run does. Runs have no kernels, so `run_metadata` stays empty."""
        if self.closed:
            raise RuntimeError("the session is closed")
        self._notice_growth()
        resolved = Fetches(self.graph, fetches)
        feed_dict = feed_dict or {}
        feeds = resolve_feeds(self.graph, tuple(feed_dict))
        arrays = [self._feed(t, v) for t, v in zip(feeds, feed_dict.values(), strict=True)]
        types = tuple(self.feed_type(t, a.ndim) for t, a in zip(feeds, arrays, strict=True))
        program = self._program(resolved, feeds, types, arrays)
        states = {s.node.attrs["variable"] for s in program.states()}
        missing = [v for v in states if self._value(v) is None]
        if missing:
            raise failures.uninitialized([(v.name, v.location) for v in missing])
        result = run_program(program, arrays, {v: self._value(v) for v in states})
        self._values.update(result.updates)
        values = [a if a.ndim else a[()] for a in map(np.array, result.fetches)]
        return _nested(resolved.shape, values)

    def make_callable(self, fetches: Any, feed_list: Sequence[Any] | None = None,
                      accept_options: bool = False):  # fmt: skip
        """A function of the values of `feed_list` that does what run would."""
        keys = list(feed_list or ())

        def call(*values, options=None, run_metadata=None):
            if len(values) != len(keys):
                raise TypeError(f"the callable takes {len(keys)} values, got {len(values)}")
            return self.run(fetches, dict(zip(keys, values, strict=True)))

        return call

    def close(self) -> None:
        """Forgets every variable's value."""
        self.closed = True
        self._values.clear()
        self._programs.clear()

    def variable_value(self, handle: VariableHandle) -> np.ndarray:
        value = self._value(handle)
        if value is None:
            raise failures.uninitialized([(handle.name, handle.location)])
        return value

    def is_initialized(self, handle: VariableHandle) -> bool:
        return self._value(handle) is not None

    def load_variables(self, values: Mapping[VariableHandle, Any]) -> None:
        """Gives several variables values, or none of them if any does not fit."""
        self._values.update(failures.fitting(values))

    def load_variable(self, handle: VariableHandle, value: Any) -> None:
        self.load_variables({handle: value})

    def _value(self, handle: VariableHandle) -> np.ndarray | None:
        value = self._values.get(handle)
        return value if value is not None else self.initial_value(handle)

    def _feed(self, tensor: Tensor, value: Any) -> np.ndarray:
        try:
            if isinstance(value, Tensor):
                raise FeedError("a tensor")
            given = np.asarray(value)
            if given.dtype.kind not in "biuf":
                raise FeedError("not numbers")
            array = given.astype(tensor.dtype.numpy)
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

    def _program(self, resolved: Fetches, feeds: list[Tensor], types: tuple[TensorType, ...],
                 arrays: Sequence[np.ndarray]) -> Program:  # fmt: skip
        """The cut for these feeds; sizes of 1 that broadcast are fixed, as compiled runs do."""
        bindings: dict[Any, int] = {}
        while True:
            key = (tuple(resolved.wanted), tuple(feeds), types, tuple(bindings.items()))
            program = self._programs.get(key)
            if program is None:
                program = cut(self.graph, list(resolved.wanted), feeds, types, bindings)
                self._programs[key] = program
            bound = program.bound_types()
            shapes = [array.shape for array in arrays]
            actual = actual_sizes(bound, shapes)
            fixed: dict[Any, int] = {}
            for constraint, origins in program.constraints:
                if not set(symbols_of((constraint.a, constraint.b))) <= set(actual):
                    continue
                a, b = evaluate(constraint.a, actual), evaluate(constraint.b, actual)
                if a == b:
                    continue
                if not constraint.broadcast or 1 not in (a, b):
                    rows = [
                        (t, ty.shape or (), shape)
                        for t, ty, shape in zip(feeds, bound, shapes, strict=True)
                    ]
                    raise failures.size_error(constraint, origins, rows, a, b)
                side = constraint.a if a == 1 else constraint.b
                fixed |= {s: actual[s] for s in symbols_of(side)}
            if not fixed:
                return program
            bindings |= fixed


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
