"""Neural network operations: activations, normalisation, cross entropies, embeddings."""

from ..ops.activation import elu, gelu, leaky_relu, relu, relu6, selu, softsign, swish
from ..ops.indexing import embedding_lookup
from ..ops.math import log_sigmoid, sigmoid, softplus, tanh
from ..ops.reduction import l2_loss, l2_normalize, moments
from ..ops.sorting import in_top_k, top_k
from .layers import (
    batch_normalization,
    bias_add,
    crelu,
    dropout,
    relu_layer,
    xw_plus_b,
    zero_fraction,
)
from .losses import (
    log_poisson_loss,
    log_softmax,
    sigmoid_cross_entropy_with_logits,
    softmax,
    softmax_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits,
    weighted_cross_entropy_with_logits,
)

__all__ = [
    "batch_normalization",
    "bias_add",
    "crelu",
    "dropout",
    "elu",
    "embedding_lookup",
    "gelu",
    "in_top_k",
    "l2_loss",
    "l2_normalize",
    "leaky_relu",
    "log_poisson_loss",
    "log_sigmoid",
    "log_softmax",
    "moments",
    "relu",
    "relu6",
    "relu_layer",
    "selu",
    "sigmoid",
    "sigmoid_cross_entropy_with_logits",
    "softmax",
    "softmax_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits_v2",
    "softplus",
    "softsign",
    "sparse_softmax_cross_entropy_with_logits",
    "swish",
    "tanh",
    "top_k",
    "weighted_cross_entropy_with_logits",
    "xw_plus_b",
    "zero_fraction",
]
