"""Lesson 6: sentences as trees.

The question is that of lesson 5, but a sentence is read along its parse: two phrases at a time
become one, until one is left. A stack holds the phrases. SHIFT puts the next word on it, REDUCE
replaces the upper two by what a Tree-LSTM makes of them. A tracker, an LSTM that looks at the stack
and the next word, learns on the way to tell which of the two comes next; in the test it parses the
sentences itself. This is SPINN (Bowman et al. 2016, arXiv:1603.06021).

    python tutorials/06_spinn.py [train.jsonl test.jsonl]

No two sentences have the same tree, and this is where people left static graphs:

    declared once, compiled once            a dynamic graph, gone through for every batch

    out = tf.models.spinn(                  for step in range(most_steps):
        words, lengths, UNITS,                  tops = stack([s[-1] for s in stacks]), ...
        transitions=transitions)                state = tracker(concat(next_words, tops), state)
                                                for row, now in enumerate(transitions[:, step]):
                                                    if now == SHIFT:
                                                        stacks[row].append(words[row].pop())
                                                    elif now == REDUCE:
                                                        right = stacks[row].pop()
                                                        pairs.append((stacks[row].pop(), right))
                                                for row, phrase in zip(rows, reduce(pairs, state)):
                                                    stacks[row].append(phrase)

On the right there is a list for every stack, and Python moves every word and phrase of the batch.
On the left all rows that any stack will ever hold lie in one buffer, each written once; a stack is
a queue of their numbers. A step reads rows by number, for all sentences at once, and its gradient
adds to rows by number: what differs between two trees is data. `encode` below is all there is to
it. The other way to have trees of any shape is `tf.fold`, for nodes of several kinds.
"""

import sys
import time

import batches
import entailment
import numpy as np
import snli

import graphflow as tf

WORD, UNITS, TRACKER, DENSE = 48, 64, 32, 128  # sizes of a word's vector, of phrases, ...
RATE, CLIP, KEEP = 3e-3, 5.0, 0.8
PARSING = 0.5  # what the tracker's mistakes count beside those of the classifier


def encode(trees: batches.TreeBatch, words: int, training: bool) -> tf.models.Spinn:
    """Sentences read as their programs say; in the test, as the tracker would have it.

    trees.words: [batch, room], transitions: [batch, steps], lengths: [batch]; no size is known here
    """
    table = tf.get_variable("words", [words, WORD], initializer=tf.random_normal_initializer())
    vectors = tf.nn.embedding_lookup(table, trees.words)
    vectors = tf.layers.dropout(vectors, 1 - KEEP, training=training)
    given = trees.transitions if training else None
    return tf.models.spinn(vectors, trees.lengths, UNITS, TRACKER, transitions=given)


def classify(
    trees: batches.TreeBatch, words: int, training: bool
) -> tuple[tf.Tensor, tf.models.Spinn]:
    """Logits [pairs, 3] of a batch of premises and, behind them, their hypotheses; and what was
    made of the sentences. Called once to train and once to test, on the same variables."""
    with tf.variable_scope("classifier", reuse=not training):
        read = encode(trees, words, training)
        a, b = tf.split(read.phrases[:, :UNITS], 2)  # h; c is the Tree-LSTM's own
        merged = tf.concat([a, b, a - b, a * b], 1)
        merged = tf.layers.batch_normalization(merged, momentum=0.9, training=training)
        hidden = tf.layers.dense(merged, DENSE, tf.nn.relu)
        hidden = tf.layers.dropout(hidden, 1 - KEEP, training=training)
        return tf.layers.dense(hidden, len(snli.LABELS)), read


def minimize(loss: tf.Tensor) -> tf.Operation:
    """Adam on gradients of a bounded norm."""
    optimizer = tf.train.AdamOptimizer(RATE)
    gradients, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    gradients, _ = tf.clip_by_global_norm(gradients, CLIP)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return optimizer.apply_gradients(zip(gradients, variables, strict=True))


def arrays_of(pairs, vocabulary) -> tuple[batches.TreeBatch, np.ndarray]:
    """Premises and then hypotheses as programs, and the labels of the pairs."""
    sentences = [pair.premise for pair in pairs] + [pair.hypothesis for pair in pairs]
    labels = np.array([pair.label for pair in pairs], np.int32)
    return batches.tree_batch(sentences, vocabulary), labels


def in_batches(pairs, vocabulary, batch: int, seed: int | None = None):
    """Batches of pairs of like lengths: few steps in which most sentences have nothing to do."""
    sizes = [max(len(pair.premise.tokens), len(pair.hypothesis.tokens)) for pair in pairs]
    for chosen in batches.buckets(sizes, batch, seed):
        yield arrays_of([pairs[number] for number in chosen], vocabulary)


def bracketed(words, transitions) -> str:
    """A sentence with the brackets that a program puts round its phrases."""
    waiting, stack = list(words), []
    for now in transitions:
        if now == batches.SHIFT:
            stack.append(waiting.pop(0))
        elif now != batches.SKIP:
            stack[-2:] = [f"({stack[-2]} {stack[-1]})"]
    return " ".join(stack)


def main(
    size: int = 9000,
    epochs: int = 8,
    batch: int = 64,
    seed: int = 0,
    files: tuple[str, str] | None = None,
) -> tuple[float, float]:
    """Trains, prints what was learned, and returns shares of the test: of pairs that are answered
    right from the tracker's own parses, and of its transitions that are those of the real ones.

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
          f"{len(vocabulary)}")  # fmt: skip

    tf.reset_default_graph()
    tf.set_random_seed(seed)
    shapes = batches.TreeBatch([None, None], [None, None], [None])
    fed = batches.TreeBatch(*(tf.placeholder(tf.int32, shape) for shape in shapes))
    labels = tf.placeholder(tf.int32, [None])
    logits, read = classify(fed, len(vocabulary), training=True)
    answers = tf.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
    parses = tf.models.transition_loss(read.logits, fed.transitions)
    train = minimize(answers + PARSING * parses)
    logits, read = classify(fed, len(vocabulary), training=False)
    answer = tf.argmax(logits, axis=1)

    def feeds(trees: batches.TreeBatch) -> dict:
        return dict(zip(fed, trees, strict=True))

    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.counters()["compilations"]
        programs, started = set(), time.perf_counter()
        for epoch in range(epochs):
            losses = []
            for trees, right in in_batches(learned, vocabulary, batch, seed + epoch):
                feed = {**feeds(trees), labels: right}
                losses.append(session.run([train, answers, parses], feed)[1:])
                programs.update(bytes(row[row != batches.SKIP]) for row in trees.transitions)
            if epoch % max(1, epochs // 6) == 0:
                print("epoch {:3d}  loss {:.4f}  parsing {:.4f}".format(epoch, *np.mean(losses, 0)))
        seconds = time.perf_counter() - started
        compiled = session.counters()["compilations"] - before
        print(f"{epochs} epochs in {seconds:.1f} s: {len(programs)} different trees, "
              f"{compiled} compilation")  # fmt: skip

        table = np.zeros((len(snli.LABELS), len(snli.LABELS)), int)
        agreed = steps = 0
        for trees, right in in_batches(tested, vocabulary, batch):
            told, taken = session.run([answer, read.transitions], feeds(trees))
            np.add.at(table, (right, told), 1)
            does = trees.transitions != batches.SKIP
            agreed += int((taken == trees.transitions)[does].sum())
            steps += int(does.sum())
        trees, _ = arrays_of(tested[:2], vocabulary)
        shown = session.run(read.transitions, feeds(trees))

    print(f"\n{'':15s}{'answered:':15s}" + "".join(f"{label:15s}" for label in snli.LABELS))
    for label, row in zip(snli.LABELS, table, strict=True):
        print(f"{'':15s}{label:15s}" + "".join(f"{count:<15d}" for count in row))
    print("\nparsed by the tracker:")
    for pair, program in zip(tested[:2], shown, strict=False):
        print("    " + bracketed(pair.premise.tokens, program))
    share, alike = float(np.trace(table) / table.sum()), agreed / steps
    print(f"\ntest accuracy {share:.4f}, transitions as in the parses {alike:.4f}")
    return share, alike


if __name__ == "__main__":
    words = sys.argv[1:]
    main(files=(words[0], words[1]) if words else None)
