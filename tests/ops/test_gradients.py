"""Derivatives of every differentiable case against central differences, in float64, through the
reference evaluator; second derivatives too."""

from __future__ import annotations

import numpy as np
import pytest
from cases import all_cases, random

from graphflow.ir.evaluate import run_program
from graphflow.ir.graph import Graph
from graphflow.ops.convert import convert
from graphflow.ops.creation import placeholder
from graphflow.ops.reduction import reduce_sum
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.gradients.differentiate import gradients

STEP = 1e-6
# All run in float64, so those whose inputs are float64 would only repeat the others.
CASES = [case for case in all_cases() if case.differentiable and "float64" not in case.name]


def weighted(outputs, name: str):
    """A scalar that weighs every element of the outputs differently, and the weights' feeds."""
    total = None
    generator = random(f"{name}-weights")
    for output in outputs:
        if not output.dtype.is_floating:
            continue
        shape = [dim if isinstance(dim, int) else 1 for dim in output.dims]
        weights = generator.uniform(0.5, 1.5, shape)
        part = reduce_sum(output * weights)
        total = part if total is None else total + part
    return total


def declared(case, symbolic: bool):
    tensors = []
    for number, array in enumerate(case.inputs):
        unknown = case.symbolic[number] if symbolic and case.symbolic else ()
        shape = [None if axis in unknown else dim for axis, dim in enumerate(array.shape)]
        tensors.append(placeholder("float64", shape, name=f"in{number}"))
    return tensors


def evaluate(graph, fetches, feeds, arrays):
    return run_program(cut(graph, fetches, feeds), arrays).fetches


def differences(function, arrays, direction):
    """The central difference of `function` at `arrays` along `direction`."""
    ahead = [a + STEP * d for a, d in zip(arrays, direction, strict=True)]
    behind = [a - STEP * d for a, d in zip(arrays, direction, strict=True)]
    return (function(ahead) - function(behind)) / (2 * STEP)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient(case):
    graph = Graph()
    with graph.as_default():
        symbolic = case.symbolic is not None
        xs = declared(case, symbolic)
        loss = weighted(case.outputs(xs), case.name)
        first = gradients(loss, xs)
        assert all(g is not None for g in first)
        first = [convert(g) for g in first]  # the gradient of a gather holds rows
        pairing = None
        weights = random(f"{case.name}-second")
        for g, array in zip(first, case.inputs, strict=True):
            assert g.dtype.name == "float64"
            part = reduce_sum(g * weights.uniform(0.5, 1.5, array.shape))
            pairing = part if pairing is None else pairing + part
        second = gradients(pairing, xs)
    arrays = [array.astype(np.float64) for array in case.inputs]
    loss_of = cut(graph, [loss], xs)
    pairing_of = cut(graph, [pairing], xs)
    computed = evaluate(graph, first, xs, arrays)
    assert [g.shape for g in computed] == [a.shape for a in arrays]

    def check(of, slopes, tolerance):
        generator = random(f"{case.name}-directions")
        for _ in range(2):
            direction = [generator.uniform(-1, 1, a.shape) for a in arrays]
            expected = differences(
                lambda where: float(run_program(of, where).fetches[0]), arrays, direction
            )
            actual = sum(np.sum(g * d) for g, d in zip(slopes, direction, strict=True))
            scale = 1 + sum(np.sum(np.abs(g * d)) for g, d in zip(slopes, direction, strict=True))
            assert abs(expected - actual) <= tolerance * scale, (expected, actual)

    check(loss_of, computed, 1e-6)
    known = [(g, x) for g, x in zip(second, xs, strict=True) if g is not None]
    values = iter(evaluate(graph, [g for g, _ in known], xs, arrays)) if known else iter(())
    curvature = [
        np.zeros_like(a) if g is None else next(values) for g, a in zip(second, arrays, strict=True)
    ]
    check(pairing_of, curvature, 1e-5)


# -- what a difference cannot see: kinks, ties and zeros -----------------------------------------


def gradient_at(function, *arrays):
    graph = Graph()
    with graph.as_default():
        xs = [placeholder(np.asarray(a).dtype, np.asarray(a).shape) for a in arrays]
        found = gradients(reduce_sum(function(*xs)), xs)
    return evaluate(graph, found, xs, [np.asarray(a) for a in arrays])


def test_ties_of_maximum_go_to_the_first():
    from graphflow.ops.arithmetic import maximum, minimum

    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 0.0])
    to_a, to_b = gradient_at(maximum, a, b)
    assert to_a.tolist() == [1, 0, 1] and to_b.tolist() == [0, 1, 0]
    to_a, to_b = gradient_at(minimum, a, b)
    assert to_a.tolist() == [1, 1, 0] and to_b.tolist() == [0, 0, 1]


def test_ties_of_reduce_max_share():
    from graphflow.ops.reduction import reduce_max

    (g,) = gradient_at(lambda x: reduce_max(x, 1), np.array([[3.0, 3.0, 1.0], [1.0, 2.0, 0.0]]))
    assert g.tolist() == [[0.5, 0.5, 0], [0, 1, 0]]


def test_kinks_have_the_gradients_of_tensorflow():
    from graphflow.ops import activation
    from graphflow.ops import math as unary

    zero = np.array([0.0])
    assert gradient_at(unary.abs, zero)[0].tolist() == [0]
    assert gradient_at(activation.relu, zero)[0].tolist() == [0]
    assert gradient_at(activation.relu6, np.array([0.0, 6.0]))[0].tolist() == [0, 0]
    assert gradient_at(activation.elu, zero)[0].tolist() == [1]
    assert gradient_at(activation.leaky_relu, zero)[0].tolist() == [0.2]
    clipped = gradient_at(lambda x: unary.clip_by_value(x, -1, 1), np.array([-1.0, 1.0, 2.0]))
    assert clipped[0].tolist() == [1, 1, 0]


def test_no_nan_through_masks():
    from graphflow.ops import arithmetic, logic
    from graphflow.ops import math as unary

    x = np.array([0.0, -1.0, 2.0])
    to_x, to_y = gradient_at(arithmetic.pow, x, np.array([0.0, 2.0, 0.0]))
    assert to_x.tolist() == [0, -2, 0]
    assert to_y[:2].tolist() == [0, 0] and to_y[2] == pytest.approx(np.log(2))
    (g,) = gradient_at(lambda x: x**2.0, x)
    assert g.tolist() == [0, -2, 4]
    (g,) = gradient_at(lambda x: logic.where(x > 0, unary.sqrt(logic.where(x > 0, x, 1.0)), x), x)
    assert g.tolist() == pytest.approx([1, 1, 0.5 / np.sqrt(2)])
    to_a, to_b = gradient_at(arithmetic.div_no_nan, np.array([1.0, 1.0]), np.array([0.0, 2.0]))
    assert to_a.tolist() == [0, 0.5] and to_b.tolist() == [0, -0.25]


def test_products_with_zeros():
    from graphflow.ops.cumulative import cumprod
    from graphflow.ops.reduction import reduce_prod

    x = np.array([2.0, 0.0, 3.0])
    assert gradient_at(reduce_prod, x)[0].tolist() == [0, 6, 0]
    assert gradient_at(reduce_prod, np.array([0.0, 0.0, 3.0]))[0].tolist() == [0, 0, 0]
    assert gradient_at(cumprod, x)[0].tolist() == [1, 2 + 6, 0]


def test_casts_between_floats():
    from graphflow.ops import logic

    (g,) = gradient_at(lambda x: logic.cast(x, "float64") * 3.0, np.ones(2, np.float32))
    assert g.dtype == np.float32 and g.tolist() == [3, 3]


def test_integers_and_steps_have_no_gradient():
    from graphflow.ops import logic
    from graphflow.ops import math as unary

    with Graph().as_default():
        x = placeholder("float32", [3])
        assert gradients(reduce_sum(unary.floor(x)), [x]) == [None]
        assert gradients(reduce_sum(logic.cast(logic.cast(x, "int32"), "float32")), [x]) == [None]
        assert gradients(reduce_sum(logic.stop_gradient(x)), [x]) == [None]


def test_unknown_rank():
    from graphflow.ops.reduction import reduce_mean, reduce_sum

    with Graph().as_default() as graph:
        x, y = placeholder("float64"), placeholder("float64")
        to_x, to_y = gradients(reduce_sum(x * y) + reduce_mean(x), [x, y])
    a, b = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, 4.0])
    from graphflow.ir.types import TensorType

    types = [TensorType(x.dtype, (2, 3)), TensorType(y.dtype, (3,))]
    program = cut(graph, [to_x, to_y], [x, y], types)
    got_x, got_y = run_program(program, [a, b]).fetches
    np.testing.assert_allclose(got_x, np.broadcast_to(b, (2, 3)) + 1 / 6)
    np.testing.assert_allclose(got_y, a.sum(0))


def test_broadcasting_of_unknown_sizes_is_undone():
    """A size assumed equal that a run finds to be 1."""
    with Graph().as_default() as graph:
        x, y = placeholder("float64", [None, 3]), placeholder("float64", [None, 3])
        found = gradients(reduce_sum(x * y), [x, y])
    from graphflow.ir.types import TensorType

    a, b = np.arange(12.0).reshape(4, 3), np.array([[1.0, 2.0, 4.0]])
    types = [TensorType(x.dtype, (4, 3)), TensorType(y.dtype, (1, 3))]
    got_x, got_y = run_program(cut(graph, found, [x, y], types), [a, b]).fetches
    np.testing.assert_allclose(got_x, np.broadcast_to(b, (4, 3)))
    np.testing.assert_allclose(got_y, a.sum(0, keepdims=True))
