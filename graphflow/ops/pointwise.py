"""What elementwise families share: type rules with implicit broadcasting, and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..dtypes import DType, bool_
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define
from ..ir.types import SizeRules, TensorType
from ..loop import nodes as loop

# Which dtypes an operation accepts: a word for messages and the test.
ANY: tuple[str, Callable[[DType], bool]] = ("any", lambda dtype: True)
NUMERIC = ("numeric", lambda dtype: dtype.is_numeric)
SIGNED = ("float or signed integer", lambda dtype: dtype.kind in ("float", "int"))
FLOAT = ("float", lambda dtype: dtype.is_floating)
INTEGER = ("integer", lambda dtype: dtype.is_integer)
BOOL = ("bool", lambda dtype: dtype.is_bool)
Accepts = tuple[str, Callable[[DType], bool]]


def common_dtype(types: Sequence[TensorType], accepts: Accepts = ANY) -> DType:
    """The dtype all inputs share; raises where they differ or it is not accepted."""
    dtype = types[0].dtype
    for other in types[1:]:
        if other.dtype is not dtype:
            raise TypeRuleError(
                f"the inputs have different dtypes, {dtype} and {other.dtype}; "
                f"graphflow.cast(x, graphflow.{dtype}) converts one of them"
            )
    word, accepted = accepts
    if not accepted(dtype):
        raise TypeRuleError(f"a {word} tensor is needed, got {dtype}")
    return dtype


def broadcast_shape(types: Sequence[TensorType], rules: SizeRules):
    """The shape of an elementwise result; None while the rank of any input is unknown."""
    shapes = [t.shape for t in types]
    if any(shape is None for shape in shapes):
        return None
    return rules.broadcast(shapes)  # type: ignore[arg-type]


def elementwise_rule(accepts: Accepts, result: DType | None = None):
    """A type rule: inputs of one accepted dtype, broadcast; `result` instead of their dtype."""

    def infer(types, attrs: Mapping[str, Any], rules: SizeRules):
        dtype = common_dtype(types, accepts)
        return (TensorType(result or dtype, broadcast_shape(types, rules)),)

    return infer


def numpy_reference(function: Callable[..., Any]):
    """A reference from a NumPy function of as many arrays as the op has inputs."""

    def reference(arrays, attrs, node: Node):
        with np.errstate(all="ignore"):
            result = function(*arrays)
        return (np.asarray(result).astype(node.types[0].dtype.numpy, copy=False),)

    return reference


def lower_with(operator: str):
    """The lowering to one Loop operator of the broadcast operands."""

    def lower(node: Node, index, context, output):
        arguments = [context.read_broadcast(i, index) for i in range(len(node.inputs))]
        return loop.apply(operator, *arguments)

    return lower


def elementwise(
    name: str,
    function: Callable[..., Any],
    accepts: Accepts,
    lower: str | Callable[..., Any],
    vjp: Callable[[Node, Tensor], Sequence[Tensor | None]] | None = None,
    result: DType | None = None,
    flops: float = 1.0,
    fallible: bool = False,
    in_place: Mapping[int, int] | None = None,
) -> Op:
    """Defines a primitive from its NumPy meaning, Loop operator and gradient.

    `vjp(node, g)` gives a gradient for each input before the sums that undo broadcasting, which
    are added here.
    """
    return define(
        Op(
            name=name,
            infer=elementwise_rule(accepts, result),
            reference=numpy_reference(function),
            vjp=None if vjp is None else summed(vjp),
            lower=lower_with(lower) if isinstance(lower, str) else lower,
            any_rank=True,
            in_place={0: 0} if in_place is None and result is None else in_place,
            flops=flops,
            fallible=fallible,
        )
    )


def predicate(name: str, function, accepts: Accepts, lower: str | Callable[..., Any]) -> Op:
    """Defines a primitive whose result is bool, and which therefore has no gradient."""
    return elementwise(name, function, accepts, lower, vjp=no_gradient, result=bool_, in_place={})


def no_gradient(node: Node, g: Tensor) -> Sequence[None]:
    return [None] * len(node.inputs)


def summed(vjp: Callable[[Node, Tensor], Sequence[Tensor | None]]):
    """Sums each gradient over the dimensions its input was broadcast along."""

    def rule(node: Node, gradients: Sequence[Tensor | None]):
        from .reduction import sum_to

        (g,) = gradients
        if g is None:
            return [None] * len(node.inputs)
        results = vjp(node, g)
        return [
            part if part is None or keeps_shape(x, node.inputs) else sum_to(part, x)
            for x, part in zip(node.inputs, results, strict=True)
        ]

    return rule


def keeps_shape(x: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Whether broadcasting with `inputs` cannot change x's shape, whatever symbols stand for."""
    if x.dims is None:
        return len(inputs) == 1
    for other in inputs:
        if other is x:
            continue
        if other.dims is None or len(other.dims) > len(x.dims):
            return False
        pairs = zip(reversed(x.dims), reversed(other.dims), strict=False)
        if any(mine != dim and dim != 1 for mine, dim in pairs):
            return False
    return True
