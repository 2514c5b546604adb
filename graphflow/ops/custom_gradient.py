"""Gradients that are stated for a function: by users, and by graphflow for its own compositions.

A user's is a Python function, of which a saved graph keeps the name alone. graphflow's own are
found by name (`gradient_rule`), so graphs that were read can still be differentiated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import chain

from ..errors import GraphError
from ..ir.graph import get_default_graph
from ..ir.node import Node, Tensor, topological
from ..ir.op import Op, define, find
from ..ir.values_text import Form, define_form
from .convert import convert, reject
from .region import StatedGradient

__all__ = ["custom_gradient"]


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
    stated = node.attrs.gradient
    if isinstance(stated, GradientRule):
        own, kept = node.inputs[count : count + inputs], node.inputs[count + inputs :]
        return [*[None] * count, *stated(outputs, own, kept), *[None] * len(kept)]
    given = stated(*outputs)
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


# The first `count` inputs, with `gradient` as the derivative by the `arguments` that follow; the
# rest is variables that a user's function reads, or what a rule needs. Exists only until a run is
# cut.
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


class GradientRule:
    """A derivative that graphflow states, by name, and the attributes it is given."""

    def __init__(self, name: str, *attributes):
        if name not in _rules:
            raise ValueError(f"no gradient is called {name!r}")
        self.name = name
        self.attributes = attributes

    def __call__(self, gradients, inputs, kept):
        return _rules[self.name](gradients, inputs, kept, *self.attributes)


_rules: dict[str, Callable[..., Sequence]] = {}
define_form(GradientRule, Form("gradient_rule", lambda r: (r.name, *r.attributes), GradientRule))


def gradient_rule(name: str) -> Callable[[Callable], Callable]:
    """A decorator for rule(gradients, inputs, kept, *attributes) -> gradients of the inputs."""

    def register(rule: Callable) -> Callable:
        _rules[name] = rule
        return rule

    return register


def with_rule(
    rule: GradientRule, results: Sequence[Tensor], inputs: Sequence[Tensor], kept: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """`results`, whose derivative by `inputs` is what a rule states with the help of `kept`.

    The results must be made of `identity` of what the gradient is for, and these are the inputs.
    """
    outputs = override_gradient(
        *results, *inputs, *kept, count=len(results), arguments=len(inputs), gradient=rule
    )
    return (outputs,) if isinstance(outputs, Tensor) else outputs


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
            gradient=StatedGradient(f.__name__, _with_variables(gradient, reads, f.__name__)),
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
