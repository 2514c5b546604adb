"""The current graph, spoken to without naming it: scopes, dependencies, collections, steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .dtypes import int64
from .errors import GraphMismatchError
from .ir.graph import Graph, GraphKeys, get_default_graph
from .ir.node import Node, Tensor
from .ops.effects import group
from .ops.variables import Variable, global_variables, local_variables

__all__ = [
    "add_to_collection",
    "add_to_collections",
    "assert_global_step",
    "colocate_with",
    "container",
    "control_dependencies",
    "create_global_step",
    "device",
    "get_collection",
    "get_collection_ref",
    "get_global_step",
    "get_or_create_global_step",
    "global_step",
    "global_variables_initializer",
    "init_scope",
    "initialize_all_variables",
    "initialize_local_variables",
    "initialize_variables",
    "local_variables_initializer",
    "name_scope",
    "op_scope",
    "variables_initializer",
]


def graph_of(values: Iterable[Any]) -> Graph:
    """The graph that all tensors, operations and variables among `values` belong to.

    The current graph where there are none; GraphMismatchError where they disagree.
    """
    found: Graph | None = None
    first: Any = None
    for value in values:
        graph = getattr(value, "graph", None)
        if not isinstance(graph, Graph):
            continue
        if found is None:
            found, first = graph, value
        elif graph is not found:
            raise GraphMismatchError(f"{value.name} and {first.name} belong to different graphs")
    return found if found is not None else get_default_graph()


class name_scope:  # noqa: N801 - TensorFlow 1's name
    """`with name_scope("layer"):` prefixes the names of operations made inside with "layer/".

    name: the scope; where it is None, `default_name`. A name that ends in "/" re-enters that
        scope as it is; an empty one goes back to the root.
    values: tensors that must belong to one graph, which becomes the current one inside.

    `as` gives the full scope name with its "/". Raises TypeError where a name is needed.
    """

    def __init__(self, name: str | None, default_name: str | None = None, values=None):
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a scope must be a string, got {name!r}")
        if name is None and default_name is None and values is not None:
            raise ValueError("name_scope: name and default_name are both None")
        self._name = default_name if name is None else name
        self._values = list(values) if values is not None else []
        self._contexts: list = []

    @property
    def name(self) -> str | None:
        return self._name

    def __enter__(self) -> str:
        graph = graph_of(self._values)
        inner = graph.as_default() if graph is not get_default_graph() else None
        if inner is not None:
            inner.__enter__()
        try:
            scope = graph.name_scope(self._name)
            entered = scope.__enter__()
        except BaseException:
            if inner is not None:
                inner.__exit__(None, None, None)
            raise
        self._contexts.append((scope, inner))
        return entered

    def __exit__(self, *error):
        scope, inner = self._contexts.pop()
        scope.__exit__(*error)
        if inner is not None:
            inner.__exit__(None, None, None)
        return False


def op_scope(values, name: str | None, default_name: str | None = None) -> name_scope:
    """`name_scope` with the order of arguments of old programs."""
    return name_scope(name, default_name, values)


def control_dependencies(control_inputs: Sequence | None):
    """Operations made inside run after `control_inputs`; None clears the open dependencies."""
    if callable(control_inputs):
        raise TypeError("control_dependencies takes operations and tensors, not a function")
    flat = None if control_inputs is None else list(_flatten(control_inputs))
    return get_default_graph().control_dependencies(flat)


def _flatten(values) -> Iterator[Any]:
    if isinstance(values, dict):
        values = values.values()
    if isinstance(values, (Tensor, Node, Variable)) or not isinstance(values, Iterable):
        yield values
        return
    for value in values:
        if isinstance(value, (list, tuple, dict)):
            yield from _flatten(value)
        else:
            yield value


def init_scope():
    """A context without control dependencies, for what is built once, such as variables."""
    return get_default_graph().control_dependencies(None)


_DEVICE = re.compile(
    r"(/job:\w+)?(/replica:\d+)?(/task:\d+)?(/(device:)?(cpu|gpu)(:(\d+|\*))?)?", re.IGNORECASE
)


@contextmanager
def device(device_name_or_function: str | Callable | None) -> Iterator[None]:
    """Accepts where operations made inside should run, such as "/cpu:0", and changes nothing:
    there is one device, and the whole step is compiled for it.

    Raises ValueError for a string that is not the name of a device.
    """
    name = device_name_or_function
    if isinstance(name, str):
        if not _DEVICE.fullmatch(name):
            raise ValueError(f"{name!r} is not a device; those look like '/cpu:0' or '/gpu:0'")
    elif name is not None and not callable(name):
        raise TypeError(f"device() takes a name, a function or None, got {name!r}")
    yield


@contextmanager
def colocate_with(op, ignore_existing: bool = False) -> Iterator[None]:
    """Accepted for programs that place operations beside others; there is one device."""
    get_default_graph().as_node(op)
    yield


@contextmanager
def container(container_name: str) -> Iterator[str]:
    """Accepted for programs that name resource containers; sessions keep their own variables."""
    yield container_name


def add_to_collection(name, value) -> None:
    """Appends `value` to a collection of the current graph."""
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names, value) -> None:
    """Appends `value` to each of several collections of the current graph."""
    get_default_graph().add_to_collections(names, value)


def get_collection(key, scope: str | None = None) -> list:
    """A copy of a collection; with `scope`, the items whose name matches that prefix."""
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key) -> list:
    """The collection itself: changing the list changes the collection."""
    return get_default_graph().get_collection_ref(key)


# -- initialisation ---------------------------------------------------------------------------


def variables_initializer(var_list: Sequence[Variable], name: str = "init") -> Node:
    """The operation that gives each variable of `var_list` its initial value."""
    return group(*[variable.initializer for variable in var_list], name=name)


def global_variables_initializer() -> Node:
    """The operation that gives all global variables their initial values."""
    return variables_initializer(global_variables())


def local_variables_initializer() -> Node:
    """The operation that gives all local variables their initial values."""
    return variables_initializer(local_variables())


initialize_variables = variables_initializer
initialize_all_variables = global_variables_initializer
initialize_local_variables = local_variables_initializer


# -- the global step --------------------------------------------------------------------------


def get_global_step(graph: Graph | None = None):
    """The graph's global step: the variable of the collection GLOBAL_STEP or named
    "global_step:0"; None where there is none."""
    graph = graph or get_default_graph()
    steps = graph.get_collection(GraphKeys.GLOBAL_STEP)
    if len(steps) > 1:
        raise ValueError("the collection global_step holds more than one variable")
    if not steps:
        variables = graph.get_collection(GraphKeys.GLOBAL_VARIABLES)
        steps = [v for v in variables if v.name == "global_step:0"]
    if not steps:
        return None
    assert_global_step(steps[0])
    return steps[0]


def create_global_step(graph: Graph | None = None) -> Variable:
    """Makes the graph's global step, an int64 variable that starts at 0.

    Raises ValueError where the graph has one.
    """
    graph = graph or get_default_graph()
    if get_global_step(graph) is not None:
        raise ValueError('"global_step" already exists')
    from .variable_store import get_variable

    with graph.as_default(), graph.name_scope(None):
        return get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype=int64,
            initializer=lambda shape, dtype, partition_info=None: 0,
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )


def get_or_create_global_step(graph: Graph | None = None):
    """The graph's global step, made where there is none."""
    graph = graph or get_default_graph()
    step = get_global_step(graph)
    return create_global_step(graph) if step is None else step


def assert_global_step(global_step_tensor) -> None:
    """Raises TypeError or ValueError unless the tensor or variable can count steps."""
    step = global_step_tensor
    if not isinstance(step, (Variable, Tensor)):
        raise TypeError(f"the global step must be a variable or a tensor, got {step!r}")
    if not step.dtype.is_integer:
        raise TypeError(f'existing "global_step" does not have integer type: {step.dtype}')
    if step.dims not in ((), None):
        raise ValueError(f'existing "global_step" is not scalar: {list(step.dims)}')


def global_step(sess, global_step_tensor) -> int:
    """The number of steps so far, read in `sess` (`train.global_step`)."""
    return int(sess.run(global_step_tensor))
