"""`RNNCell`: what all cells have in common, and what is asked of any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...dtypes import DType, as_dtype, float32
from ...framework import name_scope
from ...ir.graph import GraphKeys, get_default_graph
from ...ir.node import Tensor
from ...layer import Layer
from ...nest import flatten, is_nested, map_structure, structure_text
from ...ops import activation as activations
from ...ops import math as functions
from ...ops.convert import as_size, as_sizes, convert, reject
from ...ops.creation import zeros
from ...ops.variables import Variable
from ...sizes import Dim, Shape

__all__ = ["RNNCell"]


class RNNCell(Layer):
    """One step of a recurrence: `output, new_state = cell(inputs, state)`.

    A subclass gives `state_size` and `output_size` (an int, a TensorShape, or a nest of those: the
    shapes without the batch), `build(dims)`, which makes variables for inputs of that shape (for a
    nest of inputs, a nest of TensorShapes), and `call(inputs, state)`. Variables are made by the
    first use, in a variable scope named after the class (or `name`), and shared by all later ones;
    those that `call` gets by `get_variable` too.

    Called with inputs [batch, depth] and a state as `zero_state` gives it. `scope`: the name or
    variable scope that the variables are in, instead of the cell's own, if this is its first use.
    """

    @property
    def state_size(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no state_size")

    @property
    def output_size(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no output_size")

    def call(self, inputs, state) -> Any:  # type: ignore[override]
        raise NotImplementedError(f"{type(self).__name__} has no computation")

    def __call__(self, inputs, state, scope=None) -> Any:  # type: ignore[override]
        inputs = map_structure(lambda x: convert(x, what=self._base_name), inputs)
        single = isinstance(inputs, Tensor)
        dims = inputs.dims if single else map_structure(lambda x: x.shape, inputs)
        with self._used(dims, flatten(inputs)[0].dtype, scope):
            return self.call(inputs, state)

    def project_inputs(self, inputs, scope=None) -> Any:
        """What steps need of inputs [..., depth], and of nothing else, for any number of steps at
        once, so that one contraction serves all of them.

        Gives a nest of tensors [..., n], whose parts for one step `advance` takes in the place of
        the inputs; None where this cell's steps have no such part.
        """
        return None

    def advance(self, projected, state, scope=None) -> Any:
        """(output, new state) of one step, from the part of `project_inputs` that is its own."""
        raise NotImplementedError(f"{type(self).__name__} does not project its inputs")

    @contextmanager
    def _used(self, dims: Any, dtype: DType, scope=None) -> Iterator[None]:
        """Inside, the cell has its variables, for inputs of that shape and dtype if it is new."""
        if self._dtype is None:
            self._dtype = dtype if dtype.is_floating else float32
        with self._entered(scope, custom_getter=self._counted):
            if not self.built:
                self.build(dims)
                self.built = True
            yield

    def _counted(self, getter: Callable, name: str, **arguments) -> Variable:
        variable = getter(name, **arguments)
        trained = get_default_graph().get_collection_ref(GraphKeys.TRAINABLE_VARIABLES)
        self._remember(variable, any(variable is other for other in trained))
        return variable

    def zero_state(self, batch_size, dtype) -> Any:
        """A state of zeros for `batch_size` (a number, a dimension or an int tensor) sequences."""
        with name_scope(None, f"{type(self).__name__}ZeroState"):
            return zero_state(self.state_size, batch_size, dtype, type(self).__name__)

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None) -> Any:
        """`zero_state` for the batch of `inputs` [batch, ...] and their dtype, or as given."""
        if inputs is not None:
            inputs = convert(flatten(inputs)[0], what=type(self).__name__)
            batch_size = inputs.dims[0] if batch_size is None else batch_size
            dtype = inputs.dtype if dtype is None else dtype
        if batch_size is None or dtype is None:
            raise ValueError(
                f"{type(self).__name__}.get_initial_state: give inputs, or batch_size and dtype"
            )
        return self.zero_state(batch_size, dtype)


def zero_state(state_size: Any, batch_size, dtype, what: str) -> Any:
    """Zeros [batch_size, *size] for every size of a nest."""
    batch = as_size(batch_size, f"{what}.zero_state: batch_size")
    if isinstance(batch, int) and batch < 0:
        reject(what, f"batch_size must not be negative, got {batch}")
    wanted = as_dtype(dtype)
    return map_structure(lambda size: zeros([batch, *as_sizes(size, what)], wanted), state_size)


def require_cell(cell: Any, what: str, argument: str = "cell") -> None:
    """Raises TypeError unless `cell` can be stepped: any object with a cell's methods is one."""
    missing = [
        name for name in ("output_size", "state_size", "zero_state") if not hasattr(cell, name)
    ]
    if missing or not callable(cell):
        lacks = ", ".join(missing) or "__call__"
        raise TypeError(f"{what}: {argument} must be an RNNCell, but {cell!r} lacks {lacks}")


def projected_by(cell: Any, inputs: Any, scope=None) -> Any:
    """The cell's `project_inputs` of the inputs; None where it is a cell without that method."""
    project = getattr(cell, "project_inputs", None)
    return None if project is None else project(inputs, scope)


def require_size(what: str, argument: str, value: Any) -> int:
    """`value`, which must be a positive whole number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        reject(what, f"{argument} must be a positive integer, got {value!r}")
    if value <= 0:
        reject(what, f"{argument} must be a positive integer, got {value!r}")
    return int(value)


def require_inputs(what: str, dims: Shape | None, text: str = "the inputs") -> int:
    """The depth of inputs [batch, depth], which must be known."""
    if not isinstance(dims, tuple) or len(dims) != 2 or not isinstance(dims[1], int):
        reject(what, f"{text} must be [batch, depth] with a known depth, got {_shown(dims)}")
    return dims[1]


def require_state(what: str, state: Any, state_size: Any, inputs: Tensor) -> list[Tensor]:
    """The tensors of a state, of the inputs' dtype; raises where it is not of `state_size`.

    The containers need not be of the types that `state_size` has: a pair is an LSTMStateTuple.
    """
    parts, sizes = flatten(state), flatten(state_size)
    if len(parts) != len(sizes) or is_nested(state) != is_nested(state_size):
        reject(
            what,
            f"the state must be of the structure {structure_text(state_size)} of state_size, "
            f"got {structure_text(state)}",
        )
    tensors = [convert(part, inputs.dtype, what=f"{what}: the state") for part in parts]
    for tensor, size in zip(tensors, sizes, strict=True):
        wanted: tuple[Dim, ...] = (inputs.dims[0], *as_sizes(size, what))
        dims = tensor.dims
        if dims is None or len(dims) != len(wanted) or any(map(_differ, dims, wanted)):
            reject(
                what,
                f"the state {tensor.name} is {tensor.tensor_type}; beside inputs "
                f"{inputs.tensor_type} it must be {_shown(wanted)}",
            )
    return tensors


def _differ(a: Dim, b: Dim) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


def _shown(dims: Any) -> str:
    if not isinstance(dims, tuple):
        return "an unknown shape" if dims is None else structure_text(dims)
    return f"[{','.join(str(dim) for dim in dims)}]"


def as_activation(given: Any, what: str) -> Callable[[Tensor], Tensor]:
    """A function of a tensor: as given, or tanh for None, or of that name ("relu")."""
    if given is None:
        return functions.tanh
    if callable(given):
        return given
    if isinstance(given, str):
        for module in (activations, functions):
            if given in module.__all__:
                return getattr(module, given)
    raise ValueError(f"{what}: activation must be a function of a tensor, got {given!r}")
