"""The rows of TensorArrays, and those of them that a loop stacks.

A `while_loop` whose body writes a TensorArray once an iteration, at a loop variable that counts the
iterations, does not need the array at all while it runs: the rows are a stack of the loop, whose
length is the number of iterations, known or not. Such an array has no components in the loop; a
`Growth` takes its place among the loop variables.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from . import nest
from .dtypes import int32
from .errors import TypeRuleError
from .ir.body import Body
from .ir.graph import Location, get_default_graph, user_location
from .ir.node import Tensor
from .ir.op import find
from .ops.convert import convert, reject
from .ops.creation import range as range_of
from .ops.effects import asserted
from .ops.joining import stack
from .ops.shapes import size_as_tensor
from .sizes import Dim, is_nonnegative, maximum, symbols_of


def zeros(dtype, dims: Sequence[Dim]) -> Tensor:
    zero = convert(False) if dtype.is_bool else convert(0, dtype)
    return find("broadcast_to")(zero, shape=tuple(dims))


def joined_elements(what: str, a: Sequence, b: Sequence, value: Tensor | None = None) -> None:
    """Raises TypeRuleError where elements of shape `a` and of shape `b` cannot be in one array."""
    same = len(a) == len(b) and not any(
        x is not None and y is not None and isinstance(x - y, int) and x != y
        for x, y in zip(a, b, strict=False)
    )
    if not same:
        name = "an element" if value is None else value.name
        shown = ", ".join("?" if dim is None else str(dim) for dim in a)
        reject(what, f"{name} has shape [{', '.join(map(str, b))}], the others have [{shown}]")


def require_one_shape(what: str, pieces: Sequence[Tensor]) -> None:
    for piece in pieces[1:]:
        joined_elements(what, pieces[0].dims, piece.dims, piece)


def first_rows(
    array, rows: Tensor, what: str, mask: Tensor | None = None, guarded: bool = False
) -> Any:
    """`array` with `rows` as its first elements, of which `mask` says which are written; it grows
    where it may. guarded: that they fit has been checked."""
    count: Dim = (rows.dims or (0,))[0]
    size: Dim = array._size
    if array._asked is not None:
        if not guarded:
            here = size_as_tensor(count, int32)
            message = f"{what}: there are more rows than the size of the TensorArray"
            check = asserted(find("less_equal")(here, array._asked), [here, array._asked], message)
            with get_default_graph().control_dependencies([check]):
                rows = find("identity")(rows)
        return array._changed(_size=count, _pieces={}, _rows=rows, _mask=mask)
    room = size - count
    if array._dynamic:
        size = maximum(size, count)
    elif isinstance(room, int) and room < 0:
        reject(what, f"there are {count} rows, the size of the TensorArray is {size}")
    elif not is_nonnegative(room) and not guarded:
        here, limit = size_as_tensor(count, int32), size_as_tensor(size, int32)
        message = f"{what}: there are more rows than the size of the TensorArray"
        check = asserted(find("less_equal")(here, limit), [here, limit], message)
        with get_default_graph().control_dependencies([check]):
            rows = find("identity")(rows)
    room = size - count
    if isinstance(room, int) and room == 0:
        return array._changed(_size=size, _pieces={}, _rows=rows, _mask=mask)
    if mask is None:
        mask = find("less")(range_of(size_as_tensor(size, int32)), size_as_tensor(count, int32))
    else:
        mask = _padded(mask, size)
    return array._changed(_size=size, _pieces={}, _rows=_padded(rows, size), _mask=mask)


def _padded(x: Tensor, size: Dim) -> Tensor:
    """`x` with zeros after its rows, `size` in all; where a run finds that smaller, what is left
    out makes the run fail elsewhere."""
    count = x.dims[0]
    room = size - count
    if not is_nonnegative(room):
        places = find("iota")(dtype=int32, size=count)
        return find("scatter")(zeros(x.dtype, (size, *x.dims[1:])), places, x, mode="set")
    rest = (0,) * (len(x.dims) - 1)
    value = False if x.dtype.is_bool else 0
    return find("pad")(x, before=(0, *rest), after=(room, *rest), mode="constant", value=value)


# -- arrays that a loop stacks -------------------------------------------------------------------


class NotStacked(Exception):
    """Raised while a body is defined: a TensorArray cannot be a stack of that loop."""

    def __init__(self, growth: Growth, reason: str):
        super().__init__(reason)
        self.growth = growth
        self.reason = reason
        self.location = user_location()


class Growth:
    """A TensorArray as a variable of a loop that stacks its rows.

    array: as the loop begins: its first elements, and no others, are written
    first: how many those are
    """

    def __init__(self, array, place: int):
        self.array = array
        self.place = place
        self._stands_for = type(array)
        self.first: Dim = len(array._pieces) if array._rows is None else array._size
        self.row: tuple[Tensor, Tensor, Location] | None = None
        self.result: Any = None

    def written(self, array, index: Tensor, value: Tensor) -> Any:
        if array._written is not None:
            raise NotStacked(self, "it is written more than once an iteration")
        return array._changed(_written=(index, value, user_location()))

    def require_stack(self, reason: str | None) -> None:
        if reason is not None:
            raise NotStacked(self, reason)

    def _components(self) -> list[Tensor]:
        return []

    def _with_components(self, tensors: Sequence[Tensor]) -> Any:
        return self.result if self.result is not None else self.array._changed(_growth=self)


class LoopArrays:
    """The TensorArrays among loop variables that the loop stacks.

    refused: those that it cannot stack, by their places among the variables
    """

    def __init__(self, variables: Any, refused: dict[int, NotStacked]):
        self.growths: list[Growth] = []
        leaves = nest.flatten(variables)
        for place, leaf in enumerate(leaves):
            if not hasattr(leaf, "_growth"):
                continue
            if place in refused:
                _require_fixed(leaf, refused[place])
            elif _can_grow(leaf):
                leaves[place] = Growth(leaf, place)
                self.growths.append(leaves[place])
        self.variables = nest.pack_sequence_as(variables, leaves)

    def taken(self, returned: Any) -> Any:
        """What a body returns, with the stacked arrays taken out of it."""
        if not self.growths or nest.difference(self.variables, returned) is not None:
            return returned
        leaves = nest.flatten(returned)
        for growth in self.growths:
            leaf = leaves[growth.place]
            if getattr(leaf, "_growth", None) is growth:
                growth.row = leaf._written
                leaves[growth.place] = growth
            elif hasattr(leaf, "_growth"):
                growth.require_stack("its loop variable becomes another TensorArray")
        return nest.pack_sequence_as(returned, leaves)

    def require_counters(self, first_of: Callable[[Tensor], Any]) -> None:
        """Raises NotStacked for an array that is not written at a counter of the iterations.

        first_of: the number at which a loop variable that grows by 1 begins, None for others
        """
        for growth in self.growths:
            if growth.row is None:
                continue
            begin = first_of(growth.row[0])
            if begin is None:
                growth.require_stack(
                    "it is not written at a loop variable that begins at a known number and "
                    "grows by 1"
                )
            difference = begin - growth.first
            if not isinstance(difference, int) or difference != 0:
                growth.require_stack(
                    f"the loop writes it from index {begin} on, and its first {growth.first} "
                    "elements are written before"
                )

    @property
    def stacked(self) -> list[Growth]:
        return [growth for growth in self.growths if growth.row is not None]

    def rows(self, body: Body, length: Dim | None, varying: Collection) -> list[Tensor]:
        """What an iteration adds to each stack, in the loop's body.

        length: the number of iterations, where it is known; where it is not, or may be too large,
            indices are checked
        varying: sizes of loop variables that change from iteration to iteration
        """
        graph = body.graph
        found = []
        for growth in self.stacked:
            index, value, location = growth.row  # type: ignore[misc]
            array = growth.array
            with body.open():
                limit = array._asked
                if limit is None and not array._dynamic:
                    room = None if length is None else array._size - growth.first - length
                    if room is None or not is_nonnegative(room):
                        limit = size_as_tensor(array._size, index.dtype)
                if limit is not None:
                    limit = find("cast")(limit, dtype=index.dtype)
                    message = array._what("write: the index is outside its size")
                    check = asserted(find("less")(index, limit), [index, limit], message)
                    graph.locations[check] = location
                found.append(body.adopt(value))
            sizes = set(symbols_of(value.dims))
            owners = (graph.size_owners.get(symbol) for symbol in sizes)
            inner = any(graph.body_of.get(owner) is body for owner in owners if owner is not None)
            if inner or sizes.intersection(varying):
                raise TypeRuleError(
                    f"{array._what('write')}: {value.name} ({value.tensor_type}) may have another "
                    f"shape in each iteration\n  at {location}"
                )
        return found

    def finish(self, stacks: Sequence[Tensor]) -> None:
        """Gives the arrays as they are after the loop."""
        for growth in self.growths:
            growth.result = growth.array
        for growth, rows in zip(self.stacked, stacks, strict=True):
            array = growth.array
            if growth.first != 0:
                rows = find("concat")(_prefix(array), rows, axis=0)
            array = array._of_shape(rows.dims[1:])
            growth.result = first_rows(array, rows, array._what("write"), guarded=True)


def _prefix(array) -> Tensor:
    return array._rows if array._rows is not None else stack(array._in_order())


def _can_grow(array) -> bool:
    """Whether a loop can add rows to those that are there."""
    grows = array._dynamic or array._asked is not None
    if array._rows is not None:
        return array._mask is None and grows
    first = len(array._pieces)
    return sorted(array._pieces) == list(range(first)) and (grows or first != array._size)


def _require_fixed(array, why: NotStacked) -> None:
    """Raises TypeRuleError for an array that would have to grow in a loop that cannot stack it."""
    if (array._dynamic and array._size == 0) or array._asked is not None:
        kind = "has a size that depends on data" if array._asked is not None else "is to grow"
        raise TypeRuleError(
            f"{array._what()}: it {kind} in a while_loop, but {why.reason}; that is supported "
            "where the body does nothing with it but to write it once an iteration, at a loop "
            "variable that begins at a number and grows by 1, and with a known size anywhere"
            f"\n  at {why.location}"
        )
