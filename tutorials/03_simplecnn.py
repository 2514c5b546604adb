"""Lesson 3: a convolutional network looks at photographs.

scikit-learn bundles two photographs, of a temple and of a flower. A network of two convolutions
and three dense layers learns from which of them a patch of 32 x 32 pixels was cut. Every patch is
brought to the same mean and contrast first: colours alone do not tell.

    python tutorials/03_simplecnn.py [picture.png]
"""

import sys

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import graphflow as tf

SIDE = 32
SQUARE = 64  # photographs are cut into squares; some of them are kept for the test
NAMES = ("temple", "flower")


def patches(step: int = 8) -> tuple[np.ndarray, ...]:
    """Patches [n, 32, 32, 3] and the number of their photograph: to learn from, and to be tested
    on. The two come from different squares, so that no pixel is in both."""
    found: dict[bool, list[tuple[np.ndarray, int]]] = {True: [], False: []}
    for number, photograph in enumerate(load_sample_images().images):
        high, wide = (size // SQUARE for size in photograph.shape[:2])
        for row, column in np.ndindex(high, wide):
            test = (row + 2 * column) % 5 == 0
            for y, x in np.ndindex(*[(SQUARE - SIDE) // step + 1] * 2):
                top, left = row * SQUARE + y * step, column * SQUARE + x * step
                patch = photograph[top : top + SIDE, left : left + SIDE].astype(np.float32)
                spread = patch.std() + 5.0  # a clear sky has next to none
                found[test].append(((patch - patch.mean((0, 1))) / spread, number))
    result = []
    for test in (False, True):
        images, numbers = zip(*found[test], strict=True)
        result += [np.stack(images), np.array(numbers, np.int32)]
    return tuple(result)


def main(epochs: int = 20, batch: int = 100, seed: int = 0, picture: str | None = None) -> float:
    """Trains, prints what was learned, and returns the share of right answers on the test."""
    images, numbers, test_images, test_numbers = patches()
    tf.reset_default_graph()
    tf.set_random_seed(seed)

    # Images are [batch, height, width, channels]. The builder declares the variables of all layers
    # under its own scope; what it returns is a tensor like any other.
    x = tf.placeholder(tf.float32, [None, SIDE, SIDE, 3], name="images")
    y = tf.placeholder(tf.int32, [None], name="photographs")
    logits = tf.models.simplecnn(x, classes=len(NAMES))
    loss = tf.losses.sparse_softmax_cross_entropy(labels=y, logits=logits)
    train = tf.train.MomentumOptimizer(0.02, 0.9).minimize(loss)
    guess = tf.argmax(logits, axis=1, output_type=tf.int32)
    right = tf.reduce_mean(tf.cast(tf.equal(guess, y), tf.float32))

    # A declared step can be asked before it ever runs: how much memory it will take at most, and
    # of how many kernels it is made. Convolutions, pooling, gradients and updates are all in it.
    shapes = {x: np.zeros([batch, SIDE, SIDE, 3], np.float32), y: np.zeros([batch], np.int32)}
    report = tf.explain([train, loss], feed_dict=shapes)
    print(f"one step: {report.launches} kernels, {report.peak_bytes / 1e6:.1f} MB at most")

    order = np.random.default_rng(seed)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for epoch in range(epochs):
            shuffled = order.permutation(len(images))
            for start in range(0, len(images), batch):
                chosen = shuffled[start : start + batch]
                # The last batch is smaller than the others. Nothing is compiled for that.
                _, value = session.run([train, loss], {x: images[chosen], y: numbers[chosen]})
            if epoch % max(1, epochs // 5) == 0:
                print(f"epoch {epoch:3d}  loss {value:.4f}")
        found, share = session.run([guess, right], {x: test_images, y: test_numbers})
        filters = session.run(tf.trainable_variables()[0])
    for number, name in enumerate(NAMES):
        mine = test_numbers == number
        print(f"{name}: {np.mean(found[mine] == number):.1%} of {mine.sum()} patches recognised")
    print(f"test accuracy {share:.4f}")
    if picture is not None:
        draw(picture, filters, test_images, test_numbers, found)
        print(f"{picture}: the first filters, and patches with their answers (red: wrong)")
    return float(share)


def draw(path, filters, images, numbers, found, columns: int = 12, rows: int = 4) -> None:
    """The filters of the first convolution above some test patches, framed by right or wrong."""
    cell, gap = 2 * SIDE, 4
    canvas = np.full([(rows + 1) * (cell + 2 * gap), columns * (cell + 2 * gap), 3], 255, np.uint8)

    def put(row: int, column: int, image: np.ndarray, frame: tuple[int, int, int]) -> None:
        top, left = row * (cell + 2 * gap), column * (cell + 2 * gap)
        canvas[top + 2 : top + cell + 6, left + 2 : left + cell + 6] = frame
        low, high = image.min(), image.max()
        pixels = ((image - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
        larger = np.asarray(Image.fromarray(pixels).resize((cell, cell), Image.Resampling.NEAREST))
        canvas[top + gap : top + gap + cell, left + gap : left + gap + cell] = larger

    for number in range(filters.shape[-1]):
        put(0, number, filters[..., number], (120, 120, 120))
    chosen = np.random.default_rng(1).choice(len(images), rows * columns, replace=False)
    for place, index in enumerate(chosen):
        frame = (40, 160, 70) if found[index] == numbers[index] else (210, 40, 40)
        put(1 + place // columns, place % columns, images[index], frame)
    Image.fromarray(canvas).save(path)


if __name__ == "__main__":
    main(picture=sys.argv[1] if len(sys.argv) > 1 else "simplecnn.png")
