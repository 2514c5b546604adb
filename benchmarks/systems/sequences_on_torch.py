"""PyTorch on sequences: nn.LSTM and its like, Python loops over cells, stacks that are lists.

Modes: `eager`; `loop`, over the steps in Python; `compile`, of that loop; `levels`, where trees are
batched by hand, all phrases of the same height at once.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..sequences import REDUCE, SHIFT, RecurrentModel
from .base import BaseSystem

RECOMPILATIONS = 128  # allowed: with PyTorch's default it gives up compiling after eight lengths
LAYERS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}


def _parameter(value: np.ndarray, trained: bool = True) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(value).contiguous(), requires_grad=trained)


def _linear(values: dict[str, np.ndarray], name: str) -> torch.nn.Linear:
    kernel = values[f"{name}/kernel"]
    layer = torch.nn.Linear(*kernel.shape)
    layer.weight, layer.bias = _parameter(kernel.T), _parameter(values[f"{name}/bias"])
    return layer


def _gates(kernel: np.ndarray) -> np.ndarray:
    """An LSTM's i, j, f, o in PyTorch's order: i, f, j, o."""
    i, j, f, o = np.split(kernel, 4, axis=-1)
    return np.concatenate([i, f, j, o], -1)


def _lstm_weights(kernel: np.ndarray, bias: np.ndarray, inputs: int) -> list[np.ndarray]:
    """Of x, of h, and the bias, to which that of the forget gate is added."""
    bias = bias.copy()
    bias[2 * len(bias) // 4 : 3 * len(bias) // 4] += 1
    kernel = _gates(kernel)
    return [kernel[:inputs].T, kernel[inputs:].T, _gates(bias)]


class Recurrent(torch.nn.Module):
    """A classifier of sequences. Only a GRU has two biases: elsewhere the second stays zero."""

    def __init__(self, model: RecurrentModel, values: dict[str, np.ndarray], loop: bool) -> None:
        super().__init__()
        self.embedding = _parameter(values["embedding"]) if model.vocabulary else None
        sizes = (model.inputs, model.hidden)
        layer = CELLS[model.cell](*sizes) if loop else LAYERS[model.cell](*sizes, batch_first=True)
        kernel, bias = values["cell/kernel"], values["cell/bias"]
        if model.cell == "gru":
            of_x, of_h, first = kernel.T, values["recurrent/kernel"].T, bias
            second = _parameter(values["recurrent/bias"])
        else:
            of_x, of_h, first = kernel[: model.inputs].T, kernel[model.inputs :].T, bias
            if model.cell == "lstm":
                of_x, of_h, first = _lstm_weights(kernel, bias, model.inputs)
            second = _parameter(np.zeros_like(bias), trained=False)
        ending = "" if loop else "_l0"
        for name, value in (("weight_ih", of_x), ("weight_hh", of_h), ("bias_ih", first)):
            setattr(layer, name + ending, _parameter(value))
        setattr(layer, "bias_hh" + ending, second)
        self.cell, self.layer, self.loop = model.cell, layer, loop
        self.classes = _linear(values, "classes")

    def forward(self, x, y=None):
        if self.embedding is not None:
            x = F.embedding(x, self.embedding)
        if self.loop:
            state = None
            for step in x.unbind(1):
                state = self.layer(step, state)
            last = state[0] if self.cell == "lstm" else state
        else:
            last = self.layer(x)[0][:, -1]
        logits = self.classes(last)
        return logits if y is None else F.cross_entropy(logits, y)


def _reduced(gates, left, right):
    """(h, c) side by side, of two phrases and i, fl, fr, o, u before they are squashed."""
    i, left_kept, right_kept, o, u = gates.chunk(5, -1)
    c = torch.sigmoid(i) * torch.tanh(u)
    c = c + torch.sigmoid(left_kept) * left.chunk(2, -1)[1]
    c = c + torch.sigmoid(right_kept) * right.chunk(2, -1)[1]
    return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], -1)


class Spinn(torch.nn.Module):
    """A stack and a buffer of each sentence are Python lists; what the sentences do in a step is
    batched. Sentences are in order of length, so that those not done yet are the first."""

    def __init__(self, model, values) -> None:
        super().__init__()
        self.hidden = model.hidden
        self.words, self.reduce = _linear(values, "words"), _linear(values, "reduce")
        self.classes = _linear(values, "classes")
        self.tracker = torch.nn.LSTMCell(3 * model.hidden, model.tracker)
        weights = _lstm_weights(values["tracker/kernel"], values["tracker/bias"], 3 * model.hidden)
        for name, value in zip(("weight_ih", "weight_hh", "bias_ih"), weights, strict=True):
            setattr(self.tracker, name, _parameter(value))
        zeros = np.zeros(4 * model.tracker, np.float32)
        self.tracker.bias_hh = _parameter(zeros, trained=False)

    def forward(self, stacks, y=None):
        order = np.argsort(-stacks.lengths, kind="stable")
        lengths = stacks.lengths[order]
        programs = stacks.transitions[order].tolist()
        vectors = self.words(torch.from_numpy(stacks.words[order])).flatten(0, 1).unbind(0)
        nothing = torch.zeros(2 * self.hidden)
        room = stacks.words.shape[1]
        # The next word of a sentence is the last of its list.
        waiting = [
            [nothing, *vectors[row * room : row * room + n][::-1]] for row, n in enumerate(lengths)
        ]
        phrases = [[nothing, nothing] for _ in lengths]
        state = None
        for step in range(2 * int(lengths[0]) - 1):
            rows = range(int(np.searchsorted(step - 2 * lengths, -1)))
            tops = [
                torch.stack([waiting[row][-1] for row in rows]),
                torch.stack([phrases[row][-1] for row in rows]),
                torch.stack([phrases[row][-2] for row in rows]),
            ]
            seen = torch.cat([top[:, : self.hidden] for top in tops], 1)
            if state is not None:
                state = (state[0][: len(rows)], state[1][: len(rows)])
            state = self.tracker(seen, state)
            reducing = [row for row in rows if programs[row][step] == REDUCE]
            for row in rows:
                if programs[row][step] == SHIFT:
                    phrases[row].append(waiting[row].pop())
            if reducing:
                right = torch.stack([phrases[row].pop() for row in reducing])
                left = torch.stack([phrases[row].pop() for row in reducing])
                heads = [left[:, : self.hidden], right[:, : self.hidden], state[0][reducing]]
                made = _reduced(self.reduce(torch.cat(heads, 1)), left, right)
                for row, phrase in zip(reducing, made.unbind(0), strict=True):
                    phrases[row].append(phrase)
        back = np.argsort(order)
        last = torch.stack([phrases[row][-1] for row in back.tolist()])[:, : self.hidden]
        logits = self.classes(last)
        return logits if y is None else F.cross_entropy(logits, y)


class Trees(torch.nn.Module):
    """A TreeLSTM, one tree after the other."""

    def __init__(self, model, values) -> None:
        super().__init__()
        self.hidden = model.hidden
        self.leaf, self.reduce = _linear(values, "leaf"), _linear(values, "reduce")
        self.classes = _linear(values, "classes")

    def leaves(self, words):
        i, o, u = self.leaf(words).chunk(3, -1)
        c = torch.sigmoid(i) * torch.tanh(u)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], -1)

    def pair(self, left, right):
        heads = [left[..., : self.hidden], right[..., : self.hidden]]
        return _reduced(self.reduce(torch.cat(heads, -1)), left, right)

    def root(self, tree):
        words = iter(self.leaves(torch.from_numpy(tree.words)).unbind(0))
        phrases = []
        for step in tree.transitions.tolist():
            if step == SHIFT:
                phrases.append(next(words))
            else:
                right = phrases.pop()
                phrases.append(self.pair(phrases.pop(), right))
        return phrases[0]

    def roots(self, trees):
        return torch.stack([self.root(tree) for tree in trees])

    def forward(self, trees, y=None):
        logits = self.classes(self.roots(trees)[:, : self.hidden])
        return logits if y is None else F.cross_entropy(logits, y)


class Levels(Trees):
    """Phrases of the same height at once, over all trees."""

    def roots(self, trees):
        first = 0  # leaves come first, and then phrases by height
        levels: list[tuple[list, list]] = []  # left and right phrases of each
        tops = []
        for tree in trees:
            phrases: list[tuple[int, int]] = []  # (height, place in its level)
            for step in tree.transitions.tolist():
                if step == SHIFT:
                    phrases.append((0, first))
                    first += 1
                    continue
                right, left = phrases.pop(), phrases.pop()
                height = max(left[0], right[0])
                if height == len(levels):
                    levels.append(([], []))
                lefts, rights = levels[height]
                phrases.append((height + 1, len(lefts)))
                lefts.append(left)
                rights.append(right)
            tops.append(phrases[0])
        starts = np.cumsum([0, first, *[len(lefts) for lefts, _ in levels]])

        def places(phrases):
            return torch.tensor([int(starts[height]) + place for height, place in phrases])

        made = self.leaves(torch.from_numpy(np.concatenate([tree.words for tree in trees])))
        for lefts, rights in levels:
            pair = self.pair(made[places(lefts)], made[places(rights)])
            made = torch.cat([made, pair])
        return made[places(tops)]


class System(BaseSystem):
    def __init__(self, request, mode):
        super().__init__(request, mode)
        torch.set_num_threads(self.threads)
        torch.set_num_interop_threads(1)
        if mode == "compile":
            import torch._dynamo.config as dynamo

            dynamo.recompile_limit = dynamo.accumulated_recompile_limit = RECOMPILATIONS

    def feed(self, x, y):
        arrays = isinstance(self.model, RecurrentModel)
        return torch.from_numpy(x) if arrays else x, torch.from_numpy(y.astype(np.int64))

    def _net(self):
        values = dict(self.weights())
        if isinstance(self.model, RecurrentModel):
            net = Recurrent(self.model, values, loop=self.mode in ("loop", "compile"))
        elif self.model.tracker:
            net = Spinn(self.model, values)
        else:
            net = (Levels if self.mode == "levels" else Trees)(self.model, values)
        return net

    def train(self):
        net = self._net()
        run = torch.compile(net) if self.mode == "compile" else net
        trained = [p for p in net.parameters() if p.requires_grad]
        kind = torch.optim.Adam if self.workload.optimizer == "adam" else torch.optim.SGD
        update = kind(trained, self.workload.rate, fused=True)

        def step(x, y):
            loss = run(x, y)
            update.zero_grad(set_to_none=True)
            loss.backward()
            update.step()
            return loss.detach().numpy()

        return step

    def infer(self):
        net = self._net().eval()
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        if self.mode == "compile":
            import torch._inductor.config as inductor

            inductor.freezing = True
        off = torch.no_grad if self.mode == "compile" else torch.inference_mode
        run = torch.compile(net) if self.mode == "compile" else net

        def step(x, _):
            with off():
                return run(x).numpy()

        return step

    def facts(self):
        return {"version": torch.__version__}
