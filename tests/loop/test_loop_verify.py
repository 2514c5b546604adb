"""Kernels that are not well-formed are refused, with the reason."""

from __future__ import annotations

import pytest

from graphflow.dtypes import bool_, float32, int32, int64
from graphflow.errors import InternalError
from graphflow.loop.nodes import (
    Accumulate,
    Apply,
    Buffer,
    Const,
    For,
    If,
    Invoke,
    Kernel,
    Let,
    Load,
    Local,
    Store,
    Var,
)
from graphflow.loop.verify import verify

A = Buffer("a", float32, 8)
B = Buffer("b", float32, 8, "out")
INDEX, OUTER = Var("i"), Var("j")
ONE = Const(1.0, float32)
ZERO = Const(0)


def loop(kind, *body, extent=None, var=INDEX, grain=1):
    return For(var, extent or Const(8), kind, body, grain)


COPY = Store(B, INDEX, Load(A, INDEX))

WRONG = {
    "a vector loop stands in a vector loop": loop(
        "vector", loop("vector", COPY), var=OUTER
    ),
    "a parallel loop stands in a loop that is none": loop(
        "serial", loop("parallel", COPY), var=OUTER
    ),
    "no loop of kind 'zigzag'": loop("zigzag", COPY),
    "has an extent that is not constant": loop(
        "serial", loop("unrolled", COPY, extent=OUTER), var=OUTER
    ),
    "i has no value here": COPY,
    "a is only to be read": loop("serial", Store(A, INDEX, ONE)),
    "b holds float32, not int32": loop("serial", Store(B, INDEX, Const(1, int32))),
    "the index is int32": loop("serial", Store(B, Const(0, int32), ONE)),
    "'xor' does not accumulate": loop("serial", Accumulate(B, INDEX, "xor", ONE)),
    "the condition is float32": If(ONE, ()),
    "there is no operator 'twist'": Store(B, ZERO, Apply("twist", (ONE,), float32)),
    "add takes 2 operands, not 1": Store(B, ZERO, Apply("add", (ONE,), float32)),
    "mul of float32, int32": Store(B, ZERO, Apply("mul", (ONE, Const(1, int32)), float32)),
    "lt gives bool": Let(Var("x", float32), Apply("lt", (ONE, ONE), float32)),
    "select by float32": Store(B, ZERO, Apply("select", (ONE, ONE, ONE), float32)),
    "x is int64, not float32": Let(Var("x", int64), ONE),
    "t is neither a parameter nor declared here": Store(Local("t", float32), ZERO, ONE),
    "takes other arguments": Invoke(Kernel("k", (A, B), ()), ((A, ZERO),)),
    "has a parallel loop": Invoke(
        Kernel("k", (A, B), (loop("parallel", COPY),)), ((A, ZERO), (B, ZERO))
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", WRONG)
def test_refused(reason):
    with pytest.raises(InternalError, match="kernel k") as caught:
        verify(Kernel("k", (A, B), (WRONG[reason],)))
    assert reason in str(caught.value)


def test_names_end_with_their_block():
    inside = loop("serial", Let(Var("x", float32), ONE))
    name = inside.body[0].var
    with pytest.raises(InternalError, match="x has no value here"):
        verify(Kernel("k", (A, B), (inside, Store(B, ZERO, name))))


def test_accepted():
    condition = Apply("lt", (Load(A, INDEX), ONE), bool_)
    verify(
        Kernel("k", (A, B), (loop("parallel", loop("vector", If(condition, (COPY,))), var=OUTER),))
    )
