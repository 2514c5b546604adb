"""Losses of whole batches: a loss of each element, weighted and reduced, as in TensorFlow 1.

Every function adds its result to a collection (LOSSES), from which `get_total_loss` sums it.
"""

from __future__ import annotations

from .dtypes import float32
from .framework import name_scope
from .ir.graph import GraphKeys, get_default_graph
from .ir.node import Tensor
from .ir.op import find
from .nn import (
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits,
)
from .ops.arithmetic import add_n, maximum, minimum, squared_difference
from .ops.convert import constant_value, convert, reject
from .ops.creation import ones_like, zeros_like
from .ops.logic import cast, stop_gradient
from .ops.math import abs as absolute
from .ops.math import log
from .ops.movement import expand_dims, squeeze
from .ops.reduction import reduce_sum

__all__ = [
    "Reduction",
    "absolute_difference",
    "add_loss",
    "compute_weighted_loss",
    "cosine_distance",
    "get_losses",
    "get_regularization_loss",
    "get_regularization_losses",
    "get_total_loss",
    "hinge_loss",
    "huber_loss",
    "log_loss",
    "mean_pairwise_squared_error",
    "mean_squared_error",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "sparse_softmax_cross_entropy",
]


class Reduction:
    """How the weighted losses of a batch become one.

    NONE: they stay as they are. SUM: their sum. MEAN: the sum over the sum of weights.
    SUM_OVER_BATCH_SIZE: the sum over the number of losses.
    SUM_BY_NONZERO_WEIGHTS: the sum over the number of losses whose weight is not 0.
    A divisor of 0 gives 0.
    """

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        return (
            cls.NONE,
            cls.SUM,
            cls.MEAN,
            cls.SUM_OVER_BATCH_SIZE,
            cls.SUM_BY_NONZERO_WEIGHTS,
        )

    @classmethod
    def validate(cls, key: str) -> None:
        if key not in cls.all():
            raise ValueError(f"{key!r} is not a reduction; those are {', '.join(cls.all())}")


def _safe_divide(total: Tensor, count: Tensor) -> Tensor:
    """total / count, and 0 where the count is 0; so is the gradient."""
    zero = zeros_like(count)
    empty = find("equal")(count, zero)
    return find("select")(empty, zero, total / find("select")(empty, ones_like(count), count))


def _check_weights(weights: Tensor, losses: Tensor) -> None:
    """Weights are a scalar, or have the losses' rank with each size equal to theirs or 1."""
    if weights.rank in (0, None) or losses.rank is None:
        return
    fits = weights.rank == losses.rank and all(
        w == 1 or w == d or not (isinstance(w, int) and isinstance(d, int))
        for w, d in zip(weights.dims, losses.dims, strict=True)
    )
    if not fits:
        reject(
            "compute_weighted_loss",
            f"the weights {weights.tensor_type} must be a scalar, or have the rank of the losses "
            f"{losses.tensor_type} with each dimension equal to theirs or 1",
            ValueError,
        )


def compute_weighted_loss(
    losses,
    weights=1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """losses · weights, reduced as `Reduction` says, and added to the collection."""
    Reduction.validate(reduction)
    with name_scope(scope, "weighted_loss"):
        losses = convert(losses, what="compute_weighted_loss")
        given = losses.dtype
        if not given.is_floating:
            losses = cast(losses, float32)
        weights = convert(weights) if hasattr(weights, "dtype") else convert(weights, losses.dtype)
        if weights.dtype is not losses.dtype:
            weights = cast(weights, losses.dtype)
        _check_weights(weights, losses)
        known = constant_value(weights)
        plain = known is not None and known.ndim == 0 and known == 1
        loss = losses if plain else losses * weights
        if reduction != Reduction.NONE:
            count = _divisor(losses, weights, known, reduction)
            loss = reduce_sum(loss)
            loss = loss if count is None else _safe_divide(loss, count)
        if not given.is_floating:
            loss = cast(loss, given)
        add_loss(loss, loss_collection)
    return loss


def _divisor(losses: Tensor, weights: Tensor, known, reduction: str) -> Tensor | None:
    if reduction == Reduction.SUM:
        return None
    count = _size(losses, losses.dtype)
    if reduction == Reduction.SUM_OVER_BATCH_SIZE:
        return count
    if known is not None and known.ndim == 0:
        weight = float(known)
        present = weight if reduction == Reduction.MEAN else float(weight != 0)
        return count if present == 1.0 else count * present
    if reduction == Reduction.SUM_BY_NONZERO_WEIGHTS:
        weights = cast(find("not_equal")(weights, zeros_like(weights)), losses.dtype)
    # How many losses share a weight is known from the shapes alone.
    return reduce_sum(weights) * (count / _size(weights, losses.dtype))


def _size(x: Tensor, dtype, axes: tuple[int, ...] | None = None) -> Tensor:
    """How many elements x has along `axes` (all if None), as a scalar of that dtype."""
    return find("size")(x, axes=axes, dtype=dtype)


def add_loss(loss: Tensor, loss_collection: str | None = GraphKeys.LOSSES) -> None:
    """Adds a loss to a collection; None adds it to none."""
    if loss_collection:
        get_default_graph().add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: str = GraphKeys.LOSSES) -> list[Tensor]:
    """The losses of a collection; with `scope`, those whose names begin with it."""
    return get_default_graph().get_collection(loss_collection, scope)


def get_regularization_losses(scope: str | None = None) -> list[Tensor]:
    """The losses that regularisers of variables gave."""
    return get_default_graph().get_collection(GraphKeys.REGULARIZATION_LOSSES, scope)


def get_regularization_loss(
    scope: str | None = None, name: str = "total_regularization_loss"
) -> Tensor:
    """The sum of the regularisation losses; 0 where there is none."""
    losses = get_regularization_losses(scope)
    return add_n(losses, name=name) if losses else convert(0.0)


def get_total_loss(
    add_regularization_losses: bool = True,
    name: str = "total_loss",
    scope: str | None = None,
) -> Tensor:
    """The sum of the losses, and of the regularisation losses unless they are left out.

    Raises ValueError where there is none.
    """
    losses = get_losses(scope)
    if add_regularization_losses:
        losses += get_regularization_losses(scope)
    if not losses:
        raise ValueError("get_total_loss: there are no losses")
    return add_n(losses, name=name)


def _labels_and_predictions(labels, predictions, what: str) -> tuple[Tensor, Tensor]:
    """Both in the predictions' floating-point dtype, and of one shape as far as it is known."""
    if labels is None or predictions is None:
        raise ValueError(f"{what}: labels and predictions must not be None")
    predictions = convert(predictions, what=what)
    if not predictions.dtype.is_floating:
        predictions = cast(predictions, float32)
    labels = (
        convert(labels, what=what)
        if hasattr(labels, "dtype")
        else convert(labels, predictions.dtype, what=what)
    )
    if labels.dtype is not predictions.dtype:
        labels = cast(labels, predictions.dtype)
    if labels.dims is not None and predictions.dims is not None:
        fits = labels.rank == predictions.rank and not any(
            isinstance(a, int) and isinstance(b, int) and a != b
            for a, b in zip(labels.dims, predictions.dims, strict=False)
        )
        if not fits:
            reject(
                what,
                f"the labels {labels.name} are {labels.tensor_type}, the predictions "
                f"{predictions.name} {predictions.tensor_type}; the shapes must be equal",
            )
    return labels, predictions


def absolute_difference(
    labels,
    predictions,
    weights=1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """|predictions - labels|"""
    with name_scope(scope, "absolute_difference") as inner:
        labels, predictions = _labels_and_predictions(labels, predictions, "absolute_difference")
        losses = absolute(predictions - labels)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)


def mean_squared_error(
    labels,
    predictions,
    weights=1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """(predictions - labels)²"""
    with name_scope(scope, "mean_squared_error") as inner:
        labels, predictions = _labels_and_predictions(labels, predictions, "mean_squared_error")
        losses = squared_difference(predictions, labels)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)


def mean_pairwise_squared_error(
    labels,
    predictions,
    weights=1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
) -> Tensor:
    """The mean over pairs (i, j) of one example's elements of (d_i - d_j)², where d is
    predictions - labels; averaged over the batch (Eigen et al. 2014, arXiv:1406.2283, eq. 1).

    weights: a scalar, [batch], or [batch, 1, ...].
    """
    what = "mean_pairwise_squared_error"
    with name_scope(scope, what):
        labels, predictions = _labels_and_predictions(labels, predictions, what)
        if not predictions.rank:
            reject(what, f"the predictions need a batch dimension, got {predictions.tensor_type}")
        weights = convert(weights, predictions.dtype, what=what)
        differences = predictions - labels
        axes = list(range(1, differences.rank))
        each = _size(differences, differences.dtype, tuple(axes))
        squares = reduce_sum(differences * differences, axis=axes, keepdims=True)
        total = reduce_sum(differences, axis=axes, keepdims=True)
        # sum over pairs of (d_i - d_j)² = 2 · (n · sum d² - (sum d)²); there are n · (n - 1) pairs
        losses = _safe_divide(2 * (each * squares - total * total), each * (each - 1))
        if weights.rank == 1:
            for _ in axes:
                weights = expand_dims(weights, -1)
        loss = reduce_sum(losses * weights)
        known = constant_value(weights)
        present = _divisor(losses, weights, known, Reduction.SUM_BY_NONZERO_WEIGHTS)
        loss = loss if present is None else _safe_divide(loss, present)
        add_loss(loss, loss_collection)
        return loss


def cosine_distance(
    labels,
    predictions,
    axis: int | None = None,
    weights=1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
    dim: int | None = None,
) -> Tensor:
    """1 - sum(predictions · labels) along `axis` (`dim` is its old name); both are unit vectors
    already."""
    axis = dim if axis is None else axis
    if axis is None:
        raise ValueError("cosine_distance: axis must be given")
    with name_scope(scope, "cosine_distance_loss") as inner:
        labels, predictions = _labels_and_predictions(labels, predictions, "cosine_distance")
        losses = 1 - reduce_sum(predictions * labels, axis=axis, keepdims=True)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)


def hinge_loss(
    labels,
    logits,
    weights=1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """max(0, 1 - y · logits), y = 2 · labels - 1, for labels of 0 and 1"""
    with name_scope(scope, "hinge_loss") as inner:
        labels, logits = _labels_and_predictions(labels, logits, "hinge_loss")
        losses = maximum(0.0, 1 - (2 * labels - 1) * logits)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)


def huber_loss(
    labels,
    predictions,
    weights=1.0,
    delta: float = 1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """e² / 2 where e = |predictions - labels| <= delta, else delta · e - delta² / 2"""
    with name_scope(scope, "huber_loss") as inner:
        labels, predictions = _labels_and_predictions(labels, predictions, "huber_loss")
        error = absolute(predictions - labels)
        quadratic = minimum(error, delta)
        losses = 0.5 * quadratic * quadratic + delta * (error - quadratic)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)


def log_loss(
    labels,
    predictions,
    weights=1.0,
    epsilon: float = 1e-7,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """-labels · log(predictions + epsilon) - (1 - labels) · log(1 - predictions + epsilon)"""
    with name_scope(scope, "log_loss") as inner:
        labels, predictions = _labels_and_predictions(labels, predictions, "log_loss")
        losses = -labels * log(predictions + epsilon)
        losses = losses - (1 - labels) * log(1 - predictions + epsilon)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)


def sigmoid_cross_entropy(
    multi_class_labels,
    logits,
    weights=1.0,
    label_smoothing=0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """nn.sigmoid_cross_entropy_with_logits, after labels · (1 - s) + s / 2 for a smoothing s"""
    with name_scope(scope, "sigmoid_cross_entropy_loss") as inner:
        labels, logits = _labels_and_predictions(
            multi_class_labels, logits, "sigmoid_cross_entropy"
        )
        if _smooths(label_smoothing):
            labels = labels * (1 - label_smoothing) + 0.5 * label_smoothing
        losses = sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)


def _smooths(label_smoothing) -> bool:
    return isinstance(label_smoothing, Tensor) or label_smoothing > 0


def softmax_cross_entropy(
    onehot_labels,
    logits,
    weights=1.0,
    label_smoothing=0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """nn.softmax_cross_entropy_with_logits, after labels · (1 - s) + s / classes for a smoothing s

    weights: a scalar, or one weight for each example.
    """
    with name_scope(scope, "softmax_cross_entropy_loss") as inner:
        labels, logits = _labels_and_predictions(onehot_labels, logits, "softmax_cross_entropy")
        if _smooths(label_smoothing):
            classes = _size(logits, logits.dtype, (logits.rank - 1,))
            labels = labels * (1 - label_smoothing) + label_smoothing / classes
        losses = softmax_cross_entropy_with_logits_v2(
            labels=stop_gradient(labels), logits=logits, name="xentropy"
        )
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)


def sparse_softmax_cross_entropy(
    labels,
    logits,
    weights=1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """nn.sparse_softmax_cross_entropy_with_logits

    labels: [batch, ...] or [batch, ..., 1]. weights: a scalar, or one weight for each label.
    """
    with name_scope(scope, "sparse_softmax_cross_entropy_loss") as inner:
        labels = convert(labels, what="sparse_softmax_cross_entropy")
        logits = convert(logits, what="sparse_softmax_cross_entropy")
        weights = convert(weights, what="sparse_softmax_cross_entropy")
        if labels.rank is not None and labels.rank == logits.rank and labels.dims[-1] == 1:
            labels = squeeze(labels, [-1])
        if weights.rank is not None and labels.rank == (weights.rank or 0) - 1:
            weights = squeeze(weights, [-1])
        losses = sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=logits, name="xentropy"
        )
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction)
