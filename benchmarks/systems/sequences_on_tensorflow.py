"""TensorFlow on sequences: version 1's dynamic_rnn and while_loop in a graph, and XLA.

Modes: `graph`; `block`, with the one kernel that TensorFlow has for a whole LSTM; `xla`. Stacks and
trees are thin stacks (Bowman et al. 2016): each row that a step makes is written into a
TensorArray, and pointers tell which of them are on the stack.
"""

from __future__ import annotations

from ..sequences import REDUCE, SHIFT, SKIP, RecurrentModel, Stacks, stacked
from .on_tensorflow import System as DenseSystem
from .on_tensorflow import _Update, tf, tf1
from .tensorflow_words import optimizer


def lstm(gates, c):
    """(h, c) from i, j, f, o, as BasicLSTMCell has it."""
    i, j, f, o = tf.split(gates, 4, -1)
    c = tf.sigmoid(f + 1) * c + tf.sigmoid(i) * tf.tanh(j)
    return tf.sigmoid(o) * tf.tanh(c), c


def dense(weights, name, x):
    return tf.matmul(x, weights[f"{name}/kernel"]) + weights[f"{name}/bias"]


class Cell:
    """What dynamic_rnn takes; TensorFlow does not bring version 1's cells any more."""

    def __init__(self, model, weights) -> None:
        self.model, self.weights = model, weights
        self.output_size = model.hidden
        self.state_size = (model.hidden,) * (2 if model.cell == "lstm" else 1)

    def zero_state(self, batch, dtype):
        return tuple(tf.zeros([batch, size], dtype) for size in self.state_size)

    def __call__(self, x, state):
        h = state[0]
        if self.model.cell == "gru":
            r, z, n = tf.split(dense(self.weights, "cell", x), 3, -1)
            of_r, of_z, of_n = tf.split(dense(self.weights, "recurrent", h), 3, -1)
            kept = tf.sigmoid(z + of_z)
            h = (1 - kept) * tf.tanh(n + tf.sigmoid(r + of_r) * of_n) + kept * h
            return h, (h,)
        gates = dense(self.weights, "cell", tf.concat([x, h], 1))
        if self.model.cell == "lstm":
            state = lstm(gates, state[1])
            return state[0], state
        h = tf.tanh(gates)
        return h, (h,)


def block_lstm(model, weights, x):
    """The last h, by the kernel that LSTMBlockFusedCell called."""
    x = tf.transpose(x, [1, 0, 2])
    zero = tf.zeros([tf.shape(x)[1], model.hidden])
    none = tf.zeros([model.hidden])  # peepholes
    result = tf.raw_ops.BlockLSTM(
        seq_len_max=tf.cast(tf.shape(x)[0], tf.int64), x=x, cs_prev=zero, h_prev=zero,
        w=weights["cell/kernel"], wci=none, wcf=none, wco=none, b=weights["cell/bias"],
        forget_bias=1.0, cell_clip=-1.0, use_peephole=False,
    )  # fmt: skip
    return result.h[-1]


def recurrent(model, weights, x, block):
    """Logits."""
    if model.vocabulary:
        x = tf.nn.embedding_lookup(weights["embedding"], x)
    if block:
        last = block_lstm(model, weights, x)
    else:
        _, (last, *_) = tf1.nn.dynamic_rnn(Cell(model, weights), x, dtype=tf.float32)
    return dense(weights, "classes", last)


def thin_stack(model, weights, stacks: Stacks):
    """Logits. Sentence b has rows b, b + batch, ..: of zeros, and of what each step made."""
    hidden = model.hidden
    batch, room = tf.shape(stacks.words)[0], stacks.words.shape[1]
    steps = stacks.transitions.shape[1]
    flat = tf.reshape(stacks.words, [-1, model.inputs])
    if model.tracker:
        words = dense(weights, "words", flat)
    else:
        i, o, u = tf.split(dense(weights, "leaf", flat), 3, -1)
        c = tf.sigmoid(i) * tf.tanh(u)
        words = tf.concat([tf.sigmoid(o) * tf.tanh(c), c], 1)
    there = tf.sequence_mask(stacks.lengths, room, tf.float32)
    words = tf.reshape(words, [-1, room, 2 * hidden]) * there[..., None]
    words = tf.reshape(tf.pad(words, [[0, 0], [0, 1], [0, 0]]), [-1, 2 * hidden])
    rows = tf.range(batch)
    programs = tf.transpose(stacks.transitions)
    buffer = tf.TensorArray(
        tf.float32, (steps + 1) * batch, clear_after_read=False, element_shape=[2 * hidden]
    )
    buffer = buffer.scatter(rows, tf.zeros([batch, 2 * hidden]))

    def step(number, buffer, pointers, top, used, h, c):
        transition = programs[number]
        above = tf.gather_nd(pointers, tf.stack([rows, top], 1))
        below = tf.gather_nd(pointers, tf.stack([rows, top - 1], 1))
        right = buffer.gather(above * batch + rows)
        left = buffer.gather(below * batch + rows)
        word = tf.gather(words, rows * (room + 1) + used)
        heads = [left[:, :hidden], right[:, :hidden]]
        if model.tracker:
            seen = [word[:, :hidden], right[:, :hidden], left[:, :hidden], h]
            h, c = lstm(dense(weights, "tracker", tf.concat(seen, 1)), c)
            heads.append(h)
        gates = dense(weights, "reduce", tf.concat(heads, 1))
        i, left_kept, right_kept, o, u = tf.split(gates, 5, -1)
        made = tf.sigmoid(i) * tf.tanh(u) + tf.sigmoid(left_kept) * left[:, hidden:]
        made = made + tf.sigmoid(right_kept) * right[:, hidden:]
        phrase = tf.concat([tf.sigmoid(o) * tf.tanh(made), made], 1)
        shifts = tf.equal(transition, SHIFT)
        row = tf.where(tf.tile(shifts[:, None], [1, 2 * hidden]), word, phrase)
        buffer = buffer.scatter((number + 1) * batch + rows, row)
        top += tf.cast(shifts, tf.int32) - tf.cast(tf.equal(transition, REDUCE), tf.int32)
        at = tf.stack([rows, top], 1)
        skipped = tf.equal(transition, SKIP)
        made_at = tf.fill([batch], number + 1)
        kept = tf.where(skipped, tf.gather_nd(pointers, at), made_at)
        pointers = tf.tensor_scatter_nd_update(pointers, at, kept)
        return number + 1, buffer, pointers, top, used + tf.cast(shifts, tf.int32), h, c

    tracker = tf.zeros([batch, model.tracker])
    pointers = tf.zeros([batch, room + 2], tf.int32)
    ones = tf.ones([batch], tf.int32)
    start = (tf.constant(0), buffer, pointers, ones, 0 * ones, tracker, tracker)
    _, buffer, pointers, top, *_ = tf1.while_loop(lambda number, *_: number < steps, step, start)
    last = tf.gather_nd(pointers, tf.stack([rows, top], 1)) * batch + rows
    return dense(weights, "classes", buffer.gather(last)[:, :hidden])


class System(DenseSystem):
    def __init__(self, request, mode):
        super().__init__(request, "xla" if mode == "xla" else "graph")
        self.block = mode == "block"
        if self.mode == "graph":
            tf1.disable_control_flow_v2()  # the loops that version 1 had

    def _logits(self, weights, x):
        if isinstance(self.model, RecurrentModel):
            return recurrent(self.model, weights, x, self.block)
        return thin_stack(self.model, weights, x)

    def _loss(self, weights, x, y):
        logits = self._logits(weights, x)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))

    def feed(self, x, y):
        return x, y

    def _arrays(self, x):
        if isinstance(x, list):
            x = stacked(x, self.model.words)
        return tuple(x) if isinstance(x, Stacks) else (x,)

    def _placeholders(self):
        model = self.model
        if isinstance(model, RecurrentModel):
            # Steps are left open: dynamic_rnn loops as often as a batch has them.
            shape = [None, None] if model.vocabulary else [None, None, model.inputs]
            x = tf1.placeholder(tf.int32 if model.vocabulary else tf.float32, shape)
            return x, (x,)
        x = Stacks(
            tf1.placeholder(tf.float32, [None, model.words, model.inputs]),
            tf1.placeholder(tf.int32, [None, 2 * model.words - 1]),
            tf1.placeholder(tf.int32, [None]),
        )
        return x, tuple(x)

    def _graph_train(self):
        x, fed = self._placeholders()
        y = tf1.placeholder(tf.int32, [None])
        loss = self._loss(self._variables(training=True), x, y)
        update = optimizer(tf1, self.workload.optimizer, self.workload.rate).minimize(loss)
        session = self._session()
        self._initialize(session)
        fetches = [update, loss]

        def step(a, b):
            feeds = dict(zip(fed, self._arrays(a), strict=True)) | {y: b}
            return session.run(fetches, feeds)[1]

        return step

    def train(self):
        if self.mode == "graph":
            return self._graph_train()
        variables = self._variables(training=True)
        trained = list(variables.values())
        update = _Update(self.workload.optimizer, self.workload.rate, trained)

        @tf.function(jit_compile=True)
        def run(x, y):
            with tf.GradientTape() as tape:
                loss = self._loss(variables, x, y)
            update([tf.convert_to_tensor(grad) for grad in tape.gradient(loss, trained)])
            return loss

        return lambda a, b: run(tf.convert_to_tensor(a), tf.convert_to_tensor(b)).numpy()

    def infer(self):
        variables = self._variables(training=False)
        if self.mode == "graph":
            x, fed = self._placeholders()
            result = self._logits(variables, x)
            session = self._session()
            self._initialize(session)
            return lambda a, _: session.run(result, dict(zip(fed, self._arrays(a), strict=True)))
        run = tf.function(lambda x: self._logits(variables, x), jit_compile=True)
        return lambda a, _: run(tf.convert_to_tensor(a)).numpy()
