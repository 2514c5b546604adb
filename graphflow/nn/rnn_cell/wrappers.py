"""Cells around other cells: dropout, residual connections, devices."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...dtypes import as_dtype
from ...framework import device, name_scope
from ...ir.node import Tensor
from ...nest import assert_same_structure, flatten, is_nested, map_structure, pack_sequence_as
from ...ops.convert import as_sizes, convert, reject
from ...ops.logic import cast
from ...ops.random import random_uniform
from ...ops.variables import Variable
from ..layers import dropout
from .base import RNNCell, projected_by, require_cell
from .lstm import LSTMStateTuple

__all__ = ["DeviceWrapper", "DropoutWrapper", "ResidualWrapper"]


class _Wrapper(RNNCell):
    """A cell around another, with its sizes and variables, and no variable scope of its own."""

    def __init__(self, cell: RNNCell):
        super().__init__()
        require_cell(cell, self._base_name)
        self._cell = cell

    @property
    def wrapped_cell(self) -> RNNCell:
        return self._cell

    @property
    def state_size(self) -> Any:
        return self._cell.state_size

    @property
    def output_size(self) -> Any:
        return self._cell.output_size

    @property
    def weights(self) -> list[Variable]:
        return self._cell.weights

    @property
    def trainable_weights(self) -> list[Variable]:
        return self._cell.trainable_weights

    @property
    def losses(self) -> list[Tensor]:
        return self._cell.losses

    def zero_state(self, batch_size, dtype) -> Any:
        with name_scope(None, f"{type(self).__name__}ZeroState"):
            return self._cell.zero_state(batch_size, dtype)


class DropoutWrapper(_Wrapper):
    """Dropout of what goes into a cell, of its outputs and of the state it hands on.

    input_keep_prob, output_keep_prob, state_keep_prob: the probability that an element is kept, in
        (0, 1], a number or a scalar tensor. What is kept is divided by it.
    variational_recurrent: one mask for all steps of a run and all sequences of a batch (Gal and
        Ghahramani 2016, arXiv:1512.05287); `dtype` is then needed, and `input_size` (the inputs'
        shape without the batch) where inputs are dropped.
    seed: with it, masks are the same in every session; each mask has a stream of its own.
    dropout_state_filter_visitor: function(part of the state) that says what of it is dropped:
        False (nothing), True (a tensor, or what the function says of each part inside), or a nest
        of those for the parts inside. If None, all is dropped but the memory c of an
        LSTMStateTuple (Semeniuta et al. 2016, arXiv:1603.05118, on why not c).
    """

    def __init__(
        self,
        cell: RNNCell,
        input_keep_prob=1.0,
        output_keep_prob=1.0,
        state_keep_prob=1.0,
        variational_recurrent: bool = False,
        input_size=None,
        dtype=None,
        seed: int | None = None,
        dropout_state_filter_visitor: Callable | None = None,
    ):
        super().__init__(cell)
        filter_ = dropout_state_filter_visitor
        if filter_ is not None and not callable(filter_):
            raise TypeError("dropout_wrapper: dropout_state_filter_visitor must be callable")
        self._filter = filter_ or _all_but_memories
        self._keep = {
            "input": _probability("input_keep_prob", input_keep_prob),
            "output": _probability("output_keep_prob", output_keep_prob),
            "state": _probability("state_keep_prob", state_keep_prob),
        }
        self._seed, self._streams = seed, itertools.count()
        self._noise: dict[str, list[Tensor]] = {}
        if variational_recurrent:
            self._draw_once(input_size, dtype)

    def _draw_once(self, input_size, dtype) -> None:
        if dtype is None:
            raise ValueError("dropout_wrapper: variational_recurrent needs dtype")
        if input_size is None and self._drops("input"):
            raise ValueError(
                "dropout_wrapper: variational_recurrent with input_keep_prob needs input_size"
            )
        sizes = {
            "input": input_size,
            "output": self._cell.output_size,
            "state": self._cell.state_size,
        }
        for where, size in sizes.items():
            if self._drops(where):
                self._noise[where] = [
                    random_uniform(
                        [1, *as_sizes(leaf, "dropout_wrapper")], dtype=as_dtype(dtype),
                        seed=self._next_seed(where),
                    )
                    for leaf in flatten(size)
                ]  # fmt: skip

    def _drops(self, where: str) -> bool:
        return not isinstance(self._keep[where], float) or self._keep[where] < 1

    def __call__(self, inputs, state, scope=None):
        inputs = self._dropped("input", inputs)
        return self._handed_on(*self._cell(inputs, state, scope=scope))

    def project_inputs(self, inputs, scope=None) -> Any:
        if type(self).__call__ is not DropoutWrapper.__call__:
            return None  # a subclass has a step of its own
        return projected_by(self._cell, self._dropped("input", inputs), scope)

    def advance(self, projected, state, scope=None) -> Any:
        return self._handed_on(*self._cell.advance(projected, state, scope))

    def _handed_on(self, outputs, new_state):
        new_state = self._dropped("state", new_state, self._filter)
        return self._dropped("output", outputs), new_state

    def _dropped(self, where: str, values, chosen: Callable | None = None):
        if not self._drops(where):
            return values
        leaves = flatten(values)
        wanted = [True] * len(leaves) if chosen is None else _choices(chosen, values)
        return pack_sequence_as(
            values,
            [
                self._drop(where, number, leaf) if keep else leaf
                for number, (leaf, keep) in enumerate(zip(leaves, wanted, strict=True))
            ],
        )

    def _drop(self, where: str, number: int, value) -> Tensor:
        keep = self._keep[where]
        if where not in self._noise:
            return dropout(value, keep_prob=keep, seed=self._next_seed(where))
        value = convert(value, what="dropout_wrapper")
        keep, noise = convert(keep, value.dtype, what="dropout_wrapper"), self._noise[where][number]
        return value / keep * cast(noise < keep, value.dtype)

    def _next_seed(self, where: str) -> int | None:
        """A seed for each mask, so that no two of them are alike."""
        if self._seed is None:
            return None
        text = f"{self._seed} {where} {next(self._streams)}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") >> 1


def _probability(argument: str, value):
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        if not 0 < value <= 1:
            reject("dropout_wrapper", f"{argument} must be in (0, 1], got {value}", ValueError)
        return float(value)
    tensor = convert(value, what=f"dropout_wrapper: {argument}")
    if tensor.rank not in (0, None) or not tensor.dtype.is_floating:
        reject("dropout_wrapper", f"{argument} must be a float scalar, got {tensor.tensor_type}")
    return tensor


def _all_but_memories(part):
    return LSTMStateTuple(c=False, h=True) if isinstance(part, LSTMStateTuple) else True


def _choices(chosen: Callable, part) -> list[bool]:
    """For each leaf of a part of the state whether it is dropped."""
    answer = chosen(part)
    if is_nested(answer):
        parts = zip(flatten(answer), _children(part), strict=True)
        decided = [
            _choices(chosen, inner) if choice else [False] * len(flatten(inner))
            for choice, inner in parts
        ]
        return [keep for choices in decided for keep in choices]
    if answer and is_nested(part):
        return [keep for inner in _children(part) for keep in _choices(chosen, inner)]
    return [bool(answer)] * len(flatten(part))


def _children(part) -> list:
    return [part[key] for key in sorted(part)] if isinstance(part, dict) else list(part)


class ResidualWrapper(_Wrapper):
    """The cell's outputs plus its inputs (Wu et al. 2016, arXiv:1609.08144, section 3.1).

    residual_fn: function(inputs, outputs) that gives the outputs instead of their sum.
    """

    def __init__(self, cell: RNNCell, residual_fn: Callable | None = None):
        super().__init__(cell)
        self._residual = residual_fn or _sum_of

    def __call__(self, inputs, state, scope=None):
        return self._with(inputs, *self._cell(inputs, state, scope=scope))

    def project_inputs(self, inputs, scope=None) -> Any:
        if type(self).__call__ is not ResidualWrapper.__call__:
            return None  # a subclass has a step of its own
        projected = projected_by(self._cell, inputs, scope)
        return None if projected is None else (inputs, projected)

    def advance(self, projected, state, scope=None) -> Any:
        inputs, projected = projected
        return self._with(inputs, *self._cell.advance(projected, state, scope))

    def _with(self, inputs, outputs, new_state):
        outputs_now = self._residual(inputs, outputs)
        assert_same_structure(outputs, outputs_now)
        return outputs_now, new_state


def _sum_of(inputs, outputs):
    def add(x, y: Tensor) -> Tensor:
        x = convert(x, y.dtype, what="residual_wrapper")
        if x.dims[1:] != y.dims[1:]:
            reject(
                "residual_wrapper",
                f"the inputs {x.name} are {x.tensor_type} and the cell's outputs {y.tensor_type}; "
                "their shapes must be equal",
            )
        return x + y

    assert_same_structure(inputs, outputs)
    return map_structure(add, inputs, outputs)


class DeviceWrapper(_Wrapper):
    """Accepted for programs that place cells on devices; there is one device."""

    def __init__(self, cell: RNNCell, device: str | Callable):
        super().__init__(cell)
        self._device = device

    def __call__(self, inputs, state, scope=None):
        with device(self._device):
            return self._cell(inputs, state, scope=scope)
