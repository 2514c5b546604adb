"""Batch normalisation as it is trained, and what the functions and layers refuse."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import TypeRuleError


def image(*shape, dtype="float32", name="image"):
    return tf.placeholder(dtype, shape, name=name)


def samples(*shape, seed=0, mean=1.0, dtype="float32"):
    return np.random.default_rng(seed).normal(mean, 2, shape).astype(dtype)


def started(backend="compiled"):
    session = tf.Session(config=tf.ConfigProto(cache=False), backend=backend)
    session.run(tf.global_variables_initializer())
    return session


@pytest.mark.parametrize("axis", [-1, 1, [1, 3]])
@pytest.mark.parametrize("training", [True, False, "fed"])
def test_a_training_step_follows_the_definition(axis, training):
    x = image(None, 5, 4, 6)
    flag = tf.placeholder(tf.bool, [], name="training") if training == "fed" else training
    y = tf.layers.batch_normalization(x, axis, momentum=0.9, training=flag, name="norm", fused=True)
    names = {v.op.name.split("/")[-1]: v for v in tf.global_variables()}
    assert set(names) == {"gamma", "beta", "moving_mean", "moving_variance"}
    assert [v.op.name for v in tf.trainable_variables()] == ["norm/gamma", "norm/beta"]
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    assert len(updates) == (0 if training is False else 2)
    data = samples(3, 5, 4, 6)
    kept = [axis % 4] if isinstance(axis, int) else axis
    axes = tuple(n for n in range(4) if n not in kept)
    shape = [data.shape[n] if n in kept else 1 for n in range(4)]
    held = names["moving_mean"].shape.as_list()
    mean, variance = data.mean(axes, dtype=np.float64), data.var(axes, dtype=np.float64)
    with started() as session:
        gamma = samples(*held, seed=1)
        session.run(names["gamma"].assign(gamma))
        for fed in (True, False) if training == "fed" else (training,):
            feeds = {x: data, flag: fed} if training == "fed" else {x: data}
            got, *_ = session.run([y, *updates], feeds)
            used = (mean, variance) if fed else session.run(
                [names["moving_mean"], names["moving_variance"]]
            )  # fmt: skip
            used = [np.reshape(m, shape) for m in used]
            wanted = (data - used[0]) / np.sqrt(used[1] + 1e-3) * gamma.reshape(shape)
            np.testing.assert_allclose(got, wanted, rtol=3e-5, atol=1e-5)
        if training is not False:
            count = data.size // mean.size
            averages = session.run([names["moving_mean"], names["moving_variance"]])
            np.testing.assert_allclose(averages[0].reshape(mean.shape), 0.1 * mean, rtol=1e-5)
            np.testing.assert_allclose(
                averages[1].reshape(mean.shape),
                0.9 + 0.1 * variance * count / (count - 1),
                rtol=1e-5,
            )


@pytest.mark.parametrize("shape", [(None, 6, 5, 7), (None, None, None, 64), (40, 3), (None, 200)])
@pytest.mark.parametrize("training", [True, "fed"])
def test_compiled_gradients_are_the_references(shape, training):
    x = image(*shape)
    flag = tf.placeholder(tf.bool, [], name="training") if training == "fed" else True
    y = tf.nn.relu(tf.layers.batch_normalization(x, training=flag))
    sources = [x, *tf.trainable_variables()]
    first = tf.gradients(tf.reduce_sum(tf.sin(y * 2.0)), sources)
    second = tf.gradients(tf.reduce_sum(first[0] * first[0]), sources)
    data = samples(*[dim or 9 for dim in shape])
    for fed in (True, False) if training == "fed" else (True,):
        feeds = {x: data, flag: fed} if training == "fed" else {x: data}
        fetches = [y, *first, *(g for g in second if g is not None)]
        with started() as session, started("reference") as reference:
            got, wanted = session.run(fetches, feeds), reference.run(fetches, feeds)
        for result, expected in zip(got, wanted, strict=True):
            scale = np.abs(expected).max() + 1
            np.testing.assert_allclose(result / scale, expected / scale, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("fed", [True, False])
def test_the_stated_gradient_is_a_difference(fed):
    """Of the inputs, with a flag that is fed; in float64, through the reference."""
    x = image(4, 3, dtype="float64")
    flag = tf.placeholder(tf.bool, [])
    layer = tf.layers.BatchNormalization()
    loss = tf.reduce_sum(tf.sin(layer(x, training=flag)))
    (gradient,) = tf.gradients(loss, x)
    data, step = samples(4, 3, dtype="float64"), 1e-6
    with started("reference") as session:
        direction = samples(4, 3, seed=2, dtype="float64")
        ahead, behind = (
            session.run(loss, {x: data + sign * step * direction, flag: fed}) for sign in (1, -1)
        )
        slope = np.sum(session.run(gradient, {x: data, flag: fed}) * direction)
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)


def test_a_large_mean_costs_no_digits_of_the_gradient():
    x, g = image(64, 16), image(64, 16, name="g")
    y, _, _ = tf.nn.fused_batch_norm(
        tf.reshape(x, [64, 1, 1, 16]), tf.ones([16]), tf.zeros([16]), epsilon=0.0
    )
    (gradient,) = tf.gradients(y, x, tf.reshape(g, [64, 1, 1, 16]))
    data, flow = samples(64, 16, mean=0).round(2), samples(64, 16, seed=1)
    far = (data * 64).round() + np.float32(4096)  # exact
    with started() as session:
        near, moved = (session.run(gradient, {x: d, g: flow}) for d in (far - 4096, far))
    np.testing.assert_allclose(moved, near, rtol=1e-4, atol=1e-4 * np.abs(near).max())


def test_a_training_step_reads_its_input_three_times():
    """Moments; the normalised values with the sums of the gradient; the gradient."""
    x, g = image(8, 56, 56, 64), image(8, 56, 56, 64, name="g")
    y = tf.layers.batch_normalization(x, training=True)
    fetches = [y, *tf.gradients(y, [x, *tf.trainable_variables()], g)]
    report = tf.explain([*fetches, *tf.get_collection(tf.GraphKeys.UPDATE_OPS)])
    size = 8 * 56 * 56 * 64 * 4
    assert report.arena_bytes < size / 8, "nothing as large as the input is kept in between"
    loops = [line for kernel in report.kernels for line in kernel.loops if " loops of " in line]
    assert sum(line.startswith("nest loops of moments") for line in loops) == 1
    assert sum(line.startswith("columns") for line in loops) == 1
    assert sum(line.startswith("pointwise loops of normalize") for line in loops) == 1


def test_fused_batch_norm_returns_what_it_is_given():
    x = image(2, 3, 3, 4)
    mean, variance = tf.zeros([4]), tf.ones([4])
    y, m, v = tf.nn.fused_batch_norm(
        x, tf.ones([4]), tf.zeros([4]), mean, variance, is_training=False
    )
    with started() as session:
        data = samples(2, 3, 3, 4)
        held, got_mean, got_variance = session.run([y, m, v], {x: data})
    np.testing.assert_allclose(held, data / np.sqrt(1.001), rtol=1e-5)
    assert got_mean.tolist() == [0] * 4 and got_variance.tolist() == [1] * 4


def test_layers_of_one_example():
    x = image(None, 4, 4, 6)
    outputs = [
        tf.layers.layer_norm(x, [1, 2, 3], name="layer"),
        tf.layers.group_norm(x, 3, name="group"),
        tf.layers.instance_norm(x, name="instance"),
    ]
    assert [v.op.name for v in tf.trainable_variables()] == [
        "layer/gamma", "layer/beta", "group/gamma", "group/beta", "instance/gamma", "instance/beta",
    ]  # fmt: skip
    assert tf.trainable_variables()[0].shape.as_list() == [4, 4, 6]
    data = samples(5, 4, 4, 6)
    with started() as session:
        layer, group, instance = session.run(outputs, {x: data})
        alone = session.run(outputs, {x: data[2:3]})
    for whole, one in zip((layer, group, instance), alone, strict=True):
        np.testing.assert_allclose(whole[2:3], one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(instance.std((1, 2)), 1, atol=1e-2)
    np.testing.assert_allclose(group.reshape(5, 16, 3, 2).std((1, 3)), 1, atol=1e-2)


def test_batch_norm_with_global_normalization():
    x = image(2, 3, 3, 4)
    arguments = (tf.zeros([4]), tf.ones([4]), tf.ones([4]), tf.fill([4], 2.0), 0.0)
    scaled, plain = (
        tf.nn.batch_norm_with_global_normalization(x, *arguments, flag) for flag in (True, False)
    )
    with started() as session:
        data = samples(2, 3, 3, 4)
        got = session.run([scaled, plain], {x: data})
    np.testing.assert_allclose(got[0], data * 2 + 1, rtol=1e-5)
    np.testing.assert_allclose(got[1], data + 1, rtol=1e-5)


ONES = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: tf.nn.fused_batch_norm(x[0], ONES, ONES), "floating-point images of rank 4"),
        (lambda x: tf.nn.fused_batch_norm(tf.cast(x, "int32"), ONES, ONES), "floating-point"),
        (lambda x: tf.nn.fused_batch_norm(x, ONES, ONES, ONES, ONES), "computed while training"),
        (lambda x: tf.nn.fused_batch_norm(x, ONES, ONES, is_training=False), "must be given"),
        (
            lambda x: tf.nn.fused_batch_norm(x, ONES[:3], ONES),
            "a vector of the 4 channels of image:0",
        ),
        (lambda x: tf.nn.fused_batch_norm(x, ONES, 1.0), "must be a vector of the 4 channels"),
        (lambda x: tf.nn.fused_batch_norm(x, ONES, ONES, data_format="HWCN"), "data_format is"),
        (lambda x: tf.nn.layer_norm(tf.cast(x, "int32")), "must be floating-point"),
        (lambda x: tf.nn.layer_norm(x, axes=4), "axis 4 is out of range"),
        (lambda x: tf.nn.group_norm(x, 3), "4 channels of image:0 do not divide into 3 groups"),
        (lambda x: tf.nn.group_norm(x, 0), "groups must be a positive number, got 0"),
        (lambda x: tf.nn.group_norm(x, 2, ONES[:3]), "must be a vector of the 4 channels"),
        (lambda x: tf.nn.group_norm(x, 2, axis=0), "axis 0 is the batch"),
        (lambda x: tf.nn.instance_norm(x[0, 0]), "a tensor of rank 3 or more is needed"),
        (lambda x: tf.nn.lrn(x[0]), "a tensor of rank 4 or more is needed"),
        (lambda x: tf.nn.lrn(x, -1), "depth_radius must not be negative"),
        (lambda x: tf.nn.lrn(x, 0.5), "depth_radius must be a number"),
        (lambda x: tf.layers.layer_norm(image(3, None)), "dimension 1 of the inputs must be known"),
    ],
)
def test_errors(build, message):
    with pytest.raises(TypeRuleError) as caught:
        build(image(2, 3, 3, 4))
    assert message in str(caught.value) and "test_normalization.py:" in str(caught.value)
