"""Derivatives of the cases that take indices besides floats: by the floats, to second order,
against central differences in float64."""

from __future__ import annotations

import numpy as np
import pytest
from cases import all_cases, random

from graphflow.errors import GraphError
from graphflow.ir.evaluate import run_program
from graphflow.ir.graph import Graph
from graphflow.ops.convert import convert
from graphflow.ops.creation import placeholder
from graphflow.ops.indexed_slices import IndexedSlices
from graphflow.ops.indexing import gather
from graphflow.ops.reduction import reduce_sum
from graphflow.ops.scatter import MODES
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.gradients.differentiate import gradients

STEP = 1e-6


def _is_mixed(case) -> bool:
    kinds = {array.dtype.name for array in case.inputs}
    return "float32" in kinds and bool(kinds & {"int32", "int64"})


CASES = [case for case in all_cases() if _is_mixed(case) and not case.name.startswith("in_top")]


def test_there_are_such_cases():
    names = {case.name for case in CASES}
    assert {f"scatter-{mode}" for mode in MODES} <= names
    assert {"gather-rows", "gather-batch", "gather_nd-rows", "dynamic_update_slice"} <= names


def _feeds(case):
    """Placeholders, floats as float64, and the positions of the floats."""
    tensors, floats = [], []
    for number, array in enumerate(case.inputs):
        is_float = array.dtype.kind == "f"
        unknown = case.symbolic[number] if case.symbolic else ()
        shape = [None if axis in unknown else dim for axis, dim in enumerate(array.shape)]
        tensors.append(placeholder("float64" if is_float else array.dtype, shape))
        if is_float:
            floats.append(number)
    return tensors, floats


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient(case):
    graph = Graph()
    weights = random(f"{case.name}-weights")
    with graph.as_default():
        feeds, floats = _feeds(case)
        xs = [feeds[n] for n in floats]
        (output,) = case.outputs(feeds)
        wanted = case.expectation()[0].shape
        loss = reduce_sum(output * output * weights.uniform(0.5, 1.5, wanted))
        first = [convert(g) for g in gradients(loss, xs)]
        pairing = sum(
            reduce_sum(g * weights.uniform(0.5, 1.5, case.inputs[n].shape))
            for g, n in zip(first, floats, strict=True)
        )
        second = [None if g is None else convert(g) for g in gradients(pairing, xs)]
    arrays = [a.astype(np.float64) if n in floats else a for n, a in enumerate(case.inputs)]

    def check(scalar, slopes):
        program = cut(graph, [scalar], feeds)
        computed = iter(run_program(cut(graph, [g for g in slopes if g is not None], feeds), arrays)
                        .fetches)  # fmt: skip
        values = [np.zeros(arrays[n].shape) if g is None else next(computed)
                  for g, n in zip(slopes, floats, strict=True)]  # fmt: skip
        directions = random(f"{case.name}-directions")
        for _ in range(2):
            step = {n: directions.uniform(-1, 1, arrays[n].shape) * STEP for n in floats}

            def at(sign, step=step):
                moved = [a + sign * step[n] if n in step else a for n, a in enumerate(arrays)]
                return float(run_program(program, moved).fetches[0])

            parts = [np.sum(v * step[n]) for v, n in zip(values, floats, strict=True)]
            scale = STEP + sum(abs(part) for part in parts)
            assert abs((at(1) - at(-1)) / 2 - sum(parts)) <= 2e-5 * scale

    check(loss, first)
    check(pairing, second)


def test_gradient_of_gather_holds_only_the_rows_used():
    graph = Graph()
    with graph.as_default():
        table = placeholder("float32", [1000, 4])
        ids = placeholder("int32", [2, 3])
        (g,) = gradients(reduce_sum(gather(table, ids)), table)
    assert isinstance(g, IndexedSlices)
    assert g.values.dims == (6, 4) and g.indices.dims == (6,) and g.dims == (1000, 4)


def test_gradients_of_several_gathers_are_their_rows_together():
    graph = Graph()
    with graph.as_default():
        table = placeholder("float32", [10, 2])
        ids = placeholder("int64", [3])
        loss = reduce_sum(gather(table, ids) * 2.0) + reduce_sum(gather(table, [1, 1]))
        (g,) = gradients(loss, table)
        dense = convert(g)
    assert isinstance(g, IndexedSlices) and g.values.dims == (5, 2)
    feeds = [np.zeros((10, 2), np.float32), np.array([1, 0, 9])]
    (result,) = run_program(cut(graph, [dense], [table, ids]), feeds).fetches
    assert result[:, 0].tolist() == [2, 4, 0, 0, 0, 0, 0, 0, 0, 2]


def test_rows_without_a_shape_do_not_become_a_tensor():
    with Graph().as_default():
        rows = IndexedSlices(placeholder("float32", [3, 2]), placeholder("int32", [3]))
        with pytest.raises(GraphError, match="dense_shape"):
            convert(rows)
