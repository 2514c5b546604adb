"""Loads and stores: which instruction an index means, under which mask.

index has no lane part     one element, broadcast
stride 1                   contiguous vector
stride -1                  contiguous vector, reversed
stride 2 to 4              contiguous vectors that hold all of it, of which lanes are picked
other constant stride      gather or scatter at constant offsets from one address
a value per lane           gather or scatter
"""

from __future__ import annotations

from ..dtypes import DType, bool_, int32
from .cpu_blocks import BODY, ENTRY, Function, memory_mangled
from .cpu_values import Linear, Operand, Value, constant, memory_type, vector_literal

_LINE = 64  # bytes of a cache line
_MOST_PICKED = 4  # the largest stride at which whole vectors are cheaper than a gather


class Place:
    """Where a Buffer or a Local in memory is. `clobbered(scope stores)` says whether a loop writes
    to it; `version` changes with every store that may touch it."""

    __slots__ = ("base", "dtype", "key", "lanes")

    def __init__(self, base: Value, dtype: DType, key: int | None, lanes: int = 0):
        self.base, self.dtype = base, dtype
        self.key = key  # id of a Local; None: a buffer, which may be any other buffer
        self.lanes = lanes  # of a Local declared inside a vector loop: a row of lanes an element


def _align(dtype: DType) -> int:
    return max(1, dtype.bits // 8)


def _load_level(f: Function, place: Place, level: int) -> int:
    """The outermost level where a load may stand: it leaves a loop that stores nothing to its
    memory, up to the point from where the loop surely runs."""
    at = f.level
    while f.scopes[at].kind == BODY and level < at:
        stores = f.scopes[at].stores
        if stores is None or stores.touches(place.key):
            break
        at -= 1
        assert f.scopes[at].kind == ENTRY
        if f.scopes[at].guarded or level >= at:
            break
        at -= 1
    return at


def _read(f: Function, place: Place, text: str, level: int, version: int, lanes: int) -> Value:
    """A load, kept until a store may have changed it; bools become i1."""
    at = _load_level(f, place, level)
    scope = f.scopes[at]
    key = (text, version)
    found = scope.known.get(key)
    if found is None:
        # A value seen in an enclosing scope is as good.
        for outer in range(at, -1, -1):
            found = f.scopes[outer].known.get(key)
            if found is not None:
                return found
        name = f.fresh()
        scope.lines.append(f"{name} = {text}")
        found = Value(name, place.dtype, lanes, at)
        if place.dtype.is_bool:
            kind = memory_type(bool_, lanes)
            zero = "zeroinitializer" if lanes else "0"
            found = f.pure(f"icmp ne {kind} {name}, {zero}", bool_, lanes, at)
        scope.known[key] = found
    return found


def load(
    f: Function, place: Place, index: Operand, lanes: int, mask: Value | None, version: int
) -> Value:
    dtype, element = place.dtype, memory_type(place.dtype)
    if isinstance(index, Value) and index.lanes:
        return _gather(f, place, _pointers(f, place, index), lanes, mask, version)
    form = Linear.of(index)
    stride = form.stride
    if stride == 0:
        address = f.address(place.base, element, form)
        text = f"load {element}, ptr {address.text}, align {_align(dtype)}"
        return _read(f, place, text, address.level, version, 0)
    if stride in (1, -1):
        start = form.uniform() if stride == 1 else form.uniform().plus(Linear(1 - lanes, {}))
        address = f.address(place.base, element, start)
        vector = memory_type(dtype, lanes)
        back = mask if stride == 1 or mask is None else f.shuffle(mask, range(lanes - 1, -1, -1))
        if back is None:
            text = f"load {vector}, ptr {address.text}, align {_align(dtype)}"
            level = address.level
        else:
            text = (
                f"call {vector} @llvm.masked.load.{memory_mangled(dtype, lanes)}.p0("
                f"ptr align {_align(dtype)} {address.text}, {back.typed}, {vector} zeroinitializer)"
            )
            level = max(address.level, back.level)
        value = _read(f, place, text, level, version, lanes)
        return value if stride == 1 else f.shuffle(value, range(lanes - 1, -1, -1))
    if 2 <= stride <= _MOST_PICKED and mask is None and not dtype.is_bool and lanes >= 4:
        return _picked(f, place, form, lanes, version)
    return _gather(f, place, _strided(f, place, form, lanes), lanes, mask, version)


def _picked(f: Function, place: Place, form: Linear, lanes: int, version: int) -> Value:
    """Elements at a small stride: as many whole vectors as the stride, the last one ending with
    the last element, since memory may end there."""
    dtype, stride = place.dtype, form.stride
    vector = memory_type(dtype, lanes)
    last = (lanes - 1) * stride
    starts = [min(k * lanes, last + 1 - lanes) for k in range(stride)]
    result: Value | None = None
    done = 0  # lanes that the vectors so far hold
    for start in starts:
        address = f.address(place.base, memory_type(dtype), form.uniform().plus(Linear(start, {})))
        text = f"load {vector}, ptr {address.text}, align {_align(dtype)}"
        part = _read(f, place, text, address.level, version, lanes)
        held = (start + lanes - 1) // stride + 1
        if result is None:
            result = f.shuffle(part, (min(lane * stride, lanes - 1) for lane in range(lanes)))
        else:
            picked = [
                lane if lane < done else lanes + min(lane * stride - start, lanes - 1)
                for lane in range(lanes)
            ]
            result = f.merge(result, part, picked)
        done = min(held, lanes)
    assert result is not None and done == lanes
    return result


def _pointers(f: Function, place: Place, index: Value) -> Value:
    return f.pure(
        f"getelementptr {memory_type(place.dtype)}, ptr {place.base.text}, {index.typed}",
        index.dtype, index.lanes, max(place.base.level, index.level),
    )  # fmt: skip


def _strided(f: Function, place: Place, form: Linear, lanes: int) -> Value:
    element = memory_type(place.dtype)
    address = f.address(place.base, element, form.uniform())
    steps = [form.stride * lane for lane in range(lanes)]
    kind = "i32" if max(abs(s) for s in steps) < 1 << 31 else "i64"
    offsets = vector_literal(kind, steps)
    return f.pure(
        f"getelementptr {element}, ptr {address.text}, <{lanes} x {kind}> {offsets}",
        int32, lanes, address.level,
    )  # fmt: skip


def _gather(
    f: Function, place: Place, pointers: Value, lanes: int, mask: Value | None, version: int
) -> Value:
    dtype = place.dtype
    vector = memory_type(dtype, lanes)
    if mask is None:
        mask = constant(True, bool_, lanes)
    text = (
        f"call {vector} @llvm.masked.gather.{memory_mangled(dtype, lanes)}.v{lanes}p0("
        f"<{lanes} x ptr> align {_align(dtype)} {pointers.text}, {mask.typed}, "
        f"{vector} zeroinitializer)"
    )
    return _read(f, place, text, max(pointers.level, mask.level), version, lanes)


def prefetch(f: Function, place: Place, index: Operand, lanes: int) -> None:
    """Asks for every cache line of the lanes; more of them than there are elements do no harm."""
    form = Linear.of(index).uniform()
    step = _LINE // (place.dtype.bits // 8)
    for start in range(0, max(1, lanes), step):
        address = f.address(place.base, memory_type(place.dtype), form.plus(Linear(start, {})))
        f.do(f"call void @llvm.prefetch.p0(ptr {address.text}, i32 0, i32 3, i32 1)")


def store(
    f: Function, place: Place, index: Operand, value: Value, lanes: int, mask: Value | None
) -> None:
    """Stores an element, or one a lane where the index has a lane part."""
    dtype, element = place.dtype, memory_type(place.dtype)
    varying = isinstance(index, Value) and index.lanes
    form = None if varying else Linear.of(index)
    if dtype.is_bool:
        value = _bytes(f, value)
    if form is not None and form.stride == 0:
        assert not value.lanes and mask is None
        address = f.address(place.base, element, form)
        f.do(f"store {element} {value.text}, ptr {address.text}, align {_align(dtype)}")
        return
    value = _broadcast_bytes(f, value, lanes) if dtype.is_bool else f.broadcast(value, lanes)
    vector = memory_type(dtype, lanes)
    if form is not None and form.stride in (1, -1):
        start = form.uniform()
        if form.stride == -1:
            start = start.plus(Linear(1 - lanes, {}))
            backwards = range(lanes - 1, -1, -1)
            value = _shuffle_as(f, value, vector, backwards)
            mask = None if mask is None else f.shuffle(mask, backwards)
        address = f.address(place.base, element, start)
        if mask is None:
            f.do(f"store {vector} {value.text}, ptr {address.text}, align {_align(dtype)}")
        else:
            f.do(
                f"call void @llvm.masked.store.{memory_mangled(dtype, lanes)}.p0({vector} "
                f"{value.text}, ptr align {_align(dtype)} {address.text}, {mask.typed})"
            )
        return
    if form is None:
        assert isinstance(index, Value)
        pointers = _pointers(f, place, index)
    else:
        pointers = _strided(f, place, form, lanes)
    if mask is None:
        mask = constant(True, bool_, lanes)
    f.do(
        f"call void @llvm.masked.scatter.{memory_mangled(dtype, lanes)}.v{lanes}p0({vector} "
        f"{value.text}, <{lanes} x ptr> align {_align(dtype)} {pointers.text}, {mask.typed})"
    )


def _bytes(f: Function, value: Value) -> Value:
    """Bools as they are in memory. The dtype stays bool, so the type is written out by callers."""
    if value.number is not None:
        one = 1 if value.number else 0
        text = f"splat (i8 {one})" if value.lanes else str(one)
        return Value(text, bool_, value.lanes, 0)
    kind = memory_type(bool_, value.lanes)
    return f.pure(f"zext {value.typed} to {kind}", bool_, value.lanes, value.level)


def _broadcast_bytes(f: Function, value: Value, lanes: int) -> Value:
    if value.lanes == lanes:
        return value
    kind = memory_type(bool_, lanes)
    first = f.pure(
        f"insertelement {kind} poison, i8 {value.text}, i64 0", bool_, lanes, value.level
    )
    return f.pure(
        f"shufflevector {kind} {first.text}, {kind} poison, <{lanes} x i32> zeroinitializer",
        bool_, lanes, value.level,
    )  # fmt: skip


def _shuffle_as(f: Function, value: Value, vector: str, picked) -> Value:
    mask = vector_literal("i32", list(picked))
    return f.pure(
        f"shufflevector {vector} {value.text}, {vector} poison, <{value.lanes} x i32> {mask}",
        value.dtype, value.lanes, value.level,
    )  # fmt: skip
