"""Parts of nets over trees: the Tree-LSTM, and stacks of a batch that share one buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtypes import int32
from ..initializers import Zeros
from ..ir.node import Tensor
from ..layer import Layer
from ..ops.contraction import matmul
from ..ops.convert import convert, convert_all, reject
from ..ops.creation import range as range_of
from ..ops.creation import zeros
from ..ops.indexing import gather_op
from ..ops.joining import concat, split
from ..ops.logic import where
from ..ops.math import sigmoid, tanh
from ..ops.movement import reshape
from ..ops.scatter import scatter
from ..ops.shapes import size_as_tensor
from ..sizes import Dim
from .rnn_cell import LSTMStateTuple

__all__ = ["ThinStack", "TreeLSTM"]


class TreeLSTM(Layer):
    """The state of a node of a tree, an LSTMStateTuple, from those of its children and its inputs.

    [h1, ..., hN, x] · kernel + bias = i, f1, ..., fN, o, u
    c = sigmoid(i) · tanh(u) + sum over k of sigmoid(fk + forget_bias) · ck
    h = sigmoid(o) · tanh(c)

    The N-ary Tree-LSTM of Tai et al. 2015, arXiv:1503.00075, equations 9 to 14. Without children it
    is a leaf's, without inputs a phrase's; in SPINN (Bowman et al. 2016, arXiv:1603.06021,
    equations 5 to 7) x is the state of the tracker.

    Called with a sequence of N states (c, h), each of them [rows, units], and inputs [rows, depth]
    or None: one of them at least. All uses must have as many children as the first.
    kernel: [N · units + depth, (3 + N) · units], by its initializer, or the scope's, or Glorot's
    uniform one; bias: [(3 + N) · units], zeros at first.
    """

    def __init__(
        self,
        units: int,
        forget_bias: float = 1.0,
        kernel_initializer=None,
        name: str | None = None,
        **arguments,
    ):
        super().__init__(name=name, **arguments)
        if isinstance(units, bool) or not isinstance(units, int) or units <= 0:
            reject(self._base_name, f"units must be a positive integer, got {units!r}")
        self.units, self.forget_bias = units, forget_bias
        self.kernel_initializer = kernel_initializer
        self._made_for: tuple[int, Dim] | None = None  # children, and values beside each other

    def __call__(self, children: Sequence[Any], inputs: Any = None):  # type: ignore[override]
        what = self._base_name
        memories, heads = [], []
        for child in children:
            c, h = (convert(part, what=f"{what}: a child") for part in child)
            for part in (c, h):
                if part.rank != 2 or part.dims[1] != self.units:
                    reject(what, f"a child is (c, h), each [rows, {self.units}]; {part.name} is "
                                 f"{part.tensor_type}")  # fmt: skip
            memories.append(c)
            heads.append(h)
        if inputs is not None:
            inputs = convert(inputs, what=what)
            if inputs.rank != 2 or not isinstance(inputs.dims[1], int):
                reject(what, f"inputs must be [rows, depth] with a known depth, {inputs.name} is "
                             f"{inputs.tensor_type}")  # fmt: skip
            heads.append(inputs)
        if not heads:
            reject(what, "children or inputs are needed")
        beside = heads[0] if len(heads) == 1 else concat(heads, 1)
        made_for = len(memories), beside.dims[1]
        if self._made_for is None:
            self._made_for = made_for
        if made_for != self._made_for:
            reject(what, "made for {} children and {} values beside each other, got {} and {}"
                         .format(*self._made_for, *made_for))  # fmt: skip
        return super().__call__(beside, memories)

    def build(self, dims) -> None:
        assert self._made_for is not None
        width = (3 + self._made_for[0]) * self.units
        self.kernel = self.add_weight(
            "kernel", [dims[1], width], initializer=self.kernel_initializer
        )
        self.bias = self.add_weight("bias", [width], initializer=Zeros())

    def call(self, heads: Tensor, memories: Sequence[Tensor]):  # type: ignore[override]
        gates = matmul(heads, self.kernel) + self.bias
        i, *forget, o, u = split(gates, 3 + len(memories), axis=1)
        c = sigmoid(i) * tanh(u)
        for gate, memory in zip(forget, memories, strict=True):
            c = c + sigmoid(gate + self.forget_bias) * memory
        return LSTMStateTuple(c, sigmoid(o) * tanh(c))


class ThinStack:
    """A stack of rows for each example of a batch, all of them in one buffer.

    The thin stack of Bowman et al. 2016, arXiv:1603.06021, section 3.2, with words that stay where
    they are: a row is written once, by the step that makes it, and a stack is a queue of numbers of
    rows. A step copies no stack, and what it reads is a gather. As a whole it is a loop variable.

        row 0           zeros: what lies below a stack, and behind the words of a sentence
        then            words, [batch, room] of them
        then            what each step makes, [steps, batch]

    rows: [1 + batch · room + steps · batch, d]; queue: int32 [batch · (room + 2)], numbers of rows;
    depth: int32 [batch], what each stack holds; used: int32 [batch], words taken.
    """

    def __init__(self, rows: Tensor, queue: Tensor, depth: Tensor, used: Tensor,
                 room: Dim, lengths: Tensor):  # fmt: skip
        self.rows, self.queue, self.depth, self.used = rows, queue, depth, used
        self.room, self.lengths = room, lengths

    @classmethod
    def of_words(cls, words: Any, lengths: Any, steps: Dim) -> ThinStack:
        """Empty stacks of sentences: words [batch, room, d], lengths int32 [batch]."""
        words, lengths = convert_all([words, lengths], "ThinStack")
        batch, room, width = words.dims
        rows = concat(
            [
                zeros([1, width], words.dtype),
                reshape(words, [batch * room, width]),
                zeros([steps * batch, width], words.dtype),
            ],
            0,
        )
        none = zeros([batch], int32)
        return cls(rows, zeros([batch * (room + 2)], int32), none, none, room, lengths)

    def _components(self) -> list[Tensor]:
        return [self.rows, self.queue, self.depth, self.used]

    def _with_components(self, tensors: Sequence[Tensor]) -> ThinStack:
        rows, queue, depth, used = tensors
        return ThinStack(rows, queue, depth, used, self.room, self.lengths)

    def _numbers(self) -> Tensor:
        return range_of(size_as_tensor(self.depth.dims[0], int32))

    def _place(self, depth: Tensor) -> Tensor:
        """Where the queue says what is at some depth; 0 and -1 are below the stack."""
        room = size_as_tensor(self.room + 2, int32)
        return self._numbers() * room + depth + 1

    def _at(self, depth: Tensor) -> Tensor:
        return gather_op(self.queue, self._place(depth), axis=0)

    def next_words(self) -> Tensor:
        """int32 [batch]: the row of each example's next word; that of zeros where there is none.

        Since no step changes words, what all steps need of them may be computed before.
        """
        room = size_as_tensor(self.room, int32)
        return where(self.used < self.lengths, 1 + self._numbers() * room + self.used, 0)

    def can_shift(self) -> Tensor:
        """bool [batch]: whether there is a next word."""
        return self.used < self.lengths

    def can_reduce(self) -> Tensor:
        """bool [batch]: whether a stack holds two rows."""
        return self.depth > 1

    def top(self) -> Tensor:
        """[batch, d]: the upmost row of each stack; zeros where it is empty."""
        return gather_op(self.rows, self._at(self.depth), axis=0)

    def seen(self) -> Tensor:
        """[2 · batch, d]: the tops of the stacks, then the rows below those; zeros where there is
        none.

        They are one gather, so that its gradient is one addition of rows, in place.
        """
        places = [self._at(self.depth), self._at(self.depth - 1)]
        return gather_op(self.rows, concat(places, 0), axis=0)

    def pushed(self, step: Tensor, shifts: Tensor, reduces: Tensor, phrases: Tensor) -> ThinStack:
        """The stacks after a step: with the next word on top where `shifts`, with a phrase in the
        place of the upper two where `reduces`, and as they were elsewhere.

        step: an int32 scalar; shifts, reduces: bool [batch]; phrases: [batch, d]
        """
        batch = self.depth.dims[0]
        count, room = size_as_tensor(batch, int32), size_as_tensor(self.room, int32)
        first = 1 + count * room + step * count
        made = first + self._numbers()
        # The rows are zeros so far. Added to them, the phrases leave what is known of the gradients
        # of all rows as it is; rows that are replaced would have to be cleared in it.
        rows = scatter(self.rows, made, phrases, mode="add")
        one, zero = convert(1), convert(0)
        added = where(shifts, one, zero)
        depth = self.depth + added - where(reduces, one, zero)
        kept = where(reduces, made, self._at(depth))
        top = where(shifts, self.next_words(), kept)
        queue = scatter(self.queue, self._place(depth), top, mode="set")
        return ThinStack(rows, queue, depth, self.used + added, self.room, self.lengths)
