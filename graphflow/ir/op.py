"""What an operation owes the compiler, stated in one place, and the registry that finds it by name.

A primitive is defined in one file under `ops/`, with its rules side by side:

    tanh = define(Op(
        name="tanh",
        infer=...,       # type rule with clear errors
        reference=...,   # what it means, in NumPy
        vjp=...,         # reverse derivative, as tensors in, tensors out
        lower=...,       # the value of one output element, as a Loop expression
    ))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InternalError

if TYPE_CHECKING:
    import numpy as np

    from ..sizes import Dim
    from .node import Node, Tensor
    from .types import TensorType

# How an operation becomes loops:
LEAF = "leaf"  # constant, placeholder, state: no kernel of its own
POINTWISE = "pointwise"  # output[i] is an expression of input elements (movement included)
REDUCE = "reduce"  # output[i] combines input elements over the attribute `axes`
CONTRACT = "contract"  # dot-general
CONVOLVE = "convolve"  # convolution and its gradient with respect to the kernel
ATTEND = "attend"  # attention and its gradients
VIEW = "view"  # same elements in the same order: shares its input's buffer
NEST = "nest"  # writes its own loops
EFFECT = "effect"  # run for what it does: assert, print, host call
STATE = "state"  # reads or writes a variable; exists only until `functionalize`
REGION = "region"  # call, cond, while, scan
KINDS = (
    LEAF, POINTWISE, REDUCE, CONTRACT, CONVOLVE, ATTEND, VIEW, NEST, EFFECT, STATE, REGION
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Op:
    """A primitive operation.

    infer(types, attrs, sizes) -> output types
        `types` are the inputs' TensorTypes, `attrs` a mapping, `sizes` a SizeRules. Raises
        TypeRuleError with a message that makes sense after "op NAME: "; the caller adds the
        inputs' names, types and the user's line.
    reference(arrays, attrs, node) -> sequence of arrays
        NumPy meaning. Output dtypes and shapes must be those of the type rule; sizes inside
        `attrs` are already numbers. `node` serves ops that need their types.
    vjp(node, gradients) -> gradients of the inputs
        `gradients` has one Tensor or None for each output; the result one Tensor, IndexedSlices
        or None for each input. None as the field means: not differentiable.
    lower(node, index, context, output) -> Expr              for POINTWISE and REDUCE
        The element of output number `output` at `index` (Loop index expressions). For REDUCE,
        the input element at `index`, an index of the *input*.
    lower(node, context) -> list[Stmt]                       for NEST, CONVOLVE and EFFECT
        Whole loops, reading and writing through the context.
    batch(node, inputs, batched) -> outputs
        The operation for many independent applications at once: inputs that are `batched` have one
        more dimension, the first one, and so have the outputs. None where there is no such form.
        Elementwise operations need no rule.
    update(previous, node_inputs, node) -> (new value, results)   for STATE
        The pure meaning of a state operation: `previous` is the variable's value before.
    """

    name: str
    kind: str = POINTWISE
    infer: Callable[..., Sequence[TensorType]] = None  # type: ignore[assignment]
    reference: Callable[..., Sequence[np.ndarray]] | None = None
    vjp: Callable[[Node, Sequence[Tensor | None]], Sequence[Any]] | None = None
    lower: Callable[..., Any] | None = None
    batch: Callable[..., Sequence[Tensor] | None] | None = None
    update: Callable[..., Any] | None = None
    # Keeps its serial number when graphs are interned: two of them never become one.
    serial: bool = False
    # Can stop the step (bad index, failed assertion): must run before the first in-place write.
    fallible: bool = False
    # {output: input}: the output may take over the input's buffer (which is then overwritten).
    in_place: Mapping[int, int] | None = None
    # Inputs of which only the type is used, never an element.
    shape_only: tuple[int, ...] = ()
    # Outputs of a NEST that it leaves out where nothing reads them (see `context.wanted`).
    optional: tuple[int, ...] = ()
    # Accepts inputs whose rank is unknown.
    any_rank: bool = False
    # Cost of one output element in FLOPs; transcendental functions count what they execute.
    flops: float = 0.0
    # FLOPs of a node as a size, for ops whose output elements say little about them.
    count_flops: Callable[[Node], Dim] | None = None

    def __call__(self, *inputs, name: str | None = None, **attrs):
        """Adds the operation to the current graph; returns its tensor, tensors, or node."""
        from .build import build

        return build(self, inputs, attrs, name)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


_registry: dict[str, Op] = {}


def define(op: Op) -> Op:
    """Registers an operation under its name; a second one of the same name is a defect."""
    if op.name in _registry:
        raise InternalError(f"two operations are named {op.name!r}")
    if op.kind not in KINDS:
        raise InternalError(f"op {op.name}: no such kind {op.kind!r}")
    _registry[op.name] = op
    return op


def undefine(op: Op) -> None:
    """Takes an operation out of the registry again (tests that define one)."""
    del _registry[op.name]


def find(name: str) -> Op:
    """The operation of that name; KeyError where there is none."""
    return _registry[name]


def defined() -> Mapping[str, Op]:
    return _registry
