"""Lesson 7: a network that writes.

A recurrent network reads stories letter by letter and learns to tell the next one; then it writes
some of its own. A story has no end that would fit into memory, so gradients go back through the
last forty letters only, while the state goes on from one run into the next: truncated
back-propagation through time (Williams and Peng 1990).

    python tutorials/07_characters.py [text.txt] [picture.png]

The state stays in the session, in variables like the weights; writing is a loop in the graph whose
length the network itself decides. What they replace:

    declared once, compiled once                  a dynamic graph, gone through in every run

    outputs, final = tf.nn.dynamic_rnn(           state = [s.detach() for s in state]
        cells, letters, initial_state=kept)       # without detach the tape reaches back to the
    advance = tf.group(*[                         # first letter ever read, and grows and grows
        old.assign(new) for old, new              outputs, state = cells(letters, state)
        in zip(kept, final)])

    tf.while_loop(                                while len(text) < most and letter != END:
        lambda n, letter, *_:                         output, state = cells(table[letter], state)
            (n < most) & (letter[0] != END),          scores = dense(output)
        write, (0, letter, state, text))              letter = multinomial(softmax(scores), 1)
                                                      text.append(letter.item())

On the right each letter written goes to Python and back, a dozen small operations at a time. On the
left the loop, its end and its random numbers are part of one native function, and so are both of
the layers: a letter costs what its arithmetic costs.
"""

import sys
import time

import numpy as np
import text
from batches import Vocabulary

import graphflow as tf

LETTER, UNITS, LAYERS = 24, 128, 2  # sizes of a letter's vector and of a cell, and cells
STREAMS, STEPS = 32, 40  # texts read side by side; letters that gradients go back through
RATE, CLIP = 4e-3, 1.0
CONTEXT = 400  # letters that are read before any are written
END = "\n"  # of a story


class Writer:
    """A stack of cells between a table of letters and their scores."""

    def __init__(self, letters: int) -> None:
        self.letters = letters
        self.table = tf.get_variable("letters", [letters, LETTER])
        self.cells = tf.nn.rnn_cell.MultiRNNCell(
            [tf.nn.rnn_cell.GRUCell(UNITS) for _ in range(LAYERS)]
        )
        self.scores = tf.layers.Dense(letters, name="scores")

    def read(self, ids: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
        """Scores of the letter after each one of ids [streams, steps], and the state after all."""
        vectors = tf.nn.embedding_lookup(self.table, ids)
        outputs, state = tf.nn.dynamic_rnn(self.cells, vectors, initial_state=state, scope="cells")
        return self.scores(outputs), state

    def write(self, begin: tf.Tensor, most: int, warmth: tf.Tensor, end: int) -> tuple:
        """(letters [most], how many of them were written): what goes on after begin [steps], until
        there are `most` or one is `end`.

        warmth: scores are divided by it; the smaller, the fewer letters have a chance
        """
        state = self.cells.zero_state(1, tf.float32)
        scores, state = self.read(begin[None], state)

        def draw(scores):
            return tf.multinomial(scores / warmth, 1, output_dtype=tf.int32)[:, 0]

        def unfinished(n, letter, *_):
            return tf.logical_and(n < most, tf.not_equal(letter[0], end))

        def step(n, letter, state, written):
            written = tf.tensor_scatter_nd_update(written, [[n]], letter)
            scores, state = self.read(letter[:, None], state)
            return n + 1, draw(scores[:, 0]), state, written

        start = (0, draw(scores[:, -1]), state, tf.zeros([most], tf.int32))
        n, _, _, written = tf.while_loop(unfinished, step, start)
        return written, n


def main(
    size: int = 150_000,
    epochs: int = 8,
    most: int = 600,
    seed: int = 0,
    file: str | None = None,
    picture: str | None = None,
) -> float:
    """Trains, prints what it writes, and returns the bits it needs for a letter of the test.

    file: the text to learn from; if None, stories of `size` letters are generated. The last tenth
        is for the test.
    """
    whole = text.corpus(size, seed) if file is None else text.read(file)
    vocabulary = text.characters(whole)
    ids = vocabulary.ids(whole)
    learned, tested = np.split(ids, [len(ids) * 9 // 10])
    counts = np.bincount(learned, minlength=len(vocabulary)) + 1
    chances = counts / counts.sum()
    print(f"{len(learned)} letters to learn from, {len(tested)} for the test, {len(vocabulary)} "
          f"different ones; by their frequency alone {-np.log2(chances[tested]).mean():.2f} bits "
          "each")  # fmt: skip

    tf.reset_default_graph()
    tf.set_random_seed(seed)
    writer = Writer(len(vocabulary))
    x = tf.placeholder(tf.int32, [STREAMS, None], name="letters")
    y = tf.placeholder(tf.int32, [STREAMS, None], name="next_letters")
    # Where the last run stopped. A gradient ends here: to a run, a variable is where it begins.
    kept = [tf.Variable(tf.zeros([STREAMS, UNITS]), trainable=False) for _ in range(LAYERS)]
    scores, final = writer.read(x, tuple(kept))
    advance = tf.group(*[old.assign(new) for old, new in zip(kept, final, strict=True)])
    restart = tf.group(*[old.initializer for old in kept])
    bits = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=scores) / np.log(2)
    loss = tf.reduce_mean(bits)
    rate = tf.placeholder(tf.float32, [], name="rate")
    optimizer = tf.train.AdamOptimizer(rate)
    gradients, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    gradients, _ = tf.clip_by_global_norm(gradients, CLIP)
    train = optimizer.apply_gradients(zip(gradients, variables, strict=True))

    begin = tf.placeholder(tf.int32, [None], name="begin")
    warmth = tf.placeholder(tf.float32, [], name="warmth")
    written = writer.write(begin, most, warmth, end=int(vocabulary.ids(END)[0]))

    # It reads the end of a text it has never seen, and goes on with one of its own.
    before = whole[len(learned) :].partition(END)[0][-CONTEXT:] + END
    first = "Once " if file is None else ""

    def story(session, given: float) -> str:
        fed = {begin: vocabulary.ids(before + first), warmth: given}
        made, count = session.run(written, fed)
        return first + "".join(vocabulary.spelled(made[:count]))

    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        runs = epochs * sum(1 for _ in text.streams(learned, STREAMS, STEPS))
        done, started = 0, time.perf_counter()
        for epoch in range(epochs):
            losses = []
            session.run(restart)
            for inputs, targets in text.streams(learned, STREAMS, STEPS):
                slower = RATE * 0.5 * (1 + np.cos(np.pi * done / runs))
                fed = {x: inputs, y: targets, rate: slower}
                losses.append(session.run([train, advance, loss], fed)[-1])
                done += 1
            print(f"epoch {epoch}  {np.mean(losses):.3f} bits a letter")
        seconds = time.perf_counter() - started
        print(f"{runs} runs, {runs * STREAMS * STEPS / seconds:,.0f} letters a second")

        session.run(restart)
        # The same graph without what trains: the state advances as before.
        pieces = [
            session.run([bits, advance], {x: inputs, y: targets})[0]
            for inputs, targets in text.streams(tested, STREAMS, STEPS)
        ]
        spent = np.concatenate(pieces, axis=1)
        story(session, 1.0)  # so that what is timed is compiled
        started, letters = time.perf_counter(), 0
        for given in (0.4, 0.7, 1.0):
            told = story(session, given)
            letters += len(told)
            print(f"\n[{given}] {told}")
        rate_of_writing = letters / (time.perf_counter() - started)
    print(f"\n{rate_of_writing:,.0f} letters written a second")
    print(f"test: {spent.mean():.3f} bits a letter")
    if picture is not None:
        # A letter stands where it was the target of the one before it.
        draw(picture, np.concatenate([t for _, t in text.streams(tested, STREAMS, STEPS)], axis=1),
             spent, vocabulary)  # fmt: skip
        print(f"{picture}: text it had never seen; the darker a letter, the more of a surprise")
    return float(spent.mean())


def draw(path: str, ids: np.ndarray, bits: np.ndarray, vocabulary: Vocabulary) -> None:
    """The beginning of some streams, each letter on a ground that is darker the more bits it took:
    white for none, full for six."""
    from PIL import Image, ImageDraw

    rows, columns, wide, high = 12, min(90, ids.shape[1]), 9, 18
    canvas = Image.new("RGB", (columns * wide, rows * high), "white")
    pen = ImageDraw.Draw(canvas)
    for row, column in np.ndindex(rows, columns):
        share = min(1.0, float(bits[row, column]) / 6)
        left, top = column * wide, row * high
        ground = tuple(round(255 - share * (255 - full)) for full in (230, 90, 60))
        pen.rectangle((left, top, left + wide, top + high - 3), fill=ground)
        letter = vocabulary.words[ids[row, column]]
        if letter.isprintable() and letter.isascii():
            pen.text((left + 1, top + 1), letter, fill="black")
    canvas.save(path)


if __name__ == "__main__":
    given = sys.argv[1:]
    pictures = [name for name in given if name.endswith(".png")]
    texts = [name for name in given if not name.endswith(".png")]
    main(file=texts[0] if texts else None, picture=pictures[0] if pictures else "characters.png")
