"""Handwritten digits: a classifier trained on the 1,797 images that scikit-learn bundles.

Trains on four fifths of them, tells how many of the others it gets right, and then shows what the
training step was compiled to.

    python tutorials/digits.py
"""

import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import graphflow as tf


def data(seed: int = 0):
    """Images [n, 64] in [0, 1] and their digits, split 80 to 20 with equal shares of each digit."""
    digits = load_digits()
    images = (digits.data / 16).astype(np.float32)
    labels = digits.target.astype(np.int32)
    return train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=seed)


def main(epochs: int = 40, batch: int = 64, seed: int = 0, report: bool = True) -> float:
    """Trains, prints the report, and returns the accuracy on the test images."""
    images, test_images, labels, test_labels = data(seed)
    tf.reset_default_graph()
    tf.set_random_seed(seed)

    x = tf.placeholder(tf.float32, [None, 64], name="images")
    y = tf.placeholder(tf.int32, [None], name="digits")
    training = tf.placeholder_with_default(False, [], name="training")
    h = tf.layers.dense(x, 512, activation=tf.nn.relu)
    h = tf.layers.dropout(h, rate=0.5, training=training)
    h = tf.layers.dense(h, 256, activation=tf.nn.relu)
    h = tf.layers.dropout(h, rate=0.3, training=training)
    logits = tf.layers.dense(h, 10)
    # Smoothed labels (0.91 for the digit, 0.01 for the others) keep the network from being too
    # sure of the few images it has.
    loss = tf.losses.softmax_cross_entropy(tf.one_hot(y, 10), logits, label_smoothing=0.1)
    guess = tf.argmax(logits, axis=1, output_type=tf.int32)
    accuracy = tf.reduce_mean(tf.cast(tf.equal(guess, y), tf.float32))

    step = tf.train.get_or_create_global_step()
    steps = epochs * -(-len(images) // batch)
    rate = tf.train.cosine_decay(2e-3, step, steps)
    train = tf.train.AdamOptimizer(rate).minimize(loss, global_step=step)

    order = np.random.default_rng(seed)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        started, seen = time.perf_counter(), 0
        with tqdm(range(epochs), unit="epoch") as progress:
            for _ in progress:
                shuffled = order.permutation(len(images))
                for start in range(0, len(images), batch):
                    chosen = shuffled[start : start + batch]
                    feeds = {x: images[chosen], y: labels[chosen], training: True}
                    _, value = session.run([train, loss], feed_dict=feeds)
                    seen += len(chosen)
                speed = seen / (time.perf_counter() - started)
                progress.set_postfix_str(f"loss {value:.4f}, {speed:,.0f} images/s")
        seconds = time.perf_counter() - started
        right = float(session.run(accuracy, feed_dict={x: test_images, y: test_labels}))
    print(f"test accuracy {right:.4f} on {len(test_images)} images, {seconds:.1f} s of training")
    if report:
        print()
        print(tf.explain([train, loss]))
    return right


if __name__ == "__main__":
    main()
