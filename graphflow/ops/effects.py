"""What is run for what it does: assertions and checks; and the order of operations.

Effects happen in the order of their definition, and only where a fetch needs them: through their
outputs, or through a control dependency.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..dtypes import bool_
from ..errors import InvalidArgumentError, TypeRuleError
from ..ir.graph import get_default_graph
from ..ir.node import Node, Tensor
from ..ir.op import EFFECT, Op, define, find
from ..loop import nodes as loop
from .convert import constant_value, convert, reject
from .indexed_slices import IndexedSlices

__all__ = [
    "Assert",
    "add_check_numerics_ops",
    "check_numerics",
    "group",
    "no_op",
    "tuple",
    "verify_tensor_all_finite",
]

_python_tuple = tuple

# -- assert --------------------------------------------------------------------------------------


def _infer_assert(types, attrs, sizes):
    """condition: a bool scalar; then any tensors whose values belong to the message."""
    condition = types[0]
    if condition.dtype is not bool_ or condition.shape != ():
        raise TypeRuleError(f"the condition must be a bool scalar, not {condition}")
    return []


def shown(array: np.ndarray, summarize: int | None = None) -> str:
    """Its first elements, 3 unless `summarize` says otherwise (-1: all)."""
    count = 3 if summarize is None else array.size if summarize < 0 else summarize
    flat = array.reshape(-1)
    text = " ".join(str(element) for element in flat[:count])
    return f"[{text}...]" if flat.size > count else f"[{text}]"


def _reference_assert(arrays, attrs, node):
    condition, *data = arrays
    if not condition:
        lines = [f"  value {a.dtype}{list(a.shape)}: {shown(a, attrs['summarize'])}" for a in data]
        raise InvalidArgumentError("\n".join([attrs["message"], *lines]))
    return []


def _lower_assert(node: Node, context):
    message = node.attrs.message
    return [context.check(context.read(0, ()), message, error="InvalidArgumentError")]


assert_op = define(
    Op(
        name="assert",
        kind=EFFECT,
        infer=_infer_assert,
        reference=_reference_assert,
        lower=_lower_assert,
        serial=True,
        fallible=True,
        any_rank=True,
    )
)


def asserted(condition, data: Sequence, message: str, summarize=None, name=None) -> Node:
    """An operation that fails with `message` and the values of `data` if `condition` is false.

    Where the condition is known already, it fails here and now, or is nothing.
    """
    condition = convert(condition, what="Assert")
    if condition.dtype is not bool_:
        reject("Assert", f"the condition {condition.name} is {condition.dtype}, not bool")
    known = constant_value(condition)
    if known is not None:
        if not np.all(known):
            values = [constant_value(item) for item in data if isinstance(item, Tensor)]
            lines = [
                f"\n  value {shown(value, summarize)}" for value in values if value is not None
            ]
            reject("Assert", message + "".join(lines), InvalidArgumentError)
        return no_op(name=name or "Assert")
    if condition.rank != 0:
        condition = find("reduce")(condition, kind="and", axes=None)
    texts = [str(item) for item in data if isinstance(item, str)]
    tensors = [convert(item, what="Assert") for item in data if not isinstance(item, str)]
    full = " ".join([message, *texts])
    return assert_op(condition, *tensors, message=full, summarize=summarize, name=name or "Assert")


def Assert(condition, data, summarize: int | None = None, name: str | None = None) -> Node:  # noqa: N802
    """An operation that raises InvalidArgumentError in a run where `condition` is false.

    condition: a bool tensor (all its elements count). data: tensors and strings for the message;
    summarize: how many elements of each, 3 if None. Make what relies on it depend on it, with
    `control_dependencies`. A condition known to be false raises at this line.
    """
    return asserted(condition, list(data), "assertion failed", summarize, name)


# -- check_numerics -----------------------------------------------------------------------------


def _infer_numerics(types, attrs, sizes):
    (x,) = types
    if not x.dtype.is_floating:
        raise TypeRuleError(f"a float tensor is needed, got {x.dtype}")
    return [x]


def _numerics_message(message: str, kind: str) -> str:
    return f"{message} : Tensor had {kind} values (the first at element {{0}})"


def _reference_numerics(arrays, attrs, node):
    (x,) = arrays
    for kind, test in (("NaN", np.isnan), ("Inf", np.isinf)):
        wrong = test(x).reshape(-1)
        if wrong.any():
            message = _numerics_message(attrs["message"], kind)
            raise InvalidArgumentError(message.format(int(wrong.argmax())))
    return [x]


def _lower_numerics(node: Node, index, context, output):
    value = context.let(context.read(0, index))
    place = loop.linear(index, node.inputs[0].dims)
    for kind, test in (("NaN", "isnan"), ("Inf", "isinf")):
        fine = loop.apply("not", loop.apply(test, value))
        message = _numerics_message(node.attrs.message, kind)
        context.check(fine, message, place, error="InvalidArgumentError")
    return value


def _vjp_numerics(node: Node, gradients):
    message = "Not a number (NaN) or infinity (Inf) values detected in gradient."
    return [check_numerics_op(gradients[0], message=message)]


check_numerics_op = define(
    Op(
        name="check_numerics",
        infer=_infer_numerics,
        reference=_reference_numerics,
        vjp=_vjp_numerics,
        lower=_lower_numerics,
        fallible=True,
        any_rank=True,
    )
)


def check_numerics(tensor, message: str, name: str | None = None) -> Tensor:
    """`tensor`, of floats; a run in which an element is NaN or infinite raises
    InvalidArgumentError with `message`. So does one in which its gradient is."""
    return check_numerics_op(convert(tensor, what="check_numerics"), message=message, name=name)


def verify_tensor_all_finite(t, msg: str, name: str | None = None) -> Tensor:
    """As check_numerics."""
    return check_numerics(t, msg, name or "VerifyFinite")


def add_check_numerics_ops() -> Node:
    """One operation that checks every float tensor defined in the default graph so far."""
    graph = get_default_graph()
    checks = []
    for node in list(graph.nodes):
        if node.op is check_numerics_op:
            continue
        for output in node.outputs:
            if output.dtype.is_floating:
                checks.append(check_numerics_op(output, message=output.name).node)
    return group(*checks, name="check_numerics")


# -- order ---------------------------------------------------------------------------------------

# An operation that does nothing itself; what it depends on is run.
no_op_op = define(
    Op(
        name="no_op",
        kind=EFFECT,
        infer=lambda types, attrs, sizes: [],
        reference=lambda arrays, attrs, node: [],
        lower=lambda node, context: [],
        serial=True,
    )
)


def no_op(name: str | None = None) -> Node:
    """An operation that does nothing; with control dependencies, one that stands for them."""
    return no_op_op(name=name or "NoOp")


def _flatten(values: Iterable):
    for value in values:
        if isinstance(value, (list, _python_tuple)):
            yield from _flatten(value)
        elif isinstance(value, dict):
            yield from _flatten(value.values())
        elif value is not None:
            yield value


def group(*inputs, name: str | None = None) -> Node:
    """An operation that is done when all `inputs` (operations, tensors, variables, nests) are."""
    needed = list(_flatten(inputs))
    graph = needed[0].graph if needed else get_default_graph()
    with graph.as_default(), graph.control_dependencies(needed):
        return no_op(name=name or "group_deps")


def with_dependencies(dependencies: Iterable, output_tensor, name: str | None = None):
    """`output_tensor`, to be had only after `dependencies` have run."""
    graph = get_default_graph()
    with graph.control_dependencies(list(_flatten(dependencies))):
        if isinstance(output_tensor, IndexedSlices):
            return IndexedSlices(
                find("identity")(output_tensor.values, name=name or "control_dependency"),
                find("identity")(output_tensor.indices),
                output_tensor.dims,
            )
        tensor = convert(output_tensor)
        return find("identity")(tensor, name=name or "control_dependency")


def tuple(tensors, name: str | None = None, control_inputs=None) -> list:  # noqa: A001
    """The same tensors, none of which is to be had before all of them are computed.

    None and IndexedSlices stay what they are. control_inputs: what else to wait for.
    """
    items = list(tensors)
    if not any(item is not None for item in items):
        reject("tuple", "there is no tensor in it")
    needed = [*_flatten(items), *(control_inputs or ())]
    with get_default_graph().name_scope(name or "tuple"):
        return [None if item is None else with_dependencies(needed, item) for item in items]
