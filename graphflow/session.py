"""Sessions: where variables live and graphs run.

`Session.run` itself is native code (graphflow/runtime.py): it recognises a call by the identity of
its fetches and feed keys and goes straight to the compiled step. Python is asked only for what is
new or has gone wrong: `_prepare` compiles, the other hooks word errors.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import failures, knobs, runtime
from .cache import CacheStats
from .compile import CompileOptions, Step, compile_step
from .config import KernelTime, RunMetadata
from .dtypes import as_dtype
from .errors import GraphError, ResourceExhaustedError, TypeRuleError
from .fetches import Fetches, resolve_feeds
from .ir.graph import default_session, pop_session, push_session
from .ir.node import Tensor
from .ir.types import TensorType
from .ir.variable import VariableHandle
from .report import Report, with_sizes
from .session_base import BaseSession, actual_sizes, rank_of
from .sizes import Dim, Symbol, symbols_of

MOST_RANKS = 5  # tried for a callable whose placeholders have no shape
MOST_VARIANTS = 8  # specialised for a size of 1, of one kind of call


@dataclass
class Prepared:
    """What Python knows of one kind of call, found again in the native module's hooks.

    types:    of the feeds, with the ranks this call is for
    bindings: sizes this call is specialised to, by symbols of the Program
    checkpoint: whether its loops keep checkpoints
    variants: bindings of the specialised calls made for it
    """

    fetches: Fetches
    feeds: list[Tensor]
    types: tuple[TensorType, ...]
    step: Step
    bindings: Mapping[Symbol, Dim]
    checkpoint: bool = False
    variants: set[Any] = field(default_factory=set)


class Session(BaseSession, runtime.Session):
    """Runs operations of a graph, and holds its variables.

    Session(target="", graph=None, config=None, backend="compiled")

    `graph` is the default graph unless given. Many threads may call `run` at once. Back ends:

    compiled    the whole of a run is one native step
    op-by-op    every operation is a compiled kernel of its own, called from Python, nothing fused
                or planned: what the same kernels cost without a static graph
    reference   evaluates with NumPy, one operation after the other: slow, and easy to debug

    Raises GraphError (see graphflow.errors) for what is wrong with a program or its data; a run
    that raises leaves every variable as it was.
    """

    def __new__(cls, target="", graph=None, config=None, backend="compiled"):
        if backend == "reference":
            from .reference import ReferenceSession

            return ReferenceSession(target, graph, config)
        if backend == "op-by-op":
            from .op_by_op import OpByOpSession

            return OpByOpSession(target, graph, config)
        if backend != "compiled":
            raise ValueError(
                f"Session: backend must be 'compiled', 'op-by-op' or 'reference', got {backend!r}"
            )
        return super().__new__(cls)

    def __init__(self, target="", graph=None, config=None, backend="compiled"):
        self._begin(target, graph, config)
        self._knobs = knobs.read()
        threads = self.config.intra_op_parallelism_threads or self._knobs.threads
        super().__init__(runtime.ThreadPool(threads), self.config.output_pool_bytes)
        self._options = CompileOptions(
            check_numerics=self.config.check_numerics,
            disable=frozenset(self.config.disable),
            memory_budget=self.config.memory_budget,
        )
        self._slots: dict[VariableHandle, int] = {}
        self._handles: list[VariableHandle] = []
        self._stats = CacheStats()
        self._steps: dict[Any, tuple[Step, Any]] = {}
        self._compilations = 0
        self._preparing = threading.RLock()

    # -- variables ----------------------------------------------------------------------------

    def slot(self, handle: VariableHandle) -> int:
        """The number under which the runtime keeps a variable; defined on first use."""
        found = self._slots.get(handle)
        if found is None:
            with self._preparing:
                found = self._slots.get(handle)
                if found is None:
                    found = len(self._handles)
                    dims = [d if isinstance(d, int) else -1 for d in handle.shape or ()]
                    self.state_define(
                        found,
                        handle.name,
                        handle.dtype.name,
                        None if handle.shape is None else dims,
                    )
                    value = self.initial_value(handle)
                    if value is not None:
                        self.state_set(found, value)
                    self._handles.append(handle)
                    self._slots[handle] = found
        return found

    def variable_value(self, handle: VariableHandle) -> np.ndarray:
        """The value of a variable as a read-only array. Raises FailedPreconditionError."""
        value = self.state_get(self.slot(handle))
        if value is None:
            raise failures.uninitialized([(handle.name, handle.location)])
        return value

    def is_initialized(self, handle: VariableHandle) -> bool:
        return self.state_initialized(self.slot(handle))

    def load_variable(self, handle: VariableHandle, value: Any) -> None:
        """Gives a variable a value; its dtype and shape must fit."""
        self.load_variables({handle: value})

    def load_variables(self, values: Mapping[VariableHandle, Any]) -> None:
        """Gives several variables values, or none of them if any does not fit."""
        for slot, array in [(self.slot(h), a) for h, a in failures.fitting(values).items()]:
            self.state_set(slot, array)

    @property
    def compile_options(self) -> CompileOptions:
        """What decides the code of its steps."""
        return self._options

    # -- inspection ---------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """Counts of this session so far: runs, compilations, copies made and avoided, memory."""
        return {
            **super().counters(),
            "compilations": self._compilations,
            "cache_hits": self._stats.disk_hits + self._stats.memory_hits,
        }

    def cache_stats(self) -> dict[str, Any]:
        """Hits and misses of the compile cache in memory and on disk, and why each missed."""
        return self._stats.as_dict()

    def measured_bytes(self, fetches: Any, feed_dict: Mapping[Any, Any]) -> int:
        """Runs once and returns the most memory that it had in use at any time: outputs, arena,
        constants and the variables it uses. What `explain(...).peak_bytes` says before, but for
        memory whose size loops find out: as much of that counts as is kept for later runs."""
        call = self._prepare(fetches, tuple(feed_dict), feed_dict)
        call = self._within_budget(call, [np.shape(value) for value in feed_dict.values()])
        step = call.info.step
        used = {self.slot(variable) for variable in step.variables}
        values = [self.state_get(slot) for slot in range(len(self._handles)) if slot not in used]
        others = sum(value.nbytes for value in values if value is not None)
        del values
        self.forget_peak()
        kept = self.run(fetches, feed_dict)
        outside = sum(constant.value.nbytes for constant in step.description.constants)
        # Scalars are written into the record of the run itself.
        outside += sum(
            as_dtype(output.dtype).bytes
            for output in step.description.outputs
            if output.source == "buffer" and not output.dims
        )
        del kept
        peak = self.counters()["peak_bytes"] - others
        found, late = call.executable.inspect(), step.description.late or step.description.stacks
        return peak + found["arena_total_bytes" if late else "arena_bytes"] + outside

    def prepared(
        self, fetches: Any, feed_keys: Sequence[Any] | None = None, feed_dict: Any = None
    ) -> Prepared:
        """The compiled call for these fetches. Without feed keys: those the fetches need."""
        resolved = Fetches(self.graph, fetches)
        if feed_keys is None:
            from .ir.node import topological

            nodes = [f.node if isinstance(f, Tensor) else f for f in resolved.wanted]
            feed_keys = [n.outputs[0] for n in topological(nodes) if n.op.name == "placeholder"]
        return self._prepare(fetches, tuple(feed_keys), feed_dict).info

    def explain(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Report:
        """See graphflow.explain."""
        if feed_dict is None:
            return self.prepared(fetches).step.report
        shapes = [np.shape(value) for value in feed_dict.values()]
        call = self._prepare(fetches, tuple(feed_dict), feed_dict)
        return self._sized_report(self._within_budget(call, shapes).info, shapes)

    def _sized_report(self, info: Prepared, shapes: Sequence[Sequence[int]]) -> Report:
        sizes = actual_sizes(info.step.program.bound_types(), shapes)
        return with_sizes(info.step.report, {s.name: value for s, value in sizes.items()})

    def _within_budget(self, call: Any, shapes: Sequence[Sequence[int]]) -> Any:
        """The call itself, or a smaller one if it exceeds the memory budget."""
        budget = self.config.memory_budget
        if budget is None or (self._sized_report(call.info, shapes).peak_bytes or 0) <= budget:
            return call
        return self._smaller_call(call.info, shapes) or call

    def _smaller_call(self, info: Prepared, shapes: Sequence[Sequence[int]]) -> Any:
        """The Call with checkpoints in its loops, if that is within the memory budget for these
        sizes, or the one compiled under the budget for just them; None if `info` is for no
        others."""
        from .passes.loops.checkpoint_loops import can_checkpoint

        sizes = actual_sizes(info.step.program.bound_types(), shapes)
        if not sizes:
            return None
        budget = self.config.memory_budget or 0
        with self._preparing:
            if not info.checkpoint and can_checkpoint(info.step.program):
                call = self._make_call(info.fetches, info.feeds, info.types, info.bindings, True)
                if (self._sized_report(call.info, shapes).peak_bytes or 0) <= budget:
                    return call
            return self._make_call(info.fetches, info.feeds, info.types, {**info.bindings, **sizes})

    # -- hooks of the native module -----------------------------------------------------------

    def _prepare(
        self, fetches: Any, feed_keys: Sequence[Any], feed_dict: Mapping[Any, Any] | None = None
    ) -> Any:
        """The Call for fetches and feed keys that `run` has not met before."""
        with self._preparing:
            self._notice_growth()
            resolved = Fetches(self.graph, fetches)
            feeds = resolve_feeds(self.graph, feed_keys)
            ranks = [0] * len(feeds) if feed_dict is None else [*map(rank_of, feed_dict.values())]
            types = tuple(map(self.feed_type, feeds, ranks))
            if feed_dict is not None or all(tensor.dims is not None for tensor in feeds):
                return self._make_call(resolved, feeds, types, {})
            # Nothing says yet what rank is fed; calls of another one are prepared when they come.
            for rank in range(MOST_RANKS):
                types = tuple(self.feed_type(tensor, rank) for tensor in feeds)
                try:
                    return self._make_call(resolved, feeds, types, {})
                except TypeRuleError as error:
                    refused = error
            raise refused

    def _make_call(
        self,
        resolved: Fetches,
        feeds: list[Tensor],
        types: tuple[TensorType, ...],
        bindings: Mapping[Symbol, Dim],
        checkpoint: bool = False,
    ) -> Any:
        """The Call for feeds of these types, compiled on first use."""
        key = (tuple(resolved.wanted), tuple(feeds), types, tuple(bindings.items()), checkpoint)
        known = self._steps.get(key)
        if known is None:
            self._stats.memory_misses += 1
            options = replace(self._options, checkpoint=checkpoint)
            step = compile_step(
                self.graph, list(resolved.wanted), feeds, types, options, self._knobs,
                self._stats, self.config.cache, bindings,
            )  # fmt: skip
            self._compilations += 1
            self._steps[key] = known = (step, step.load(self.slot, self.config.memory_budget or 0))
        else:
            self._stats.memory_hits += 1
        step, executable = known
        info = Prepared(resolved, feeds, types, step, bindings, checkpoint)
        return runtime.Call(executable, resolved.shape, list(range(len(feeds))), None, info)

    def _feed_error(self, call, feed: int, value: Any, cause: BaseException | None) -> Any:
        """Raises, or returns the Call for the rank that was fed where none was declared."""
        info: Prepared = call.info
        tensor = info.feeds[feed]
        if tensor.dims is None and cause is None:
            rank = np.ndim(value)
            if rank != info.types[feed].rank:
                types = list(info.types)
                types[feed] = self.feed_type(tensor, rank)
                with self._preparing:
                    return self._make_call(info.fetches, info.feeds, tuple(types), {})
        raise failures.feed_error(tensor, value, cause)

    def _feed_size_error(self, call, feed: int, axis: int, have: int, want: int) -> None:
        """A size that an earlier feed has bound is another one here."""
        info: Prepared = call.info
        bound = info.step.program.bound_types()
        dim = bound[feed].shape[axis]  # type: ignore[index]
        first = None
        for other, type_ in zip(info.feeds, bound, strict=True):
            for position, theirs in enumerate(type_.shape or ()):
                if (
                    theirs == dim
                    and first is None
                    and (other, position) != (info.feeds[feed], axis)
                ):
                    first = (other, position)
        raise failures.feed_size_error(info.feeds[feed], axis, have, want, first)

    def _size_error(self, call, check: int, a: int, b: int, shapes: Sequence[Any]) -> Any:
        """Raises, or returns the Call of a variant in which a size that is 1 broadcasts."""
        info: Prepared = call.info
        if check == runtime.OVER_BUDGET:
            smaller = self._smaller_call(info, shapes)
            if smaller is None:
                raise failures.over_budget(a, b, info.step.largest_buffers(shapes))
            return smaller
        if check < 0:
            raise ResourceExhaustedError("a size of this run is negative or too large to allocate")
        constraint, origins = info.step.program.constraints[check]
        bound = info.step.program.bound_types()
        if constraint.broadcast and 1 in (a, b):
            side = constraint.a if a == 1 else constraint.b
            actual = actual_sizes(bound, shapes)
            fixed = {s: actual[s] for s in symbols_of(side)}
            if fixed and len(info.variants) < MOST_VARIANTS:
                variant = {**info.bindings, **fixed}
                info.variants.add(tuple(variant.items()))
                with self._preparing:
                    return self._make_call(info.fetches, info.feeds, info.types, variant)
        feeds = [
            (tensor, type_.shape or (), shape)
            for tensor, type_, shape in zip(info.feeds, bound, shapes, strict=True)
        ]
        raise failures.size_error(constraint, origins, feeds, a, b)

    def _uninitialized(self, call, slots: Sequence[int]) -> None:
        handles = [self._handles[slot] for slot in slots]
        raise failures.uninitialized([(h.name, h.location) for h in handles])

    def _run_error(self, call, status: int, site: int, values: Sequence[int], launch: int,
                   evidence: Sequence[np.ndarray]) -> None:  # fmt: skip
        info: Prepared = call.info
        if site >= 0:
            row = info.step.description.notes["sites"][site]
            origins = [info.step.origins[i] for i in row["origins"]]
            raise failures.check_failed(row["message"], row["error"], origins, values, evidence)
        if status == runtime.NO_MEMORY:
            raise ResourceExhaustedError("memory for this run could not be had")
        raise GraphError(f"the step stopped with status {status}")

    def _profiled(self, call, records: Sequence[tuple[int, int, int, int]], options: Any,
                  metadata: RunMetadata | None) -> None:  # fmt: skip
        if metadata is None:
            return
        kernels = call.info.step.report.kernels
        metadata.launches = len(kernels)
        metadata.kernels = [
            KernelTime(launch, kernels[launch].name, tuple(kernels[launch].operations), begin, end)
            for launch, _, begin, end in records
        ]


class InteractiveSession(Session):
    """A session that is the default one from the start until it is closed."""

    def __init__(self, target="", graph=None, config=None, backend="compiled"):
        super().__init__(target, graph, config, backend)
        push_session(self)

    def close(self) -> None:
        pop_session(self)
        super().close()


def explain(
    fetches: Any, session: BaseSession | None = None, feed_dict: Mapping[Any, Any] | None = None
) -> Report:
    """What the compiler made of a run of `fetches`: kernels, fusion, memory, compile time.

    Without a session, the default one or a new one compiles it. Nothing is run. Feeds are the
    placeholders the fetches need, or the keys of `feed_dict`, whose values then also give every
    unknown size its value, so that memory is known.
    """
    session = session if session is not None else default_session()
    if session is None:
        with Session() as fresh:
            return explain(fetches, fresh, feed_dict)
    if not isinstance(session, Session):
        raise TypeError(
            f"explain: a {type(session).__name__} plans nothing that could be explained"
        )
    return session.explain(fetches, feed_dict)


__all__ = ["InteractiveSession", "Prepared", "Session", "explain"]
