"""What rewrite rules are made of: their table, and words to recognise operands with.

A rule is a function of a node that gives the tensor to take its place, or None. Its name is how
logs call it and what `GRAPHFLOW_DISABLE` takes; its algebra stands beside it:

    @rule("mul")
    def mul_one(node):  # x * 1 -> x
        return fitted(node, beside(node, 1))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import DType
from ...errors import GraphError
from ...ir.node import FrozenArray, Node, Tensor
from ...ir.op import find
from ...ir.types import SizeRules, TensorType

Rewrite = Callable[[Node], "Tensor | None"]


class Rule(NamedTuple):
    name: str
    ops: tuple[str, ...]
    apply: Rewrite


class RuleTable:
    """Rules by the operation they look at, in the order they were stated."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def __call__(self, *ops: str) -> Callable[[Rewrite], Rewrite]:
        """A decorator that states a rule about these operations, under the function's name."""

        def state(function: Rewrite) -> Rewrite:
            self.rules.append(Rule(function.__name__, ops, function))
            return function

        return state

    def by_op(self, disabled: frozenset[str]) -> dict[str, list[Rule]]:
        result: dict[str, list[Rule]] = {}
        for one in self.rules:
            if one.name not in disabled:
                for op in one.ops:
                    result.setdefault(op, []).append(one)
        return result


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


UNARY = words(
    "neg abs sign floor ceil round sqrt rsqrt reciprocal exp expm1 log log1p sin cos tan asin acos "
    "atan sinh cosh tanh asinh acosh atanh sigmoid softplus erf erfc lgamma digamma erfinv erfcinv "
    "is_nan is_inf is_finite logical_not cast"
)
BINARY = words(
    "add sub mul div floordiv mod truncatediv truncatemod maximum minimum pow atan2 equal "
    "not_equal less less_equal greater greater_equal logical_and logical_or logical_xor "
    "bitwise_and bitwise_or bitwise_xor left_shift right_shift"
)
# a op b == b op a, to the last bit (but for the payload of a NaN).
COMMUTATIVE = words(
    "add mul maximum minimum equal not_equal logical_and logical_or logical_xor bitwise_and "
    "bitwise_or bitwise_xor"
)
BROADCASTING = BINARY | {"select"}


def made_by(tensor: Tensor | None, op: str) -> Node | None:
    """The node of `tensor` if there is one and it is an `op`."""
    return tensor.node if tensor is not None and tensor.node.op.name == op else None


def uniform(tensor: Tensor):
    """The number that all elements of a constant (or of one broadcast) are, or None."""
    node = tensor.node
    while node.op.name in ("broadcast_to", "reshape"):
        node = node.inputs[0].node
    if node.op.name != "constant":
        return None
    array = node.attrs["value"].array
    if array.size == 0 or array.size > 4096:
        return None
    first = array.reshape(-1)[0]
    return first.item() if array.size == 1 or bool((array == first).all()) else None


def beside(node: Node, value) -> Tensor | None:
    """The operand of a commutative operation whose other operand is `value` everywhere."""
    a, b = node.inputs
    if uniform(b) == value and uniform(b) is not None:
        return a
    if uniform(a) == value and uniform(a) is not None:
        return b
    return None


def constant_operand(node: Node) -> tuple[Tensor | None, Any]:
    """(other operand, number) of a commutative operation with a uniform constant."""
    a, b = node.inputs
    number = uniform(b)
    if number is not None:
        return a, number
    number = uniform(a)
    return (b, number) if number is not None else (None, None)


def number(value, dtype: DType) -> Tensor:
    """A scalar constant."""
    return find("constant")(value=FrozenArray(np.asarray(value, dtype.numpy)))


def fitted(node: Node, x: Tensor | None) -> Tensor | None:
    """`x` in the shape of the node's result: what it was broadcast with is gone."""
    if x is None or x.dtype is not node.outputs[0].dtype:
        return None
    wanted = node.outputs[0].dims
    if x.dims == wanted:
        return x
    if len(x.dims) > len(wanted):
        return None
    return find("broadcast_to")(x, shape=wanted)


def filled(node: Node, value) -> Tensor | None:
    """A constant in the shape of the node's result."""
    return fitted(node, number(value, node.outputs[0].dtype))


def broadcast_type(node: Node, inputs: tuple[Tensor, ...]) -> TensorType | None:
    """The type that a broadcasting operation has with other operands; None where it refuses."""
    rules = SizeRules()
    try:
        types = node.op.infer([t.tensor_type for t in inputs], node.attrs, rules)
    except GraphError:
        return None
    return None if rules.constraints else types[0]


def is_float(node: Node) -> bool:
    return node.outputs[0].dtype.is_floating


def never_negative(tensor: Tensor) -> bool:
    """Whether every element is >= 0 or NaN."""
    node = tensor.node
    if node.op.name in ("exp", "sigmoid", "softplus", "abs", "sqrt", "erfc"):
        return True
    if node.op.name == "mul" and node.inputs[0] is node.inputs[1]:
        return tensor.dtype.is_floating  # an integer's square may wrap
    value = uniform(tensor)
    return value is not None and value >= 0
