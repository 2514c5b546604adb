"""Attention over a memory, such as an encoder's outputs: additive, and by products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import bool_
from ..initializers import Constant, Ones, Zeros
from ..ir.node import Tensor
from ..layer import Layer
from ..nn.losses import masked_softmax, softmax
from ..ops.contraction import matmul, tensordot
from ..ops.convert import convert, reject
from ..ops.creation import sequence_mask
from ..ops.logic import logical_and, where_v2
from ..ops.math import rsqrt, tanh
from ..ops.movement import expand_dims, squeeze
from ..ops.reduction import reduce_sum
from ..ops.sequences import checked_lengths
from ..ops.variables import Variable

__all__ = ["AdditiveAttention", "DotAttention"]


class _MemoryAttention(Layer):
    """Weights of a memory's positions by their scores, and the sum of the memory by the weights."""

    def call(  # type: ignore[override]
        self, query: Tensor, memory, values=None, mask=None, lengths=None
    ) -> Any:
        """(context, weights): the sum of the values by the weights, [batch, n], and the weights,
        [batch, K]; each with Q after the batch where the queries have it.

        query:  [batch, depth], or [batch, Q, depth] for several at once
        memory: [batch, K, features]
        values: [batch, K, n], what is summed; the memory if None
        mask:   bool [batch, K], or [batch, Q, K] where queries differ: True where they may look
        lengths: int32 or int64 [batch], each in [0, K]: positions from there on are padding

        Weights sum to 1; a query that may look nowhere has zeros for weights and context. What a
        memory holds in padding changes nothing. TypeRuleError for shapes that do not fit;
        OutOfRangeError for a length outside.
        """
        what = self._base_name
        if query.rank not in (2, 3) or not isinstance(query.dims[-1], int):
            reject(
                what,
                f"the query {query.name} is {query.tensor_type}; it must be [batch, depth] or "
                "[batch, queries, depth] with a known depth",
            )
        memory = self._positions(memory, "memory", query)
        values = memory if values is None else self._positions(values, "values", query)
        seen, padding = self._mask(mask, lengths, query, memory)
        if padding is not None:
            memory, values = _without(padding, memory), _without(padding, values)
        single = query.rank == 2
        scores = self._scores(expand_dims(query, 1) if single else query, memory)
        weights = softmax(scores) if seen is None else masked_softmax(scores, seen)
        context = matmul(weights, values)
        if single:
            return squeeze(context, [1]), squeeze(weights, [1])
        return context, weights

    def _scores(self, query: Tensor, memory: Tensor) -> Tensor:
        """[batch, Q, K], of queries [batch, Q, depth]."""
        raise NotImplementedError

    def _positions(self, given, name: str, query: Tensor) -> Tensor:
        tensor = convert(given, query.dtype, what=f"{self._base_name}: {name}")
        if tensor.rank != 3 or not isinstance(tensor.dims[-1], int):
            reject(
                self._base_name,
                f"{name} {tensor.name} is {tensor.tensor_type}; it must be "
                "[batch, positions, features] with known features",
            )
        return tensor

    def _mask(self, mask, lengths, query: Tensor, memory: Tensor):
        """Where a query may look, to broadcast to [batch, Q, K], and where any may, [batch, K]."""
        what, padding = self._base_name, None
        if lengths is not None:
            counts = checked_lengths(lengths, memory.dims[1], what, "lengths")
            (count,), batch = counts.dims, memory.dims[0]
            if isinstance(count, int) and isinstance(batch, int) and count != batch:
                reject(what, f"there are {count} lengths for {batch} of {memory.name}")
            padding = sequence_mask(counts, memory.dims[1])
        if mask is None:
            return None if padding is None else expand_dims(padding, 1), padding
        mask = convert(mask, bool_, what=f"{what}: mask")
        if mask.rank not in (2, query.rank):
            each = " or [batch, queries, positions]" if query.rank == 3 else ""
            reject(
                what,
                f"the mask {mask.name} is {mask.tensor_type}; beside queries {query.tensor_type} "
                f"it must be [batch, positions]{each}",
            )
        if mask.rank == 2:
            padding = mask if padding is None else logical_and(mask, padding)
            return expand_dims(padding, 1), padding
        return (mask if padding is None else logical_and(mask, expand_dims(padding, 1))), padding

    def _size(self, units) -> int:
        if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units <= 0:
            reject(self._base_name, f"units must be a positive integer, got {units!r}")
        return int(units)


def _without(padding: Tensor, positions: Tensor) -> Tensor:
    return where_v2(expand_dims(padding, 2), positions, convert(0, positions.dtype))


class AdditiveAttention(_MemoryAttention):
    """score = attention_v · tanh(query · query_layer/kernel + memory · memory_layer/kernel),
    softmaxed over the memory's positions: `context, weights = layer(query, memory, lengths=…)`, see
    `call`.

    Bahdanau et al. 2014, arXiv:1409.0473, appendix A.1.2. With `normalize` (Salimans and Kingma
    2016, arXiv:1602.07868), attention_v is scaled to the length attention_g, and attention_b is
    added inside of tanh.

    units: the size of what is compared. kernel_initializer: of all but attention_g and _b; the
    scope's, or Glorot's uniform one, if None.
    """

    def __init__(
        self,
        units: int,
        normalize: bool = False,
        kernel_initializer=None,
        trainable: bool = True,
        name: str | None = None,
        **arguments,
    ):
        super().__init__(trainable=trainable, name=name, **arguments)
        self.units, self.normalize = self._size(units), normalize
        self.kernel_initializer = kernel_initializer
        self._kernels: tuple[Variable, Variable] | None = None

    def _make(self, depth: int, features: int) -> tuple[Variable, Variable]:
        units, initializer = self.units, self.kernel_initializer
        kernels = (
            self.add_weight("query_layer/kernel", [depth, units], initializer=initializer),
            self.add_weight("memory_layer/kernel", [features, units], initializer=initializer),
        )
        self._v = self.add_weight("attention_v", [units], initializer=initializer)
        if self.normalize:
            length = Constant(math.sqrt(1 / units))
            self._g = self.add_weight("attention_g", [], initializer=length)
            self._b = self.add_weight("attention_b", [units], initializer=Zeros())
        return kernels

    def _scores(self, query: Tensor, memory: Tensor) -> Tensor:
        if self._kernels is None:
            self._kernels = self._make(query.dims[-1], memory.dims[-1])
        queries = tensordot(query, self._kernels[0], [[2], [0]])
        keys = tensordot(memory, self._kernels[1], [[2], [0]])
        direction = self._v.value()
        if self.normalize:
            keys = keys + self._b
            direction = self._g * direction * rsqrt(reduce_sum(direction * direction))
        compared = tanh(expand_dims(queries, 2) + expand_dims(keys, 1))
        return reduce_sum(compared * direction, axis=-1)


class DotAttention(_MemoryAttention):
    """score = query · memory, softmaxed over the memory's positions: `context, weights =
    layer(query, memory, lengths=…)`, see `call`.

    units: the queries' depth, which the memory is then projected to by memory_layer/kernel.
    scale: whether scores are multiplied by the variable attention_g, which starts at 1.
    kernel_initializer: the scope's, or Glorot's uniform one, if None.

    Luong et al. 2015, arXiv:1508.04025, section 3.1, "dot" and "general".
    """

    def __init__(
        self,
        units: int | None = None,
        scale: bool = False,
        kernel_initializer=None,
        trainable: bool = True,
        name: str | None = None,
        **arguments,
    ):
        super().__init__(trainable=trainable, name=name, **arguments)
        self.units = None if units is None else self._size(units)
        self.scale, self.kernel_initializer = scale, kernel_initializer
        self._kernel: Variable | None = None
        self._g: Variable | None = None

    def _scores(self, query: Tensor, memory: Tensor) -> Tensor:
        depth = memory.dims[-1] if self.units is None else self.units
        if query.dims[-1] != depth:
            reject(
                self._base_name,
                f"the query {query.name} {query.tensor_type} must have the depth {depth} of what "
                "it is compared with; give units to project the memory to the queries' depth",
            )
        if self.units is not None:
            if self._kernel is None:
                self._kernel = self.add_weight(
                    "memory_layer/kernel", [memory.dims[-1], self.units],
                    initializer=self.kernel_initializer,
                )  # fmt: skip
            memory = tensordot(memory, self._kernel, [[2], [0]])
        scores = matmul(query, memory, transpose_b=True)
        if not self.scale:
            return scores
        if self._g is None:
            self._g = self.add_weight("attention_g", [], initializer=Ones())
        return scores * self._g
