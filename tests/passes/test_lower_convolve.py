"""Convolutions as contractions over windows in place, their layout, and minimal filtering."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from plans import plan_of

import graphflow as tf
from graphflow.loop import nodes as loop
from graphflow.ops.convolution import convolve
from graphflow.passes.convolution.layout import layout
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.pipeline import run_graph_passes
from graphflow.sizes import ceildiv

# Of the largest element. Direct sums differ from float64's by the rounding of one long sum;
# minimal filtering also by that of its transforms (see passes/convolution/winograd.py).
DIRECT, FILTERED = 3e-6, 1e-5


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def agree(found, wanted, tolerance):
    assert found.shape == wanted.shape
    scale = np.abs(wanted).max() if wanted.size else 1.0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


def results(x, w, unknown, disable=(), **attributes):
    """y, something computed from it, and the gradients, compiled and by the reference."""
    with tf.Graph().as_default():
        shape = (None, *x.shape[1:]) if unknown else x.shape
        px, pw = tf.placeholder(tf.float32, shape), tf.placeholder(tf.float32, w.shape)
        rank = x.ndim - 2
        ones = (1,) * rank
        attrs = {"strides": ones, "dilation": ones, "expansion": ones, "groups": 1, **attributes}
        y = convolve(px, pw, **attrs)
        fetches = [y, tf.nn.relu(y) + 1.0, *tf.gradients(tf.reduce_sum(y * y), [px, pw])]
        config = tf.ConfigProto(disable=disable)
        feeds = {px: x, pw: w}
        compiled = tf.Session(config=config).run(fetches, feeds)
        return compiled, tf.Session(backend="reference").run(fetches, feeds)


# x, w, strides, padding, dilation, expansion, groups
CASES = {
    "same-3x3": ((2, 9, 9, 5), (3, 3, 5, 7), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    "vectors": ((2, 9, 9, 16), (3, 3, 16, 32), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    "strided": ((2, 9, 8, 16), (3, 3, 16, 40), (2, 2), ((0, 1), (1, 1)), (1, 1), (1, 1), 1),
    "dilated": ((2, 9, 8, 16), (5, 3, 16, 6), (1, 2), ((0, 1), (1, 1)), (2, 1), (1, 1), 1),
    "groups": ((2, 9, 8, 16), (5, 3, 4, 8), (1, 2), ((2, 2), (1, 1)), (1, 1), (1, 1), 4),
    "expanded": ((2, 5, 6, 8), (3, 3, 8, 12), (1, 1), ((1, 2), (1, 1)), (1, 1), (2, 2), 1),
    "expanded-uneven": ((2, 5, 6, 8), (4, 4, 8, 12), (1, 1), ((2, 2), (1, 1)), (1, 1), (2, 3), 1),
    "1x1": ((2, 9, 9, 16), (1, 1, 16, 32), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    "1x1-strided": ((2, 9, 9, 16), (1, 1, 16, 32), (2, 2), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    "few-channels": ((3, 30, 32, 3), (5, 5, 3, 6), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    "one-channel": ((2, 9, 50, 4), (3, 3, 4, 1), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    "one-channel-strided": (
        (2, 9, 50, 4), (3, 3, 4, 1), (1, 2), ((1, 1), (1, 1)), (1, 1), (1, 1), 1,
    ),
    "few-channels-dilated": (
        (2, 20, 21, 2), (3, 2, 2, 5), (2, 1), ((1, 0), (2, 1)), (1, 3), (1, 1), 1,
    ),
    "1d": ((3, 30, 4), (5, 4, 8), (2,), ((2, 1),), (1,), (1,), 1),
    "3d": (
        (2, 5, 6, 7, 3), (3, 3, 3, 3, 9), (1, 2, 1), ((1, 1),) * 3, (1, 1, 1), (1, 1, 1), 1,
    ),
    "one-output": ((1, 3, 3, 4), (3, 3, 4, 8), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    "many-rows": ((32, 20, 20, 8), (5, 5, 8, 8), (1, 1), ((2, 2), (2, 2)), (1, 1), (1, 1), 1),
    "cropped": ((2, 9, 9, 8), (3, 3, 8, 8), (1, 1), ((-1, 1), (0, -2)), (1, 1), (1, 1), 1),
}  # fmt: skip


@pytest.mark.parametrize("unknown", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("name", CASES)
def test_forward_and_gradients(name, unknown):
    xs, ws, strides, padding, dilation, expansion, groups = CASES[name]
    found, wanted = results(
        array(*xs), array(*ws, seed=1), unknown, strides=strides, padding=padding,
        dilation=dilation, expansion=expansion, groups=groups,
    )  # fmt: skip
    for one, other in zip(found, wanted, strict=True):
        agree(one, other, 3 * FILTERED)


@pytest.mark.parametrize("unknown", [False, True], ids=["static", "symbolic"])
def test_no_images(unknown):
    found, wanted = results(array(0, 9, 9, 5), array(3, 3, 5, 7), unknown, padding=((1, 1),) * 2)
    for one, other in zip(found, wanted, strict=True):
        agree(one, other, 0.0)


# -- minimal filtering ---------------------------------------------------------------------------

FILTERING = {
    "whole-tiles": ((2, 12, 12, 32), (3, 3, 32, 48), 1, False),
    "parts-of-tiles": ((3, 14, 7, 32), (3, 3, 32, 64), 1, True),
    "no-padding": ((3, 14, 9, 40), (3, 3, 40, 70), 0, True),
    "large": ((2, 28, 28, 128), (3, 3, 128, 128), 1, False),
}


@pytest.mark.parametrize("name", FILTERING)
@pytest.mark.parametrize("disable", [(), ("winograd",)], ids=["filtered", "direct"])
def test_accuracy_against_float64(name, disable):
    xs, ws, pad, unknown = FILTERING[name]
    x, w = array(*xs), array(*ws, seed=1)
    padding = ((pad, pad), (pad, pad))
    found, _ = results(x, w, unknown, disable, padding=padding)
    with tf.Graph().as_default():
        y = convolve(
            tf.constant(x.astype(np.float64)), tf.constant(w.astype(np.float64)), strides=(1, 1),
            padding=padding, dilation=(1, 1), expansion=(1, 1), groups=1,
        )  # fmt: skip
        wanted = tf.Session(backend="reference").run(y)
    agree(found[0].astype(np.float64), wanted, DIRECT if disable else FILTERED)


def test_a_switch_turns_it_off():
    """The two ways round differently, so the switch is seen in the results."""
    xs, ws, pad, _ = FILTERING["large"]
    x, w = array(*xs), array(*ws, seed=1)
    padding = ((pad, pad),) * 2
    filtered, _ = results(x, w, False, padding=padding)
    direct, _ = results(x, w, False, ("winograd",), padding=padding)
    assert not np.array_equal(filtered[0], direct[0])


def test_results_do_not_depend_on_the_number_of_threads():
    xs, ws, pad, _ = FILTERING["large"]
    x, w = array(*xs), array(*ws, seed=1)
    px, pw = tf.placeholder(tf.float32, x.shape), tf.placeholder(tf.float32, w.shape)
    y = tf.nn.conv2d(px, pw, 1, "SAME")
    fetches = [y, *tf.gradients(tf.reduce_sum(y * y), [px, pw])]
    one, two = (
        tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=threads)).run(
            fetches, {px: x, pw: w}
        )
        for threads in (1, 2)
    )
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)


# -- layout --------------------------------------------------------------------------------------


def laid_out(fetches, feeds):
    return layout(cut(tf.get_default_graph(), fetches, feeds)).nodes()


def ops(nodes):
    return [node.op.name for node in nodes]


def test_padding_is_put_in_memory_once_for_all_that_read_it():
    x = tf.placeholder(tf.float32, [2, 8, 8, 16])
    ws = [tf.placeholder(tf.float32, [3, 3, 16, n]) for n in (16, 32)]
    ys = [tf.nn.conv2d(x, w, 1, "SAME") for w in ws]
    program = run_graph_passes(cut(tf.get_default_graph(), ys, [x, *ws]))
    assert ops(program.nodes()).count("pad") == 1
    for node in program.nodes():
        if node.op.name == "convolve":
            assert all(low == 0 for low, _ in node.attrs["padding"])


def test_single_taps_are_products_of_matrices():
    x = tf.placeholder(tf.float32, [None, 8, 8, 16])
    w = tf.placeholder(tf.float32, [1, 1, 16, 32])
    y = tf.nn.conv2d(x, w, 1, "SAME")
    names = ops(laid_out([y, *tf.gradients(y, [x, w])], [x, w]))
    assert "convolve" not in names and "convolve_weights" not in names


def test_weights_of_transposed_convolutions_never_walk_zeros():
    x = tf.placeholder(tf.float32, [2, 5, 5, 8])
    w = tf.placeholder(tf.float32, [3, 3, 12, 8])
    y = tf.nn.conv2d_transpose(x, w, [2, 10, 10, 12], 2, "SAME")
    for node in laid_out(tf.gradients(y, [w]), [x, w]):
        if node.op.name == "convolve_weights":
            assert set(node.attrs["expansion"]) == {1}


def test_every_size_of_tiles_stays_inside_its_padded_input():
    for size, taps in itertools.product(range(1, 14), (1, 3)):
        x = tf.placeholder(tf.float32, [1, size, size, 16])
        w = tf.placeholder(tf.float32, [taps, taps, 16, 16])
        y = tf.nn.conv2d(x, w, 1, "SAME")
        for node in laid_out([y], [x, w]):
            if node.op.name == "convolve":
                assert node.inputs[0].dims[1] >= ceildiv(size, 4) * 4 + 2


def test_layers_of_minimal_filtering_share_transforms():
    """What differs between layers of other sizes are parameters of the two kernels."""
    x = tf.placeholder(tf.float32, [1, 28, 28, 64])
    h, feeds = x, [x]
    for filters in (64, 128, 128):
        feeds.append(tf.placeholder(tf.float32, [3, 3, h.dims[-1], filters]))
        h = tf.nn.conv2d(h, feeds[-1], 1, "SAME")
    _, plan = plan_of([h], feeds)
    invoked = [
        stmt.kernel
        for launch in plan.launches
        for stmt in loop.statements(launch.kernel.body)
        if isinstance(stmt, loop.Invoke) and stmt.kernel.name.startswith("transform")
    ]
    assert len(invoked) == 6 and len(set(map(id, invoked))) == 2
