"""`Optimizer`: from a loss to the operation that trains its variables.

    minimize = compute_gradients, then apply_gradients

An optimizer says in `_apply_dense` what one variable becomes, as assignments; the step compiler
fuses those of all variables. Where a variable was only read by rows (`embedding_lookup`), its
gradient is an IndexedSlices and `_apply_sparse` touches those rows alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..dtypes import DType, int32
from ..errors import TypeRuleError
from ..framework import name_scope
from ..ir.graph import Graph, GraphKeys, get_default_graph, user_location
from ..ir.node import Node, Tensor
from ..ir.op import find
from ..ops.convert import convert
from ..ops.creation import iota, zeros
from ..ops.effects import group
from ..ops.index_check import checked
from ..ops.indexed_slices import IndexedSlices
from ..ops.indexing import gather
from ..ops.logic import cast
from ..ops.variables import Variable, trainable_variables
from ..passes.gradients.differentiate import gradients
from .slots import create_slot, create_slot_with_initializer, create_zeros_slot

__all__ = ["Optimizer"]


class Optimizer:
    """Base of optimizers.

    A subclass gives `_create_slots(variables)`, `_prepare()`, `_apply_dense(gradient, variable)`,
    `_apply_sparse(gradient, variable)` and perhaps `_finish(updates, name)`.
    """

    GATE_NONE = 0
    GATE_OP = 1
    GATE_GRAPH = 2

    def __init__(self, use_locking: bool, name: str):
        if not name:
            raise ValueError("an optimizer must have a name")
        self._use_locking = use_locking
        self._name = name
        self._slots: dict[str, dict[Variable, Variable]] = {}
        self._non_slots: dict[tuple[str, Graph], Variable] = {}

    def get_name(self) -> str:
        return self._name

    # -- the three functions that programs call -------------------------------------------------

    def minimize(
        self,
        loss,
        global_step=None,
        var_list: Iterable[Variable] | None = None,
        gate_gradients: int = GATE_OP,
        aggregation_method=None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss=None,
    ) -> Node:
        """The operation that makes one step towards a smaller `loss`, a floating-point tensor.

        global_step: a variable to count up by one after the step.
        var_list: what to train; the trainable variables if None.
        grad_loss: gradient of something further with respect to `loss`.

        Raises ValueError where no variable has a gradient. `gate_gradients`, `aggregation_method`
        and `colocate_gradients_with_ops` change nothing.
        """
        pairs = self.compute_gradients(loss, var_list=var_list, grad_loss=grad_loss)
        if all(gradient is None for gradient, _ in pairs):
            names = ", ".join(v.name for _, v in pairs[:8])
            raise ValueError(
                f"no gradients provided for any variable: {loss!r} does not depend on {names} by "
                "differentiable operations"
            )
        return self.apply_gradients(pairs, global_step=global_step, name=name)

    def compute_gradients(
        self,
        loss,
        var_list: Iterable[Variable] | None = None,
        gate_gradients: int = GATE_OP,
        aggregation_method=None,
        colocate_gradients_with_ops: bool = False,
        grad_loss=None,
    ) -> list[tuple[Any, Variable]]:
        """(gradient, variable) for each variable; the gradient a tensor, an IndexedSlices or None.

        Raises ValueError without variables, TypeRuleError where the loss is not floating-point.
        """
        if callable(loss) and not isinstance(loss, (Tensor, Variable)):
            raise TypeError("the loss must be a tensor, not a function that makes one")
        loss = convert(loss, what="minimize")
        variables = _flatten(trainable_variables() if var_list is None else var_list)
        if not variables:
            raise ValueError("no variables to optimize")
        for tensor in (loss, *variables):
            _check_trained(tensor)
        found = gradients(loss, variables, grad_ys=grad_loss)
        return list(zip(found, variables, strict=True))

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Variable]],
        global_step=None,
        name: str | None = None,
    ) -> Node:
        """The operation that changes each variable as its gradient says.

        Pairs whose gradient is None are left out. Raises ValueError where none is left.
        """
        pairs = [(gradient, variable) for gradient, variable in grads_and_vars]
        if not pairs:
            raise ValueError("no variables provided")
        for gradient, variable in pairs:
            _check_pair(gradient, variable)
        used = [(gradient, variable) for gradient, variable in pairs if gradient is not None]
        if not used:
            names = ", ".join(v.name for _, v in pairs[:8])
            raise ValueError(f"no gradients provided for any variable: {names}")
        variables = [variable for _, variable in used]
        graph = get_default_graph()
        with graph.control_dependencies(None):  # which are the step's, not its variables'
            self._create_slots(variables)
        with name_scope(name, self._name) as scope:
            self._prepare()
            updates = []
            for gradient, variable in used:
                with graph.name_scope(f"update_{variable.op.name}"):
                    updates.append(self._update(gradient, variable))
            if global_step is None:
                train_op = self._finish(updates, scope)
            else:
                finished = self._finish(updates, "update")
                with graph.control_dependencies([finished]):
                    one = convert(1, global_step.dtype)
                    train_op = global_step.assign_add(one, name=scope).op
        graph.add_to_collection(GraphKeys.TRAIN_OP, train_op)
        return train_op

    # -- what subclasses fill in ----------------------------------------------------------------

    def _create_slots(self, variables: Sequence[Variable]) -> None:
        """Makes the variables that the rule keeps; they may exist from an earlier call."""

    def _prepare(self) -> None:
        """Converts the rule's numbers to tensors, once for all variables."""

    def _apply_dense(self, gradient: Tensor, variable: Variable) -> Node:
        """The operation that changes `variable`, given the gradient of all of it."""
        raise NotImplementedError(f"{type(self).__name__} has no dense update")

    def _apply_sparse(self, rows: Rows, variable: Variable) -> Node:
        """The operation that changes `variable`, given the gradient of some of its rows."""
        raise NotImplementedError(f"{type(self).__name__} has no update of rows")

    def _finish(self, updates: list[Node], name: str) -> Node:
        """One operation for all updates, and what the rule does after them."""
        return group(*updates, name=name)

    # -- slots ----------------------------------------------------------------------------------

    def get_slot(self, var: Variable, name: str) -> Variable | None:
        """The variable kept beside `var` under `name`, or None."""
        return self._slots.get(name, {}).get(var)

    def _slot(self, variable: Variable, name: str) -> Variable:
        """A slot that `_create_slots` made."""
        return self._slots[name][variable]

    def get_slot_names(self) -> list[str]:
        return sorted(self._slots)

    def variables(self) -> list[Variable]:
        """What the optimizer keeps in the current graph, by name."""
        graph = get_default_graph()
        kept = [v for (_, owner), v in self._non_slots.items() if owner is graph]
        for slots in self._slots.values():
            kept += [slot for slot in slots.values() if slot.graph is graph]
        return sorted(kept, key=lambda v: v.name)

    def _zeros_slot(self, variable: Variable, slot_name: str, op_name: str) -> Variable:
        slots = self._slots.setdefault(slot_name, {})
        if variable not in slots:
            slots[variable] = create_zeros_slot(variable, op_name)
        return slots[variable]

    def _get_or_make_slot(self, var: Variable, val, slot_name: str, op_name: str) -> Variable:
        slots = self._slots.setdefault(slot_name, {})
        if var not in slots:
            slots[var] = create_slot(var, val, op_name)
        return slots[var]

    def _get_or_make_slot_with_initializer(
        self, var: Variable, initializer, shape, dtype: DType, slot_name: str, op_name: str
    ) -> Variable:
        slots = self._slots.setdefault(slot_name, {})
        if var not in slots:
            slots[var] = create_slot_with_initializer(var, initializer, shape, dtype, op_name)
        return slots[var]

    def _create_non_slot_variable(self, initial_value, name: str) -> Variable:
        """A variable of the rule itself, such as a power of a decay rate; one a graph."""
        graph = get_default_graph()
        key = (name, graph)
        if key not in self._non_slots:
            with graph.control_dependencies(None):
                self._non_slots[key] = Variable(initial_value, trainable=False, name=name)
        return self._non_slots[key]

    def _get_non_slot_variable(self, name: str) -> Variable:
        return self._non_slots[(name, get_default_graph())]

    # -- updates --------------------------------------------------------------------------------

    @staticmethod
    def _together(*writes) -> Node:
        """One operation for several writes."""
        return group(*writes)

    def _update(self, gradient, variable: Variable) -> Node:
        if isinstance(gradient, IndexedSlices):
            if variable.constraint is not None:
                raise ValueError(
                    f"variable {variable.name} has a constraint, which cannot be applied to the "
                    "rows that its gradient gives"
                )
            return self._apply_sparse(Rows(gradient, variable), variable)
        updated = self._apply_dense(gradient, variable)
        if variable.constraint is None:
            return updated
        with get_default_graph().control_dependencies([updated]):
            return variable.assign(variable.constraint(variable.value())).op


class Rows:
    """The gradient of some rows of a variable, where a row may occur more than once.

    indices: the rows, int32 or int64, flat
    values:  the gradient of each occurrence
    """

    def __init__(self, slices: IndexedSlices, variable: Variable):
        self.indices = slices.indices
        self.values = slices.values
        self._variable = variable
        self._totals: tuple[Tensor, Tensor] | None = None

    def once(self) -> Tensor:
        """The row's total at one occurrence of each row, zeros at its other occurrences.

        For updates that add to rows.
        """
        return self._total()[0]

    def everywhere(self) -> Tensor:
        """The row's total at each of its occurrences.

        For updates that set rows: occurrences of one row then agree on what they set.
        """
        totals, representative = self._total()
        return gather(totals, representative)

    def dense(self) -> Tensor:
        """The gradient of the whole variable, with zeros in rows that do not occur.

        For updates that change all rows: it is a gather, which their loop does where it reads.
        """
        # Rows that do not occur have position 0, where nothing is added.
        table, totals = self._sums(1)
        return find("gather")(totals, table, axis=0)

    def _total(self) -> tuple[Tensor, Tensor]:
        if self._totals is None:
            table, totals = self._sums(0)
            self._totals = (totals, gather(table, self.indices))
        return self._totals

    def _sums(self, first: int) -> tuple[Tensor, Tensor]:
        """(for each row of the variable a position, rows with the total of a row at its position).

        Every occurrence of a row writes its position, which count from `first`, into the row's cell
        of a table; the one that stays represents the row. No sorting, and the cost does not depend
        on duplicates.
        """
        rows, *rest = self._variable.dims
        indices = checked(self.indices, rows, "gather")
        count = indices.dims[0]
        positions = iota(dtype=int32, size=count)
        if first:
            positions = positions + first
        table = zeros([rows], int32)
        table = find("scatter")(table, indices, positions, mode="set")
        nothing = zeros([count + first, *rest], self.values.dtype)
        representative = gather(table, indices)
        return table, find("scatter")(nothing, representative, self.values, mode="add")


def as_parameter(value, name: str):
    """A hyperparameter as given: a callable is called, a tensor or number kept."""
    if callable(value) and not isinstance(value, (Tensor, Variable)):
        value = value()
    if value is None:
        raise ValueError(f"{name} is None")
    return value


def in_dtype(value, dtype: DType) -> Tensor:
    """A hyperparameter as a tensor of a variable's dtype."""
    if isinstance(value, (Tensor, Variable)):
        tensor = convert(value)
        return tensor if tensor.dtype is dtype else cast(tensor, dtype)
    return convert(value, dtype)


def _flatten(variables) -> list:
    if isinstance(variables, Variable):
        return [variables]
    result: list = []
    for item in variables:
        if isinstance(item, (list, tuple)):
            result += _flatten(item)
        else:
            result.append(item)
    return result


def _check_trained(value) -> None:
    if not isinstance(value, (Tensor, Variable)):
        raise TypeError(f"var_list: {value!r} is not a variable")
    if not value.dtype.is_floating:
        raise TypeRuleError(
            f"minimize: {value.name} is {value.dtype}; gradients need a floating-point type\n"
            f"  at {user_location()}"
        )


def _check_pair(gradient, variable) -> None:
    if not isinstance(variable, Variable):
        raise NotImplementedError(f"{variable!r} is not a variable, so it cannot be trained")
    if gradient is None:
        return
    if not isinstance(gradient, (Tensor, IndexedSlices)):
        raise TypeError(
            f"the gradient of {variable.name} must be a tensor, an IndexedSlices or None, "
            f"got {gradient!r}"
        )
