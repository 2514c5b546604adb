"""Lesson 1: a graph, a session, and a network that learns XOR.

A program has two parts. The first *declares*: what the inputs are, how the result follows from
them, what is to be made small. Nothing is computed there. The second opens a session, which turns
what is asked of it into one native function the first time, and only calls it from then on.

    python tutorials/01_xor.py
"""

import numpy as np

import graphflow as tf

# The exclusive or of two bits. The answer is given as two numbers, one for "no" and one for "yes".
INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
ANSWERS = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], np.float32)


def main(steps: int = 4000, seed: int = 1) -> list[int]:
    """Trains, prints what was learned, and returns the four answers."""
    tf.reset_default_graph()
    tf.set_random_seed(seed)

    # Placeholders stand for what each run is given. None is a size left open: the number of
    # examples may differ from run to run, and nothing is compiled anew for it.
    x = tf.placeholder(tf.float32, shape=[None, 2], name="x")
    y = tf.placeholder(tf.float32, shape=[None, 2], name="y")

    # Variables are what the session keeps and training changes. Here is a first layer by hand...
    w = tf.Variable(tf.random_uniform([2, 5], -1, 1), name="w")
    b = tf.Variable(tf.zeros([5]), name="b")
    hidden = tf.sigmoid(tf.matmul(x, w) + b)

    # ...and a second one from the library, which makes its own variables: dense/kernel, dense/bias.
    prediction = tf.layers.dense(hidden, 2)

    # How wrong the predictions are, and the operation that changes the variables a little so that
    # they become less so. The gradients it needs are derived from the graph.
    loss = tf.losses.mean_squared_error(y, prediction)
    train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
    answer = tf.argmax(prediction, axis=1)

    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(steps):
            # One call computes the prediction, the loss, all gradients and the new variables.
            _, value = session.run([train, loss], feed_dict={x: INPUTS, y: ANSWERS})
            if step % (steps // 4) == 0:
                print(f"step {step:5d}  loss {value:.4f}")
        answers = session.run(answer, feed_dict={x: INPUTS})

    for bits, result in zip(INPUTS.astype(int).tolist(), answers.tolist(), strict=True):
        print(f"{bits[0]} xor {bits[1]} = {result}")
    return answers.tolist()


if __name__ == "__main__":
    main()
