"""Where the values of a program live: given, written where they stay, or in the arena."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from ...ir.node import Tensor
from ...ir.op import LEAF
from ...ir.program import Program
from ...loop.nodes import Buffer
from ...plan import ARENA, CONSTANT, FEED, LATE, OUTPUT, STATE_IN, STATE_OUT
from ...sizes import Dim, Shape, is_trip_symbol, multiply, product, symbols_of
from ..analysis.bodies import Inside
from ..analysis.relations import SAME
from ..fusion.cluster import COPY, Cluster, Fusion, root
from ..lowering.context import Storage


@dataclass(frozen=True, eq=False)
class Copy:
    """Memory for a second copy of a value."""

    of: Tensor


@dataclass
class Place:
    place: str
    index: int


@dataclass(frozen=True)
class Stored:
    """A value in memory."""

    name: str
    dtype: Any
    shape: Shape
    place: Place

    @property
    def bytes(self) -> Dim:
        return multiply(product(self.shape), self.dtype.bytes)


def is_late(shape: Shape) -> bool:
    """Whether memory of this shape has a size that a loop of the run finds out."""
    return any(map(is_trip_symbol, symbols_of(tuple(shape))))


@dataclass(frozen=True, eq=False)
class Inner:
    """The key, outside, of memory that a body uses."""

    stored: Stored

    def __repr__(self) -> str:
        return f"<inner {self.stored.name}>"


class Places:
    """The places of what a program is given and what it leaves behind.

    places:  of tensors and copies; what is stored and not here is in the arena
    copies:  clusters that copy a value into a second place
    states:  variable -> its number, and the keys of its old and new value
    outputs: key and shape of every fetched value
    """

    def __init__(self, program: Program, fusion: Fusion, inside: Inside | None = None):
        self.program = program
        self.fusion = fusion
        self.inside = inside
        self.places: dict[Hashable, Place] = {}
        self.constants = 0
        self.copies: list[Cluster] = []
        self.states: dict[Any, dict[str, Any]] = {}
        self.outputs: list[tuple[Hashable, Shape]] = []
        self._place_given()
        self._place_updates()
        self._place_outputs()

    def _place_given(self) -> None:
        for index, tensor in enumerate(self.program.feeds):
            self.places[tensor] = Place(FEED, index)
        for node in self.program.nodes():
            if node.op.name == "state":
                variable = node.attrs["variable"]
                state = self._state(variable)
                state["read"] = node.outputs[0]
                self.places[node.outputs[0]] = Place(STATE_IN, state["index"])
        for parameter, variable in self.inside.carried.items() if self.inside else ():
            state = self._state(variable)
            state["read"] = parameter
            self.places[parameter] = Place(STATE_IN, state["index"])

    def _state(self, variable: Any) -> dict[str, Any]:
        if variable not in self.states:
            self.states[variable] = {"index": len(self.states), "read": None, "write": None}
        return self.states[variable]

    def _place_updates(self) -> None:
        for variable, tensor in self.program.updates.items():
            state = self._state(variable)
            source = root(tensor)
            if source is state["read"]:
                continue
            place = Place(STATE_OUT, state["index"])
            state["shape"] = tensor.dims
            if source.node.op.kind == LEAF or source in self.places:
                state["write"] = self._copy(tensor, place)
            else:
                self.places[source] = place
                state["write"] = source

    def _place_outputs(self) -> None:
        for number, tensor in enumerate(self.program.fetches):
            source = root(tensor)
            place = self.places.get(source)
            key: Hashable = source
            if self.inside and (source.node.op.kind == LEAF or place is not None):
                key = self._copy(tensor, Place(OUTPUT, number))
            elif source.node.op.kind == LEAF:
                if source.node.op.name == "constant":
                    self._constant(source)
            elif place is None:
                self.places[source] = Place(OUTPUT, number)
            elif place.place == OUTPUT:
                key = self._copy(tensor, Place(OUTPUT, number))
            self.outputs.append((key, tensor.dims))

    def _copy(self, tensor: Tensor, place: Place) -> Copy:
        key = Copy(tensor)
        self.places[key] = place
        cluster = Cluster(len(self.fusion.clusters) + len(self.copies), COPY)
        cluster.count = product(tensor.dims)
        cluster.reads = {root(tensor): SAME}
        cluster.copy = (tensor, key)
        self.copies.append(cluster)
        return key

    def _constant(self, tensor: Tensor) -> None:
        if tensor not in self.places:
            self.places[tensor] = Place(CONSTANT, self.constants)
            self.constants += 1

    def storage_of(self, tensor: Tensor) -> Hashable | None:
        """The key of the memory that holds a tensor, if any."""
        source = root(tensor)
        if source.node.op.kind == LEAF:
            if source.node.op.name == "constant":
                self._constant(source)
            return source
        cluster = self.fusion.cluster_of.get(source)
        return source if cluster is not None and source in cluster.stored else None

    def describe(self, key: Hashable) -> Storage:
        if isinstance(key, Inner):
            return Storage(key, key.stored.dtype, key.stored.shape)
        tensor = key.of if isinstance(key, Copy) else key
        assert isinstance(tensor, Tensor)
        return Storage(key, tensor.dtype, tensor.dims)

    def stored(self, key: Hashable) -> Stored:
        """What is known of the memory with this key."""
        found = self._stored(key)
        if found.place.place == ARENA and is_late(found.shape):
            return replace(found, place=Place(LATE, 0))
        return found

    def _stored(self, key: Hashable) -> Stored:
        if isinstance(key, Inner):
            return replace(key.stored, place=self.places.get(key, key.stored.place))
        place = self.places.get(key, Place(ARENA, 0))
        if isinstance(key, Buffer):  # a workspace
            return Stored(key.name, key.dtype, (key.size,), place)
        storage = self.describe(key)
        shape = storage.shape
        if place.place == STATE_OUT:
            shape = list(self.states.values())[place.index]["shape"]
        return Stored(self._name(key), storage.dtype, tuple(shape), place)

    def _name(self, key: Hashable) -> str:
        tensor = key.of if isinstance(key, Copy) else key
        assert isinstance(tensor, Tensor)
        if tensor.node.op.name == "state":
            return str(tensor.node.attrs["variable"])
        origins = self.program.origin(tensor.node)
        return origins[0].name if origins else tensor.node.op.name
