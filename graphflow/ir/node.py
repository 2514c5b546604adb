"""Frozen nodes, their tensors and their regions: the one graph IR, defined and rewritten alike.

A node of a graph under definition is unique: its serial number is part of its identity, and
`graph` says where its name, scope and source line are. A node of a `Program` (what passes see) is
interned: equality is identity, serial 0 unless it has an effect, `graph` None.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DType
from .op import Op
from .types import TensorType

if TYPE_CHECKING:
    from .graph import Graph


class FrozenArray:
    """A constant's elements: read-only, compared by content."""

    __slots__ = ("array", "_digest")

    def __init__(self, array):
        array = np.asarray(array)
        if array.flags.writeable or not array.flags.c_contiguous:
            array = np.array(array, order="C", copy=True)
            array.flags.writeable = False
        self.array = array
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        if self._digest is None:
            state = hashlib.sha256(f"{self.array.dtype.str}{self.array.shape}".encode())
            state.update(self.array.data if self.array.size else b"")
            self._digest = state.hexdigest()
        return self._digest

    def __eq__(self, other) -> bool:
        return self is other or (isinstance(other, FrozenArray) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"FrozenArray({self.array.dtype}{list(self.array.shape)})"


class Attrs(Mapping):
    """The attributes of a node: an immutable, hashable mapping in name order.

    Values are hashable: numbers, strings, None, DTypes, sizes, FrozenArrays, tuples of these, and
    objects compared by identity (variables, Python callables).
    """

    __slots__ = ("_items", "_hash")

    def __init__(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()):
        self._items = dict(sorted(dict(items).items()))
        # Types take part: 1, 1.0 and True are equal and hash alike, but are not one attribute.
        self._hash = hash(tuple((k, type(v), v) for k, v in self._items.items()))

    def __getitem__(self, key: str):
        return self._items[key]

    def __getattr__(self, key: str):
        try:
            return self._items[key]
        except KeyError:
            raise AttributeError(key) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other) -> bool:
        return self is other or (
            isinstance(other, Attrs)
            and self._hash == other._hash
            and self._items == other._items
            and all(type(v) is type(other._items[k]) for k, v in self._items.items())
        )

    def __reduce__(self):
        return Attrs, (self._items,)

    def __repr__(self) -> str:
        return f"Attrs({self._items})"


class Region:
    """A body with its own parameters: closed, so what it captures is passed to it as an operand.

    parameters: tensors of `parameter` nodes, in order
    results:    tensors of the body
    effects:    nodes of the body that run for what they do, in order
    """

    __slots__ = ("parameters", "results", "effects", "name")

    def __init__(self, parameters, results, effects=(), name: str = "body"):
        self.parameters: tuple[Tensor, ...] = tuple(parameters)
        self.results: tuple[Tensor, ...] = tuple(results)
        self.effects: tuple[Node, ...] = tuple(effects)
        self.name = name

    def nodes(self) -> list[Node]:
        """The body's nodes, inputs before users."""
        roots = [t.node for t in (*self.parameters, *self.results)]
        return topological([*roots, *self.effects])


class Node:
    """One operation applied to tensors. Frozen: nothing assigns to it after it is made.

    `controls` are nodes that must have run before this one does (control dependencies).
    Doubles as TensorFlow 1's `Operation`.
    """

    __slots__ = (
        "op",
        "inputs",
        "attrs",
        "regions",
        "controls",
        "serial",
        "outputs",
        "graph",
        "__weakref__",
    )

    def __init__(
        self,
        op: Op,
        inputs: tuple[Tensor, ...],
        attrs: Attrs,
        types: tuple[TensorType, ...],
        regions: tuple[Region, ...] = (),
        controls: tuple[Node, ...] = (),
        serial: int = 0,
        graph: Graph | None = None,
    ):
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.regions = regions
        self.controls = controls
        self.serial = serial
        self.graph = graph
        self.outputs = tuple(Tensor(self, index, type_) for index, type_ in enumerate(types))

    @property
    def types(self) -> tuple[TensorType, ...]:
        return tuple(output.tensor_type for output in self.outputs)

    @property
    def type(self) -> str:
        """The operation's name, as TensorFlow 1's Operation.type."""
        return self.op.name

    @property
    def name(self) -> str:
        """The unique name in the graph that defined it; its op's name in a Program, and as long as
        its graph has not taken it in."""
        return self.op.name if self.graph is None else self.graph.names.get(self, self.op.name)

    @property
    def control_inputs(self) -> tuple[Node, ...]:
        return self.controls

    def run(self, feed_dict=None, session=None) -> None:
        """Runs this operation in `session` or the default session."""
        _graph_of(self).session_for(self, session).run(self, feed_dict)

    def __repr__(self) -> str:
        if self.op.name == "variable":
            return f"<operation {self.name!r} type=variable>"
        return f"<operation {self.name!r} type={self.op.name}>"


class Tensor:
    """One result of a node. `==` is identity, so tensors are cheap dictionary keys.

    Arithmetic and indexing build operations; `ops/` installs those methods here.
    """

    __slots__ = ("node", "index", "tensor_type", "__weakref__")
    __array_priority__ = 100  # NumPy arrays on the left defer to our operators

    def __init__(self, node: Node, index: int, tensor_type: TensorType):
        self.node = node
        self.index = index
        self.tensor_type = tensor_type

    @property
    def op(self) -> Node:
        return self.node

    @property
    def graph(self) -> Graph | None:
        return self.node.graph

    @property
    def dtype(self) -> DType:
        return self.tensor_type.dtype

    @property
    def dims(self):
        """The shape as a tuple of int and Size, or None while the rank is unknown."""
        return self.tensor_type.shape

    @property
    def rank(self) -> int | None:
        return self.tensor_type.rank

    @property
    def name(self) -> str:
        return f"{self.node.name}:{self.index}"

    if TYPE_CHECKING:  # installed by ops/overloads.py and ops/tensor_shape.py
        shape: Any

        def get_shape(self) -> Any: ...
        def set_shape(self, shape: Any) -> None: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __rand__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __ror__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __rxor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rlshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __rrshift__(self, other: Any) -> Tensor: ...

    def eval(self, feed_dict=None, session=None):
        """The value of this tensor, computed by `session` or the default session."""
        return _graph_of(self.node).session_for(self, session).run(self, feed_dict)

    def __iter__(self):
        dims = self.dims
        if not dims or not isinstance(dims[0], int):
            raise TypeError(
                f"{self!r} cannot be iterated over: its first dimension is not a known number"
            )
        return (self[i] for i in range(dims[0]))  # type: ignore[index]

    def __len__(self):
        raise TypeError(f"len() of {self!r} is not known; use x.shape or graphflow.shape(x)")

    def __bool__(self):
        raise TypeError(
            f"{self!r} has no truth value while the graph is being defined; "
            "use graphflow.cond or graphflow.where, or `is None` to test for None"
        )

    def __repr__(self) -> str:
        return f"<tensor {self.name!r} {self.tensor_type}>"


def _graph_of(node: Node) -> Graph:
    if node.graph is None:
        raise TypeError(f"{node!r} belongs to no graph that a session could run")
    return node.graph


def all_nodes(nodes: Iterable[Node]) -> list[Node]:
    """Nodes and those of their bodies, each body's after the node that has it."""
    found: dict[Node, None] = {}
    stack = [iter(nodes)]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
        elif node not in found:
            found[node] = None
            stack.extend(iter(region.nodes()) for region in reversed(node.regions))
    return list(found)


def topological(roots: Iterable[Node], stop: Mapping | set | frozenset = frozenset()) -> list[Node]:
    """Every node the roots need, inputs and controls before users; depth first, no recursion.

    Nodes in `stop` are left out, and so is what only they need.
    """
    order: list[Node] = []
    done: set[Node] = set()
    for root in roots:
        if root in done or root in stop:
            continue
        stack = [(root, iter(_needs(root)))]
        done.add(root)
        while stack:
            node, needs = stack[-1]
            for need in needs:
                if need not in done and need not in stop:
                    done.add(need)
                    stack.append((need, iter(_needs(need))))
                    break
            else:
                order.append(node)
                stack.pop()
    return order


def _needs(node: Node) -> list[Node]:
    return [tensor.node for tensor in node.inputs] + list(node.controls)
