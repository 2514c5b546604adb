"""Trees of any shape in one graph: operations of the same kind and height are done together.

After Looks et al. 2017, "Deep Learning with Dynamic Computation Graphs" (TensorFlow Fold,
arXiv:1702.02181) and Neubig et al. 2017, "On-the-fly Operation Batching in Dynamic Computation
Graphs" (DyNet, arXiv:1705.07860). Kinds of nodes are functions of many nodes at once:

    cell = tf.nn.rnn_cell.LSTMStateTuple
    trees = tf.fold.Fold(cell(100, 100))
    leaf = trees.define("leaf", lambda children, words: of_word(children, words),
                        inputs=(tf.float32, [300]))
    pair = trees.define("pair", lambda children, _: of_pair(children), children=2)
    logits = tf.layers.dense(trees.roots().h, 3)

Calls of a kind make nodes, and lists of them are what is fed:

    forest = [pair(leaf(a), pair(leaf(b), leaf(c))), leaf(d)]
    session.run(logits, trees.feed(forest))

What is fed are arrays of numbers, of sizes that the graph leaves open: no tree is ever compiled.
Nodes without children are computed at once, before a loop over blocks of the others. A block holds
nodes of one kind and one height; an iteration gathers the states of their children, and puts theirs
into a buffer that every node has one row of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .conditionals import switch_case
from .dtypes import as_dtype, float32, int32
from .framework import name_scope
from .ir.node import Tensor
from .nest import flatten, pack_sequence_as
from .ops.convert import as_known_int, convert, reject
from .ops.creation import placeholder, zeros
from .ops.creation import range as range_of
from .ops.indexing import gather_op
from .ops.joining import concat, split
from .ops.movement import reshape
from .ops.scatter import scatter
from .ops.shapes import size_as_tensor
from .scans import scan_over

__all__ = ["Fold", "Forest", "Kind", "Node", "stacked"]


class Forest(NamedTuple):
    """Trees as arrays: a node has a number, higher than those of its children.

    kinds:    [n] int, each node's kind, as a number in the order of their definition
    children: [n, most children of any kind] int; what a kind has no child for is ignored
    roots:    [trees] int
    inputs:   of each kind, an array of its nodes' inputs, in the order of the nodes; None where it
              has no inputs
    """

    kinds: np.ndarray
    children: np.ndarray
    roots: np.ndarray
    inputs: Sequence[Any]


def stacked(programs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(kinds, children, roots) of the binary trees that programs for a stack make.

    programs: for each tree, an array of 0 (put a leaf onto the stack) and 1 (a node of the upper
    two). In a Forest, leaves are the kind defined first and nodes of two the second one; every step
    is a node. Raises ValueError for a program that leaves anything but one tree.
    """
    lengths = np.array([len(program) for program in programs], np.int64)
    empty = np.zeros(0, np.int64)
    steps = np.concatenate([empty, *(np.asarray(program, np.int64) for program in programs)])
    ends = np.cumsum(lengths)
    tree = np.repeat(np.arange(len(lengths)), lengths)
    depth = np.cumsum(np.where(steps == 0, 1, -1))
    depth -= np.concatenate([[0], depth])[ends - lengths][tree]
    if ((steps < 0) | (steps > 1) | (depth < 1)).any() or (lengths < 1).any():
        raise ValueError("a program is made of 0 and 1, and must not take what is not there")
    if (depth[ends - 1] != 1).any():
        raise ValueError("a program must leave one tree")
    # The right child was made by the step before; the left one by the last step after which the
    # stack was as deep as it is now.
    order = np.lexsort((depth, tree))
    before = np.empty_like(order)
    before[order[1:]] = order[:-1]
    left = np.where(steps == 1, before, 0)
    right = np.where(steps == 1, np.arange(len(steps)) - 1, 0)
    return steps, np.stack([left, right], 1), ends - 1


class Node:
    """A node of a tree. One that occurs several times is computed once."""

    __slots__ = ("children", "inputs", "kind")

    def __init__(self, kind: Kind, children: tuple[Node, ...], inputs: Any):
        self.kind, self.children, self.inputs = kind, children, inputs


class Kind:
    """A kind of nodes; called with nodes, and inputs where it has them last, it makes a node."""

    def __init__(self, fold: Fold, number: int, name: str, function: Callable, children: int,
                 inputs: tuple[Any, Sequence[int]] | None):  # fmt: skip
        self.fold, self.number, self.name = fold, number, name
        self.function, self.children = function, children
        self.inputs: Tensor | None = None
        if inputs is not None:
            dtype, shape = inputs
            self.inputs = placeholder(dtype, [None, *shape], name=f"{name}_inputs")

    def __call__(self, *given: Any) -> Node:
        wanted = self.children + (self.inputs is not None)
        children = given[: self.children]
        if len(given) != wanted or not all(isinstance(child, Node) for child in children):
            more = "" if self.inputs is None else " and inputs"
            raise TypeError(f"{self.name} takes {self.children} nodes{more}, got {given!r}")
        return Node(self, children, given[-1] if self.inputs is not None else None)


class Fold:
    """Kinds of nodes whose states have the same sizes, and the graph that computes forests of them.

    state_size: the size of a node's state, or a nest of sizes: what `function` gives for many nodes
        has the same nest, of tensors [nodes, size]
    block: nodes an iteration takes. Each height has up to block - 1 places that are not needed, and
        the smaller the block, the more iterations there are.
    """

    def __init__(self, state_size: Any, dtype: Any = float32, block: int = 32, name: str = "fold"):
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise ValueError(f"block must be a positive integer, got {block!r}")
        self.name, self.block, self.dtype = name, block, as_dtype(dtype)
        self.state_size = state_size
        self._sizes = [as_known_int(size, f"{name}: state_size") for size in flatten(state_size)]
        self.kinds: list[Kind] = []
        self._rows: Tensor | None = None
        with name_scope(name):
            self._kind_of = placeholder(int32, [None], name="kinds")
            self._wanted = placeholder(int32, [None], name="nodes")
            self._wanted_roots = placeholder(int32, [None], name="roots")
            self._places: Tensor | None = None
            self._taken: Tensor | None = None

    # -- the graph ----------------------------------------------------------------------------

    def define(
        self,
        name: str,
        function: Callable[[list, Any], Any],
        children: int = 0,
        inputs: tuple[Any, Sequence[int]] | None = None,
    ) -> Kind:
        """A new kind of nodes.

        function: states of n nodes from (a list with the states of all first children, all second
            ones, ...; inputs [n, ...] or None)
        inputs: dtype and shape of one node's inputs, or None
        """
        if self._rows is not None:
            raise ValueError(f"{self.name}: {name} is defined after the graph was made")
        if isinstance(children, bool) or not isinstance(children, int) or children < 0:
            raise ValueError(f"{self.name}: children must be a number, got {children!r}")
        if not children and inputs is None:
            raise ValueError(f"{self.name}: {name} needs children or inputs")
        with name_scope(self.name):
            kind = Kind(self, len(self.kinds), name, function, children, inputs)
        self.kinds.append(kind)
        return kind

    def roots(self) -> Any:
        """States of the roots, in the order of the trees: a nest as `state_size`, [trees, size]."""
        return self._states(self._computed(), self._wanted_roots)

    def nodes(self) -> Any:
        """States of all nodes, in the order of a Forest's numbers: see `forest`."""
        return self._states(self._computed(), self._wanted)

    @property
    def _most_children(self) -> int:
        return max((kind.children for kind in self.kinds), default=0)

    def _states(self, rows: Tensor, places: Tensor) -> Any:
        return self._unpacked(gather_op(rows, places, axis=0))

    def _unpacked(self, rows: Tensor) -> Any:
        parts = [rows] if len(self._sizes) == 1 else split(rows, self._sizes, axis=1)
        return pack_sequence_as(self.state_size, parts)

    def _packed(self, kind: Kind, children: list, inputs: Any, count: Any) -> Tensor:
        """Rows of a kind's states."""
        what = f"{self.name}: {kind.name}"
        parts = [convert(part, self.dtype, what=what)
                 for part in flatten(kind.function(children, inputs))]  # fmt: skip
        found = [part.dims[1:] if part.dims else None for part in parts]
        if found != [(size,) for size in self._sizes]:
            shown = ", ".join(str(part.tensor_type) for part in parts)
            reject(what, f"states of sizes {self._sizes} are needed, the function gives {shown}")
        return reshape(parts[0] if len(parts) == 1 else concat(parts, 1), [count, self._width])

    @property
    def _width(self) -> int:
        return sum(self._sizes)

    def _computed(self) -> Tensor:
        """The buffer: a row of zeros, those of nodes without children, and the blocks."""
        if self._rows is None:
            with name_scope(self.name):
                self._rows = self._buffer()
        return self._rows

    def _buffer(self) -> Tensor:
        if not self.kinds:
            raise ValueError(f"{self.name}: no kind of nodes is defined")
        parts = [zeros([1, self._width], self.dtype)]
        for kind in self.kinds:
            if not kind.children:
                assert kind.inputs is not None
                parts.append(self._packed(kind, [], kind.inputs, kind.inputs.dims[0]))
        inner = [kind for kind in self.kinds if kind.children]
        if not inner:
            return concat(parts, 0)
        block, most = self.block, self._most_children
        self._places = placeholder(int32, [None, most * block], name="children")
        self._taken = placeholder(int32, [None, block], name="taken")
        blocks = self._places.dims[0]
        before = concat(parts, 0)
        first = before.dims[0]
        rows = concat([before, zeros([blocks * block, self._width], self.dtype)], 0)
        begin = size_as_tensor(first, int32)

        def step(rows: Tensor, moving: Any):
            number, kind_of, places, taken = moving
            states = split(gather_op(rows, places, axis=0), most, axis=0)

            def branch(kind: Kind) -> Callable[[], Tensor]:
                def made() -> Tensor:
                    children = [self._unpacked(part) for part in states[: kind.children]]
                    inputs = None
                    if kind.inputs is not None:
                        inputs = gather_op(kind.inputs, taken, axis=0)
                    return self._packed(kind, children, inputs, block)

                return made

            branches = [branch(kind) for kind in inner]
            made = branches[0]() if len(branches) == 1 else switch_case(kind_of, branches)
            # Rows are zeros before; see nn.ThinStack about adding.
            where = begin + number * block + range_of(block)
            return scatter(rows, where, made, mode="add"), None

        numbers = range_of(size_as_tensor(blocks, int32))
        moving = (numbers, self._kind_of, self._places, self._taken)
        rows, _ = scan_over(self.name, step, rows, moving, blocks)
        return rows

    # -- what is fed --------------------------------------------------------------------------

    def forest(self, trees: Sequence[Node]) -> Forest:
        """Trees as arrays. Nodes are numbered from the first tree to the last one, children before
        their parents, from left to right."""
        numbers: dict[int, int] = {}
        ordered: list[Node] = []
        for tree in trees:
            if not isinstance(tree, Node) or tree.kind.fold is not self:
                raise TypeError(f"{self.name}: trees are nodes of its own kinds, not {tree!r}")
            waiting = [(tree, False)]
            while waiting:
                node, ready = waiting.pop()
                if id(node) in numbers:
                    continue
                if ready or not node.children:
                    numbers[id(node)] = len(ordered)
                    ordered.append(node)
                    continue
                waiting.append((node, True))
                waiting += [(child, False) for child in reversed(node.children)]
        children = np.zeros((len(ordered), self._most_children), np.int64)
        inputs: list[list] = [[] for _ in self.kinds]
        for number, node in enumerate(ordered):
            for place, child in enumerate(node.children):
                children[number, place] = numbers[id(child)]
            inputs[node.kind.number].append(node.inputs)
        return Forest(
            np.array([node.kind.number for node in ordered], np.int64),
            children,
            np.array([numbers[id(tree)] for tree in trees], np.int64),
            [self._stacked(kind, rows) for kind, rows in zip(self.kinds, inputs, strict=True)],
        )

    def _stacked(self, kind: Kind, rows: list) -> np.ndarray | None:
        if kind.inputs is None:
            return None
        shape = kind.inputs.dims[1:]
        array = np.array(rows, kind.inputs.dtype.numpy) if rows else None
        if array is None:
            return np.zeros((0, *shape), kind.inputs.dtype.numpy)
        if array.shape[1:] != shape:
            raise ValueError(
                f"{self.name}: inputs of {kind.name} have shape {list(shape)}, got "
                f"{list(array.shape[1:])}"
            )
        return array

    def feed(self, trees: Sequence[Node] | Forest) -> dict[Tensor, Any]:
        """What a run of these trees is fed. Raises ValueError for arrays that are no forest."""
        self._computed()
        given = trees if isinstance(trees, Forest) else self.forest(trees)
        schedule = self._schedule(given)
        feeds = {self._wanted: schedule.rows, self._wanted_roots: schedule.rows[given.roots]}
        for kind, inputs in zip(self.kinds, given.inputs, strict=True):
            if kind.inputs is not None:
                feeds[kind.inputs] = inputs
        if self._places is not None and self._taken is not None:
            feeds[self._places] = schedule.places
            feeds[self._taken] = schedule.taken
            feeds[self._kind_of] = schedule.kinds
        return feeds

    def _schedule(self, forest: Forest) -> _Schedule:
        kinds, children = forest.kinds, forest.children
        counts = np.array([kind.children for kind in self.kinds])
        of_node = counts[kinds]
        has = np.arange(children.shape[1]) < of_node[:, None]
        below = np.where(has, children, -1)
        if (has & ((children < 0) | (below >= np.arange(len(kinds))[:, None]))).any():
            raise ValueError(f"{self.name}: a child must have a lower number than its parent")
        heights = _heights(below)
        # Number of each node among those of its kind.
        order = np.argsort(kinds, kind="stable")
        per_kind = np.bincount(kinds, minlength=len(self.kinds))
        among = np.empty(len(kinds), np.int64)
        among[order] = np.arange(len(kinds)) - (np.cumsum(per_kind) - per_kind)[kinds[order]]
        leaves = np.where(counts == 0, per_kind, 0)
        first = 1 + leaves.sum()
        rows = 1 + (np.cumsum(leaves) - leaves)[kinds] + among

        inner = np.flatnonzero(of_node)
        inner = inner[np.lexsort((kinds[inner], heights[inner]))]
        group = heights[inner] * len(self.kinds) + kinds[inner]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        sizes = np.diff(starts, append=len(inner))
        blocks = -(-sizes // self.block)
        of_group = np.repeat(np.arange(len(starts)), sizes)
        position = np.arange(len(inner)) - starts[of_group]
        place = (np.cumsum(blocks) - blocks)[of_group] * self.block + position
        rows[inner] = first + place
        count, most = int(blocks.sum()), children.shape[1]
        # Places that are not needed do again what the last node of their group does.
        nodes = np.zeros(count * self.block, np.int64)
        nodes[place] = inner
        filled = np.zeros(len(nodes), np.int64)
        filled[place] = place
        nodes = nodes[np.maximum.accumulate(filled)]
        table = np.where(has, rows[below], 0)[nodes].reshape(count, self.block, most)
        inside = {kind.number: k for k, kind in enumerate(k for k in self.kinds if k.children)}
        branch = np.array([inside.get(kind.number, 0) for kind in self.kinds])
        return _Schedule(
            rows.astype(np.int32),
            branch[kinds[nodes[:: self.block]]].astype(np.int32),
            table.transpose(0, 2, 1).reshape(count, most * self.block).astype(np.int32),
            among[nodes].reshape(count, self.block).astype(np.int32),
        )


class _Schedule(NamedTuple):
    """rows: of each node, in the buffer; of each block its kind, its children's rows, first ones
    first, and which of its kind's inputs it takes."""

    rows: np.ndarray
    kinds: np.ndarray
    places: np.ndarray
    taken: np.ndarray


def _heights(below: np.ndarray) -> np.ndarray:
    """Of each node, given its children (-1 where it has none): 0 without children."""
    # One more place at the end, for those that are not there.
    heights = np.zeros(len(below) + 1, np.int64)
    heights[-1] = -1
    while below.size:
        higher = 1 + heights[below].max(axis=1)
        if (higher == heights[:-1]).all():
            break
        heights[:-1] = higher
    return heights[:-1]
