"""Operators that take more than a few instructions, written in Loop IR."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ..dtypes import DType
from ..loop import nodes as loop


@dataclass(frozen=True)
class Template:
    """`result` of `parameters`, after running `body`."""

    parameters: tuple[loop.Var, ...]
    body: tuple[loop.Stmt, ...]
    result: loop.Expr


@cache
def template(op: str, dtype: DType) -> Template:
    raise NotImplementedError(op)
