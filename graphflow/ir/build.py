"""Where `op(...)` puts its node: into the graph being defined, or into a pass's interner.

Type errors get their context here, once: the op, its inputs with dtype and shape, the user's line.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import GraphError, TypeRuleError
from .node import Attrs, Node, Region, Tensor
from .op import Op
from .types import SizeRules, TensorType


class Builder(Protocol):
    def create(
        self,
        op: Op,
        inputs: tuple[Tensor, ...],
        attrs: Attrs,
        regions: tuple[Region, ...],
        name: str | None,
    ) -> Node: ...


class _Current(threading.local):
    def __init__(self) -> None:
        self.builders: list[Builder] = []


_current = _Current()


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Sends every operation made inside to `builder`."""
    _current.builders.append(builder)
    try:
        yield builder
    finally:
        _current.builders.pop()


def current_builder() -> Builder:
    if _current.builders:
        return _current.builders[-1]
    from .graph import get_default_graph

    return get_default_graph()


def build(
    op: Op,
    inputs: Sequence,
    attrs: Mapping[str, Any],
    name: str | None = None,
    regions: tuple[Region, ...] = (),
):
    """Applies `op`; returns its Tensor, a tuple of Tensors, or the Node where it has none.

    Inputs are Tensors: converting Python values is the business of the public functions in ops/.
    """
    builder = current_builder()
    node = builder.create(op, tuple(inputs), Attrs(attrs), regions, name)
    outputs = node.outputs
    if len(outputs) == 1:
        return outputs[0] if outputs[0].dtype.kind != "token" else node
    return outputs if outputs else node


def infer(
    op: Op, inputs: Sequence[Tensor], attrs: Attrs, regions: tuple[Region, ...], rules: SizeRules
) -> tuple[TensorType, ...]:
    """The op's type rule; its errors name the op and the inputs."""
    types = [tensor.tensor_type for tensor in inputs]
    try:
        if not op.any_rank:
            for position, type_ in enumerate(types):
                if type_.shape is None:
                    raise TypeRuleError(
                        f"the rank of input {position} is unknown; give its placeholder a shape, "
                        "such as shape=[None, 3]"
                    )
        if regions:
            return tuple(op.infer(types, attrs, rules, regions))  # type: ignore[call-arg]
        return tuple(op.infer(types, attrs, rules))
    except GraphError as error:
        raise type(error)(f"{op.name}: {error}{describe_inputs(inputs)}") from None


def describe_inputs(inputs: Sequence[Tensor]) -> str:
    """One line an input: name, dtype and shape. At most six."""
    lines = []
    for position, tensor in enumerate(inputs[:6]):
        lines.append(f"\n  input {position}: {tensor.name} {tensor.tensor_type}")
    if len(inputs) > 6:
        lines.append(f"\n  and {len(inputs) - 6} more inputs")
    return "".join(lines)
