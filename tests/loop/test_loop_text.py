"""Loop text: what prints, parses; and the verifier accepts what the compiler makes."""

from __future__ import annotations

import numpy as np
import pytest
from cases import all_cases

import graphflow as tf
from graphflow.codegen.target import level
from graphflow.loop.parse import parse_kernel
from graphflow.loop.text import print_kernel
from graphflow.loop.verify import verify
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.pipeline import run_graph_passes
from graphflow.passes.planning.build_plan import build_plan


def kernels(graph, outputs, feeds):
    program = run_graph_passes(cut(graph, outputs, feeds))
    plan = build_plan(program, level("avx2"))
    return [launch.kernel for launch in plan.launches if launch.kernel is not None]


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_kernels_of_every_case(case):
    graph = tf.Graph()
    with graph.as_default():
        feeds = case.placeholders(case.symbolic is not None)
        outputs = case.outputs(feeds)
    for kernel in kernels(graph, outputs, feeds):
        verify(kernel)
        text = print_kernel(kernel)
        again = parse_kernel(text)
        verify(again)
        assert print_kernel(again) == text


def test_a_train_step():
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 300])
        labels = tf.placeholder(tf.int32, [None])
        logits = tf.layers.dense(tf.layers.dense(x, 200, tf.nn.relu), 10)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        train = tf.train.AdamOptimizer().minimize(loss)
    found = kernels(graph, [train, loss], [x, labels])
    assert found
    for kernel in found:
        verify(kernel)
        text = print_kernel(kernel)
        assert print_kernel(parse_kernel(text)) == text


@pytest.mark.parametrize("keep", np.linspace(0.05, 0.95, 10))
def test_cut_off_text_is_refused(keep):
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 8])
        outputs = [tf.reduce_sum(tf.nn.relu(x), axis=1)]
    (kernel,) = kernels(graph, outputs, [x])
    text = print_kernel(kernel)
    with pytest.raises(ValueError):
        parse_kernel(text[: int(keep * len(text))])
