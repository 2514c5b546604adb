"""`Variable`: what a program holds of a variable, and the functions about sets of variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype
from ..ir.graph import Graph, GraphKeys, get_default_graph, user_location
from ..ir.node import Attrs, Node, Tensor, topological
from ..ir.types import is_static
from ..ir.variable import VariableHandle
from . import state
from .convert import convert

__all__ = [
    "Variable",
    "all_variables",
    "global_variables",
    "is_variable_initialized",
    "local_variables",
    "model_variables",
    "moving_average_variables",
    "report_uninitialized_variables",
    "trainable_variables",
]


class Variable:
    """A tensor that a session keeps from run to run; TensorFlow 1's resource variable.

    Variable(initial_value, trainable=True, collections=None, name=None, dtype=None, ...)

    initial_value: a tensor, an array, a number or a nest of numbers, or a callable without
        arguments that gives one. Its shape has to be known: it is the variable's.
    trainable: also adds the variable to the collection TRAINABLE_VARIABLES.
    collections: names of the collections it joins; [GLOBAL_VARIABLES] if None.
    name: "w" makes `w.name` "w:0"; "Variable" if None.
    dtype: what the initial value is converted to.
    expected_shape, shape: checked against the initial value's.
    constraint: a function of the value that optimizers apply after each update.

    Every use in an expression is a read at that point: it happens after the control dependencies
    that are open there. `==` is identity. `validate_shape`, `caching_device` and `use_resource`
    are accepted and change nothing.

    Raises ValueError where the initial value is missing or its shape is not known.
    """

    __array_priority__ = 100  # NumPy arrays on the left defer to our operators

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        collections: Iterable | None = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        dtype: Any = None,
        expected_shape: Any = None,
        constraint: Callable | None = None,
        use_resource: bool | None = None,
        shape: Any = None,
    ):
        if initial_value is None:
            raise ValueError(f"variable {name or 'Variable'}: initial_value must be specified")
        if isinstance(collections, str) or (
            collections is not None and not isinstance(collections, Iterable)
        ):
            raise ValueError(
                f"variable {name or 'Variable'}: collections must be a list of names, "
                f"got {collections!r}"
            )
        if constraint is not None and not callable(constraint):
            raise ValueError(f"variable {name or 'Variable'}: constraint must be callable")
        self._trainable = True if trainable is None else bool(trainable)
        self._constraint = constraint
        wanted = None if dtype is None else as_dtype(dtype)
        graph = get_default_graph()
        with graph.inside(None), graph.name_scope(name or "Variable") as scope:
            self._scope = scope
            initial = _initial_tensor(initial_value, wanted)
            if not is_static(initial.dims):
                raise ValueError(
                    f"variable {scope[:-1]}: its initial value is {initial.tensor_type}, but a "
                    "variable's shape must be known when it is defined"
                )
            for given in (expected_shape, shape):
                _check_shape(scope[:-1], given, initial.dims)
            self.handle = VariableHandle(scope[:-1], initial.dtype, initial.dims, user_location())
            self._element = state.variable_read(variable=self.handle, name=scope)
            self._initial_value = _with_initial_values(graph, initial)
            self._initializer = state.assign_op(
                self._initial_value, variable=self.handle, name="Assign"
            ).node
        graph.variables[self.handle] = self
        names = [GraphKeys.GLOBAL_VARIABLES] if collections is None else list(collections)
        if self._trainable and GraphKeys.TRAINABLE_VARIABLES not in names:
            names.append(GraphKeys.TRAINABLE_VARIABLES)
        graph.add_to_collections(names, self)

    @classmethod
    def restored(
        cls,
        handle: VariableHandle,
        element: Tensor,
        initial_value: Tensor,
        initializer: Node,
        trainable: bool,
        constraint: Callable | None,
    ) -> Variable:
        """A variable whose operations exist already (read from a file); it joins no collection."""
        made = cls.__new__(cls)
        made.handle = handle
        made._scope = f"{handle.name}/"
        made._element = element
        made._initial_value = initial_value
        made._initializer = initializer
        made._trainable = trainable
        made._constraint = constraint
        return made

    # -- what it is ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"{self.handle.name}:0"

    @property
    def dtype(self) -> DType:
        return self.handle.dtype

    @property
    def shape(self):
        return self._element.shape

    def get_shape(self):
        return self._element.shape

    @property
    def dims(self):
        """The shape as a tuple of integers."""
        return self.handle.shape

    @property
    def graph(self) -> Graph:
        return self._element.graph

    @property
    def op(self) -> Node:
        """The operation that carries the variable's name; running it only reads."""
        return self._element.node

    @property
    def device(self) -> str:
        return ""

    @property
    def trainable(self) -> bool:
        return self._trainable

    @property
    def constraint(self) -> Callable | None:
        return self._constraint

    @property
    def initializer(self) -> Node:
        """The operation that assigns the initial value."""
        return self._initializer

    @property
    def initial_value(self) -> Tensor:
        return self._initial_value

    def initialized_value(self) -> Tensor:
        """The value to build other variables' initial values from: this one's initial value.

        Within one run of both initializers the two agree, random values included.
        """
        return self._initial_value

    # -- reading ------------------------------------------------------------------------------

    def value(self) -> Tensor:
        """A new read at this point, after the control dependencies that are open here.

        In the body of a loop or a branch, a variable that the body has not written is read once,
        before it.
        """
        graph = self.graph
        home = graph.body_that_reads(self.handle)
        elsewhere = graph.inside(home) if home is not graph.body else nullcontext()
        with elsewhere, graph.name_scope(self._scope):
            return state.variable_read(variable=self.handle, name="read")

    read_value = value

    def eval(self, session=None):
        """The value as an array, in `session` or the default session."""
        return self._element.eval(session=session)

    def _as_tensor(self, dtype=None) -> Tensor:
        return self.value()

    def _as_graph_element(self) -> Tensor:
        return self._element

    def __getitem__(self, key):
        return self.value()[key]

    def __iter__(self):
        raise TypeError(f"{self!r} cannot be iterated over")

    def __bool__(self):
        raise TypeError(
            f"{self!r} has no truth value while the graph is being defined; "
            "use `is None` to test for None"
        )

    # -- writing ------------------------------------------------------------------------------

    def assign(self, value, use_locking=False, name=None, read_value=True):
        """Sets the variable; gives its new value, or the operation if `read_value` is False."""
        return _result(state.assign(self, value, name=name), read_value)

    def assign_add(self, delta, use_locking=False, name=None, read_value=True):
        """Adds `delta`; gives the new value, or the operation if `read_value` is False."""
        return _result(state.assign_add(self, delta, name=name), read_value)

    def assign_sub(self, delta, use_locking=False, name=None, read_value=True):
        """Subtracts `delta`; gives the new value, or the operation if `read_value` is False."""
        return _result(state.assign_sub(self, delta, name=name), read_value)

    def scatter_update(self, sparse_delta, use_locking=False, name=None):
        """Sets the rows of an IndexedSlices; gives the new value."""
        indices, values = _rows(sparse_delta)
        return state.scatter_update(self, indices, values, name=name)

    def scatter_add(self, sparse_delta, use_locking=False, name=None):
        """Adds the rows of an IndexedSlices; gives the new value."""
        indices, values = _rows(sparse_delta)
        return state.scatter_add(self, indices, values, name=name)

    def scatter_sub(self, sparse_delta, use_locking=False, name=None):
        """Subtracts the rows of an IndexedSlices; gives the new value."""
        indices, values = _rows(sparse_delta)
        return state.scatter_sub(self, indices, values, name=name)

    def load(self, value, session=None) -> None:
        """Sets the variable in `session` or the default session, adding nothing to the graph.

        Raises ValueError where the value does not have the variable's shape.
        """
        array = np.asarray(value, dtype=self.dtype.numpy)
        if array.shape != self.handle.shape:
            raise ValueError(
                f"variable {self.handle.name} is {self.handle.tensor_type}, the value to load has "
                f"shape {list(array.shape)}"
            )
        self.graph.session_for(self, session).load_variable(self.handle, array)

    def __repr__(self) -> str:
        return f"<variable {self.name!r} {self.handle.tensor_type}>"


def _delegate(name: str) -> None:
    def method(self, *args):
        return getattr(self.value(), name)(*args)

    method.__name__ = name
    setattr(Variable, name, method)


# Arithmetic on a variable is arithmetic on a read of it, as on any tensor (== stays identity).
for _name in (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"),
    *("lshift", "rshift"),
):
    _delegate(f"__{_name}__")
    _delegate(f"__r{_name}__")
for _name in ("neg", "pos", "abs", "invert", "lt", "le", "gt", "ge"):
    _delegate(f"__{_name}__")


def _initial_tensor(initial_value, dtype: DType | None) -> Tensor:
    if not callable(initial_value) or isinstance(initial_value, (Tensor, Variable)):
        return convert(initial_value, dtype, name="initial_value")
    with get_default_graph().name_scope("Initializer"):
        return convert(initial_value(), dtype, name="initial_value")


def _check_shape(name: str, given, dims: tuple[int, ...]) -> None:
    if given is None:
        return
    wanted = given._as_dims() if hasattr(given, "_as_dims") else given
    if wanted is None:
        return
    wanted = [wanted] if isinstance(wanted, int) else list(wanted)
    wanted = [getattr(dim, "value", dim) for dim in wanted]
    if len(wanted) != len(dims) or any(
        w is not None and w != d for w, d in zip(wanted, dims, strict=True)
    ):
        raise ValueError(
            f"variable {name}: its initial value has shape {list(dims)}, expected {wanted}"
        )


def _with_initial_values(graph: Graph, tensor: Tensor) -> Tensor:
    """`tensor` with every variable it reads replaced by that variable's initial value.

    So that `Variable(w * 2)` can be initialised in the same run as `w`, as in TensorFlow 1.
    """
    replaced: dict[Tensor, Tensor] = {}
    for node in topological([tensor.node]):
        if node.op is state.variable_read and node.attrs.variable in graph.variables:
            replaced[node.outputs[0]] = graph.variables[node.attrs.variable].initial_value
        elif any(t in replaced for t in node.inputs) and not node.op.serial:
            inputs = tuple(replaced.get(t, t) for t in node.inputs)
            copy = graph.create(
                node.op, inputs, Attrs(node.attrs), node.regions, "initial_value", node.controls
            )
            replaced.update(zip(node.outputs, copy.outputs, strict=True))
    return replaced.get(tensor, tensor)


def _rows(sparse) -> Sequence:
    if not (hasattr(sparse, "indices") and hasattr(sparse, "values")):
        raise TypeError(f"{sparse!r} is not an IndexedSlices")
    return sparse.indices, sparse.values


def _result(tensor: Tensor, read_value: bool):
    return tensor if read_value else tensor.node


# -- sets of variables ------------------------------------------------------------------------


def global_variables(scope: str | None = None) -> list[Variable]:
    """The variables that are saved and shared: the collection GLOBAL_VARIABLES."""
    return get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


all_variables = global_variables


def local_variables(scope: str | None = None) -> list[Variable]:
    """The variables of the collection LOCAL_VARIABLES (counters of metrics and the like)."""
    return get_default_graph().get_collection(GraphKeys.LOCAL_VARIABLES, scope)


def model_variables(scope: str | None = None) -> list[Variable]:
    """The variables of the collection MODEL_VARIABLES."""
    return get_default_graph().get_collection(GraphKeys.MODEL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Variable]:
    """The variables that optimizers train by default: the collection TRAINABLE_VARIABLES."""
    return get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Variable]:
    """The variables that have moving averages: the collection MOVING_AVERAGE_VARIABLES."""
    return get_default_graph().get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)


class SessionQuery:
    """Something to fetch that only the session knows; `_session_value(session)` answers it.

    It is asked before the step of the same run.
    """

    def __init__(self, name: str, graph: Graph, ask: Callable[[Any], Any]):
        self.name = name
        self.graph = graph
        self._session_value = ask

    def eval(self, session=None):
        return self._session_value(self.graph.session_for(self, session))

    def __repr__(self) -> str:
        return f"<session query {self.name!r}>"


def is_variable_initialized(variable: Variable) -> SessionQuery:
    """To be fetched: whether the session has a value for `variable` yet (a NumPy bool)."""
    handle = variable.handle
    return SessionQuery(
        f"{handle.name}/is_initialized",
        variable.graph,
        lambda session: np.bool_(session.is_initialized(handle)),
    )


def report_uninitialized_variables(
    var_list: Sequence[Variable] | None = None, name: str = "report_uninitialized_variables"
) -> SessionQuery:
    """To be fetched: the names of variables without a value, as an array of strings.

    var_list: what to look at; all global and local variables if None.
    """
    graph = get_default_graph()
    if var_list is None:
        var_list = [*global_variables(), *local_variables()]
    handles = [v.handle for v in var_list]

    def ask(session):
        return np.array([h.name for h in handles if not session.is_initialized(h)], dtype=object)

    return SessionQuery(name, graph, ask)
