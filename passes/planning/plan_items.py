"""What a plan is put together from: launches that are lowered, and marks among them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from ...loop import nodes as loop
from ...loop.nodes import Buffer, Kernel
from ...plan import Mark
from ..fusion.cluster import TOGETHER, Cluster
from ..lowering.context import KernelBuilder
from .outline import one_moment


@dataclass
class Launched:
    """One launch, lowered."""

    clusters: list[Cluster]
    kernel: Kernel | None
    keys: list[Hashable]  # of the kernel's buffers, in order
    used: list[dict[Hashable, None]]  # what each of the clusters uses
    writes: set[Hashable]
    call: int = -1
    note: str = ""
    prepared: bool = False
    branches: int = 0  # of clusters that run side by side
    outside: bool = False  # of a body: what its clusters call their values means nothing here

    def moments(self) -> list[tuple[Cluster, dict[Hashable, None]]]:
        """Its clusters, each with what it uses: they run one after the other, or side by side."""
        if self.outside:
            rows = [(Cluster(-1, TOGETHER), used) for used in self.used]
        else:
            rows = list(zip(self.clusters, self.used, strict=True))
        return one_moment(rows) if self.branches else rows


@dataclass
class Marked:
    """A mark among the launches; `mark` makes it, given the numbers of buffers."""

    mark: Callable[[Callable[[Hashable], int]], Mark]
    used: list[dict[Hashable, None]] = field(default_factory=lambda: [{}])
    keys: list[Hashable] = field(default_factory=list)
    writes: set[Hashable] = field(default_factory=set)
    prepared: bool = False

    def moments(self) -> list[tuple[Cluster, dict[Hashable, None]]]:
        return [(Cluster(-1, TOGETHER), self.used[0])]


Item = Launched | Marked


def made_kernel(
    name: str, builder: KernelBuilder, workspaces: Sequence[Buffer]
) -> tuple[Kernel, list[Hashable]]:
    """What was built as a kernel, and the keys of its buffers: those that it uses."""
    body = tuple(builder.blocks[0])
    used = loop.targets(body)
    rows = [row for row in builder.buffers.items() if row[1] in used]
    rows += [(buffer, buffer) for buffer in workspaces if buffer in used]
    buffers = tuple(buffer for _, buffer in rows)
    return Kernel(name, buffers, body), [key for key, _ in rows]
