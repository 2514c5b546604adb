"""Calls of Python functions out of a running step: py_func and printing."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..errors import InvalidArgumentError
from ..ir.node import Node, Tensor
from ..ir.op import EFFECT, Op, define
from ..ir.types import TensorType
from ..ir.values_text import Form, define_form
from .convert import as_sizes, convert, reject
from .effects import shown, with_dependencies

__all__ = ["Print", "numpy_function", "print", "py_func"]


def _infer_host_call(types, attrs, sizes):
    return [
        TensorType(dtype, shape)
        for dtype, shape in zip(attrs["dtypes"], attrs["shapes"], strict=True)
    ]


def _reference_host_call(arrays, attrs, node):
    results = attrs["function"](*(np.array(array) for array in arrays))
    if len(attrs["dtypes"]) == 0:
        return []
    many = isinstance(results, (list, tuple))
    results = list(results) if many else [results]
    for result, shape in zip(results, attrs["shapes"], strict=True):
        if np.shape(result) != tuple(shape):
            raise InvalidArgumentError(
                f"{attrs['function']} gave an array of shape {list(np.shape(result))}, "
                f"{list(shape)} was declared"
            )
    return results


# Lowered by the plan: a host call of the run-time system.
host_call = define(
    Op(
        name="host_call",
        kind=EFFECT,
        infer=_infer_host_call,
        reference=_reference_host_call,
        serial=True,
        fallible=True,
        any_rank=True,
    )
)


class HostFunction:
    """A user's Python function as a step calls it: arrays in, arrays of the declared dtypes out."""

    def __init__(self, function: Callable[..., Any], dtypes: Sequence, label: str):
        self.function = function
        self.dtypes = tuple(dtypes)
        self.label = label

    def __call__(self, *arrays):
        results = self.function(*arrays)
        if not self.dtypes:
            return ()
        if not isinstance(results, (list, tuple)):
            results = [results]
        elif len(self.dtypes) == 1 and len(results) != 1:
            results = [results]  # a list of numbers is one array
        if len(results) != len(self.dtypes):
            raise InvalidArgumentError(
                f"{self} gave {len(results)} results, Tout declares {len(self.dtypes)}"
            )
        converted = []
        for number, (result, dtype) in enumerate(zip(results, self.dtypes, strict=True)):
            array = np.asarray(result)
            plain = not isinstance(result, (np.ndarray, np.generic))  # Python numbers adapt
            if not np.can_cast(array.dtype, dtype.numpy, "same_kind" if plain else "safe"):
                raise InvalidArgumentError(
                    f"{self} gave {array.dtype} as result {number}, Tout declares {dtype}"
                )
            converted.append(array.astype(dtype.numpy))
        return converted

    def __str__(self) -> str:
        return f"py_func {self.label}"

    def __repr__(self) -> str:
        return f"<{self}>"


def py_func(
    func: Callable[..., Any],
    inp: Sequence,
    Tout,  # noqa: N803
    stateful: bool = True,
    name: str | None = None,
    shapes=None,
):
    """Calls a Python function in a run: NumPy arrays in, NumPy arrays out.

    inp: tensors, given to `func` as arrays of its own. Tout: the dtype of the result, or a list of
    them; the function's values must have these dtypes (or safely convert).
    shapes: the result's shape, or a list of shapes. Sizes may be symbolic, such as `x.shape[0]` or
        `shape(x)[0]`; sizes that only the function knows cannot be declared. It may be left out
        only where there is no result.
    stateful: accepted; calls are never merged, moved or made up front.
    The function is called once in each run that needs a result, in the order of definition among
    the effects. What it raises, the run raises. It has no gradient; see custom_gradient.
    """
    many = isinstance(Tout, (list, tuple))
    dtypes = tuple(as_dtype(item) for item in (Tout if many else [Tout]))
    tensors = [convert(item, what="py_func") for item in inp]
    label = getattr(func, "__name__", type(func).__name__)
    if not callable(func):
        reject("py_func", f"{func!r} cannot be called")
    declared: list = []
    if dtypes:
        if shapes is None:
            reject(
                "py_func",
                f"the shape of what {label} gives is not known; declare it, such as "
                "shapes=[x.shape] for a result shaped as x",
            )
        declared = list(shapes) if many or _is_nest(shapes, len(dtypes)) else [shapes]
        if len(declared) != len(dtypes):
            reject("py_func", f"{len(dtypes)} results, but {len(declared)} shapes")
    result = host_call(
        *tensors,
        function=HostFunction(func, dtypes, label),
        dtypes=dtypes,
        shapes=tuple(as_sizes(shape, "py_func") for shape in declared),
        name=name or "PyFunc",
    )
    if not dtypes or not many:
        return result
    return [result] if isinstance(result, Tensor) else list(result)


def _is_nest(shapes, count: int) -> bool:
    """Whether `shapes` is a list of one shape rather than a shape."""
    return (
        isinstance(shapes, (list, tuple))
        and len(shapes) == count
        and all(isinstance(s, (list, tuple)) or hasattr(s, "_as_dims") for s in shapes)
    )


def numpy_function(func, inp, Tout, name: str | None = None, shapes=None):  # noqa: N803
    """As py_func."""
    return py_func(func, inp, Tout, True, name, shapes)


# -- printing ------------------------------------------------------------------------------------


class Printer:
    """Writes a line with the values of tensors: the function behind a print operation.

    parts: texts, and the numbers of the tensors that stand between them.
    stream: what it writes to; sys.stderr, as it is at the time of the call, if None; the name of a
        stream, as in a text, is looked up, or the file opened, at the first call.
    """

    def __init__(self, parts, end: str, stream, edge: int, first_n: int = -1, flat: bool = False):
        self.parts = parts
        self.end = end
        self.stream = stream
        self.edge = edge
        self.flat = flat
        self.first_n = first_n
        self.left = first_n

    def __call__(self, *arrays):
        if self.left == 0:
            return ()
        self.left -= self.left > 0
        text = "".join(
            part if isinstance(part, str) else self._text(arrays[part]) for part in self.parts
        )
        if isinstance(self.stream, str):
            self.stream = sys.stdout if self.stream == "stdout" else _stream(self.stream)
        stream = sys.stderr if self.stream is None else self.stream
        stream.write(text + self.end)
        stream.flush()
        return ()

    def _text(self, array: np.ndarray) -> str:
        if self.flat:
            return shown(array, self.edge)
        if array.ndim == 0:
            return str(array[()])
        edge = array.size if self.edge < 0 else self.edge
        return np.array2string(array, threshold=2 * edge, edgeitems=max(edge, 1), separator=" ")

    def parts_of_text(self) -> tuple | None:
        """What it is made of, as values with a text; None where it writes to another stream."""
        stream: Any = self.stream
        if stream is sys.stdout:
            stream = "stdout"
        elif isinstance(stream, io.TextIOWrapper) and stream.mode == "a":
            stream = f"file://{stream.name}"
        elif stream is not None and not isinstance(stream, str):
            return None
        return tuple(self.parts), self.end, stream, self.edge, self.first_n, self.flat

    def __str__(self) -> str:
        return "print"


define_form(Printer, Form("printer", Printer.parts_of_text, Printer))


def _stream(output_stream):
    """None stands for the standard error of the moment; a file:// name is opened to append."""
    if output_stream is None or output_stream is sys.stderr:
        return None
    if isinstance(output_stream, str):
        if not output_stream.startswith("file://"):
            reject("print", f"output_stream {output_stream!r} is neither a stream nor file://PATH")
        return open(output_stream[len("file://") :], "a")  # noqa: SIM115  lives with the graph
    if not hasattr(output_stream, "write"):
        reject("print", f"output_stream {output_stream!r} is not a stream")
    return output_stream


def print(*inputs, **kwargs) -> Node:  # noqa: A001
    """An operation that prints `inputs` (tensors, strings, anything, and nests of these).

    output_stream: standard error unless given; summarize: elements shown at each end of a
    dimension, 3 unless given, -1 for all; sep, end: as Python's print; name.
    Run it, or make something depend on it with `control_dependencies`.
    """
    stream = _stream(kwargs.pop("output_stream", None))
    summarize = kwargs.pop("summarize", 3)
    separator, end = kwargs.pop("sep", " "), kwargs.pop("end", "\n")
    name = kwargs.pop("name", None)
    if kwargs:
        raise TypeError(f"print: no such arguments: {', '.join(kwargs)}")
    parts: list = []
    tensors: list[Tensor] = []
    for number, item in enumerate(inputs):
        if number:
            parts.append(separator)
        _collect(item, parts, tensors)
    printer = Printer(parts, end, stream, 3 if summarize is None else summarize)
    return host_call(*tensors, function=printer, dtypes=(), shapes=(), name=name or "print")


def _collect(item, parts: list, tensors: list[Tensor]) -> None:
    """Texts and tensors of a nest, in order."""
    if isinstance(item, Tensor) or hasattr(item, "_as_tensor"):
        parts.append(len(tensors))
        tensors.append(convert(item))
    elif isinstance(item, (list, tuple)):
        left, right = "[]" if isinstance(item, list) else "()"
        parts.append(left)
        for number, inner in enumerate(item):
            if number:
                parts.append(", ")
            _collect(inner, parts, tensors)
        parts.append(right)
    elif isinstance(item, dict):
        parts.append("{")
        for number, (key, inner) in enumerate(item.items()):
            parts.append(f"{', ' if number else ''}{key!r}: ")
            _collect(inner, parts, tensors)
        parts.append("}")
    else:
        parts.append(str(item))


def Print(  # noqa: N802
    input_, data, message: str | None = None, first_n: int | None = None, summarize=None, name=None
) -> Tensor:
    """`input_`, printing `message` and `data` to standard error whenever it is computed.

    first_n: stop after so many times. summarize: elements shown of each tensor, 3 if None.
    """
    source = convert(input_, what="Print")
    parts: list = [message or ""]
    tensors: list[Tensor] = []
    for item in data:
        if isinstance(item, str):
            parts.append(f"[{item}]")
        else:
            parts.append(len(tensors))
            tensors.append(convert(item, what="Print"))
    limit = -1 if first_n is None else first_n
    printer = Printer(parts, "\n", None, 3 if summarize is None else summarize, limit, flat=True)
    effect = host_call(*tensors, function=printer, dtypes=(), shapes=(), name="print")
    return with_dependencies([effect], source, name or "Print")
