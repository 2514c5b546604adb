"""Steps compiled for other machines, run there by a host in C: what they compute is the same."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from cases import all_cases
from hosted_steps import HostedStep, run_steps
from machines import MACHINES, MACHINES_BY_CODE, Machine, core, needs

import graphflow as tf
from graphflow.codegen import objects
from graphflow.ir.graph import reset_default_graph


@pytest.fixture(params=MACHINES)
def machine(request) -> Machine:
    needs(request.param)
    return request.param


def _classifier():
    """(placeholders, loss, training step) of a small network with all that a real one has: sizes
    that only a run knows, dropout, moments, and a counter."""
    x = tf.placeholder(tf.float32, [None, 20], name="x")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    hidden = tf.layers.dense(x, 48, activation=tf.nn.relu, name="hidden")
    hidden = tf.nn.dropout(hidden, keep_prob=0.9, seed=3)
    logits = tf.layers.dense(hidden, 10, name="logits")
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    counter = tf.train.get_or_create_global_step()
    train = tf.train.AdamOptimizer(0.01).minimize(loss, global_step=counter)
    return (x, labels), loss, train


def test_training_gives_what_a_session_does(tmp_path, machine):
    (x, labels), loss, train = _classifier()
    rng = np.random.default_rng(5)
    feeds = {x: rng.normal(size=(33, 20)), labels: rng.integers(0, 10, 33)}
    variables = tf.global_variables()
    with tf.Session(config=tf.ConfigProto(seed=1)) as session:
        session.run(tf.global_variables_initializer())
        before = session.run(variables)
        for _ in range(5):
            wanted, _ = session.run([loss, train], feeds)
        after = session.run(variables)
    states = {v.handle: value for v, value in zip(variables, before, strict=True)}
    step = HostedStep([loss, train], feeds, machine.target, states, runs=5)
    (result,) = run_steps(tmp_path, machine, [step])
    assert result.status == 0
    np.testing.assert_allclose(result.outputs[0], wanted, rtol=1e-5, atol=1e-6)
    for variable, value in zip(variables, after, strict=True):
        found = result.states[variable.handle]
        np.testing.assert_allclose(found, value, rtol=2e-4, atol=2e-6, err_msg=variable.name)


def test_loops_move_along_rows(tmp_path, monkeypatch, machine):
    """Rows of a loop are pointers that the step itself writes. Where objects can be linked, this
    one is made of pieces."""
    monkeypatch.setattr(objects, "_PIECE", 1)
    x = tf.placeholder(tf.float32, [4, 7, 5])
    cell = tf.nn.rnn_cell.LSTMCell(6)
    outputs, _ = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32)
    gradient = tf.gradients(tf.reduce_sum(outputs * outputs), x)[0]
    feeds = {x: np.random.default_rng(2).normal(size=(4, 7, 5))}
    with tf.Session(config=tf.ConfigProto(seed=1)) as session:
        session.run(tf.global_variables_initializer())
        states = {v.handle: session.run(v) for v in tf.global_variables()}
        wanted = session.run([outputs, gradient], feeds)
    step = HostedStep([outputs, gradient], feeds, machine.target, states)
    assert step.plan.has_loops
    if not step.hostable:
        pytest.fail("the loop asks for more than this host gives")
    (result,) = run_steps(tmp_path, machine, [step])
    for found, value in zip(result.outputs, wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


def test_a_failed_check_says_which(tmp_path, machine):
    rows = tf.placeholder(tf.int64, [3])
    taken = tf.gather(tf.constant(np.arange(12.0, dtype=np.float32).reshape(4, 3)), rows)
    step = HostedStep([taken], {rows: np.array([1, 9, 0])}, machine.target)
    (result,) = run_steps(tmp_path, machine, [step])
    assert result.status == 1
    assert "{0}" in step.plan.sites[result.site].message
    assert result.values[0] == 9


# One program runs all cases of a group; every ninth group runs always.
_GROUP = 60
_CASES = all_cases()
_GROUPS = [
    pytest.param(
        _CASES[first::-(-len(_CASES) // _GROUP)], id=str(first),
        marks=[pytest.mark.slow] if first % 9 else [],
    )
    for first in range(-(-len(_CASES) // _GROUP))
]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES_BY_CODE, indirect=True)
@pytest.mark.parametrize("cases", _GROUPS)
def test_operations_compute_the_same(tmp_path, machine, cases):
    steps, hosted = [], []
    for case in cases:
        reset_default_graph()
        feeds = case.placeholders(case.symbolic is not None)
        outputs = [tf.convert_to_tensor(output) for output in case.outputs(feeds)]
        step = HostedStep(outputs, dict(zip(feeds, case.inputs, strict=True)), machine.target)
        if step.hostable:
            steps.append(step)
            hosted.append(case)
    assert len(hosted) > 0.9 * len(cases)
    for case, result in zip(hosted, run_steps(tmp_path, machine, steps), strict=True):
        assert result.status == 0, case
        for output, wanted in zip(result.outputs, case.expectation(), strict=True):
            np.testing.assert_allclose(
                output, wanted, rtol=case.tolerance.rtol, atol=case.tolerance.atol,
                equal_nan=True, err_msg=f"{case}: {case.tolerance.why}",
            )  # fmt: skip


def test_the_whole_core_is_for_every_machine(tmp_path, machine):
    """As hosts compile it; where there are no threads it asks for none."""
    main = tmp_path / "main.c"
    main.write_text(
        '#include <stdio.h>\n#include "graphflow/model.h"\n'
        "int main(void)\n{\n    int32_t status = gf_model_create(NULL, NULL, NULL);\n"
        '    printf("%s\\n", gf_message());\n    return status == GF_BAD_ARGUMENT ? 0 : 1;\n}\n'
    )
    program = machine.build(tmp_path / "program", main, *core())
    done = machine.run(program, text=True)
    assert done.returncode == 0 and "there is no place for the model" in done.stdout
    if machine.name == "here-without-threads":
        names = subprocess.run(["nm", program], capture_output=True, text=True, check=True)
        assert "pthread" not in names.stdout
