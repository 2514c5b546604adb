"""State: the operations that read and write variables.

They exist only in a user's graph. Cutting a run replaces each of them by its `update`, which is
pure, and threads the variable's value from one to the next:

    w.assign_add(d)      -->      w' = add(w, d)          the value of w after the run is w'

Every write gives the variable's value after it, as in TensorFlow 1.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import int32, int64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import STATE, Op, define, find
from ..ir.types import SizeRules, TensorType, same_shape
from ..ir.variable import VariableHandle
from .convert import convert
from .index_check import checked

__all__ = [
    "assign",
    "assign_add",
    "assign_sub",
    "scatter_add",
    "scatter_div",
    "scatter_max",
    "scatter_min",
    "scatter_mul",
    "scatter_sub",
    "scatter_update",
]


def _infer_read(types, attrs, sizes):
    return [attrs["variable"].tensor_type]


def _update_read(previous, inputs, node):
    return previous, (previous,)


variable_read = define(Op(name="variable_read", kind=STATE, infer=_infer_read, update=_update_read))


def _infer_write(types, attrs, sizes):
    """The value has the variable's dtype and shape; one of unknown rank may turn out to."""
    variable: VariableHandle = attrs["variable"]
    (value,) = types
    wrong = f"variable {variable.name} is {variable.tensor_type}, the value {value}"
    if value.dtype is not variable.dtype:
        raise TypeRuleError(f"{wrong}; cast the value to {variable.dtype}")
    if value.shape is not None:
        same_shape(variable.shape, value.shape, sizes, f"{wrong}; the shapes must be equal")
    return [variable.tensor_type]


def _in_shape(value: Tensor, variable: VariableHandle) -> Tensor:
    """`value` typed with the variable's own sizes, where it came with symbolic ones.

    Its type is checked again: the rank may have been unknown when the operation was defined.
    """
    if value.dims == variable.shape:
        return value
    _infer_write([value.tensor_type], {"variable": variable}, SizeRules())
    return find("reshape")(value, shape=variable.shape)


def _update_assign(previous, inputs, node):
    value = _in_shape(inputs[0], node.attrs["variable"])
    return value, (value,)


def _update_with(arithmetic: str):
    def update(previous, inputs, node):
        delta = _in_shape(inputs[0], node.attrs["variable"])
        value = find(arithmetic)(previous, delta)
        return value, (value,)

    return update


def _vjp_assign(node: Node, gradients):
    return [gradients[0]]  # the result is the value assigned


assign_op = define(
    Op(
        name="assign",
        kind=STATE,
        infer=_infer_write,
        update=_update_assign,
        vjp=_vjp_assign,
        serial=True,
        any_rank=True,
    )
)
assign_add_op = define(
    Op(
        name="assign_add",
        kind=STATE,
        infer=_infer_write,
        update=_update_with("add"),
        serial=True,
        any_rank=True,
    )
)
assign_sub_op = define(
    Op(
        name="assign_sub",
        kind=STATE,
        infer=_infer_write,
        update=_update_with("sub"),
        serial=True,
        any_rank=True,
    )
)


def _infer_scatter(types, attrs, sizes):
    """Rows `indices` (int32 or int64, any shape) of the variable meet `updates`, of shape
    indices.shape + variable.shape[1:], or a scalar for all of them."""
    variable: VariableHandle = attrs["variable"]
    indices, updates = types
    if not variable.shape:
        raise TypeRuleError(f"variable {variable.name} is a scalar and has no rows")
    if indices.dtype not in (int32, int64):
        raise TypeRuleError(f"the indices are {indices.dtype}; they must be int32 or int64")
    if updates.dtype is not variable.dtype:
        raise TypeRuleError(
            f"variable {variable.name} is {variable.dtype}, the updates {updates.dtype}; "
            f"cast the updates to {variable.dtype}"
        )
    if updates.shape:
        shape = (*indices.shape, *variable.shape[1:])
        wanted = TensorType(variable.dtype, shape)
        same_shape(shape, updates.shape, sizes, f"the updates are {updates}; they must be {wanted}")
    return [variable.tensor_type]


def _update_scatter(mode: str):
    def update(previous, inputs, node):
        indices, updates = inputs
        indices = checked(indices, previous.dims[0], node.op.name)
        if not updates.dims and (indices.dims or len(previous.dims) > 1):
            updates = find("broadcast_to")(updates, shape=(*indices.dims, *previous.dims[1:]))
        value = find("scatter")(previous, indices, updates, mode=mode)
        return value, (value,)

    return update


def _define_scatter(name: str, mode: str) -> Op:
    return define(
        Op(
            name=name,
            kind=STATE,
            infer=_infer_scatter,
            update=_update_scatter(mode),
            serial=True,
            fallible=True,  # an index may be out of range
        )
    )


scatter_ops = {
    "update": _define_scatter("scatter_update", "set"),
    "add": _define_scatter("scatter_add", "add"),
    "sub": _define_scatter("scatter_sub", "sub"),
    "mul": _define_scatter("scatter_mul", "mul"),
    "max": _define_scatter("scatter_max", "max"),
    "min": _define_scatter("scatter_min", "min"),
}


def handle_of(ref: Any, what: str) -> VariableHandle:
    """The handle of a Variable (or a handle itself); TypeError for anything else."""
    handle = ref if isinstance(ref, VariableHandle) else getattr(ref, "handle", None)
    if not isinstance(handle, VariableHandle):
        raise TypeError(f"{what}: {ref!r} is not a variable, so it cannot be written")
    return handle


def _write(op: Op, ref, value, name: str | None) -> Tensor:
    handle = handle_of(ref, op.name)
    return op(convert(value, handle.dtype), variable=handle, name=name)


def assign(ref, value, validate_shape=None, use_locking=None, name=None) -> Tensor:
    """Sets variable `ref` to `value`, of the same dtype and shape; gives the new value.

    `use_locking` changes nothing: every run is a transaction.
    """
    return _write(assign_op, ref, value, name)


def assign_add(ref, value, use_locking=None, name=None) -> Tensor:
    """Adds `value`, of the same dtype and shape, to variable `ref`; gives the new value."""
    return _write(assign_add_op, ref, value, name)


def assign_sub(ref, value, use_locking=None, name=None) -> Tensor:
    """Subtracts `value`, of the same dtype and shape, from variable `ref`; gives the new value."""
    return _write(assign_sub_op, ref, value, name)


def _scatter(kind: str, ref, indices, updates, name: str | None) -> Tensor:
    handle = handle_of(ref, f"scatter_{kind}")
    rows = convert(indices)
    return scatter_ops[kind](rows, convert(updates, handle.dtype), variable=handle, name=name)


def scatter_update(ref, indices, updates, use_locking=True, name=None) -> Tensor:
    """Sets rows `indices` of variable `ref` to `updates`; gives the variable's new value.

    indices: int32 or int64, any shape; a negative or too large one is an error of the run.
    updates: of shape indices.shape + ref.shape[1:], or a scalar. Of the updates of one row that
        occurs more than once, the last stays.
    """
    return _scatter("update", ref, indices, updates, name)


def scatter_add(ref, indices, updates, use_locking=False, name=None) -> Tensor:
    """Adds `updates` to rows `indices` of variable `ref`; repeated rows add up."""
    return _scatter("add", ref, indices, updates, name)


def scatter_sub(ref, indices, updates, use_locking=False, name=None) -> Tensor:
    """Subtracts `updates` from rows `indices` of variable `ref`; repeated rows add up."""
    return _scatter("sub", ref, indices, updates, name)


def scatter_mul(ref, indices, updates, use_locking=False, name=None) -> Tensor:
    """Multiplies rows `indices` of variable `ref` by `updates`; repeated rows multiply."""
    return _scatter("mul", ref, indices, updates, name)


def scatter_div(ref, indices, updates, use_locking=False, name=None) -> Tensor:
    """Divides rows `indices` of floating-point variable `ref` by `updates`."""
    handle = handle_of(ref, "scatter_div")
    if not handle.dtype.is_floating:
        raise TypeRuleError(f"scatter_div: variable {handle.name} is {handle.dtype}, not floating")
    return _scatter("mul", ref, indices, find("reciprocal")(convert(updates, handle.dtype)), name)


def scatter_max(ref, indices, updates, use_locking=False, name=None) -> Tensor:
    """Raises rows `indices` of variable `ref` to at least `updates`."""
    return _scatter("max", ref, indices, updates, name)


def scatter_min(ref, indices, updates, use_locking=False, name=None) -> Tensor:
    """Lowers rows `indices` of variable `ref` to at most `updates`."""
    return _scatter("min", ref, indices, updates, name)
