"""From Python values to tensors: TensorFlow 1's conversion and promotion rules, written down.

* A Python float is float32, an int int32 (int64 where it does not fit), a bool bool; so are lists
  of them. A NumPy array or scalar keeps its dtype: `constant(np.ones(2))` is float64.
* Beside a tensor, everything that is not one takes the tensor's dtype: Python numbers, lists and
  NumPy arrays. What would lose its meaning is an error: a float beside an integer tensor, a bool
  beside a number.
* Two tensors of different dtypes never promote: that is an error, which `cast` resolves.
* A list that holds tensors is stacked.
* Objects with `_as_tensor(dtype)` (variables, indexed slices) say themselves what they become.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ..dtypes import DType, as_dtype, float32
from ..errors import GraphError, TypeRuleError
from ..ir.graph import user_location
from ..ir.node import FrozenArray, Node, Tensor
from ..ir.op import find
from ..sizes import Dim, Size
from .values import constant_value as constant_value
from .values import symbolic_value

__all__ = ["convert_to_tensor"]


def reject(what: str, message: str, error: type[Exception] = TypeRuleError) -> NoReturn:
    """Raises `error` about the operation `what`, with the user's line."""
    raise error(f"{what}: {message}\n  at {user_location()}")


def is_tensor_like(value) -> bool:
    """Whether the value is a tensor or becomes one by itself (a variable)."""
    return isinstance(value, Tensor) or hasattr(value, "_as_tensor")


def convert(value, dtype=None, name: str | None = None, what: str = "convert_to_tensor") -> Tensor:
    """The tensor that `value` stands for, of that dtype if one is given.

    Raises TypeRuleError with the user's line where there is none: a tensor of another dtype, a
    value that does not fit, a ragged list, an object.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(value, Tensor) or hasattr(value, "_as_tensor"):
        tensor = value if isinstance(value, Tensor) else value._as_tensor(wanted)
        if wanted is not None and tensor.dtype is not wanted:
            reject(
                what,
                f"a {wanted} tensor is needed, but {tensor.name} is {tensor.tensor_type}; "
                f"graphflow.cast(x, graphflow.{wanted}) converts it",
            )
        return tensor
    if isinstance(value, Node):
        reject(what, f"{value!r} is an operation without a result, not a tensor")
    if isinstance(value, (list, tuple)) and _holds_tensors(value):
        return _stack(value, wanted, name, what)
    array = to_array(value, wanted, what)
    return find("constant")(value=FrozenArray(array), name=name or "Const")


def convert_to_tensor(value, dtype=None, name=None, preferred_dtype=None) -> Tensor:
    """The tensor that a tensor, variable, number, nested list or NumPy array stands for.

    `preferred_dtype` is used if the value can be converted to it and has no dtype of its own.
    Raises TypeRuleError where there is no such tensor.
    """
    if dtype is None and preferred_dtype is not None and not is_tensor_like(value):
        try:
            return convert(value, preferred_dtype, name)
        except GraphError:
            pass
    return convert(value, dtype, name)


def convert_pair(a, b, what: str, dtype=None) -> tuple[Tensor, Tensor]:
    """Both operands of a binary operation as tensors; the one without a dtype takes the other's.

    `dtype` is used where neither has one. Tensors of different dtypes are left to the type rule.
    """
    if is_tensor_like(a) or is_tensor_like(b):
        leader = a if is_tensor_like(a) else b
        tensor = convert(leader, what=what)
        if leader is a:
            return tensor, (convert(b, what=what) if is_tensor_like(b) else adapt(b, tensor, what))
        return adapt(a, tensor, what), tensor
    if dtype is None:
        held = [v for v in (a, b) if isinstance(v, (list, tuple)) and _holds_tensors(v)]
        if held:
            dtype = convert(held[0], what=what).dtype
        else:
            typed = [v for v in (a, b) if isinstance(v, (np.ndarray, np.generic))]
            if typed:
                dtype = to_array(typed[0], None, what).dtype
            else:
                kinds = [to_array(v, None, what).dtype for v in (a, b)]
                dtype = kinds[0] if kinds[0] == kinds[1] else np.result_type(*kinds)
                dtype = float32 if np.dtype(dtype).kind == "f" else dtype
    return convert(a, dtype, what=what), convert(b, dtype, what=what)


def adapt(value, tensor: Tensor, what: str) -> Tensor:
    """`value` as a tensor beside `tensor`, whose dtype it takes."""
    return convert(value, tensor.dtype, what=what)


def convert_all(values: Sequence, what: str, dtype=None) -> list[Tensor]:
    """Several operands of one operation: those without a dtype take the first tensor's."""
    if isinstance(values, Tensor):
        return [convert(values, dtype, what=what)]
    leader = next((v for v in values if is_tensor_like(v)), None)
    if leader is None:
        leader = next((v for v in values if isinstance(v, (np.ndarray, np.generic))), None)
    if dtype is None and leader is not None:
        tensor = convert(leader, what=what)
        return [
            tensor
            if v is leader
            else convert(v, None if is_tensor_like(v) else tensor.dtype, what=what)
            for v in values
        ]
    if dtype is None and values:
        dtype = convert(list(values), what=what).dtype if _uniform(values) else None
    return [convert(v, dtype, what=what) for v in values]


def _uniform(values: Sequence) -> bool:
    try:
        return np.array(list(values)).dtype != object
    except ValueError:
        return False


def to_array(value, dtype: DType | None, what: str, explicit: bool = False) -> np.ndarray:
    """The NumPy array of a value that holds no tensors.

    `explicit` says that the user named the dtype: NumPy arrays are then cast to it whatever they
    hold, as `constant(array, dtype)` does.
    """
    dimensions = getattr(value, "_as_dimension_array", None)
    if dimensions is not None:
        value = dimensions()
        if value is None:
            reject(what, "a shape that is not fully known is no tensor; use graphflow.shape(x)")
    if isinstance(value, Size):
        reject(what, f"the size {value} is not known yet; use graphflow.shape(x) for its tensor")
    typed = isinstance(value, (np.ndarray, np.generic))
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        reject(what, f"{_short(value)} is not a tensor: its rows differ in length")
    if array.dtype.kind in "US":
        reject(what, f"{_short(value)} is of strings, which graphflow has no tensors of")
    if array.dtype.kind not in "fiub":
        reject(what, f"{_short(value)} ({type(value).__name__}) does not convert to a tensor")
    if not typed and not _typed_elements(value):
        if dtype is not None:
            _check_kind(array, dtype, value, what)
            return _cast_exactly(array, dtype, value, what)
        if array.size == 0 or array.dtype.kind == "f":
            return array.astype(np.float32)
        if array.dtype.kind in "iu":
            narrow = array.astype(np.int32)
            return narrow if np.array_equal(narrow, array) else array.astype(np.int64)
        return array
    if dtype is None:
        if not typed and array.dtype.kind == "f":  # a list of NumPy scalars is a list
            return array.astype(np.float32)
        if not typed and array.dtype == np.int64:
            narrow = array.astype(np.int32)
            return narrow if np.array_equal(narrow, array) else array
        try:
            as_dtype(array.dtype)
        except TypeError as error:
            reject(what, str(error))
        return array
    if not explicit:
        _check_kind(array, dtype, value, what)
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy)


def _check_kind(array: np.ndarray, dtype: DType, value, what: str) -> None:
    kind = array.dtype.kind
    if array.size == 0:
        return
    if dtype.is_bool != (kind == "b") or (dtype.is_integer and kind == "f"):
        given = {"f": "float", "i": "int", "u": "int", "b": "bool"}[kind]
        reject(what, f"{dtype} was expected, {_short(value)} is {given}; cast it explicitly")


def _cast_exactly(array: np.ndarray, dtype: DType, value, what: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        result = array.astype(dtype.numpy)
    if dtype.is_integer and array.size and not np.array_equal(result, array):
        reject(what, f"{_short(value)} does not fit {dtype}")
    return result


def _typed_elements(value) -> bool:
    """Whether a nested list holds NumPy values, which take any dtype as arrays do."""
    if isinstance(value, (list, tuple)):
        return any(_typed_elements(item) for item in value)
    return isinstance(value, (np.ndarray, np.generic))


def _holds_tensors(value) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(item) for item in value)
    return is_tensor_like(value)


def _first_tensor(value):
    if isinstance(value, (list, tuple)):
        return next((t for t in map(_first_tensor, value) if t is not None), None)
    return value if is_tensor_like(value) else None


def _stack(value, dtype: DType | None, name: str | None, what: str) -> Tensor:
    from .joining import stack

    if dtype is None:
        dtype = convert(_first_tensor(value), what=what).dtype
    return stack([convert(item, dtype, what=what) for item in value], name=name or "packed")


def _short(value) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def as_sizes(value, what: str = "shape") -> tuple[Dim, ...]:
    """The dimensions that a shape argument stands for: a tuple of int and Size.

    Accepts what TensorFlow 1 does: a number, a list of numbers, dimensions and scalar tensors, a
    TensorShape, an array, an integer tensor. -1 is passed on. Raises TypeRuleError for a tensor
    whose value depends on data.
    """
    dims = getattr(value, "_as_dims", None)
    if dims is not None:
        found = dims()
        if found is None:
            reject(what, "the rank of this shape is unknown")
        return found
    if isinstance(value, (list, tuple)):
        return tuple(as_size(item, what) for item in value)
    if is_tensor_like(value):
        tensor = convert(value, what=what)
        known = symbolic_value(tensor) if tensor.dtype.is_integer else None
        if known is None:
            reject(what, f"{_unknown(tensor)}")
        return tuple(known.reshape(-1).tolist())
    if isinstance(value, np.ndarray):
        return tuple(as_size(item, what) for item in value.reshape(-1))
    return (as_size(value, what),)


def as_size(value, what: str = "shape") -> Dim:
    """One dimension: an int or a Size."""
    if isinstance(value, Size):
        return value
    if isinstance(value, (bool, np.bool_)):
        reject(what, f"{value!r} is not a size")
    if isinstance(value, (int, np.integer)):
        return int(value)
    size: Any = getattr(value, "size", None)
    if hasattr(value, "_as_dimension_array"):
        if size is None:
            reject(what, "this dimension is unknown")
        return size
    if is_tensor_like(value):
        tensor = convert(value, what=what)
        known = symbolic_value(tensor) if tensor.dtype.is_integer else None
        if known is None or known.size != 1:
            reject(what, _unknown(tensor))
        return known.reshape(-1)[0]
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iu":
        return int(value.reshape(-1)[0])
    reject(what, f"{_short(value)} is not a size: an int, a dimension or an int tensor is")


def as_known_int(value, what: str) -> int:
    """A number that must be known at definition (an axis, a count)."""
    size = as_size(value, what)
    if not isinstance(size, int):
        reject(what, f"this must be known while the graph is defined, but is {size}")
    return size


def _unknown(tensor: Tensor) -> str:
    if not tensor.dtype.is_integer:
        return f"sizes are integers, but {tensor.name} is {tensor.tensor_type}"
    return (
        f"the value of {tensor.name} ({tensor.tensor_type}) depends on data, so it is no size: "
        "sizes come from numbers and from graphflow.shape(x)"
    )


def known_axes(axis, rank: int, what: str) -> tuple[int, ...]:
    """Axes as sorted non-negative numbers: from None (all), an int, a list or a constant tensor."""
    if axis is None:
        return tuple(range(rank))
    if is_tensor_like(axis):
        axis = [as_known_int(a, what) for a in as_sizes(axis, what)]
    items = axis if isinstance(axis, (list, tuple, range, np.ndarray)) else [axis]
    axes = [known_axis(item, rank, what) for item in items]
    if len(set(axes)) != len(axes):
        reject(what, f"the axes {list(items)} name one axis twice")
    return tuple(sorted(axes))


def known_axis(axis, rank: int, what: str) -> int:
    """One axis as a non-negative number."""
    number = as_known_int(axis, what)
    if not -rank <= number < rank:
        reject(what, f"axis {number} is out of range for a tensor of rank {rank}")
    return number % rank if rank else 0


def index_dtype(value) -> DType:
    """int32 or int64: the dtype an index argument asks for."""
    dtype = as_dtype(value)
    if dtype.name not in ("int32", "int64"):
        reject("index dtype", f"int32 or int64 is needed, got {dtype}")
    return dtype
