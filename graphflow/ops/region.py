"""Operations with bodies: call, cond, while and scan; and gradients that users state themselves.

A body is a `Region`: closed, with `parameter` leaves of its own, so that what it uses from outside
is passed to it as an operand. In the reference a body is a function of arrays.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import chain

import numpy as np

from ..dtypes import bool_
from ..errors import GraphError, NonDifferentiableError, TypeRuleError
from ..ir.build import build, current_builder
from ..ir.graph import get_default_graph
from ..ir.node import Node, Region, Tensor, topological
from ..ir.op import LEAF, REGION, STATE, Op, define, find
from ..ir.types import SizeRules, TensorType, same_shape
from .convert import convert, reject

__all__ = ["custom_gradient"]


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


def _accepts(region: Region, types: Sequence[TensorType], sizes: SizeRules, what: str) -> None:
    """The body's parameters have the types of what it is given."""
    if len(region.parameters) != len(types):
        raise TypeRuleError(f"{what} takes {len(region.parameters)} tensors, it gets {len(types)}")
    for number, (own, given) in enumerate(zip(region.parameters, types, strict=True)):
        _equal_types(own.tensor_type, given, sizes, f"input {number} of {what}")


def _equal_types(a: TensorType, b: TensorType, sizes: SizeRules, what: str) -> TensorType:
    message = f"{what} is {a} on one side and {b} on the other; they must be equal"
    if a.dtype is not b.dtype:
        raise TypeRuleError(message)
    return TensorType(a.dtype, same_shape(a.shape or (), b.shape or (), sizes, message))


# -- call ----------------------------------------------------------------------------------------


def _infer_call(types, attrs, sizes, regions):
    (body,) = regions
    _accepts(body, types, sizes, f"the body of {attrs['label']}")
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
    attrs = {"label": label, "gradient": gradient}
    return build(call, operands, attrs, name or label, (body,))


def inline_call(node: Node) -> list[Tensor]:
    """The outputs of a `call` node as the operations of its body."""
    return inline(node.regions[0], node.inputs)


# -- control flow --------------------------------------------------------------------------------


def _infer_cond(types, attrs, sizes, regions):
    """predicate: a bool scalar; then the operands of both branches, which give equal types."""
    predicate, *operands = types
    if predicate.dtype is not bool_ or predicate.shape != ():
        raise TypeRuleError(f"the predicate must be a bool scalar, not {predicate}")
    then, otherwise = regions
    _accepts(then, operands, sizes, "the branch for true")
    _accepts(otherwise, operands, sizes, "the branch for false")
    if len(then.results) != len(otherwise.results):
        raise TypeRuleError(
            f"the branches give {len(then.results)} and {len(otherwise.results)} tensors"
        )
    return [
        _equal_types(a.tensor_type, b.tensor_type, sizes, f"result {number} of the branches")
        for number, (a, b) in enumerate(zip(then.results, otherwise.results, strict=True))
    ]


def _reference_cond(arrays, attrs, node, bodies):
    predicate, *operands = arrays
    return bodies[0 if predicate else 1](*operands)


cond_op = define(Op(name="cond", kind=REGION, infer=_infer_cond, reference=_reference_cond))


def _infer_while(types, attrs, sizes, regions):
    """`variables` loop variables, then what both bodies also read; the condition gives a bool
    scalar, the body the next values of the loop variables."""
    condition, body = regions
    count = attrs["variables"]
    for region, what in ((condition, "the condition"), (body, "the body")):
        _accepts(region, types, sizes, what)
    if [r.tensor_type for r in condition.results] != [TensorType(bool_, ())]:
        raise TypeRuleError("the condition must give one bool scalar")
    if len(body.results) != count:
        raise TypeRuleError(f"the body gives {len(body.results)} values for {count} loop variables")
    return [
        _equal_types(before, after.tensor_type, sizes, f"loop variable {number}")
        for number, (before, after) in enumerate(zip(types[:count], body.results, strict=True))
    ]


def _reference_while(arrays, attrs, node, bodies):
    condition, body = bodies
    count, limit = attrs["variables"], attrs.get("maximum_iterations")
    values, captured = list(arrays[:count]), arrays[count:]
    done = 0
    while (limit is None or done < limit) and condition(*values, *captured)[0]:
        values = list(body(*values, *captured))
        done += 1
    return values


while_op = define(Op(name="while", kind=REGION, infer=_infer_while, reference=_reference_while))


def _infer_scan(types, attrs, sizes, regions):
    """`carries` carried values, `sequences` tensors [n, ...], then captured ones. The body maps
    (carried, slices, captured) to (carried, slices of results); results are stacked."""
    (body,) = regions
    carries, sequences = attrs["carries"], attrs["sequences"]
    carried, inputs = types[:carries], types[carries : carries + sequences]
    length = attrs["length"]
    slices = []
    for number, type_ in enumerate(inputs):
        if not type_.shape:
            raise TypeRuleError(f"sequence {number} is a scalar")
        message = f"sequence {number} has length {type_.shape[0]}, the scan {length}"
        sizes.equal(length, type_.shape[0], message)
        slices.append(TensorType(type_.dtype, type_.shape[1:]))
    _accepts(body, [*carried, *slices, *types[carries + sequences :]], sizes, "the body")
    if len(body.results) < carries:
        raise TypeRuleError(f"the body gives {len(body.results)} values, {carries} are carried")
    results = [result.tensor_type for result in body.results]
    first = [
        _equal_types(before, after, sizes, f"carried value {number}")
        for number, (before, after) in enumerate(zip(carried, results[:carries], strict=True))
    ]
    stacked = [TensorType(r.dtype, (length, *r.shape)) for r in results[carries:]]
    return [*first, *stacked]


def _reference_scan(arrays, attrs, node, bodies):
    carries, sequences, length = attrs["carries"], attrs["sequences"], attrs["length"]
    carried = list(arrays[:carries])
    inputs, captured = arrays[carries : carries + sequences], arrays[carries + sequences :]
    types = node.types[carries:]
    stacked = [np.zeros(type_.shape, type_.dtype.numpy) for type_ in types]
    order = range(length - 1, -1, -1) if attrs.get("reverse", False) else range(length)
    for step in order:
        results = bodies[0](*carried, *(x[step] for x in inputs), *captured)
        carried = list(results[:carries])
        for whole, part in zip(stacked, results[carries:], strict=True):
            whole[step] = part
    return [*carried, *stacked]


scan_op = define(Op(name="scan", kind=REGION, infer=_infer_scan, reference=_reference_scan))


# -- gradients that users state ------------------------------------------------------------------


def _infer_override(types, attrs, sizes):
    return types[: attrs["count"]]


def _reference_override(arrays, attrs, node):
    return arrays[: attrs["count"]]


def _vjp_override(node: Node, gradients):
    """Nothing flows into the values themselves; the user's function says what the inputs get."""
    count, inputs = node.attrs.count, node.attrs.arguments
    outputs = [
        find("broadcast_like")(convert(0, y.dtype), y) if g is None else convert(g)
        for y, g in zip(node.outputs, gradients, strict=True)
    ]
    given = node.attrs.gradient(*outputs)
    results = list(given) if isinstance(given, (list, tuple)) else [given]
    expected = len(node.inputs) - count
    if len(results) != expected:
        raise GraphError(
            f"custom_gradient: the gradient function of {node.name} gave {len(results)} "
            f"gradients for {inputs} arguments"
            f"{f' and {expected - inputs} variables' if expected > inputs else ''}"
        )
    return [*[None] * count, *results]


def _lower_override(node: Node, index, context, output):
    return context.read(output, index)


# The first `count` inputs, with `gradient` as the derivative by the others. Exists only until a
# run is cut.
override_gradient = define(
    Op(
        name="override_gradient",
        infer=_infer_override,
        reference=_reference_override,
        vjp=_vjp_override,
        lower=_lower_override,
        any_rank=True,
    )
)


def custom_gradient(f: Callable) -> Callable:
    """A decorator for a function whose gradient the user states.

        @custom_gradient
        def log1pexp(x):
            e = exp(x)
            def grad(dy):
                return dy * (1 - 1 / (1 + e))
            return log(1 + e), grad

    `f` takes tensors and returns its result (or a list of results) and a function that maps the
    gradients of the results to those of the arguments: one tensor, or a list. Where `f` reads
    variables, that function must take a keyword `variables`, a list of them, and return two lists:
    gradients of the arguments and of these variables. Both may be differentiated again.
    """

    @wraps(f)
    def decorated(*args, **kwargs):
        graph = get_default_graph()
        inputs = [find("identity")(convert(arg, what=f.__name__)) for arg in args]
        start = len(graph.nodes)
        made = f(*inputs, **kwargs)
        if not (isinstance(made, tuple) and len(made) == 2 and callable(made[1])):
            reject("custom_gradient", f"{f.__name__} must return its result and a function")
        value, gradient = made
        many = isinstance(value, (list, tuple))
        results = [convert(item, what=f.__name__) for item in (value if many else [value])]
        reads = _variable_reads(graph.nodes[start:], results)
        outputs = override_gradient(
            *results,
            *inputs,
            *reads,
            count=len(results),
            arguments=len(inputs),
            gradient=_with_variables(gradient, reads, f.__name__),
        )
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        return type(value)(outputs) if many else outputs[0]

    return decorated


def _variable_reads(made: Sequence[Node], results: Sequence[Tensor]) -> list[Tensor]:
    """The reads of trainable variables that were made and that the results depend on."""
    new = set(made)
    reached = topological([result.node for result in results])
    reads = [n for n in reached if n in new and n.op.name == "variable_read"]
    graph = get_default_graph()
    known: Mapping = graph.variables
    return [
        node.outputs[0]
        for node in reads
        if node.attrs.variable in known and known[node.attrs.variable].trainable
    ]


def _with_variables(gradient: Callable, reads: Sequence[Tensor], name: str) -> Callable:
    """`gradient` as a function of the results' gradients alone."""
    if not reads:
        return gradient
    parameters = inspect.signature(gradient).parameters
    if "variables" not in parameters and not any(
        p.kind is p.VAR_KEYWORD for p in parameters.values()
    ):
        reject(
            "custom_gradient",
            f"{name} reads the variable {reads[0].node.attrs.variable}, so its gradient function "
            "must take a keyword argument `variables`",
        )
    graph = get_default_graph()
    handles = [read.node.attrs.variable for read in reads]
    variables = [graph.variables[handle] for handle in dict.fromkeys(handles)]

    def run(*gradients):
        of_inputs, of_variables = gradient(*gradients, variables=variables)
        listed = list(of_inputs) if isinstance(of_inputs, (list, tuple)) else [of_inputs]
        by_handle = dict(zip(dict.fromkeys(handles), of_variables, strict=True))
        # A variable that was read several times gets its gradient once.
        firsts = {handle: number for number, handle in reversed(list(enumerate(handles)))}
        rest = [
            by_handle[handle] if firsts[handle] == number else None
            for number, handle in enumerate(handles)
        ]
        return list(chain(listed, rest))

    return run
