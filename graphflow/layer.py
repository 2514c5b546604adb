"""`Layer`: variables made on first use under a scope of their own, and shared by later uses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .dtypes import DType, as_dtype, float32
from .ir.graph import GraphKeys, get_default_graph
from .ir.node import Tensor
from .ops.convert import convert
from .ops.variables import Variable
from .variable_scope import variable_scope
from .variable_store import VariableScope, get_variable

__all__ = ["Layer"]


class Layer:
    """Base of layers. A subclass gives `build(dims)`, which makes its variables with `add_weight`,
    and `call(inputs, ...)`, the computation.

    name: the variable scope; None for the class's own in snake case, made unique with _1, _2, ….
    dtype: of the variables; the first input's if None.
    trainable: whether the variables join TRAINABLE_VARIABLES.
    activity_regularizer: a function of the outputs that gives a loss.
    """

    def __init__(
        self,
        trainable: bool = True,
        name: str | None = None,
        dtype=None,
        activity_regularizer: Callable | None = None,
        _scope: str | VariableScope | None = None,
        _reuse: Any = None,
    ):
        self.trainable = trainable
        self.built = False
        self.activity_regularizer = activity_regularizer
        self._dtype = None if dtype is None else as_dtype(dtype)
        self._base_name = name or _snake_case(type(self).__name__)
        self._given_scope = _scope if _scope is not None else name
        self._reuse = _reuse
        self._scope: VariableScope | None = None
        self._weights: list[Variable] = []
        self._trained: list[Variable] = []
        self._losses: list[Tensor] = []
        self._updates: list = []

    # -- what it is ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._base_name if self._scope is None else self._scope.name.split("/")[-1]

    @property
    def scope_name(self) -> str:
        if self._scope is None:
            raise ValueError(f"layer {self._base_name} has no scope until it is first called")
        return self._scope.name

    @property
    def dtype(self) -> DType | None:
        return self._dtype

    @property
    def weights(self) -> list[Variable]:
        return list(self._weights)

    @property
    def trainable_weights(self) -> list[Variable]:
        return list(self._trained) if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        trained = self.trainable_weights
        return [v for v in self.weights if v not in trained]

    @property
    def variables(self) -> list[Variable]:
        return self.weights

    @property
    def trainable_variables(self) -> list[Variable]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        return self.non_trainable_weights

    @property
    def losses(self) -> list[Tensor]:
        """The regularisation losses of the variables and of the outputs."""
        return list(self._losses)

    @property
    def updates(self) -> list:
        """Operations that keep statistics up to date; also in UPDATE_OPS."""
        return list(self._updates)

    # -- use ----------------------------------------------------------------------------------

    def build(self, dims) -> None:
        """Makes the variables for inputs of that shape (a tuple of int and Size)."""

    def call(self, inputs: Tensor, *args, **kwargs) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no computation")

    def __call__(self, inputs, *args, **kwargs) -> Tensor:
        inputs = convert(inputs, what=self._base_name)
        if self._dtype is None:
            self._dtype = inputs.dtype if inputs.dtype.is_floating else float32
        with self._entered():
            if not self.built:
                self.build(inputs.dims)
                self.built = True
            outputs = self.call(inputs, *args, **kwargs)
            if self.activity_regularizer is not None:
                loss = self.activity_regularizer(outputs)
                self._losses.append(loss)
                get_default_graph().add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)
        return outputs

    apply = __call__

    @contextmanager
    def _entered(self, scope=None, custom_getter: Callable | None = None) -> Iterator[None]:
        """Inside, names are the layer's: its variables are made until it is built, then found.

        scope: where the layer's own scope is, if this is its first use.
        """
        if self._scope is None:
            self._scope = self._open_scope(self._given_scope if scope is None else scope)
        reuse = True if self.built else self._reuse
        with (
            variable_scope(
                self._scope, reuse=reuse, custom_getter=custom_getter, auxiliary_name_scope=False
            ) as entered,
            get_default_graph().name_scope(entered.original_name_scope),
        ):
            yield

    def _open_scope(self, given: str | VariableScope | None) -> VariableScope:
        if self._reuse:
            opened = variable_scope(given or self._base_name)
        else:
            opened = variable_scope(given, default_name=self._base_name)
        with opened as scope:
            return scope

    def add_weight(
        self,
        name: str,
        shape,
        dtype=None,
        initializer=None,
        regularizer=None,
        trainable: bool = True,
        constraint=None,
    ) -> Variable:
        """A variable of the layer; its regulariser's loss joins REGULARIZATION_LOSSES."""
        graph = get_default_graph()
        before = len(graph.get_collection_ref(GraphKeys.REGULARIZATION_LOSSES))
        variable = get_variable(
            name,
            shape=shape,
            dtype=dtype or self._dtype,
            initializer=initializer,
            regularizer=regularizer,
            trainable=trainable and self.trainable,
            constraint=constraint,
        )
        self._losses += graph.get_collection_ref(GraphKeys.REGULARIZATION_LOSSES)[before:]
        self._remember(variable, trainable)
        return variable

    add_variable = add_weight

    def _remember(self, variable: Variable, trainable: bool) -> None:
        """Counts a variable among the layer's own."""
        if all(variable is not known for known in self._weights):
            self._weights.append(variable)
        if trainable and all(variable is not known for known in self._trained):
            self._trained.append(variable)

    def add_update(self, update) -> None:
        """Adds an operation to UPDATE_OPS, which a training step should depend on."""
        self._updates.append(update)
        get_default_graph().add_to_collection(GraphKeys.UPDATE_OPS, update)


def _snake_case(name: str) -> str:
    """BatchNormalization as batch_normalization, Conv2DTranspose as conv2d_transpose."""
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
