"""Cross entropies and other losses of each example, in stable forms.

All are plain compositions: what makes them stable (the maximum that is subtracted, the branch that
keeps an exponent negative) does not change their value, so that autodiff gives softmax - labels
and its like, in first and in higher derivatives, without rules of their own.
"""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import bool_, int32, int64
from ..errors import TypeRuleError
from ..framework import name_scope
from ..ir.node import Tensor
from ..ir.op import find
from ..ir.types import SizeRules, same_shape
from ..ops.arithmetic import maximum
from ..ops.convert import convert, convert_pair, known_axis, reject
from ..ops.creation import zeros_like
from ..ops.index_check import checked
from ..ops.logic import cast, identity, stop_gradient, where, where_v2
from ..ops.math import exp, log, reciprocal, softplus
from ..ops.movement import expand_dims
from ..ops.reduction import reduce_max, reduce_sum

__all__ = [
    "log_poisson_loss",
    "log_softmax",
    "masked_softmax",
    "sigmoid_cross_entropy_with_logits",
    "softmax",
    "softmax_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits_v2",
    "sparse_softmax_cross_entropy_with_logits",
    "weighted_cross_entropy_with_logits",
]


def _logits(logits, axis, dim, what: str) -> tuple[Tensor, int]:
    """The logits, floating-point, and the axis of the classes (`dim` is its old name)."""
    if axis is not None and dim is not None:
        raise ValueError(f"{what}: cannot specify both 'axis' and 'dim'")
    tensor = convert(logits, what=what)
    if not tensor.dtype.is_floating:
        reject(what, f"the logits {tensor.name} are {tensor.dtype}; they must be floating-point")
    if tensor.rank is None:
        reject(what, f"the rank of {tensor.name} is unknown; give its placeholder a shape")
    if tensor.rank == 0:
        reject(what, f"the logits {tensor.name} are a scalar; they need an axis of classes")
    axis = axis if axis is not None else dim
    return tensor, known_axis(-1 if axis is None else axis, tensor.rank, what)


def _shifted(logits: Tensor, axis: int) -> Tensor:
    """The logits minus their maximum, which softmax and its relatives do not depend on: the
    derivative by it is zero, so it needs none of its own."""
    return logits - stop_gradient(reduce_max(logits, axis=axis, keepdims=True))


def _log_total(shifted: Tensor, axis: int, keepdims: bool = False) -> Tensor:
    """log(sum(exp(shifted))), which is not negative: one of the exponentials is 1."""
    return log(reduce_sum(exp(shifted), axis=axis, keepdims=keepdims))


def softmax(logits, axis=None, name: str | None = None, dim=None) -> Tensor:
    """exp(logits) / sum(exp(logits)) along `axis`, the last one if None."""
    logits, axis = _logits(logits, axis, dim, "softmax")
    with name_scope(name, "Softmax") as scope:
        powers = exp(_shifted(logits, axis))
        total = reduce_sum(powers, axis=axis, keepdims=True)
        # The total is at least 1, so its reciprocal loses half an ulp and no more.
        return find("mul")(powers, reciprocal(total), name=scope)


def masked_softmax(logits, mask, axis=None, name: str | None = None) -> Tensor:
    """The softmax along `axis` (the last one if None) over those elements where `mask` holds, and
    zeros at the others; zeros everywhere along an axis where it holds nowhere.

    mask: bool, broadcasts against the logits. What the logits are where it does not hold changes
    nothing, and no gradient flows there.
    """
    logits, axis = _logits(logits, axis, None, "masked_softmax")
    with name_scope(name, "MaskedSoftmax") as scope:
        mask = convert(mask, bool_, what="masked_softmax: mask")
        lowest = convert(float(np.finfo(logits.dtype.numpy).min), logits.dtype)
        powers = exp(_shifted(where_v2(mask, logits, lowest), axis))
        powers = where_v2(mask, powers, convert(0, logits.dtype))
        # The largest counts 1, so the total is at least that, unless the mask holds nowhere.
        total = reduce_sum(powers, axis=axis, keepdims=True)
        return find("mul")(powers, reciprocal(maximum(total, convert(1, logits.dtype))), name=scope)


def log_softmax(logits, axis=None, name: str | None = None, dim=None) -> Tensor:
    """logits - log(sum(exp(logits))) along `axis`, the last one if None."""
    logits, axis = _logits(logits, axis, dim, "log_softmax")
    with name_scope(name, "LogSoftmax") as scope:
        shifted = _shifted(logits, axis)
        return find("sub")(shifted, _log_total(shifted, axis, keepdims=True), name=scope)


def _by_keyword(what: str, sentinel, **given) -> None:
    missing = [key for key, value in given.items() if value is None]
    if sentinel is not None or missing:
        raise ValueError(f"{what}: call it with named arguments ({', '.join(given)})")


def softmax_cross_entropy_with_logits_v2(
    labels, logits, axis=None, name: str | None = None, dim=None
) -> Tensor:
    """-sum(labels · log_softmax(logits)) along `axis`, the last one if None.

    labels: of the logits' shape and dtype, each row a probability distribution.
    Gradients flow into the labels as well; the gradient by the logits of a distribution is
    softmax(logits) - labels.
    """
    what = "softmax_cross_entropy_with_logits"
    logits, axis = _logits(logits, axis, dim, what)
    with name_scope(name, what) as scope:
        labels = convert(labels, logits.dtype, what=what)
        _require_one_shape(labels, logits, what)
        shifted = _shifted(logits, axis)
        # Neither term is negative, so nothing cancels; and the sums do not wait for each other.
        total = _log_total(shifted, axis) * reduce_sum(labels, axis=axis)
        return find("sub")(total, reduce_sum(labels * shifted, axis=axis), name=scope)


def softmax_cross_entropy_with_logits(
    _sentinel=None,
    labels=None,
    logits=None,
    dim=-1,
    name: str | None = None,
    axis=None,
) -> Tensor:
    """As softmax_cross_entropy_with_logits_v2, without a gradient by the labels."""
    what = "softmax_cross_entropy_with_logits"
    _by_keyword(what, _sentinel, labels=labels, logits=logits)
    labels = stop_gradient(convert_pair(logits, labels, what)[1])
    axis = dim if axis is None else axis
    return softmax_cross_entropy_with_logits_v2(labels, logits, axis=axis, name=name)


def sparse_softmax_cross_entropy_with_logits(
    _sentinel=None, labels=None, logits=None, name: str | None = None
) -> Tensor:
    """-log_softmax(logits)[label] for each label, of shape labels.shape.

    logits: [..., classes]; labels: integers of shape [...] in [0, classes): another one is an
        OutOfRangeError of the run.
    """
    what = "sparse_softmax_cross_entropy_with_logits"
    _by_keyword(what, _sentinel, labels=labels, logits=logits)
    logits, axis = _logits(logits, None, None, what)
    with name_scope(name, "SparseSoftmaxCrossEntropyWithLogits") as scope:
        labels = convert(labels, what=what)
        if not labels.dtype.is_integer:
            reject(what, f"the labels {labels.name} are {labels.dtype}; they must be integers")
        _require_shape(labels, logits, logits.dims[:-1], "be equal up to the classes", what)
        if labels.dtype not in (int32, int64):
            labels = cast(labels, int32)
        labels = checked(labels, logits.dims[-1], what)
        shifted = _shifted(logits, axis)
        # A comparison with every class costs nothing beside the exponentials, and its derivative
        # is a selection too, where a gather's would be a scatter.
        classes = find("iota")(dtype=labels.dtype, size=logits.dims[-1])
        hit = find("equal")(expand_dims(labels, -1), classes)
        chosen = reduce_sum(where(hit, shifted, zeros_like(shifted)), axis=axis)
        return find("sub")(_log_total(shifted, axis), chosen, name=scope)


def _require_shape(labels: Tensor, logits: Tensor, wanted, rule: str, what: str) -> None:
    """Raises, with the user's line, where the labels' rank or known sizes are not those wanted."""
    if labels.dims is None or wanted is None:
        return
    message = (
        f"the labels {labels.name} are {labels.tensor_type}, the logits {logits.name} "
        f"{logits.tensor_type}; the shapes must {rule}"
    )
    try:
        same_shape(labels.dims, wanted, SizeRules(), message)
    except TypeRuleError:
        reject(what, message)


def _require_one_shape(labels: Tensor, logits: Tensor, what: str) -> None:
    _require_shape(labels, logits, logits.dims, "be equal", what)


def sigmoid_cross_entropy_with_logits(
    _sentinel=None, labels=None, logits=None, name: str | None = None
) -> Tensor:
    """-labels · log(sigmoid(logits)) - (1 - labels) · log(1 - sigmoid(logits)), elementwise.

    Computed as max(x, 0) - x·z + log(1 + exp(-|x|)), with one branch for both of x's signs so that
    the derivative at 0 is sigmoid(0) - z too.
    """
    what = "sigmoid_cross_entropy_with_logits"
    _by_keyword(what, _sentinel, labels=labels, logits=logits)
    with name_scope(name, "logistic_loss") as scope:
        logits, labels = convert_pair(logits, labels, what)
        _require_one_shape(labels, logits, what)
        positive = logits >= zeros_like(logits)
        hinge = where(positive, logits, zeros_like(logits))
        magnitude = where(positive, -logits, logits)  # -|logits|
        return find("add")(hinge - logits * labels, softplus(magnitude), name=scope)


def weighted_cross_entropy_with_logits(
    labels=None, logits=None, pos_weight=None, name: str | None = None, targets=None
) -> Tensor:
    """As sigmoid_cross_entropy_with_logits, with the positive term multiplied by `pos_weight`.

    -pos_weight · z · log(sigmoid(x)) - (1 - z) · log(1 - sigmoid(x)). `targets` is the old name of
    `labels`.
    """
    what = "weighted_cross_entropy_with_logits"
    labels = targets if labels is None else labels
    _by_keyword(what, None, labels=labels, logits=logits, pos_weight=pos_weight)
    with name_scope(name, "logistic_loss") as scope:
        logits, labels = convert_pair(logits, labels, what)
        _require_one_shape(labels, logits, what)
        positive_weight = convert(pos_weight, logits.dtype, what=what) * labels
        positive = logits >= zeros_like(logits)
        hinge = where(positive, (1 - labels) * logits, -positive_weight * logits)
        magnitude = where(positive, -logits, logits)  # -|logits|
        weight = positive_weight + (1 - labels)
        return find("add")(hinge, weight * softplus(magnitude), name=scope)


def log_poisson_loss(
    targets, log_input, compute_full_loss: bool = False, name: str | None = None
) -> Tensor:
    """exp(c) - z·c for targets z and the logarithm c of the predicted rate, elementwise.

    `compute_full_loss` adds Stirling's approximation of log(z!) where z > 1:
    z·log(z) - z + log(2·pi·z) / 2.
    """
    what = "log_poisson_loss"
    with name_scope(name, what) as scope:
        log_input, targets = convert_pair(log_input, targets, what)
        _require_one_shape(targets, log_input, what)
        loss = exp(log_input) - log_input * targets
        if compute_full_loss:
            # z! is near 1 up to z = 1, where the approximation is not; the logarithm never sees
            # what its branch is not taken for.
            large = targets > 1
            safe = where(large, targets, zeros_like(targets) + 1)
            stirling = safe * log(safe) - safe + 0.5 * log(2 * math.pi * safe)
            loss = loss + where(large, stirling, zeros_like(targets))
        return identity(loss, name=scope)
