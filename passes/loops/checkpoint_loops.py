"""Has loops keep the values that their gradients go back over for a part of the iterations only.

    F: c, r = scan(c0, xs){ f }                  of n iterations, r residuals
    B: d = scan(d0, r; backwards){ b }

    -->  F: c, cs = scan(c0, xs){ scan { f } }   of √n iterations of √n each; cs: where each began
         B: d = scan(d0, cs, xs; backwards){ r = scan(c, xs){ f };  scan(r; backwards){ b } }

Every iteration is computed twice, and 2√n rows are in memory instead of n (A. Griewank, "Achieving
logarithmic growth of temporal and spatial complexity in reverse automatic differentiation", 1992,
with one level). Where n is no product of two such numbers, the rest of the iterations stays as it
is. n may be symbolic; loops of which nothing tells how many iterations they have are another
matter (`checkpoint_whiles.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ...dtypes import int64
from ...ir.node import Attrs, Node, Region, Tensor
from ...ir.op import find
from ...ir.program import Program
from ...ops.control_flow import scan_op
from ...ops.shapes import size_as_tensor
from ...sizes import Dim, maximum, multiply, root
from .loop_parts import Loop, changes_sizes
from .trim_bodies import stand_in

SHORTEST = 8  # iterations of loops for which it is worth the trouble


def can_checkpoint(program: Program) -> bool:
    """Whether there are loops that could keep checkpoints."""
    return bool(_pairs(program))


def checkpoint_loops(program: Program) -> Program:
    """`program` with checkpoints in its loops and their gradients."""
    pairs = _pairs(program)
    if not pairs:
        return program
    forward = {node: pair for pair in pairs for node in (pair.forward,)}
    backward = {pair.backward: pair for pair in pairs}
    order = iter(program.nodes())

    def rule(node: Node) -> list[Tensor] | None:
        before = next(order)
        if before in forward:
            return _Pieces(program, forward[before]).forward(node)
        if before in backward:
            return backward[before].pieces.backward(node)  # type: ignore[union-attr]
        return None

    return program.rewrite(rule)


@dataclass
class _Pair:
    """A loop and its gradient. `residuals`: numbers of the loop's stacks, by the number of the
    gradient's sequence that it is; `shown`: those that something else reads, too."""

    forward: Node
    backward: Node
    residuals: dict[int, int]
    shown: list[int]
    pieces: _Pieces | None = None


def _plain(node: Node) -> bool:
    if node.op is not scan_op or node.serial or node.attrs["bounded"] or changes_sizes(node):
        return False
    length = node.attrs["length"]
    return not isinstance(length, int) or length >= SHORTEST


def _pairs(program: Program) -> list[_Pair]:
    users = program.users()
    roots = set(program.roots())
    found = []
    taken: set[Node] = set()
    for node in program.nodes():
        if not _plain(node) or node in taken:
            continue
        stacks = node.outputs[node.attrs["carries"] :]
        readers = {user for tensor in stacks for user in users[tensor]}
        gradients = [
            user
            for user in readers
            if _plain(user)
            and user.attrs["length"] == node.attrs["length"]
            and user.attrs["reverse"] != node.attrs["reverse"]
            and user not in taken
        ]
        if len(gradients) != 1:
            continue
        (gradient,) = gradients
        place = {tensor: number for number, tensor in enumerate(stacks)}
        rows = Loop.of(gradient).rows
        residuals = {
            k: place[given.outside] for k, given in enumerate(rows) if given.outside in place
        }
        sequences = {given.outside for given in rows}
        shown = [
            number
            for number, tensor in enumerate(stacks)
            if tensor in roots
            or any(user is not gradient for user in users[tensor])
            or gradient.inputs.count(tensor) > (tensor in sequences)
        ]
        if residuals:
            found.append(_Pair(node, gradient, residuals, shown))
            taken |= {node, gradient}
    return found


def _scan(program: Program, region: Region, carries: int, inputs, rows: int, length, reverse):
    """A scan of a body whose parameters are `inputs`, `carries` of them handed on, then `rows`."""
    attrs = {
        "carries": carries,
        "sequences": rows,
        "length": length,
        "reverse": reverse,
        "bounded": False,
    }
    made = program.interner.create(scan_op, tuple(inputs), Attrs(attrs), (region,))
    return list(made.outputs[:carries]), list(made.outputs[carries:])


def _parameters(tensors: Sequence[Tensor], shapes: Sequence[tuple], numbers) -> list[Tensor]:
    return [
        find("parameter")(index=next(numbers), dtype=tensor.dtype, shape=shape)
        for tensor, shape in zip(tensors, shapes, strict=True)
    ]


def _part(tensor: Tensor, begin: Dim, count: Dim) -> Tensor:
    """Rows of a tensor."""
    if begin == 0 and count == tensor.dims[0]:
        return tensor
    size = (count, *tensor.dims[1:])
    strides = (1,) * len(size)
    return find("slice")(tensor, begin=(begin, *[0] * (len(size) - 1)), size=size, strides=strides)


def _reshaped(tensor: Tensor, *dims) -> Tensor:
    return find("reshape")(tensor, shape=dims)


def _in_rows(parts: dict[bool, Tensor]) -> list[Tensor]:
    """Parts of a stack in the order of its rows: what is in segments (True) comes first."""
    return [parts[segmented] for segmented in (True, False) if segmented in parts]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return find("concat")(*parts, axis=0) if len(parts) > 1 else parts[0]


class _Pieces:
    """A pair, taken to pieces: a large part in segments, and the few iterations that are left."""

    def __init__(self, program: Program, pair: _Pair):
        self.program, self.pair = program, pair
        pair.pieces = self
        length = pair.forward.attrs["length"]
        self.segment = maximum(root(length), 1)
        self.count = length // self.segment
        self.rest = length - multiply(self.segment, self.count)
        self.loop: Loop | None = None
        self.checkpoints: list[Tensor] = []
        self.after: list[Tensor] = []  # residuals of the iterations that are left

    def _order(self, reverse: bool) -> list[tuple[bool, Dim, Dim]]:
        """(in segments?, first row, rows) of the pieces, in the order of the iterations."""
        whole = multiply(self.segment, self.count)
        pieces: list[tuple[bool, Dim, Dim]] = [(True, 0, whole)]
        if self.rest != 0:
            pieces.append((False, whole, self.rest))
        return pieces[::-1] if reverse else pieces

    def forward(self, node: Node) -> list[Tensor]:
        loop = self.loop = Loop.of(node)
        (region,) = node.regions
        carries, reverse = len(loop.carried), node.attrs["reverse"]
        values = [each.start for each in loop.carried]
        shown: dict[int, dict[bool, Tensor]] = {k: {} for k in self.pair.shown}
        for segmented, first, count in self._order(reverse):
            captured = [given.outside for given in loop.captured]
            if not segmented:
                rows = [_part(given.outside, first, count) for given in loop.rows]
                inputs = [*values, *rows, *captured]
                values, self.after = _scan(
                    self.program, region, carries, inputs, len(rows), count, reverse
                )
                for k in shown:
                    shown[k][segmented] = self.after[k]
                continue
            values, stacks = self._segments(values, captured)
            for k, stack in zip(shown, stacks, strict=True):
                shown[k][segmented] = _reshaped(stack, count, *stack.dims[2:])
        outputs = list(values)
        for k, stacked in enumerate(loop.stacked):
            parts = _in_rows(shown[k]) if k in shown else []
            assert stacked.whole is not None
            if not parts:
                outputs.append(stand_in(stacked.whole))
            else:
                outputs.append(_joined(parts))
        return outputs

    def _segments(self, values, captured) -> tuple[list[Tensor], list[Tensor]]:
        loop = self.loop
        assert loop is not None
        region, carries = loop.node.regions[0], len(loop.carried)
        reverse = loop.node.attrs["reverse"]
        with self.program.interner.in_body():
            numbers = itertools.count()
            own = _parameters(values, [t.dims for t in values], numbers)
            rows = _Rows(self, [given.outside for given in loop.rows], reverse, numbers)
            lasting = _parameters(captured, [t.dims for t in captured], numbers)
            results = [*(each.result for each in loop.carried)]
            results += [loop.stacked[k].row for k in self.pair.shown]
            inner = Region(region.parameters, results, (), region.name)
            after, stacks = _scan(
                self.program, inner, carries, [*own, *rows.here, *lasting], len(rows.here),
                self.segment, reverse,
            )  # fmt: skip
            parameters = [*own, *rows.carried, *rows.moving, *lasting, *rows.lasting]
            body = Region(parameters, [*after, *rows.next, *own, *stacks], (), region.name)
        inputs = [*values, *rows.begin(), *rows.sequences, *captured, *rows.captured]
        finals, made = _scan(
            self.program, body, carries + len(rows.first), inputs, len(rows.sequences), self.count,
            reverse,
        )  # fmt: skip
        self.checkpoints = made[:carries]
        return finals[:carries], made[carries:]

    def backward(self, node: Node) -> list[Tensor]:
        gradient, loop = Loop.of(node), self.loop
        assert loop is not None
        (region,) = node.regions
        carries, reverse = len(gradient.carried), node.attrs["reverse"]
        residuals = self.pair.residuals
        values = [each.start for each in gradient.carried]
        found: list[dict[bool, Tensor]] = [{} for _ in gradient.stacked]
        for segmented, first, count in self._order(reverse):
            captured = [given.outside for given in gradient.captured]
            rows = [
                None if k in residuals else given.outside for k, given in enumerate(gradient.rows)
            ]
            if segmented:
                values, stacks = self._segments_back(node, values, rows, captured)
                stacks = [_reshaped(stack, count, *stack.dims[2:]) for stack in stacks]
            else:
                whole = [
                    self.after[residuals[k]] if row is None else _part(row, first, count)
                    for k, row in enumerate(rows)
                ]
                inputs = [*values, *whole, *captured]
                values, stacks = _scan(
                    self.program, region, carries, inputs, len(whole), count, reverse
                )
            for known, stack in zip(found, stacks, strict=True):
                known[segmented] = stack
        outputs = list(values)
        return [*outputs, *(_joined(_in_rows(known)) for known in found)]

    def _segments_back(self, node: Node, values, rows, captured):
        """A scan over the segments, each of which runs the loop again and then back."""
        loop, (region,) = self.loop, node.regions
        assert loop is not None
        carries, reverse = len(values), node.attrs["reverse"]
        outer = [given.outside for given in loop.captured]
        forward = loop.node.regions[0]
        used = sorted(set(self.pair.residuals.values()))
        with self.program.interner.in_body():
            numbers = itertools.count()
            own = _parameters(values, [t.dims for t in values], numbers)
            starts = _parameters(self.checkpoints, [t.dims[1:] for t in self.checkpoints], numbers)
            first = [given.outside for given in loop.rows]
            given = [row for row in rows if row is not None]
            moved = _Rows(self, [*first, *given], reverse, numbers)
            again = _parameters(outer, [t.dims for t in outer], numbers)
            lasting = _parameters(captured, [t.dims for t in captured], numbers)
            results = [*(each.result for each in loop.carried)]
            results += [loop.stacked[k].row for k in used]
            inner = Region(forward.parameters, results, (), forward.name)
            _, stacks = _scan(
                self.program, inner, len(starts), [*starts, *moved.here[: len(first)], *again],
                len(first), self.segment, loop.node.attrs["reverse"],
            )  # fmt: skip
            residual = dict(zip(used, stacks, strict=True))
            rest = iter(moved.here[len(first) :])
            sequence = [
                residual[self.pair.residuals[k]] if row is None else next(rest)
                for k, row in enumerate(rows)
            ]
            after, made = _scan(
                self.program, region, carries, [*own, *sequence, *lasting], len(sequence),
                self.segment, reverse,
            )  # fmt: skip
            # In the order in which a scan has them: handed on, rows, captured.
            parameters = [*own, *moved.carried, *starts, *moved.moving, *again, *lasting]
            parameters += moved.lasting
            body = Region(parameters, [*after, *moved.next, *made], (), region.name)
        inputs = [
            *values,
            *moved.begin(),
            *self.checkpoints,
            *moved.sequences,
            *outer,
            *captured,
            *moved.captured,
        ]
        sequences = len(self.checkpoints) + len(moved.sequences)
        finals, made = _scan(
            self.program, body, carries + len(moved.first), inputs, sequences, self.count, reverse
        )
        return finals[:carries], made


class _Rows:
    """Rows of tensors in a scan over segments: `here` in its body, those of a segment.

    Where segments make up all of a tensor, it is a sequence of them. Otherwise the body takes
    them out of the tensor, which is captured: a part of it as a whole would be a copy.

    carried, moving, lasting: parameters; first, sequences, captured: what they stand for
    next: of what is carried, the next value
    """

    def __init__(self, pieces: _Pieces, tensors: Sequence[Tensor], reverse: bool, numbers):
        segment, amount = pieces.segment, pieces.count
        shapes = [(segment, *t.dims[1:]) for t in tensors]
        self.carried: list[Tensor] = []
        self.moving: list[Tensor] = []
        self.lasting: list[Tensor] = []
        self.first: list[Dim] = []
        self.sequences: list[Tensor] = []
        self.captured: list[Tensor] = []
        self.next: list[Tensor] = []
        if pieces.rest == 0 or not tensors:
            self.moving = self.here = _parameters(tensors, shapes, numbers)
            self.sequences = [
                _reshaped(t, amount, *shape) for t, shape in zip(tensors, shapes, strict=True)
            ]
            return
        at = find("parameter")(index=next(numbers), dtype=int64, shape=())
        first = multiply(segment, amount) - segment if reverse else 0
        step = size_as_tensor(segment, int64)
        zero = size_as_tensor(0, int64)
        self.carried, self.first = [at], [first]
        self.next = [find("sub" if reverse else "add")(at, step)]
        self.lasting = _parameters(tensors, [t.dims for t in tensors], numbers)
        self.captured = list(tensors)
        self.here = [
            find("dynamic_slice")(whole, at, *[zero] * (len(shape) - 1), size=shape)
            for whole, shape in zip(self.lasting, shapes, strict=True)
        ]

    def begin(self) -> list[Tensor]:
        """What is carried at first, as operations outside of the body."""
        return [size_as_tensor(size, int64) for size in self.first]
