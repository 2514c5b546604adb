"""Lesson 4: a class for every pixel.

LinkNet (Chaurasia and Culurciello 2017) shrinks an image to a small map of what is in it, and
grows that back to full size, adding at each size what it had seen there on the way down. It is
trained on street scenes that this file draws: sky, buildings, road, pavement, trees, cars, people.

    python tutorials/04_linknet.py [picture.png]
"""

import sys
import time

import numpy as np
from PIL import Image, ImageDraw

import graphflow as tf

HIGH, WIDE = 64, 96
# Name, the colour it has in masks, and the colours it may have in scenes.
CLASSES = (
    ("sky", (70, 130, 180), ((120, 170, 220), (190, 200, 215), (240, 190, 140))),
    ("building", (90, 90, 90), ((150, 110, 90), (170, 160, 150), (110, 115, 130))),
    ("road", (128, 64, 128), ((75, 75, 80), (95, 92, 90))),
    ("pavement", (244, 35, 232), ((150, 148, 140), (135, 140, 145))),
    ("tree", (107, 142, 35), ((60, 110, 50), (85, 130, 60), (120, 110, 40))),
    ("car", (0, 0, 200), ((190, 40, 40), (40, 70, 160), (220, 220, 220), (30, 30, 35))),
    ("person", (220, 20, 60), ((200, 150, 60), (60, 120, 130), (150, 60, 140))),
)
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, PERSON = range(len(CLASSES))


class Scene:
    """A street, drawn twice at once: as an image, and as the class of every pixel."""

    def __init__(self, random: np.random.Generator):
        self.random = random
        self.image, self.mask = Image.new("RGB", (WIDE, HIGH)), Image.new("L", (WIDE, HIGH))
        self.drawings = ImageDraw.Draw(self.image), ImageDraw.Draw(self.mask)

    def colour(self, kind: int) -> tuple[int, int, int]:
        choices = CLASSES[kind][2]
        base = np.array(choices[self.random.integers(len(choices))])
        return tuple(np.clip(base + self.random.integers(-18, 19, 3), 0, 255).tolist())

    def draw(self, shape: str, where, kind: int, colour=None) -> None:
        colour = colour or self.colour(kind)
        for drawing, fill in zip(self.drawings, (colour, kind), strict=True):
            getattr(drawing, shape)(where, fill=fill)

    def street(self) -> None:
        random, horizon = self.random, int(self.random.integers(22, 32))
        vanish = int(random.integers(WIDE // 3, 2 * WIDE // 3))
        self.draw("rectangle", (0, 0, WIDE, horizon + 2), SKY)
        left = 0
        while left < WIDE:
            width, height = int(random.integers(10, 26)), int(random.integers(6, horizon))
            if random.random() < 0.8:
                self.building(left, horizon - height, width, horizon + 4)
            left += width
        self.draw("rectangle", (0, horizon, WIDE, HIGH), PAVEMENT)
        near = random.integers(25, 60, 2)
        far = [(vanish - 3, horizon), (vanish + 3, horizon)]
        self.draw("polygon", [*far, (vanish + near[1], HIGH), (vanish - near[0], HIGH)], ROAD)
        for distance in np.sort(random.random(random.integers(4, 9))):
            # What stands nearer is larger, lower, and drawn later.
            bottom = horizon + 3 + distance**1.5 * (HIGH - horizon - 4)
            size = 4 + 22 * distance**1.3
            kind = (TREE, CAR, PERSON)[random.integers(3)]
            half = (bottom - horizon) / (HIGH - horizon) * near
            if kind == CAR:
                self.car(vanish + random.uniform(-half[0], half[1]), bottom, size)
            else:
                side = random.choice((-1, 1))
                x = vanish + side * (half[int(side > 0)] + random.uniform(0.1, 0.9) * size)
                (self.tree if kind == TREE else self.person)(x, bottom, size)

    def building(self, left: int, top: int, width: int, bottom: int) -> None:
        self.draw("rectangle", (left, top, left + width, bottom), BUILDING)
        dark = self.random.integers(30, 90)
        for x in range(left + 2, left + width - 2, 4):
            for y in range(top + 2, bottom - 4, 5):
                self.drawings[0].rectangle((x, y, x + 1, y + 2), fill=(dark, dark, dark + 20))

    def car(self, x: float, bottom: float, size: float) -> None:
        paint = self.colour(CAR)
        self.draw(
            "rectangle", (x - size / 2, bottom - size * 0.35, x + size / 2, bottom - 1), CAR, paint
        )
        self.draw(
            "rectangle",
            (x - size / 3, bottom - size * 0.6, x + size / 3, bottom - size * 0.35),
            CAR,
            paint,
        )
        for wheel in (x - size / 3, x + size / 3):
            around = (wheel - size / 9, bottom - size / 5, wheel + size / 9, bottom)
            self.draw("ellipse", around, CAR, (15, 15, 15))

    def tree(self, x: float, bottom: float, size: float) -> None:
        self.draw(
            "rectangle", (x - size / 12, bottom - size, x + size / 12, bottom), TREE, (80, 60, 40)
        )
        self.draw(
            "ellipse", (x - size / 2, bottom - 1.8 * size, x + size / 2, bottom - 0.7 * size), TREE
        )

    def person(self, x: float, bottom: float, size: float) -> None:
        wide = size / 7
        self.draw("rectangle", (x - wide, bottom - 0.75 * size, x + wide, bottom), PERSON)
        self.draw(
            "ellipse",
            (x - wide, bottom - size, x + wide, bottom - 0.75 * size),
            PERSON,
            (205, 165, 140),
        )


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [count, 64, 96, 3] around 0, with the noise of a camera, and classes of pixels."""
    random = np.random.default_rng(seed)
    images, masks = [], []
    for _ in range(count):
        scene = Scene(random)
        scene.street()
        light = random.uniform(0.7, 1.1)
        image = np.asarray(scene.image, np.float32) * light + random.normal(0, 8, (HIGH, WIDE, 3))
        images.append((image / 255 - 0.5) * 2)
        masks.append(np.asarray(scene.mask, np.int32))
    return np.stack(images).astype(np.float32), np.stack(masks)


def overlap(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """For each class the pixels that are right, over those that are of it or were said to be."""
    result = []
    for kind in range(len(CLASSES)):
        mine, said = truth == kind, found == kind
        result.append((mine & said).sum() / max(1, (mine | said).sum()))
    return np.array(result)


def main(steps: int = 300, batch: int = 8, seed: int = 0, picture: str | None = None) -> float:
    """Trains, prints the overlap of each class, and returns their mean on scenes never seen."""
    images, masks = scenes(400, seed)
    test_images, test_masks = scenes(40, seed + 1)
    tf.reset_default_graph()
    tf.set_random_seed(seed)

    x = tf.placeholder(tf.float32, [None, HIGH, WIDE, 3], name="scenes")
    y = tf.placeholder(tf.int32, [None, HIGH, WIDE], name="classes")
    # Batch normalisation behaves in one way while training and in another afterwards. Here that
    # is said when the graph is declared: two uses of the same variables.
    logits = tf.models.linknet(x, len(CLASSES), training=True)
    mask = tf.argmax(tf.models.linknet(x, len(CLASSES), training=False, reuse=True), axis=3)
    # People take few pixels and would not be missed: rare classes count for more.
    weights = tf.gather(tf.constant([0.5, 0.7, 0.6, 0.8, 1.5, 2.0, 4.0]), y)
    loss = tf.losses.sparse_softmax_cross_entropy(y, logits, weights=weights)
    step = tf.train.get_or_create_global_step()
    rate = tf.train.cosine_decay(2e-3, step, steps)
    # The moving averages that inference uses are updates like those of the weights.
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = tf.train.AdamOptimizer(rate).minimize(loss, global_step=step)

    order = np.random.default_rng(seed)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        shapes = {x: images[:batch], y: masks[:batch]}
        report = tf.explain([train, loss], session=session, feed_dict=shapes)
        print(f"one step: {report.launches} kernels, {report.peak_bytes / 1e6:.0f} MB at most")
        started = time.perf_counter()
        for number in range(steps):
            chosen = order.choice(len(images), batch, replace=False)
            _, value = session.run([train, loss], {x: images[chosen], y: masks[chosen]})
            if number % max(1, steps // 6) == 0:
                print(f"step {number:4d}  loss {value:.4f}")
        print(f"{steps} steps in {time.perf_counter() - started:.1f} s")
        # In inference normalisation is folded into the weights, once, until they change again.
        found = session.run(mask, {x: test_images})
    shares = overlap(found, test_masks)
    for (name, *_), share in zip(CLASSES, shares, strict=True):
        print(f"{name:>9s} {share:.3f} {'#' * int(40 * share)}")
    print(f"mean overlap {shares.mean():.4f}")
    if picture is not None:
        draw(picture, test_images, test_masks, found)
        print(f"{picture}: scenes, their classes, and what the network says")
    return float(shares.mean())


def draw(path: str, images, masks, found, rows: int = 4, zoom: int = 3) -> None:
    """Scene, truth and answer side by side."""
    colours = np.array([colour for _, colour, _ in CLASSES], np.uint8)
    lines = []
    for number in range(rows):
        scene = np.clip((images[number] / 2 + 0.5) * 255, 0, 255).astype(np.uint8)
        row = [scene, colours[masks[number]], colours[found[number]]]
        edge = np.full((HIGH, 2, 3), 255, np.uint8)
        lines += [np.concatenate([row[0], edge, row[1], edge, row[2]], axis=1),
                  np.full((2, 3 * WIDE + 4, 3), 255, np.uint8)]  # fmt: skip
    whole = Image.fromarray(np.concatenate(lines[:-1]))
    size = (whole.width * zoom, whole.height * zoom)
    whole.resize(size, Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main(picture=sys.argv[1] if len(sys.argv) > 1 else "linknet.png")
