"""Functions that LLVM translates quickly: those that do nothing but launch, one after the other."""

import re

import numpy as np
import pytest

import graphflow as tf


@pytest.fixture
def step(monkeypatch, tmp_path):
    """The LLVM IR of the step that computes a tensor, after it has run."""

    def dumped(fetch, feeds) -> str:
        monkeypatch.setenv("GRAPHFLOW_DUMP", str(tmp_path))
        monkeypatch.setenv("GRAPHFLOW_CACHE", "off")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(fetch, feeds)
        return max(tmp_path.glob("*/*-step.ll")).read_text()

    return dumped


def _quick(text: str) -> set[str]:
    return set(re.findall(r"^define [^@]*@([\w.]+)\([^\n]* #1 \{$", text, re.MULTILINE))


def test_launches_and_what_is_prepared_once(step):
    weights = tf.Variable(np.ones((40, 50), np.float32))
    x = tf.placeholder(tf.float32, [None, 40])
    text = step(tf.matmul(x, weights), {x: np.ones((30, 40), np.float32)})
    assert _quick(text) == {"gf_step", "gf_step.prepare"}


def test_a_loop_may_run_often(step):
    x = tf.placeholder(tf.float32, [])
    last = tf.while_loop(lambda i, s: i < 10, lambda i, s: (i + 1, s * x), [0, 1.0])
    assert not _quick(step(last, {x: 2.0}))
