"""Recurrent nets, shift-reduce encoders and trees: their parameters, and what they are run on.

Systems say these models in their own ways (systems/sequences_on_*.py): a loop is where they differ.
What is computed is written down here, once; the report compares losses and results. Kernels are
[inputs, outputs], and gates lie side by side in the outputs.

    lstm   [x, h] K + b = i, j, f, o (TensorFlow's order)
           c' = s(f + 1) c + s(i) tanh(j),  h' = s(o) tanh(c')     s: the logistic function
    gru    x K + b = r, z, n;  h R + d = r', z', n'   (reset after the product: cuDNN, PyTorch)
           h' = (1 - u) tanh(n + s(r + r') n') + u h,  u = s(z + z')
    rnn    h' = tanh([x, h] K + b)

The first state is zero, the last one (h) goes through a dense layer to the classes.

    spinn  (Bowman et al. 2016, arXiv:1603.06021) A word x is (h, c) = x P + p. In each step the
           tracker, an lstm, reads [h of the next word, of the top of the stack, of the one below];
           missing ones are zero. SHIFT puts the next word on the stack. REDUCE puts one phrase in
           the place of the upper two, right and left, with the tracker's new state t:
           [hl, hr, t] K + b = i, fl, fr, o, u
           c' = s(i) tanh(u) + s(fl) cl + s(fr) cr,  h' = s(o) tanh(c')
    tree   (Tai et al. 2015, arXiv:1503.00075) The same without t; a leaf is
           x L + l = i, o, u;  c = s(i) tanh(u),  h = s(o) tanh(c)

The phrase that is left, h, goes through a dense layer to the classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .net import WEIGHT, ZEROS
from .workloads import LENGTHS, Workload

SHIFT, REDUCE, SKIP = 0, 1, 2
EMBEDDING = "embedding"  # drawn from the unit normal, as PyTorch does
FEWEST = 5  # words of a sentence or a tree
SHORTEST, LONGEST, LENGTH_BATCHES = 5, 60, 40  # of the workload with many lengths
TREE_POOL = 64  # batches of trees a loop goes through: shapes are to be new ones

Parameters = dict[str, tuple[tuple[int, ...], str]]


def _dense(name: str, inputs: int, outputs: int) -> Parameters:
    return {f"{name}/kernel": ((inputs, outputs), WEIGHT), f"{name}/bias": ((outputs,), ZEROS)}


@dataclass(frozen=True)
class RecurrentModel:
    """cell: lstm, gru or rnn; vocabulary: 0 where inputs are vectors"""

    cell: str
    inputs: int
    hidden: int
    classes: int
    vocabulary: int = 0

    @property
    def parameters(self) -> Parameters:
        width = {"lstm": 4, "gru": 3, "rnn": 1}[self.cell] * self.hidden
        found: Parameters = {}
        if self.vocabulary:
            found["embedding"] = ((self.vocabulary, self.inputs), EMBEDDING)
        if self.cell == "gru":
            found |= _dense("cell", self.inputs, width)
            found |= _dense("recurrent", self.hidden, width)
        else:
            found |= _dense("cell", self.inputs + self.hidden, width)
        return found | _dense("classes", self.hidden, self.classes)


@dataclass(frozen=True)
class StackModel:
    """inputs: of a word's vector; words: of a sentence, at most; tracker: its units, 0 for trees"""

    inputs: int
    hidden: int
    classes: int
    words: int
    tracker: int = 0

    @property
    def parameters(self) -> Parameters:
        hidden, tracker = self.hidden, self.tracker
        if tracker:
            found = _dense("words", self.inputs, 2 * hidden)
            found |= _dense("tracker", 3 * hidden + tracker, 4 * tracker)
        else:
            found = _dense("leaf", self.inputs, 3 * hidden)
        found |= _dense("reduce", 2 * hidden + tracker, 5 * hidden)
        return found | _dense("classes", hidden, self.classes)


SEQUENCE_MODELS: dict[str, RecurrentModel | StackModel] = {
    "lstm": RecurrentModel("lstm", 300, 300, 3, vocabulary=5000),
    "lstm32": RecurrentModel("lstm", 32, 32, 10),
    "gru32": RecurrentModel("gru", 32, 32, 10),
    "rnn32": RecurrentModel("rnn", 32, 32, 10),
    "spinn": StackModel(100, 100, 3, words=25, tracker=64),
    "treelstm": StackModel(100, 100, 3, words=25),
}


def initial(model: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name and value of every parameter."""
    rng = np.random.default_rng(7)
    for name, (shape, kind) in SEQUENCE_MODELS[model].parameters.items():
        if kind == ZEROS:
            yield name, np.zeros(shape, np.float32)
        else:
            scale = 1.0 if kind == EMBEDDING else math.sqrt(1 / shape[0])
            yield name, rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


# -- data ------------------------------------------------------------------------------------------


class Tree(NamedTuple):
    """words: [n, inputs] float32; transitions: [2n - 1] int32, SHIFT and REDUCE"""

    words: np.ndarray
    transitions: np.ndarray


class Stacks(NamedTuple):
    """Trees side by side: words [batch, n, inputs], zeros behind; transitions [batch, 2n - 1], SKIP
    behind; lengths [batch], in words."""

    words: np.ndarray
    transitions: np.ndarray
    lengths: np.ndarray


def random_transitions(words: int, rng: np.random.Generator) -> list[int]:
    """Of a tree that is cut anywhere, and so are its parts."""
    if words == 1:
        return [SHIFT]
    left = int(rng.integers(1, words))
    parts = random_transitions(left, rng), random_transitions(words - left, rng)
    return [*parts[0], *parts[1], REDUCE]


def random_trees(model: StackModel, batch: int, rng: np.random.Generator) -> list[Tree]:
    """Of all numbers of words up to the most, which one of them has."""
    lengths = rng.integers(FEWEST, model.words + 1, batch)
    lengths[rng.integers(batch)] = model.words
    return [
        Tree(
            rng.standard_normal((n, model.inputs), dtype=np.float32),
            np.array(random_transitions(int(n), rng), np.int32),
        )
        for n in lengths
    ]


def stacked(trees: list[Tree], most: int) -> Stacks:
    words = np.zeros((len(trees), most, trees[0].words.shape[1]), np.float32)
    transitions = np.full((len(trees), 2 * most - 1), SKIP, np.int32)
    for row, tree in enumerate(trees):
        words[row, : len(tree.words)] = tree.words
        transitions[row, : len(tree.transitions)] = tree.transitions
    return Stacks(words, transitions, np.array([len(tree.words) for tree in trees], np.int32))


def batches(workload: Workload, count: int) -> Iterator[tuple]:
    """(inputs, labels [batch]); inputs are ids [batch, steps] int32, vectors [batch, steps,
    inputs], Stacks, or a list of trees, as the model has them."""
    model = SEQUENCE_MODELS[workload.model]
    rng = np.random.default_rng(11)
    trees = isinstance(model, StackModel) and not model.tracker
    count = LENGTH_BATCHES if workload.kind == LENGTHS else TREE_POOL if trees else count
    for _ in range(count):
        x: object
        if isinstance(model, StackModel):
            x = random_trees(model, workload.batch, rng)
            x = stacked(x, model.words) if model.tracker else x
        else:
            steps = workload.steps or int(rng.integers(SHORTEST, LONGEST + 1))
            if model.vocabulary:
                shape = (workload.batch, steps)
                x = rng.integers(0, model.vocabulary, shape, dtype=np.int32)
            else:
                shape = (workload.batch, steps, model.inputs)
                x = rng.standard_normal(shape, dtype=np.float32)
        yield x, rng.integers(0, model.classes, workload.batch, dtype=np.int32)
