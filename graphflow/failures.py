"""The messages of what can go wrong around and inside a run: short, and about the user's program.

Each function returns an exception to raise. A message stays under 12 lines, and names the
operation, its type and the line that defined it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import errors
from .errors import FailedPreconditionError, FeedError, GraphError, InvalidArgumentError
from .ir.node import Tensor
from .ir.program import Origin
from .ir.types import Constraint
from .ir.variable import VariableHandle
from .sizes import symbols_of


def where(tensor: Tensor) -> str:
    """A tensor's name, type and line."""
    graph = tensor.graph
    location = f", defined at {graph.location(tensor.node)}" if graph is not None else ""
    return f"{tensor.name} {tensor.tensor_type}{location}"


def origin_lines(origins: Sequence[Origin], limit: int = 3) -> str:
    lines = [f"\n  {origin}" for origin in origins[:limit]]
    if len(origins) > limit:
        lines.append(f"\n  and {len(origins) - limit} more operations")
    return "".join(lines)


def _describe_value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a NumPy array {value.dtype}{list(value.shape)}"
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return f"{type(value).__name__} {text}"


def _shape_text(shape: Sequence[Any]) -> str:
    return f"[{','.join(map(str, shape))}]"


def feed_error(tensor: Tensor, value: Any, cause: BaseException | None) -> FeedError:
    """A value that does not convert to the fed tensor's dtype, or has the wrong rank or size."""
    head = f"cannot feed {where(tensor)}\n  with {_describe_value(value)}"
    if isinstance(value, Tensor):
        return FeedError(
            f"{head}: a feed is a value, not a tensor; run it first and feed what it gives"
        )
    try:
        array = np.asarray(value)
    except ValueError:
        return FeedError(f"{head}: its rows have different lengths, so it is not an array")
    if array.dtype == object:
        return FeedError(f"{head}: it holds Python objects that are not numbers")
    if array.dtype.kind in "US":
        return FeedError(f"{head}: text does not convert to {tensor.dtype}")
    if array.dtype.kind == "c":
        return FeedError(f"{head}: complex numbers do not convert to {tensor.dtype}")
    dims = tensor.dims
    if dims is not None and array.ndim != len(dims):
        return FeedError(
            f"{head}: it has rank {array.ndim} (shape {_shape_text(array.shape)}), "
            f"the tensor has rank {len(dims)}"
        )
    if dims is not None:
        for axis, (have, want) in enumerate(zip(array.shape, dims, strict=True)):
            if isinstance(want, int) and have != want:
                layout = ""
                if sorted(map(str, array.shape)) == sorted(map(str, dims)):
                    layout = "; the same sizes in another order: is it transposed?"
                return FeedError(
                    f"{head}: axis {axis} has size {have}, the tensor has {want} there "
                    f"(shape {_shape_text(array.shape)}){layout}"
                )
    reason = f": {cause}" if cause is not None else ""
    return FeedError(f"{head}{reason}")


def size_error(
    constraint: Constraint,
    origins: Sequence[Origin],
    feeds: Sequence[tuple[Tensor, Sequence[Any], Sequence[int]]],
    a: int,
    b: int,
) -> InvalidArgumentError:
    """Two sizes an operation needs equal are not. `feeds` gives each fed tensor, its dims in the
    Program, and the shape it was fed with."""
    sources = []
    for tensor, dims, shape in feeds:
        for axis, dim in enumerate(dims):
            for side in (constraint.a, constraint.b):
                if not isinstance(side, int) and set(symbols_of(side)) & set(symbols_of(dim)):
                    text = f"\n  axis {axis} of {where(tensor)} was fed {shape[axis]}"
                    if text not in sources:
                        sources.append(text)
    return InvalidArgumentError(
        f"two sizes must be equal but are {a} and {b}{''.join(sources[:4])}"
        f"\nneeded by{origin_lines(origins)}"
    )


def feed_size_error(
    tensor: Tensor, axis: int, have: int, want: int, first: tuple[Tensor, int] | None
) -> FeedError:
    """A fed dimension that differs from the size an earlier feed bound."""
    other = ""
    if first is not None:
        other = f",\n  as axis {first[1]} of {where(first[0])} was fed"
    return FeedError(
        f"cannot feed {where(tensor)}:\n  axis {axis} has size {have}, it must be {want}{other}"
    )


def check_failed(
    message: str,
    error: str,
    origins: Sequence[Origin],
    values: Sequence[int],
    data: Sequence[np.ndarray] = (),
) -> GraphError:
    """A run-time check inside a kernel failed. `data` are the values of a failed assertion."""
    kind = getattr(errors, error, InvalidArgumentError)
    text = message
    for number, value in enumerate(values):
        text = text.replace(f"{{{number}}}", str(value))
    for array in data[:3]:
        flat = array.reshape(-1)
        shown = ", ".join(str(v) for v in flat[:6])
        text += f"\n  value {array.dtype}{list(array.shape)}: {shown}"
        if flat.size > 6:
            text += f", … ({flat.size} in all)"
    return kind(f"{text}{origin_lines(origins)}")


def uninitialized(names_and_lines: Sequence[tuple[str, Any]]) -> FailedPreconditionError:
    """Variables that were read before anything was assigned to them; all of them, by line."""
    by_line = [f"{name} (defined at {location})" for name, location in names_and_lines]
    listed = "\n  ".join(by_line[:8])
    if len(by_line) > 8:
        rest = ", ".join(name for name, _ in names_and_lines[8:])
        listed += f"\n  and {rest}"
    return FailedPreconditionError(
        f"{len(by_line)} variable{'s are' if len(by_line) > 1 else ' is'} not initialised; run "
        f"graphflow.global_variables_initializer() first, or restore a checkpoint\n  {listed}"
    )


def over_budget(needed: int, budget: int, largest: Sequence[tuple[str, int]]) -> GraphError:
    rows = "".join(f"\n  {size:,} B  {name}" for name, size in largest[:8])
    return errors.ResourceExhaustedError(
        f"a run needs {needed:,} B at its peak, more than memory_budget={budget:,} B allows, even "
        f"where values are computed again instead of being kept; its largest values:{rows}"
    )


def fitting(values: Mapping[VariableHandle, Any]) -> dict[VariableHandle, np.ndarray]:
    """The values as arrays their variables can take; InvalidArgumentError if one does not fit."""
    arrays = {}
    for handle, value in values.items():
        try:
            array = np.asarray(value, dtype=handle.dtype.numpy)
        except (ValueError, TypeError) as error:
            raise InvalidArgumentError(
                f"variable {handle.name} {handle.tensor_type}, defined at {handle.location}, "
                f"cannot take {_describe_value(value)}: {error}"
            ) from None
        shape = handle.shape
        fits = shape is None or (
            len(shape) == array.ndim
            and all(
                not isinstance(want, int) or want == have
                for want, have in zip(shape, array.shape, strict=True)
            )
        )
        if not fits:
            raise InvalidArgumentError(
                f"variable {handle.name} {handle.tensor_type}, defined at {handle.location}, "
                f"cannot take a value of shape {list(array.shape)}"
            )
        arrays[handle] = array
    return arrays
