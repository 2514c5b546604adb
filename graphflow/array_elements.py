"""What a TensorArray holds, in one of two forms, and how control flow takes it apart.

Outside loops, at indices that are known, each element is simply a tensor: *pieces*. Everywhere else
there are *rows* [size, ...] and, unless all of them were written, a *mask* [size] that says which
were; reads gather rows and writes scatter them, which loops do in place.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .array_rows import NotStacked, joined_elements, require_one_shape
from .array_rows import zeros as _zeros
from .dtypes import DType, bool_
from .errors import InvalidArgumentError
from .ir.node import Tensor
from .ir.op import find
from .ops.convert import reject
from .ops.creation import constant
from .ops.joining import stack
from .sizes import Dim

Element = tuple[Dim, ...]


class Elements:
    """The elements of a TensorArray: it has the leaf protocol of `structures.py`."""

    _dtype: DType
    _name: str
    _dynamic: bool
    _asked: Tensor | None  # the size, where it depends on data; _size is then what was written
    _size: Dim
    _one_shape: bool
    _declared: Sequence[Dim | None] | None  # what is known of an element's shape
    _pieces: Mapping[int, Tensor]  # elements at known indices
    _rows: Tensor | None  # all elements, in place of pieces
    _mask: Tensor | None  # which of the rows were written; None: all
    _growth: Any  # where it is a stack of a loop under definition
    _written: Any  # what this iteration has added to the stack

    # -- the leaf protocol (structures.py) ----------------------------------------------------

    def _components(self) -> list[Tensor]:
        self._settled("it goes into a branch or another loop")
        if self._element() is None:
            return []
        array = self._array()
        return [part for part in (array._rows, array._mask) if part is not None]

    def _with_components(self, tensors: Sequence[Tensor]) -> Any:
        if not tensors:
            return self
        rows, mask = (*tensors, None)[:2]
        return self._changed(_pieces={}, _rows=rows, _mask=mask)

    def _layout(self) -> tuple:
        """What decides which components there are: the element's shape, whether there is a mask."""
        self._settled("it goes into a branch or another loop")
        partial = len(self._pieces) != self._size
        return self._element(), partial if self._rows is None else self._mask is not None

    def _joined(self, other: Elements) -> tuple:
        """The layout that can hold this one and another one."""
        a, b = self._layout(), other._layout()
        difference = self._size - other._size
        if isinstance(difference, int) and difference != 0:
            reject(
                self._what(),
                f"it has {self._size} elements here and {other._size} there; of branches and "
                "iterations it must keep its size, unless a while_loop writes it once an "
                "iteration at its counter",
            )
        if a[0] is not None and b[0] is not None:
            joined_elements(self._what(), a[0], b[0])
        return (a[0] if a[0] is not None else b[0]), a[1] or b[1] or a[0] is None

    def _fitted(self, layout: tuple) -> Any:
        """The same in a layout that can hold it."""
        element, masked = layout
        if element is None:
            return self
        array = self._array("write", element)
        if not masked or array._mask is not None:
            return array
        ones = find("broadcast_to")(constant(True), shape=(array._size,))
        return array._changed(_mask=ones)

    # -- forms --------------------------------------------------------------------------------

    def _what(self, method: str | None = None) -> str:
        return f"TensorArray {self._name}" + (f": {method}" if method else "")

    def _changed(self, **fields) -> Any:
        result = copy.copy(self)
        result.__dict__.update(fields)
        return result

    def _settled(self, what: str) -> None:
        if self._growth is not None:
            raise NotStacked(self._growth, what)

    def _element(self) -> Element | None:
        """The shape of all elements, if it is known."""
        if self._rows is not None:
            return self._rows.dims[1:]
        for piece in self._pieces.values():
            return piece.dims
        if self._declared is not None and None not in self._declared:
            return self._declared  # type: ignore[return-value]
        return None

    def _require_element(self, method: str) -> Element:
        element = self._element()
        if element is None:
            self._never_written(f"{method}: an element")
        return element  # type: ignore[return-value]

    def _of_shape(self, element: Element) -> Any:
        """With an element's shape declared by what was written first."""
        return self._changed(_declared=element) if self._one_shape else self

    def _array(self, method: str = "flow", element: Element | None = None) -> Any:
        """The same as rows and a mask."""
        if self._rows is not None:
            return self
        if self._element() is not None:
            element = self._element()
        if element is None:
            self._never_written(f"{method}: an element")
        pieces = self._pieces
        require_one_shape(self._what(method), list(pieces.values()))
        if pieces and len(pieces) == self._size:
            return self._changed(_rows=stack(self._in_order()), _pieces={}, _mask=None)
        rows = _zeros(self._dtype, (self._size, *element))  # type: ignore[misc]
        mask: Tensor | None = None if self._size == 0 else _zeros(bool_, (self._size,))
        if pieces:
            indices = constant(np.asarray(sorted(pieces), np.int32))
            values = stack([pieces[k] for k in sorted(pieces)])
            rows = find("scatter")(rows, indices, values, mode="set")
            ones = constant(np.ones(len(pieces), np.bool_))
            mask = find("scatter")(mask, indices, ones, mode="set")
        return self._changed(_rows=rows, _pieces={}, _mask=mask)

    def _in_order(self) -> list[Tensor]:
        return [self._pieces[k] for k in sorted(self._pieces)]

    def _never_written(self, what: str) -> None:
        reject(f"TensorArray {self._name}: {what}", "was never written", InvalidArgumentError)
