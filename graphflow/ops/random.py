"""Random numbers: uniform, normal, choices; what they are made of is in random_bits.py.

Seeds follow TensorFlow 1: with neither a graph seed nor an operation seed, sessions differ; with a
graph seed, every operation has a sequence of its own; with an operation seed alone, the graph seed
counts as 87654321; operations with the same two seeds draw the same sequence. The sequences
themselves are not TensorFlow's.

The hidden variables are in the graph's collection RANDOM_STATES, so that a saved model continues
its random numbers where it stopped.
"""

from __future__ import annotations

import hashlib
import math
import operator

import numpy as np

from ..dtypes import DType, as_dtype, float32, float64, int32, int64, uint32
from ..ir.graph import Graph, get_default_graph, user_location
from ..ir.node import FrozenArray, Tensor
from ..ir.op import find
from ..ir.variable import VariableHandle
from ..sizes import Dim
from .convert import as_size, as_sizes, convert, reject
from .indexing import gather_op, require_ranks, reshaped
from .random_bits import draw, multiply_high, random_bits
from .sorting import sort_order

__all__ = [
    "categorical",
    "get_seed",
    "multinomial",
    "random_normal",
    "random_shuffle",
    "random_uniform",
    "set_random_seed",
    "truncated_normal",
]

RANDOM_STATES = "random_states"  # collection: the VariableHandles of draw counters and the seed
SESSION_SEED = "graphflow/seed"  # name of the hidden variable that a session sets for itself
DEFAULT_GRAPH_SEED = 87654321

# -- seeds ---------------------------------------------------------------------------------------


def set_random_seed(seed) -> None:
    """Sets the default graph's seed, for the random operations defined from here on.

    None takes it back: operations without a seed of their own differ from session to session.
    """
    get_default_graph().seed = None if seed is None else _seed_number(seed, "set_random_seed")


def _seed_number(seed, what: str) -> int:
    try:
        return operator.index(seed)
    except TypeError:
        reject(what, f"a seed is a whole number or None, got {seed!r}")


def get_seed(op_seed):
    """(graph seed, operation seed) as TensorFlow 1 combines them; (None, None) if neither is set.

    An operation without a seed of its own is numbered within its graph.
    """
    graph = get_default_graph()
    if graph.seed is None and op_seed is None:
        return None, None
    number = len(graph.get_collection_ref(RANDOM_STATES))
    return (
        DEFAULT_GRAPH_SEED if graph.seed is None else graph.seed,
        number if op_seed is None else _seed_number(op_seed, "seed"),
    )


def _signed64(value: int) -> int:
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >> 63 else value


def _stream(text: str) -> int:
    digest = hashlib.sha256(text.encode()).digest()
    return _signed64(int.from_bytes(digest[:8], "little"))


def _hidden(graph: Graph, name: str) -> VariableHandle:
    handle = VariableHandle(name, int64, (), user_location(), FrozenArray(np.int64(0)))
    graph.add_to_collection(RANDOM_STATES, handle)
    return handle


def _session_seed(graph: Graph) -> Tensor:
    """A read of the hidden seed of the graph, of which there is one."""
    for handle in graph.get_collection_ref(RANDOM_STATES):
        if handle.name == SESSION_SEED:
            break
    else:
        handle = _hidden(graph, SESSION_SEED)
    return find("variable_read")(variable=handle, name="seed")


def bits(shape, seed, what: str, words: int = 1):
    """Random uint32 tensors of a shape for a new random operation: one, or a tuple of `words`."""
    graph = get_default_graph()
    dims: tuple[Dim, ...] = as_sizes(shape, what)
    number = len(graph.get_collection_ref(RANDOM_STATES))
    graph_seed, op_seed = get_seed(seed)
    if graph_seed is None:
        key = _session_seed(graph)
    else:
        key = find("constant")(value=FrozenArray(np.int64(_signed64(graph_seed))), name="seed")
    # Its own seed, or its number: two kinds of text, so that the two never meet.
    stream = _stream(f"operation {number}" if seed is None else f"seed {op_seed}")
    handle = _hidden(graph, graph.unique_name("draws"))
    counter = draw(variable=handle, name="draw")
    return random_bits(key, counter, shape=dims, stream=stream, words=words)


# -- uniform -------------------------------------------------------------------------------------


def _scalar(value: float, dtype: DType) -> Tensor:
    return find("constant")(value=FrozenArray(np.asarray(value, dtype.numpy)))


def _as_float(word: Tensor, shift: int, dtype: DType) -> Tensor:
    """The bits above `shift` as a float; a conversion through int32, which all CPUs have."""
    shifted = find("right_shift")(word, _scalar(shift, uint32))
    return find("cast")(find("cast")(shifted, dtype=int32), dtype=dtype)


def unit(shape, dtype: DType, seed, what: str, open_end: bool = False) -> Tensor:
    """Uniform floats in [0, 1), of 24 random bits (53 in float64); in (0, 1) with `open_end`."""
    if dtype is float64:
        high, low = bits(shape, seed, what, words=2)
        total = find("mul")(_as_float(high, 5, dtype), _scalar(2.0**26, dtype))
        number = find("add")(total, _as_float(low, 6, dtype))
        scale = 2.0**-53
    else:
        number, scale = _as_float(bits(shape, seed, what), 8, dtype), 2.0**-24
    if open_end:  # the middle of each step; one bit less, so that the sum is exact
        number = find("add")(find("floor")(find("mul")(number, _scalar(0.5, dtype))),
                             _scalar(0.5, dtype))  # fmt: skip
        scale *= 2
    return find("mul")(number, _scalar(scale, dtype))


def random_uniform(
    shape, minval=0, maxval=None, dtype=float32, seed=None, name: str | None = None
) -> Tensor:
    """Uniform numbers in [minval, maxval); maxval is 1 for floats where it is not given.

    shape: numbers, symbolic sizes, or an integer tensor of these. dtype: float32, float64, int32
        or int64; integers need `maxval`. minval, maxval: numbers or tensors that broadcast.
    Integers map 32 (int64: 64) random bits to the range by the high part of a product (D. Lemire,
    "Fast Random Integer Generation in an Interval", 2019, without its rejection): no value is
    favoured by more than range / 2³² (2⁶⁴). An empty range gives minval.
    """
    what = name or "random_uniform"
    wanted = as_dtype(dtype)
    with get_default_graph().name_scope(what) as scope:
        if wanted in (int32, int64):
            if maxval is None:
                reject("random_uniform", "maxval must be given for integers")
            low = convert(minval, wanted, what="random_uniform")
            high = convert(maxval, wanted, what="random_uniform")
            return _integers(shape, low, high, seed, scope)
        if not wanted.is_floating:
            reject("random_uniform", f"{wanted} is not supported; float32, float64, int32, int64")
        low = convert(minval, wanted, what="random_uniform")
        high = convert(1 if maxval is None else maxval, wanted, what="random_uniform")
        value = unit(shape, wanted, seed, "random_uniform")
        return _scaled(value, find("sub")(high, low), low, scope)


def _scaled(value: Tensor, scale: Tensor, offset: Tensor, scope: str) -> Tensor:
    return find("add")(find("mul")(value, scale), offset, name=scope)


def _integers(shape, low: Tensor, high: Tensor, seed, scope: str) -> Tensor:
    if low.dtype is int32:
        # high - low wraps beyond 2**31, and is right as uint32: so no maximum there.
        extent = find("cast")(find("sub")(high, low), dtype=uint32)
        extent = find("select")(find("greater")(high, low), extent, _scalar(0, uint32))
        offset = multiply_high(bits(shape, seed, "random_uniform"), extent)
        return find("add")(low, find("cast")(offset, dtype=int32), name=scope)
    extent = find("select")(find("greater")(high, low), find("sub")(high, low), _scalar(0, int64))
    words = bits(shape, seed, "random_uniform", words=2)
    upper, lower = (find("cast")(word, dtype=int64) for word in words)
    offset = _multiply_high64(upper, lower, extent)
    return find("add")(low, offset, name=scope)


def _multiply_high64(high: Tensor, low: Tensor, extent: Tensor) -> Tensor:
    """The high 64 bits of (high * 2³² + low) * extent, by schoolbook products of 32-bit halves."""
    mask, width = _scalar(0xFFFFFFFF, int64), _scalar(32, int64)

    def upper(x: Tensor) -> Tensor:  # a logical shift: the sign bit is a bit like the others
        return find("bitwise_and")(find("right_shift")(x, width), mask)

    def lower(x: Tensor) -> Tensor:
        return find("bitwise_and")(x, mask)

    e1, e0 = upper(extent), lower(extent)
    p00, p01 = find("mul")(low, e0), find("mul")(low, e1)
    p10, p11 = find("mul")(high, e0), find("mul")(high, e1)
    middle = find("add")(find("add")(upper(p00), lower(p01)), lower(p10))
    carried = find("add")(find("add")(upper(p01), upper(p10)), upper(middle))
    return find("add")(p11, carried)


# -- normal --------------------------------------------------------------------------------------


def _normal(shape, dtype: DType, seed, what: str, tail: float = 0.0) -> Tensor:
    """Standard normal numbers, conditioned on |z| being at most where erfc(z/√2) = `tail`.

    |z| = √2·erfcinv(m) for m uniform in (tail, 1), and a random sign: small m, where the
    distribution's tails are, keep their full precision. One bit is the sign, the rest m.
    """
    if dtype is float64:
        word, low = bits(shape, seed, what, words=2)
        number = find("mul")(_as_float(word, 1, dtype), _scalar(2.0**32, dtype))
        number = find("add")(number, find("cast")(low, dtype=dtype))
        scale = 2.0**-63
    else:
        word = bits(shape, seed, what)
        number, scale = _as_float(word, 1, dtype), 2.0**-31
    m = find("mul")(find("add")(number, _scalar(0.5, dtype)), _scalar(scale * (1 - tail), dtype))
    if tail:
        m = find("add")(m, _scalar(tail, dtype))
    z = find("mul")(find("erfcinv")(m), _scalar(math.sqrt(2), dtype))
    if tail:  # rounding may put the ends outside
        z = find("minimum")(z, _scalar(2.0, dtype))
    odd = find("bitwise_and")(word, _scalar(1, uint32))
    return find("select")(find("equal")(odd, _scalar(1, uint32)), find("neg")(z), z)


def _float_dtype(dtype, what: str) -> DType:
    wanted = as_dtype(dtype)
    if not wanted.is_floating:
        reject(what, f"{wanted} is not a float dtype")
    return wanted


def random_normal(
    shape, mean=0.0, stddev=1.0, dtype=float32, seed=None, name: str | None = None
) -> Tensor:
    """Normal numbers of that mean and standard deviation (numbers or tensors that broadcast).

    By inversion: z = √2·erfcinv of a uniform number, so each number uses 32 random bits (64 in
    float64) and |z| reaches 6.4 (9.2).
    """
    wanted = _float_dtype(dtype, "random_normal")
    with get_default_graph().name_scope(name or "random_normal") as scope:
        offset = convert(mean, wanted, what="random_normal")
        scale = convert(stddev, wanted, what="random_normal")
        value = _normal(shape, wanted, seed, "random_normal")
        return _scaled(value, scale, offset, scope)


def truncated_normal(
    shape, mean=0.0, stddev=1.0, dtype=float32, seed=None, name: str | None = None
) -> Tensor:
    """As random_normal, of the normal distribution cut off two standard deviations from the mean.

    By inversion too, so nothing is drawn again.
    """
    wanted = _float_dtype(dtype, "truncated_normal")
    with get_default_graph().name_scope(name or "truncated_normal") as scope:
        offset = convert(mean, wanted, what="truncated_normal")
        scale = convert(stddev, wanted, what="truncated_normal")
        value = _normal(shape, wanted, seed, "truncated_normal", tail=math.erfc(math.sqrt(2)))
        return _scaled(value, scale, offset, scope)


# -- choices -------------------------------------------------------------------------------------


def random_shuffle(value, seed=None, name: str | None = None) -> Tensor:
    """`value` with its rows (along the first dimension) in random order.

    Each row gets a random 32-bit key, and the rows are put in the order of their keys.
    """
    x = convert(value, what="random_shuffle")
    require_ranks(x, x, "random_shuffle")
    if not x.rank:
        reject("random_shuffle", f"{x.name} is a scalar and has no rows")
    with get_default_graph().name_scope(name or "random_shuffle") as scope:
        keys = bits((x.dims[0],), seed, "random_shuffle")
        order = sort_order(keys, k=x.dims[0], descending=False)
        return gather_op(x, order, axis=0, name=scope)


def multinomial(
    logits, num_samples, seed=None, name: str | None = None, output_dtype=None
) -> Tensor:
    """[batch, num_samples] classes drawn with probabilities softmax(logits), logits [batch, c].

    By the Gumbel-max rule: the class with the largest logit - log(-log(u)), u uniform.
    output_dtype: int64, or int32 if asked.
    """
    logits = convert(logits, what="multinomial")
    if logits.rank != 2 or not logits.dtype.is_floating:
        reject("multinomial", f"logits are floats [batch, classes], not {logits.tensor_type}")
    count = as_size(num_samples, "multinomial")
    wanted = int64 if output_dtype is None else as_dtype(output_dtype)
    if wanted not in (int32, int64):
        reject("multinomial", f"output_dtype is {wanted}; it is int32 or int64")
    with get_default_graph().name_scope(name or "multinomial") as scope:
        batch, classes = logits.dims
        u = unit((batch, count, classes), logits.dtype, seed, "multinomial", open_end=True)
        waits = find("log")(find("neg")(find("log")(u)))
        scores = find("sub")(reshaped(logits, (batch, 1, classes)), waits)
        drawn = find("arg_reduce")(scores, kind="max", axis=2, dtype=wanted)
        return find("identity")(drawn, name=scope)


def categorical(logits, num_samples, dtype=None, seed=None, name: str | None = None) -> Tensor:
    """As `multinomial`."""
    return multinomial(logits, num_samples, seed, name or "categorical", dtype)
