"""Bodies of operations, and `call`: a composite that keeps its name.

A body is a `Region`: closed, with `parameter` leaves of its own, so that what it uses from outside
is passed to it as an operand. In the reference a body is a function of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import GraphError, NonDifferentiableError, TypeRuleError
from ..ir.build import build, current_builder
from ..ir.graph import get_default_graph
from ..ir.node import Node, Region, Tensor, topological
from ..ir.op import LEAF, REGION, STATE, Op, define
from ..ir.types import SizeRules, TensorType, same_shape
from ..ir.values_text import Form, define_form

__all__: list[str] = []


# -- bodies --------------------------------------------------------------------------------------

# A body's own input. `index` is its position; sizes in `shape` are those of the operands.
parameter = define(
    Op(
        name="parameter",
        kind=LEAF,
        infer=lambda types, attrs, sizes: [TensorType(attrs["dtype"], attrs["shape"])],
    )
)


def make_region(
    types: Sequence[TensorType], function: Callable[..., Sequence[Tensor]], name: str = "body"
) -> Region:
    """The body that `function` defines of tensors of these types.

    Raises GraphError where it uses a tensor from outside that is not a constant, or a variable.
    """
    inputs = [
        parameter(index=index, dtype=type_.dtype, shape=type_.shape)
        for index, type_ in enumerate(types)
    ]
    first = get_default_graph().nodes[-1].serial if inputs else -1
    results = list(function(*inputs))
    own = {tensor.node for tensor in inputs}
    for node in topological([result.node for result in results]):
        outside = node.serial <= first and node not in own and node.op.name != "constant"
        if outside or node.op.kind == STATE or node.op.name == "placeholder":
            raise GraphError(
                f"the body {name} uses {node.name} ({node.op.name}) from outside; pass it in"
            )
    return Region(inputs, results, name=name)


def inline(region: Region, operands: Sequence[Tensor]) -> list[Tensor]:
    """The results of a body for these operands, as operations of the current builder."""
    mapped: dict[Tensor, Tensor] = dict(zip(region.parameters, operands, strict=True))
    nodes: dict[Node, Node] = {}
    builder = current_builder()
    for node in region.nodes():
        if node.op is parameter:
            continue
        controls = tuple(nodes[control] for control in node.controls if control in nodes)
        inputs = tuple(mapped[tensor] for tensor in node.inputs)
        extra = {"controls": controls} if controls else {}
        copy = builder.create(node.op, inputs, node.attrs, node.regions, None, **extra)
        nodes[node] = copy
        mapped.update(zip(node.outputs, copy.outputs, strict=True))
    return [mapped[result] for result in region.results]


def accepts(region: Region, types: Sequence[TensorType], sizes: SizeRules, what: str) -> None:
    """The body's parameters have the types of what it is given."""
    if len(region.parameters) != len(types):
        raise TypeRuleError(f"{what} takes {len(region.parameters)} tensors, it gets {len(types)}")
    for number, (own, given) in enumerate(zip(region.parameters, types, strict=True)):
        equal_types(own.tensor_type, given, sizes, f"input {number} of {what}")


def equal_types(a: TensorType, b: TensorType, sizes: SizeRules, what: str) -> TensorType:
    message = f"{what} is {a} on one side and {b} on the other; they must be equal"
    if a.dtype is not b.dtype:
        raise TypeRuleError(message)
    return TensorType(a.dtype, same_shape(a.shape or (), b.shape or (), sizes, message))


class StatedGradient:
    """A derivative that Python code states. Of one that was read from a text only the label is
    left: calling it raises NonDifferentiableError."""

    def __init__(self, label: str, function: Callable | None = None):
        self.label = label
        self.function = function

    def __call__(self, *args):
        if self.function is None:
            raise NonDifferentiableError(
                f"the gradient of {self.label} is a Python function, which a saved graph does not "
                "hold; take gradients before the graph is saved"
            )
        return self.function(*args)


define_form(StatedGradient, Form("gradient", lambda stated: (stated.label,), StatedGradient))

# -- call ----------------------------------------------------------------------------------------


def _infer_call(types, attrs, sizes, regions):
    (body,) = regions
    accepts(body, types, sizes, f"the body of {attrs['label']}")
    return [result.tensor_type for result in body.results]


def _reference_call(arrays, attrs, node, bodies):
    return bodies[0](*arrays)


def _vjp_call(node: Node, gradients):
    """The gradient that the composite states; where it states none, its body is inlined before
    differentiation."""
    rule = node.attrs.gradient
    if rule is None:
        raise NonDifferentiableError(f"{node.name} has no gradient of its own; inline it first")
    return rule(node, gradients)


# A composite that keeps its name (`label`) and, with `gradient`, its own derivative
# (node, gradients of outputs) -> gradients of inputs.
call = define(
    Op(
        name="call",
        kind=REGION,
        infer=_infer_call,
        reference=_reference_call,
        vjp=_vjp_call,
    )
)


def composite(
    label: str,
    function: Callable[..., Tensor | Sequence[Tensor]],
    *operands: Tensor,
    gradient: Callable[[Node, Sequence[Tensor | None]], Sequence] | None = None,
    name: str | None = None,
):
    """A `call` of what `function` defines: one named operation until late in compilation."""

    def results(*tensors: Tensor) -> Sequence[Tensor]:
        made = function(*tensors)
        return [made] if isinstance(made, Tensor) else made

    body = make_region([operand.tensor_type for operand in operands], results, label)
    stated = None if gradient is None else StatedGradient(label, gradient)
    attrs = {"label": label, "gradient": stated}
    return build(call, operands, attrs, name or label, (body,))


def inline_call(node: Node) -> list[Tensor]:
    """The outputs of a `call` node as the operations of its body."""
    return inline(node.regions[0], node.inputs)
