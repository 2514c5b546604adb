"""Programs of a few tensors, and their text as nested expressions, for tests of passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import graphflow as tf
from graphflow.ir.node import FrozenArray, Node, Tensor
from graphflow.ir.op import find
from graphflow.ir.program import Program
from graphflow.passes.cut.functionalize import cut


def op(name: str, *inputs, **attrs) -> Tensor:
    """Applies a primitive to tensors as they are: public functions may simplify themselves."""
    return find(name)(*inputs, **attrs)


def number(value, dtype=tf.float32) -> Tensor:
    return op("constant", value=FrozenArray(np.asarray(value, tf.as_dtype(dtype).numpy)))


class Feeds:
    """Placeholders by name, made on first use, with values of suitable shapes."""

    SHAPES = {
        "x": (tf.float32, [None, 3]),
        "y": (tf.float32, [None, 3]),
        "m": (tf.float32, [3, 4]),
        "k": (tf.float32, [4, 5]),
        "r": (tf.float32, [3]),
        "c": (tf.float32, [None, 1]),
        "s": (tf.float32, []),
        "t": (tf.float32, [2, 3, 4]),
        "i": (tf.int32, [None, 3]),
        "j": (tf.int32, [None, 3]),
        "u": (tf.uint8, [None, 3]),
        "b": (tf.bool, [None, 3]),
        "d": (tf.bool, [None, 3]),
    }

    def __init__(self) -> None:
        self.made: dict[str, Tensor] = {}

    def __getattr__(self, name: str) -> Tensor:
        if name not in self.SHAPES:
            raise AttributeError(name)
        if name not in self.made:
            dtype, shape = self.SHAPES[name]
            self.made[name] = tf.placeholder(dtype, shape, name=name)
        return self.made[name]

    def values(self, seed: int = 0) -> list[np.ndarray]:
        random = np.random.default_rng(seed)
        arrays = []
        for tensor in self.made.values():
            shape = [2 if not isinstance(dim, int) else dim for dim in tensor.dims]
            if tensor.dtype.is_bool:
                arrays.append(random.integers(0, 2, shape).astype(np.bool_))
            elif tensor.dtype.is_floating:
                arrays.append(random.normal(size=shape).astype(tensor.dtype.numpy))
            else:
                arrays.append(random.integers(1, 9, shape).astype(tensor.dtype.numpy))
        return arrays


def program_of(fetches: Tensor | Sequence[Tensor], feeds: Feeds) -> Program:
    fetched = [fetches] if isinstance(fetches, Tensor) else list(fetches)
    return cut(tf.get_default_graph(), fetched, list(feeds.made.values()))


def text_of(program: Program, feeds: Feeds) -> str:
    """The fetches as expressions: mul(x, 2.0), reduce(x, axes=(1,), kind='sum')."""
    names = dict(zip(program.feeds, feeds.made, strict=True))
    return "; ".join(expression(tensor, names) for tensor in program.fetches)


def expression(tensor: Tensor, names: dict[Tensor, str]) -> str:
    node: Node = tensor.node
    if tensor in names:
        return names[tensor]
    if node.op.name == "constant":
        return str(node.attrs["value"].array.tolist()).lower()
    parts = [expression(t, names) for t in node.inputs]
    for key, value in node.attrs.items():
        parts.append(f"{key}={_text(value)}")
    return f"{node.op.name}({', '.join(parts)})"


def _text(value) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value)
