"""The random number generator: counter-based, so that every number has an address.

`random_bits` is Philox 4x32-10 (J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel
Random Numbers: As Easy as 1, 2, 3", SC 2011). The element at row-major position p is word 0 (of
`words` = 2 also word 1) of

    philox4x32-10(counter = (low32(p), high32(p), low32(d), high32(d)),
                  key     = (low32(k), high32(k)),   k = seed XOR stream)

* d, an int64 input: how often this operation has drawn in this session. It is a hidden variable
  of the operation, which every run that needs the operation moves on by one; so a run draws the
  same numbers however often a pass computes them, on any number of threads.
* seed, an int64 input: the graph's seed, or where that is not set, a hidden variable of the graph
  that every session sets for itself (to ConfigProto's seed, else to fresh entropy). As it is an
  input, compiled code never depends on it.
* stream, an attribute: SHA-256 of the operation's own seed, or of its number among the random
  operations of its graph, cut to 64 bits.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import int64, uint32
from ..errors import TypeRuleError
from ..ir.node import FrozenArray, Node
from ..ir.op import STATE, Op, define, find
from ..ir.types import TensorType
from ..loop import nodes as loop
from ..sizes import Size, product

__all__: list[str] = []

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_MASK = 0xFFFFFFFF


def philox(counter, key):
    """Philox 4x32-10 on NumPy arrays of uint64 that hold 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0 = c0 * np.uint64(_MULTIPLIERS[0])
        product1 = c2 * np.uint64(_MULTIPLIERS[1])
        high0, low0 = product0 >> np.uint64(32), product0 & np.uint64(_MASK)
        high1, low1 = product1 >> np.uint64(32), product1 & np.uint64(_MASK)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + np.uint64(_WEYL[0])) & np.uint64(_MASK)
        k1 = (k1 + np.uint64(_WEYL[1])) & np.uint64(_MASK)
    return c0, c1, c2, c3


def _halves(value: int) -> tuple[np.ndarray, np.ndarray]:
    value &= 0xFFFFFFFFFFFFFFFF
    low, high = value & _MASK, value >> 32
    return np.full(1, low, np.uint64), np.full(1, high, np.uint64)


def _infer_bits(types, attrs, sizes):
    """seed, drawn: int64 scalars. `words` tensors of uint32 in the shape of the attribute."""
    for type_, what in zip(types, ("seed", "draw counter"), strict=True):
        if type_.dtype is not int64 or type_.shape != ():
            raise TypeRuleError(f"the {what} must be an int64 scalar, not {type_}")
    for dim in attrs["shape"]:
        if isinstance(dim, int) and dim < 0:
            raise TypeRuleError(f"the shape {list(attrs['shape'])} has a negative dimension")
    return [TensorType(uint32, tuple(attrs["shape"]))] * attrs["words"]


def _reference_bits(arrays, attrs, node):
    seed, drawn = (int(array) for array in arrays)
    shape = tuple(attrs["shape"])
    position = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.uint64)
    low, high = _halves(drawn)
    counter = (position & np.uint64(_MASK), position >> np.uint64(32), low, high)
    words = philox(counter, _halves(seed ^ attrs["stream"]))
    return [word.astype(np.uint32).reshape(shape) for word in words[: attrs["words"]]]


def _lower_bits(node: Node, index, context, output):
    def low(value: loop.Expr) -> loop.Expr:
        return loop.cast(value, uint32)

    def high(value: loop.Expr) -> loop.Expr:
        return loop.cast(loop.apply("shr", value, loop.Const(32)), uint32)

    shape = node.attrs.shape
    seed, drawn = context.let(context.read(0, ())), context.let(context.read(1, ()))
    key = context.let(loop.apply("xor", seed, loop.Const(node.attrs.stream)))
    position = context.let(loop.linear(index, shape))
    total = product(shape)
    above: loop.Expr = loop.Const(0, uint32)
    if isinstance(total, Size) or total > _MASK:
        above = high(position)
    c0, c1, c2, c3 = low(position), above, context.let(low(drawn)), context.let(high(drawn))
    k0, k1 = context.let(low(key)), context.let(high(key))
    m0, m1 = (loop.Const(m, uint32) for m in _MULTIPLIERS)
    w0, w1 = (loop.Const(w, uint32) for w in _WEYL)
    for number in range(_ROUNDS):
        high0, low0 = loop.apply("mulhi", c0, m0), loop.apply("mul", c0, m0)
        high1, low1 = loop.apply("mulhi", c2, m1), loop.apply("mul", c2, m1)
        c0 = loop.apply("xor", loop.apply("xor", high1, c1), k0)
        c2 = loop.apply("xor", loop.apply("xor", high0, c3), k1)
        c1, c3 = low1, low0
        if number < _ROUNDS - 1:
            k0 = context.let(loop.apply("add", k0, w0))
            k1 = context.let(loop.apply("add", k1, w1))
    return (c0, c1, c2, c3)[output]


random_bits = define(
    Op(
        name="random_bits",
        infer=_infer_bits,
        reference=_reference_bits,
        vjp=lambda node, gradients: [None, None],
        lower=_lower_bits,
        flops=80.0,
    )
)


def _update_draw(previous, inputs, node):
    one = find("constant")(value=FrozenArray(np.int64(1)))
    return find("add")(previous, one), (previous,)


# How often the operation has drawn before; counts this time in.
draw = define(
    Op(
        name="draw",
        kind=STATE,
        infer=lambda types, attrs, sizes: [attrs["variable"].tensor_type],
        update=_update_draw,
        serial=True,
    )
)


def _lower_mulhi(node: Node, index, context, output):
    a, b = (context.read_broadcast(n, index) for n in (0, 1))
    return loop.apply("mulhi", a, b)


def _infer_mulhi(types, attrs, sizes):
    a, b = types
    if a.dtype is not uint32 or b.dtype is not uint32:
        raise TypeRuleError(f"both inputs must be uint32, not {a.dtype} and {b.dtype}")
    return [TensorType(uint32, sizes.broadcast([a.shape, b.shape]))]


def _reference_mulhi(arrays, attrs, node):
    wide = arrays[0].astype(np.uint64) * arrays[1].astype(np.uint64)
    return [(wide >> np.uint64(32)).astype(np.uint32)]


# The high 32 bits of the product of two uint32 numbers.
multiply_high = define(
    Op(
        name="multiply_high",
        infer=_infer_mulhi,
        reference=_reference_mulhi,
        vjp=lambda node, gradients: [None, None],
        lower=_lower_mulhi,
        flops=1.0,
    )
)
