"""What an export consists of, before any of it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..dtypes import DType
from ..ir.types import TensorType
from ..sizes import Dim, Size, Symbol, as_symbol, is_trip_symbol, substitute, symbols_of
from .signatures import identifier
from .steps import Compiled, Steps

COMPUTED = -(1 << 63)  # GF_COMPUTED


@dataclass(frozen=True)
class Value:
    """A feed or an output.

    dims:    itself if >= 0, ~d for size d of the signature, or COMPUTED
    is_open: its shape is known only when the step has run
    """

    name: str
    c_name: str
    dtype: str
    dims: tuple[int, ...]
    shape_text: str
    is_open: bool = False


@dataclass(frozen=True)
class SizeName:
    name: str
    c_name: str
    where: str  # "axis 0 of x"


@dataclass(frozen=True)
class Signature:
    """symbols: what each symbol of the descriptions is: a number, or ~d for size d"""

    name: str
    c_name: str
    sizes: tuple[SizeName, ...]
    symbols: tuple[int, ...]
    feeds: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True)
class Variable:
    """shape: None where any size will do. value: at export, or None. embedded: its bytes, where
    they are part of the library."""

    name: str
    c_name: str
    dtype: str
    shape: tuple[int | None, ...]
    value: np.ndarray | None
    embedded: bytes | None
    optional: bool

    @property
    def shape_text(self) -> str:
        return ",".join("?" if d is None else str(d) for d in self.shape)


@dataclass(frozen=True)
class BuiltVariant:
    name: str
    features: int
    feature_names: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """prefix: of all its C names"""

    name: str
    prefix: str
    hash: str
    triple: str
    signatures: tuple[Signature, ...]
    variables: tuple[Variable, ...]
    variants: tuple[BuiltVariant, ...]
    steps: Steps

    @property
    def weights_bytes(self) -> int:
        return sum(v.value.nbytes for v in self.variables if v.value is not None)


def describe_signature(compiled: Compiled) -> Signature:
    """Names for what a compiled signature takes and gives."""
    program, signature = compiled.step.program, compiled.signature
    bound = program.bound_types()
    unified: dict[Symbol, Dim] = {}
    places: dict[Symbol, list[tuple[str, int]]] = {}
    for name, type_, feed in zip(signature.feeds, bound, program.feeds, strict=True):
        known = feed.tensor_type.shape or ()
        for axis, (dim, meant) in enumerate(zip(type_.shape or (), known, strict=True)):
            symbol = as_symbol(dim)
            if symbol is None:
                continue
            if not isinstance(meant, int) and as_symbol(meant) is None:
                meant = Size.of(symbol)  # which others are worked out from
            unified.setdefault(symbol, meant)
            for found in symbols_of(meant):
                places.setdefault(found, []).append((name, axis))
    sizes = {symbol: i for i, symbol in enumerate(places)}
    names = _size_names(places, [*signature.feeds, *signature.outputs])
    spelled = {s: Size.of(Symbol(n.c_name, -1)) for s, n in zip(sizes, names, strict=True)}

    def value(name: str, dtype: DType, shape: Sequence[Dim]) -> Value:
        meant = [unified.get(as_symbol(d), d) for d in shape]  # type: ignore[arg-type]
        dims = tuple(_dim(d, sizes) for d in meant)
        text = ",".join(_dim_text(d, spelled) for d in meant)
        is_open = any(map(is_trip_symbol, symbols_of(meant)))
        return Value(name, identifier(name), dtype.name, dims, text, is_open)

    symbols = [_dim(meant, sizes) for meant in unified.values()]
    return Signature(
        signature.name,
        identifier(signature.name),
        tuple(names),
        tuple(symbols),
        tuple(
            value(n, t.dtype, t.shape or ()) for n, t in zip(signature.feeds, bound, strict=True)
        ),
        tuple(
            value(n, t.dtype, t.tensor_type.shape or ())
            for n, t in zip(signature.outputs, program.fetches, strict=True)
        ),
    )


def _dim(dim: Dim, sizes: Mapping[Symbol, int]) -> int:
    if isinstance(dim, int):
        return dim
    symbol = as_symbol(dim)
    return COMPUTED if symbol is None or symbol not in sizes else ~sizes[symbol]


def _dim_text(dim: Dim, spelled: Mapping[Symbol, Size]) -> str:
    if any(symbol not in spelled for symbol in symbols_of(dim)):
        return "?"
    return str(substitute(dim, spelled))


def _size_names(
    places: Mapping[Symbol, Sequence[tuple[str, int]]], taken: Sequence[str]
) -> list[SizeName]:
    """A name for each size: "batch" if there is one alone and it always comes first, else that of a
    feed and its axis."""
    used = {identifier(name) for name in taken}
    names = []
    for rows in places.values():
        feed, axis = rows[0]
        text = f"{feed}_dim{axis}"
        if len(places) == 1 and all(a == 0 for _, a in rows) and "batch" not in used:
            text = "batch"
        while identifier(text) in used:
            text += "_"
        used.add(identifier(text))
        where = ", ".join(f"axis {a} of {f}" for f, a in rows)
        names.append(SizeName(text, identifier(text), where))
    return names


def static_shape(type_: TensorType) -> tuple[int | None, ...]:
    return tuple(d if isinstance(d, int) else None for d in type_.shape or ())


__all__ = [
    "BuiltVariant",
    "Model",
    "Signature",
    "SizeName",
    "Value",
    "Variable",
    "describe_signature",
]
