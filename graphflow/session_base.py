"""What sessions of every back end share: their graph and config, `with`, and the types of feeds."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import ConfigProto
from .ir.graph import Graph, get_default_graph, pop_session, push_session
from .ir.node import Tensor
from .ir.types import TensorType
from .ir.variable import VariableHandle
from .sizes import Symbol, as_symbol, symbol

SEED_VARIABLE = "graphflow/seed"


class BaseSession:
    """What sessions of every back end share: their graph, their config, and `with`."""

    graph: Graph
    config: ConfigProto

    if TYPE_CHECKING:

        def close(self) -> None: ...

    def _begin(self, target: str, graph: Graph | None, config: ConfigProto | None) -> None:
        if target not in ("", None):
            raise ValueError(
                f"Session: graphflow runs in this process; target must be '', got {target!r}"
            )
        if graph is not None and not isinstance(graph, Graph):
            raise TypeError(f"Session: graph must be a Graph, got {graph!r}")
        self.graph = graph if graph is not None else get_default_graph()
        self.config = config if config is not None else ConfigProto()
        self._graph_version = -1
        self._fed_types: dict[tuple[Tensor, int], TensorType] = {}
        self._warned_growth = False
        self._seed = self.config.seed
        if self._seed is None:
            self._seed = secrets.randbits(63)

    def feed_type(self, tensor: Tensor, rank: int) -> TensorType:
        """The type a tensor is fed with; `rank` decides where none was declared.

        The same one every time, so that a call is found again.
        """
        if tensor.dims is not None:
            return tensor.tensor_type
        found = self._fed_types.get((tensor, rank))
        if found is None:
            axes = tuple(symbol(f"axis{axis}") for axis in range(rank))
            found = self._fed_types[tensor, rank] = TensorType(tensor.dtype, axes)
        return found

    @property
    def sess_str(self) -> str:
        return ""

    def as_default(self):
        """A context in which this is the session of Tensor.eval and Operation.run."""
        return _Default(self)

    def __enter__(self):
        self._graph_context = self.graph.as_default()
        self._graph_context.__enter__()
        push_session(self)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        pop_session(self)
        self._graph_context.__exit__(kind, error, traceback)
        self.close()

    def initial_value(self, handle: VariableHandle) -> np.ndarray | None:
        """The value a session gives a variable by itself, if it does."""
        if handle.initial is None:
            return None
        if handle.name == SEED_VARIABLE:
            return np.full(handle.shape, self._seed, handle.dtype.numpy)  # type: ignore[arg-type]
        return handle.initial.array

    def _notice_growth(self) -> None:
        """Warns once when the graph grew between runs, naming the line that made it grow."""
        graph = self.graph
        version, self._graph_version = self._graph_version, graph.version
        self._growths = getattr(self, "_growths", 0) + (0 <= version < graph.version)
        if self._growths >= 8 and not self._warned_growth:
            self._warned_growth = True
            newest = graph.nodes[-1]
            print(
                f"graphflow: warning: the graph keeps growing between runs ({len(graph.nodes)} "
                f"operations), and every new operation costs a compilation; the newest is "
                f"{newest.name}, defined at {graph.location(newest)}",
                file=sys.stderr,
            )


class _Default:
    def __init__(self, session):
        self.session = session

    def __enter__(self):
        self._graph_context = self.session.graph.as_default()
        self._graph_context.__enter__()
        push_session(self.session)
        return self.session

    def __exit__(self, kind, error, traceback) -> None:
        pop_session(self.session)
        self._graph_context.__exit__(kind, error, traceback)


def rank_of(value: Any) -> int:
    """The rank a value is fed with."""
    try:
        return np.ndim(value)
    except ValueError:  # rows of different lengths: refused when it is fed
        return 0


def actual_sizes(types: Sequence[TensorType], shapes: Sequence[Sequence[int]]) -> dict[Symbol, int]:
    """What the symbols of feed types are, for fed shapes."""
    sizes: dict[Symbol, int] = {}
    for type_, shape in zip(types, shapes, strict=True):
        for dim, size in zip(type_.shape or (), shape, strict=True):
            found = as_symbol(dim)
            if found is not None:
                sizes.setdefault(found, size)
    return sizes
