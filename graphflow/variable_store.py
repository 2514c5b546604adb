"""Variables by name: the store of a graph, and the scopes that name what is in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

from .dtypes import DType, as_dtype, float32
from .initializers import GlorotUniform, Zeros, static_shape
from .ir.graph import Graph, GraphKeys, get_default_graph
from .ir.node import Tensor
from .ops.convert import convert
from .ops.variables import Variable

__all__ = [
    "AUTO_REUSE",
    "VariableScope",
    "get_local_variable",
    "get_variable",
    "get_variable_scope",
    "no_regularizer",
]


class Reuse(Enum):
    """The value of `reuse` that finds a variable or makes it."""

    AUTO_REUSE = 1

    def __repr__(self) -> str:
        return "graphflow.AUTO_REUSE"


AUTO_REUSE = Reuse.AUTO_REUSE


def no_regularizer(_) -> None:
    """Given as `regularizer`, keeps a scope's default regularizer away."""
    return


class VariableStore:
    """The named variables of a graph, its current scope, and how often each scope was opened.

    again: names of variables that a definition made which is being made once more: it finds them
    """

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self.again: set[str] = set()
        self.scope = VariableScope(False)
        self.opened: dict[str, int] = {}

    def unique_scope(self, prefix: str) -> str:
        """`prefix` inside the current scope, with _1, _2, … where such a scope was opened."""
        base = self.scope.name
        full = f"{base}/{prefix}" if base else prefix
        if not self.opened.get(full):
            return prefix
        number = 1
        while self.opened.get(f"{full}_{number}"):
            number += 1
        return f"{prefix}_{number}"

    def close_below(self, name: str) -> None:
        for key in self.opened:
            if not name or key.startswith(f"{name}/"):
                self.opened[key] = 0


_stores: WeakKeyDictionary[Graph, VariableStore] = WeakKeyDictionary()


def current_store() -> VariableStore:
    return _stores.setdefault(get_default_graph(), VariableStore())


class Definitions:
    """The definitions of one body, of which the last one counts: scopes have the same names in all
    of them, and variables that `get_variable` made in an earlier one are found in a later one."""

    def __init__(self) -> None:
        self._store = current_store()
        self._opened = dict(self._store.opened)
        self._around = set(self._store.again)
        self._before = self._store.variables.keys() - self._around
        self._count = 0

    def begin(self) -> None:
        """To be called before each of them."""
        self._count += 1
        if self._count > 1:
            self._store.opened = dict(self._opened)
            self._store.again |= self._store.variables.keys() - self._before

    def end(self) -> None:
        """To be called after the last one."""
        self._store.again &= self._around


class VariableScope:
    """What `variable_scope` gives: a name and the defaults of the variables in it."""

    def __init__(
        self,
        reuse,
        name: str = "",
        initializer=None,
        regularizer=None,
        dtype: DType = float32,
        custom_getter=None,
        constraint=None,
        name_scope: str = "",
    ):
        self._reuse = reuse
        self._name = name
        self._initializer = initializer
        self._regularizer = regularizer
        self._dtype = dtype
        self._custom_getter = custom_getter
        self._constraint = constraint
        self._name_scope = name_scope

    @property
    def name(self) -> str:
        return self._name

    @property
    def original_name_scope(self) -> str:
        """The name scope that was opened when the variable scope was made."""
        return self._name_scope

    @property
    def reuse(self):
        return self._reuse

    @property
    def initializer(self):
        return self._initializer

    @property
    def regularizer(self):
        return self._regularizer

    @property
    def dtype(self) -> DType:
        return self._dtype

    @property
    def constraint(self):
        return self._constraint

    @property
    def custom_getter(self):
        return self._custom_getter

    def reuse_variables(self) -> None:
        """From here on `get_variable` finds variables and makes none."""
        self._reuse = True

    def set_initializer(self, initializer) -> None:
        self._initializer = initializer

    def set_regularizer(self, regularizer) -> None:
        self._regularizer = regularizer

    def set_dtype(self, dtype) -> None:
        self._dtype = as_dtype(dtype)

    def set_custom_getter(self, custom_getter) -> None:
        self._custom_getter = custom_getter

    def get_collection(self, name) -> list:
        """The items of a collection whose names are in this scope."""
        prefix = f"{self._name}/" if self._name else None
        return get_default_graph().get_collection(name, prefix)

    def global_variables(self) -> list[Variable]:
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def local_variables(self) -> list[Variable]:
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)

    def trainable_variables(self) -> list[Variable]:
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def get_variable(
        self,
        name: str,
        shape=None,
        dtype=None,
        initializer=None,
        regularizer=None,
        reuse=None,
        trainable=None,
        collections=None,
        constraint=None,
        custom_getter=None,
    ) -> Variable:
        """The variable `name` of this scope; see `graphflow.get_variable`."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"get_variable: the name must be a non-empty string, got {name!r}")
        arguments = {
            "shape": shape,
            "dtype": dtype,
            "initializer": self._initializer if initializer is None else initializer,
            "regularizer": self._regularizer if regularizer is None else regularizer,
            "reuse": self._reuse if reuse is None else reuse,
            "trainable": trainable,
            "collections": collections,
            "constraint": self._constraint if constraint is None else constraint,
        }
        full = f"{self._name}/{name}" if self._name else name
        if dtype is not None and initializer is not None and not callable(initializer):
            given = convert(initializer).dtype
            if given is not as_dtype(dtype):
                raise ValueError(
                    f"variable {full}: the initializer is {given} and the dtype asked for "
                    f"{as_dtype(dtype)}"
                )
        if dtype is None:
            arguments["dtype"] = self._dtype
        getter: Callable[..., Variable] = _get_variable
        for custom in (self._custom_getter, custom_getter):
            if custom is not None:
                getter = with_getter(custom, getter)
        with get_default_graph().name_scope(None):
            return getter(name=full, **arguments)


def with_getter(custom: Callable, getter: Callable) -> Callable:
    def wrapped(name, **arguments):
        return custom(getter, name, **arguments)

    return wrapped


def _get_variable(
    name: str,
    shape=None,
    dtype=float32,
    initializer=None,
    regularizer=None,
    reuse=None,
    trainable=None,
    collections=None,
    constraint=None,
    **ignored,
) -> Variable:
    """The variable of that full name: found or made, as `reuse` says."""
    store = current_store()
    variables = store.variables
    dtype = as_dtype(dtype)
    found = variables.get(name)
    if found is not None:
        if name in store.again:
            store.again.discard(name)
        elif reuse is False or reuse is None:
            raise ValueError(
                f"variable {name} already exists, disallowed. Did you mean to set reuse=True or "
                "reuse=graphflow.AUTO_REUSE in variable_scope? Originally defined at "
                f"{found.handle.location}"
            )
        if shape is not None and static_shape(shape) != found.dims:
            raise ValueError(
                f"trying to share variable {name}, but specified shape "
                f"{list(static_shape(shape))} and found shape {list(found.dims)}"
            )
        if dtype is not found.dtype:
            raise ValueError(
                f"trying to share variable {name}, but specified dtype {dtype} and found "
                f"dtype {found.dtype}"
            )
        return found
    if reuse is True:
        raise ValueError(
            f"variable {name} does not exist, or was not created with get_variable(). Did you "
            "mean to set reuse=graphflow.AUTO_REUSE in variable_scope?"
        )
    initial, dtype = _initial_value(name, shape, dtype, initializer)
    variable = Variable(
        initial,
        trainable=trainable,
        collections=collections,
        name=name,
        dtype=dtype,
        expected_shape=None if shape is None else static_shape(shape),
        constraint=constraint,
    )
    variables[name] = variable
    if regularizer:
        graph = get_default_graph()
        with graph.control_dependencies(None), graph.name_scope(f"{name}/Regularizer/"):
            loss = regularizer(variable.value())
        if loss is not None:
            graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)
    return variable


def _initial_value(name: str, shape, dtype: DType, initializer):
    """What the variable is made from, and the dtype it is converted to (None: its own)."""
    if initializer is None:
        if shape is None:
            raise ValueError(f"variable {name} did not get an initializer, so its shape is needed")
        initializer = GlorotUniform() if dtype.is_floating else Zeros()
    if not callable(initializer) or isinstance(initializer, (Tensor, Variable)):
        if shape is not None:
            raise ValueError(
                f"variable {name}: the initializer is a constant, so do not specify shape"
            )
        own = isinstance(initializer, (Tensor, Variable))
        return initializer, None if own else dtype
    if inspect.isclass(initializer):
        initializer = initializer()
    if shape is None:
        return _without_shape(name, initializer), None
    dims = static_shape(shape, f"variable {name}: the shape of a new variable must be known")
    arguments: dict[str, Any] = {"dtype": dtype}
    try:
        if "partition_info" in inspect.signature(initializer).parameters:
            arguments["partition_info"] = None
    except (TypeError, ValueError):
        pass  # a callable written in C has no signature
    return (lambda: initializer(list(dims), **arguments)), dtype


def _without_shape(name: str, initializer: Callable) -> Callable:
    needed = [
        p
        for p in inspect.signature(initializer).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if needed:
        raise ValueError(
            f"variable {name}: its initializer needs a shape, so get_variable must be given one"
        )
    return initializer


def get_variable_scope() -> VariableScope:
    """The variable scope that is open here."""
    return current_store().scope


def get_variable(
    name,
    shape=None,
    dtype=None,
    initializer=None,
    regularizer=None,
    trainable=None,
    collections=None,
    caching_device=None,
    partitioner=None,
    validate_shape=True,
    use_resource=None,
    custom_getter=None,
    constraint=None,
    synchronization=None,
    aggregation=None,
) -> Variable:
    """The variable `name` of the current variable scope: made, or found where the scope reuses.

    shape: integers; needed unless the initializer is a value.
    dtype: the scope's (float32 unless set) if None.
    initializer: a value, an initializer such as `zeros_initializer()`, or a function
        (shape, dtype) -> tensor. Glorot's uniform one if None, zeros for integers and bool.
    regularizer: a function of the variable's value whose result joins REGULARIZATION_LOSSES.

    Raises ValueError where the variable exists and the scope does not reuse, or the other way
    round, or where a reused variable has another shape or dtype. A partitioner is refused:
    variables are stored whole. `caching_device`, `validate_shape`, `use_resource`,
    `synchronization` and `aggregation` change nothing.
    """
    if partitioner is not None:
        raise ValueError(f"variable {name}: partitioned variables are not supported")
    return get_variable_scope().get_variable(
        name,
        shape=shape,
        dtype=dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=trainable,
        collections=collections,
        constraint=constraint,
        custom_getter=custom_getter,
    )


def get_local_variable(name, shape=None, dtype=None, initializer=None, **arguments) -> Variable:
    """`get_variable` for a variable of the collection LOCAL_VARIABLES that is not trained."""
    collections = list(arguments.pop("collections", None) or ())
    arguments.pop("trainable", None)
    return get_variable(
        name,
        shape,
        dtype,
        initializer,
        trainable=False,
        collections=[*collections, GraphKeys.LOCAL_VARIABLES],
        **arguments,
    )
