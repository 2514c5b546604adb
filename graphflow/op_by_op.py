"""`Session(backend="op-by-op")`: the same kernels without the graph around them.

Every operation of the program is compiled by itself, as a step of one node with arrays of its own
for its results, and Python calls one after the other: nothing is rewritten, fused, planned or
written in place. What a run costs this way, against the compiled step, is what declaring the graph
first is worth. A loop is one operation, compiled whole, but runs in NumPy where sizes depend on how
long it runs. A kernel is compiled once for an operation, its attributes and the sizes of its
inputs, whoever uses it; reshapes share memory; an array is released after its last use.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import failures, knobs, runtime
from .cache import CacheStats
from .compile import CompileOptions, Step, compile_program
from .config import KernelTime, RunMetadata
from .errors import GraphError, ResourceExhaustedError
from .interpreted import Array, InterpretedSession, Request
from .ir.body import has_effect
from .ir.evaluate import effects_in_order, last_uses, located, run_node
from .ir.loop_sizes import bound_in, sizes_in
from .ir.node import Node, Tensor, all_nodes
from .ir.op import EFFECT, LEAF, VIEW, find
from .ir.program import Interner, Origin, Program
from .ir.variable import VariableHandle
from .passes import pipeline
from .passes.fusion.cluster import root
from .sizes import is_trip_symbol, symbols_of

_NO_PASSES = frozenset(pipeline.names())


class OpByOpSession(InterpretedSession):
    """A session that dispatches one compiled kernel for each operation.

    `ConfigProto.memory_budget` has no meaning for it, since nothing is planned. Kernels are
    compiled for the sizes at hand: another batch size compiles again.
    """

    def __init__(self, target="", graph=None, config=None):
        super().__init__(target, graph, config)
        self._kernels = _Kernels(self)
        self._recipes: dict[Any, _Recipe] = {}
        self._preparing = threading.Lock()

    def counters(self) -> dict[str, int]:
        """Counts of this session so far: kernel runs, compilations, copies made and avoided."""
        return {
            **self._kernels.counters(),
            "compilations": self._kernels.compilations,
            "cache_hits": self._kernels.stats.disk_hits,
        }

    def close(self) -> None:
        """Forgets every variable's value, and the kernels."""
        super().close()
        self._recipes.clear()
        self._kernels.close()

    def _task(self, request: Request, arrays: Sequence[Array]) -> _Recipe:
        key = (request, *[array.shape for array in arrays])
        recipe = self._recipes.get(key)
        if recipe is None:
            with self._preparing:
                program, sizes = self._program(request, arrays)
                types = tuple(map(self.feed_type, request.feeds, (array.ndim for array in arrays)))
                static = self._cut(request, types, sizes)
                options = pipeline.PassOptions(
                    disable=_NO_PASSES, check_numerics=self.config.check_numerics
                )
                recipe = _Recipe(pipeline.run_graph_passes(static, options), self._kernels)
                self._recipes[key] = recipe
        return recipe


# -- a run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Operation:
    """One call: `outputs` = call(`inputs`), which are positions among the run's values; `dead` ones
    are not needed after it."""

    call: Callable[..., Sequence[Array]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dead: tuple[int, ...]
    name: str
    origin: str


@dataclass(frozen=True)
class _Kept:
    """A value that outlives its run.

    copied: it is the memory of something else
    shared: it is a variable's, so nobody may write to it
    """

    position: int
    copied: bool = False
    shared: bool = False

    def of(self, values: Sequence[Any]) -> Array:
        value = values[self.position]
        if self.copied:
            return np.array(value)
        if self.shared and value.ndim:
            value.flags.writeable = False
        return value


class _Recipe:
    """A program of known sizes as a list of calls."""

    def __init__(self, program: Program, kernels: _Kernels):
        order = effects_in_order(program.nodes(), program.effects)
        states = [node for node in order if node.op.name == "state"]
        self.states: tuple[VariableHandle, ...] = tuple(n.attrs["variable"] for n in states)
        self.writes = bool(program.updates)
        constants = [node for node in order if node.op.name == "constant"]
        self._constants = [node.attrs["value"].array for node in constants]
        given = [*program.feeds, *(node.outputs[0] for node in (*states, *constants))]
        rest = (tensor for node in order for tensor in node.outputs)
        positions = {tensor: k for k, tensor in enumerate(dict.fromkeys((*given, *rest)))}
        self._count = len(positions) - len(given)
        self._late = threading.local()  # sizes that loops of the run under way have found out
        last = last_uses(order, program.roots())
        self._operations = []
        for number, node in enumerate(order):
            if node.op.kind == LEAF:
                continue
            origins = program.origin(node)
            self._operations.append(
                _Operation(
                    self._call_of(node, origins, kernels),
                    tuple(positions[tensor] for tensor in node.inputs),
                    tuple(positions[tensor] for tensor in _results(node)),
                    tuple(positions[tensor] for tensor in last.get(number, ())),
                    node.op.name,
                    origins[0].name if origins else node.op.name,
                )
            )
        self._fetches = _kept_fetches(program, positions)
        self._updates = {
            variable: _Kept(positions[tensor], root(tensor) in program.feeds, True)
            for variable, tensor in program.updates.items()
        }

    def run(
        self, feeds: Sequence[Array], states: Sequence[Array], metadata: RunMetadata | None
    ) -> tuple[list[Array], dict[VariableHandle, Array]]:
        values: list[Any] = [*feeds, *states, *self._constants, *[None] * self._count]
        self._late.sizes = {}
        if metadata is not None:
            self._run_timed(values, metadata)
        else:
            for operation in self._operations:
                made = operation.call(*[values[k] for k in operation.inputs])
                for k, value in zip(operation.outputs, made, strict=True):
                    values[k] = value
                for k in operation.dead:
                    values[k] = None
        fetched = [kept.of(values) for kept in self._fetches]
        return fetched, {variable: kept.of(values) for variable, kept in self._updates.items()}

    def _call_of(self, node: Node, origins, kernels: _Kernels) -> Callable[..., Sequence[Array]]:
        if _has_late_sizes(node):
            # Kernels are compiled for sizes that are known: these run in NumPy.
            return lambda *arrays: self._in_numpy(node, origins, arrays)
        return _view_of(node) if node.op.kind == VIEW else kernels.call(node, origins)

    def _in_numpy(self, node: Node, origins, arrays: Sequence[Any]) -> Sequence[Array]:
        try:
            return run_node(node, arrays, self._late.sizes)
        except GraphError as error:
            raise located(error, origins) from error

    def _run_timed(self, values: list[Any], metadata: RunMetadata) -> None:
        metadata.kernels = []
        for number, operation in enumerate(self._operations):
            inputs = [values[k] for k in operation.inputs]
            start = time.monotonic_ns()
            made = operation.call(*inputs)
            end = time.monotonic_ns()
            for k, value in zip(operation.outputs, made, strict=True):
                values[k] = value
            metadata.kernels.append(
                KernelTime(number, operation.name, (operation.origin,), start, end)
            )
        metadata.launches = len(metadata.kernels)


def _has_late_sizes(node: Node) -> bool:
    """Whether a size in it is known only when some loop has ended: itself, or one before it."""
    values = [*node.attrs.values(), *(t.dims for t in (*node.inputs, *node.outputs))]
    if any(map(is_trip_symbol, symbols_of(values))):
        return True
    inside = all_nodes(n for region in node.regions for n in region.nodes())
    own = {symbol for inner in inside for symbol in bound_in(inner.attrs)}
    sizes = (symbols_of(sizes_in(inner.attrs)) for inner in inside)
    return any(is_trip_symbol(s) and s not in own for found in sizes for s in found)


def _results(node: Node) -> list[Tensor]:
    return [tensor for tensor in node.outputs if tensor.dtype.kind != "token"]


def _kept_fetches(program: Program, positions: dict[Tensor, int]) -> list[_Kept]:
    """How each fetch is handed out: no memory twice, feeds and constants as copies."""
    updated = {root(tensor) for tensor in program.updates.values()}
    handed_out: set[Tensor] = set()
    result = []
    for tensor in program.fetches:
        source = root(tensor)
        leaf = source.node.op.kind == LEAF
        shared = source.node.op.name == "state" or (source in updated and not leaf)
        copied = not shared and (leaf or source in handed_out)
        handed_out.add(source)
        result.append(_Kept(positions[tensor], copied, shared))
    return result


def _view_of(node: Node) -> Callable[..., Sequence[Array]]:
    shape = node.outputs[0].dims
    return lambda array, *_: (array.reshape(shape),)


# -- kernels -------------------------------------------------------------------------------------


class _Kernels(runtime.Session):
    """Compiled operations, and the pools of memory and threads they run with."""

    def __init__(self, session: OpByOpSession):
        settings = knobs.read()
        config = session.config
        threads = config.intra_op_parallelism_threads or settings.threads
        super().__init__(runtime.ThreadPool(threads), config.output_pool_bytes)
        self._knobs = settings
        self._options = CompileOptions(disable=_NO_PASSES)
        self._use_disk = config.cache
        self._known: dict[Any, tuple[Step, Any]] = {}
        self.stats = CacheStats()
        self.compilations = 0

    def call(self, node: Node, origins: tuple[Origin, ...]) -> Callable[..., Sequence[Array]]:
        """A function of the arrays of the node's inputs that gives those of its results."""
        types = tuple(tensor.tensor_type for tensor in node.inputs)
        key = (node.op, node.attrs, types, node.regions)
        known = self._known.get(key)
        if known is None:
            program = _alone(node, origins)
            step = compile_program(program, self._options, self._knobs, self.stats, self._use_disk)
            self.compilations += 1
            known = self._known[key] = (step, step.load(_no_variables, 0))
        self._calling = (*known, origins)
        try:
            return self.make_callable(_Key(), list(range(len(types))))
        finally:
            self._forget_calls()  # the callable is all that knows it

    # -- hooks of the native module -----------------------------------------------------------

    def _prepare(self, fetches: Any, feed_keys: Sequence[Any], feed_dict: Any = None) -> Any:
        step, executable, origins = self._calling
        nest = tuple(range(len(step.description.outputs)))
        return runtime.Call(executable, nest, list(range(len(feed_keys))), None, (step, origins))

    def _run_error(self, call, status: int, site: int, values: Sequence[int], launch: int,
                   evidence: Sequence[np.ndarray]) -> None:  # fmt: skip
        step, origins = call.info
        if site >= 0:
            row = step.description.notes["sites"][site]
            raise failures.check_failed(row["message"], row["error"], origins, values, evidence)
        if status == runtime.NO_MEMORY:
            raise ResourceExhaustedError("memory for this run could not be had")
        raise GraphError(f"the step stopped with status {status}")


class _Key:
    """Stands for the results of one operation."""


def _no_variables(variable: Any) -> int:
    raise AssertionError(f"an operation alone has no variable {variable}")


def _alone(node: Node, origins: tuple[Origin, ...]) -> Program:
    """The program of one operation: its inputs are fed, its results fetched."""
    interner = Interner()
    with interner.for_origin(origins):
        feeds = tuple(
            find("feed")(index=index, type=tensor.tensor_type)
            for index, tensor in enumerate(node.inputs)
        )
        serial = 1 if node.op.serial or has_effect(node) else 0
        alone = interner.create(node.op, feeds, node.attrs, node.regions, serial=serial)
    runs_for_itself = node.op.kind == EFFECT or node.op.fallible or has_effect(node)
    return Program(feeds, tuple(_results(alone)), {}, (alone,) * runs_for_itself, interner)
