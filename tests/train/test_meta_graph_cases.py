"""Every operation case, saved and read again: what is compiled of it is the same program."""

from __future__ import annotations

import pytest
from cases import all_cases

import graphflow as tf
from graphflow.ir.text import pool_of, print_program
from graphflow.passes.cut.functionalize import cut

RUNS = [
    pytest.param(case, symbolic, id=f"{case}-{'symbolic' if symbolic else 'static'}")
    for case in all_cases()
    for symbolic in (False, True)
    if not symbolic or case.symbolic is not None
]


def program(fetches, feeds) -> tuple[str, list[str]]:
    """The program of a run, without names and lines, and the digests of its arrays."""
    made = cut(feeds[0].graph if feeds else fetches[0].graph, fetches, feeds)
    return print_program(made, origins=False), list(pool_of(made))


def gradients(outputs, feeds):
    sums = [tf.reduce_sum(y) for y in outputs if y.dtype.is_floating]
    return [tf.convert_to_tensor(g) for g in tf.gradients(sums, feeds) if g is not None]


@pytest.mark.parametrize(("case", "symbolic"), RUNS)
def test_saved_and_read(case, symbolic):
    feeds = case.placeholders(symbolic)
    outputs = case.outputs(feeds)
    first = gradients(outputs, feeds) if case.differentiable else []
    saved = tf.train.export_meta_graph()
    with tf.Graph().as_default() as graph:
        assert tf.train.import_meta_graph(saved) is None or tf.global_variables()
        assert tf.train.export_meta_graph().content == saved.content

        def again(tensors):
            return [graph.get_tensor_by_name(t.name) for t in tensors]

        assert program(again(outputs), again(feeds)) == program(outputs, feeds)
        if not first:
            return
        assert program(again(first), again(feeds)) == program(first, feeds)
        # Gradients may also be taken of what was read.
        second = gradients(again(outputs), again(feeds))
        assert program(second, again(feeds)) == program(first, feeds)
