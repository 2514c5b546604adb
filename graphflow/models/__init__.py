"""Networks people know, as functions from tensors to tensors.

Each declares its variables under a scope (`name`, and `reuse` for a second use of them) and gives
what comes before a softmax or a loss. `training` is a bool or a bool scalar tensor, which may be a
placeholder; where there are batch normalisations, a training step should depend on UPDATE_OPS:

    logits = tf.models.resnet18(images, classes=10, training=True)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        step = optimizer.minimize(loss(logits, labels))
"""

from .linknet import linknet
from .perceptron import mlp
from .resnet import resnet18, resnet34, resnet50
from .simplecnn import lenet, simplecnn
from .spinn import Spinn, spinn, transition_loss
from .transformer import positional_encoding, transformer_encoder

__all__ = [
    "Spinn",
    "lenet",
    "linknet",
    "mlp",
    "positional_encoding",
    "resnet18",
    "resnet34",
    "resnet50",
    "simplecnn",
    "spinn",
    "transformer_encoder",
    "transition_loss",
]
