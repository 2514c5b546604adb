"""The assert_… functions: conditions on tensors, checked at definition where they are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..dtypes import as_dtype
from ..errors import InvalidArgumentError
from ..ir.node import Node, Tensor
from ..ir.op import find
from .convert import constant_value, convert, convert_pair, reject
from .effects import asserted, no_op

__all__ = [
    "assert_equal",
    "assert_greater",
    "assert_greater_equal",
    "assert_integer",
    "assert_less",
    "assert_less_equal",
    "assert_near",
    "assert_negative",
    "assert_non_negative",
    "assert_non_positive",
    "assert_none_equal",
    "assert_positive",
    "assert_rank",
    "assert_rank_at_least",
    "assert_rank_in",
    "assert_same_float_dtype",
    "assert_scalar",
    "assert_type",
]

_RELATIONS: dict[str, tuple[str, Callable]] = {
    "equal": ("==", np.equal),
    "not_equal": ("!=", np.not_equal),
    "less": ("<", np.less),
    "less_equal": ("<=", np.less_equal),
    "greater": (">", np.greater),
    "greater_equal": (">=", np.greater_equal),
}


def _text(message: str | None, condition: str) -> str:
    start = f"{message}: " if message else ""
    return f"assertion failed: {start}{condition} did not hold"


def _compare(relation: str, x, y, data, summarize, message, name: str) -> Node:
    a, b = convert_pair(x, y, name)
    sign, known_relation = _RELATIONS[relation]
    condition = f"{a.name} {sign} {b.name}"
    known = constant_value(a), constant_value(b)
    if known[0] is not None and known[1] is not None:
        if not np.all(known_relation(*known)):
            reject(name, _text(message, condition), InvalidArgumentError)
        return no_op(name=name)
    holds = find("reduce")(find(relation)(a, b), kind="and", axes=None)
    shown = [a, b] if data is None else list(data)
    return asserted(holds, shown, _text(message, condition), summarize, name)


def assert_equal(x, y, data=None, summarize=None, message=None, name=None) -> Node:
    """An operation that fails where x == y is false for an element; x and y broadcast.

    data: tensors for the message instead of x and y. What is known at definition raises
    InvalidArgumentError there.
    """
    return _compare("equal", x, y, data, summarize, message, name or "assert_equal")


def assert_none_equal(x, y, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x != y."""
    return _compare("not_equal", x, y, data, summarize, message, name or "assert_none_equal")


def assert_less(x, y, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x < y."""
    return _compare("less", x, y, data, summarize, message, name or "assert_less")


def assert_less_equal(x, y, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x <= y."""
    return _compare("less_equal", x, y, data, summarize, message, name or "assert_less_equal")


def assert_greater(x, y, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x > y."""
    return _compare("greater", x, y, data, summarize, message, name or "assert_greater")


def assert_greater_equal(x, y, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x >= y."""
    what = name or "assert_greater_equal"
    return _compare("greater_equal", x, y, data, summarize, message, what)


def _with_zero(relation: str, x, data, summarize, message, name: str) -> Node:
    x = convert(x, what=name)
    return _compare(relation, x, 0, [x] if data is None else data, summarize, message, name)


def assert_positive(x, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x > 0."""
    return _with_zero("greater", x, data, summarize, message, name or "assert_positive")


def assert_negative(x, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x < 0."""
    return _with_zero("less", x, data, summarize, message, name or "assert_negative")


def assert_non_negative(x, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x >= 0."""
    return _with_zero("greater_equal", x, data, summarize, message, name or "assert_non_negative")


def assert_non_positive(x, data=None, summarize=None, message=None, name=None) -> Node:
    """As assert_equal, of x <= 0."""
    return _with_zero("less_equal", x, data, summarize, message, name or "assert_non_positive")


def assert_near(
    x, y, rtol=None, atol=None, data=None, summarize=None, message=None, name=None
) -> Node:
    """As assert_equal, of |x - y| <= atol + rtol * |y|; both are 10 times the dtype's epsilon
    if None."""
    what = name or "assert_near"
    a, b = convert_pair(x, y, what)
    if not a.dtype.is_floating:
        reject(what, f"{a.name} is {a.dtype}; only floats are near")
    epsilon = 10 * float(np.finfo(a.dtype.numpy).eps)
    relative = convert(epsilon if rtol is None else rtol, a.dtype, what=what)
    absolute = convert(epsilon if atol is None else atol, a.dtype, what=what)
    allowed = find("add")(absolute, find("mul")(relative, find("abs")(b)))
    distance = find("abs")(find("sub")(a, b))
    holds = find("reduce")(find("less_equal")(distance, allowed), kind="and", axes=None)
    shown = [a, b] if data is None else list(data)
    return asserted(holds, shown, _text(message, f"{a.name} near {b.name}"), summarize, what)


# -- on types: known at definition ---------------------------------------------------------------


def _rank(x: Tensor, what: str) -> int:
    if x.rank is None:
        reject(what, f"the rank of {x.name} is unknown; give its placeholder a shape")
    return x.rank


def _number(rank, what: str) -> int:
    known = constant_value(rank)
    if known is None or known.ndim or known.dtype.kind not in "iu":
        reject(what, f"a rank is a known whole number, not {rank!r}")
    return int(known)


def _require_rank(x, accepted: Callable[[int], bool], wanted: str, message, name: str) -> Node:
    x = convert(x, what=name)
    if not accepted(_rank(x, name)):
        start = f"{message}: " if message else ""
        reject(name, f"{start}{x.name} is {x.tensor_type}; its rank must be {wanted}")
    return no_op(name=name)


def assert_rank(x, rank, data=None, summarize=None, message=None, name=None) -> Node:
    """Raises at definition unless `x` has that rank; the operation returned does nothing."""
    what = name or "assert_rank"
    wanted = _number(rank, what)
    return _require_rank(x, lambda r: r == wanted, str(wanted), message, what)


def assert_rank_at_least(x, rank, data=None, summarize=None, message=None, name=None) -> Node:
    """Raises at definition unless `x` has at least that rank."""
    what = name or "assert_rank_at_least"
    wanted = _number(rank, what)
    return _require_rank(x, lambda r: r >= wanted, f"at least {wanted}", message, what)


def assert_rank_in(x, ranks, data=None, summarize=None, message=None, name=None) -> Node:
    """Raises at definition unless `x` has one of these ranks."""
    what = name or "assert_rank_in"
    wanted = [_number(rank, what) for rank in ranks]
    text = f"one of {', '.join(map(str, wanted))}"
    return _require_rank(x, lambda r: r in wanted, text, message, what)


def assert_scalar(tensor, name=None) -> Tensor:
    """`tensor`, which must be a scalar; raises at definition where it is not."""
    what = name or "assert_scalar"
    x = convert(tensor, what=what)
    if _rank(x, what) != 0:
        reject(what, f"{x.name} is {x.tensor_type}, not a scalar")
    return x


def assert_type(tensor, tf_type, message=None, name=None) -> Node:
    """Raises at definition unless `tensor` has that dtype."""
    what = name or "assert_type"
    x = convert(tensor, what=what)
    if x.dtype is not as_dtype(tf_type):
        start = f"{message}: " if message else ""
        reject(what, f"{start}{x.name} is {x.tensor_type}, it must be {as_dtype(tf_type)}")
    return no_op(name=what)


def assert_integer(x, message=None, name=None) -> Node:
    """Raises at definition unless `x` has an integer dtype."""
    what = name or "assert_integer"
    x = convert(x, what=what)
    if not x.dtype.is_integer:
        start = f"{message}: " if message else ""
        reject(what, f"{start}{x.name} is {x.tensor_type}, not of an integer dtype")
    return no_op(name=what)


def assert_same_float_dtype(tensors=None, dtype=None):
    """The float dtype that all `tensors` have (`dtype`, if given); raises where they do not."""
    found = None if dtype is None else as_dtype(dtype)
    for item in tensors or ():
        x = convert(item, what="assert_same_float_dtype")
        found = found or x.dtype
        if x.dtype is not found:
            reject("assert_same_float_dtype", f"{x.name} is {x.dtype}, expected {found}")
    if found is None:
        found = as_dtype("float32")
    if not found.is_floating:
        reject("assert_same_float_dtype", f"{found} is not a float dtype")
    return found
