"""Comparisons, logic, bits, selection and conversion between dtypes, elementwise."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..dtypes import as_dtype
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define
from ..ir.types import TensorType
from ..loop import nodes as loop
from .convert import convert, convert_pair, reject
from .pointwise import (
    ANY,
    BOOL,
    FLOAT,
    INTEGER,
    NUMERIC,
    broadcast_shape,
    elementwise,
    lower_with,
    no_gradient,
    numpy_reference,
    predicate,
    summed,
)

__all__ = [
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "cast",
    "equal",
    "greater",
    "greater_equal",
    "identity",
    "invert",
    "is_finite",
    "is_inf",
    "is_nan",
    "left_shift",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "right_shift",
    "saturate_cast",
    "select",
    "stop_gradient",
    "to_double",
    "to_float",
    "to_int32",
    "to_int64",
    "where",
    "where_v2",
]

# -- comparisons and predicates ------------------------------------------------------------------

compare_ops: dict[str, Op] = {
    "equal": predicate("equal", np.equal, ANY, "eq"),
    "not_equal": predicate("not_equal", np.not_equal, ANY, "ne"),
    "less": predicate("less", np.less, NUMERIC, "lt"),
    "less_equal": predicate("less_equal", np.less_equal, NUMERIC, "le"),
    "greater": predicate("greater", np.greater, NUMERIC, "gt"),
    "greater_equal": predicate("greater_equal", np.greater_equal, NUMERIC, "ge"),
}

is_nan_op = predicate("is_nan", np.isnan, FLOAT, "isnan")
is_inf_op = predicate("is_inf", np.isinf, FLOAT, "isinf")
is_finite_op = predicate("is_finite", np.isfinite, FLOAT, "isfinite")


def equal(x, y, name=None) -> Tensor:
    """x == y, elementwise, as bool (the operator == compares identity)."""
    return compare_ops["equal"](*convert_pair(x, y, "equal"), name=name)


def not_equal(x, y, name=None) -> Tensor:
    """x != y, elementwise, as bool."""
    return compare_ops["not_equal"](*convert_pair(x, y, "not_equal"), name=name)


def less(x, y, name=None) -> Tensor:
    """x < y, elementwise, as bool."""
    return compare_ops["less"](*convert_pair(x, y, "less"), name=name)


def less_equal(x, y, name=None) -> Tensor:
    """x <= y, elementwise, as bool."""
    return compare_ops["less_equal"](*convert_pair(x, y, "less_equal"), name=name)


def greater(x, y, name=None) -> Tensor:
    """x > y, elementwise, as bool."""
    return compare_ops["greater"](*convert_pair(x, y, "greater"), name=name)


def greater_equal(x, y, name=None) -> Tensor:
    """x >= y, elementwise, as bool."""
    return compare_ops["greater_equal"](*convert_pair(x, y, "greater_equal"), name=name)


def is_nan(x, name=None) -> Tensor:
    """Where x is not a number, as bool. Floats only."""
    return is_nan_op(convert(x, what="is_nan"), name=name)


def is_inf(x, name=None) -> Tensor:
    """Where x is plus or minus infinity, as bool. Floats only."""
    return is_inf_op(convert(x, what="is_inf"), name=name)


def is_finite(x, name=None) -> Tensor:
    """Where x is neither infinite nor NaN, as bool. Floats only."""
    return is_finite_op(convert(x, what="is_finite"), name=name)


# -- logic and bits ------------------------------------------------------------------------------

logical_and_op = predicate("logical_and", np.logical_and, BOOL, "and")
logical_or_op = predicate("logical_or", np.logical_or, BOOL, "or")
logical_xor_op = predicate("logical_xor", np.logical_xor, BOOL, "xor")
logical_not_op = predicate("logical_not", np.logical_not, BOOL, "not")
bitwise_and_op = elementwise("bitwise_and", np.bitwise_and, INTEGER, "and", no_gradient)
bitwise_or_op = elementwise("bitwise_or", np.bitwise_or, INTEGER, "or", no_gradient)
bitwise_xor_op = elementwise("bitwise_xor", np.bitwise_xor, INTEGER, "xor", no_gradient)


def _lower_shift(left: bool):
    """A shift by the width or more, or by less than 0, pushes every bit out, as in NumPy."""

    def lower(node: Node, index, context, output):
        a = context.read_broadcast(0, index)
        b = context.read_broadcast(1, index)
        dtype = a.dtype
        zero, width = loop.Const(0, dtype), loop.Const(dtype.bits, dtype)
        operator = "shl" if left else "shr" if dtype.is_unsigned else "sar"
        if isinstance(b, loop.Const) and 0 <= b.value < dtype.bits:
            return loop.apply(operator, a, b)
        a, b = context.let(a), context.let(b)
        inside = loop.apply("lt", b, width)
        if not dtype.is_unsigned:
            inside = loop.apply("and", inside, loop.apply("ge", b, zero))
        inside = context.let(inside)
        shifted = loop.apply(operator, a, loop.select(inside, b, zero))
        out: loop.Expr = zero
        if not left and not dtype.is_unsigned:
            out = loop.apply("sar", a, loop.Const(dtype.bits - 1, dtype))
        return loop.select(inside, shifted, out)

    return lower


left_shift_op = elementwise(
    "left_shift", np.left_shift, INTEGER, _lower_shift(left=True), no_gradient
)
right_shift_op = elementwise(
    "right_shift", np.right_shift, INTEGER, _lower_shift(left=False), no_gradient
)


def _boolean_pair(x, y, what: str):
    return convert_pair(x, y, what, dtype=dtypes.bool_)


def logical_and(x, y, name=None) -> Tensor:
    """x and y of bool tensors, elementwise."""
    return logical_and_op(*_boolean_pair(x, y, "logical_and"), name=name)


def logical_or(x, y, name=None) -> Tensor:
    """x or y of bool tensors, elementwise."""
    return logical_or_op(*_boolean_pair(x, y, "logical_or"), name=name)


def logical_xor(x, y, name="LogicalXor") -> Tensor:
    """Whether exactly one of two bool tensors is true, elementwise."""
    return logical_xor_op(*_boolean_pair(x, y, "logical_xor"), name=name)


def logical_not(x, name=None) -> Tensor:
    """The opposite of a bool tensor, elementwise."""
    return logical_not_op(convert(x, what="logical_not"), name=name)


def bitwise_and(x, y, name=None) -> Tensor:
    """The bits set in both integers."""
    return bitwise_and_op(*convert_pair(x, y, "bitwise_and"), name=name)


def bitwise_or(x, y, name=None) -> Tensor:
    """The bits set in either integer."""
    return bitwise_or_op(*convert_pair(x, y, "bitwise_or"), name=name)


def bitwise_xor(x, y, name=None) -> Tensor:
    """The bits set in exactly one of the integers."""
    return bitwise_xor_op(*convert_pair(x, y, "bitwise_xor"), name=name)


def invert(x, name=None) -> Tensor:
    """Every bit of an integer flipped."""
    tensor = convert(x, what="invert")
    if not tensor.dtype.is_integer:
        reject("invert", f"an integer tensor is needed, got {tensor.dtype}")
    ones = tensor.dtype.max if tensor.dtype.is_unsigned else -1
    return bitwise_xor_op(tensor, convert(int(ones), tensor.dtype), name=name or "invert")


def left_shift(x, y, name=None) -> Tensor:
    """x shifted left by y bits; 0 where y is not in 0 … width - 1."""
    return left_shift_op(*convert_pair(x, y, "left_shift"), name=name)


def right_shift(x, y, name=None) -> Tensor:
    """x shifted right by y bits, keeping the sign."""
    return right_shift_op(*convert_pair(x, y, "right_shift"), name=name)


# -- selection -----------------------------------------------------------------------------------


def _infer_select(types, attrs, rules):
    condition, a, b = types
    if not condition.dtype.is_bool:
        raise TypeRuleError(f"the condition is a bool tensor, got {condition.dtype}")
    if a.dtype is not b.dtype:
        raise TypeRuleError(f"the two choices have different dtypes, {a.dtype} and {b.dtype}")
    return (TensorType(a.dtype, broadcast_shape(types, rules)),)


def _select_vjp(node: Node, g: Tensor):
    condition = node.inputs[0]
    zero = convert(0, g.dtype) if g.dtype.is_numeric else convert(False)
    return None, select_op(condition, g, zero), select_op(condition, zero, g)


select_op = define(
    Op(
        name="select",
        infer=_infer_select,
        reference=numpy_reference(np.where),
        vjp=summed(_select_vjp),
        lower=lower_with("select"),
        any_rank=True,
        in_place={0: 1},
        flops=1,
    )
)


def where(condition, x=None, y=None, name=None) -> Tensor:
    """x where the condition holds, else y; all three broadcast together.

    A condition of rank 1 beside x and y of higher rank chooses whole rows, as in TensorFlow 1:
    its length is that of their first dimension. Without x and y the result's size would depend on
    data, which is an error.
    """
    if (x is None) != (y is None):
        reject("where", "x and y are given both or not at all")
    if x is None:
        reject(
            "where",
            "without x and y its size depends on data, which no operation's size may; "
            "give both, or multiply by graphflow.cast(condition, …)",
        )
    test = convert(condition, dtypes.bool_, what="where")
    a, b = convert_pair(x, y, "where")
    rank = max(a.rank or 0, b.rank or 0)
    if test.rank == 1 and rank > 1:
        from .movement import reshape

        if a.rank != b.rank:
            reject(
                "where",
                "a condition of rank 1 chooses rows, so x and y have one rank; they are "
                f"{a.tensor_type} and {b.tensor_type} (where_v2 broadcasts)",
            )
        test = reshape(test, (test.dims[0],) + (1,) * (rank - 1))
    return select_op(test, a, b, name=name)


def where_v2(condition, x=None, y=None, name=None) -> Tensor:
    """x where the condition holds, else y; the three broadcast by NumPy's rules alone."""
    if x is None or y is None:
        return where(condition, x, y, name=name)
    test = convert(condition, dtypes.bool_, what="where_v2")
    return select_op(test, *convert_pair(x, y, "where_v2"), name=name)


select = where

# -- the same value ------------------------------------------------------------------------------


def _cast_reference(arrays, attrs, node: Node):
    with np.errstate(all="ignore"):
        return (arrays[0].astype(attrs["dtype"].numpy),)


def _cast_vjp(node: Node, gradients):
    (x,) = node.inputs
    (g,) = gradients
    if g is None or not (x.dtype.is_floating and node.attrs["dtype"].is_floating):
        return [None]
    return [cast_op(g, dtype=x.dtype)]


def _lower_cast(node: Node, index, context, output):
    value = context.read(0, index)
    dtype = node.attrs["dtype"]
    if dtype.is_bool and not value.dtype.is_bool:
        zero = 0.0 if value.dtype.is_floating else 0
        return loop.apply("ne", value, loop.Const(zero, value.dtype))
    return loop.cast(value, dtype)


cast_op = define(
    Op(
        name="cast",
        infer=lambda types, attrs, rules: (TensorType(attrs["dtype"], types[0].shape),),
        reference=_cast_reference,
        vjp=_cast_vjp,
        lower=_lower_cast,
        any_rank=True,
        flops=1,
    )
)


def _lower_same(node: Node, index, context, output):
    return context.read(0, index)


identity_op = define(
    Op(
        name="identity",
        infer=lambda types, attrs, rules: (types[0],),
        reference=lambda arrays, attrs, node: (arrays[0],),
        vjp=lambda node, gradients: list(gradients),
        lower=_lower_same,
        any_rank=True,
        in_place={0: 0},
    )
)

stop_gradient_op = define(
    Op(
        name="stop_gradient",
        infer=lambda types, attrs, rules: (types[0],),
        reference=lambda arrays, attrs, node: (arrays[0],),
        vjp=lambda node, gradients: [None],
        lower=_lower_same,
        any_rank=True,
        in_place={0: 0},
    )
)


def identity(input, name=None) -> Tensor:  # noqa: A002
    """A new tensor with the same elements; it can be named, fed and fetched apart."""
    return identity_op(convert(input, what="identity"), name=name)


def stop_gradient(input, name=None) -> Tensor:  # noqa: A002
    """The same elements, through which no gradient flows."""
    return stop_gradient_op(convert(input, what="stop_gradient"), name=name)


def cast(x, dtype, name=None) -> Tensor:
    """x converted to `dtype`: floats to integers round towards zero, numbers to bool are != 0.

    A float that does not fit the integer type gives an unspecified value; see saturate_cast.
    Returns x itself where it has that dtype already.
    """
    wanted = as_dtype(dtype)
    tensor = convert(x, what="cast")
    if tensor.dtype is wanted:
        return tensor
    return cast_op(tensor, dtype=wanted, name=name)


def saturate_cast(value, dtype, name=None) -> Tensor:
    """x converted to `dtype`; what does not fit becomes its nearest value."""
    from .arithmetic import maximum, minimum

    wanted = as_dtype(dtype)
    tensor = convert(value, what="saturate_cast")
    source = tensor.dtype
    if source.is_numeric and wanted.is_numeric:
        low, high = _limits(source, wanted)
        if float(source.min) < float(wanted.min):
            tensor = maximum(tensor, low)
        if float(source.max) > float(wanted.max):
            tensor = minimum(tensor, high)
    return cast(tensor, wanted, name=name)


def _limits(source: dtypes.DType, wanted: dtypes.DType):
    """The range of `wanted` in numbers that `source` represents without leaving that range."""
    low, high = wanted.min, wanted.max
    if source.is_integer:
        return int(low), int(high)
    low, high = (source.numpy.type(limit) for limit in (low, high))
    if wanted.is_integer and float(high) > int(wanted.max):
        high = np.nextafter(high, source.numpy.type(0))
    return float(low), float(high)


def to_float(x, name="ToFloat") -> Tensor:
    """x as float32."""
    return cast(x, dtypes.float32, name=name)


def to_double(x, name="ToDouble") -> Tensor:
    """x as float64."""
    return cast(x, dtypes.float64, name=name)


def to_int32(x, name="ToInt32") -> Tensor:
    """x as int32."""
    return cast(x, dtypes.int32, name=name)


def to_int64(x, name="ToInt64") -> Tensor:
    """x as int64."""
    return cast(x, dtypes.int64, name=name)
