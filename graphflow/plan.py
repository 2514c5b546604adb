"""Plan: launches in order, the buffers they use, and what a run needs to know around them.

Text form (`.gfp`): a table of launches (kernel, reads, writes) and one of buffers (bytes, life,
offset), printed by `str(plan)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .dtypes import DType
from .loop.nodes import Kernel
from .sizes import Dim, Shape, Size

# Where a buffer lives:
FEED, CONSTANT, STATE_IN, STATE_OUT, OUTPUT, KEPT, ROW, STACK, LATE, ARENA = (
    "feed", "constant", "state_in", "state_out", "output", "kept", "row", "stack", "late",
    "arena")  # fmt: skip


@dataclass(frozen=True)
class PlanBuffer:
    """One buffer of a step. `id` indexes `frame->pointers`.

    place: feed | constant | state_in | state_out | output | kept (from run to run) | arena |
        row (of another buffer: the one that an iteration of a loop is at) |
        stack (of rows, grows with the iterations of a loop) |
        late (its bytes are known only when a loop of the run has ended)
    index: which feed, constant, state or output it is (0 for others)
    bytes: its size, a number or a Size
    first, last: moments (inclusive) between which an arena buffer must keep its contents; the
        loops of a launch run one after the other, each at a moment of its own
    offset: in the arena, where all sizes are static; else -1, and the runtime assigns it
    """

    id: int
    name: str
    dtype: DType
    shape: Shape
    place: str
    index: int
    bytes: Dim
    first: int = 0
    last: int = 0
    offset: int = -1


@dataclass(frozen=True)
class Launch:
    """One kernel call, or one host call (`kernel` None, `call` its number)."""

    kernel: Kernel | None
    buffers: tuple[int, ...]  # PlanBuffer ids, in the order of the kernel's parameters
    nodes: tuple[Any, ...] = ()  # the Program nodes it computes, for reports
    fallible: bool = False
    call: int = -1
    note: str = ""  # why it is a launch of its own
    moments: int = 1  # how many it takes: buffers alive at different ones may share memory


@dataclass(frozen=True)
class Row:
    """A buffer that is, in each iteration of a loop, a row of another one.

    bytes: of the row that an iteration is at
    begin: of a stack whose rows differ in size, the bytes of those before; else None
    """

    id: int
    of: int
    bytes: Dim
    begin: Dim | None = None


@dataclass(frozen=True)
class Repeat:
    """Begins what is repeated, up to the End that belongs to it.

    predicate: a bool, looked at before each iteration; or -1, and there are `count` of them
    bound: an integer scalar: no more iterations than that; or -1
    reverse: the last row comes first
    rows: buffers that move along with the iterations
    swaps: pairs of buffers that change places after each iteration
    sizes: symbols, and the rows that give them their values in each iteration: int64 scalars
    trips: a size that becomes known afterwards: the number of iterations
    """

    predicate: int = -1
    count: Dim = 0
    bound: int = -1
    reverse: bool = False
    rows: tuple[Row, ...] = ()
    swaps: tuple[tuple[int, int], ...] = ()
    sizes: tuple[tuple[Size, int], ...] = ()
    trips: Size | None = None
    node: Any = None


@dataclass(frozen=True)
class Choose:
    """Begins what runs only where a bool is true, up to its Otherwise, and what runs where it is
    not, up to its End."""

    predicate: int
    node: Any = None


@dataclass(frozen=True)
class Advance:
    """Symbols of sizes and what they are from here on, in terms of what sizes are here."""

    sizes: tuple[tuple[Size, Dim], ...]


@dataclass(frozen=True)
class Otherwise:
    pass


@dataclass(frozen=True)
class End:
    pass


Mark = Repeat | Choose | Advance | Otherwise | End


@dataclass(frozen=True)
class Site:
    """Where a run-time check stands: the text of its message with {0} and {1} for its values."""

    message: str
    origins: tuple[Any, ...]
    error: str = "InvalidArgumentError"
    # Buffers whose contents belong to the message (the data of a failed assertion).
    buffers: tuple[int, ...] = ()


@dataclass(frozen=True)
class State:
    """A variable the step reads or writes. Ids are -1 where it does not."""

    variable: Any
    read: int = -1
    write: int = -1
    in_place: bool = False
    dtype: DType | None = None
    shape: Shape = ()


@dataclass(frozen=True)
class HostCall:
    """A Python function called by the step with some buffers to read and some to write."""

    function: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Output:
    """A fetched value: where it comes from. `place` is output | state_in | state_out | feed |
    constant; `buffer` the PlanBuffer id."""

    place: str
    buffer: int
    dtype: DType
    shape: Shape


@dataclass(frozen=True)
class Plan:
    launches: tuple[Launch, ...]
    buffers: tuple[PlanBuffer, ...]
    # Numbers of launches, in order, with the marks of loops and branches among them.
    steps: tuple[int | Mark, ...] = ()
    feeds: tuple[int, ...] = ()
    constants: tuple[tuple[int, Any], ...] = ()  # (buffer id, FrozenArray)
    states: tuple[State, ...] = ()
    outputs: tuple[Output, ...] = ()
    sites: tuple[Site, ...] = ()
    calls: tuple[HostCall, ...] = ()
    # First launch that writes state in place; nothing at or after it can fail or be interrupted.
    commit: int = 0
    # How many launches come first that fill the kept buffers, and read nothing but constants and
    # variables that the step does not write: they run when one of those has changed.
    prepared: int = 0
    arena_bytes: int | None = None  # static plans only
    arena_lower_bound: int | None = None
    # Pairs of sizes that a run must find equal, in the order of the Program's constraints.
    checks: tuple[tuple[Dim, Dim], ...] = ()
    # What a run needs beside the arena: outputs, constants, what is kept, variables (twice where
    # a new value does not take the old one's place).
    outside_bytes: Dim = 0
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def peak_bytes(self) -> int | None:
        """What a run needs in all, its feeds aside; None while sizes are unknown."""
        outside = self.outside_bytes
        if self.arena_bytes is None or not isinstance(outside, int):
            return None
        return self.arena_bytes + outside

    def stacks(self) -> tuple[PlanBuffer, ...]:
        """The buffers that grow, in the order in which the step numbers them."""
        return tuple(buffer for buffer in self.buffers if buffer.place == STACK)

    @property
    def has_loops(self) -> bool:
        return any(isinstance(step, Repeat) for step in self.steps)

    @property
    def moments(self) -> int:
        """One more than the last moment of any buffer."""
        return 1 + max((b.last for b in self.buffers), default=-1)

    def values(self) -> tuple[Size, ...]:
        """Every symbolic size the runtime or the step reads: the slots of `gf_sizes`, in order."""
        slots: dict[Size, None] = {}
        shapes = [(*buffer.shape, buffer.bytes) for buffer in self.buffers]
        shapes += [output.shape for output in self.outputs]
        shapes += [state.shape for state in self.states]
        shapes += self.checks
        shapes.append((self.outside_bytes,))
        for step in self.steps:
            if isinstance(step, Repeat):
                shapes.append((step.count, *(row.bytes for row in step.rows)))
                begins = [row.begin for row in step.rows if row.begin is not None]
                shapes.append(tuple(begins))
            elif isinstance(step, Advance):
                shapes.append(tuple(size for _, size in step.sizes))
        shapes += [launch.kernel.sizes() for launch in self.launches if launch.kernel is not None]
        for shape in shapes:
            for dim in shape:
                if isinstance(dim, Size):
                    slots[dim] = None
        return tuple(slots)
