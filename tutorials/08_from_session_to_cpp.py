"""Lesson 8: a trained network becomes part of a C++ program, and goes on learning there.

A session compiles what is asked of it into one native function. `export` writes such functions into
a library: a program in C or C++ links it, and needs neither Python nor graphflow from then on. Here
a network learns to read handwritten digits for a while, and is exported with two signatures: to
predict, and to take a step of training. A short program (08_digits.cpp) then predicts, trains, and
saves what it has learned, which the session here reads again.

    python tutorials/08_from_session_to_cpp.py [folder]

It takes a C++ compiler, as c++, and one of C, as cc.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from digits import data

import graphflow as tf

PROGRAM = Path(__file__).resolve().with_name("08_digits.cpp")


def main(
    epochs: int = 2, more: int = 10, batch: int = 64, seed: int = 0, folder: str | None = None
) -> tuple[float, float]:
    """Trains here, then in C++; prints both, and returns the accuracy on the test images after
    each. `folder` is where the export goes; a temporary one if None."""
    images, test_images, labels, test_labels = data(seed)
    tf.reset_default_graph()
    tf.set_random_seed(seed)

    x = tf.placeholder(tf.float32, [None, 64], name="images")
    y = tf.placeholder(tf.int32, [None], name="labels")
    h = tf.layers.dense(x, 128, activation=tf.nn.relu)
    last = tf.layers.Dense(10)  # one layer, used twice: only training drops what is hidden
    guess = tf.argmax(last(h), axis=1, output_type=tf.int32)
    loss = tf.losses.sparse_softmax_cross_entropy(labels=y, logits=last(tf.nn.dropout(h, 0.8)))
    train = tf.train.AdamOptimizer(2e-3).minimize(loss)
    accuracy = tf.reduce_mean(tf.cast(tf.equal(guess, y), tf.float32))
    saver = tf.train.Saver()

    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return main(epochs, more, batch, seed, temporary)
    target = Path(folder)
    order = np.random.default_rng(seed)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(epochs):
            shuffled = order.permutation(len(images))
            for start in range(0, len(images), batch):
                chosen = shuffled[start : start + batch]
                feeds = {x: images[chosen], y: labels[chosen]}
                session.run(train, feed_dict=feeds)
        here = float(session.run(accuracy, feed_dict={x: test_images, y: test_labels}))
        print(f"here, after {epochs} epochs: {here:.4f} of the test images are right")

        # A signature is a name with named feeds and fetches. The two share their variables: the
        # weights, Adam's moments, and how often dropout has drawn. An operation that is fetched,
        # such as `train`, gives no output. None stays open: batches may have any size.
        tf.export(
            target,
            {
                "predict": {"feeds": {"images": x}, "fetches": {"guess": guess}},
                "train_step": {
                    "feeds": {"images": x, "labels": y},
                    "fetches": {"loss": loss, "train": train},
                },
            },
            session=session,
            name="digits",
        )

        # Beside the library lie headers made for this model, its weights, a runtime as C source,
        # packages for CMake and pkg-config, and a manifest that says how to build a program.
        manifest = json.loads((target / "manifest.json").read_text())
        command = manifest["build"]["c++"]
        print(f"the program's compiler: {command}")
        shutil.copy(PROGRAM, target / "example.cpp")
        subprocess.run(command, shell=True, check=True, cwd=target)

        # What the program works on, as plain arrays. Here ends Python's part.
        for name, array in (("images", images), ("test_images", test_images)):
            (target / f"{name}.f32").write_bytes(array.tobytes())
        for name, array in (("labels", labels), ("test_labels", test_labels)):
            (target / f"{name}.i32").write_bytes(array.tobytes())
        printed = subprocess.run(
            ["./example", str(more)], cwd=target, check=True, capture_output=True, text=True
        ).stdout
        print(printed, end="")

        # The program has saved all variables in the format of checkpoints: the session can go on
        # from there.
        saver.restore(session, target / "trained")
        there = float(session.run(accuracy, feed_dict={x: test_images, y: test_labels}))
        print(f"here, with the variables of the program: {there:.4f}")
    return here, there


if __name__ == "__main__":
    main(folder=sys.argv[1] if len(sys.argv) > 1 else None)
