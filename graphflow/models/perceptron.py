"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.node import Tensor
from ..layers import dense, dropout
from ..nn import relu
from ..ops.convert import convert, reject
from ..variable_scope import variable_scope


def mlp(
    inputs,
    hidden: Sequence[int],
    outputs: int,
    activation: Callable = relu,
    dropout_rate: float = 0.0,
    training: Any = False,
    name: str = "mlp",
    reuse=None,
) -> Tensor:
    """Dense layers of `hidden` units with an activation each, and a linear one of `outputs`.

    inputs: [batch, features]. dropout_rate: of the hidden layers' outputs while training.
    Gives [batch, outputs].
    """
    inputs = convert(inputs, what=name)
    if inputs.rank != 2:
        reject(name, f"inputs [batch, features] are needed, got {inputs.name} {inputs.tensor_type}")
    with variable_scope(name, reuse=reuse):
        x = inputs
        for number, units in enumerate(hidden):
            x = dense(x, units, activation=activation, name=f"dense{number + 1}")
            if dropout_rate:
                x = dropout(x, dropout_rate, training=training)
        return dense(x, outputs, name="outputs")
