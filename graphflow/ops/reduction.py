"""Reductions over axes: primitives `reduce` and `sum_to`, and their functions.

`reduce` drops the axes; `keepdims` is a reshape after it. A reduction over no elements gives the
neutral element: 0, 1, -inf or the smallest integer for max, True for all. NaN propagates through
max and min. Floating sums and products are accumulated in the dtype of the input.
"""

from __future__ import annotations

import numpy as np

from .. import sizes
from ..dtypes import DType, int64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import REDUCE, Op, define
from ..ir.types import TensorType, is_static
from ..loop import nodes as loop
from ..sizes import Dim
from .arithmetic import add_op, div_op, maximum_op, mul_op, pow_op, sub_op
from .convert import convert, known_axes, reject
from .logic import cast, cast_op, compare_ops, is_finite_op, not_equal, select_op, stop_gradient_op
from .math import abs_op, exp_op, log_op, rsqrt_op, sqrt_op
from .movement import broadcast_like, reshape_op
from .shapes import size_op

__all__ = [
    "count_nonzero",
    "l2_loss",
    "l2_normalize",
    "moments",
    "norm",
    "reduce_all",
    "reduce_any",
    "reduce_euclidean_norm",
    "reduce_logsumexp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_std",
    "reduce_sum",
    "reduce_variance",
]

# -- reduce --------------------------------------------------------------------------------------

# kind -> the Loop accumulator, the NumPy function
KINDS = {
    "sum": ("add", np.add),
    "prod": ("mul", np.multiply),
    "max": ("maximum", np.maximum),
    "min": ("minimum", np.minimum),
    "and": ("and", np.logical_and),
    "or": ("or", np.logical_or),
}


def neutral_value(kind: str, dtype: DType):
    """What reducing no elements gives."""
    return loop.neutral(KINDS[kind][0], dtype).value


def kept(shape, axes) -> tuple[Dim, ...]:
    """The shape without those axes."""
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def _infer_reduce(types, attrs, rules):
    (x,) = types
    kind, axes = attrs["kind"], attrs["axes"]
    if kind not in KINDS:
        raise TypeRuleError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")
    logical = kind in ("and", "or")
    if logical != x.dtype.is_bool:
        needed = "bool" if logical else "numeric"
        raise TypeRuleError(f"a {needed} tensor is needed, got {x.dtype}")
    if axes is None:
        return (TensorType(x.dtype, ()),)
    if x.shape is None:
        raise TypeRuleError(
            "over some axes needs a known rank; give the placeholder a shape, such as [None, 3]"
        )
    if any(not 0 <= axis < len(x.shape) for axis in axes):
        raise TypeRuleError(f"axes {list(axes)} are out of range for {x}")
    return (TensorType(x.dtype, kept(x.shape, axes)),)


def _reduce_reference(arrays, attrs, node: Node):
    (array,) = arrays
    axes = attrs["axes"]
    axes = tuple(range(array.ndim)) if axes is None else tuple(axes)
    dtype = node.types[0].dtype
    function = KINDS[attrs["kind"]][1]
    with np.errstate(all="ignore"):
        initial = dtype.numpy.type(neutral_value(attrs["kind"], dtype))
        if array.size and attrs["kind"] in ("sum", "prod"):
            result = function.reduce(array, axis=axes, dtype=dtype.numpy)
        else:
            result = function.reduce(array, axis=axes, initial=initial)
    return (np.asarray(result, dtype=dtype.numpy),)


def keepdims_shape(x: Tensor, axes) -> tuple[Dim, ...]:
    """The shape with 1 in place of those axes."""
    return tuple(1 if axis in axes else dim for axis, dim in enumerate(x.dims))


def _spread(small: Tensor, x: Tensor, axes) -> Tensor:
    """A reduced tensor with its axes back at size 1; a scalar broadcasts as it is."""
    if not axes or small.dims == ():
        return small
    return reshape_op(small, shape=keepdims_shape(x, axes))


def _reduce_vjp(node: Node, gradients):
    (g,) = gradients
    (x,) = node.inputs
    axes, kind = node.attrs["axes"], node.attrs["kind"]
    if g is None or not x.dtype.is_floating:
        return [None]
    if kind == "sum":
        return [broadcast_like(_spread(g, x, axes), x)]
    if kind == "prod":
        return [mul_op(_product_of_others(x, axes), _spread(g, x, axes))]
    # max and min: ties share the gradient.
    y = _spread(node.outputs[0], x, axes)
    chosen = compare_ops["equal"](x, y)
    share = cast_op(chosen, dtype=x.dtype)
    count = _spread(reduce_op(share, kind="sum", axes=axes), x, axes)
    return [select_op(chosen, div_op(_spread(g, x, axes), count), convert(0.0, x.dtype))]


def _product_of_others(x: Tensor, axes) -> Tensor:
    """For every element the product of all others along `axes`: a product from the left times one
    from the right, so that zeros do no harm."""
    from .cumulative import cumulative_op
    from .movement import reshape_like, transpose_op

    if x.dims is None:
        raise TypeRuleError("the gradient of reduce_prod needs a known rank")
    axes = tuple(range(len(x.dims))) if axes is None else axes
    if not axes:
        from .creation import ones_like

        return ones_like(x)
    others = tuple(axis for axis in range(len(x.dims)) if axis not in axes)
    perm = (*others, *axes)
    moved = x if perm == tuple(range(len(perm))) else transpose_op(x, perm=perm)
    leading = tuple(x.dims[axis] for axis in others)
    flat = reshape_op(moved, shape=(*leading, sizes.product(x.dims[axis] for axis in axes)))
    axis = len(others)
    left = cumulative_op(flat, kind="prod", axis=axis, exclusive=True, reverse=False)
    right = cumulative_op(flat, kind="prod", axis=axis, exclusive=True, reverse=True)
    product = reshape_like(mul_op(left, right), moved)
    if moved is x:
        return product
    return transpose_op(product, perm=tuple(int(i) for i in np.argsort(perm)))


def _lower_reduce(node: Node, index, context, output):
    return context.read(0, index)


# axes: sorted numbers, or None for all axes of a tensor whose rank is not known yet, which
# `resolve_reduce` replaces once it is.
def _reduce_batch(node: Node, inputs, batched):
    axes = node.attrs["axes"]
    if axes is None:
        axes = range(len(node.inputs[0].dims))
    return [reduce_op(inputs[0], kind=node.attrs["kind"], axes=tuple(a + 1 for a in axes))]


reduce_op = define(
    Op(
        name="reduce",
        kind=REDUCE,
        infer=_infer_reduce,
        reference=_reduce_reference,
        vjp=_reduce_vjp,
        batch=_reduce_batch,
        lower=_lower_reduce,
        any_rank=True,
        flops=1,
    )
)


def resolve_reduce(node: Node) -> Tensor | None:
    """reduce(x, axes=None) --> reduce(x, axes=(0, …)), once the rank is known."""
    (x,) = node.inputs
    if node.attrs["axes"] is not None or x.dims is None:
        return None
    return reduce_op(x, kind=node.attrs["kind"], axes=tuple(range(len(x.dims))))


# -- sum_to --------------------------------------------------------------------------------------


def _infer_sum_to(types, attrs, rules):
    g, like = types
    if not g.dtype.is_numeric:
        raise TypeRuleError(f"a numeric tensor is needed, got {g.dtype}")
    if g.shape is not None and like.shape is not None:
        if len(g.shape) < len(like.shape):
            raise TypeRuleError(f"{g} is no result of broadcasting {like}")
        rules.broadcast([g.shape, like.shape])
    return (TensorType(g.dtype, like.shape),)


def _sum_to_reference(arrays, attrs, node: Node):
    g, like = arrays
    leading = g.ndim - like.ndim
    axes = tuple(
        axis
        for axis in range(g.ndim)
        if axis < leading or (like.shape[axis - leading] == 1 and g.shape[axis] != 1)
    )
    result = np.add.reduce(g, axis=axes, dtype=g.dtype) if axes else g
    return (np.asarray(result).reshape(like.shape),)


def _sum_to_vjp(node: Node, gradients):
    (g,) = gradients
    return [None if g is None else broadcast_like(g, node.inputs[0]), None]


sum_to_op = define(
    Op(
        name="sum_to",
        kind=REDUCE,
        infer=_infer_sum_to,
        reference=_sum_to_reference,
        vjp=_sum_to_vjp,
        shape_only=(1,),
        any_rank=True,
        flops=1,
    )
)


def sum_to(g: Tensor, like: Tensor) -> Tensor:
    """g, which has a shape that `like` broadcasts to, summed to the shape of `like`: undoes
    broadcasting in gradients."""
    if is_static(g.dims) and is_static(like.dims):
        return _summed(g, like)
    return sum_to_op(g, like)


def resolve_sum_to(node: Node) -> Tensor | None:
    """sum_to(g, like) --> reduce and reshape, or g, once ranks are known and every size that may
    have been broadcast is 1 or not."""
    g, like = node.inputs
    if g.dims is None or like.dims is None:
        return None
    return _summed(g, like)


def _summed(g: Tensor, like: Tensor) -> Tensor:
    leading = len(g.dims) - len(like.dims)
    axes = tuple(
        axis
        for axis, dim in enumerate(g.dims)
        if axis < leading or (dim != 1 and like.dims[axis - leading] == 1)
    )
    total = reduce_op(g, kind="sum", axes=axes) if axes else g
    return total if total.dims == like.dims else reshape_op(total, shape=like.dims)


# -- public functions ----------------------------------------------------------------------------


def _axes_of(x: Tensor, axis, what: str):
    """The axes as numbers; None for all axes of a tensor of unknown rank."""
    if x.dims is None:
        if axis is not None:
            reject(what, f"the rank of {x.name} is unknown, so no axis can be chosen")
        return None
    return known_axes(axis, len(x.dims), what)


def one_of(what: str, **aliases):
    """The value of an argument that TensorFlow 1 knows under several names."""
    given = {name: value for name, value in aliases.items() if value is not None}
    if len(given) > 1:
        reject(what, f"{' and '.join(given)} say the same; give one of them")
    return next(iter(given.values()), None)


def reduce_tensor(x: Tensor, kind: str, axes, keepdims: bool, name: str | None = None) -> Tensor:
    """The primitive, with keepdims. Over no axes it is x itself, under the name asked for."""
    if keepdims and x.dims is None:
        reject(f"reduce_{kind}", f"keepdims needs a known rank, which {x.name} has not")
    if not keepdims or not axes:
        return reduce_op(x, kind=kind, axes=axes, name=name)
    small = reduce_op(x, kind=kind, axes=axes)
    return reshape_op(small, shape=keepdims_shape(x, axes), name=name)


def _reduction(name: str, kind: str, meaning: str):
    def function(
        input_tensor,
        axis=None,
        keepdims=None,
        name=None,
        reduction_indices=None,
        keep_dims=None,
    ) -> Tensor:
        what = function.__name__
        x = convert(input_tensor, what=what)
        axes = _axes_of(x, one_of(what, axis=axis, reduction_indices=reduction_indices), what)
        keep = bool(one_of(what, keepdims=keepdims, keep_dims=keep_dims))
        return reduce_tensor(x, kind, axes, keep, name or what)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{meaning} over `axis` (an int, a list, or None for all).\n\n"
        "keepdims keeps the axes with size 1; reduction_indices and keep_dims are older names."
    )
    return function


reduce_sum = _reduction("reduce_sum", "sum", "The sum of the elements")
reduce_prod = _reduction("reduce_prod", "prod", "The product of the elements")
reduce_max = _reduction("reduce_max", "max", "The largest element (ties share the gradient)")
reduce_min = _reduction("reduce_min", "min", "The smallest element (ties share the gradient)")
reduce_all = _reduction("reduce_all", "and", "Whether all elements (bool) are true")
reduce_any = _reduction("reduce_any", "or", "Whether any element (bool) is true")


def _arguments(what, input_tensor, axis, keepdims, reduction_indices=None, keep_dims=None):
    x = convert(input_tensor, what=what)
    axes = _axes_of(x, one_of(what, axis=axis, reduction_indices=reduction_indices), what)
    return x, axes, bool(one_of(what, keepdims=keepdims, keep_dims=keep_dims))


def mean_tensor(x: Tensor, axes, keepdims: bool, name: str | None = None) -> Tensor:
    """The mean; of integers rounded towards zero. Over no elements it is NaN."""
    from .arithmetic import truncatediv_op

    total = reduce_tensor(x, "sum", axes, keepdims)
    count = size_op(x, axes=axes, dtype=x.dtype)
    return (div_op if x.dtype.is_floating else truncatediv_op)(total, count, name=name)


def reduce_mean(
    input_tensor, axis=None, keepdims=None, name=None, reduction_indices=None, keep_dims=None
) -> Tensor:
    """The mean of the elements over `axis` (an int, a list, or None for all).

    Of integers it is rounded towards zero, as in TensorFlow 1; over no elements it is NaN.
    """
    x, axes, keep = _arguments(
        "reduce_mean", input_tensor, axis, keepdims, reduction_indices, keep_dims
    )
    return mean_tensor(x, axes, keep, name or "reduce_mean")


def reduce_variance(input_tensor, axis=None, keepdims=None, name=None) -> Tensor:
    """The mean squared distance from the mean, over `axis`."""
    x, axes, keep = _arguments("reduce_variance", input_tensor, axis, keepdims)
    centred = sub_op(x, mean_tensor(x, axes, x.dims is not None))
    return mean_tensor(mul_op(centred, centred), axes, keep, name or "reduce_variance")


def reduce_std(input_tensor, axis=None, keepdims=None, name=None) -> Tensor:
    """The square root of the variance, over `axis`."""
    return sqrt_op(reduce_variance(input_tensor, axis, keepdims), name=name or "reduce_std")


def reduce_euclidean_norm(input_tensor, axis=None, keepdims=None, name=None) -> Tensor:
    """sqrt(sum(x^2)) over `axis`."""
    x, axes, keep = _arguments("reduce_euclidean_norm", input_tensor, axis, keepdims)
    total = reduce_tensor(mul_op(x, x), "sum", axes, keep)
    return sqrt_op(total, name=name or "reduce_euclidean_norm")


def norm(
    tensor,
    ord="euclidean",
    axis=None,
    keepdims=None,
    name=None,
    keep_dims=None,  # noqa: A002
) -> Tensor:
    """The vector norm over `axis` (an int, a pair, or None for all elements): `ord` is euclidean
    (or 2), 1, infinity, or any positive number p for sum(|x|^p)^(1/p).

    Over a pair of axes only euclidean, the Frobenius norm, is defined here.
    """
    x, axes, keep = _arguments("norm", tensor, axis, keepdims, None, keep_dims)
    pair = isinstance(axis, (list, tuple)) and len(axis) == 2
    if ord in ("euclidean", "fro") or (ord == 2 and not pair):
        total = reduce_tensor(mul_op(x, x), "sum", axes, keep)
        return sqrt_op(total, name=name or "norm")
    if pair or not isinstance(ord, (int, float)) or ord <= 0:
        reject("norm", f"ord {ord!r} is not defined; euclidean, 1, 2, p > 0 and infinity are")
    size = abs_op(x)
    if ord == float("inf"):
        return reduce_tensor(size, "max", axes, keep, name or "norm")
    if ord == 1:
        return reduce_tensor(size, "sum", axes, keep, name or "norm")
    power = convert(float(ord), x.dtype)
    total = reduce_tensor(pow_op(size, power), "sum", axes, keep)
    return pow_op(total, convert(1.0 / ord, x.dtype), name=name or "norm")


def reduce_logsumexp(
    input_tensor, axis=None, keepdims=None, name=None, reduction_indices=None, keep_dims=None
) -> Tensor:
    """log(sum(exp(x))) over `axis`, computed from x - max(x) so that nothing overflows."""
    x, axes, keep = _arguments(
        "reduce_logsumexp", input_tensor, axis, keepdims, reduction_indices, keep_dims
    )
    known = x.dims is not None
    highest = reduce_tensor(x, "max", axes, known)
    zero = convert(0.0, x.dtype)
    shift = stop_gradient_op(select_op(is_finite_op(highest), highest, zero))
    total = reduce_tensor(exp_op(sub_op(x, shift)), "sum", axes, known)
    result = add_op(log_op(total), shift)
    if known and not keep and axes:
        return reshape_op(result, shape=kept(x.dims, axes), name=name or "reduce_logsumexp")
    return result


def count_nonzero(
    input_tensor,
    axis=None,
    keepdims=None,
    dtype=int64,
    name=None,
    reduction_indices=None,
    keep_dims=None,
) -> Tensor:
    """How many elements are not zero (not False), over `axis`."""
    x, axes, keep = _arguments(
        "count_nonzero", input_tensor, axis, keepdims, reduction_indices, keep_dims
    )
    test = x if x.dtype.is_bool else not_equal(x, convert(0, x.dtype))
    return reduce_tensor(cast(test, dtype), "sum", axes, keep, name or "count_nonzero")


def moments(x, axes, shift=None, name=None, keep_dims=None, keepdims=None):
    """(mean, variance) over `axes`; `shift` is accepted and not needed."""
    from .moments import moments_over, over_columns

    tensor, chosen, keep = _arguments("moments", x, axes, keepdims, None, keep_dims)
    if over_columns(tensor, chosen):
        return moments_over(tensor, chosen, keep)
    mean = mean_tensor(tensor, chosen, tensor.dims is not None)
    # The gradient through this mean is zero in the first derivative, but not in the second.
    centred = sub_op(tensor, mean)
    variance = mean_tensor(mul_op(centred, centred), chosen, keep)
    if not keep and tensor.dims is not None and chosen:
        mean = reshape_op(mean, shape=kept(tensor.dims, chosen))
    return mean, variance


def l2_loss(t, name=None) -> Tensor:
    """sum(t^2) / 2 over all elements."""
    x = convert(t, what="l2_loss")
    total = reduce_op(mul_op(x, x), kind="sum", axes=_axes_of(x, None, "l2_loss"))
    return mul_op(total, convert(0.5, x.dtype), name=name or "L2Loss")


def l2_normalize(x, axis=None, epsilon=1e-12, name=None, dim=None) -> Tensor:
    """x / sqrt(max(sum(x^2), epsilon)) over `axis`."""
    tensor, axes, _ = _arguments(
        "l2_normalize", x, one_of("l2_normalize", axis=axis, dim=dim), None
    )
    total = reduce_tensor(mul_op(tensor, tensor), "sum", axes, tensor.dims is not None)
    inverse = rsqrt_op(maximum_op(total, convert(epsilon, tensor.dtype)))
    return mul_op(tensor, inverse, name=name or "l2_normalize")
