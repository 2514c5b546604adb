"""`TensorArray`, as in TensorFlow 1: elements of one dtype, written and read by index.

A TensorArray is a value: `write` gives another one and leaves its own as it is. What it holds is
in `array_elements.py`; how a loop stacks its rows, in `array_rows.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from .array_elements import Elements
from .array_rows import first_rows as _first_rows
from .array_rows import joined_elements, require_one_shape
from .dtypes import as_dtype, int32
from .errors import InvalidArgumentError, OutOfRangeError
from .ir.graph import get_default_graph
from .ir.node import Node, Tensor
from .ir.op import find
from .ops.convert import as_sizes, convert, reject
from .ops.creation import constant
from .ops.effects import asserted, no_op
from .ops.index_check import checked
from .ops.joining import concat, stack
from .ops.shapes import size_as_tensor
from .ops.tensor_shape import TensorShape
from .ops.values import constant_value, symbolic_value
from .sizes import Dim, product

__all__ = ["TensorArray"]


class TensorArray(Elements):
    """An array of tensors of one dtype and, unless told otherwise, one shape.

    size: how many elements: a number, or an integer scalar. Where that depends on data, only so
        many can be written, and `stack` wants all of them
    dynamic_size: it may grow: outside loops by writes at known indices and by `unstack`, `split`
        and `scatter`; in a `while_loop` whose body writes it once an iteration at a loop variable
        that counts the iterations, by one element an iteration, however many there will be
    element_shape: what is known of the shape of an element; the first write says the rest
    infer_shape: False: elements may differ in shape, where each is at a known index
    tensor_array_name: for messages and names of operations

    It can be a loop variable, a result of a branch and what a scan carries. Gradients flow through
    all that it does. An index outside is an OutOfRangeError, reading what was never written an
    InvalidArgumentError: at definition where that is known already, else of the run.

    `clear_after_read` and `colocate_with_first_write_call` are accepted and change nothing:
    elements can be read and written any number of times. `handle` and `flow` are refused: what
    another TensorArray holds is that TensorArray itself.
    """

    def __init__(
        self,
        dtype,
        size=None,
        dynamic_size=None,
        clear_after_read=None,
        tensor_array_name=None,
        handle=None,
        flow=None,
        infer_shape=True,
        element_shape=None,
        colocate_with_first_write_call=True,
        name=None,
    ):
        self._dtype = as_dtype(dtype)
        label = tensor_array_name or name or "TensorArray"
        self._name = get_default_graph().unique_name(label)
        if handle is not None or flow is not None:
            reject(
                self._what(),
                "handle and flow are not taken: hand on the TensorArray itself, which holds both",
                ValueError,
            )
        self._dynamic = bool(dynamic_size)
        if size is None and not self._dynamic:
            reject(self._what(), "it needs a size, or dynamic_size=True", ValueError)
        self._asked = None
        self._size = self._known_size(0 if size is None else size)
        self._one_shape = bool(infer_shape)
        shape = TensorShape(element_shape)
        self._declared = None if shape.dims is None else tuple(dim.size for dim in shape.dims)
        self._pieces = {}
        self._rows = None
        self._mask = None
        self._growth = None
        self._written = None

    def _known_size(self, size) -> Dim:
        tensor = convert(size, what=self._what())
        if not tensor.dtype.is_integer or tensor.rank != 0:
            reject(self._what(), f"its size is {tensor.tensor_type}, not an integer scalar")
        known = symbolic_value(tensor)
        if known is None:
            self._asked = find("cast")(tensor, dtype=int32)
            return 0
        found = known.item()
        if isinstance(found, int) and found < 0:
            reject(self._what(), f"its size is {found}", ValueError)
        return found

    # -- what it is ---------------------------------------------------------------------------

    @property
    def dtype(self):
        """The dtype of its elements."""
        return self._dtype

    @property
    def element_shape(self) -> TensorShape:
        """What is known of the shape of an element."""
        return TensorShape(self._element() if self._element() is not None else self._declared)

    @property
    def flow(self) -> Tensor:
        """A tensor that is there when all writes are done: the rows [size, ...] as far as they
        have a shape."""
        if self._element() is None:
            return convert(0.0)
        return self._array()._components()[0]

    @property
    def handle(self) -> None:
        """None: there is no resource behind a TensorArray."""
        return None

    def __repr__(self) -> str:
        return f"<TensorArray {self._name!r} of {self._dtype}, size {self._size}>"

    def size(self, name=None) -> Tensor:
        """The number of elements, an int32 scalar."""
        if self._asked is not None:
            return self._asked
        if self._dynamic:
            self._settled("its size is asked for")
        return size_as_tensor(self._size, int32)

    # -- reading ------------------------------------------------------------------------------

    def read(self, index, name=None) -> Tensor:
        """The element at `index`, an integer scalar."""
        self._settled("it is read")
        index, known = self._index(index, "read")
        if self._rows is None and known is not None:
            self._require_inside(known, "read")
            if known not in self._pieces:
                self._never_written(f"read: element {known}")
            return self._pieces[known]
        array = self._array("read")
        index = array._checked(index, "read")
        with array._written_check(index, "read: element"):
            return find("gather")(array._rows, index, axis=0, name=name)

    def gather(self, indices, name=None) -> Tensor:
        """The elements at `indices`, an integer vector [n], as one tensor [n, ...]."""
        self._settled("it is read")
        indices = self._indices(indices, "gather")
        array = self._array("gather")
        indices = array._checked(indices, "gather")
        with array._written_check(indices, "gather: an element"):
            return find("gather")(array._rows, indices, axis=0, name=name)

    def stack(self, name=None) -> Tensor:
        """All elements as one tensor [size, ...]."""
        self._settled("it is stacked")
        with self._whole("stack"):
            if self._rows is None and self._pieces:
                require_one_shape(self._what("stack"), self._in_order())
                return stack(self._in_order(), name=name or "TensorArrayStack")
            return find("identity")(self._array("stack")._rows, name=name)

    def concat(self, name=None) -> Tensor:
        """All elements, one after the other along their first dimensions, which may differ."""
        self._settled("it is concatenated")
        with self._whole("concat"):
            if self._rows is None and self._pieces:
                return concat(self._in_order(), 0, name=name or "TensorArrayConcat")
            array = self._array("concat")
            element = array._require_element("concat")
            if not element:
                reject(self._what("concat"), "its elements are scalars; stack() joins those")
            shape = (product((array._size, element[0])), *element[1:])
            return find("reshape")(array._rows, shape=shape, name=name)

    # -- writing ------------------------------------------------------------------------------

    def write(self, index, value, name=None) -> TensorArray:
        """A TensorArray in which `value` is the element at `index`, an integer scalar."""
        value = convert(value, self._dtype, what=self._what("write"))
        index, known = self._index(index, "write")
        self._require_shape(value, "write")
        if self._growth is not None:
            return self._growth.written(self, index, value)
        if self._rows is None and known is not None:
            return self._with_piece(known, value)
        value = self._with_room(known, value, "write")
        array = self._enlarged(known, "write")._array("write", value.dims)
        index = array._checked(index, "write")
        rows = find("scatter")(array._rows, index, value, mode="set", name=name)
        mask = array._mask
        if mask is not None:
            mask = find("scatter")(mask, index, constant(True), mode="set")
        return array._changed(_rows=rows, _mask=mask)

    def _with_piece(self, index: int, value: Tensor) -> TensorArray:
        value = self._with_room(index, value, "write")
        array = self._enlarged(index, "write")
        array._require_inside(index, "write")
        array = array._changed(_pieces={**array._pieces, index: value})
        return array._of_shape(value.dims)

    def scatter(self, indices, value, name=None) -> TensorArray:
        """A TensorArray in which value[k] is the element at indices[k].

        indices: integers [n]; of equal ones the last counts. value: [n, ...]
        """
        self._settled("it is written at many indices")
        value = self._rows_of(value, "scatter")
        indices = self._indices(indices, "scatter")
        known = constant_value(indices)
        largest = None if known is None or not known.size else int(known.max())
        value = self._with_room(largest, value, "scatter")
        array = self._enlarged(largest, "scatter")._array("scatter", value.dims[1:])
        indices = array._checked(indices, "scatter")
        rows = find("scatter")(array._rows, indices, value, mode="set", name=name)
        mask = array._mask
        size = array._size
        if known is not None and isinstance(size, int) and len(set(known.tolist())) == size:
            mask = None
        if mask is not None:
            ones = find("broadcast_to")(constant(True), shape=indices.dims)
            mask = find("scatter")(mask, indices, ones, mode="set")
        return array._changed(_rows=rows, _mask=mask)

    def unstack(self, value, name=None) -> TensorArray:
        """A TensorArray whose first elements are the rows of `value` [n, ...]."""
        self._settled("it is unstacked into")
        value = self._rows_of(value, "unstack")
        if name is not None:
            value = find("identity")(value, name=name)
        return _first_rows(self._of_shape(value.dims[1:]), value, self._what("unstack"))

    def split(self, value, lengths, name=None) -> TensorArray:
        """A TensorArray whose first elements are parts of `value` along its first dimension.

        lengths: integers [n]: numbers, or sizes such as shape(x)[0]
        """
        self._settled("it is split into")
        value = convert(value, self._dtype, what=self._what("split"))
        if not value.dims:
            reject(self._what("split"), f"{value.name} is {value.tensor_type}; it has no rows")
        sizes = as_sizes(lengths, self._what("split"))
        total = sum(sizes[1:], sizes[0]) if sizes else 0
        if isinstance(total - value.dims[0], int) and total != value.dims[0]:
            reject(
                self._what("split"),
                f"the lengths {list(sizes)} are {total} in all, {value.name} has {value.dims[0]}",
                InvalidArgumentError,
            )
        if sizes and all(size == sizes[0] for size in sizes):
            rows = find("reshape")(value, shape=(len(sizes), sizes[0], *value.dims[1:]))
            return self.unstack(rows, name)
        array = self._changed(_one_shape=False)
        for number, part in enumerate(_parts(value, sizes)):
            array = array.write(number, part)
        return array

    def identity(self) -> TensorArray:
        """The same, after the control dependencies that are open."""
        same = find("identity")
        rows = None if self._rows is None else same(self._rows)
        pieces = {k: same(piece) for k, piece in self._pieces.items()}
        return self._changed(_rows=rows, _pieces=pieces)

    def close(self, name=None) -> Node:
        """An operation that does nothing: memory is planned."""
        return no_op(name=name)

    def grad(self, source, flow=None, name=None):
        """Refused: `gradients` goes through a TensorArray as through anything else."""
        reject(
            self._what("grad"),
            "tf.gradients(ys, xs) goes through TensorArrays",
            NotImplementedError,
        )

    # -- parts --------------------------------------------------------------------------------

    def _enlarged(self, index: int | None, method: str) -> TensorArray:
        """With a place for an index that is known, where it can grow."""
        self._settled("it is written at many indices")
        can_grow = self._dynamic or self._asked is not None
        if index is None:
            if can_grow and self._size == 0:
                reject(
                    self._what(method),
                    "its size is not known, and the index depends on data. It grows outside loops "
                    "by writes at known indices and unstack, and in a while_loop that writes it "
                    "once an iteration at a loop variable that counts the iterations",
                )
            return self
        if not can_grow or not isinstance(self._size, int) or index < self._size:
            return self
        if self._rows is None:
            return self._changed(_size=index + 1)
        return _first_rows(
            self._changed(_size=index + 1), self._rows, self._what(method), self._mask
        )

    def _with_room(self, index: int | None, value: Tensor, method: str) -> Tensor:
        """`value`, after the check that a known index is inside a size that depends on data."""
        if index is None or self._asked is None:
            return value
        message = self._what(f"{method}: index {index} is outside its size")
        check = asserted(find("less")(convert(index), self._asked), [self._asked], message)
        with get_default_graph().control_dependencies([check]):
            return find("identity")(value)

    def _index(self, index, method: str) -> tuple[Tensor, int | None]:
        tensor = convert(index, what=self._what(method))
        if not tensor.dtype.is_integer or tensor.rank != 0:
            reject(self._what(method), f"the index is {tensor.tensor_type}, not an integer scalar")
        known = constant_value(tensor)
        return tensor, None if known is None else int(known)

    def _indices(self, indices, method: str) -> Tensor:
        tensor = convert(indices, what=self._what(method))
        if not tensor.dtype.is_integer or tensor.rank != 1:
            reject(
                self._what(method), f"the indices are {tensor.tensor_type}, not an integer vector"
            )
        return tensor

    def _require_inside(self, index: int, method: str) -> None:
        size = self._size
        if index < 0 or (isinstance(size, int) and index >= size):
            reject(self._what(method), f"index {index} is outside [0, {size})", OutOfRangeError)

    def _checked(self, indices: Tensor, method: str) -> Tensor:
        if indices.dtype.bytes < 4:
            indices = find("cast")(indices, dtype=int32)
        return checked(indices, self._size, self._what(method))

    def _require_shape(self, value: Tensor, method: str) -> None:
        if value.dims is None:
            reject(self._what(method), f"the rank of {value.name} is not known")
        declared = self._declared
        if self._rows is not None or (self._pieces and self._one_shape):
            declared = self._element()
        if declared is not None:
            joined_elements(self._what(method), declared, value.dims, value)

    def _rows_of(self, value, method: str) -> Tensor:
        rows = convert(value, self._dtype, what=self._what(method))
        if not rows.dims:
            reject(self._what(method), f"{rows.name} is {rows.tensor_type}; it has no rows")
        if self._declared is not None:
            joined_elements(self._what(method), self._declared, rows.dims[1:], rows)
        return rows

    def _written_check(self, indices: Tensor, what: str):
        """A context whose operations run after the check that these elements were written."""
        graph = get_default_graph()
        if self._mask is None:
            return graph.control_dependencies([])
        found = find("gather")(self._mask, indices, axis=0)
        message = self._what(f"{what} was never written")
        return graph.control_dependencies([asserted(found, [indices], message)])

    def _whole(self, method: str):
        """A context whose operations run after the check that all elements were written."""
        graph = get_default_graph()
        checks = []
        if self._asked is not None:
            here = size_as_tensor(self._size, int32)
            message = self._what(f"{method}: not all of its elements were written")
            checks.append(asserted(find("equal")(here, self._asked), [self._asked], message))
        if self._mask is not None:
            message = self._what(f"{method}: an element was never written")
            checks.append(asserted(self._mask, [], message))
        elif self._rows is None and self._size != len(self._pieces):
            missing = 0
            while missing in self._pieces:
                missing += 1
            self._never_written(f"{method}: element {missing}")
        return graph.control_dependencies(checks)


def _parts(value: Tensor, sizes: Sequence[Dim]) -> list[Tensor]:
    begin: Dim = 0
    parts = []
    for size in sizes:
        parts.append(value[begin : begin + size])
        begin = begin + size
    return parts
