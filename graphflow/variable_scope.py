"""`variable_scope`: what `get_variable` names its variables after.

A variable scope has a name, which prefixes the names of its variables, and defaults for them:
whether they are reused, how they are initialised and regularised. It opens a name scope as well,
which only names operations: entering the scope "a" twice gives variables "a/w" both times, and
operations "a/add" and "a_1/add".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from .dtypes import as_dtype
from .framework import graph_of
from .ir.graph import Graph, get_default_graph
from .variable_store import Reuse, VariableScope, current_store, with_getter

__all__ = ["make_template", "variable_op_scope", "variable_scope"]


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
        if not isinstance(reuse, (bool, Reuse, type(None))):
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
            store = current_store()
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
        return inner(with_getter(outer, getter), name, **arguments)

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
