"""What the gradient of a loop knows of sizes that differ from one iteration to the next.

    while(y: [v]){ concat(y, f(y)): [v+1] }

    -->  sizes, rs = while(y){ …;  v, r: [v] }                   rs: [r0 | r1 | r2 …], v + (v+1) + …
         scan(dy, sizes, cumsum(sizes); backwards){ r = rs[at : at + v];  … }

Going back, nothing but the loop itself tells how large its values were. So it stacks the sizes that
its body knows; the scan back over the iterations has them from there, under the names that they
have in the loop's body. Values of such sizes lie one after the other in a stack of one dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...dtypes import int64
from ...ir.body import Body
from ...ir.graph import Graph
from ...ir.node import Node, Tensor
from ...ir.op import find
from ...ir.types import TensorType
from ...ops.shapes import size_as_tensor
from ...sizes import Dim, Size, product, symbol, symbols_of


class ChangingSizes:
    """Sizes of a loop, and what its gradient needs because of them.

    symbols: sizes that have another value in each iteration of the loop, under their names there;
        `given` of them, the last ones, are rows of sequences of the loop
    at: for each number of elements that rows of changing size have, a value of the loop's body,
        what says where such a row begins: a parameter of the gradient's body
    flat: stacks of such rows, by what is stacked, as parameters of the gradient's body
    read: the rows that have been read from there
    """

    def __init__(self, graph: Graph, node: Node, home: Body | None):
        self.graph, self.home = graph, home
        self.varying = node.attrs.get("varying", ())
        given = node.attrs.get("sizes", ())
        self.symbols: tuple[Dim, ...] = (*(row[2] for row in self.varying), *given)
        self.given = len(given)
        self._symbols = set(symbols_of(self.symbols))
        self.at: dict[Tensor, Tensor] = {}
        self.flat: dict[Tensor, Tensor] = {}
        self.read: dict[Tensor, Tensor] = {}
        self._scalars: dict[Dim, Tensor] = {}
        # The same for all that is made of one loop.
        self._totals: dict[Tensor, tuple[Size, Size]] = {}
        origin = graph.remade.get(node, node)
        for each in (origin, *(made for made, first in graph.remade.items() if first is origin)):
            carried = each.attrs.get("carries", each.attrs.get("variables"))
            for number, *sizes in each.attrs.get("totals", ()):
                self._totals[each.regions[-1].results[carried + number]] = tuple(sizes)

    def differ(self, tensor: Tensor) -> bool:
        """Whether a value of the loop's body has another size in each iteration."""
        return not self._symbols.isdisjoint(symbols_of(tensor.dims or ()))

    def known(self) -> list[Tensor]:
        """Sizes that the loop is to stack: scalars of its body."""
        return [self._scalar(row[2]) for row in self.varying]

    def _scalar(self, size: Dim) -> Tensor:
        if size not in self._scalars:
            with self.graph.inside(self.home):
                self._scalars[size] = size_as_tensor(size, int64)
        return self._scalars[size]

    def back(self, numbers: Sequence[int]) -> tuple:
        """The attribute `varying` of the gradient, which hands on gradients of these variables."""
        return tuple(
            (numbers.index(number), axis, symbol("size"), symbol("size"))
            for number, axis, *_ in self.varying
            if number in numbers
        )

    def row(self, body: Body, flat: Tensor, like: Tensor) -> Tensor:
        """In the gradient's body the row of an iteration, of a stack of values such as `like`."""
        size = product(like.dims)
        count = self._scalar(size)
        if count not in self.at:
            self.at[count] = body.parameter(TensorType(int64, ()))
        row = find("dynamic_slice")(flat, self.at[count], size=(size,))
        return find("reshape")(row, shape=like.dims)

    def row_of_stack(self, body: Body, tensor: Tensor) -> Tensor:
        """The value that a tensor of the loop's body had, which the loop is to stack."""
        total = self._totals.setdefault(tensor, (symbol("size"), symbol("size")))
        whole = TensorType(tensor.dtype, (total[1],))
        self.flat[tensor] = body.parameter(whole)
        self.read[tensor] = self.row(body, self.flat[tensor], tensor)
        return self.read[tensor]

    def totals(self, numbers: Mapping[Tensor, int]) -> tuple[tuple[Any, ...], ...]:
        """The attribute `totals` for new stacks of these numbers."""
        found = ((number, self._totals.get(tensor)) for tensor, number in numbers.items())
        return tuple((number, *sizes) for number, sizes in found if sizes is not None)
