"""What lowering works with: the kernel under construction, and the contexts ops lower through.

A `KernelBuilder` holds the open loops as a stack of blocks. A value is named once (`Let`) in the
outermost block where everything it depends on is known, so what varies with the row only is
computed once a row, and what varies with nothing once a kernel, without any later code motion.
Every value is remembered by tensor and position: shared subexpressions are computed once, and the
size of the code is linear in the number of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...dtypes import DType, int64
from ...errors import InternalError
from ...ir.node import Node, Tensor
from ...ir.op import EFFECT, POINTWISE, REDUCE, VIEW
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Check, Const, Expr, For, Let, Load, Local, SizeOf, Stmt, Var
from ...plan import Site
from ...sizes import Dim, product
from ..analysis.index_math import Form, IndexMath
from ..analysis.relations import scalar_constant
from ..fusion.cluster import is_reduction
from ..fusion.settled import Settled


@dataclass
class Storage:
    """Memory that tensors of a program live in: `key` is a tensor that is stored, or a copy."""

    key: Hashable
    dtype: DType
    shape: tuple[Dim, ...]


@dataclass
class Sites:
    """The run-time checks of a plan, by number; `buffers` of a site are keys of memory here."""

    origin: Callable[[Node], tuple[Any, ...]]
    sites: list[Site] = field(default_factory=list)
    _known: dict[tuple, int] = field(default_factory=dict)

    def number(self, node: Node, message: str, error: str, buffers: tuple = ()) -> int:
        key = (node, message, error)
        if key not in self._known:
            self._known[key] = len(self.sites)
            self.sites.append(Site(message, self.origin(node), error, buffers))
        return self._known[key]


class KernelBuilder:
    """One kernel under construction.

    storage_of(tensor) gives the key of the memory that holds a tensor, None where it has none;
    describe(key) says what that memory is. `written` are the keys this kernel writes; those in
    `pending` do not hold their values yet. What is `settled` may be read by the kernel of
    `preparing()`, which runs before and not in every run.
    """

    def __init__(
        self,
        sites: Sites,
        storage_of: Callable[[Tensor], Hashable | None],
        describe: Callable[[Hashable], Storage],
        written: Collection[Hashable],
    ):
        self.sites = sites
        self.storage_of = storage_of
        self.describe = describe
        self.written = written
        self.settled: Settled | None = None
        self.pending: set[Hashable] = set(written)
        self.math = IndexMath()
        self.blocks: list[list[Stmt]] = [[]]
        self.depth_of_var: dict[Var, int] = {}
        self.depth_of_local: dict[Local, int] = {}
        self.buffers: dict[Hashable, Buffer] = {}
        self.reads: dict[Hashable, None] = {}
        self.writes: dict[Hashable, None] = {}
        self.workspaces: list[Buffer] = []
        # Of the kernel that fills them: workspaces that are kept from run to run.
        self.preparation: KernelBuilder | None = None
        self.kept: list[Buffer] = []
        self.staged: dict[tuple[Buffer, int], Expr] = {}  # by position: what was loaded before
        self.fallible = False
        self._count = 0
        self._memo: dict[tuple, Expr] = {}
        self._memo_keys: list[list[tuple]] = [[]]
        self._depths: dict[int, int] = {}
        self._keep: list[Expr] = []
        self._index_lets: list[dict[int, Expr]] = [{}]
        self._inside_expression = False

    # -- names and memory ---------------------------------------------------------------------

    def name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def buffer(self, key: Hashable, write: bool) -> Buffer:
        """The kernel parameter for a stored value."""
        (self.writes if write else self.reads)[key] = None
        found = self.buffers.get(key)
        if found is None:
            storage = self.describe(key)
            role = "out" if key in self.written else "in"
            found = Buffer(self.name(role), storage.dtype, product(storage.shape), role)
            self.buffers[key] = found
        return found

    def workspace(self, dtype: DType, size: Dim) -> Buffer:
        found = Buffer(self.name("work"), dtype, size, "workspace")
        self.workspaces.append(found)
        return found

    def is_settled(self, tensor: Tensor) -> bool:
        """Whether the kernel of `preparing()` may read a tensor."""
        return self.settled is not None and tensor in self.settled

    def preparing(self) -> KernelBuilder:
        """The kernel that computes for this one what stays the same from run to run."""
        if self.preparation is None:
            self.preparation = KernelBuilder(self.sites, self.storage_of, self.describe, ())
        return self.preparation

    # -- blocks and values --------------------------------------------------------------------

    def emit(self, stmt: Stmt) -> None:
        self.blocks[-1].append(stmt)

    @contextmanager
    def loop(self, kind: str, extent: Dim, grain: int = 1, bound: Expr | None = None,
             prefix: str = "i") -> Iterator[Form]:  # fmt: skip
        """A loop around what is built inside; gives the form of its variable.

        `bound` is its trip count where that is less than `extent` (the last chunk).
        """
        var = Var(self.name(prefix))
        self.blocks.append([])
        self._memo_keys.append([])
        self._index_lets.append({})
        self.depth_of_var[var] = len(self.blocks) - 1
        yield self.math.variable(var, extent)
        body = tuple(self.blocks.pop())
        for key in self._memo_keys.pop():
            self._memo.pop(key, None)
        self._index_lets.pop()
        if body:
            trips = bound if bound is not None else loop.index(extent)
            self.emit(For(var, trips, kind, body, grain))

    @contextmanager
    def captured(self) -> Iterator[list[Stmt]]:
        """Collects what is built inside, instead of adding it to the kernel."""
        block: list[Stmt] = []
        self.blocks.append(block)
        self._memo_keys.append([])
        self._index_lets.append({})
        yield block
        self.blocks.pop()
        for key in self._memo_keys.pop():
            self._memo.pop(key, None)
        self._index_lets.pop()

    @contextmanager
    def branch(self) -> Iterator[list[Stmt]]:
        """Collects what runs while other branches do: nothing outside is known in it, and nothing
        of it is placed outside or known afterwards."""
        outer = self.blocks, self._memo, self._memo_keys, self._index_lets, self.staged
        assert len(self.blocks) == 1
        self.blocks = [[]]
        self._memo, self._memo_keys, self._index_lets, self.staged = {}, [[]], [{}], {}
        yield self.blocks[0]
        self.blocks, self._memo, self._memo_keys, self._index_lets, self.staged = outer

    def expression(self, tensor: Tensor, index: tuple[Form, ...]) -> Expr:
        """An element as one expression; what no open variable changes is named further out."""
        with self.captured() as block:
            self._inside_expression = True
            value = self.element(tensor, index)
            self._inside_expression = False
        assert not block
        return value

    def depth(self, expr: Expr) -> int:
        """The number of the innermost block that `expr` needs."""
        found = self._depths.get(id(expr))
        if found is not None:
            return found
        if isinstance(expr, (Const, SizeOf, loop.Same)):
            return 0
        if isinstance(expr, Var):
            return self.depth_of_var.get(expr, len(self.blocks) - 1)
        if isinstance(expr, Load):
            found = self.depth(expr.index)
            if isinstance(expr.target, Local):
                found = max(found, self.depth_of_local[expr.target])
        else:
            found = max((self.depth(arg) for arg in expr.args), default=0)
        self._depths[id(expr)] = found
        self._keep.append(expr)
        return found

    def let(self, expr: Expr, prefix: str = "t") -> Expr:
        """A name for a value, given in the outermost block that has all it needs."""
        if isinstance(expr, (Var, Const, SizeOf)):
            return expr
        depth = self.depth(expr)
        if self._inside_expression and depth == len(self.blocks) - 1:
            return expr
        var = Var(self.name(prefix), expr.dtype)
        self.depth_of_var[var] = depth
        self.blocks[depth].append(Let(var, expr))
        return var

    def variable(self, prefix: str, extent: Dim) -> Var:
        """An index of this block that is known to be below an extent."""
        var = Var(self.name(prefix))
        self.depth_of_var[var] = len(self.blocks) - 1
        self.math.variable(var, extent)
        return var

    def named(self, form: Form, extent: Dim, prefix: str = "k") -> Form:
        """A name in this block for an index, with the bound that it keeps."""
        value = self.index(form)
        var = self.variable(prefix, extent)
        self.emit(Let(var, value))
        return self.math.of(var)

    def local(self, dtype: DType, start: Const, prefix: str = "sum") -> Local:
        """A scalar of the current block with a starting value."""
        found = Local(self.name(prefix), dtype)
        self.depth_of_local[found] = len(self.blocks) - 1
        self.emit(found)
        self.emit(loop.Store(found, loop.ZERO, start))
        return found

    def index(self, form: Form) -> Expr:
        """The expression of a position: what is known further out is added up there."""
        parts: dict[int, Expr] = {}
        here = len(self.blocks) - 1
        for atom, coefficient in form.terms:
            depth = self.depth(atom)
            if not isinstance(atom, Var):
                atom = self._index_let(atom, depth)
            term = loop.mul(atom, loop.index(coefficient))
            parts[depth] = loop.add(parts[depth], term) if depth in parts else term
        result: Expr = loop.index(form.constant)
        for depth in sorted(parts):
            result = loop.add(parts[depth], result)
            if depth < here and not isinstance(result, (Var, Const, SizeOf)):
                result = self._index_let(self.math.intern(result), depth)
        return result

    def _index_let(self, expr: Expr, depth: int) -> Expr:
        if self._inside_expression and depth == len(self.blocks) - 1:
            return expr
        known = self._index_lets[depth]
        found = known.get(id(expr))
        if found is None:
            var = Var(self.name("j"))
            self.depth_of_var[var] = depth
            self.blocks[depth].append(Let(var, expr))
            self._keep.append(expr)
            found = known[id(expr)] = var
        return found

    # -- elements -----------------------------------------------------------------------------

    def remember(self, tensor: Tensor, position: Form, value: Expr) -> None:
        """States the value of an element that the code built so far has computed."""
        key = (tensor, id(position))
        depth = min(self.depth(value), len(self.blocks) - 1)
        self._memo[key] = value
        self._memo_keys[depth].append(key)

    def forms(self, index: Sequence[Expr]) -> tuple[Form, ...]:
        return tuple(self.math.of(part) for part in index)

    def at(self, tensor: Tensor, position: Form) -> Expr:
        """The element of `tensor` at a row-major position."""
        return self.element(tensor, self.math.split(position, tensor.dims))

    def element(self, tensor: Tensor, index: tuple[Form, ...]) -> Expr:
        """The element of `tensor` at an index: computed before, loaded, or computed here."""
        position = self.math.linear(index, tensor.dims)
        while True:
            found = self._memo.get((tensor, id(position)))
            if found is not None:
                return found
            node = tensor.node
            constant = scalar_constant(node)
            if constant is not None:
                return constant
            key = self.storage_of(tensor)
            if key is not None and key not in self.pending:
                buffer = self.buffer(key, write=False)
                load = self.staged.get((buffer, id(position)))
                if load is None:
                    load = Load(buffer, self.index(position))
                value = self.let(load, "x")
                break
            if node.op.kind == VIEW:
                tensor = node.inputs[0]
                index = self.math.split(position, tensor.dims)
                continue
            if node.op.kind == REDUCE and not is_reduction(tensor):
                index = self.math.split(position, node.inputs[0].dims)
            elif node.op.kind != POINTWISE:
                raise InternalError(f"lowering: no value for {tensor!r} at this point")
            value = self.compute(tensor, index)
            break
        self.remember(tensor, position, value)
        return value

    def compute(self, tensor: Tensor, index: tuple[Form, ...]) -> Expr:
        """Lowers the element of a node's output; for REDUCE, of its input, by the input's index."""
        node = tensor.node
        context = ElementContext(self, node)
        exprs = tuple(self.math.expr(part) for part in index)
        assert node.op.lower is not None
        value = node.op.lower(node, exprs, context, tensor.index)
        return self.let(value)

    def store(self, key: Hashable, position: Form, value: Expr) -> None:
        self.emit(loop.Store(self.buffer(key, write=True), self.index(position), value))

    def check(self, condition: Expr, node: Node, message: str, values: Sequence[Expr],
              error: str) -> Check:  # fmt: skip
        self.fallible = True
        buffers: tuple[Hashable, ...] = ()
        if node.op.kind == EFFECT:
            # What an assertion shows stays in memory until its launch is over.
            buffers = tuple(self.storage_of(tensor) for tensor in node.inputs[1:])
            for key in buffers:
                self.buffer(key, write=False)
        first, second, *_ = [*(loop.cast(v, int64) for v in values), loop.ZERO, loop.ZERO]
        return Check(condition, self.sites.number(node, message, error, buffers), (first, second))


class ElementContext:
    """What a POINTWISE or REDUCE op lowers through: reads give values, code goes to the builder."""

    __slots__ = ("builder", "node")

    def __init__(self, builder: KernelBuilder, node: Node):
        self.builder = builder
        self.node = node

    def read(self, position: int, index: Sequence[Expr]) -> Expr:
        return self.builder.element(self.node.inputs[position], self.builder.forms(index))

    def read_broadcast(self, position: int, index: Sequence[Expr]) -> Expr:
        dims = self.node.inputs[position].dims
        skipped = len(index) - len(dims)
        aligned = [loop.ZERO if d == 1 else index[skipped + k] for k, d in enumerate(dims)]
        return self.read(position, aligned)

    def let(self, expr: Expr) -> Expr:
        return self.builder.let(expr)

    def check(self, condition: Expr, message: str, *values: Expr,
              error: str = "OutOfRangeError") -> None:  # fmt: skip
        builder = self.builder
        found = builder.check(condition, self.node, message, values, error)
        depth = max(map(builder.depth, (found.condition, *found.values)))
        builder.blocks[depth].append(found)


class NestContext:
    """What a NEST or EFFECT op builds its own loops with: all its inputs are in memory."""

    def __init__(self, builder: KernelBuilder, node: Node):
        self.builder = builder
        self.node = node

    def var(self, prefix: str = "i", dtype: DType = int64) -> Var:
        return Var(self.builder.name(prefix), dtype)

    def local(self, dtype: DType, shape: tuple[int, ...] = (), prefix: str = "local") -> Local:
        return Local(self.builder.name(prefix), dtype, shape)

    def workspace(self, dtype: DType, size: Dim) -> Buffer:
        """Scratch memory of this launch."""
        return self.builder.workspace(dtype, size)

    def input(self, position: int) -> Buffer:
        tensor = self.node.inputs[position]
        key = self.builder.storage_of(tensor)
        if key is None:
            raise InternalError(f"{self.node.op.name}: input {position} is not in memory")
        return self.builder.buffer(key, write=False)

    def output(self, position: int = 0) -> Buffer:
        key = self.builder.storage_of(self.node.outputs[position])
        if key is None:
            raise InternalError(f"{self.node.op.name}: output {position} is not in memory")
        return self.builder.buffer(key, write=True)

    def wanted(self, position: int) -> bool:
        """Whether anything reads an optional output."""
        return self.builder.storage_of(self.node.outputs[position]) is not None

    def read(self, position: int, index: Sequence[Expr]) -> Expr:
        tensor = self.node.inputs[position]
        constant = scalar_constant(tensor.node)
        if constant is not None:
            return constant
        return Load(self.input(position), loop.linear(index, tensor.dims))

    def read_broadcast(self, position: int, index: Sequence[Expr]) -> Expr:
        dims = self.node.inputs[position].dims
        skipped = len(index) - len(dims)
        aligned = [loop.ZERO if d == 1 else index[skipped + k] for k, d in enumerate(dims)]
        return self.read(position, aligned)

    def let(self, expr: Expr) -> Expr:
        return expr

    def check(self, condition: Expr, message: str, *values: Expr,
              error: str = "OutOfRangeError") -> Check:  # fmt: skip
        """The statement of a run-time check, for the op to place."""
        return self.builder.check(condition, self.node, message, values, error)
