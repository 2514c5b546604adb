"""Lesson 5: sentences of any length.

Does the second of two sentences follow from the first, contradict it, or neither? A recurrent
network reads both, from the left and from the right, and a classifier compares what it remembers
of them. The pairs are made by `entailment.py`; the files of SNLI are read as well.

    python tutorials/05_sentence_pairs.py [rnn | lstm | gru] [train.jsonl test.jsonl]

Static graphs had a bad name for this: a graph is fixed, sentences are not. Here the loop over words
is itself in the graph, for as many words as a batch happens to have. What it replaces:

    declared once, compiled once                  a dynamic graph, gone through for every batch

    outputs, state = tf.nn.dynamic_rnn(           state = zeros(batch, units)
        cell, words, lengths, dtype=tf.float32)   for t in range(words.shape[1]):
                                                      new = cell(words[:, t], state)
                                                      going_on = (t < lengths)[:, None]
                                                      state = where(going_on, new, state)

    train = optimizer.minimize(loss)              optimizer.zero_grad()
                                                  loss.backward()  # through a tape of all steps
                                                  optimizer.step()

On the right Python asks for each operation of each word, and what was asked for is kept in a tape
to find the way back. On the left the derivative of a loop is a loop, found when the graph was
declared, and steps after the end of the longest sentence are not run.
"""

import sys
import time

import batches
import entailment
import numpy as np
import snli

import graphflow as tf

WORD, UNITS, DENSE = 48, 64, 128  # sizes of a word's vector, of a cell, of the classifier
RATE, CLIP, KEEP = 3e-3, 5.0, 0.8
CELLS = {
    "rnn": tf.nn.rnn_cell.BasicRNNCell,
    "lstm": tf.nn.rnn_cell.LSTMCell,
    "gru": tf.nn.rnn_cell.GRUCell,
}


def encode(cell: str, ids: tf.Tensor, lengths: tf.Tensor, words: int, training: bool) -> tf.Tensor:
    """A vector of a sentence, [batch, 2 * UNITS]: what two cells end with, one in each direction.

    ids: [batch, width], padded behind; lengths: [batch]. Neither size is known here.
    """
    table = tf.get_variable("words", [words, WORD], initializer=tf.random_normal_initializer())
    vectors = tf.nn.embedding_lookup(table, ids)
    vectors = tf.layers.dropout(vectors, 1 - KEEP, training=training)
    # With lengths, padding leaves no trace: a sentence ends with the state of its own last word,
    # and the reader from the right begins there.
    _, states = tf.nn.bidirectional_dynamic_rnn(
        CELLS[cell](UNITS), CELLS[cell](UNITS), vectors, lengths, dtype=tf.float32
    )
    return tf.concat([state.h if cell == "lstm" else state for state in states], 1)


def classify(cell: str, pair: batches.PairBatch, words: int, training: bool) -> tf.Tensor:
    """Logits, [batch, 3]. Called once to train and once to test, on the same variables."""
    with tf.variable_scope("classifier", reuse=not training):
        with tf.variable_scope("sentence"):
            a = encode(cell, pair.premise, pair.premise_length, words, training)
        with tf.variable_scope("sentence", reuse=True):  # both sentences are read alike
            b = encode(cell, pair.hypothesis, pair.hypothesis_length, words, training)
        # Where two sentences differ, and what they share, is seen at once (Mou et al. 2016).
        merged = tf.concat([a, b, a - b, a * b], 1)
        merged = tf.layers.batch_normalization(merged, momentum=0.9, training=training)
        hidden = tf.layers.dense(merged, DENSE, tf.nn.relu)
        hidden = tf.layers.dropout(hidden, 1 - KEEP, training=training)
        return tf.layers.dense(hidden, len(snli.LABELS))


def minimize(loss: tf.Tensor) -> tf.Operation:
    """Adam on gradients of a bounded norm: those of long sentences can be very large."""
    optimizer = tf.train.AdamOptimizer(RATE)
    gradients, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    gradients, _ = tf.clip_by_global_norm(gradients, CLIP)
    # The averages that batch normalisation uses later are updates like those of the weights.
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return optimizer.apply_gradients(zip(gradients, variables, strict=True))


def in_batches(pairs, vocabulary, batch: int, seed: int | None = None):
    """Batches of pairs of like lengths: little padding, and another width almost every time."""
    sizes = [len(pair.premise.tokens) + len(pair.hypothesis.tokens) for pair in pairs]
    for chosen in batches.buckets(sizes, batch, seed):
        yield batches.pair_batch([pairs[number] for number in chosen], vocabulary)


def main(
    cell: str = "lstm",
    size: int = 12000,
    epochs: int = 8,
    batch: int = 64,
    seed: int = 0,
    files: tuple[str, str] | None = None,
) -> float:
    """Trains, prints what was learned, and returns the share of right answers on the test.

    files: to learn from and to be tested on, in SNLI's format; if None, `size` pairs are generated,
        a sixth of them for the test
    """
    if files is None:
        pairs = entailment.corpus(size, seed)
        learned, tested = pairs[size // 6 :], pairs[: size // 6]
    else:
        learned, tested = (list(snli.read(file)) for file in files)
    sentences = [sentence for pair in learned for sentence in (pair.premise, pair.hypothesis)]
    vocabulary = batches.build_vocabulary(map(batches.words, sentences), most=30000)
    print(f"{len(learned)} pairs to learn from, {len(tested)} for the test, a vocabulary of "
          f"{len(vocabulary)}: cells are {cell}")  # fmt: skip

    tf.reset_default_graph()
    tf.set_random_seed(seed)
    # None is a size that a batch brings along, None here and None there need not be the same.
    ids, lengths = [None, None], [None]
    shapes = batches.PairBatch(ids, lengths, ids, lengths, lengths)
    fed = batches.PairBatch(*(tf.placeholder(tf.int32, shape) for shape in shapes))
    logits = classify(cell, fed, len(vocabulary), training=True)
    loss = tf.losses.sparse_softmax_cross_entropy(labels=fed.labels, logits=logits)
    train = minimize(loss)
    answer = tf.argmax(classify(cell, fed, len(vocabulary), training=False), axis=1)

    def feeds(arrays: batches.PairBatch) -> dict:
        return dict(zip(fed, arrays, strict=True))

    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.counters()["compilations"]
        widths, started = set(), time.perf_counter()
        for epoch in range(epochs):
            losses = []
            for arrays in in_batches(learned, vocabulary, batch, seed + epoch):
                losses.append(session.run([train, loss], feeds(arrays))[1])
                widths.add((arrays.premise.shape[1], arrays.hypothesis.shape[1]))
            if epoch % max(1, epochs // 6) == 0:
                print(f"epoch {epoch:3d}  loss {np.mean(losses):.4f}")
        seconds = time.perf_counter() - started
        compiled = session.counters()["compilations"] - before
        print(f"{epochs} epochs in {seconds:.1f} s: batches of {len(widths)} different widths, "
              f"{compiled} compilation")  # fmt: skip

        table = np.zeros((len(snli.LABELS), len(snli.LABELS)), int)
        for arrays in in_batches(tested, vocabulary, batch):
            np.add.at(table, (arrays.labels, session.run(answer, feeds(arrays))), 1)
        examples = tested[:4]
        shown = session.run(answer, feeds(batches.pair_batch(examples, vocabulary)))

    print(f"\n{'':15s}{'answered:':15s}" + "".join(f"{label:15s}" for label in snli.LABELS))
    for label, row in zip(snli.LABELS, table, strict=True):
        print(f"{'':15s}{label:15s}" + "".join(f"{count:<15d}" for count in row))
    for pair, told in zip(examples, shown, strict=True):
        right = "" if told == pair.label else f", but it is {snli.LABELS[pair.label]}"
        print(f"\n{pair.premise.text}\n{pair.hypothesis.text}\n    {snli.LABELS[told]}{right}")
    share = float(np.trace(table) / table.sum())
    print(f"\ntest accuracy {share:.4f}")
    return share


if __name__ == "__main__":
    words = sys.argv[1:]
    chosen = words.pop(0) if words and words[0] in CELLS else "lstm"
    main(chosen, files=(words[0], words[1]) if words else None)
