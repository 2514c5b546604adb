"""Lesson 2: FizzBuzz as a classification problem, trained in batches.

Count from 1 to 100; say "fizz" for multiples of 3, "buzz" for multiples of 5, "fizzbuzz" for both,
and the number itself otherwise. The network is shown the ten bits of the numbers 0 to 999 and has
to find the four classes.

    python tutorials/02_fizzbuzz.py
"""

import numpy as np

import graphflow as tf

BITS = 10
NUMBERS = np.arange(1000)
WORDS = ["{}", "fizz", "buzz", "fizzbuzz"]


def bits(numbers: np.ndarray) -> np.ndarray:
    """Each number's binary digits, lowest first: [n, 10]."""
    return ((numbers[:, None] >> np.arange(BITS)) & 1).astype(np.float32)


def classes(numbers: np.ndarray) -> np.ndarray:
    """0 for the number itself, 1 for fizz, 2 for buzz, 3 for fizzbuzz."""
    return ((numbers % 3 == 0) + 2 * (numbers % 5 == 0)).astype(np.int32)


def main(epochs: int = 300, batch: int = 64, seed: int = 7) -> int:
    """Trains, counts to 100, and returns how many of the numbers 1 to 100 are right."""
    tf.reset_default_graph()
    tf.set_random_seed(seed)

    x = tf.placeholder(tf.float32, [None, BITS], name="bits")
    y = tf.placeholder(tf.int32, [None], name="class")
    hidden = tf.layers.dense(x, 100, activation=tf.sigmoid)
    logits = tf.layers.dense(hidden, len(WORDS))

    # The cross entropy of each example, -log(probability of its class), and its mean.
    loss = tf.losses.sparse_softmax_cross_entropy(labels=y, logits=logits)

    # Adam adapts the step of every weight; the learning rate falls as the steps are counted.
    step = tf.train.get_or_create_global_step()
    steps = epochs * -(-len(NUMBERS) // batch)
    rate = tf.train.polynomial_decay(0.05, step, steps, end_learning_rate=0.005)
    train = tf.train.AdamOptimizer(rate).minimize(loss, global_step=step)

    guess = tf.argmax(logits, axis=1, output_type=tf.int32)
    accuracy = tf.reduce_mean(tf.cast(tf.equal(guess, y), tf.float32))

    inputs, labels = bits(NUMBERS), classes(NUMBERS)
    order = np.random.default_rng(seed)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for epoch in range(epochs):
            shuffled = order.permutation(len(NUMBERS))
            # 1000 is no multiple of 64: the last batch is smaller, and that costs nothing.
            for start in range(0, len(NUMBERS), batch):
                chosen = shuffled[start : start + batch]
                session.run(train, feed_dict={x: inputs[chosen], y: labels[chosen]})
            if (epoch + 1) % 50 == 0:
                right = session.run(accuracy, feed_dict={x: inputs, y: labels})
                print(f"epoch {epoch + 1:4d}  right: {right:.1%} of 0 to 999")

        numbers = np.arange(1, 101)
        guesses = session.run(guess, feed_dict={x: bits(numbers)})

    print(" ".join(WORDS[c].format(n) for n, c in zip(numbers, guesses, strict=True)))
    wrong = numbers[guesses != classes(numbers)]
    print(f"{100 - len(wrong)} of 100 are right", end="")
    print(f"; wrong: {', '.join(map(str, wrong))}" if len(wrong) else "")
    return 100 - len(wrong)


if __name__ == "__main__":
    main()
