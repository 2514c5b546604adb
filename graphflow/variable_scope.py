"""`get_variable` and `variable_scope`: variables found again by name.

A variable scope has a name, which prefixes the names of its variables, and defaults for them:
whether they are reused, how they are initialised and regularised. It opens a name scope as well,
which only names operations: entering the scope "a" twice gives variables "a/w" both times, and
operations "a/add" and "a_1/add".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

from .dtypes import DType, as_dtype, float32
from .framework import graph_of
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
    "make_template",
    "no_regularizer",
    "variable_op_scope",
    "variable_scope",
]


class _Reuse(Enum):
    AUTO_REUSE = 1

    def __repr__(self) -> str:
        return "graphflow.AUTO_REUSE"


AUTO_REUSE = _Reuse.AUTO_REUSE


def no_regularizer(_) -> None:
    """Given as `regularizer`, keeps a scope's default regularizer away."""
    return


class _Store:
    """The named variables of a graph, its current scope, and how often each scope was opened."""

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
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


_stores: WeakKeyDictionary[Graph, _Store] = WeakKeyDictionary()


def _store() -> _Store:
    return _stores.setdefault(get_default_graph(), _Store())


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
                getter = _with_getter(custom, getter)
        with get_default_graph().name_scope(None):
            return getter(name=full, **arguments)


def _with_getter(custom: Callable, getter: Callable) -> Callable:
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
    variables = _store().variables
    dtype = as_dtype(dtype)
    found = variables.get(name)
    if found is not None:
        if reuse is False or reuse is None:
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
    return _store().scope


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


class variable_scope:  # noqa: N801 - TensorFlow 1's name
    """`with variable_scope("layer") as scope:` prefixes variables made by `get_variable` inside.

    name_or_scope: a name, or a VariableScope, which is entered again as it was.
    default_name: used where name_or_scope is None, made unique with _1, _2, ….
    values: tensors that must belong to one graph.
    reuse: True (variables must exist), AUTO_REUSE (found or made), None or False (the outer
        scope's: reuse is inherited).
    initializer, regularizer, dtype, constraint, custom_getter: defaults inside; the outer
        scope's where None.
    """

    def __init__(
        self,
        name_or_scope,
        default_name: str | None = None,
        values: Iterable | None = None,
        initializer=None,
        regularizer=None,
        caching_device=None,
        partitioner=None,
        custom_getter=None,
        reuse=None,
        dtype=None,
        use_resource=None,
        constraint=None,
        auxiliary_name_scope: bool = True,
    ):
        if default_name is None and name_or_scope is None:
            raise TypeError("variable_scope: name_or_scope or default_name must be given")
        if name_or_scope is not None and not isinstance(name_or_scope, (str, VariableScope)):
            raise TypeError(f"variable_scope takes a name or a scope, got {name_or_scope!r}")
        if partitioner is not None:
            raise ValueError("variable_scope: partitioned variables are not supported")
        if name_or_scope is None and reuse is True:
            raise ValueError("variable_scope: reuse=True cannot be used without a name_or_scope")
        if not isinstance(reuse, (bool, _Reuse, type(None))):
            raise ValueError(
                f"variable_scope: reuse is True, False, None or AUTO_REUSE, got {reuse!r}"
            )
        self._given = name_or_scope
        self._default_name = default_name
        self._values = list(values or ())
        self._reuse = reuse
        self._changes = {
            "initializer": initializer,
            "regularizer": regularizer,
            "custom_getter": custom_getter,
            "constraint": constraint,
            "dtype": None if dtype is None else as_dtype(dtype),
        }
        self._auxiliary_name_scope = auxiliary_name_scope
        self._entered: list[tuple] = []

    def __enter__(self) -> VariableScope:
        stack = ExitStack()
        with stack:
            graph = graph_of(self._values)
            if graph is not get_default_graph():
                stack.enter_context(graph.as_default())
            store = _store()
            outer, opened = store.scope, dict(store.opened)
            name_scope = self._open_name_scope(graph, stack)
            if isinstance(self._given, VariableScope):
                defaults, reuse = self._given, self._reuse or self._given.reuse
                name, original = defaults.name, defaults.original_name_scope
            else:
                defaults, reuse = outer, self._reuse or outer.reuse
                given = self._given
                inner = store.unique_scope(self._default_name or "") if given is None else given
                name = f"{outer.name}/{inner}" if outer.name else inner
                original = name_scope
            store.scope = VariableScope(
                reuse,
                name,
                custom_getter=_chained(defaults.custom_getter, self._changes["custom_getter"]),
                name_scope=original,
                **{
                    key: getattr(defaults, key)
                    if self._changes[key] is None
                    else self._changes[key]
                    for key in ("initializer", "regularizer", "constraint", "dtype")
                },
            )
            store.opened[name] = store.opened.get(name, 0) + 1
            again = isinstance(self._given, VariableScope)
            self._entered.append((stack.pop_all(), store, outer, opened if again else None))
        return store.scope

    def _open_name_scope(self, graph: Graph, stack: ExitStack) -> str:
        if not self._auxiliary_name_scope:
            return graph.current_scope
        if self._given is None:
            label = self._default_name
        elif isinstance(self._given, str):
            label = self._given
        else:
            label = self._given.name.split("/")[-1]
        return stack.enter_context(graph.name_scope(label)) if label else graph.current_scope

    def __exit__(self, *error) -> None:
        stack, store, outer, opened = self._entered.pop()
        store.close_below(store.scope.name)
        if opened is not None:
            store.opened = opened  # re-entering a scope leaves no trace in the numbering
        store.scope = outer
        stack.__exit__(*error)


def _chained(outer, inner):
    """The custom getter that asks `inner` first, which asks `outer`."""
    if inner is None or outer is None:
        return inner or outer

    def both(getter, name, **arguments):
        return inner(_with_getter(outer, getter), name, **arguments)

    return both


def variable_op_scope(values, name_or_scope, default_name=None, **arguments) -> variable_scope:
    """`variable_scope` with the order of arguments of old programs."""
    return variable_scope(name_or_scope, default_name, values, **arguments)


def make_template(name_: str, func_: Callable, create_scope_now_: bool = False, **kwargs):
    """`func_` as a function whose `get_variable` variables are shared by all its calls."""
    scopes: list[VariableScope] = []
    called: list[bool] = []

    def scope() -> VariableScope:
        if not scopes:
            with variable_scope(None, default_name=name_) as made:
                scopes.append(made)
        return scopes[0]

    def template(*args, **more):
        with variable_scope(scope(), reuse=True if called else None):
            result = func_(*args, **{**kwargs, **more})
        called.append(True)
        return result

    template.__name__ = name_
    if create_scope_now_:
        scope()
    return template
