"""Loops over images one after the other become one, where each image stays by itself."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.dtypes import float32
from graphflow.loop import nodes as loop
from graphflow.loop.nodes import Buffer, Const, For, Let, Load, Store, Var
from graphflow.passes.analysis.index_math import IndexMath
from graphflow.passes.fusion.join_images import join_images
from graphflow.sizes import symbol

ROWS, WIDTH = 3, 4


class Loops:
    """made[row] for the rows of n images, then result[image] from made, an image at a time."""

    def __init__(self, read=lambda image, at: image * 12 + at, write=lambda row: row * 4, n=16):
        self.math = IndexMath()
        self.given, self.made = (Buffer(name, float32, n * 12) for name in ("given", "made"))
        self.result = Buffer("result", float32, n * 12, "out")
        row, v, image, at = Var("row"), Var("v"), Var("image"), Var("at")
        place = loop.add(_built(write(_Index(row))), v)
        first = Store(self.made, place, Load(self.given, loop.add(loop.mul(row, Const(4)), v)))
        across = For(v, Const(WIDTH), loop.VECTOR, (first,))
        self.math.variable(image, n)
        where = _built(read(_Index(image), _Index(at)))
        store = Store(self.result, loop.add(loop.mul(image, Const(12)), at), Load(self.made, where))
        inner = For(at, Const(12), loop.VECTOR, (store,))
        self.body = [
            For(row, Const(n * ROWS), loop.PARALLEL, (across,)),
            For(image, Const(n), loop.PARALLEL, (inner,)),
        ]

    def join(self, private=True, lasting=()):
        return join_images(self.body, self.math, {self.made} if private else set(), lasting)


class _Index:
    """Index expressions, written as sums and products."""

    def __init__(self, expr):
        self.expr = expr

    def __mul__(self, other):
        return _Index(loop.mul(self.expr, Const(other)))

    def __add__(self, other):
        other = Const(other) if isinstance(other, int) else other.expr
        return _Index(loop.add(self.expr, other))


def _built(index):
    return index.expr


def test_rows_of_an_image_are_made_where_they_are_read():
    loops = Loops()
    (joined,) = loops.join()
    assert (joined.first, joined.second, joined.dropped) == (0, 1, {loops.made})
    assert loops.body[0].body == ()
    part, rows, inner = loops.body[1].body
    assert isinstance(part, loop.Local) and part.shape == (12,) and part.space == "stack"
    assert rows.kind == loop.SERIAL and rows.extent.value == ROWS
    assert loops.made not in loop.targets(loops.body)


def test_what_others_read_is_stored_all_the_same():
    loops = Loops()
    (joined,) = loops.join(private=False)
    assert not joined.dropped and loops.made in loop.targets(loops.body)


@pytest.mark.parametrize(
    "wrong",
    [
        Loops(read=lambda image, at: image * 12 + at + 1),  # the next image's first element
        Loops(read=lambda image, at: image * 8 + at),
        Loops(write=lambda row: row * 4 + 4),
        Loops(n=4),  # few images: their rows are shared out among threads
    ],
    ids=["next", "other-step", "shifted", "few"],
)
def test_what_leaves_an_image_is_left_alone(wrong):
    before = list(wrong.body)
    assert not wrong.join()
    assert wrong.body == before


def test_what_is_written_over_is_not_read_later():
    loops = Loops()
    assert not loops.join(lasting={loops.given})


def test_two_readers_are_left_alone():
    loops = Loops()
    loops.body.append(loops.body[1])
    assert not loops.join()


def test_named_images_of_a_task():
    """for t:  for d:  let image = t * each + d"""
    n = symbol("n")
    math = IndexMath()
    given, made = (Buffer(name, float32, n * 12) for name in ("given", "made"))
    result = Buffer("result", float32, 8, "out")
    row, v, t, d, image = (Var(name) for name in ("row", "v", "t", "d", "image"))
    math.variable(image, n)
    at = loop.add(loop.mul(row, Const(4)), v)
    first = For(v, Const(WIDTH), loop.VECTOR, (Store(made, at, Load(given, at)),))
    read = Load(made, loop.mul(image, Const(12)))
    number = loop.add(loop.mul(t, loop.index(n)), d)
    inner = (Let(image, number), loop.Accumulate(result, t, "add", read))
    body = [
        For(row, loop.index(n * ROWS), loop.PARALLEL, (first,)),
        For(t, Const(8), loop.PARALLEL, (For(d, loop.index(n), loop.SERIAL, inner),)),
    ]
    assert not join_images(list(body), math, set(), set())  # each image is made only here
    (joined,) = join_images(body, math, {made}, set())
    assert joined.dropped == {made}
    (task,) = body[1].body
    let, part, rows, total = task.body
    assert let.var is image and isinstance(part, loop.Local)
    assert isinstance(rows, For) and total.value.target is part


# -- whole programs ------------------------------------------------------------------------------


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network(batch, window=2, stride=2, more=False):
    x = tf.placeholder(tf.float32, [batch, 20, 20, 3])
    w, v = tf.placeholder(tf.float32, [5, 5, 3, 6]), tf.placeholder(tf.float32, [3, 3, 6, 4])
    h = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, w, 1, "VALID")), window, stride, "VALID")
    h = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(h, v, 1, "VALID")), window, stride, "VALID")
    fetches = tf.gradients(tf.reduce_sum(tf.square(h)), [w, v, x] if more else [w, v])
    return fetches, x, {w: array(5, 5, 3, 6, seed=1), v: array(3, 3, 6, 4, seed=2)}


@pytest.mark.parametrize("more", [False, True], ids=["weights", "all"])
@pytest.mark.parametrize("window, stride", [(2, 2), (3, 2), (2, 3)])
@pytest.mark.parametrize("batch", [None, 8, 3])
def test_gradients_of_a_network(batch, window, stride, more):
    fetches, x, feeds = network(batch, window, stride, more)
    session, reference = tf.Session(), tf.Session(backend="reference")
    for size in (1, 7, 8, 21, 0) if batch is None else (batch,):
        feeds[x] = array(size, 20, 20, 3)
        for one, other in zip(session.run(fetches, feeds), reference.run(fetches, feeds),
                              strict=True):  # fmt: skip
            largest = np.abs(other).max(initial=1e-30)
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * largest)


def test_what_is_made_of_an_image_takes_no_memory():
    fetches, x, feeds = network(None)
    feeds[x] = array(64, 20, 20, 3)
    bytes_ = []
    found = []
    for disable in ((), ("join_images",)):
        session = tf.Session(config=tf.ConfigProto(disable=disable))
        report = session.explain(fetches, feeds)
        bytes_.append(report.arena_bytes)
        assert report.peak_bytes == session.measured_bytes(fetches, feeds)
        found.append(session.run(fetches, feeds))
    assert bytes_[0] < 0.7 * bytes_[1]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
